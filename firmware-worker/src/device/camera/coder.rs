//! What makes access units: the one place that tells encoders apart.

use super::choice::Choice;
use crate::control::Encoder;
use crate::media::I420;
use crate::media::h264::{self, Coded, Settings};

/// What a coder takes.
#[derive(Clone, Copy, Debug)]
pub enum Input<'a> {
    /// A picture in the size of the settings.
    Picture(&'a I420),
}

/// An access unit, reused from frame to frame.
#[derive(Debug, Default)]
pub struct Unit {
    /// Annex B.
    pub bytes: Vec<u8>,
    /// CLOCK_MONOTONIC ns of its picture, which an encoder with a queue gave out later than it took it.
    pub captured_ns: u64,
    /// Pixels.
    pub width: u32,
    /// Pixels.
    pub height: u32,
}

/// A running encoder. Its first unit is a keyframe.
pub enum Coder {
    /// openh264.
    Software(h264::Encoder),
}

impl Coder {
    /// Makes the chosen encoder.
    pub fn new(choice: Choice, settings: Settings) -> Result<Self, String> {
        match choice.encoder {
            Encoder::Software => h264::Encoder::new(settings).map(Self::Software).map_err(|e| e.to_string()),
        }
    }

    /// Codes what was captured at `captured_ns` into `unit`; `key` asks for a keyframe.
    pub fn encode(
        &mut self,
        input: Input<'_>,
        captured_ns: u64,
        key: bool,
        unit: &mut Unit,
    ) -> Result<Coded, h264::Error> {
        match (self, input) {
            (Self::Software(encoder), Input::Picture(picture)) => {
                (unit.width, unit.height) = (picture.width() as u32, picture.height() as u32);
                unit.captured_ns = captured_ns;
                encoder.encode(picture, captured_ns, key, &mut unit.bytes)
            }
        }
    }

    /// Bit/s from the next unit on.
    pub fn set_bitrate(&mut self, bps: u32) -> Result<(), h264::Error> {
        match self {
            Self::Software(encoder) => encoder.set_bitrate(bps),
        }
    }
}
