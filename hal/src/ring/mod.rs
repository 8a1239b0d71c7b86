//! One writer, many readers, in a sealed memfd. The writer never waits; a reader that was lapped or saw a torn unit is
//! told so and goes on at the newest unit. Readers treat every field as hostile.

use std::os::fd::{BorrowedFd, OwnedFd};

/// Size of a ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Descriptors; a power of two.
    pub slots: u32,
    /// Bytes of payload.
    pub arena: u32,
}

/// This unit starts a group of pictures, or is any audio unit.
pub const KEY: u32 = 1;
/// The source was restarted or lost data before this unit.
pub const DISCONTINUITY: u32 = 2;

/// Describes one unit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Meta {
    /// CLOCK_MONOTONIC ns of the first sample or the exposure.
    pub captured_ns: u64,
    /// CLOCK_MONOTONIC ns when it was written to the ring.
    pub written_ns: u64,
    /// Audio: position in samples at 48 kHz. Video: frame number.
    pub position: u64,
    /// [`KEY`] | [`DISCONTINUITY`].
    pub flags: u32,
    /// Pixels; 0 for audio.
    pub width: u16,
    /// Pixels; 0 for audio.
    pub height: u16,
    /// Counts restarts of the device.
    pub epoch: u32,
    /// Audio level in -dBov, 127 for silence.
    pub level: u8,
}

/// What a reader got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// A unit; the payload is in the caller's buffer.
    Unit(Meta),
    /// Nothing new.
    Empty,
    /// Units were overwritten before they were read: `0` of them. The next call gives the oldest that is left.
    Lapped(u64),
}

/// What can go wrong.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A system call failed.
    #[error("ring: {call}: {source}")]
    System {
        /// Which.
        call: &'static str,
        /// Why.
        source: std::io::Error,
    },
    /// The unit is larger than the arena allows.
    #[error("ring: a unit of {size} bytes does not fit (limit {limit})")]
    TooLarge {
        /// Its size.
        size: usize,
        /// The limit.
        limit: usize,
    },
    /// The memfd is no ring of ours, or not sealed.
    #[error("ring: {0}")]
    Invalid(&'static str),
}

/// The one writer.
#[derive(Debug)]
pub struct Writer {}

#[allow(unused_variables, clippy::todo)]
impl Writer {
    /// Makes, pre-faults and seals a ring.
    pub fn create(name: &str, layout: Layout) -> Result<Self, Error> {
        todo!()
    }
    /// To pass to readers.
    pub fn fd(&self) -> BorrowedFd<'_> {
        todo!()
    }
    /// Writes one unit and returns its sequence number.
    pub fn push(&mut self, meta: Meta, payload: &[u8]) -> Result<u64, Error> {
        todo!()
    }
}

/// A reader with its own position, started at the newest unit.
#[derive(Debug)]
pub struct Reader {}

#[allow(unused_variables, clippy::todo)]
impl Reader {
    /// Maps a ring read-only, after checking seals and size.
    pub fn map(fd: OwnedFd) -> Result<Self, Error> {
        todo!()
    }
    /// Copies the next unit into `buffer` (cleared first).
    pub fn next(&mut self, buffer: &mut Vec<u8>) -> Next {
        todo!()
    }
    /// Goes to the newest unit that has been written.
    pub fn skip_to_newest(&mut self) {
        todo!()
    }
}
