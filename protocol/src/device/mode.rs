//! Which of a camera's modes is taken, and which after it where the driver refuses one.
//!
//! ```text
//! the nearest --NoRoom, or NotStarted twice in a row--> the nearest of those that take clearly less, four in all
//!             --NotStarted the first time--> the same again
//! ```
//!
//! Driving rule: start the camera as [`Choice::attempt`] says; tell each refusal to [`Choice::refused`] and ask again. Where
//! there is no attempt left, the camera cannot be had.

use std::time::{Duration, Instant};

/// What a camera gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// 4:2:2 packed.
    Yuyv,
    /// 4:2:2 packed, chroma first.
    Uyvy,
    /// 4:2:0, luma plane and interleaved chroma plane.
    Nv12,
    /// 4:2:2, luma plane and interleaved chroma plane.
    Nv16,
    /// 4:2:0, three planes.
    Yu12,
    /// JPEG pictures.
    Mjpeg,
    /// Access units of an encoder in the camera.
    H264,
}

/// Format, size and rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mode {
    /// Format.
    pub format: Format,
    /// Pixels.
    pub width: u32,
    /// Pixels.
    pub height: u32,
    /// Frames a second times 1000.
    pub milli_fps: u32,
}

/// What a camera is wanted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Pixels.
    pub width: u32,
    /// Pixels.
    pub height: u32,
    /// Frames a second.
    pub fps: u32,
    /// Only this format; any for `None`.
    pub format: Option<Format>,
    /// Whether the camera may encode.
    pub encoded: Encoded,
}

/// Whether a camera's own H.264 is taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Encoded {
    /// Pictures only.
    #[default]
    Never,
    /// H.264 where the camera gives it in the wanted size and at least at the wanted rate, else pictures.
    Preferred,
    /// H.264 only, in the nearest size.
    Only,
}

/// Modes that are tried, each with three quarters of the one before at most: after the fourth that is less than half. Each
/// costs some tens of ms.
const TRIES: u32 = 4;

/// No mode is tried when the opening has taken this long already: of a camera that answers nothing, each call may take 5 s,
/// and a device that is not open after [`OPEN_LIMIT`](super::OPEN_LIMIT) counts as one that hangs.
const PATIENCE: Duration = Duration::from_secs(8);

/// Why a driver did not start a mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The bus has no room for it.
    NoRoom,
    /// An I/O error at the start of a stream that has not run since the device was opened. It may be that the camera's own
    /// settings of the bus are all too slow for the mode (as uvcvideo says it), and it may be any other failure, which
    /// would not come twice or would not spare a lighter mode.
    NotStarted,
}

/// What to ask the driver for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// The place of the mode in what the camera offers.
    pub offer: usize,
    /// Frames a second times 1000: no more than are wanted, where the driver can be slower.
    pub milli_fps: u32,
}

/// The choice of one opening.
#[derive(Debug)]
pub struct Choice {
    wanted: Wanted,
    /// What is left, each with its place in what the camera offers.
    left: Vec<(usize, Mode)>,
    /// Modes that were given up.
    tries: u32,
    /// The present one was not started, once.
    doubtful: bool,
    since: Instant,
}

impl Choice {
    /// Among all that a camera offers, whose opening began then.
    pub fn new(offers: impl IntoIterator<Item = Mode>, wanted: Wanted, began: Instant) -> Self {
        Self { wanted, left: offers.into_iter().enumerate().collect(), tries: 0, doubtful: false, since: began }
    }

    /// What to start it with: the nearest to what is wanted (raw where it is as fast, MJPEG where raw is slower or smaller).
    /// Nothing where nothing will do.
    pub fn attempt(&self) -> Option<Attempt> {
        let (offer, mode) = self.nearest().filter(|_| self.tries < TRIES)?;
        Some(Attempt { offer, milli_fps: milli(&self.wanted).min(mode.milli_fps) })
    }

    /// The driver did not start the attempt; `mode` is what it had made of it.
    pub fn refused(&mut self, mode: Mode, why: Refusal, now: Instant) {
        if now.duration_since(self.since) >= PATIENCE {
            self.left.clear();
            return;
        }
        self.doubtful = why == Refusal::NotStarted && !self.doubtful;
        if !self.doubtful {
            // A driver may have made something heavier of it, than which it is lighter itself.
            let attempted = self.nearest().map(|(offer, _)| offer);
            self.left.retain(|(offer, _)| Some(*offer) != attempted);
            self.tries += 1;
            keep_lighter(&mut self.left, mode);
        }
    }

    fn nearest(&self) -> Option<(usize, Mode)> {
        let Self { wanted, left, .. } = self;
        let usable = |encoded: bool| {
            let nonempty = |(_, mode): &&(usize, Mode)| mode.width > 0 && mode.height > 0;
            let of_format = |(_, mode): &&(usize, Mode)| wanted.format.is_none_or(|format| mode.format == format);
            left.iter()
                .filter(nonempty)
                .filter(of_format)
                .filter(move |(_, mode)| (mode.format == Format::H264) == encoded)
        };
        let nearest = |encoded: bool| {
            let far = |mode: Mode| distance(mode, wanted);
            usable(encoded).min_by(|(_, a), (_, b)| far(*a).total_cmp(&far(*b))).copied()
        };
        let as_wanted = |(_, mode): &(usize, Mode)| {
            (mode.width, mode.height) == (wanted.width, wanted.height) && mode.milli_fps >= milli(wanted)
        };
        match wanted.encoded {
            Encoded::Never => nearest(false),
            Encoded::Preferred => nearest(true).filter(as_wanted).or_else(|| nearest(false)),
            Encoded::Only => nearest(true),
        }
    }
}

fn milli(wanted: &Wanted) -> u32 {
    wanted.fps.saturating_mul(1000)
}

/// Keeps what takes three quarters of `refused` at most on the bus: what takes nearly as much finds no room either, as a bus
/// gives it in steps.
fn keep_lighter(left: &mut Vec<(usize, Mode)>, refused: Mode) {
    let most = load(refused) / 4 * 3;
    left.retain(|(_, mode)| load(*mode) <= most);
}

/// Bit/s on the bus, about: a camera reserves what it might need, of compressed pictures several times what they are.
fn load(mode: Mode) -> u64 {
    let bits = match mode.format {
        Format::Yuyv | Format::Uyvy | Format::Nv16 => 16,
        Format::Nv12 | Format::Yu12 => 12,
        Format::Mjpeg => 4,
        Format::H264 => 1,
    };
    (u64::from(mode.width) * u64::from(mode.height)).saturating_mul(u64::from(mode.milli_fps) * bits) / 1000
}

/// How far a mode is from the wanted one, in doublings. Too slow weighs more than too small, and too large more than too
/// small, as each pixel costs encoder time. Of equal modes the one that needs the least work to encode wins, so MJPEG is
/// taken only where raw is slower or smaller, which on USB 2 is above 640x480.
fn distance(mode: Mode, wanted: &Wanted) -> f64 {
    const TOO_SLOW: f64 = 2.0;
    const TOO_FAST: f64 = 0.25;
    const TOO_SMALL: f64 = 1.0;
    const TOO_LARGE: f64 = 1.25;
    let doublings = |value: u32, wanted: u32, below: f64, above: f64| {
        let octaves = (f64::from(value.max(1)) / f64::from(wanted.max(1))).log2();
        if octaves < 0.0 { -octaves * below } else { octaves * above }
    };
    let work = match mode.format {
        Format::Nv12 | Format::Yu12 | Format::H264 => 0.0,
        Format::Yuyv | Format::Uyvy | Format::Nv16 => 0.01,
        Format::Mjpeg => 0.02,
    };
    doublings(mode.width, wanted.width, TOO_SMALL, TOO_LARGE)
        + doublings(mode.height, wanted.height, TOO_SMALL, TOO_LARGE)
        + doublings(mode.milli_fps, milli(wanted), TOO_SLOW, TOO_FAST)
        + work
}

#[cfg(test)]
mod tests;
