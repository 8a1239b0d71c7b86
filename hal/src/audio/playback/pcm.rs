//! The calls that playback makes, one by one: to a PCM of libasound, or to a script.

#[cfg(any(test, feature = "fake"))]
use super::fake;
use super::{Error, Failed, RATE};
use alsa::pcm::{Access, Format, HwParams, State};
use alsa::{Direction, PCM, ValueOr};
use std::ffi::CString;
use std::fmt;
use std::time::Duration;

/// Frames of 10 ms.
const PERIOD: i64 = 480;

/// Periods that the kernel can hold: one more than there are ever in it, so that the card wakes us with room to spare.
const PERIODS: i64 = 5;

/// Frames of the longest period that is worth playing in: 85 ms.
const MAX_PERIOD: i64 = 4096;

/// What the card and we have agreed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Interleaved.
    pub channels: usize,
    /// Frames a period.
    pub period: usize,
    /// Frames that the kernel holds.
    pub buffer: usize,
    /// Frames of room at which the next period is due.
    pub wake: usize,
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = |frames: usize| frames as f64 * 1000.0 / RATE as f64;
        let Self { channels, period, buffer, .. } = *self;
        write!(f, "{channels} ch {RATE} Hz, period {:.1} ms, buffer {:.0} ms", ms(period), ms(buffer))
    }
}

impl Shape {
    pub(super) fn new(channels: usize, period: usize, buffer: usize, ahead: usize) -> Self {
        let wake = buffer.saturating_sub((ahead - 1) * period).max(period);
        Self { channels, period, buffer, wake }
    }
}

/// A period in the card's format.
#[derive(Debug)]
pub(super) enum Buffer {
    /// S16.
    Narrow(Vec<i16>),
    /// S32, as converters of I2S boards have it.
    Wide(Vec<i32>),
}

/// A PCM that plays.
#[derive(Debug)]
pub(super) enum Pcm {
    /// libasound's, and a period of samples as it wants them.
    Alsa(PCM, Buffer),
    /// A script.
    #[cfg(any(test, feature = "fake"))]
    Fake(fake::Pcm),
}

impl Pcm {
    pub(super) fn open(name: &str, channels: u8, ahead: usize) -> Result<(Self, Shape), Error> {
        #[cfg(any(test, feature = "fake"))]
        if let Some((pcm, shape)) = fake::open(name, channels, ahead) {
            return pcm.map(|pcm| (Self::Fake(pcm), shape)).map_err(|e| Error::of(name, e));
        }
        let failed = |error: alsa::Error| Error::of(name, error.into());
        let pcm_name = CString::new(name).map_err(|_| Error::Missing(name.to_owned()))?;
        let pcm = PCM::open(&pcm_name, Direction::Playback, true).map_err(failed)?;
        let (shape, wide) = agree(&pcm, name, channels, ahead)?;
        let software = |pcm: &PCM| {
            let software = pcm.sw_params_current()?;
            software.set_avail_min(shape.wake as _)?;
            // Never by itself: it is started when it is full.
            software.set_start_threshold(software.get_boundary()?)?;
            pcm.sw_params(&software)
        };
        software(&pcm).map_err(failed)?;
        let samples = shape.period * shape.channels;
        let buffer = if wide { Buffer::Wide(vec![0; samples]) } else { Buffer::Narrow(vec![0; samples]) };
        Ok((Self::Alsa(pcm, buffer), shape))
    }

    pub(super) fn prepare(&mut self) -> Result<(), Failed> {
        match self {
            Self::Alsa(pcm, _) => Ok(pcm.prepare()?),
            #[cfg(any(test, feature = "fake"))]
            Self::Fake(pcm) => pcm.prepare(),
        }
    }

    pub(super) fn start(&mut self) -> Result<(), Failed> {
        match self {
            Self::Alsa(pcm, _) => match pcm.state() {
                // `null` and its like start by themselves.
                State::Running => Ok(()),
                _ => Ok(pcm.start()?),
            },
            #[cfg(any(test, feature = "fake"))]
            Self::Fake(pcm) => pcm.start(),
        }
    }

    pub(super) fn resume(&mut self) -> Result<(), Failed> {
        match self {
            Self::Alsa(pcm, _) => Ok(pcm.resume()?),
            #[cfg(any(test, feature = "fake"))]
            Self::Fake(pcm) => pcm.resume(),
        }
    }

    /// Frames that can be written; an error in a state in which nothing is played.
    pub(super) fn room(&mut self) -> Result<usize, Failed> {
        match self {
            Self::Alsa(pcm, _) => {
                let room = pcm.avail()?;
                let errno = match pcm.state() {
                    State::Running => return Ok(usize::try_from(room).unwrap_or(0)),
                    State::Disconnected => libc::ENODEV,
                    State::Suspended => libc::ESTRPIPE,
                    _ => libc::EPIPE,
                };
                Err(Failed { call: "snd_pcm_avail", errno })
            }
            #[cfg(any(test, feature = "fake"))]
            Self::Fake(pcm) => pcm.room(),
        }
    }

    /// Frames from the last one that was written to the one that is heard now.
    pub(super) fn delay(&mut self) -> Result<usize, Failed> {
        match self {
            // Below zero when the card ran dry.
            Self::Alsa(pcm, _) => Ok(usize::try_from(pcm.delay()?).unwrap_or(0)),
            #[cfg(any(test, feature = "fake"))]
            Self::Fake(pcm) => pcm.delay(),
        }
    }

    /// Waits until there may be room.
    pub(super) fn wait(&mut self, timeout: Duration) -> Result<(), Failed> {
        match self {
            Self::Alsa(pcm, _) => {
                // Rounded up: a rest below one millisecond must not become a busy loop.
                let ms = timeout.as_micros().div_ceil(1000).min(i32::MAX as u128);
                Ok(pcm.wait(Some(ms as u32)).map(drop)?)
            }
            #[cfg(any(test, feature = "fake"))]
            Self::Fake(pcm) => pcm.wait(timeout),
        }
    }

    /// Writes one period of 16-bit samples.
    pub(super) fn write(&mut self, samples: &[i32], shape: Shape) -> Result<(), Failed> {
        let frames = match self {
            Self::Alsa(pcm, Buffer::Narrow(buffer)) => {
                buffer.iter_mut().zip(samples).for_each(|(to, from)| *to = *from as i16);
                // SAFETY: the samples are i16: the format is S16 since the card was set up, and is never set again. The
                // checked way would allocate.
                unsafe { pcm.io_unchecked::<i16>() }.writei(buffer)?
            }
            Self::Alsa(pcm, Buffer::Wide(buffer)) => {
                buffer.iter_mut().zip(samples).for_each(|(to, from)| *to = *from << 16);
                // SAFETY: as above, with i32 and S32.
                unsafe { pcm.io_unchecked::<i32>() }.writei(buffer)?
            }
            #[cfg(any(test, feature = "fake"))]
            Self::Fake(pcm) => pcm.write(samples, shape)?,
        };
        // Less than a period, although there was room: the card was stopped in between.
        match frames == shape.period {
            true => Ok(()),
            false => Err(Failed { call: "snd_pcm_writei", errno: libc::EPIPE }),
        }
    }
}

/// Agrees with the card on format, channels and period.
fn agree(pcm: &PCM, name: &str, channels: u8, ahead: usize) -> Result<(Shape, bool), Error> {
    let no_format = |_| Error::NoPlayback(name.to_owned());
    let failed = |error: alsa::Error| Error::of(name, error.into());
    let hardware = HwParams::any(pcm).map_err(failed)?;
    hardware.set_access(Access::RWInterleaved).map_err(no_format)?;
    let wide = hardware.set_format(Format::S16LE).is_err();
    if wide {
        hardware.set_format(Format::S32LE).map_err(no_format)?;
    }
    hardware.set_rate(RATE as u32, ValueOr::Nearest).map_err(no_format)?;
    hardware.set_channels_near(channels.max(1).into()).map_err(no_format)?;
    let period = hardware.set_period_size_near(PERIOD as _, ValueOr::Nearest).map_err(failed)?;
    hardware.set_buffer_size_near(period * PERIODS as alsa::pcm::Frames).map_err(failed)?;
    pcm.hw_params(&hardware).map_err(failed)?;
    let (channels, period) = (hardware.get_channels().map_err(failed)?, hardware.get_period_size().map_err(failed)?);
    let buffer = hardware.get_buffer_size().map_err(failed)?;
    if period > MAX_PERIOD as alsa::pcm::Frames || buffer < ahead as alsa::pcm::Frames * period {
        return Err(Error::NoPlayback(name.to_owned()));
    }
    Ok((Shape::new(channels as usize, period as usize, buffer as usize, ahead), wide))
}
