//! Codecs and pictures: what a device owner does between the device and the ring.
//!
//! Nothing here opens a device, reads a clock or starts a thread; buffers are reused, so that a frame allocates nothing.

pub mod convert;
pub mod echo;
pub mod h264;
pub mod jpeg;
pub mod opus;
pub mod pattern;
mod picture;
pub mod scale;
pub mod still;
pub mod tone;

pub use picture::I420;
