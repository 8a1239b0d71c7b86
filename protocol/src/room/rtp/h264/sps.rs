//! Sequence parameter sets: ITU-T H.264, 7.3.2.1.1 and annex E. Read, and rewritten for real time.

use super::bits::{Reader, Writer, escape, unescape};
use super::header;
use super::level::{Load, smallest_level};

/// Pixels shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// Pixels.
    pub width: u32,
    /// Pixels.
    pub height: u32,
}

impl Size {
    /// What an SFU sends to push the last picture out of a decoder when a track ends.
    pub(super) fn is_blank(self) -> bool {
        self.width <= 2 && self.height <= 2
    }
}

/// What a stream's level follows from besides its parameter set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Frames a second times 1000.
    pub milli_fps: u32,
    /// Bit/s at most.
    pub bitrate: u32,
}

/// A parameter set that was made fit for real time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rewritten {
    /// The unit, without start code.
    pub unit: Vec<u8>,
    /// `seq_parameter_set_id`.
    pub id: u32,
    /// Of its pictures.
    pub size: Size,
}

/// Profiles whose parameter sets hold the chroma format.
const WITH_CHROMA_FORMAT: [u8; 13] = [100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135];

/// No level allows larger pictures than this many macroblocks across.
const LARGEST_MACROBLOCKS: u32 = 1 << 12;

/// Bytes of a parameter set: twice what one with every list and cycle takes. Longer ones are not looked into.
const LARGEST: usize = 8 * 1024;

/// Frames that any level lets a decoder keep.
const MOST_FRAMES: u32 = 16;

/// `profile_idc` of the profiles in which constraint_set3_flag with level 1.1 means level 1b.
const WITH_LEVEL_1B: [u8; 3] = [66, 77, 88];
const CONSTRAINT_SET_3: u8 = 0x10;

/// The lowest level with fields.
const LEAST_LEVEL_OF_FIELDS: u8 = 21;

/// The size of the shown picture, from an SPS unit without its start code. `None` if it is cut off or not valid.
pub fn picture_size(sps: &[u8]) -> Option<Size> {
    let payload = unescape(sps.get(1..LARGEST.min(sps.len()))?);
    head(&mut Reader::new(&payload)).map(|head| head.size)
}

/// The same parameter set with the promise that pictures come out in the order they went in, and that only reference
/// frames are kept, so that a decoder shows each at once; at the smallest level that covers `rate`. All else is kept bit
/// by bit. `None` if it is cut off or not valid.
pub fn rewrite(sps: &[u8], rate: Rate) -> Option<Rewritten> {
    if sps.len() > LARGEST || sps.first()? & header::FORBIDDEN != 0 {
        return None;
    }
    let payload = unescape(&sps[1..]);
    let mut reader = Reader::new(&payload);
    let head = head(&mut reader)?;
    let vui_flag = reader.position();
    let mut out = Writer::default();
    if reader.flag()? {
        let (upto, limits) = vui(&mut reader)?;
        out.copy(&payload, 0, upto);
        out.bit(1);
        match limits {
            Some(range) => out.copy(&payload, range.start, range.end),
            None => unknown_limits(&mut out),
        }
    } else {
        out.copy(&payload, 0, vui_flag);
        out.bit(1);
        out.put(0, VUI_FLAGS);
        out.bit(1);
        unknown_limits(&mut out);
    }
    if !reader.ends_here() {
        return None;
    }
    let frames = head.reference_frames.max(1);
    out.golomb(0); // max_num_reorder_frames
    out.golomb(frames); // max_dec_frame_buffering
    let mut payload = out.finish();
    head.set_level(&mut payload, rate, frames);
    let mut unit = Vec::with_capacity(sps.len() + 16);
    unit.push(sps[0]);
    escape(&payload, &mut unit);
    Some(Rewritten { unit, id: head.id, size: head.size })
}

/// Flags of a VUI before bitstream_restriction_flag, all zero for nothing there: aspect ratio, overscan, video signal,
/// chroma location, timing, two of HRD, pic_struct.
const VUI_FLAGS: u32 = 8;

/// The first fields of a bitstream restriction, with the values that a decoder assumes without one.
fn unknown_limits(out: &mut Writer) {
    const BYTES_OF_PICTURE: u32 = 2;
    const BITS_OF_MACROBLOCK: u32 = 1;
    const LOG2_OF_VECTORS: u32 = 15;
    out.bit(1); // motion_vectors_over_pic_boundaries_flag
    for value in [BYTES_OF_PICTURE, BITS_OF_MACROBLOCK, LOG2_OF_VECTORS, LOG2_OF_VECTORS] {
        out.golomb(value);
    }
}

/// What stands before the VUI.
#[derive(Clone, Copy, Debug)]
struct Head {
    profile: u8,
    id: u32,
    reference_frames: u32,
    columns: u32,
    rows: u32,
    frames_only: bool,
    size: Size,
}

impl Head {
    /// Profile, flags and level are the first three bytes of the payload.
    fn set_level(&self, payload: &mut [u8], rate: Rate, frames: u32) {
        let Rate { milli_fps, bitrate } = rate;
        let load = Load { columns: self.columns, rows: self.rows, milli_fps, bitrate, frames };
        let least = if self.frames_only { 0 } else { LEAST_LEVEL_OF_FIELDS };
        if WITH_LEVEL_1B.contains(&self.profile) {
            payload[1] &= !CONSTRAINT_SET_3;
        }
        payload[2] = smallest_level(self.profile, load, least);
    }
}

/// Reads up to vui_parameters_present_flag.
fn head(bits: &mut Reader<'_>) -> Option<Head> {
    let profile = bits.take(8)? as u8;
    bits.skip(16)?; // constraint flags, level
    let id = bits.golomb()?;
    let chroma = if WITH_CHROMA_FORMAT.contains(&profile) { chroma_format(bits)? } else { 1 };
    bits.golomb()?; // log2_max_frame_num_minus4
    order_count(bits)?;
    let reference_frames = bits.golomb()?;
    if reference_frames > MOST_FRAMES {
        return None;
    }
    bits.skip(1)?; // gaps_in_frame_num_value_allowed_flag
    let columns = macroblocks(bits)?;
    let map_rows = macroblocks(bits)?;
    let frames_only = bits.flag()?;
    if !frames_only {
        bits.skip(1)?; // mb_adaptive_frame_field_flag
    }
    bits.skip(1)?; // direct_8x8_inference_flag
    // A map unit is a macroblock pair in streams that may hold fields.
    let fields = if frames_only { 1 } else { 2 };
    let rows = map_rows * fields;
    let (crop_width, crop_height) = cropping(bits, chroma, fields)?;
    let width = (columns * 16).checked_sub(crop_width)?;
    let height = (rows * 16).checked_sub(crop_height)?;
    Some(Head { profile, id, reference_frames, columns, rows, frames_only, size: Size { width, height } })
}

fn macroblocks(bits: &mut Reader<'_>) -> Option<u32> {
    let count = bits.golomb()?.checked_add(1)?;
    (count <= LARGEST_MACROBLOCKS).then_some(count)
}

/// `chroma_format_idc` and what hangs on it, scaling lists included; 0 where the planes are apart.
fn chroma_format(bits: &mut Reader<'_>) -> Option<u32> {
    let chroma = bits.golomb()?;
    let separate = chroma == 3 && bits.flag()?; // separate_colour_plane_flag
    bits.golomb()?; // bit_depth_luma_minus8
    bits.golomb()?; // bit_depth_chroma_minus8
    bits.skip(1)?; // qpprime_y_zero_transform_bypass_flag
    if bits.flag()? {
        let lists = if chroma == 3 { 12 } else { 8 };
        for list in 0..lists {
            if bits.flag()? {
                scaling_list(bits, if list < 6 { 16 } else { 64 })?;
            }
        }
    }
    match chroma {
        _ if separate => Some(0),
        0..=3 => Some(chroma),
        _ => None,
    }
}

fn scaling_list(bits: &mut Reader<'_>, size: u32) -> Option<()> {
    let (mut last, mut next) = (8i64, 8i64);
    for _ in 0..size {
        if next != 0 {
            next = (last + bits.signed_golomb()?).rem_euclid(256);
        }
        if next != 0 {
            last = next;
        }
    }
    Some(())
}

fn order_count(bits: &mut Reader<'_>) -> Option<()> {
    match bits.golomb()? {
        0 => {
            bits.golomb()?; // log2_max_pic_order_cnt_lsb_minus4
        }
        1 => {
            bits.skip(1)?; // delta_pic_order_always_zero_flag
            bits.golomb()?; // offset_for_non_ref_pic
            bits.golomb()?; // offset_for_top_to_bottom_field
            let cycle = bits.golomb()?;
            if cycle > 255 {
                return None;
            }
            for _ in 0..cycle {
                bits.golomb()?; // offset_for_ref_frame
            }
        }
        2 => {}
        _ => return None,
    }
    Some(())
}

/// Pixels cut off in all, across and down.
fn cropping(bits: &mut Reader<'_>, chroma: u32, fields: u32) -> Option<(u32, u32)> {
    if !bits.flag()? {
        return Some((0, 0));
    }
    let (unit_x, unit_y) = match chroma {
        1 => (2, 2 * fields),
        2 => (2, fields),
        _ => (1, fields),
    };
    let left = bits.golomb()?;
    let right = bits.golomb()?;
    let top = bits.golomb()?;
    let bottom = bits.golomb()?;
    let across = left.checked_add(right)?.checked_mul(unit_x)?;
    let down = top.checked_add(bottom)?.checked_mul(unit_y)?;
    Some((across, down))
}

/// Reads a VUI to its end: where its bitstream_restriction_flag stands, and the fields behind it that are kept.
fn vui(bits: &mut Reader<'_>) -> Option<(usize, Option<std::ops::Range<usize>>)> {
    const EXTENDED_ASPECT_RATIO: u32 = 255;
    if bits.flag()? && bits.take(8)? == EXTENDED_ASPECT_RATIO {
        bits.skip(32)?; // sar_width, sar_height
    }
    if bits.flag()? {
        bits.skip(1)?; // overscan_appropriate_flag
    }
    if bits.flag()? {
        bits.skip(4)?; // video_format, video_full_range_flag
        if bits.flag()? {
            bits.skip(24)?; // colour_primaries, transfer_characteristics, matrix_coefficients
        }
    }
    if bits.flag()? {
        bits.golomb()?; // chroma_sample_loc_type_top_field
        bits.golomb()?; // chroma_sample_loc_type_bottom_field
    }
    if bits.flag()? {
        bits.skip(65)?; // num_units_in_tick, time_scale, fixed_frame_rate_flag
    }
    let of_units = bits.flag()?;
    if of_units {
        buffer_model(bits)?;
    }
    let of_slices = bits.flag()?;
    if of_slices {
        buffer_model(bits)?;
    }
    if of_units || of_slices {
        bits.skip(1)?; // low_delay_hrd_flag
    }
    bits.skip(1)?; // pic_struct_present_flag
    let flag = bits.position();
    if !bits.flag()? {
        return Some((flag, None));
    }
    let start = bits.position();
    bits.skip(1)?; // motion_vectors_over_pic_boundaries_flag
    for _ in 0..4 {
        bits.golomb()?; // max_bytes_per_pic_denom to log2_max_mv_length_vertical
    }
    let end = bits.position();
    bits.golomb()?; // max_num_reorder_frames
    bits.golomb()?; // max_dec_frame_buffering
    Some((flag, Some(start..end)))
}

/// hrd_parameters
fn buffer_model(bits: &mut Reader<'_>) -> Option<()> {
    let buffers = bits.golomb()?.checked_add(1)?;
    if buffers > 32 {
        return None;
    }
    bits.skip(8)?; // bit_rate_scale, cpb_size_scale
    for _ in 0..buffers {
        bits.golomb()?; // bit_rate_value_minus1
        bits.golomb()?; // cpb_size_value_minus1
        bits.skip(1)?; // cbr_flag
    }
    bits.skip(20) // lengths of delays and of time offsets
}
