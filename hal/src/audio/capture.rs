//! Capture from one card.

#[cfg(any(test, feature = "fake"))]
use super::fake;
use super::pcm::{Failed, Pcm};
use super::{Error, Period, SampleFormat, Setup};
use std::time::Duration;

/// Rates that are taken, best first: Opus' own and the one next to it, then those above; those below lose sound.
pub(super) const RATES: [u32; 9] = [48_000, 44_100, 64_000, 88_200, 96_000, 32_000, 24_000, 22_050, 16_000];

/// Microphone arrays have up to this many.
const MAX_CHANNELS: u32 = 8;

/// Restarts in a row, without a period between them, after which the card counts as lost.
const MAX_RESTARTS: u32 = 10;

/// A capturing card: 10 ms periods, or what it has nearest to that. Reading allocates nothing.
#[derive(Debug)]
pub struct Capture {
    pcm: Pcm,
    setup: Setup,
    /// One period as the card gives it.
    raw: Vec<u8>,
    /// Frames of it that are there.
    filled: usize,
    captured_ns: u64,
    restarts: u32,
    /// It is opened again or not at all.
    gone: Option<Failed>,
}

impl Capture {
    /// Opens and starts; `channels` is what is wanted at least, see [`Capture::setup`]. Never waits for a card in use.
    pub fn start(name: &str, channels: u32) -> Result<Self, Error> {
        #[cfg(any(test, feature = "fake"))]
        if let Some(pcm) = fake::open(name) {
            return Self::over(pcm.map(|pcm| Pcm::Fake(Box::new(pcm))), name, channels);
        }
        Self::over(Pcm::open(name), name, channels)
    }

    /// The same on a card by script.
    #[cfg(any(test, feature = "fake"))]
    pub fn start_fake(script: fake::Script, channels: u32) -> Result<Self, Error> {
        Self::over(fake::Pcm::open(script).map(|pcm| Pcm::Fake(Box::new(pcm))), "fake", channels)
    }

    fn over(pcm: Result<Pcm, Failed>, name: &str, channels: u32) -> Result<Self, Error> {
        let mut pcm = pcm.map_err(|e| Error::of(name, e))?;
        let setup = agree(&mut pcm, name, channels)?;
        let started = pcm.set_software(setup.period).and_then(|()| pcm.prepare()).and_then(|()| pcm.start());
        started.map_err(|e| Error::of(name, e))?;
        let raw = vec![0; setup.period * setup.channels as usize * setup.format.bytes()];
        Ok(Self { pcm, setup, raw, filled: 0, captured_ns: 0, restarts: 0, gone: None })
    }

    /// What the card and we have agreed on.
    pub fn setup(&self) -> Setup {
        self.setup
    }

    /// Fills `samples` (period x channels) with the next period.
    ///
    /// # Panics
    /// If `samples` has another length.
    pub fn read(&mut self, samples: &mut [f32], timeout: Duration) -> Period {
        if let Some(failed) = self.gone {
            return Period::Gone(failed);
        }
        match self.wait_and_read(timeout) {
            Ok(true) => {
                self.restarts = 0;
                self.filled = 0;
                self.setup.format.decode(&self.raw, samples);
                Period::Samples { captured_ns: self.captured_ns }
            }
            Ok(false) => Period::Silent,
            Err(failed) => match self.recover(failed) {
                Ok(()) => Period::Xrun,
                Err(failed) => Period::Gone(*self.gone.insert(failed)),
            },
        }
    }

    /// Whether a whole period came in time.
    fn wait_and_read(&mut self, timeout: Duration) -> Result<bool, Failed> {
        let until = self.pcm.now_ns() + timeout.as_nanos() as u64;
        loop {
            match self.pcm.status() {
                Ok(status) if status.waiting >= self.setup.period - self.filled => {
                    if self.filled == 0 {
                        let stamp = status.stamp_ns.unwrap_or_else(|| self.pcm.now_ns());
                        self.captured_ns = captured_ns(stamp, status.waiting as u64, self.setup.rate);
                    }
                    if self.take()? {
                        return Ok(true);
                    }
                }
                Ok(status) => {
                    if let Some(errno) = status.stopped {
                        return Err(Failed { call: "snd_pcm_status", errno });
                    }
                }
                Err(failed) if failed.is_transient() => {}
                Err(failed) => return Err(failed),
            }
            let left = until.saturating_sub(self.pcm.now_ns());
            if left == 0 {
                return Ok(false);
            }
            match self.pcm.wait(Duration::from_nanos(left)) {
                Err(failed) if !failed.is_transient() => return Err(failed),
                _ => {}
            }
        }
    }

    /// Reads what is missing of the period; a driver may give it in pieces.
    fn take(&mut self) -> Result<bool, Failed> {
        let frame = self.raw.len() / self.setup.period;
        match self.pcm.read(&mut self.raw[self.filled * frame..]) {
            Ok(frames) => self.filled += frames,
            Err(failed) if failed.is_transient() => {}
            Err(failed) => return Err(failed),
        }
        Ok(self.filled == self.setup.period)
    }

    /// Starts again after an overrun, a suspend or a change by a loopback's other end; anything else is the card's loss.
    fn recover(&mut self, failed: Failed) -> Result<(), Failed> {
        self.filled = 0;
        self.restarts += 1;
        match failed.errno {
            _ if self.restarts > MAX_RESTARTS => Err(failed),
            // Cards that cannot resume are set up anew by `prepare`.
            libc::ESTRPIPE if self.pcm.resume().is_ok() => Ok(()),
            libc::ESTRPIPE | libc::EPIPE => self.pcm.prepare().and_then(|()| self.pcm.start()),
            _ => Err(failed),
        }
    }
}

/// Chooses rate, format and channels, and sets them.
fn agree(pcm: &mut Pcm, name: &str, wanted: u32) -> Result<Setup, Error> {
    for rate in RATES {
        for format in SampleFormat::ALL {
            let channels = pcm.channels(format, rate).map_err(|e| Error::of(name, e))?;
            let Some(channels) = channels.filter(|channels| *channels.start() <= MAX_CHANNELS) else { continue };
            let wanted = wanted.clamp(*channels.start(), *channels.end());
            return pcm.set_hardware(format, rate, wanted).map_err(|e| Error::of(name, e));
        }
    }
    Err(Error::NoFormat(name.to_owned()))
}

/// When the first of `waiting` frames was captured, if the last was at `stamp_ns`.
fn captured_ns(stamp_ns: u64, waiting: u64, rate: u32) -> u64 {
    stamp_ns.saturating_sub(waiting.saturating_mul(1_000_000_000) / u64::from(rate))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audio::fake::{Call, Fault, Script};

    const SECOND: Duration = Duration::from_secs(1);

    fn capture(script: Script, channels: u32) -> Capture {
        Capture::start_fake(script, channels).unwrap()
    }

    /// What comes in the first `count` turns, and the samples of it.
    fn turns(capture: &mut Capture, count: usize) -> (Vec<Period>, Vec<f32>) {
        let setup = capture.setup();
        let mut buffer = vec![0.0; setup.period * setup.channels as usize];
        let (mut periods, mut sound) = (Vec::new(), Vec::new());
        for _ in 0..count {
            let period = capture.read(&mut buffer, SECOND);
            periods.push(period);
            if matches!(period, Period::Samples { .. }) {
                sound.extend(&buffer);
            }
        }
        (periods, sound)
    }

    #[test]
    fn a_period_is_stamped_with_the_time_of_its_first_sample() {
        assert_eq!(captured_ns(1_000_000_000, 480, 48_000), 990_000_000);
        assert_eq!(captured_ns(1_000_000_000, 960, 48_000), 980_000_000, "one period behind");
        assert_eq!(captured_ns(1_000_000_000, 441, 44_100), 990_000_000);
        assert_eq!(captured_ns(5, 480, 48_000), 0);
        assert_eq!(captured_ns(5, u64::MAX, 48_000), 0);
    }

    #[test]
    fn a_card_that_is_not_there_is_missing() {
        for name in ["hw:CARD=none_such", "a\0b", ""] {
            assert!(matches!(Capture::start(name, 1), Err(Error::Missing(_))), "{name:?}");
        }
    }

    #[test]
    fn the_null_device_is_set_up_as_asked_for() {
        let setup = Capture::start("null", 2).unwrap().setup();
        assert_eq!(setup, Setup { format: SampleFormat::S16, rate: 48_000, channels: 2, period: 480, buffer: 1920 });
        assert_eq!(setup.to_string(), "S16_LE 2 ch 48000 Hz, period 10.0 ms, buffer 40 ms");
    }

    #[test]
    fn the_nearest_rate_and_the_smallest_format_are_agreed_on() {
        use SampleFormat::{Float, S16, S24, S24Packed, S32};
        let agreed = |formats: &[SampleFormat], rates: &[u32], channels, wanted| {
            let script = Script { formats: formats.to_vec(), rates: rates.to_vec(), channels, ..Script::default() };
            let setup = capture(script, wanted).setup();
            (setup.format, setup.rate, setup.channels, setup.period)
        };
        assert_eq!(agreed(&[S32, S16], &[16_000, 48_000], 1..=2, 1), (S16, 48_000, 1, 480));
        assert_eq!(agreed(&[Float, S24Packed], &[96_000, 44_100], 2..=2, 1), (S24Packed, 44_100, 2, 441));
        assert_eq!(agreed(&[S24], &[16_000], 1..=1, 2), (S24, 16_000, 1, 160));
        assert_eq!(agreed(&[S32], &[96_000], 8..=8, 1), (S32, 96_000, 8, 960));
        let none = Script { rates: vec![8_000], ..Script::default() };
        assert!(matches!(Capture::start_fake(none, 1), Err(Error::NoFormat(_))));
        let wide = Script { channels: 32..=32, ..Script::default() };
        assert!(matches!(Capture::start_fake(wide, 1), Err(Error::NoFormat(_))));
    }

    #[test]
    fn every_frame_of_every_format_and_period_comes_once_and_is_stamped() {
        for format in SampleFormat::ALL {
            for (rate, period) in [(48_000, 480), (44_100, 441), (16_000, 512), (96_000, 64), (48_000, 4096)] {
                let script = Script {
                    formats: vec![format],
                    rates: vec![rate],
                    channels: 2..=2,
                    period: Some(period),
                    sound: |frame, channel| f32::from((frame * 2) as i16 | channel as i16) / 32_768.0,
                    ..Script::default()
                };
                let (periods, sound) = turns(&mut capture(script, 1), 20);
                for (n, sample) in sound.iter().enumerate() {
                    assert_eq!(*sample, f32::from(n as i16) / 32_768.0, "{format:?} {rate} {period} sample {n}");
                }
                for (n, turn) in periods.iter().enumerate() {
                    let expected = 1_000_000_000 + (n * period) as u64 * 1_000_000_000 / u64::from(rate);
                    let Period::Samples { captured_ns } = *turn else { panic!("{turn:?}") };
                    assert!(captured_ns.abs_diff(expected) < 50_000, "{captured_ns} {expected}");
                }
            }
        }
    }

    #[test]
    fn a_period_that_comes_in_pieces_is_one_period() {
        let faults = vec![(Call::Read, 1, Fault::Short(100)), (Call::Read, 2, Fault::Short(0))];
        let (periods, sound) = turns(&mut capture(Script { faults, ..Script::default() }, 1), 4);
        assert!(periods.iter().all(|turn| matches!(turn, Period::Samples { .. })), "{periods:?}");
        assert!(sound.iter().enumerate().all(|(n, s)| *s == n as f32 / 32_768.0));
    }

    #[test]
    fn a_card_that_stands_still_is_silent_and_goes_on() {
        let faults = vec![(Call::Status, 9, Fault::Stall(Duration::from_millis(2_500)))];
        let (periods, _) = turns(&mut capture(Script { faults, ..Script::default() }, 1), 20);
        let silent = periods.iter().filter(|turn| **turn == Period::Silent).count();
        let samples = periods.iter().filter(|turn| matches!(turn, Period::Samples { .. })).count();
        assert_eq!((silent, samples), (2, 18), "{periods:?}");
    }

    #[test]
    fn the_clock_of_the_card_shows_in_the_stamps() {
        let (periods, _) = turns(&mut capture(Script { ppm: -1000, ..Script::default() }, 1), 1001);
        let stamp = |n: usize| match periods[n] {
            Period::Samples { captured_ns } => captured_ns,
            other => panic!("{other:?}"),
        };
        // 10 s of samples take 10.01 s.
        assert!((stamp(1000) - stamp(0)).abs_diff(10_010_000_000) < 100_000);
    }

    /// Every call, failing once in every way at its first turns: the start is an error that names the card, or capture
    /// goes on after at most a gap, or the card is gone for good, with the call and the errno.
    #[test]
    fn every_errno_at_every_call_is_recovered_from_or_a_clear_stop() {
        let errnos = [
            libc::EPIPE,
            libc::ESTRPIPE,
            libc::ENODEV,
            libc::ENXIO,
            libc::EIO,
            libc::EAGAIN,
            libc::EINTR,
            libc::EBADFD,
            libc::EINVAL,
            libc::ENOSPC,
            libc::ENOMEM,
            libc::EACCES,
            libc::EBUSY,
            libc::ENOSYS,
        ];
        let (mut refused, mut recovered, mut gone) = (0, 0, 0);
        for call in Call::ALL {
            for errno in errnos {
                for at in 0..3 {
                    // A second fault, so that the recovery itself runs, and fails now and then.
                    let faults = vec![(call, at, Fault::Errno(errno)), (Call::Read, 5, Fault::Errno(libc::ESTRPIPE))];
                    let Ok(mut capture) = Capture::start_fake(Script { faults, ..Script::default() }, 1) else {
                        refused += 1;
                        continue;
                    };
                    let (periods, _) = turns(&mut capture, 40);
                    match periods[39] {
                        Period::Samples { .. } => recovered += 1,
                        Period::Gone(failed) => {
                            assert!(failed.call.starts_with("snd_pcm_") && failed.errno != 0, "{failed:?}");
                            gone += 1;
                        }
                        other => panic!("{call:?} {errno} at {at}: {other:?} in the end"),
                    }
                    let gaps = periods.iter().filter(|turn| **turn == Period::Xrun).count();
                    assert!(gaps <= 2, "{call:?} {errno} at {at}: {gaps} gaps");
                }
            }
        }
        assert!(refused > 50 && recovered > 50 && gone > 50, "{refused} {recovered} {gone}");
    }

    #[test]
    fn what_happens_to_a_running_card_has_one_value_each() {
        let turn = |call, errno| {
            let faults = vec![(call, 4, Fault::Errno(errno))];
            let (periods, _) = turns(&mut capture(Script { faults, ..Script::default() }, 1), 30);
            periods.into_iter().find(|turn| !matches!(turn, Period::Samples { .. }))
        };
        for call in [Call::Status, Call::Read, Call::Wait] {
            assert_eq!(turn(call, libc::EPIPE), Some(Period::Xrun), "{call:?}");
            assert_eq!(turn(call, libc::ESTRPIPE), Some(Period::Xrun), "{call:?}");
            assert_eq!(turn(call, libc::EAGAIN), None, "{call:?}");
            assert_eq!(turn(call, libc::EINTR), None, "{call:?}");
            for errno in [libc::ENODEV, libc::EIO] {
                assert!(matches!(turn(call, errno), Some(Period::Gone(failed)) if failed.errno == errno), "{call:?}");
            }
        }
    }

    #[test]
    fn a_card_that_only_ever_overruns_is_given_up() {
        let faults = (0..100).map(|n| (Call::Read, n, Fault::Errno(libc::EPIPE))).collect();
        let (periods, _) = turns(&mut capture(Script { faults, ..Script::default() }, 1), 11);
        assert!(periods[..10].iter().all(|turn| *turn == Period::Xrun));
        assert!(matches!(periods[10], Period::Gone(failed) if failed.errno == libc::EPIPE));
    }

    #[test]
    fn errors_tell_what_to_do_about_them() {
        let error = |errno| {
            let faults = vec![(Call::Open, 0, Fault::Errno(errno))];
            Capture::start_fake(Script { faults, ..Script::default() }, 1).unwrap_err()
        };
        assert!(matches!(error(libc::EBUSY), Error::Busy(name) if name == "fake"));
        assert!(matches!(error(libc::ENODEV), Error::Missing(_)));
        assert!(error(libc::EACCES).to_string().contains("group `audio`"));
        assert!(error(libc::ENOSPC).to_string().contains("bandwidth"));
        assert!(matches!(error(libc::EIO), Error::Call { call: "snd_pcm_open", .. }));
    }
}
