//! Whether a child still turns: a ping now and then, and how long its answer is missing.

use std::time::{Duration, Instant};

/// Between pings, as the official workers have it.
pub(super) const PING_INTERVAL: Duration = Duration::from_millis(2500);

/// A driver that leaves a ping unanswered for this long cannot be keeping its room or its device either.
pub(super) const SILENCE_LIMIT: Duration = Duration::from_secs(10);

/// The pings of one child. Silence counts from a ping that was sent, so a board that slept accuses nobody.
#[derive(Debug, Default)]
pub(super) struct Pulse {
    id: u32,
    unanswered: Option<Instant>,
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
    pub(super) fn tick(&mut self, now: Instant) -> Check {
        match self.unanswered {
            Some(sent) if now.duration_since(sent) >= SILENCE_LIMIT => Check::Silent,
            Some(_) => Check::Wait,
            None => {
                self.id = self.id.wrapping_add(1);
                self.unanswered = Some(now);
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
        let start = Instant::now();
        let mut pulse = Pulse::default();
        assert_eq!(pulse.tick(start), Check::Ping(1));
        assert_eq!(pulse.tick(start + PING_INTERVAL), Check::Wait);
        assert!(!pulse.pong(7));
        assert!(pulse.pong(1));
        assert_eq!(pulse.tick(start + 2 * PING_INTERVAL), Check::Ping(2));
        assert_eq!(pulse.tick(start + 2 * PING_INTERVAL + SILENCE_LIMIT), Check::Silent);
    }

    #[test]
    fn a_sleep_of_the_whole_board_is_no_silence() {
        let start = Instant::now();
        let mut pulse = Pulse::default();
        pulse.tick(start);
        pulse.pong(1);
        assert_eq!(pulse.tick(start + Duration::from_secs(3600)), Check::Ping(2));
    }
}
