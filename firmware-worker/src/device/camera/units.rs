//! The access units of a node that encodes: what a receiver could not decode is left out.

use super::coder::Input;
use super::frames::Frames;
use hal::video::Picture;
use protocol::room::rtp::h264::{Gate, Passed};

/// See the module.
pub struct Units {
    path: String,
    gate: Gate,
    /// What is left out is told once, and not for each unit.
    waiting: bool,
}

impl Units {
    /// Of the node `path`, for a ring that takes units of up to `limit` bytes.
    pub fn new(path: &str, limit: usize) -> Self {
        Self { path: path.to_owned(), gate: Gate::new(limit), waiting: false }
    }

    /// A unit did not come, or was not taken.
    pub fn missed(&mut self) {
        self.gate.lost();
    }

    /// Carries a unit into the ring, or counts it as lost.
    pub fn take(&mut self, taken: &Picture<'_>, frames: &mut Frames<'_>) -> Result<(), String> {
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
