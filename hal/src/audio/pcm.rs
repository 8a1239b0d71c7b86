//! The calls that a capture makes, one by one: to a PCM of libasound, or to a script that plays a driver with all its faults.

#[cfg(any(test, feature = "fake"))]
use super::fake;
use super::{SampleFormat, Setup};
use crate::process::monotonic_ns;
use alsa::pcm::{Access, HwParams, State, TstampType};
use alsa::{Direction, PCM, ValueOr};
use std::ffi::CString;
use std::io;
use std::ops::RangeInclusive;
use std::time::Duration;

/// Periods a second: 10 ms are what an echo canceller takes, and half an Opus packet.
const PERIODS_A_SECOND: u32 = 100;

/// Periods that the kernel holds before samples are lost: 40 ms for a capture thread that does not get to run.
const PERIODS: i64 = 4;

/// A call that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failed {
    /// Function.
    pub call: &'static str,
    /// errno.
    pub errno: libc::c_int,
}

impl Failed {
    /// It is worth the same call again: nothing has happened.
    pub(super) fn is_transient(&self) -> bool {
        matches!(self.errno, libc::EAGAIN | libc::EINTR)
    }

    /// The device is not there.
    pub(super) fn is_missing(&self) -> bool {
        matches!(self.errno, libc::ENODEV | libc::ENXIO | libc::ENOENT)
    }
}

impl std::fmt::Display for Failed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.call, io::Error::from_raw_os_error(self.errno))
    }
}

impl From<alsa::Error> for Failed {
    /// Some calls of libasound negate the errno, some do not.
    fn from(error: alsa::Error) -> Self {
        Self { call: error.func(), errno: error.errno().abs() }
    }
}

/// Where a PCM is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Status {
    /// Frames that can be read.
    pub waiting: usize,
    /// CLOCK_MONOTONIC ns at which the driver looked; `None` from plugins that do not tell.
    pub stamp_ns: Option<u64>,
    /// Why no samples come, as an errno.
    pub stopped: Option<libc::c_int>,
}

/// A PCM that captures.
#[derive(Debug)]
pub(super) enum Pcm {
    /// libasound's.
    Alsa(PCM),
    /// A script.
    #[cfg(any(test, feature = "fake"))]
    Fake(Box<fake::Pcm>),
}

impl Pcm {
    /// Never waits for a card in use.
    pub fn open(name: &str) -> Result<Self, Failed> {
        let missing = |_| Failed { call: "snd_pcm_open", errno: libc::ENOENT };
        Ok(Self::Alsa(PCM::open(&CString::new(name).map_err(missing)?, Direction::Capture, true)?))
    }

    /// How many channels it has in this format and rate; `None` where it has no such format or rate.
    pub fn channels(&mut self, format: SampleFormat, rate: u32) -> Result<Option<RangeInclusive<u32>>, Failed> {
        call!(self, pcm => alsa_channels(pcm, format, rate), fake => fake.channels(format, rate))
    }

    /// Agrees on everything.
    pub fn set_hardware(&mut self, format: SampleFormat, rate: u32, channels: u32) -> Result<Setup, Failed> {
        call!(self, pcm => set_hardware(pcm, format, rate, channels), fake => fake.set_hardware(format, rate, channels))
    }

    /// Wakes once a period, and stamps by CLOCK_MONOTONIC.
    pub fn set_software(&mut self, period: usize) -> Result<(), Failed> {
        call!(self, pcm => set_software(pcm, period), fake => fake.set_software())
    }

    pub fn prepare(&mut self) -> Result<(), Failed> {
        call!(self, pcm => Ok(pcm.prepare()?), fake => fake.prepare())
    }

    pub fn start(&mut self) -> Result<(), Failed> {
        call!(self, pcm => Ok(pcm.start()?), fake => fake.start())
    }

    /// After a suspend; not every card can.
    pub fn resume(&mut self) -> Result<(), Failed> {
        call!(self, pcm => Ok(pcm.resume()?), fake => fake.resume())
    }

    pub fn status(&mut self) -> Result<Status, Failed> {
        call!(self, pcm => alsa_status(pcm), fake => fake.status())
    }

    /// Frames that were read; as many as fit into `raw`, or fewer.
    pub fn read(&mut self, raw: &mut [u8]) -> Result<usize, Failed> {
        call!(self, pcm => Ok(pcm.io_bytes().readi(raw)?), fake => fake.read(raw))
    }

    /// Until a period is there, or it stopped, or nothing happened for this long.
    pub fn wait(&mut self, limit: Duration) -> Result<(), Failed> {
        let ms = limit.as_micros().div_ceil(1000) as u32;
        call!(self, pcm => Ok(pcm.wait(Some(ms)).map(drop)?), fake => fake.wait(limit))
    }

    /// The time by its clock: CLOCK_MONOTONIC ns.
    pub fn now_ns(&self) -> u64 {
        call!(self, _pcm => monotonic_ns(), fake => fake.now_ns())
    }
}

/// Everything the PCM can do in this format, at this rate, without a plugin that resamples behind our back.
fn refined(pcm: &PCM, format: SampleFormat, rate: u32) -> alsa::Result<HwParams<'_>> {
    let hardware = HwParams::any(pcm)?;
    hardware.set_rate_resample(false)?;
    hardware.set_access(Access::RWInterleaved)?;
    hardware.set_format(format.alsa())?;
    hardware.set_rate(rate, ValueOr::Nearest)?;
    Ok(hardware)
}

fn alsa_channels(pcm: &PCM, format: SampleFormat, rate: u32) -> Result<Option<RangeInclusive<u32>>, Failed> {
    match refined(pcm, format, rate) {
        Ok(hardware) => Ok(Some(hardware.get_channels_min()?..=hardware.get_channels_max()?)),
        // What a PCM has no setting for is an invalid argument to it.
        Err(error) if error.errno().abs() == libc::EINVAL => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn set_hardware(pcm: &PCM, format: SampleFormat, rate: u32, channels: u32) -> Result<Setup, Failed> {
    let hardware = refined(pcm, format, rate)?;
    hardware.set_channels_near(channels)?;
    let period = i64::from(rate / PERIODS_A_SECOND);
    let period = hardware.set_period_size_near(period as _, ValueOr::Nearest)?;
    hardware.set_buffer_size_near(period * PERIODS as alsa::pcm::Frames)?;
    pcm.hw_params(&hardware)?;
    Ok(Setup {
        format,
        rate,
        channels: hardware.get_channels()?,
        period: hardware.get_period_size()? as usize,
        buffer: hardware.get_buffer_size()? as usize,
    })
}

fn set_software(pcm: &PCM, period: usize) -> Result<(), Failed> {
    let software = pcm.sw_params_current()?;
    software.set_avail_min(period as _)?;
    software.set_tstamp_mode(true)?;
    software.set_tstamp_type(TstampType::Monotonic)?;
    Ok(pcm.sw_params(&software)?)
}

fn alsa_status(pcm: &PCM) -> Result<Status, Failed> {
    let status = pcm.status()?;
    let stamp = status.get_htstamp();
    let nanoseconds =
        |seconds: u64| seconds.checked_mul(1_000_000_000)?.checked_add(u64::try_from(stamp.tv_nsec).ok()?);
    let stamp_ns = u64::try_from(stamp.tv_sec).ok().and_then(nanoseconds).filter(|&ns| ns != 0);
    let waiting = usize::try_from(status.get_avail()).unwrap_or(0);
    Ok(Status { waiting, stamp_ns, stopped: stopped(status.get_state()) })
}

/// The errno by which ALSA speaks of a state in which no samples come.
fn stopped(state: State) -> Option<libc::c_int> {
    match state {
        State::Running => None,
        State::Disconnected => Some(libc::ENODEV),
        State::Suspended => Some(libc::ESTRPIPE),
        _ => Some(libc::EPIPE),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_without_samples_is_an_errno_that_says_whether_to_go_on() {
        assert_eq!(stopped(State::Running), None);
        assert_eq!(stopped(State::Disconnected), Some(libc::ENODEV));
        assert_eq!(stopped(State::Suspended), Some(libc::ESTRPIPE));
        for state in [State::XRun, State::Draining, State::Setup, State::Prepared] {
            assert_eq!(stopped(state), Some(libc::EPIPE), "{state:?}");
        }
    }

    #[test]
    fn an_errno_is_positive_whichever_way_libasound_gives_it() {
        for errno in [libc::EBUSY, -libc::EBUSY] {
            let failed = Failed::from(alsa::Error::new("snd_pcm_open", errno));
            assert_eq!(failed, Failed { call: "snd_pcm_open", errno: libc::EBUSY });
        }
    }
}
