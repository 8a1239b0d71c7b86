//! One writer, many readers, in a sealed memfd. The writer never waits and reads nothing back; a reader that was lapped
//! or saw a torn unit is told so and goes on at the oldest unit that is left. Readers treat every field as hostile.
//!
//! ```text
//! header       128 B   magic, layout | units written, oldest unit that is intact
//! descriptors   64 B   each: generation (odd while its unit is not intact), place in the arena, what the unit is
//! arena                payloads, one after the other, wrapping
//! ```
//! `protocol` holds the algorithm on slices of atomics and no `unsafe`, so that loom can run it:
//! `RUSTFLAGS="--cfg loom" cargo test -p hal --release --lib ring::loom`. `mapping` lays those slices over shared memory.

#[cfg(not(loom))]
mod mapping;
pub mod pcm;
mod protocol;
mod record;
#[cfg(not(loom))]
mod shared;
mod stamp;

#[cfg(not(loom))]
pub use shared::{Reader, Writer};
pub use stamp::Stamped;

#[cfg(all(loom, test))]
mod loom;
#[cfg(all(test, not(loom)))]
mod tests;

/// Size of a ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Descriptors; a power of two, 2 to [`MAX_SLOTS`].
    pub slots: u32,
    /// Bytes of payload; a multiple of 8, up to [`MAX_ARENA`].
    pub arena: u32,
}

/// Over ten seconds of any source of ours.
pub const MAX_SLOTS: u32 = 1024;

/// Bytes: ten times what the largest picture stream needs. Bounds what a hostile ring can make a reader map or copy.
pub const MAX_ARENA: u32 = 16 << 20;

/// This unit starts a group of pictures, or is any audio unit.
pub const KEY: u32 = 1;
/// The source was restarted or lost data before this unit.
pub const DISCONTINUITY: u32 = 2;
/// Keyframes of this stream come now and then and cannot be asked for: who starts to read does so at the last one.
pub const PERIODIC: u32 = 4;

/// Describes one unit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Meta {
    /// CLOCK_MONOTONIC ns of the first sample; of a picture, of the moment that `stamped` names.
    pub captured_ns: u64,
    /// Nothing of sound and of pictures that no camera took, and in rings of programs that did not say it yet.
    pub stamped: Option<Stamped>,
    /// CLOCK_MONOTONIC ns when it was written to the ring.
    pub written_ns: u64,
    /// Audio: position in samples at 48 kHz. Video: frame number.
    pub position: u64,
    /// [`KEY`] | [`DISCONTINUITY`] | [`PERIODIC`].
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
