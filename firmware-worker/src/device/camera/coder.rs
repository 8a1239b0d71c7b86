//! What makes access units: the one place that tells encoders apart.

use super::hardware::Hardware;
use crate::device::pipeline::Failure;
use crate::media::I420;
use crate::media::h264::{self, Coded, Settings};
use hal::ring::Stamped;
use hal::video::Picture;
use protocol::room::rtp::h264::is_keyframe;
use std::time::{Duration, Instant};

/// What a coder takes.
#[derive(Debug)]
pub enum Input<'a> {
    /// A picture in the size of the settings.
    Picture(&'a I420),
    /// A camera's picture as it came, for an encoder that takes such.
    Taken(Picture<'a>),
    /// An access unit that the camera has made itself.
    Unit(&'a [u8]),
}

/// What is known of a picture.
#[derive(Clone, Copy, Debug)]
pub struct Frame {
    /// CLOCK_MONOTONIC ns.
    pub captured_ns: u64,
    /// Of which moment that is.
    pub stamped: Option<Stamped>,
    /// Counts the frames of the camera.
    pub position: u64,
    /// A keyframe is wanted.
    pub key: bool,
}

/// An access unit, reused from frame to frame.
#[derive(Debug, Default)]
pub struct Unit {
    /// Annex B.
    pub bytes: Vec<u8>,
    /// CLOCK_MONOTONIC ns of its picture, which an encoder with a queue gives out later than it took it.
    pub captured_ns: u64,
    /// Of its picture.
    pub stamped: Option<Stamped>,
    /// Of its picture.
    pub position: u64,
    /// From the picture to this.
    pub took: Duration,
}

impl Unit {
    /// It is that picture's.
    pub fn of(&mut self, frame: Frame) {
        (self.captured_ns, self.stamped, self.position) = (frame.captured_ns, frame.stamped, frame.position);
    }
}

/// What became of a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A unit that starts anew.
    Key,
    /// A unit that needs what came before.
    Delta,
    /// It is left out.
    Skipped,
    /// It is being encoded; [`Coder::next`] has its unit.
    Inside,
}

/// A running encoder. Its first unit is a keyframe, or, where they cannot be asked for, the first that comes.
pub enum Coder {
    /// openh264.
    Software(Box<h264::Encoder>),
    /// The board's.
    Hardware(Box<Hardware>),
    /// The camera itself, which hears neither of keyframes nor of bitrates.
    Passthrough,
}

impl Coder {
    /// openh264.
    pub fn software(settings: Settings) -> Result<Self, String> {
        h264::Encoder::new(settings).map(|encoder| Self::Software(Box::new(encoder))).map_err(|e| e.to_string())
    }

    /// Codes a picture into `unit`, or begins to; `settings` have the bitrate from now on.
    pub fn encode(
        &mut self,
        input: Input<'_>,
        frame: Frame,
        settings: &Settings,
        unit: &mut Unit,
    ) -> Result<Outcome, Failure> {
        unit.of(frame);
        let began = Instant::now();
        let coded = match (self, input) {
            (Self::Software(encoder), Input::Picture(picture)) => encoder
                .set_bitrate(settings.bitrate)
                .and_then(|()| encoder.encode(picture, frame.captured_ns, frame.key, &mut unit.bytes))
                .map_err(|e| e.to_string())?,
            (Self::Passthrough, Input::Unit(bytes)) => {
                unit.bytes.clear();
                unit.bytes.extend_from_slice(bytes);
                if is_keyframe(bytes) { Coded::Key } else { Coded::Delta }
            }
            (Self::Hardware(hardware), input @ (Input::Picture(_) | Input::Taken(_))) => {
                return hardware.put(input, frame, settings);
            }
            (Self::Software(_) | Self::Hardware(_), Input::Unit(_))
            | (Self::Software(_), Input::Taken(_))
            | (Self::Passthrough, Input::Picture(_) | Input::Taken(_)) => {
                unreachable!("the coder was chosen for what the source gives")
            }
        };
        unit.took = began.elapsed();
        Ok(match coded {
            Coded::Key => Outcome::Key,
            Coded::Delta => Outcome::Delta,
            Coded::Skipped => Outcome::Skipped,
        })
    }

    /// The unit of an earlier picture, if there is one to wait for and it comes until `deadline`.
    pub fn next(&mut self, deadline: Instant, unit: &mut Unit) -> Result<Option<Outcome>, Failure> {
        match self {
            Self::Hardware(hardware) if hardware.busy() => hardware.take(deadline, unit),
            Self::Hardware(_) | Self::Software(_) | Self::Passthrough => Ok(None),
        }
    }

    /// Bytes of a driver's buffers.
    pub fn buffer_bytes(&self) -> u64 {
        match self {
            Self::Hardware(hardware) => hardware.buffer_bytes(),
            Self::Software(_) | Self::Passthrough => 0,
        }
    }

    /// No more pictures come: those inside are to come out.
    pub fn drain(&mut self) {
        match self {
            Self::Hardware(hardware) => hardware.drain(),
            Self::Software(_) | Self::Passthrough => {}
        }
    }

    /// A keyframe that was wanted has not come.
    pub fn key_is_missing(&mut self) -> bool {
        match self {
            Self::Hardware(hardware) => hardware.key_is_missing(),
            Self::Software(_) | Self::Passthrough => false,
        }
    }
}
