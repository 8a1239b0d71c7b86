//! Sound from one job to one device owner, in a sealed memfd: one writer, one reader, stereo frames at 48 kHz.
//!
//! ```text
//! header   192 B   magic, frames | written, clear, held, stamp: the writer's | read: the reader's
//! frames           one word each, left in the low half, wrapping
//! ```
//! Here the writer is the one that is not trusted. The reader made the memory, so that it can neither shrink nor be
//! charged to anybody else; it keeps its position in its own memory, takes what the writer says only as far as it can be
//! true, and waits for nothing. A frame is one atomic word: whatever the writer does, it can be wrong but never torn.
//!
//! `frames` holds the algorithm on slices of atomics and no `unsafe`, so that loom can run it.

mod frames;
#[cfg(not(loom))]
mod shared;

pub use frames::Violation;
#[cfg(not(loom))]
pub use shared::{Reader, Writer};

/// CLOCK_MONOTONIC in µs, wrapping: the time of stamps.
#[cfg(not(loom))]
pub fn now_us() -> u32 {
    (crate::process::monotonic_ns() / 1000) as u32
}

#[cfg(all(loom, test))]
mod loom;
#[cfg(all(test, not(loom)))]
mod tests;

/// Left and right, S16.
pub type Frame = [i16; 2];

/// Frames of any ring: 170 ms at 48 kHz, which a job may be ahead of the card.
pub const FRAMES: u32 = 8192;
