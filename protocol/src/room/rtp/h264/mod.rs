//! H.264: Annex B byte streams, what a receiver must know of them, and their RTP payload format, RFC 6184 packetization
//! mode 1.

mod annex_b;
mod assembler;
mod bits;
mod depacketize;
mod gate;
mod level;
mod packetize;
mod parameter_sets;
mod sps;

pub use annex_b::{Nal, Nals, is_keyframe, nals};
pub use assembler::{Assembled, Assembler, Losses, SILENCE};
pub use depacketize::{AccessUnit, Depacketizer};
pub use gate::{Gate, Passed};
pub use level::{Load, smallest_level};
pub use packetize::{Packet, packetize};
pub use parameter_sets::{Finished, ParameterSets};
pub use sps::{Rate, Rewritten, Size, picture_size, rewrite};

/// `nal_unit_type` values that we tell apart.
mod kind {
    pub const SLICE: u8 = 1;
    pub const PARTITION_A: u8 = 2;
    pub const IDR: u8 = 5;
    pub const SEI: u8 = 6;
    pub const SPS: u8 = 7;
    pub const PPS: u8 = 8;
    pub const DELIMITER: u8 = 9;
    pub const FILLER: u8 = 12;
    pub const PREFIX: u8 = 14;
    pub const RESERVED_18: u8 = 18;
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
