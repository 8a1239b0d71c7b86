//! The messages between supervisor, jobs and device owners, and how they travel.
//!
//! postcard over SEQPACKET, at most [`MAX_MESSAGE`] bytes each. What may be longer (an offer, a job spec) goes in a
//! sealed memfd beside the message. Only the supervisor sends memfds for that; it never reads one from a child, so that a
//! job's long token comes in parts.

pub mod confinement;
mod granted;
mod latency;
mod link;
mod operator;
pub mod panic;
mod rate;
mod stats;
pub mod token;
mod watch;
pub mod watchdog;

pub use granted::Granted;
pub use latency::{BOUNDS_US, BUCKETS, JOB_STAGES, Latency, MAX_STAGES, OwnerStage, SourceStages, bucket};
pub use link::{Link, LinkError};
pub use operator::{
    FailedJob, FromOperator, JobReport, MAX_JOBS, OPERATOR_VERSION, SandboxReport, ToOperator, UsageReport, WorkerJobs,
    operator_socket, runtime_directories, runtime_directory,
};
pub use protocol::device::encoder::Encoder;
pub use rate::{Rate, TOO_OFTEN};
pub use stats::{DeviceFacts, DriverBuffers, JobStats, OwnerStats, SoundLevel};
pub use token::MAX_TOKEN;
pub use watch::{Owned, watch};

use protocol::secret::Secret;
use protocol::worker::{Answer, JobResult};
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;

/// Version of these messages. An upgrade leaves jobs and owners of the program before running, so a program speaks this one
/// and those before: what a version adds comes last in its enum, and is not said to who has greeted with one before.
pub const VERSION: u32 = 3;

/// The oldest that is spoken. Jobs greet owners with it, which may be of the program before.
pub const OLDEST: u32 = 1;

/// Whether this program speaks that version.
pub fn is_spoken(version: u32) -> bool {
    (OLDEST..=VERSION).contains(&version)
}

/// Bytes of one message.
pub const MAX_MESSAGE: usize = 4096;

/// Messages a second that a job or an owner may send before it is detached: far above any honest need.
pub const MAX_RATE: u32 = 500;

/// Those of them that make the supervisor do more than note a fact (look for a device or a name, write to the log or to a
/// file), which a job may send in a second; and as often sources, counted apart: as many as there can be, each once more.
pub const MAX_REQUESTS: u32 = 50;

/// From a job to the supervisor.
#[derive(Debug, Serialize, Deserialize)]
pub enum FromJob {
    /// First message.
    Hello {
        /// [`VERSION`]
        version: u32,
    },
    /// Prepared (`prewarm` ran): can take an offer or a spec.
    Prewarmed,
    /// `on_request` answered [`ToJob::Offer`].
    Answer(Answer),
    /// Spec read, entrypoint about to run.
    Ready,
    /// Wants a configured source or sink by its name.
    OpenSource {
        /// Name in the configuration.
        name: String,
    },
    /// In the room.
    Joined {
        /// `PA_…`
        sid: String,
    },
    /// The server gave a new token.
    Token(Secret),
    /// About to open a new WebSocket with the same identity, to resume its session or to begin another.
    Rejoining,
    /// Back in the room.
    Rejoined,
    /// Wants to leave with this result; waits up to 200 ms for [`ToJob::Ack`].
    Ending(JobResult),
    /// Has sent Leave; no sign-off is needed.
    Left,
    /// Asks for the addresses of a host.
    Resolve {
        /// Matches the answer.
        id: u32,
        /// Host name.
        host: String,
        /// Port.
        port: u16,
    },
    /// Answer to [`ToJob::Ping`]: how long ago driver and user runtime were last seen alive.
    Pong {
        /// Of the ping.
        id: u32,
        /// ms since the room driver turned.
        driver_ms: u32,
        /// ms since the user runtime turned.
        user_ms: u32,
        /// Counters for metrics.
        stats: JobStats,
    },
    /// A panic: text and place. The process aborts after this.
    Panic {
        /// Message.
        message: String,
        /// file:line
        location: String,
    },
    /// As [`FromJob::Ending`], where another start may help: the entrypoint failed, or the server could not be reached.
    Failing(String),
    /// A part of a new token that fits no message. Since version 2.
    TokenPart {
        /// Bytes of it that came before; 0 begins another.
        at: u32,
        /// What comes then.
        part: Secret,
        /// It is whole now.
        last: bool,
    },
}

/// From the supervisor to a job.
#[derive(Debug, Serialize, Deserialize)]
pub enum ToJob {
    /// First message: what every job may know. The body, [`JobSetup`], is in the memfd beside it.
    Setup,
    /// Ask `on_request`. The body, `JobInfo`, is in the memfd beside it.
    Offer,
    /// Run this job. The body, `JobSpec`, is in the memfd beside it.
    Spec,
    /// The source is open: a socket to its owner is beside this message.
    SourceFd {
        /// Name.
        name: String,
    },
    /// No such source for this job.
    Denied {
        /// Name.
        name: String,
        /// In plain words.
        why: String,
    },
    /// Run hooks, leave, exit.
    Terminate {
        /// For the hooks.
        reason: String,
        /// After this the process is killed.
        grace_ms: u32,
    },
    /// The terminal status is out.
    Ack,
    /// Answer to Resolve; an empty list comes with the reason.
    Addresses {
        /// Of the question.
        id: u32,
        /// Answers.
        addresses: Vec<SocketAddr>,
        /// Why there are none.
        error: String,
    },
    /// Are you alive?
    Ping {
        /// Returned in the pong.
        id: u32,
    },
}

/// Sent once to each job process before anything else.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct JobSetup {
    /// Worker URL (`ws`/`wss`).
    pub url: String,
    /// Sources that the configuration grants to jobs.
    pub sources: Vec<Granted>,
    /// Names of the speakers that it grants.
    pub speakers: Vec<String>,
    /// How long shutdown hooks may run, ms.
    pub shutdown_timeout_ms: u32,
    /// Extra PEM certificates to trust; empty for the built-in roots alone.
    pub ca_pem: String,
    /// Options for the entrypoint, as written under `[job]` in the configuration, JSON.
    pub options: String,
}

/// First byte of a keeper's socket: beside it a memfd with [`Kept`], and the ends that its command writes to. What comes
/// back is `hal::process::Kept`'s report.
pub const KEEPER_SETUP: u8 = 1;

/// What a keeper is to keep.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Kept {
    /// The camera's name, for log lines.
    pub camera: String,
    /// Its name and arguments.
    pub command: Vec<String>,
    /// Missing layers of its sandbox are to be logged: once is enough.
    pub tell: bool,
}

/// From the supervisor to a device owner.
#[derive(Debug, Serialize, Deserialize)]
pub enum ToOwner {
    /// First message. The body, `config::Device`, is in the memfd beside it.
    Setup,
    /// A reader: its socket is beside this message.
    Reader {
        /// Named in log lines.
        job: String,
    },
    /// The device node asked for by [`FromOwner::NeedNode`]: beside this message are its descriptor, and after it those of
    /// encoders that the device may use. For a command there are three: the socket of its keeper, its standard output and its
    /// standard error.
    Node,
    /// It cannot be opened now; the owner retries with backoff.
    NoNode {
        /// In plain words.
        why: String,
    },
    /// Answer to [`FromOwner::WhoHolds`].
    Holder {
        /// In plain words: "in use by arecord (pid 812)".
        who: String,
    },
    /// A device appeared or vanished: look again now.
    Rescan,
    /// Are you alive?
    Ping {
        /// Returned.
        id: u32,
    },
}

/// From a device owner to the supervisor.
#[derive(Debug, Serialize, Deserialize)]
pub enum FromOwner {
    /// First message.
    Hello {
        /// [`VERSION`]
        version: u32,
    },
    /// Open this node for me (`/dev/videoN`; checked by the supervisor).
    NeedNode {
        /// Path.
        path: String,
    },
    /// Another process has the device: who? One question at a time; more are ignored.
    WhoHolds {
        /// Its node or ALSA name.
        device: String,
    },
    /// State changed.
    State(OwnerState),
    /// Alive.
    Pong {
        /// Of the ping.
        id: u32,
        /// Counters for metrics.
        stats: OwnerStats,
    },
    /// A panic: text and place. The process aborts after this.
    Panic {
        /// Message.
        message: String,
        /// file:line
        location: String,
    },
    /// A reader broke the rules of its socket, and was detached.
    Violated {
        /// As [`ToOwner::Reader`] named it.
        job: String,
        /// In plain words.
        why: String,
    },
    /// What is known of the device beside the counters; before each pong. Since version 3. Nobody asks whether the
    /// supervisor speaks that, which is mostly of the same program or of a later one: one of an earlier program, that an
    /// upgrade has gone back to, ends the owner for it, and starts one of its own.
    Facts(DeviceFacts),
}

/// What an owner's device is doing, for log, `/worker` and metrics.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum OwnerState {
    /// Nobody wants it.
    Closed,
    /// Running; what was chosen, in plain words ("/dev/video0 YUYV 640x360@30 500 kbit/s, software (as configured),
    /// stamped at the start of exposure").
    Running(String),
    /// Not there or failing; retried. In plain words.
    Lost(String),
}

/// From a job to a device owner.
#[derive(Debug, Serialize, Deserialize)]
pub enum FromReader {
    /// First message.
    Attach {
        /// [`VERSION`]
        version: u32,
    },
    /// Media is wanted, or not.
    Demand(Demand),
    /// A keyframe is wanted.
    Keyframe,
    /// Bit/s this reader can carry.
    Rate {
        /// bit/s
        bps: u32,
    },
    /// Done; closing the socket says the same.
    Detach,
}

/// How much a reader wants the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Demand {
    /// Nothing.
    Off,
    /// Open the device, encode later.
    Armed,
    /// Encode.
    Live,
}

/// From a device owner to a job.
#[derive(Debug, Serialize, Deserialize)]
pub enum ToReader {
    /// Beside it: the ring, and the reading end of the doorbell socket (one byte a unit or more; drain it, then read the
    /// ring until it is empty).
    Attached {
        /// What comes.
        format: Format,
    },
    /// The same for a speaker: a PCM ring to write to, and a doorbell that is rung while the job waits for room.
    AttachedSpeaker,
    /// The device is gone; it is retried, the ring stays.
    Lost {
        /// In plain words.
        why: String,
    },
    /// The device runs again, or for the first time.
    Running {
        /// Counts restarts.
        epoch: u32,
    },
}

/// Media in a ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Format {
    /// H.264 Annex B, one access unit a unit, SPS and PPS before each IDR.
    H264 {
        /// Pixels.
        width: u16,
        /// Pixels.
        height: u16,
        /// Frames a second, times 1000.
        milli_fps: u32,
        /// Ceiling, bit/s.
        bitrate: u32,
    },
    /// Opus, 48 kHz, one packet a unit.
    Opus {
        /// 1 or 2.
        channels: u8,
        /// Packet length in ms.
        frame_ms: u8,
        /// No packets come while it is quiet.
        dtx: bool,
        /// Packets carry the one before them.
        fec: bool,
        /// bit/s.
        bitrate: u32,
    },
}

#[cfg(test)]
mod tests;
