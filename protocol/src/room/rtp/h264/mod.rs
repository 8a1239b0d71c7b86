//! H.264: Annex B byte streams and their RTP payload format, RFC 6184 packetization mode 1.

mod annex_b;
mod depacketize;
mod packetize;
mod sps;

pub use annex_b::{Nal, Nals, is_keyframe, nals};
pub use depacketize::{AccessUnit, Depacketizer};
pub use packetize::{Packet, packetize};
pub use sps::{Size, picture_size};

/// `nal_unit_type` values that we tell apart.
mod kind {
    pub const IDR: u8 = 5;
    pub const SPS: u8 = 7;
    pub const DELIMITER: u8 = 9;
    pub const FILLER: u8 = 12;
    pub const STAP_A: u8 = 24;
    pub const FU_A: u8 = 28;
}

/// Bits of the first byte of a NAL unit.
mod header {
    pub const FORBIDDEN: u8 = 0x80;
    pub const REFERENCE: u8 = 0x60;
    pub const TYPE: u8 = 0x1f;
}

#[cfg(test)]
mod tests;
