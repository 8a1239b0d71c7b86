//! What a made-up encoder offers, and what comes out of it.

use super::Knob;
use std::fmt;
use std::time::Duration;

/// What an encoder offers and does.
pub struct Coding {
    /// As QUERYCAP names it.
    pub driver: &'static str,
    /// Of the multi-planar API.
    pub multi_planar: bool,
    /// Formats that it takes.
    pub inputs: Vec<&'static [u8; 4]>,
    /// What it gives.
    pub codec: &'static [u8; 4],
    /// Its controls.
    pub knobs: Vec<Knob>,
    /// Width and height are made multiples of this.
    pub align: u32,
    /// Its lines are as long as it wants, whatever is asked for.
    pub own_lines: bool,
    /// Buffers that it makes at least.
    pub raises: u32,
    /// It takes buffers of other drivers.
    pub imports: bool,
    /// From a picture to its unit.
    pub delay: Duration,
    /// Pictures that stay inside until others push them out.
    pub depth: usize,
    /// With an item of its level menu below this, it gives one unit and no more.
    pub needs_level: i64,
    /// The rate cannot be changed while it runs.
    pub fixed_rate: bool,
    /// The first buffer holds parameter sets alone.
    pub headers_apart: bool,
    /// It copies no stamps.
    pub unstamped: bool,
    /// What becomes of a picture.
    pub units: Box<dyn FnMut(&Pictured<'_>) -> Coded + Send>,
}

/// A picture to be encoded.
#[derive(Clone, Copy, Debug)]
pub struct Pictured<'a> {
    /// Since the stream began.
    pub number: u32,
    /// The first one, or one for which a keyframe was forced.
    pub key: bool,
    /// Of all planes.
    pub bytes: &'a [u8],
}

/// What comes out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Coded {
    /// A unit.
    Unit(Vec<u8>),
    /// A buffer marked as damaged.
    Damaged,
    /// Nothing: the rate control leaves it out.
    Nothing,
}

/// Parameter sets of 64x48 in constrained baseline.
pub(super) const HEADERS: &[u8] =
    &[0, 0, 0, 1, 0x67, 0x42, 0xc0, 0x0a, 0xda, 0x11, 0xe4, 0, 0, 0, 1, 0x68, 0xce, 0x3c, 0x80];
const IDR: &[u8] = &[0, 0, 0, 1, 0x65, 0x88, 0x84];
const SLICE: &[u8] = &[0, 0, 0, 1, 0x41, 0x9a, 0x02];

/// A unit in H.264: what comes before the slice is as in a real stream, the slice is a few bytes.
pub fn coded(picture: &Pictured<'_>) -> Coded {
    let slice = if picture.key { [HEADERS, IDR].concat() } else { SLICE.to_vec() };
    Coded::Unit([&slice[..], &picture.number.to_be_bytes(), &[0x80]].concat())
}

impl Default for Coding {
    /// As the interface says, and at once.
    fn default() -> Self {
        Self {
            driver: "fake",
            multi_planar: false,
            inputs: vec![b"NV12", b"YU12"],
            codec: b"H264",
            knobs: pi_knobs(),
            align: 2,
            own_lines: false,
            raises: 0,
            imports: true,
            delay: Duration::ZERO,
            depth: 0,
            needs_level: 0,
            fixed_rate: false,
            headers_apart: false,
            unstamped: false,
            units: Box::new(coded),
        }
    }
}

impl fmt::Debug for Coding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Coding").field("driver", &self.driver).finish_non_exhaustive()
    }
}

/// The controls of a Raspberry Pi's encoder: levels to 5.1, no minimum of buffers, rates in steps of 25 kbit/s.
pub fn pi_knobs() -> Vec<Knob> {
    const CODEC: u32 = 0x0099_0900;
    let levels: Vec<String> = (0..16).map(|item| format!("level {item}")).collect();
    let levels: Vec<&str> = levels.iter().map(String::as_str).collect();
    vec![
        Knob::number("Video Bitrate", 25_000, 25_000_000, 25_000).numbered(CODEC + 207),
        Knob::menu("Video Bitrate Mode", &["Variable", "Constant"]).numbered(CODEC + 206),
        Knob::number("Repeat Sequence Header", 0, 1, 1).numbered(CODEC + 226),
        Knob::number("Force Key Frame", 0, 1, 1).numbered(CODEC + 229),
        Knob::number("H264 Minimum QP Value", 0, 51, 1).numbered(CODEC + 353),
        Knob::number("H264 Maximum QP Value", 0, 51, 1).numbered(CODEC + 354),
        Knob::number("H264 I-Frame Period", 0, 0x7fff_ffff, 1).numbered(CODEC + 358),
        Knob::menu("H264 Level", &levels).numbered(CODEC + 359),
        Knob::menu("H264 Profile", &["Baseline", "Constrained Baseline", "Main", "", "High"]).numbered(CODEC + 363),
    ]
}
