//! What a sender report (RFC 3550, 6.4.1) says of a stream's clock: who knows it for sound and picture of one participant
//! knows what of them belongs together.

use std::time::{Duration, SystemTime};

/// One moment on both clocks of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Report {
    /// RTP time.
    pub rtp: u32,
    /// The sender's wall clock.
    pub at: SystemTime,
}

impl Report {
    /// When the sender's wall clock was at this RTP time, extended or not, within half of its 32 bits. `rate` is in
    /// ticks a second. Nothing where no clock can have shown it.
    pub fn captured(&self, timestamp: u64, rate: u32) -> Option<SystemTime> {
        let ticks = (timestamp as u32).wrapping_sub(self.rtp).cast_signed();
        let passed = Duration::from_nanos(u64::from(ticks.unsigned_abs()) * 1_000_000_000 / u64::from(rate.max(1)));
        if ticks < 0 { self.at.checked_sub(passed) } else { self.at.checked_add(passed) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_before_or_after_the_report_and_over_the_wrap_is_told_on_the_senders_clock() {
        let at = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        let report = Report { rtp: 48_000, at };
        assert_eq!(report.captured(96_000, 48_000), Some(at + Duration::from_secs(1)));
        assert_eq!(report.captured(0, 48_000), Some(at - Duration::from_secs(1)));
        assert_eq!(report.captured((7 << 32) - 48_000, 48_000), Some(at - Duration::from_secs(2)));
        let wraps = Report { rtp: u32::MAX - 89_999, at };
        assert_eq!(wraps.captured(90_000, 90_000), Some(at + Duration::from_secs(2)));
    }

    #[test]
    fn a_report_of_no_possible_clock_tells_nothing() {
        let Some(at) = SystemTime::UNIX_EPOCH.checked_sub(Duration::from_secs(i64::MAX as u64)) else { return };
        assert_eq!(Report { rtp: u32::MAX >> 1, at }.captured(0, 1), None);
    }
}
