//! How often a child may do something that costs others time.

use std::time::{Duration, Instant};

/// Why a job is denied a source, by itself or by the supervisor, as a loop is that tries a lost device without waiting.
pub const TOO_OFTEN: &str = "asked for too often; wait before it is tried again";

/// Counts what happens in each second, which begins with the first that happens.
#[derive(Debug)]
pub struct Rate {
    most: u32,
    since: Instant,
    count: u32,
}

impl Rate {
    /// At most this often in a second.
    pub fn new(most: u32, now: Instant) -> Self {
        Self { most, since: now, count: 0 }
    }

    /// Once more; true when that is too often.
    pub fn is_exceeded(&mut self, now: Instant) -> bool {
        if now.duration_since(self.since) > Duration::from_secs(1) {
            (self.since, self.count) = (now, 0);
        }
        self.count = self.count.saturating_add(1);
        self.count > self.most
    }
}
