//! What goes wrong again and again in a device: told when it comes first, then now and then with how often it came, as nobody
//! reads a log that says the same all the time.

use std::time::{Duration, Instant};

/// Between two messages about the same trouble.
const TOLD_EVERY: Duration = Duration::from_secs(60);

/// How often a trouble came, of which nobody was told yet, and when somebody was.
#[derive(Clone, Copy, Debug, Default)]
pub struct Told {
    count: u64,
    at: Option<Instant>,
}

impl Told {
    /// Counts so many more. How many are to be told now, if it is time.
    pub fn note(&mut self, count: u64, now: Instant) -> Option<u64> {
        self.count = self.count.saturating_add(count);
        if count == 0 || self.at.is_some_and(|at| now < at + TOLD_EVERY) {
            return None;
        }
        self.at = Some(now);
        Some(std::mem::take(&mut self.count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trouble_is_told_at_once_and_then_once_a_minute_with_its_count() {
        let start = Instant::now();
        let mut told = Told::default();
        let mut noted = |count: u64| {
            let seconds = (0..121).map(Duration::from_secs);
            seconds.filter_map(|second| told.note(count, start + second)).collect::<Vec<_>>()
        };
        assert_eq!(noted(0), [0; 0], "nothing is nothing to tell");
        assert_eq!(noted(3), [3, 180, 180]);
    }
}
