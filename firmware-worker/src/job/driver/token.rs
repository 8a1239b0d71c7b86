//! New tokens on their way to the supervisor.

use super::Driver;
use crate::control::{LinkError, MAX_TOKEN, token};
use protocol::secret::Secret;
use std::time::{Duration, Instant};

/// From one token told to the next. The server sends one with each change of the participant's name, metadata or
/// attributes; the supervisor writes each to a file, and ends a job that has it do too much in a second. It wants them for
/// later: a restart, or a sign-off.
const INTERVAL: Duration = Duration::from_millis(100);

/// The newest token that the supervisor does not have.
#[derive(Debug, Default)]
pub(super) struct NewToken {
    token: Option<Secret>,
    told_at: Option<Instant>,
}

impl NewToken {
    pub(super) fn deadline(&self) -> Option<Instant> {
        let at = self.told_at.map(|at| at + INTERVAL);
        self.token.as_ref().and(at)
    }
}

impl Driver {
    /// The first is told at once; of those that follow it closely, the last.
    pub(super) fn renewed(&mut self, token: Secret, now: Instant) {
        self.token.token = Some(token);
        self.tell_token_if_due(now);
    }

    pub(super) fn tell_token_if_due(&mut self, now: Instant) {
        if self.token.deadline().is_none_or(|at| at <= now) {
            self.tell_token(now);
        }
    }

    /// Whatever was told before: nothing more will be.
    pub(super) fn tell_token(&mut self, now: Instant) {
        let Some(token) = self.token.token.take() else { return };
        self.token.told_at = Some(now);
        let Some(messages) = token::messages(&token) else {
            let bytes = token.expose().len();
            return tracing::warn!(
                "the room's new token has {bytes} bytes, more than the {MAX_TOKEN} that are kept for a restart or a \
                 sign-off: make the participant's metadata and attributes smaller"
            );
        };
        match messages.iter().try_for_each(|message| self.link.send(message, &[])) {
            Ok(()) => {}
            // Told in a while, unless another comes before.
            Err(LinkError::Full) => self.token.token = Some(token),
            Err(error) => tracing::debug!(%error, "the supervisor does not get the new token"),
        }
    }
}
