//! What the server says and we do not understand: counted, and told once a connection.

use super::machine::Worker;
use super::wire;

/// What was told of this connection.
#[derive(Debug, Default)]
pub(super) struct Told {
    malformed: bool,
    unknown: bool,
}

impl Worker {
    /// A frame that is no message, or lacks what it speaks of.
    pub(super) fn malformed(&mut self, error: &wire::Error) {
        self.counters.malformed += 1;
        if !std::mem::replace(&mut self.told.malformed, true) {
            tracing::warn!(
                "message of the server ignored: {error}; further ones of this connection are counted alone: is there a \
                 LiveKit server at this URL, of a version that goes with this worker's?"
            );
        }
    }

    /// A message of a kind that is newer than we are.
    pub(super) fn unknown(&mut self) {
        self.counters.ignored += 1;
        if !std::mem::replace(&mut self.told.unknown, true) {
            tracing::warn!(
                "message of the server ignored: this worker does not know its kind; further ones of this connection are \
                 counted alone: where jobs lack something, take a newer worker"
            );
        }
    }
}
