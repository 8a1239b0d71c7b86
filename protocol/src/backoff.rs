//! Delays between attempts: exponential with jitter, randomness passed in.

use std::time::Duration;

/// Grows from `first` to `ceiling`, doubling with each failure; each delay is drawn from its upper half.
#[derive(Clone, Debug)]
pub struct Backoff {
    /// First delay.
    pub first: Duration,
    /// Largest delay.
    pub ceiling: Duration,
    failures: u32,
}

impl Backoff {
    /// No failure yet.
    pub fn new(first: Duration, ceiling: Duration) -> Self {
        Self { first, ceiling, failures: 0 }
    }

    /// The delay after one more failure. `random` is uniform over all u64.
    pub fn fail(&mut self, random: u64) -> Duration {
        let full = self.first.saturating_mul(1 << self.failures.min(16)).min(self.ceiling);
        self.failures = self.failures.saturating_add(1);
        let half = full / 2;
        half + half.mul_f64(random as f64 / u64::MAX as f64)
    }

    /// It worked: start again from `first`.
    pub fn reset(&mut self) {
        self.failures = 0;
    }

    /// Failures since the last success.
    pub fn failures(&self) -> u32 {
        self.failures
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_the_ceiling_and_start_again_after_success() {
        let mut b = Backoff::new(Duration::from_millis(500), Duration::from_secs(30));
        let delays: Vec<_> = (0..8).map(|_| b.fail(u64::MAX).as_millis()).collect();
        assert_eq!(delays, [500, 1000, 2000, 4000, 8000, 16000, 30000, 30000]);
        assert_eq!(b.fail(0), Duration::from_secs(15));
        b.reset();
        assert_eq!(b.fail(0), Duration::from_millis(250));
    }
}
