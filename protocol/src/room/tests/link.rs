//! The way from the room to the SFU: a queue in front of a stretch that carries so many bits a second.

use std::time::{Duration, Instant};

/// What a home router has. Packets that would wait longer are lost.
const QUEUE: Duration = Duration::from_millis(250);

/// Without a limit everything passes at once.
#[derive(Debug, Default)]
pub struct Link {
    /// Bit/s.
    pub limit: Option<u32>,
    /// Passes at once what fits into a bucket of so many bytes and loses the rest, as policers of providers do.
    pub bucket: Option<f64>,
    /// What is free of the bucket.
    tokens: f64,
    last: Option<Instant>,
    /// When everything that waits has left.
    free: Option<Instant>,
}

impl Link {
    /// When a packet of this size leaves the queue; `None` when it is lost.
    pub fn pass(&mut self, bytes: usize, now: Instant) -> Option<Instant> {
        let Some(limit) = self.limit else { return Some(now.max(self.free.unwrap_or(now))) };
        if let Some(bucket) = self.bucket {
            let elapsed = self.last.replace(now).map_or(1.0, |last| (now - last).as_secs_f64());
            self.tokens = (self.tokens + elapsed * f64::from(limit) / 8.0).min(bucket);
            let fits = self.tokens >= bytes as f64;
            self.tokens -= if fits { bytes as f64 } else { 0.0 };
            return fits.then_some(now);
        }
        let start = self.free.map_or(now, |free| free.max(now));
        (start - now < QUEUE).then(|| {
            let due = start + Duration::from_secs_f64(bytes as f64 * 8.0 / f64::from(limit));
            self.free = Some(due);
            due
        })
    }
}
