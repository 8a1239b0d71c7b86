//! Parameter sets as encoders write them, and every combination of fields that they may have.

use super::super::bits::{Writer, escape};
use super::*;

const HD_RATE: Rate = Rate { milli_fps: 30_000, bitrate: 2_000_000 };

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|i| u8::from_str_radix(&hex[i..i + 2], 16).expect("two digits")).collect()
}

/// Name, size, as written by the encoder, as it must go out at 30 frames and 2 Mbit/s. The expected ones were put together
/// from the fields that ffmpeg's `trace_headers` reads in the given ones, and read by it again.
const SAMPLES: [(&str, u32, u32, &str, &str); 11] = [
    ("constrained baseline without a VUI", 1280, 720, "6742c01f8c8d402802dc80", "6742c01f8c8d402802dd00da08042a"),
    ("openh264", 1280, 720, "6742c01f8c6805005ba01e1108d4", "6742c01f8c6805005ba01e1108d4"),
    ("openh264, cropped", 320, 180, "6742c00d8c68141979e01e1108d4", "6742c0148c68141979e01e1108d4"),
    (
        "x264 --profile baseline --ref 1",
        1280,
        720,
        "6742c01fda014016e840000003004000000f23c60ca8",
        "6742c01fda014016e840000003004000000f23c60ca8",
    ),
    (
        "x264 --profile main --ref 3 --bframes 2",
        640,
        480,
        "674d401eeca0501ed080000003008000001e478b16cb",
        "674d401eeca0501ed080000003008000001e478b172c",
    ),
    (
        "x264 --profile high --ref 4 --bframes 3",
        1920,
        1080,
        "67640028acd940780227e584000003000400000300f23c60c658",
        "67640028acd940780227e584000003000400000300f23c60c960",
    ),
    (
        "x264 --profile high --nal-hrd cbr",
        1280,
        720,
        "6764001facb402802dd080000003008000001e7130007a12000f427261003c60ca80",
        "6764001facb402802dd080000003008000001e7130007a12000f427261003c60ca80",
    ),
    (
        "x264 --profile main --tff --ref 2, 25 frames a second",
        720,
        576,
        "674d401ff605a12684000003000400000300f27c58bb80",
        "674d401ff605a12684000003000400000300f27c58bb80",
    ),
    (
        "x264 with aspect ratio, overscan, colours and chroma location",
        640,
        360,
        "6764001eacb405017fcb8753808080db80000003008000001e478b1750",
        "6764001eacb405017fcb8753808080db80000003008000001e478b1750",
    ),
    (
        "x264 --profile high444",
        640,
        360,
        "67f4001e919680a02ff89840000003004000000f23c58ba8",
        "67f4001e919680a02ff89840000003004000000f23c58ba8",
    ),
    (
        "x264 --level 1b: constraint_set3_flag goes with it",
        176,
        144,
        "6742d00bda0b13a10000030001000003003c8f1226a0",
        "6742c014da0b13a10000030001000003003c8f1226a0",
    ),
];

#[test]
fn what_encoders_write_is_rewritten_bit_by_bit() {
    for (name, width, height, given, expected) in SAMPLES {
        let rewritten = rewrite(&bytes(given), HD_RATE).expect(name);
        assert_eq!(rewritten.unit, bytes(expected), "{name}");
        assert_eq!((rewritten.size, rewritten.id), (Size { width, height }, 0), "{name}");
    }
}

#[test]
fn the_level_follows_the_rate_and_not_what_the_encoder_claims() {
    let level = |milli_fps, bitrate| rewrite(&bytes(SAMPLES[3].3), Rate { milli_fps, bitrate }).expect("valid").unit[3];
    assert_eq!(level(60_000, 2_000_000), 32);
    assert_eq!(level(30_000, 15_000_000), 32);
    assert_eq!(level(120_000, 60_000_000), 42 + 8);
    let claims_too_much = [&bytes(SAMPLES[3].3)[..3], &[52], &bytes(SAMPLES[3].3)[4..]].concat();
    assert_eq!(rewrite(&claims_too_much, HD_RATE).expect("valid").unit[3], 31);
}

#[test]
fn what_is_cut_off_or_goes_on_behind_its_end_is_refused() {
    for (name, _, _, given, _) in SAMPLES {
        let given = bytes(given);
        for length in 0..given.len() {
            assert_eq!(rewrite(&given[..length], HD_RATE), None, "{name}: {length} bytes");
        }
        assert_eq!(rewrite(&[&given[..], &[0x12, 0x34]].concat(), HD_RATE), None, "{name}");
    }
}

/// Every choice that a parameter set has.
#[derive(Clone, Debug)]
struct Fields {
    profile: u8,
    id: u32,
    lists: Option<Vec<Option<Vec<i8>>>>,
    order: u32,
    cycle: Vec<i32>,
    frames: u32,
    columns: u32,
    map_rows: u32,
    frames_only: bool,
    crop: Option<[u32; 4]>,
    vui: Option<Vui>,
}

#[derive(Clone, Debug)]
struct Vui {
    aspect: Option<u8>,
    signal: Option<bool>,
    chroma: bool,
    timing: Option<(u32, u32)>,
    models: [Option<Vec<(u32, u32)>>; 2],
    restriction: Option<[u32; 6]>,
}

impl Fields {
    fn has_chroma_format(&self) -> bool {
        self.profile != 66 && self.profile != 77
    }

    /// As an encoder writes it; as it must go out, with `level`.
    fn write(&self, level: Option<u8>) -> Vec<u8> {
        let mut out = Writer::default();
        out.put(self.profile.into(), 8);
        out.put(0x40, 8);
        out.put(level.unwrap_or(51).into(), 8);
        out.golomb(self.id);
        if self.has_chroma_format() {
            out.golomb(1);
            out.golomb(0);
            out.golomb(0);
            out.bit(0);
            self.write_lists(&mut out);
        }
        out.golomb(4);
        self.write_order(&mut out);
        out.golomb(self.frames);
        out.bit(0);
        out.golomb(self.columns - 1);
        out.golomb(self.map_rows - 1);
        out.bit(self.frames_only.into());
        if !self.frames_only {
            out.bit(1);
        }
        out.bit(1);
        out.bit(self.crop.is_some().into());
        self.crop.iter().flatten().for_each(|side| out.golomb(*side));
        let rewritten = level.map(|_| self.frames.max(1));
        match &self.vui {
            Some(vui) => {
                out.bit(1);
                vui.write(&mut out, rewritten);
            }
            None if rewritten.is_some() => {
                out.bit(1);
                out.put(0, 8);
                write_restriction(&mut out, None, rewritten);
            }
            None => out.bit(0),
        }
        let mut unit = vec![0x67];
        escape(&out.finish(), &mut unit);
        unit
    }

    fn write_lists(&self, out: &mut Writer) {
        out.bit(self.lists.is_some().into());
        for list in self.lists.iter().flatten() {
            out.bit(list.is_some().into());
            list.iter().flatten().for_each(|delta| signed(out, (*delta).into()));
        }
    }

    fn write_order(&self, out: &mut Writer) {
        out.golomb(self.order);
        match self.order {
            0 => out.golomb(2),
            1 => {
                out.bit(0);
                signed(out, -3);
                signed(out, 2);
                out.golomb(self.cycle.len() as u32);
                self.cycle.iter().for_each(|offset| signed(out, *offset));
            }
            _ => {}
        }
    }

    fn size(&self) -> Size {
        let fields = if self.frames_only { 1 } else { 2 };
        let [left, right, top, bottom] = self.crop.unwrap_or_default();
        Size {
            width: self.columns * 16 - (left + right) * 2,
            height: self.map_rows * 16 * fields - (top + bottom) * 2 * fields,
        }
    }
}

impl Vui {
    fn write(&self, out: &mut Writer, rewritten: Option<u32>) {
        out.bit(self.aspect.is_some().into());
        if let Some(aspect) = self.aspect {
            out.put(aspect.into(), 8);
            if aspect == 255 {
                out.put(0x0004_0003, 32);
            }
        }
        out.put(0b10, 2); // overscan: known, not appropriate
        out.bit(self.signal.is_some().into());
        if let Some(colours) = self.signal {
            out.put(0b1011, 4);
            out.bit(colours.into());
            if colours {
                out.put(0x01_0203, 24);
            }
        }
        out.bit(self.chroma.into());
        if self.chroma {
            out.golomb(2);
            out.golomb(5);
        }
        out.bit(self.timing.is_some().into());
        if let Some((tick, scale)) = self.timing {
            out.put(tick, 32);
            out.put(scale, 32);
            out.bit(1);
        }
        for model in &self.models {
            out.bit(model.is_some().into());
            if let Some(buffers) = model {
                out.golomb(buffers.len() as u32 - 1);
                out.put(0x35, 8);
                for (rate, size) in buffers {
                    out.golomb(*rate);
                    out.golomb(*size);
                    out.bit(1);
                }
                out.put(0xabcde, 20);
            }
        }
        if self.models.iter().any(Option::is_some) {
            out.bit(1);
        }
        out.bit(1);
        match (&self.restriction, rewritten) {
            (None, None) => out.bit(0),
            (given, rewritten) => write_restriction(out, *given, rewritten),
        }
    }
}

fn write_restriction(out: &mut Writer, given: Option<[u32; 6]>, rewritten: Option<u32>) {
    let [bytes, bits, across, down, reorder, kept] = given.unwrap_or([2, 1, 15, 15, 0, 0]);
    let (reorder, kept) = rewritten.map_or((reorder, kept), |frames| (0, frames));
    out.bit(1);
    out.bit(given.is_none().into());
    [bytes, bits, across, down, reorder, kept].into_iter().for_each(|value| out.golomb(value));
}

fn signed(out: &mut Writer, value: i32) {
    out.golomb(if value > 0 { 2 * value as u32 - 1 } else { 2 * value.unsigned_abs() });
}

/// Deltas of one scaling list. The second form ends early: a scale of 0 says that the rest repeats.
fn scaling_list(length: usize) -> impl Strategy<Value = Option<Vec<i8>>> {
    prop_oneof![Just(None), Just(Some(vec![1; length])), Just(Some(vec![4, -12]))]
}

fn vui() -> impl Strategy<Value = Vui> {
    let model = proptest::option::of(proptest::collection::vec((0u32..100_000, 0u32..100_000), 1..4));
    (
        proptest::option::of(prop_oneof![Just(1u8), Just(255)]),
        proptest::option::of(any::<bool>()),
        any::<bool>(),
        proptest::option::of((prop_oneof![Just(0u32), Just(1), Just(1001)], any::<u32>())),
        [model.clone(), model],
        proptest::option::of([0u32..17, 0u32..17, 0u32..17, 0u32..17, 0u32..3, 0u32..17]),
    )
        .prop_map(|(aspect, signal, chroma, timing, models, restriction)| Vui {
            aspect,
            signal,
            chroma,
            timing,
            models,
            restriction,
        })
}

fn fields() -> impl Strategy<Value = Fields> {
    let lists: Vec<_> = [16, 16, 16, 16, 16, 16, 64, 64].into_iter().map(scaling_list).collect();
    (
        prop_oneof![Just(66u8), Just(77), Just(100), Just(110), Just(44), Just(118), Just(139)],
        0u32..32,
        proptest::option::of(lists),
        (0u32..3, proptest::collection::vec(-1000i32..1000, 0..20)),
        (0u32..17, 1u32..130, 1u32..70, any::<bool>()),
        proptest::option::of([0u32..2, 0u32..2, 0u32..2, 0u32..2]),
        proptest::option::of(vui()),
    )
        .prop_map(|(profile, id, lists, (order, cycle), (frames, columns, map_rows, frames_only), crop, vui)| {
            Fields { profile, id, lists, order, cycle, frames, columns, map_rows, frames_only, crop, vui }
        })
}

proptest! {
    #[test]
    fn every_combination_of_fields_keeps_them_all_but_the_level_and_the_order(fields in fields()) {
        let given = fields.write(None);
        let rewritten = rewrite(&given, HD_RATE);
        let rewritten = rewritten.expect("a valid parameter set");
        let rows = fields.map_rows * if fields.frames_only { 1 } else { 2 };
        let Rate { milli_fps, bitrate } = HD_RATE;
        let load = Load { columns: fields.columns, rows, milli_fps, bitrate, frames: fields.frames.max(1) };
        let level = smallest_level(fields.profile, load, if fields.frames_only { 0 } else { 21 });
        prop_assert_eq!(&rewritten.unit, &fields.write(Some(level)));
        prop_assert_eq!((rewritten.size, rewritten.id), (fields.size(), fields.id));
        prop_assert_eq!(picture_size(&rewritten.unit), Some(fields.size()));
        let stream = [&[0, 0, 1][..], &rewritten.unit].concat();
        prop_assert_eq!(nals(&stream).map(|nal| nal.0.to_vec()).collect::<Vec<_>>(), vec![rewritten.unit.clone()]);
        let again = rewrite(&rewritten.unit, HD_RATE);
        prop_assert_eq!(again, Some(rewritten));
    }

    #[test]
    fn any_bytes_are_refused_or_rewritten_once_and_for_all(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
        if let Some(rewritten) = rewrite(&bytes, HD_RATE) {
            prop_assert_eq!(picture_size(&bytes), Some(rewritten.size));
            prop_assert_eq!(rewrite(&rewritten.unit, HD_RATE), Some(rewritten));
        }
    }
}
