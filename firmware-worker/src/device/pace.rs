//! Thins a camera that gives more frames than were asked for: some know only one rate, others lie about theirs.

/// Part by which a camera may be faster than configured, in 1000: clocks differ, and a frame dropped now and then would
/// be seen.
const SLACK: u64 = 20;

/// Frames that may come early: drivers deliver unevenly.
const EARLY: u64 = 2;

/// Gives out frames at the configured rate on average.
#[derive(Debug)]
pub struct Pace {
    period_ns: u64,
    /// Time that is not used up by frames yet, at most [`EARLY`] periods.
    credit_ns: u64,
    last_ns: Option<u64>,
}

impl Pace {
    /// At most this many frames a second, times 1000.
    pub fn new(milli_fps: u32) -> Self {
        let period_ns = 1_000_000_000_000 * 1000 / (u64::from(milli_fps.max(1)) * (1000 + SLACK));
        Self { period_ns, credit_ns: period_ns * EARLY, last_ns: None }
    }

    /// Whether to take the frame captured at `captured_ns`.
    pub fn take(&mut self, captured_ns: u64) -> bool {
        let passed = self.last_ns.map_or(0, |last| captured_ns.saturating_sub(last));
        self.last_ns = Some(captured_ns);
        self.credit_ns = self.credit_ns.saturating_add(passed).min(self.period_ns * EARLY);
        let taken = self.credit_ns >= self.period_ns;
        if taken {
            self.credit_ns -= self.period_ns;
        }
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Frames taken of `count` that come `period_ns` apart, each early or late by up to `jitter_ns`.
    fn taken(milli_fps: u32, count: u64, period_ns: u64, jitter_ns: u64) -> u64 {
        let mut pace = Pace::new(milli_fps);
        let at = |n: u64| 1_000_000_000 + n * period_ns + [0, jitter_ns, jitter_ns / 3][n as usize % 3];
        (0..count).filter(|&n| pace.take(at(n))).count() as u64
    }

    #[test]
    fn a_camera_of_the_configured_rate_loses_nothing_however_uneven_it_is() {
        assert_eq!(taken(30_000, 3_000, 33_333_333, 0), 3_000);
        assert_eq!(taken(30_000, 3_000, 33_333_333, 25_000_000), 3_000);
        // Half a percent fast.
        assert_eq!(taken(30_000, 3_000, 33_166_666, 10_000_000), 3_000);
        assert_eq!(taken(30_000, 1_000, 66_666_666, 0), 1_000);
    }

    #[test]
    fn a_camera_of_twice_the_rate_is_thinned_to_about_half() {
        let half = taken(30_000, 6_000, 16_666_666, 3_000_000);
        assert!((3_000..=3_070).contains(&half), "{half}");
    }

    #[test]
    fn stamps_that_stand_still_or_run_back_do_not_open_the_gate() {
        let mut pace = Pace::new(30_000);
        let taken = (0..100).filter(|n| pace.take(1_000_000_000 - n)).count();
        assert_eq!(taken as u64, EARLY);
    }
}
