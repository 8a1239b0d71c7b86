//! What children count and tell with each pong.

use super::{Latency, OwnerStage, SourceStages};
use hal::ring::Stamped;
use protocol::device::encoder::Encoder;
use serde::{Deserialize, Serialize};

/// Counters that a job reports with each pong.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobStats {
    /// RTP packets sent.
    pub packets_out: u64,
    /// RTP payload bytes sent.
    pub bytes_out: u64,
    /// Units lost because this job was too slow for a ring.
    pub lapped: u64,
    /// Full reconnects.
    pub rejoins: u64,
    /// Resumes.
    pub resumes: u64,
    /// Units with a capture time that lies ahead of the clock, taken as now; pictures with one that is not after the one
    /// before, taken as the next tick.
    pub stamps_clamped: u64,
    /// Of its sources.
    pub stages: Vec<SourceStages>,
}

/// Counters of an owner.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnerStats {
    /// Frames or periods captured; periods played.
    pub captured: u64,
    /// Units written to the ring; periods played in which a job was heard.
    pub written: u64,
    /// Frames dropped before or in encoding, periods lost by xruns.
    pub dropped: u64,
    /// Keyframes forced.
    pub keyframes: u64,
    /// Attached readers.
    pub readers: u32,
    /// Encoders that are running now.
    pub encoders: u32,
    /// As [`OwnerStage`].
    pub stages: Box<[Latency; OwnerStage::NAMES.len()]>,
    /// Of a sound card that runs, since the last pong.
    pub level: Option<SoundLevel>,
    /// What an encoder in software leaves out because it takes too long: 0 nothing, up to 4.
    pub saving: u32,
    /// What codes the pictures of a camera that runs.
    pub encoder: Option<Encoder>,
    /// Speaker: times that a job's ring ran dry while it was played.
    pub dry: u64,
    /// Speaker: frames of jobs that were thrown away because a backlog had built up.
    pub skipped: u64,
    /// Speaker: mean over the last second of a job's lead over the card, in µs; that of the job with most.
    pub buffer_us: u32,
}

/// What an owner knows of its device beside [`OwnerStats`], which have the form of version 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceFacts {
    /// Camera: pictures whose stamps were not after those before them.
    pub stamps_behind: u64,
    /// Camera: pictures whose stamps lay ahead of the clock.
    pub stamps_ahead: u64,
    /// Camera: what the time of its last picture is of, as [`Stamped::code`].
    pub stamped: u32,
    /// Of a camera that was opened, and is a device.
    pub buffers: Option<DriverBuffers>,
}

/// Bytes that drivers' buffers took when they were mapped last, whether they still are or not. No cgroup counts them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DriverBuffers {
    /// The camera's.
    pub camera: u64,
    /// Of the board's encoder; 0 where another codes, nothing where it has not run yet or rests, as it will be tried again.
    pub encoder: Option<u64>,
}

impl DriverBuffers {
    /// The most of these and what is told after them. That another encoder coded once says nothing of what the board's needs
    /// when that is chosen.
    pub fn most(self, told: Self) -> Self {
        let encoder = match (self.encoder, told.encoder) {
            (Some(0), None) => None,
            (before, told) => before.max(told),
        };
        Self { camera: self.camera.max(told.camera), encoder }
    }
}

impl DeviceFacts {
    /// What the time of a camera's last picture is of.
    pub fn stamped(&self) -> Option<Stamped> {
        Stamped::from_code(self.stamped)
    }
}

/// How loud sound was, in hundredths of a dB below full scale; -120 dB is silence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SoundLevel {
    /// The loudest sample.
    pub peak: i16,
    /// The mean power.
    pub rms: i16,
}
