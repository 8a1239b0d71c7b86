//! The calls that playback makes, one by one: to a PCM of libasound, or to a script.

#[cfg(any(test, feature = "fake"))]
use super::fake;
use super::{AHEAD, Error, Failed, SampleFormat};
use crate::audio::capture::RATES;
use alsa::pcm::{Access, HwParams, State};
use alsa::{Direction, PCM, ValueOr};
use std::ffi::CString;
use std::fmt;
use std::time::Duration;

/// Periods a second: 10 ms each.
const PERIODS_A_SECOND: u32 = 100;

/// Periods that the kernel can hold: one more than there are ever in it, so that the card wakes us with room to spare.
const PERIODS: i64 = 5;

/// Periods of the longest kind that is worth playing in, a second: 85 ms each.
const FEWEST_A_SECOND: f64 = 48_000.0 / 4096.0;

/// What the card and we have agreed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Of each sample.
    pub format: SampleFormat,
    /// Hz.
    pub rate: u32,
    /// Interleaved.
    pub channels: usize,
    /// Frames a period.
    pub period: usize,
    /// Frames that the kernel holds.
    pub buffer: usize,
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { format, rate, channels, period, buffer } = *self;
        let ms = |frames: usize| frames as f64 * 1000.0 / f64::from(rate);
        // The usual is not worth a word.
        if format != SampleFormat::S16 {
            write!(f, "{} ", format.name())?;
        }
        write!(f, "{channels} ch {rate} Hz, period {:.1} ms, buffer {:.0} ms", ms(period), ms(buffer))
    }
}

impl Shape {
    /// Frames of room at which the next period is due.
    pub(super) fn wake(&self) -> usize {
        self.buffer.saturating_sub((AHEAD - 1) * self.period).max(self.period)
    }

    /// Bytes of a period.
    pub(super) fn bytes(&self) -> usize {
        self.period * self.channels * self.format.bytes()
    }

    fn is_fit(&self) -> bool {
        self.period as f64 * FEWEST_A_SECOND <= f64::from(self.rate) && self.buffer >= AHEAD * self.period
    }
}

/// A PCM that plays.
#[derive(Debug)]
pub(super) enum Pcm {
    /// libasound's.
    Alsa(PCM),
    /// A script.
    #[cfg(any(test, feature = "fake"))]
    Fake(fake::Pcm),
}

impl Pcm {
    /// Opens it and sets it up; `channels` is what is wanted. Never waits for a card in use.
    pub(super) fn open(name: &str, channels: u8) -> Result<(Self, Shape), Error> {
        let failed = |failed| Error::of(name, failed);
        let mut pcm = Self::find(name).map_err(failed)?;
        let shape = pcm.agree(channels.max(1).into()).map_err(failed)?;
        let shape = shape.filter(Shape::is_fit).ok_or_else(|| Error::NoPlayback(name.to_owned()))?;
        pcm.set_software(shape.wake()).map_err(failed)?;
        Ok((pcm, shape))
    }

    fn find(name: &str) -> Result<Self, Failed> {
        #[cfg(any(test, feature = "fake"))]
        if let Some(pcm) = fake::open(name) {
            return pcm.map(Self::Fake);
        }
        let missing = |_| Failed { call: "snd_pcm_open", errno: libc::ENOENT };
        Ok(Self::Alsa(PCM::open(&CString::new(name).map_err(missing)?, Direction::Playback, true)?))
    }

    /// Sets the best rate and format that it has; `None` where it has none.
    fn agree(&mut self, channels: u32) -> Result<Option<Shape>, Failed> {
        for rate in RATES {
            for format in SampleFormat::ALL {
                if self.takes(format, rate)? {
                    return self.set_hardware(format, rate, channels).map(Some);
                }
            }
        }
        Ok(None)
    }

    fn takes(&mut self, format: SampleFormat, rate: u32) -> Result<bool, Failed> {
        call!(self, pcm => alsa_takes(pcm, format, rate), fake => fake.takes(format, rate))
    }

    fn set_hardware(&mut self, format: SampleFormat, rate: u32, channels: u32) -> Result<Shape, Failed> {
        call!(self, pcm => set_hardware(pcm, format, rate, channels), fake => fake.set_hardware(format, rate, channels))
    }

    fn set_software(&mut self, wake: usize) -> Result<(), Failed> {
        call!(self, pcm => set_software(pcm, wake), fake => fake.set_software())
    }

    pub(super) fn prepare(&mut self) -> Result<(), Failed> {
        call!(self, pcm => Ok(pcm.prepare()?), fake => fake.prepare())
    }

    pub(super) fn start(&mut self) -> Result<(), Failed> {
        call!(self, pcm => match pcm.state() {
            // `null` and its like start by themselves.
            State::Running => Ok(()),
            _ => Ok(pcm.start()?),
        }, fake => fake.start())
    }

    pub(super) fn resume(&mut self) -> Result<(), Failed> {
        call!(self, pcm => Ok(pcm.resume()?), fake => fake.resume())
    }

    /// Frames that can be written; an error in a state in which nothing is played.
    pub(super) fn room(&mut self) -> Result<usize, Failed> {
        call!(self, pcm => alsa_room(pcm), fake => fake.room())
    }

    /// Frames from the last one that was written to the one that is heard now.
    pub(super) fn delay(&mut self) -> Result<usize, Failed> {
        // Below zero when the card ran dry.
        call!(self, pcm => Ok(usize::try_from(pcm.delay()?).unwrap_or(0)), fake => fake.delay())
    }

    /// Waits until there may be room.
    pub(super) fn wait(&mut self, timeout: Duration) -> Result<(), Failed> {
        // Rounded up: a rest below one millisecond must not become a busy loop.
        let ms = timeout.as_micros().div_ceil(1000).min(i32::MAX as u128) as u32;
        call!(self, pcm => Ok(pcm.wait(Some(ms)).map(drop)?), fake => fake.wait(timeout))
    }

    /// Writes one period in the card's form.
    pub(super) fn write(&mut self, raw: &[u8], shape: Shape) -> Result<(), Failed> {
        let frames = call!(self, pcm => pcm.io_bytes().writei(raw)?, fake => fake.write(raw)?);
        // Less than a period, although there was room: the card was stopped in between.
        match frames == shape.period {
            true => Ok(()),
            false => Err(Failed { call: "snd_pcm_writei", errno: libc::EPIPE }),
        }
    }
}

/// Everything the PCM can do in this format, at this rate. A plugin that is named may resample.
fn refined(pcm: &PCM, format: SampleFormat, rate: u32) -> alsa::Result<HwParams<'_>> {
    let hardware = HwParams::any(pcm)?;
    hardware.set_access(Access::RWInterleaved)?;
    hardware.set_format(format.alsa())?;
    hardware.set_rate(rate, ValueOr::Nearest)?;
    Ok(hardware)
}

fn alsa_takes(pcm: &PCM, format: SampleFormat, rate: u32) -> Result<bool, Failed> {
    match refined(pcm, format, rate) {
        Ok(_) => Ok(true),
        // What a PCM has no setting for is an invalid argument to it.
        Err(error) if error.errno().abs() == libc::EINVAL => Ok(false),
        Err(error) => Err(error.into()),
    }
}

fn set_hardware(pcm: &PCM, format: SampleFormat, rate: u32, channels: u32) -> Result<Shape, Failed> {
    let hardware = refined(pcm, format, rate)?;
    hardware.set_channels_near(channels)?;
    let period = i64::from(rate / PERIODS_A_SECOND);
    let period = hardware.set_period_size_near(period as _, ValueOr::Nearest)?;
    hardware.set_buffer_size_near(period * PERIODS as alsa::pcm::Frames)?;
    pcm.hw_params(&hardware)?;
    Ok(Shape {
        format,
        rate,
        channels: hardware.get_channels()? as usize,
        period: hardware.get_period_size()? as usize,
        buffer: hardware.get_buffer_size()? as usize,
    })
}

fn set_software(pcm: &PCM, wake: usize) -> Result<(), Failed> {
    let software = pcm.sw_params_current()?;
    software.set_avail_min(wake as _)?;
    // Never by itself: it is started when it is full.
    software.set_start_threshold(software.get_boundary()?)?;
    Ok(pcm.sw_params(&software)?)
}

fn alsa_room(pcm: &PCM) -> Result<usize, Failed> {
    let room = pcm.avail()?;
    let errno = match pcm.state() {
        State::Running => return Ok(usize::try_from(room).unwrap_or(0)),
        State::Disconnected => libc::ENODEV,
        State::Suspended => libc::ESTRPIPE,
        _ => libc::EPIPE,
    };
    Err(Failed { call: "snd_pcm_avail", errno })
}
