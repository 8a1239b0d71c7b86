//! The picture size in a sequence parameter set: ITU-T H.264, 7.3.2.1.1.

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

/// Profiles whose parameter sets hold the chroma format.
const WITH_CHROMA_FORMAT: [u8; 13] = [100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135];

/// No level allows larger pictures than this many macroblocks across.
const LARGEST_MACROBLOCKS: u32 = 1 << 12;

/// The size of the shown picture, from an SPS unit without its start code. `None` if it is cut off or not valid.
pub fn picture_size(sps: &[u8]) -> Option<Size> {
    let mut bits = Bits::new(sps.get(1..)?);
    let profile = bits.take(8)? as u8;
    bits.take(16)?; // constraint flags, level
    bits.golomb()?; // seq_parameter_set_id
    let chroma = if WITH_CHROMA_FORMAT.contains(&profile) { chroma_format(&mut bits)? } else { 1 };
    bits.golomb()?; // log2_max_frame_num_minus4
    skip_order_count(&mut bits)?;
    bits.golomb()?; // max_num_ref_frames
    bits.take(1)?; // gaps_in_frame_num_value_allowed_flag
    let columns = macroblocks(&mut bits)?;
    let rows = macroblocks(&mut bits)?;
    let frames_only = bits.take(1)?;
    if frames_only == 0 {
        bits.take(1)?; // mb_adaptive_frame_field_flag
    }
    bits.take(1)?; // direct_8x8_inference_flag
    // A map unit is a macroblock pair in streams that may hold fields.
    let fields = 2 - frames_only;
    let (crop_width, crop_height) = cropping(&mut bits, chroma, fields)?;
    let width = (columns * 16).checked_sub(crop_width)?;
    let height = (rows * 16 * fields).checked_sub(crop_height)?;
    Some(Size { width, height })
}

fn macroblocks(bits: &mut Bits<'_>) -> Option<u32> {
    let count = bits.golomb()?.checked_add(1)?;
    (count <= LARGEST_MACROBLOCKS).then_some(count)
}

/// `chroma_format_idc` and what hangs on it, scaling lists included.
fn chroma_format(bits: &mut Bits<'_>) -> Option<u32> {
    let chroma = bits.golomb()?;
    if chroma == 3 {
        bits.take(1)?; // separate_colour_plane_flag
    }
    bits.golomb()?; // bit_depth_luma_minus8
    bits.golomb()?; // bit_depth_chroma_minus8
    bits.take(1)?; // qpprime_y_zero_transform_bypass_flag
    if bits.take(1)? == 1 {
        let lists = if chroma == 3 { 12 } else { 8 };
        for list in 0..lists {
            if bits.take(1)? == 1 {
                skip_scaling_list(bits, if list < 6 { 16 } else { 64 })?;
            }
        }
    }
    Some(chroma)
}

fn skip_scaling_list(bits: &mut Bits<'_>, size: u32) -> Option<()> {
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

fn skip_order_count(bits: &mut Bits<'_>) -> Option<()> {
    match bits.golomb()? {
        0 => {
            bits.golomb()?; // log2_max_pic_order_cnt_lsb_minus4
        }
        1 => {
            bits.take(1)?; // delta_pic_order_always_zero_flag
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
        _ => {}
    }
    Some(())
}

/// Pixels cut off in all, across and down.
fn cropping(bits: &mut Bits<'_>, chroma: u32, fields: u32) -> Option<(u32, u32)> {
    if bits.take(1)? == 0 {
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

/// Reads bits of a NAL unit, leaving out emulation prevention bytes.
struct Bits<'a> {
    bytes: &'a [u8],
    /// Zero bytes just before `bytes`.
    zeros: u8,
    current: u8,
    /// Bits of `current` not read yet.
    left: u8,
}

impl<'a> Bits<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, zeros: 0, current: 0, left: 0 }
    }

    fn bit(&mut self) -> Option<u32> {
        if self.left == 0 {
            self.current = self.byte()?;
            self.left = 8;
        }
        self.left -= 1;
        Some(u32::from(self.current >> self.left & 1))
    }

    fn byte(&mut self) -> Option<u8> {
        if self.zeros >= 2 && self.bytes.first() == Some(&3) {
            self.bytes = &self.bytes[1..];
            self.zeros = 0;
        }
        let (&byte, rest) = self.bytes.split_first()?;
        self.bytes = rest;
        self.zeros = if byte == 0 { self.zeros.saturating_add(1) } else { 0 };
        Some(byte)
    }

    fn take(&mut self, count: u32) -> Option<u32> {
        (0..count).try_fold(0, |value, _| Some(value << 1 | self.bit()?))
    }

    /// ue(v)
    fn golomb(&mut self) -> Option<u32> {
        let mut zeros = 0;
        while self.bit()? == 0 {
            zeros += 1;
            if zeros > 31 {
                return None;
            }
        }
        let rest = self.take(zeros)?;
        Some(((1u64 << zeros) - 1 + u64::from(rest)) as u32)
    }

    /// se(v)
    fn signed_golomb(&mut self) -> Option<i64> {
        let code = i64::from(self.golomb()?);
        Some(if code % 2 == 0 { -code / 2 } else { (code + 1) / 2 })
    }
}
