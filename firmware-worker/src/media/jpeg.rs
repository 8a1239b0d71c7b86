//! Pictures of a camera that sends MJPEG, to I420. A damaged picture is an error; the caller drops and counts it.
//!
//! The header is checked here before libjpeg-turbo sees a byte: what is cut off, of another size or of another kind never
//! gets there.

use super::I420;
use turbojpeg::{Colorspace, Decompressor, Subsamp, YuvImage, yuv_pixels_len};

/// A picture that cannot be taken.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The data between header and end.
    #[error("jpeg: {0}")]
    Damaged(#[from] turbojpeg::Error),
    /// Starts or ends in the middle.
    #[error("jpeg: incomplete picture of {0} bytes")]
    Incomplete(usize),
    /// No header that describes a picture.
    #[error("jpeg: no picture in its header")]
    NoHeader,
    /// Of another size than the camera was set to.
    #[error("jpeg: a picture of {width}x{height}")]
    Size {
        /// Its width.
        width: usize,
        /// Its height.
        height: usize,
    },
    /// Not luma and chroma with 8 bits.
    #[error("jpeg: a picture in other colours than YCbCr")]
    Colours,
}

/// What every JPEG starts with.
const START: [u8; 2] = [0xFF, 0xD8];
/// What every JPEG ends with, padding aside.
const END: [u8; 2] = [0xFF, 0xD9];
/// Cameras pad to their transfer size; the end marker is looked for this far back.
const MAX_PADDING: usize = 4096;
/// Marker of the segment after which the picture's data begins.
const SCAN: u8 = 0xDA;
/// Markers of a frame header: baseline, extended and progressive.
const FRAMES: std::ops::RangeInclusive<u8> = 0xC0..=0xC2;

/// What a frame header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Pixels.
    pub width: usize,
    /// Pixels.
    pub height: usize,
    /// Colour components: 1 for grey.
    pub components: u8,
}

/// Reads the header of a whole picture: from its start marker to its scan, with an end marker behind.
pub fn header(data: &[u8]) -> Result<Header, Error> {
    let tail = &data[data.len().saturating_sub(MAX_PADDING)..];
    if !data.starts_with(&START) || !tail.windows(2).any(|pair| pair == END) {
        return Err(Error::Incomplete(data.len()));
    }
    let mut found = None;
    let mut rest = &data[START.len()..];
    while let [0xFF, marker, high, low, body @ ..] = rest {
        match (*marker, body) {
            // Fill bytes before a marker.
            (0xFF, _) => {
                rest = &rest[1..];
                continue;
            }
            (SCAN, _) => return found.ok_or(Error::NoHeader),
            (marker, [8, h1, h2, w1, w2, components, ..]) if FRAMES.contains(&marker) => {
                let (width, height) = (u16::from_be_bytes([*w1, *w2]), u16::from_be_bytes([*h1, *h2]));
                found = Some(Header { width: width.into(), height: height.into(), components: *components });
            }
            _ => {}
        }
        let length = usize::from(u16::from_be_bytes([*high, *low])).max(2);
        rest = rest.get(2 + length..).unwrap_or_default();
    }
    Err(Error::NoHeader)
}

/// The decoder of one camera; its buffers are reused.
#[derive(Debug, Default)]
pub struct Decoder {
    decompressor: Option<Decompressor>,
    planes: Vec<u8>,
}

impl Decoder {
    /// Decodes into `picture`, whose size is the camera's. Huffman tables may be missing, as AVI allows and many cameras do:
    /// the standard ones are meant.
    pub fn decode(&mut self, data: &[u8], picture: &mut I420) -> Result<(), Error> {
        let Header { width, height, components } = header(data)?;
        if (width & !1, height & !1) != (picture.width(), picture.height()) {
            return Err(Error::Size { width, height });
        }
        let decompressor = match &mut self.decompressor {
            Some(decompressor) => decompressor,
            none => none.insert(Decompressor::new()?),
        };
        let told = decompressor.read_header(data)?;
        let planar = matches!(told.colorspace, Colorspace::YCbCr | Colorspace::Gray) && matches!(components, 1 | 3);
        if (told.width, told.height) != (width, height) || !planar || told.is_lossless {
            return Err(Error::Colours);
        }
        // The planes are of the very form that the decoder has read out of this picture: it fills them without asking.
        self.planes.resize(yuv_pixels_len(width, 1, height, told.subsamp)?, 0);
        let planes = YuvImage { pixels: &mut self.planes[..], width, align: 1, height, subsamp: told.subsamp };
        match decompressor.decompress_to_yuv(data, planes) {
            Err(turbojpeg::Error::TurboJpegError(why)) if is_harmless(&why) => {}
            done => done?,
        }
        to_video_range(&self.planes, (width, height), told.subsamp, picture);
        Ok(())
    }
}

/// Some cameras leave bytes over at the end of a scan; the picture is complete nevertheless.
fn is_harmless(warning: &str) -> bool {
    warning.contains("extraneous bytes before marker 0xd9")
}

/// Full-range planes with any chroma to 4:2:0 in video range.
fn to_video_range(planes: &[u8], (width, height): (usize, usize), subsamp: Subsamp, picture: &mut I420) {
    let (across, down) = subsamp.size();
    // libjpeg-turbo's planes hold whole chroma samples.
    let (luma_width, luma_height) = (width.next_multiple_of(across), height.next_multiple_of(down));
    let (chroma_width, chroma_height) = (luma_width / across, luma_height / down);
    let (luma, chroma) = planes.split_at(luma_width * luma_height);
    let columns = picture.width();
    let (y, u, v) = picture.planes_mut();
    for (to, from) in y.chunks_exact_mut(columns).zip(luma.chunks_exact(luma_width)) {
        scale(to, &from[..columns], LUMA);
    }
    if chroma.len() < 2 * chroma_width * chroma_height {
        u.fill(GREY);
        v.fill(GREY);
        return;
    }
    let (first, second) = chroma.split_at(chroma_width * chroma_height);
    for (to, from) in [(u, first), (v, second)] {
        for (line, to) in to.chunks_exact_mut(columns / 2).enumerate() {
            let row = |y: usize| &from[y.min(chroma_height - 1) * chroma_width..][..chroma_width];
            match (across, down) {
                (2, 1) => scale_mean(to, row(2 * line), row(2 * line + 1), CHROMA),
                (2, 2) => scale(to, &row(line)[..to.len()], CHROMA),
                // Rare: the nearest sample.
                _ => {
                    let row = row(2 * line / down);
                    for (x, to) in to.iter_mut().enumerate() {
                        *to = CHROMA.of(row[(2 * x / across).min(chroma_width - 1)]);
                    }
                }
            }
        }
    }
}

/// Chroma of any grey.
const GREY: u8 = 128;

/// JPEG uses all 256 values, video 16..=235 and 16..=240 (ITU-R BT.601). In 256ths, rounded; the sum stays below 65536, so
/// that it fits 16 bits of a word that holds several samples.
#[derive(Clone, Copy)]
struct Range {
    factor: u64,
    offset: u64,
}
const LUMA: Range = Range { factor: 220, offset: 16 * 256 + 128 };
const CHROMA: Range = Range { factor: 225, offset: 16 * 256 };

/// Every second byte of a word.
const EVEN: u64 = 0x00ff_00ff_00ff_00ff;
/// 1 in every 16 bits of a word.
const ONES: u64 = 0x0001_0001_0001_0001;
/// All but the lowest bit of every byte.
const HALVABLE: u64 = 0xfefe_fefe_fefe_fefe;

impl Range {
    fn of(self, sample: u8) -> u8 {
        ((u64::from(sample) * self.factor + self.offset) >> 8) as u8
    }

    /// Eight samples in one word, four at a time: a loop that is built for size is not made so by the compiler.
    fn of_eight(self, samples: u64) -> u64 {
        let scaled = |four: u64| four * self.factor + self.offset * ONES;
        ((scaled(samples & EVEN) >> 8) & EVEN) | (scaled((samples >> 8) & EVEN) & !EVEN)
    }
}

fn scale(to: &mut [u8], from: &[u8], range: Range) {
    let (to_words, to_rest) = to.as_chunks_mut::<8>();
    let (from_words, from_rest) = from.as_chunks::<8>();
    for (to, from) in to_words.iter_mut().zip(from_words) {
        *to = range.of_eight(u64::from_le_bytes(*from)).to_le_bytes();
    }
    for (to, from) in to_rest.iter_mut().zip(from_rest) {
        *to = range.of(*from);
    }
}

/// Of two lines their mean.
fn scale_mean(to: &mut [u8], upper: &[u8], lower: &[u8], range: Range) {
    let mean = |a: u64, b: u64| (a & b) + (((a ^ b) & HALVABLE) >> 1);
    let (to_words, to_rest) = to.as_chunks_mut::<8>();
    let ((upper_words, _), (lower_words, _)) = (upper.as_chunks::<8>(), lower.as_chunks::<8>());
    for ((to, upper), lower) in to_words.iter_mut().zip(upper_words).zip(lower_words) {
        let samples = mean(u64::from_le_bytes(*upper), u64::from_le_bytes(*lower));
        *to = range.of_eight(samples).to_le_bytes();
    }
    let start = to_words.len() * 8;
    let rest = upper[start..].iter().zip(&lower[start..]);
    for (to, (upper, lower)) in to_rest.iter_mut().zip(rest) {
        *to = range.of(upper.midpoint(*lower));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 32x16, 4:2:2: left half white, right half pure red.
    const BARS: &[u8] = include_bytes!("testdata/bars.jpg");
    /// Marker of a segment with Huffman tables.
    const HUFFMAN: u8 = 0xC4;

    fn decode(data: &[u8]) -> Result<I420, Error> {
        let mut picture = I420::new(32, 16);
        Decoder::default().decode(data, &mut picture).map(|()| picture)
    }

    fn assert_bars(picture: &I420) {
        let near = |found: u8, wanted: u8| assert!(found.abs_diff(wanted) <= 3, "{found}, not {wanted}");
        let (y, u, v) = picture.planes();
        for (column, wanted) in [(2, [235, 128, 128]), (28, [81, 90, 240])] {
            near(y[8 * 32 + column], wanted[0]);
            near(u[4 * 16 + column / 2], wanted[1]);
            near(v[4 * 16 + column / 2], wanted[2]);
        }
    }

    /// As many cameras send it.
    fn without_huffman_tables(data: &[u8]) -> Vec<u8> {
        let mut out = START.to_vec();
        let mut rest = &data[2..];
        while let [0xFF, marker, high, low, ..] = rest {
            let length = 2 + usize::from(u16::from_be_bytes([*high, *low]));
            if *marker == SCAN {
                break;
            }
            if *marker != HUFFMAN && *marker != 0xE0 {
                out.extend_from_slice(&rest[..length]);
            }
            rest = &rest[length..];
        }
        out.extend_from_slice(rest);
        out
    }

    #[test]
    fn white_and_red_arrive_in_video_range() {
        assert_bars(&decode(BARS).unwrap());
    }

    #[test]
    fn padding_after_the_picture_does_not_matter() {
        let mut padded = BARS.to_vec();
        padded.resize(BARS.len() + 1000, 0);
        assert_bars(&decode(&padded).unwrap());
    }

    #[test]
    fn a_picture_without_huffman_tables_gets_the_standard_ones() {
        let bare = without_huffman_tables(BARS);
        assert!(bare.len() + 400 < BARS.len(), "the tables have 420 bytes");
        assert_bars(&decode(&bare).unwrap());
    }

    #[test]
    fn truncated_empty_and_foreign_bytes_are_errors() {
        for length in 0..BARS.len() - 2 {
            assert!(decode(&BARS[..length]).is_err(), "{length} bytes of {}", BARS.len());
        }
        assert!(decode(&[0xFF; 4000]).is_err());
        assert!(matches!(
            Decoder::default().decode(BARS, &mut I420::new(64, 16)),
            Err(Error::Size { width: 32, height: 16 })
        ));
    }

    #[test]
    fn full_range_becomes_video_range_within_one_step_however_many_samples_at_a_time() {
        for (range, least, span, most) in [(LUMA, 16.0, 219.0, 235), (CHROMA, 16.0, 224.0, 240)] {
            for sample in 0..=255u8 {
                let exact = least + f64::from(sample) * span / 255.0;
                assert!((f64::from(range.of(sample)) - exact).abs() <= 1.0, "{sample}");
                let eight = [sample, 0, 255, sample, 7, 255, 128, sample];
                let expected = eight.map(|sample| range.of(sample));
                assert_eq!(range.of_eight(u64::from_le_bytes(eight)).to_le_bytes(), expected);
            }
            assert_eq!((range.of(0), range.of(255)), (16, most));
        }
        assert_eq!(CHROMA.of(128), GREY);
    }

    #[test]
    fn every_sampling_of_chroma_gives_the_same_picture() {
        // Odd sizes too: 13 samples are no whole words.
        for (subsamp, width) in
            [Subsamp::None, Subsamp::Sub2x1, Subsamp::Sub2x2, Subsamp::Sub1x2, Subsamp::Sub4x1, Subsamp::Gray]
                .into_iter()
                .flat_map(|subsamp| [64, 26].map(|width| (subsamp, width)))
        {
            // Upper half white, lower half red.
            let pixels: Vec<u8> =
                (0..32 * width).flat_map(|at| if at < 16 * width { [255; 3] } else { [255, 0, 0] }).collect();
            let format = turbojpeg::PixelFormat::RGB;
            let image = turbojpeg::Image { pixels: &pixels[..], width, pitch: 3 * width, height: 32, format };
            let data = turbojpeg::compress(image, 95, subsamp).unwrap();
            let mut picture = I420::new(width as u32, 32);
            Decoder::default().decode(&data, &mut picture).unwrap();
            let (y, u, v) = picture.planes();
            let near =
                |found: u8, wanted: u8| assert!(found.abs_diff(wanted) <= 4, "{subsamp:?}: {found}, not {wanted}");
            for x in 0..width {
                near(y[4 * width + x], 235);
                near(y[28 * width + x], 81);
                let red = if subsamp == Subsamp::Gray { (GREY, GREY) } else { (90, 240) };
                near(u[2 * (width / 2) + x / 2], GREY);
                near(u[14 * (width / 2) + x / 2], red.0);
                near(v[14 * (width / 2) + x / 2], red.1);
            }
        }
    }

    #[test]
    fn bytes_left_over_at_the_end_of_the_scan_are_no_damage() {
        let mut more = BARS[..BARS.len() - 2].to_vec();
        more.extend([0x12, 0x34, 0x56, 0xFF, 0xD9]);
        assert_bars(&decode(&more).unwrap());
    }

    #[test]
    fn no_corruption_of_a_byte_or_a_run_of_bytes_panics() {
        let mut seed = 1u32;
        let mut random = || {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (seed >> 8) as usize
        };
        for _ in 0..3000 {
            let mut damaged = BARS.to_vec();
            for _ in 0..1 + random() % 4 {
                let at = random() % damaged.len();
                damaged[at] = random() as u8;
            }
            if random() % 2 == 0 {
                let at = random() % damaged.len();
                damaged.drain(at..(at + random() % 40).min(BARS.len()));
            }
            let _ = decode(&damaged);
        }
    }
}
