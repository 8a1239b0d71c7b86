//! From the stamps in a ring to the times of the room.

use std::time::{Duration, Instant};

/// Samples a second of Opus' clock.
const SAMPLE_RATE: u64 = 48_000;

/// One moment on both clocks: `Instant` hides that it is CLOCK_MONOTONIC.
#[derive(Clone, Copy, Debug)]
pub struct Anchor {
    instant: Instant,
    ns: u64,
}

impl Anchor {
    /// `ns` is CLOCK_MONOTONIC at `instant`.
    pub fn new(instant: Instant, ns: u64) -> Self {
        Self { instant, ns }
    }

    /// The instant of a stamp. One that no clock of this boot can have shown is taken as the anchor itself.
    pub fn instant(&self, ns: u64) -> Instant {
        let moved = match ns.checked_sub(self.ns) {
            Some(later) => self.instant.checked_add(Duration::from_nanos(later)),
            None => self.instant.checked_sub(Duration::from_nanos(self.ns - ns)),
        };
        moved.unwrap_or(self.instant)
    }
}

/// Keeps a track's count of samples growing by real time over restarts of its device.
#[derive(Debug, Default)]
pub struct Timeline {
    last: Option<Last>,
    /// Added (wrapping) to a source's own position.
    offset: u64,
}

#[derive(Debug)]
struct Last {
    position: u64,
    captured: Instant,
    epoch: u32,
}

/// Where a unit lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// On the track's count.
    pub samples: u64,
    /// It does not follow the unit before.
    pub discontinuity: bool,
}

impl Timeline {
    /// Places a unit by its position on the source's count, which starts again when its owner is another process.
    pub fn place(&mut self, position: u64, captured: Instant, epoch: u32) -> Place {
        let place = match &self.last {
            None => Place { samples: position, discontinuity: true },
            Some(last) if position > last.position => {
                Place { samples: position.wrapping_add(self.offset), discontinuity: epoch != last.epoch }
            }
            Some(last) => {
                let elapsed = captured.saturating_duration_since(last.captured);
                let samples = (elapsed.as_micros() * u128::from(SAMPLE_RATE) / 1_000_000).max(1) as u64;
                let here = last.position.wrapping_add(self.offset).wrapping_add(samples);
                self.offset = here.wrapping_sub(position);
                Place { samples: here, discontinuity: true }
            }
        };
        self.last = Some(Last { position, captured, epoch });
        place
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps_before_and_after_the_anchor_keep_their_distance() {
        let now = Instant::now();
        let anchor = Anchor::new(now, 5_000_000_000);
        assert_eq!(anchor.instant(5_000_000_001), now + Duration::from_nanos(1));
        assert_eq!(anchor.instant(4_000_000_000), now - Duration::from_secs(1));
    }

    #[test]
    fn an_impossible_stamp_does_not_overflow() {
        let now = Instant::now();
        assert!(Anchor::new(now, 0).instant(u64::MAX) >= now);
        assert!(Anchor::new(now, u64::MAX).instant(0) <= now);
    }

    #[test]
    fn a_restarted_owner_continues_the_count_by_the_time_that_passed() {
        let start = Instant::now();
        let mut timeline = Timeline::default();
        let mut place = |position, ms| timeline.place(position, start + Duration::from_millis(ms), 0);
        assert_eq!(place(96_000, 0), Place { samples: 96_000, discontinuity: true });
        assert_eq!(place(96_960, 20), Place { samples: 96_960, discontinuity: false });
        assert_eq!(place(0, 1020), Place { samples: 96_960 + 48_000, discontinuity: true });
        assert_eq!(place(960, 1040), Place { samples: 96_960 + 48_960, discontinuity: false });
    }

    #[test]
    fn a_new_epoch_of_the_same_owner_keeps_its_count_and_is_a_discontinuity() {
        let start = Instant::now();
        let mut timeline = Timeline::default();
        timeline.place(960, start, 1);
        let place = timeline.place(48_960, start + Duration::from_secs(1), 2);
        assert_eq!(place, Place { samples: 48_960, discontinuity: true });
    }
}
