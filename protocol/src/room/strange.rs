//! What the server says and we do not understand: told once a connection.

use prost::DecodeError;

/// What was told of this connection.
#[derive(Debug, Default)]
pub(super) struct Strange {
    malformed: bool,
    unknown: bool,
}

impl Strange {
    pub fn malformed(&mut self, error: &DecodeError) {
        if !std::mem::replace(&mut self.malformed, true) {
            tracing::warn!(
                "signal message ignored, as further ones of this connection: {error}: is there a LiveKit server at this \
                 URL, of a version that goes with this program's?"
            );
        }
    }

    /// A newer server says more than we know, and does not count on an answer.
    pub fn unknown(&mut self) {
        if !std::mem::replace(&mut self.unknown, true) {
            tracing::info!(
                "signal message of a kind that this program does not know ignored, as further ones of this connection: \
                 where the room lacks something, take a newer program"
            );
        }
    }
}
