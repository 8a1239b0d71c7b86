//! Whether a device's thread still turns: a driver that hangs takes it along, and then it cannot tell.
//!
//! ```text
//! opening --opened--> running        opening for OPEN_LIMIT, running without a turn for STILL_LIMIT --> hangs
//! ```

use std::fmt;
use std::time::{Duration, Instant};

/// From the start of the thread until the device runs. A command has 10 s for its first picture, and a USB camera answers
/// a few calls with timeouts of 5 s before it fails by itself.
pub const OPEN_LIMIT: Duration = Duration::from_secs(20);

/// Between two turns of a running device's thread, which waits for nothing longer than a second.
pub const STILL_LIMIT: Duration = Duration::from_secs(10);

/// Who looks this late has stood still as well, as with a board that is stopped, and accuses nobody.
const LATE: Duration = Duration::from_secs(1);

/// The turns of one thread.
#[derive(Debug)]
pub struct Heartbeat {
    phase: Phase,
    turns: u32,
    /// When it was seen to have turned last; before it runs, when it was started.
    since: Instant,
}

/// What a thread hangs in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// The device is being opened.
    Opening,
    /// It runs.
    Running,
}

impl Phase {
    fn limit(self) -> Duration {
        match self {
            Self::Opening => OPEN_LIMIT,
            Self::Running => STILL_LIMIT,
        }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let limit = self.limit().as_secs();
        match self {
            Self::Opening => write!(f, "not open after {limit} s"),
            Self::Running => write!(f, "no sign of life for {limit} s"),
        }
    }
}

impl Heartbeat {
    /// Of a thread that starts now.
    pub fn new(now: Instant) -> Self {
        Self { phase: Phase::Opening, turns: 0, since: now }
    }

    /// The device runs.
    pub fn opened(&mut self, now: Instant) {
        (self.phase, self.since) = (Phase::Running, now);
    }

    /// When to look at the latest.
    pub fn deadline(&self) -> Instant {
        self.since + self.phase.limit()
    }

    /// The thread has made so many turns by now. Says in what it hangs, if it does.
    pub fn look(&mut self, turns: u32, now: Instant) -> Option<Phase> {
        let turned = std::mem::replace(&mut self.turns, turns) != turns;
        if (turned && self.phase == Phase::Running) || now >= self.deadline() + LATE {
            self.since = now;
            return None;
        }
        (now >= self.deadline()).then_some(self.phase)
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "simulated time starts at any instant")]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_device_has_its_limit_to_open_whatever_its_thread_does_meanwhile() {
        let start = Instant::now();
        let mut heartbeat = Heartbeat::new(start);
        assert_eq!(heartbeat.deadline(), start + OPEN_LIMIT);
        assert_eq!(heartbeat.look(7, start + OPEN_LIMIT - SECOND), None);
        assert_eq!(heartbeat.look(8, start + OPEN_LIMIT), Some(Phase::Opening));
    }

    #[test]
    fn a_running_device_hangs_when_it_was_not_seen_to_turn_for_its_limit() {
        let start = Instant::now();
        let mut heartbeat = Heartbeat::new(start);
        heartbeat.opened(start + 15 * SECOND);
        let mut now = start + 15 * SECOND;
        for turns in 1..100 {
            now += 5 * SECOND;
            assert_eq!(heartbeat.look(turns, now), None);
            assert_eq!(heartbeat.deadline(), now + STILL_LIMIT);
        }
        assert_eq!(heartbeat.look(99, now + STILL_LIMIT - SECOND), None);
        assert_eq!(heartbeat.look(99, now + STILL_LIMIT), Some(Phase::Running));
    }

    #[test]
    fn a_board_that_has_slept_accuses_nobody_and_looks_again_after_a_whole_limit() {
        let start = Instant::now();
        let mut heartbeat = Heartbeat::new(start);
        heartbeat.opened(start);
        let woken = start + 3600 * SECOND;
        assert_eq!(heartbeat.look(0, woken), None);
        assert_eq!(heartbeat.look(0, woken + STILL_LIMIT - SECOND), None);
        assert_eq!(heartbeat.look(0, woken + STILL_LIMIT), Some(Phase::Running));
    }
}
