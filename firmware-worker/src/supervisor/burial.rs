//! When something dead is looked after again: soon at first, as most is over within milliseconds, then less and less often,
//! as what hangs in the kernel may hang for long.

use std::time::{Duration, Instant};

/// Between looks, from first to longest.
const WAIT: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(10));

/// The looks at one of the dead.
#[derive(Clone, Copy, Debug)]
pub(super) struct Burial {
    due: Instant,
    wait: Duration,
}

impl Burial {
    /// The first look is due at once.
    pub(super) fn new() -> Self {
        Self { due: Instant::now(), wait: WAIT.0 }
    }

    pub(super) fn due(&self) -> Instant {
        self.due
    }

    /// It was looked at `now`, in vain.
    pub(super) fn put_off(&mut self, now: Instant) {
        self.due = now + self.wait;
        self.wait = (self.wait * 2).min(WAIT.1);
    }
}
