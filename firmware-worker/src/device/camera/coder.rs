//! What makes access units: the one place that tells encoders apart.

use super::choice::Choice;
use crate::control::Encoder;
use crate::media::I420;
use crate::media::h264::{self, Coded, Settings};
use protocol::room::rtp::h264::is_keyframe;

/// What a coder takes.
#[derive(Clone, Copy, Debug)]
pub enum Input<'a> {
    /// A picture in the size of the settings.
    Picture(&'a I420),
    /// An access unit that the camera has made itself.
    Unit(&'a [u8]),
}

/// An access unit, reused from frame to frame.
#[derive(Debug, Default)]
pub struct Unit {
    /// Annex B.
    pub bytes: Vec<u8>,
    /// CLOCK_MONOTONIC ns of its picture, which an encoder with a queue gives out later than it took it.
    pub captured_ns: u64,
}

/// A running encoder. Its first unit is a keyframe, or, where they cannot be asked for, the first that comes.
pub enum Coder {
    /// openh264.
    Software(Box<h264::Encoder>),
    /// The camera itself, which hears neither of keyframes nor of bitrates.
    Passthrough,
}

impl Coder {
    /// Makes the chosen encoder.
    pub fn new(choice: Choice, settings: Settings) -> Result<Self, String> {
        match choice.encoder {
            Encoder::Software => match h264::Encoder::new(settings) {
                Ok(encoder) => Ok(Self::Software(Box::new(encoder))),
                Err(error) => Err(error.to_string()),
            },
            Encoder::Passthrough => Ok(Self::Passthrough),
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
        unit.captured_ns = captured_ns;
        match (self, input) {
            (Self::Software(encoder), Input::Picture(picture)) => {
                encoder.encode(picture, captured_ns, key, &mut unit.bytes)
            }
            (Self::Passthrough, Input::Unit(bytes)) => {
                unit.bytes.clear();
                unit.bytes.extend_from_slice(bytes);
                Ok(if is_keyframe(bytes) { Coded::Key } else { Coded::Delta })
            }
            (Self::Software(_), Input::Unit(_)) | (Self::Passthrough, Input::Picture(_)) => {
                unreachable!("the coder was chosen for what the source gives")
            }
        }
    }

    /// Bit/s from the next unit on.
    pub fn set_bitrate(&mut self, bps: u32) -> Result<(), h264::Error> {
        match self {
            Self::Software(encoder) => encoder.set_bitrate(bps),
            Self::Passthrough => Ok(()),
        }
    }
}
