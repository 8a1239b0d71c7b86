//! The access units of a node that encodes: what a receiver could not decode is left out.

use super::coder::Input;
use super::frames::Frames;
use super::hardware::RATE_STEP;
use crate::device::pipeline::{Failure, Stage};
use hal::video::{Capture, Picture};
use protocol::room::rtp::h264::{Gate, Passed};

/// See the module.
pub struct Units {
    path: String,
    gate: Gate,
    /// What is left out is told once, and not for each unit.
    waiting: bool,
    /// The same for keyframes that it does not make.
    refused: bool,
    /// Bit/s that it was told; none once it has refused.
    told: Option<u32>,
}

impl Units {
    /// Of the node `path`, for a ring that takes units of up to `limit` bytes.
    pub fn new(path: &str, limit: usize) -> Self {
        Self { path: path.to_owned(), gate: Gate::new(limit), waiting: false, refused: false, told: Some(0) }
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
    pub fn take(&mut self, taken: &Picture<'_>, frames: &mut Frames<'_>) -> Result<(), Failure> {
        let passed = if taken.damaged {
            self.gate.lost();
            Passed::Damaged
        } else {
            self.gate.take(taken.data())
        };
        match passed {
            Passed::Unit(unit) => {
                self.waiting = false;
                frames.encode(Input::Unit(unit), taken.captured_ns)
            }
            Passed::Ahead => Ok(()),
            Passed::Waiting | Passed::Damaged => {
                if !std::mem::replace(&mut self.waiting, true) {
                    tracing::debug!("{}: {passed:?} unit; waiting for a keyframe", self.path);
                }
                frames.dropped();
                Ok(())
            }
        }
    }
}
