//! What a made-up camera offers, and what comes out of it.

use super::Knob;
use crate::video::{Mode, PixelFormat};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::time::Duration;

/// What a camera offers and does.
pub struct Script {
    /// Of the multi-planar API.
    pub multi_planar: bool,
    /// Each plane in memory of its own, where the format has several.
    pub apart: bool,
    /// What it offers.
    pub modes: Vec<Mode>,
    /// Modes that the bus has no room for.
    pub no_room: Vec<Mode>,
    /// Modes that the camera has no setting of the bus for.
    pub too_fast: Vec<Mode>,
    /// Bytes beyond each line.
    pub padding: u32,
    /// From the start of the stream to the first frame.
    pub delay: Duration,
    /// At the mode's rate; else a frame is there whenever it is asked for.
    pub paced: bool,
    /// Its controls.
    pub knobs: Vec<Knob>,
    /// USB descriptors of a camera whose extension units answer, on interface 0.
    pub descriptors: Vec<u8>,
    /// Counts the keyframes that were asked for, by the control or by an extension unit.
    pub keyframes: Arc<AtomicU32>,
    /// The frame with this number.
    pub frames: Box<dyn FnMut(u32) -> Frame + Send>,
}

impl Default for Script {
    /// YUYV of 64x48 in good order, as fast as it is taken.
    fn default() -> Self {
        Self {
            multi_planar: false,
            apart: false,
            modes: vec![Mode { format: PixelFormat::Yuyv, width: 64, height: 48, milli_fps: 30_000 }],
            no_room: Vec::new(),
            too_fast: Vec::new(),
            padding: 0,
            delay: Duration::ZERO,
            paced: false,
            knobs: Vec::new(),
            descriptors: Vec::new(),
            keyframes: Arc::default(),
            frames: Box::new(|_| Frame::default()),
        }
    }
}

impl fmt::Debug for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Script").field("modes", &self.modes).finish_non_exhaustive()
    }
}

/// What comes instead of, or as, a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// A frame.
    Picture {
        /// Its bytes, over all planes; `None` for grey that fills its planes.
        bytes: Option<Vec<u8>>,
        /// Its stamp.
        stamp: Stamp,
        /// Frames that the driver counts as lost before it. Its counter wraps: `u32::MAX` repeats the last number.
        lost: u32,
        /// Marked as damaged.
        damaged: bool,
    },
    /// Nothing: who waits is woken, and finds none.
    Spurious,
    /// No frame any more.
    Silence,
    /// The driver gives up: poll says so, and there is nothing to take.
    Stopped,
    /// The source has changed: an event comes instead.
    Changed,
}

impl Default for Frame {
    fn default() -> Self {
        Self::Picture { bytes: None, stamp: Stamp::Now, lost: 0, damaged: false }
    }
}

impl Frame {
    /// A good frame of these bytes.
    pub fn of(bytes: Vec<u8>) -> Self {
        Self::Picture { bytes: Some(bytes), stamp: Stamp::Now, lost: 0, damaged: false }
    }
}

/// A frame's time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stamp {
    /// Now, of CLOCK_MONOTONIC, at the start of exposure.
    Now,
    /// This many ns from now.
    FromNow(i64),
    /// ns of CLOCK_MONOTONIC.
    At(u64),
    /// Of no clock that the driver names.
    Unknown,
}
