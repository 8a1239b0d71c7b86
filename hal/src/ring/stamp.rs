//! What a picture's time is of, from its driver through encoder and ring to who reads it.

use std::fmt;

/// The moment that a picture's time is of. Nobody corrects one into another: exposure, readout and transfer, by which they
/// differ, are known to nobody here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stamped {
    /// Its exposure began, as its driver says.
    ExposureStart,
    /// Its transfer ended, as its driver says.
    FrameEnd,
    /// It came to this program, as nobody says more: it was dequeued from a driver whose stamps cannot be used, or its first
    /// byte was read from a command, less the offset that is configured for that.
    Arrival,
}

impl Stamped {
    const ALL: [Self; 3] = [Self::ExposureStart, Self::FrameEnd, Self::Arrival];

    /// As a word of a unit's record and of a message; 0 is for what is not known.
    pub fn code(of: Option<Self>) -> u32 {
        match of {
            None => 0,
            Some(Self::ExposureStart) => 1,
            Some(Self::FrameEnd) => 2,
            Some(Self::Arrival) => 3,
        }
    }

    /// The same back; what a later program may mean by another word is not known.
    pub fn from_code(code: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|stamped| Self::code(Some(*stamped)) == code)
    }

    /// For machines.
    pub fn name(self) -> &'static str {
        match self {
            Self::ExposureStart => "exposure_start",
            Self::FrameEnd => "frame_end",
            Self::Arrival => "arrival",
        }
    }
}

impl fmt::Display for Stamped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ExposureStart => "at the start of exposure",
            Self::FrameEnd => "at the end of the frame",
            Self::Arrival => "on arrival",
        })
    }
}
