//! What a sender report (RFC 3550, 6.4.1) says of a stream's clock: who knows it for sound and picture of one participant
//! knows what of them belongs together.

use std::time::{Duration, Instant, SystemTime};

/// Reports come every few seconds while media do. After a pause the last one may be older than what the 32 bits of RTP time
/// tell apart: 13 hours of video either way.
const BELIEVED: Duration = Duration::from_secs(3600);

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

/// The newest report of a stream, as its packets bring it along.
#[derive(Debug, Default)]
pub struct Newest {
    report: Option<Report>,
    /// When it came, as far as can be told.
    came: Option<Instant>,
    believed: bool,
}

impl Newest {
    /// A packet came at `at`, and with it the newest report so far.
    pub fn take(&mut self, report: Option<Report>, at: Instant) {
        if report != self.report {
            // It may have come long before this packet, if after the last one: the sender's clock tells how long.
            let passed = report.zip(self.report).and_then(|(new, old)| new.at.duration_since(old.at).ok());
            let before = self.came.zip(passed).and_then(|(came, passed)| came.checked_add(passed));
            self.came = Some(before.filter(|came| *came + BELIEVED <= at).unwrap_or(at));
            self.report = report;
        }
        self.believed = self.came.is_some_and(|came| at < came + BELIEVED);
    }

    /// As [`Report::captured`], of the last packet taken. Nothing where the report is too old for that.
    pub fn captured(&self, timestamp: u64, rate: u32) -> Option<SystemTime> {
        self.report.filter(|_| self.believed)?.captured(timestamp, rate)
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "simulated time starts at any instant")]
mod tests {
    use super::*;

    const RATE: u32 = 90_000;

    #[test]
    fn a_report_from_before_a_pause_as_long_as_rtp_time_is_not_believed_and_the_next_one_is() {
        let (wall, start) = (SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000), Instant::now());
        let seconds = Duration::from_secs;
        let report = |s: u64| Report { rtp: (s * u64::from(RATE)) as u32, at: wall + seconds(s) };
        let pause = (1 << 32) / u64::from(RATE);
        // The last one came with the last packet before the pause, or after it.
        for last in [0, 1] {
            let mut newest = Newest::default();
            newest.take(Some(report(0)), start);
            assert_eq!(newest.captured(u64::from(RATE), RATE), Some(wall + seconds(1)));
            newest.take(Some(report(last)), start + seconds(pause));
            assert_eq!(newest.captured(pause * u64::from(RATE), RATE), None, "half a day off");
            newest.take(Some(report(pause + 2)), start + seconds(pause + 3));
            assert_eq!(newest.captured((pause + 3) * u64::from(RATE), RATE), Some(wall + seconds(pause + 3)));
        }
    }

    #[test]
    fn a_sender_whose_clock_is_set_is_believed() {
        let (wall, start) = (SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000), Instant::now());
        let mut newest = Newest::default();
        let day = Duration::from_secs(86_400);
        for (second, at) in [(0, wall), (5, wall + day), (10, wall - day), (15, wall - day)] {
            newest.take(Some(Report { rtp: second * RATE, at }), start + Duration::from_secs(second.into()));
            assert_eq!(newest.captured(u64::from(second * RATE), RATE), Some(at), "{second} s");
        }
        let ahead = Report { rtp: 20 * RATE, at: wall };
        newest.take(Some(ahead), start + Duration::from_secs(20));
        newest.take(Some(ahead), start + Duration::from_secs(20) + BELIEVED);
        assert_eq!(newest.captured(u64::from(20 * RATE), RATE), None);
    }

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
