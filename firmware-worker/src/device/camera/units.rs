//! The access units of a node that encodes: what a receiver could not decode is left out.

use super::coder::Input;
use super::frames::Frames;
use super::hardware::RATE_STEP;
use super::worth::{Outcome, Trouble};
use crate::device::pipeline::{Failure, Stage};
use hal::video::{Capture, Picture};
use protocol::room::rtp::h264::{Gate, Passed};

/// See the module.
pub struct Units {
    gate: Gate,
    /// Keyframes that it does not make are told once.
    refused: bool,
    /// Bit/s that it was told; none once it has refused.
    told: Option<u32>,
}

impl Units {
    /// For a ring that takes units of up to `limit` bytes.
    pub fn new(limit: usize) -> Self {
        Self { gate: Gate::new(limit), refused: false, told: Some(0) }
    }

    /// A unit did not come, or was not taken.
    pub fn missed(&mut self) {
        self.gate.lost();
    }

    /// Asks for the keyframe that a reader wants, or that the stream cannot go on without, where the camera makes any.
    pub fn ask_for_keyframe(&mut self, capture: &Capture, stage: &Stage) {
        let wanted = capture.makes_keyframes() && stage.wanted.encode();
        // Both wishes are taken away by asking: one keyframe serves both.
        if !wanted || !(self.gate.wants_key() | stage.wanted.take_key()) {
            return;
        }
        let Err(error) = capture.force_keyframe() else { return };
        if !std::mem::replace(&mut self.refused, true) {
            tracing::warn!("{error}; its keyframes come when it likes");
        }
    }

    /// Tells the camera the rate that its readers can carry, where it has one.
    pub fn follow_bitrate(&mut self, capture: &Capture, stage: &Stage) {
        let wanted = stage.wanted.bitrate();
        let Some(told) = self.told.filter(|_| stage.wanted.encode()) else { return };
        if u64::from(told.abs_diff(wanted)) * 100 <= u64::from(told) * RATE_STEP {
            return;
        }
        self.told = Some(wanted);
        if let Err(error) = capture.set_bitrate(wanted) {
            tracing::warn!("{error}; its bitrate is its own");
            self.told = None;
        }
    }

    /// Carries a unit into the ring, or counts it as lost.
    pub fn take(&mut self, taken: &Picture<'_>, frames: &mut Frames<'_>) -> Result<Outcome, Failure> {
        let passed = if taken.damaged {
            self.gate.lost();
            Passed::Damaged
        } else {
            self.gate.take(taken.data())
        };
        match passed {
            Passed::Unit(unit) => frames.encode(Input::Unit(unit), taken.captured_ns).map(|()| Outcome::Used),
            Passed::Ahead => Ok(Outcome::Untried),
            Passed::Waiting => Ok(useless(Trouble::Keyframe, frames)),
            Passed::Damaged => Ok(useless(Trouble::Damaged, frames)),
        }
    }
}

fn useless(trouble: Trouble, frames: &mut Frames<'_>) -> Outcome {
    frames.dropped();
    Outcome::Useless(trouble, String::new())
}
