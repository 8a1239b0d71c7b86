//! RTP payload formats, receive buffers and the bandwidth policy: pure, a packet at a time.
//!
//! Sequence numbers and RTP times are extended (u64) everywhere: the peer connection unwraps them before they come
//! here. Opus needs no code of its own: one packet of the encoder is one RTP payload.

pub mod bandwidth;
pub mod h264;
pub mod reorder;
pub mod video;
