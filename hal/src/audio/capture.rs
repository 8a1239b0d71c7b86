//! Capture from one card.

use super::{Error, Period};
use crate::process::monotonic_ns;
use alsa::pcm::{Access, Format, HwParams, State, TstampType};
use alsa::{Direction, PCM, ValueOr};
use std::ffi::CString;
use std::io;
use std::time::{Duration, Instant};

const RATE: u32 = 48_000;

/// Frames of 10 ms: what an echo canceller takes, and half an Opus packet.
const PERIOD: i64 = 480;

/// Periods that the kernel holds before samples are lost: 40 ms for a capture thread that does not get to run.
const PERIODS: i64 = 4;

/// Restarts in a row, without a period between them, after which the card counts as lost.
const MAX_RESTARTS: u32 = 10;

/// A capturing card: S16, 48 kHz, interleaved, 10 ms periods. Reading allocates nothing.
#[derive(Debug)]
pub struct Capture {
    pcm: PCM,
    channels: u8,
    period: usize,
    restarts: u32,
}

impl Capture {
    /// Opens and starts; `channels` is what is wanted, see [`Capture::channels`]. Never waits for a card in use.
    pub fn start(name: &str, channels: u8) -> Result<Self, Error> {
        let pcm_name = CString::new(name).map_err(|_| Error::Missing(name.to_owned()))?;
        let pcm = PCM::open(&pcm_name, Direction::Capture, true).map_err(|e| failed(name, e))?;
        let (channels, period) = set_hardware(&pcm, name, channels)?;
        set_software(&pcm, period).map_err(|e| failed(name, e))?;
        pcm.prepare().and_then(|()| pcm.start()).map_err(|e| failed(name, e))?;
        Ok(Self { pcm, channels, period, restarts: 0 })
    }

    /// Channels the card really delivers.
    pub fn channels(&self) -> u8 {
        self.channels
    }

    /// Frames a period: 480, or what the card has nearest to that.
    pub fn period(&self) -> usize {
        self.period
    }

    /// Fills `buffer` (period x channels) with the next period.
    ///
    /// # Panics
    /// If `buffer` has another length.
    pub fn read(&mut self, buffer: &mut [i16], timeout: Duration) -> Period {
        assert_eq!(buffer.len(), self.period * usize::from(self.channels), "a buffer of one period");
        match self.wait_and_read(buffer, timeout) {
            Ok(Some(captured_ns)) => {
                self.restarts = 0;
                Period::Samples { captured_ns }
            }
            Ok(None) => Period::Silent,
            Err(e) => self.recover(e),
        }
    }

    fn wait_and_read(&self, buffer: &mut [i16], timeout: Duration) -> alsa::Result<Option<u64>> {
        let start = Instant::now();
        loop {
            let status = self.pcm.status()?;
            let waiting = status.get_avail();
            if waiting >= self.period as alsa::pcm::Frames {
                // SAFETY: the samples are i16: the format is S16 since the card was set up, and is never set again. The
                // checked way would allocate.
                let frames = unsafe { self.pcm.io_unchecked::<i16>() }.readi(buffer)?;
                // Less than a period, although one was there: the card was stopped in between.
                return match frames == self.period {
                    true => Ok(Some(captured_ns(stamp_ns(&status).unwrap_or_else(monotonic_ns), waiting as u64))),
                    false => Err(alsa::Error::new("snd_pcm_readi", libc::EPIPE)),
                };
            }
            if status.get_state() != State::Running {
                return Err(alsa::Error::new("snd_pcm_status", stopped(status.get_state())));
            }
            let left = timeout.saturating_sub(start.elapsed());
            if left.is_zero() {
                return Ok(None);
            }
            self.pcm.wait(Some(left.as_micros().div_ceil(1000) as u32))?;
        }
    }

    /// Starts again after an overrun, a suspend or a change by a loopback's other end; anything else is the card's loss.
    fn recover(&mut self, error: alsa::Error) -> Period {
        let errno = error.errno().abs();
        self.restarts += 1;
        if is_gone(errno) || self.restarts > MAX_RESTARTS {
            return Period::Gone;
        }
        if errno == libc::ESTRPIPE {
            // Cards that cannot resume, or not yet, are set up anew by `prepare`.
            let _ = self.pcm.resume();
        }
        match self.pcm.prepare().and_then(|()| self.pcm.start()) {
            Ok(()) => Period::Xrun,
            Err(_) => Period::Gone,
        }
    }
}

/// Agrees with the card on channels and period.
fn set_hardware(pcm: &PCM, name: &str, channels: u8) -> Result<(u8, usize), Error> {
    let no_format = |_| Error::NoFormat(name.to_owned());
    let hardware = HwParams::any(pcm).map_err(|e| failed(name, e))?;
    hardware.set_access(Access::RWInterleaved).map_err(no_format)?;
    hardware.set_format(Format::S16LE).map_err(no_format)?;
    hardware.set_rate(RATE, ValueOr::Nearest).map_err(no_format)?;
    hardware.set_channels_near(channels.max(1).into()).map_err(no_format)?;
    let period = hardware.set_period_size_near(PERIOD as _, ValueOr::Nearest).map_err(|e| failed(name, e))?;
    hardware.set_buffer_size_near(period * PERIODS as alsa::pcm::Frames).map_err(|e| failed(name, e))?;
    pcm.hw_params(&hardware).map_err(|e| failed(name, e))?;
    let channels = hardware.get_channels().map_err(|e| failed(name, e))?;
    let channels = u8::try_from(channels).map_err(|_| Error::NoFormat(name.to_owned()))?;
    let period = hardware.get_period_size().map_err(|e| failed(name, e))?;
    Ok((channels, period as usize))
}

fn set_software(pcm: &PCM, period: usize) -> alsa::Result<()> {
    let software = pcm.sw_params_current()?;
    software.set_avail_min(period as _)?;
    software.set_tstamp_mode(true)?;
    software.set_tstamp_type(TstampType::Monotonic)?;
    pcm.sw_params(&software)
}

/// When the first of `waiting` frames was captured, if the last was at `stamp_ns`.
fn captured_ns(stamp_ns: u64, waiting: u64) -> u64 {
    stamp_ns.saturating_sub(waiting.saturating_mul(1_000_000_000) / u64::from(RATE))
}

/// When the card's position was read; `None` from plugins that do not tell.
fn stamp_ns(status: &alsa::pcm::Status) -> Option<u64> {
    let stamp = status.get_htstamp();
    let seconds = u64::try_from(stamp.tv_sec).ok()?;
    let stamp = seconds.checked_mul(1_000_000_000)?.checked_add(u64::try_from(stamp.tv_nsec).ok()?)?;
    (stamp != 0).then_some(stamp)
}

/// The errno by which ALSA speaks of a state in which no samples come.
fn stopped(state: State) -> libc::c_int {
    match state {
        State::Disconnected => libc::ENODEV,
        State::Suspended => libc::ESTRPIPE,
        _ => libc::EPIPE,
    }
}

fn is_gone(errno: libc::c_int) -> bool {
    matches!(errno, libc::ENODEV | libc::ENXIO | libc::ENOENT)
}

fn failed(device: &str, error: alsa::Error) -> Error {
    let device = device.to_owned();
    match error.errno().abs() {
        libc::EBUSY | libc::EAGAIN => Error::Busy(device),
        errno if is_gone(errno) => Error::Missing(device),
        errno => Error::Call { device, call: error.func(), source: io::Error::from_raw_os_error(errno) },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_period_is_stamped_with_the_time_of_its_first_sample() {
        assert_eq!(captured_ns(1_000_000_000, 480), 990_000_000);
        assert_eq!(captured_ns(1_000_000_000, 960), 980_000_000, "one period behind");
        assert_eq!(captured_ns(5, 480), 0);
        assert_eq!(captured_ns(5, u64::MAX), 0);
    }

    #[test]
    fn errors_tell_what_to_do_about_them() {
        let error = |errno| failed("hw:CARD=Mic", alsa::Error::new("snd_pcm_open", errno));
        assert!(matches!(error(libc::EBUSY), Error::Busy(name) if name == "hw:CARD=Mic"));
        assert!(matches!(error(-libc::EBUSY), Error::Busy(_)), "some calls negate it");
        assert!(matches!(error(libc::ENODEV), Error::Missing(_)));
        assert!(matches!(error(libc::EACCES), Error::Call { call: "snd_pcm_open", .. }));
    }

    #[test]
    fn a_state_without_samples_is_an_error_that_says_whether_to_go_on() {
        assert!(is_gone(stopped(State::Disconnected)));
        for state in [State::XRun, State::Suspended, State::Draining, State::Setup, State::Prepared] {
            assert!(!is_gone(stopped(state)), "{state:?}");
        }
    }

    #[test]
    fn a_card_that_is_not_there_is_missing() {
        for name in ["hw:CARD=none_such", "a\0b", ""] {
            assert!(matches!(Capture::start(name, 1), Err(Error::Missing(_))), "{name:?}");
        }
    }

    #[test]
    fn the_null_device_is_set_up_as_asked_for() {
        let capture = Capture::start("null", 2).unwrap();
        assert_eq!((capture.channels(), capture.period()), (2, 480));
    }
}
