//! Whether a child still turns: a ping now and then, and how long its answer is missing.

use std::time::Duration;

/// Between pings, as the official workers have it.
pub(super) const PING_INTERVAL: Duration = Duration::from_millis(2500);

/// A driver that leaves a ping unanswered for this long cannot be keeping its room or its device either.
pub(super) const SILENCE_LIMIT: Duration = Duration::from_secs(10);

/// Looks at an unanswered ping, one a [`PING_INTERVAL`], until the limit. Counted, as the supervisor's own clock proves nothing:
/// where the whole board stood still, by its memory or its card, the first to get on may be who asks and not who answers.
const SILENT_LOOKS: u32 = (SILENCE_LIMIT.as_millis() / PING_INTERVAL.as_millis()) as u32;

/// The pings of one child. Silence counts from a ping that was sent, so a board that slept accuses nobody.
#[derive(Debug, Default)]
pub(super) struct Pulse {
    id: u32,
    /// Looks since the last ping, if that is unanswered.
    unanswered: Option<u32>,
}

/// What to do at a tick.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Check {
    /// Send this ping.
    Ping(u32),
    /// The last one is still on its way.
    Wait,
    /// It has been silent for too long.
    Silent,
}

impl Pulse {
    /// At least [`PING_INTERVAL`] after the one before.
    pub(super) fn tick(&mut self) -> Check {
        match &mut self.unanswered {
            Some(looks) => {
                *looks = looks.saturating_add(1);
                if *looks >= SILENT_LOOKS { Check::Silent } else { Check::Wait }
            }
            None => {
                self.id = self.id.wrapping_add(1);
                self.unanswered = Some(0);
                Check::Ping(self.id)
            }
        }
    }

    /// False for an answer to no question.
    pub(super) fn pong(&mut self, id: u32) -> bool {
        id == self.id && self.unanswered.take().is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_that_answers_is_pinged_again_and_one_that_does_not_is_silent_after_the_limit() {
        let mut pulse = Pulse::default();
        assert_eq!(pulse.tick(), Check::Ping(1));
        assert_eq!(pulse.tick(), Check::Wait);
        assert!(!pulse.pong(7));
        assert!(pulse.pong(1));
        assert_eq!(pulse.tick(), Check::Ping(2));
        assert_eq!(
            [pulse.tick(), pulse.tick(), pulse.tick(), pulse.tick()],
            [Check::Wait, Check::Wait, Check::Wait, Check::Silent]
        );
        assert_eq!(pulse.tick(), Check::Silent, "until it is gone");
    }
}
