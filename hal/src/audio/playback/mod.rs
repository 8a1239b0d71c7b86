//! Playback to one card.
//!
//! ```text
//! start: prepare, fill with silence, start --> Running --xrun, suspend--> prepare, fill, start again (Turn::Xrun)
//!                                                      --unplugged, or restarts without end--> Turn::Gone
//! ```

#[cfg(any(test, feature = "fake"))]
pub mod fake;
mod pcm;

pub use pcm::Shape;

use super::{Error, Failed, SampleFormat};
use crate::process::monotonic_ns;
use crate::ring::pcm::Frame;
use pcm::Pcm;
use std::thread;
use std::time::{Duration, Instant};

/// Periods that the card holds after each write: 40 ms for a thread that does not get to run.
const AHEAD: usize = 4;

/// Restarts in a row, without a period between them, after which the card counts as lost.
const MAX_RESTARTS: u32 = 10;

/// Frames, half a second at 48 kHz and as long at any other rate, that no card with a clock takes within [`TOO_SOON`] beyond
/// its buffer.
const PROBE: u64 = 24_000;
const TOO_SOON: Duration = Duration::from_millis(250);

/// What became of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// There is room for a period, or it was taken.
    Ready,
    /// The card ran dry or slept; it was filled with silence and started again.
    Xrun,
    /// Nothing happened within the timeout.
    Stuck,
    /// Unplugged, or failing for good.
    Gone,
}

/// A playing card: 48 kHz and 10 ms periods where it has them. Writing allocates nothing.
#[derive(Debug)]
pub struct Playback {
    pcm: Pcm,
    shape: Shape,
    restarts: u32,
    pace: Pace,
    /// One period in the card's channels.
    samples: Vec<i16>,
    /// The same as it takes it.
    raw: Vec<u8>,
}

/// Whose clock it is.
#[derive(Debug)]
enum Pace {
    /// The card's, as far as is known: so much was taken since.
    Card { since: Instant, frames: u64 },
    /// Ours: the PCM (`null`, `file`) takes anything at once, and so much was given to it since.
    Ours { since_ns: u64, frames: u64 },
}

impl Playback {
    /// Opens, fills with silence and starts; `channels` is what is wanted, see [`Playback::shape`]. Never waits for a
    /// card in use.
    pub fn start(name: &str, channels: u8) -> Result<Self, Error> {
        let failed = |error| Error::of(name, error);
        let (pcm, shape) = Pcm::open(name, channels)?;
        let pace = Pace::Card { since: Instant::now(), frames: 0 };
        let (samples, raw) = (vec![0; shape.period * shape.channels], vec![0; shape.bytes()]);
        let mut playback = Self { pcm, shape, restarts: 0, pace, samples, raw };
        playback.prime().map_err(failed)?;
        Ok(playback)
    }

    /// What the card and we have agreed on.
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// Frames a period at the card's rate: those of 10 ms, or what it has nearest to that.
    pub fn period(&self) -> usize {
        self.shape.period
    }

    /// Waits until the card has room for a period.
    pub fn wait(&mut self, timeout: Duration) -> Turn {
        match self.wait_for_room(timeout) {
            Ok(true) => Turn::Ready,
            Ok(false) => Turn::Stuck,
            Err(error) => self.recover(error),
        }
    }

    /// Gives it one period.
    ///
    /// # Panics
    /// If `frames` are not one period.
    pub fn write(&mut self, frames: &[Frame]) -> Turn {
        assert_eq!(frames.len(), self.shape.period, "one period");
        spread(frames, self.shape.channels, &mut self.samples);
        self.shape.format.encode(&self.samples, &mut self.raw);
        match self.pcm.write(&self.raw, self.shape) {
            Ok(()) => {
                self.restarts = 0;
                self.pace.took(self.shape);
                Turn::Ready
            }
            Err(error) => self.recover(error),
        }
    }

    /// When the first frame of the period that was written last leaves the card, CLOCK_MONOTONIC ns: after what it held
    /// already. Nothing where no card says how much that is.
    pub fn leaves_ns(&mut self) -> Option<u64> {
        let Pace::Card { .. } = self.pace else { return None };
        let held = self.pcm.delay().ok()?;
        let ahead_ns = (held as i64 - self.shape.period as i64) * 1_000_000_000 / i64::from(self.shape.rate);
        monotonic_ns().checked_add_signed(ahead_ns)
    }

    fn wait_for_room(&mut self, timeout: Duration) -> Result<bool, Failed> {
        let start = Instant::now();
        if let Some(early) = self.pace.early(self.shape) {
            thread::sleep(early.min(timeout));
            if early > timeout {
                return Ok(false);
            }
        }
        loop {
            if self.pcm.room()? >= self.shape.wake() {
                return Ok(true);
            }
            let left = timeout.saturating_sub(start.elapsed());
            if left.is_zero() {
                return Ok(false);
            }
            self.pcm.wait(left)?;
        }
    }

    /// Fills the card, so that it has as much as after any later write, and starts it.
    fn prime(&mut self) -> Result<(), Failed> {
        self.pcm.prepare()?;
        // Silence in every format.
        self.raw.fill(0);
        for _ in 1..AHEAD {
            self.pcm.write(&self.raw, self.shape)?;
        }
        self.pcm.start()
    }

    /// Starts again after an xrun, a suspend or a change by a loopback's other end; anything else is the card's loss.
    fn recover(&mut self, error: Failed) -> Turn {
        self.restarts += 1;
        if error.is_missing() || self.restarts > MAX_RESTARTS {
            return Turn::Gone;
        }
        if error.errno == libc::ESTRPIPE {
            // Cards that cannot resume, or not yet, are set up anew by `prepare`.
            let _ = self.pcm.resume();
        }
        match self.prime() {
            Ok(()) => Turn::Xrun,
            Err(_) => Turn::Gone,
        }
    }
}

impl Pace {
    fn took(&mut self, shape: Shape) {
        match self {
            Self::Card { since, frames } => {
                *frames += shape.period as u64;
                if *frames >= PROBE * u64::from(shape.rate) / 48_000 + shape.buffer as u64 {
                    *self = match since.elapsed() < TOO_SOON {
                        true => Self::Ours { since_ns: monotonic_ns(), frames: 0 },
                        false => Self::Card { since: Instant::now(), frames: 0 },
                    };
                }
            }
            Self::Ours { frames, .. } => *frames += shape.period as u64,
        }
    }

    /// How long the next period is not due yet.
    fn early(&self, shape: Shape) -> Option<Duration> {
        let Self::Ours { since_ns, frames } = self else { return None };
        let due = u128::from(frames + shape.period as u64) * 1_000_000_000 / u128::from(shape.rate);
        let early = due.saturating_sub(u128::from(monotonic_ns() - since_ns));
        (early > 0).then(|| Duration::from_nanos(early as u64))
    }
}

/// To the card's channels: their mean for one, nothing on those that a stereo sound has no use for.
fn spread(frames: &[Frame], channels: usize, samples: &mut [i16]) {
    for ([left, right], to) in frames.iter().zip(samples.chunks_exact_mut(channels)) {
        match to {
            [mono] => *mono = i16::midpoint(*left, *right),
            [first, second, rest @ ..] => {
                (*first, *second) = (*left, *right);
                rest.fill(0);
            }
            [] => {}
        }
    }
}

#[cfg(test)]
mod tests;
