//! RTP payload formats, receive buffers and the bandwidth policy: pure, a packet at a time.
//!
//! Sequence numbers and RTP times are extended (u64) everywhere: the peer connection unwraps them before they come
//! here. Opus needs no packetizer: one packet of the encoder is one RTP payload.

pub mod bandwidth;
pub mod h264;
pub mod opus;
pub mod reorder;
pub mod report;
pub mod video;

/// How the packets of a frame are known on the wire, for who wants to know when the last of them has left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// Of their stream.
    pub ssrc: u32,
    /// RTP time, the same in all of them.
    pub timestamp: u32,
    /// How many there are.
    pub packets: u32,
}
