//! Levels: ITU-T H.264, table A-1. Too high a level costs decoders memory and delay; too low a one is refused by some
//! decoders, and stops some encoders.

/// What a stream asks of its decoder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Load {
    /// Macroblocks across.
    pub columns: u32,
    /// Macroblocks down.
    pub rows: u32,
    /// Frames a second times 1000.
    pub milli_fps: u32,
    /// Bit/s at most.
    pub bitrate: u32,
    /// Frames that the decoder must keep.
    pub frames: u32,
}

impl Load {
    /// A stream of pictures of this many pixels that refer to one frame at most.
    pub fn of(width: u32, height: u32, milli_fps: u32, bitrate: u32) -> Self {
        Self { columns: width.div_ceil(16), rows: height.div_ceil(16), milli_fps, bitrate, frames: 1 }
    }
}

struct Limits {
    /// `level_idc`.
    level: u8,
    /// Macroblocks a second.
    rate: u32,
    /// Macroblocks of a frame.
    size: u32,
    /// Macroblocks of all frames that are kept.
    kept: u32,
    /// kbit/s, in the profiles without a factor of their own.
    kbps: u32,
}

const fn limits(level: u8, rate: u32, size: u32, kept: u32, kbps: u32) -> Limits {
    Limits { level, rate, size, kept, kbps }
}

/// Without level 1b, which some write as 9 and others as a flag; 1.1 holds all that it does.
const TABLE: [Limits; 19] = [
    limits(10, 1_485, 99, 396, 64),
    limits(11, 3_000, 396, 900, 192),
    limits(12, 6_000, 396, 2_376, 384),
    limits(13, 11_880, 396, 2_376, 768),
    limits(20, 11_880, 396, 2_376, 2_000),
    limits(21, 19_800, 792, 4_752, 4_000),
    limits(22, 20_250, 1_620, 8_100, 4_000),
    limits(30, 40_500, 1_620, 8_100, 10_000),
    limits(31, 108_000, 3_600, 18_000, 14_000),
    limits(32, 216_000, 5_120, 20_480, 20_000),
    limits(40, 245_760, 8_192, 32_768, 20_000),
    limits(41, 245_760, 8_192, 32_768, 50_000),
    limits(42, 522_240, 8_704, 34_816, 50_000),
    limits(50, 589_824, 22_080, 110_400, 135_000),
    limits(51, 983_040, 36_864, 184_320, 240_000),
    limits(52, 2_073_600, 36_864, 184_320, 240_000),
    limits(60, 4_177_920, 139_264, 696_320, 240_000),
    limits(61, 8_355_840, 139_264, 696_320, 480_000),
    limits(62, 16_711_680, 139_264, 696_320, 800_000),
];

/// The smallest `level_idc`, not under `least`, that covers `load`; the highest there is for what none covers.
pub fn smallest_level(profile: u8, load: Load, least: u8) -> u8 {
    TABLE.iter().find(|row| row.level >= least && row.covers(profile, load)).map_or(62, |row| row.level)
}

impl Limits {
    fn covers(&self, profile: u8, load: Load) -> bool {
        let frame = u64::from(load.columns) * u64::from(load.rows);
        let rate = (frame * u64::from(load.milli_fps)).div_ceil(1000);
        // No side may be longer than that of a frame eight times as long as it is high.
        let longest = u64::from(self.size) * 8;
        let fits = |side: u32| u64::from(side) * u64::from(side) <= longest;
        frame <= u64::from(self.size)
            && fits(load.columns)
            && fits(load.rows)
            && rate <= u64::from(self.rate)
            && frame * u64::from(load.frames) <= u64::from(self.kept)
            && u64::from(load.bitrate) <= u64::from(self.kbps) * bits_of_kilobit(profile)
    }
}

/// `cpbBrVclFactor` of table A-2.
fn bits_of_kilobit(profile: u8) -> u64 {
    match profile {
        100 => 1_250,
        110 => 3_000,
        122 | 244 | 44 => 4_000,
        _ => 1_000,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_level_is_the_smallest_that_covers_size_rate_bits_and_frames() {
        let baseline = |load| smallest_level(66, load, 0);
        assert_eq!(baseline(Load::of(176, 144, 15_000, 64_000)), 10);
        assert_eq!(baseline(Load::of(640, 360, 30_000, 2_000_000)), 30);
        assert_eq!(baseline(Load::of(1280, 720, 30_000, 2_000_000)), 31);
        assert_eq!(baseline(Load::of(1280, 720, 60_000, 2_000_000)), 32);
        assert_eq!(baseline(Load::of(1920, 1080, 30_000, 4_000_000)), 40);
        assert_eq!(baseline(Load::of(1920, 1080, 30_000, 20_000_001)), 41);
        assert_eq!(smallest_level(100, Load::of(1920, 1080, 30_000, 25_000_000), 0), 40, "high profile has more bits");
        assert_eq!(baseline(Load { frames: 6, ..Load::of(1280, 720, 30_000, 2_000_000) }), 40, "the frames it keeps");
        assert_eq!(baseline(Load { columns: 177, rows: 1, ..Load::of(16, 16, 1_000, 1) }), 32, "as wide as that");
        assert_eq!(smallest_level(66, Load::of(16, 16, 1_000, 1), 21), 21);
        assert_eq!(baseline(Load::of(60_000, 60_000, u32::MAX, u32::MAX)), 62);
    }
}
