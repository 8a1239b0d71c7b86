//! The RTP clock and sequence numbers of one track.

use super::super::Frame;
use super::super::rtp::opus;
use super::Written;
use std::time::{Duration, Instant};

/// While a keyframe is awaited and others come, ask again this often.
const KEYFRAME_REMINDER: Duration = Duration::from_millis(500);
/// Sample counts that leave the capture time by more than this are not believed.
const AUDIO_SLIP: Duration = Duration::from_millis(100);
/// Packets in a row whose capture times lie before the one counted: so many come from a clock that was set, and are believed,
const SET_BACK: u32 = 50;
/// unless they are as far behind: no sound is as old when it is sent.
const TOO_OLD: Duration = Duration::from_secs(1);
/// RTP ticks of the usual Opus packet, 20 ms.
const OPUS_TICKS: u64 = 960;

/// RTP state that lives as long as the SSRC.
#[derive(Debug)]
pub(super) struct Stream {
    sequence: u64,
    /// RTP time of the first frame.
    base: u64,
    last: Option<Sent>,
    /// Packets of sound in a row whose capture times ran back.
    behind: u32,
    /// Pictures whose capture times did not advance, of which [`Stream::take_mended`] has not told yet.
    mended: u64,
    pub(super) awaits_keyframe: bool,
    pub(super) reminded: Option<Instant>,
}

/// The last frame.
#[derive(Clone, Copy, Debug)]
struct Sent {
    captured: Instant,
    time: u64,
    samples: u64,
    /// How long it lasts, for audio.
    ticks: u64,
}

impl Stream {
    pub(super) fn new(random: u64) -> Self {
        // The receiver's rollover counter starts at 0: the first number must be below 65,536, and with room to the
        // wrap a lost first packet cannot be taken for one.
        let sequence = random & 0x3fff;
        Self { sequence, base: random >> 33, last: None, behind: 0, mended: 0, awaits_keyframe: true, reminded: None }
    }

    pub(super) fn take_sequence(&mut self) -> u64 {
        self.sequence += 1;
        self.sequence - 1
    }

    pub(super) fn take_mended(&mut self) -> u64 {
        std::mem::take(&mut self.mended)
    }

    pub(super) fn remind(&mut self, now: Instant) -> Written {
        if self.reminded.is_some_and(|at| now < at + KEYFRAME_REMINDER) {
            return Written::Dropped;
        }
        self.reminded = Some(now);
        Written::KeyframeNeeded
    }

    /// The time that belongs to the last frame's RTP time, for sender reports. Not its stamp: that may lie in the past.
    pub(super) fn counted(&self, now: Instant) -> Instant {
        self.last.map_or(now, |last| last.captured.min(now))
    }

    /// 90 kHz from the capture time, strictly increasing. One that is not a tick later than the last is mended, and counted.
    pub(super) fn video_time(&mut self, captured: Instant) -> u32 {
        let step = self.last.map_or(0, |last| ticks(captured.saturating_duration_since(last.captured), 90_000));
        let time = self.last.map_or(self.base, |last| last.time + step.max(1));
        self.mended += u64::from(self.last.is_some() && step == 0);
        // The remainder of the division must not add up: only what was counted is taken off.
        let counted = self.last.map_or(captured, |last| last.captured + duration(time - last.time, 90_000));
        self.last = Some(Sent { captured: counted, time, samples: 0, ticks: 0 });
        time as u32
    }

    /// 48 kHz from the sample count; where the count does not go on, from the capture time. Also whether this is the first
    /// packet, or the first after a pause.
    pub(super) fn audio_time(&mut self, frame: &Frame<'_>, captured: Instant) -> (u32, bool) {
        let mut counted = captured;
        let time = match self.last {
            None => self.base,
            Some(last) => {
                let elapsed = ticks(captured.saturating_duration_since(last.captured), 48_000);
                let slip = ticks(AUDIO_SLIP, 48_000);
                let step = match frame.samples.checked_sub(last.samples) {
                    Some(counted) if counted > 0 && (!frame.discontinuity || counted.abs_diff(elapsed) < slip) => {
                        counted
                    }
                    _ => elapsed.max(OPUS_TICKS),
                };
                // The card's clock is not ours: a stamp is believed, but for some that run back.
                let back = last.captured.saturating_duration_since(captured);
                self.behind = if back.is_zero() { 0 } else { self.behind.saturating_add(1) };
                if self.behind > 0 && (self.behind < SET_BACK || back > TOO_OLD) {
                    counted = last.captured + duration(step, 48_000);
                }
                // A writer's count may be any number.
                last.time.wrapping_add(step)
            }
        };
        let pause = self.last.is_none_or(|last| time > last.time.saturating_add(last.ticks));
        let ticks = opus::ticks(frame.data).unwrap_or(OPUS_TICKS);
        self.last = Some(Sent { captured: counted, time, samples: frame.samples, ticks });
        (time as u32, pause)
    }
}

fn ticks(duration: Duration, rate: u64) -> u64 {
    (duration.as_nanos() * u128::from(rate) / 1_000_000_000) as u64
}

fn duration(ticks: u64, rate: u64) -> Duration {
    // Rounded up, so that `ticks` of it gives the same number again.
    Duration::from_nanos((ticks.saturating_mul(1_000_000_000)).div_ceil(rate))
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "simulated time starts at any instant")]
mod tests {
    use super::*;

    #[test]
    fn a_clock_of_sound_that_is_set_back_is_followed_after_a_second() {
        let start = Instant::now() + Duration::from_secs(10);
        let mut stream = Stream::new(7);
        let mut off = |n: u32, back: Duration| {
            let captured = start + n * Duration::from_millis(20) - back;
            let frame = Frame { data: &[1], captured, samples: u64::from(n) * 960, discontinuity: false, level: 0 };
            stream.audio_time(&frame, captured);
            stream.counted(start + Duration::from_secs(100)).duration_since(captured)
        };
        let back = Duration::from_millis(100);
        for n in 0..100 {
            assert_eq!(off(n, Duration::ZERO), Duration::ZERO);
        }
        let lags: Vec<_> = (100..200).map(|n| off(n, back)).collect();
        assert!(lags[10] > Duration::from_millis(90) && lags[48] > Duration::from_millis(90), "{lags:?}");
        assert!(lags[60..].iter().all(Duration::is_zero), "{lags:?}");
    }

    #[test]
    fn a_writer_whose_count_jumps_to_any_number_does_no_harm() {
        let start = Instant::now();
        let mut stream = Stream::new(u64::MAX);
        let mut time = |samples, ms| {
            let frame = Frame { data: &[1], captured: start, samples, discontinuity: false, level: 0 };
            stream.audio_time(&frame, start + Duration::from_millis(ms)).0
        };
        let first = time(0, 0);
        time(u64::MAX, 20);
        let third = time(960, 40);
        assert_eq!(third, first.wrapping_sub(1).wrapping_add(960));
    }
}
