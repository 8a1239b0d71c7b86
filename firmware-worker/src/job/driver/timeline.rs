//! From the stamps in a ring to the times of the room.

use std::time::{Duration, Instant};

/// Samples a second of Opus' clock.
const SAMPLE_RATE: u64 = 48_000;

/// A count that leaves real time by more than this many samples, half a second, from one unit to the next is not
/// believed: the track's time would part from that of its pictures for good.
const MAX_SLIP: u64 = SAMPLE_RATE / 2;

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
    /// The next position is of another count.
    restarted: bool,
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
    /// The next unit may be of another process, which counts from somewhere else.
    pub fn restart(&mut self) {
        self.restarted = true;
    }

    /// Places a unit by its position on the source's count, or by the time that passed where the count does not go on.
    pub fn place(&mut self, position: u64, captured: Instant, epoch: u32) -> Place {
        let restarted = std::mem::take(&mut self.restarted);
        let place = match &self.last {
            None => Place { samples: position, discontinuity: true },
            Some(last) => {
                let elapsed = samples(captured.saturating_duration_since(last.captured));
                let counted = position.checked_sub(last.position).filter(|&n| n > 0 && n.abs_diff(elapsed) <= MAX_SLIP);
                let goes_on = counted.is_some() && !restarted;
                let step = counted.filter(|_| goes_on).unwrap_or(elapsed.max(1));
                let here = last.position.wrapping_add(self.offset).wrapping_add(step);
                self.offset = here.wrapping_sub(position);
                Place { samples: here, discontinuity: !goes_on || epoch != last.epoch }
            }
        };
        self.last = Some(Last { position, captured, epoch });
        place
    }
}

fn samples(duration: Duration) -> u64 {
    (duration.as_micros() * u128::from(SAMPLE_RATE) / 1_000_000) as u64
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

    #[test]
    fn another_owner_whose_count_happens_to_be_ahead_goes_on_by_the_time_that_passed() {
        let start = Instant::now();
        let mut timeline = Timeline::default();
        timeline.place(960, start, 1);
        timeline.restart();
        let place = timeline.place(1920, start + Duration::from_millis(400), 1);
        assert_eq!(place, Place { samples: 960 + 19_200, discontinuity: true });
        let next = timeline.place(2880, start + Duration::from_millis(420), 1);
        assert_eq!(next, Place { samples: 2 * 960 + 19_200, discontinuity: false });
    }

    #[test]
    fn a_count_that_jumps_away_from_real_time_is_not_believed() {
        let start = Instant::now();
        let mut timeline = Timeline::default();
        timeline.place(960, start, 1);
        let place = timeline.place(u64::MAX, start + Duration::from_millis(20), 1);
        assert_eq!(place, Place { samples: 1920, discontinuity: true });
        let next = timeline.place(1, start + Duration::from_millis(40), 1);
        assert_eq!(next, Place { samples: 2880, discontinuity: true });
    }
}
