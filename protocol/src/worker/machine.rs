//! The worker's states and their transitions.

use super::{Action, Input, Options, Reason, Snapshot};
use std::time::Instant;

/// The worker side of the agents protocol.
#[derive(Debug)]
pub struct Worker {}

#[allow(unused_variables, clippy::todo)]
impl Worker {
    /// A worker that wants to connect at once. `seed` feeds the jitter of its reconnect delays.
    pub fn new(options: Options, now: Instant, seed: u64) -> Self {
        todo!()
    }
    /// Takes one input; poll until `None` afterwards.
    pub fn handle(&mut self, input: Input, now: Instant) {
        todo!()
    }
    /// Next action.
    pub fn poll(&mut self) -> Option<Action> {
        todo!()
    }
    /// When [`Input::Time`] is due, and why.
    pub fn deadline(&self) -> Option<(Instant, Reason)> {
        todo!()
    }
    /// For operators.
    pub fn snapshot(&self) -> Snapshot {
        todo!()
    }
}
