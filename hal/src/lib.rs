//! What speaks to the kernel below std: V4L2, ALSA, shared-memory rings, processes, uevents.
//!
//! All `unsafe` of the workspace lives here. Everything is synchronous; shells wrap descriptors for their runtime.

#![warn(missing_docs)]

#[cfg(any(test, feature = "fake"))]
pub mod allocations;
pub mod audio;
pub mod board;
pub mod clock;
pub mod codec;
pub mod doorbell;
pub mod hangup;
pub mod hotplug;
pub mod interfaces;
pub mod process;
pub mod ring;
pub mod storage;
pub mod video;
mod wait;
