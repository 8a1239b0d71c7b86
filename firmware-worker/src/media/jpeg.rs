//! Pictures of a camera that sends MJPEG, to I420. A damaged picture is an error; the caller drops and counts it.

use super::I420;
use zune_jpeg::JpegDecoder;
use zune_jpeg::errors::DecodeErrors;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

/// A picture that cannot be taken.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Truncated or not JPEG.
    #[error("jpeg: {0}")]
    Damaged(#[from] DecodeErrors),
    /// Starts or ends in the middle.
    #[error("jpeg: incomplete picture of {0} bytes")]
    Incomplete(usize),
    /// Of another size than the camera was set to.
    #[error("jpeg: a picture of {width}x{height}")]
    Size {
        /// Its width.
        width: usize,
        /// Its height.
        height: usize,
    },
}

/// What every JPEG starts with.
const START: [u8; 2] = [0xFF, 0xD8];
/// What every JPEG ends with, padding aside.
const END: [u8; 2] = [0xFF, 0xD9];
/// Cameras pad to their transfer size; the end marker is looked for this far back.
const MAX_PADDING: usize = 4096;
/// Marker of a segment with Huffman tables.
const HUFFMAN: u8 = 0xC4;
/// Marker of the segment after which the picture's data begins.
const SCAN: u8 = 0xDA;
/// Many cameras leave out the Huffman tables, as AVI allows. This application segment tells the decoder to take the
/// standard ones.
const AVI: [u8; 11] = [0xFF, 0xE0, 0x00, 0x09, b'A', b'V', b'I', b'1', 0, 0, 0];

/// The decoder of one camera; its buffers are reused.
#[derive(Debug)]
pub struct Decoder {
    interleaved: Vec<u8>,
    completed: Vec<u8>,
    luma: [u8; 256],
    chroma: [u8; 256],
}

impl Default for Decoder {
    fn default() -> Self {
        let mut luma = [0; 256];
        let mut chroma = [0; 256];
        for (i, (y, c)) in luma.iter_mut().zip(&mut chroma).enumerate() {
            // JPEG uses all 256 values, video 16..=235 and 16..=240 (ITU-R BT.601).
            *y = (16.0 + i as f64 * 219.0 / 255.0).round() as u8;
            *c = (128.0 + (i as f64 - 128.0) * 224.0 / 255.0).round() as u8;
        }
        Self { interleaved: Vec::new(), completed: Vec::new(), luma, chroma }
    }
}

impl Decoder {
    /// Decodes into `picture`, whose size is the camera's.
    pub fn decode(&mut self, data: &[u8], picture: &mut I420) -> Result<(), Error> {
        let tail = &data[data.len().saturating_sub(MAX_PADDING)..];
        if !data.starts_with(&START) || !tail.windows(2).any(|pair| pair == END) {
            return Err(Error::Incomplete(data.len()));
        }
        let data = if has_huffman_tables(data) { data } else { complete(data, &mut self.completed) };
        let options = DecoderOptions::new_fast().set_strict_mode(true).jpeg_set_out_colorspace(ColorSpace::YCbCr);
        let mut decoder = JpegDecoder::new_with_options(ZCursor::new(data), options);
        decoder.decode_headers()?;
        let (width, height) = decoder.dimensions().unwrap_or_default();
        if (width & !1, height & !1) != (picture.width(), picture.height()) {
            return Err(Error::Size { width, height });
        }
        self.interleaved.resize(width * height * 3, 0);
        decoder.decode_into(&mut self.interleaved)?;
        subsample(&self.interleaved, width, picture, &self.luma, &self.chroma);
        Ok(())
    }
}

fn complete<'a>(data: &[u8], completed: &'a mut Vec<u8>) -> &'a [u8] {
    completed.clear();
    completed.extend_from_slice(&START);
    completed.extend_from_slice(&AVI);
    completed.extend_from_slice(&data[START.len()..]);
    completed
}

/// Walks the segments up to the picture's data.
fn has_huffman_tables(data: &[u8]) -> bool {
    let mut rest = &data[START.len()..];
    while let [0xFF, marker, high, low, ..] = rest {
        match *marker {
            HUFFMAN => return true,
            SCAN => return false,
            _ => {}
        }
        let length = 2 + usize::from(u16::from_be_bytes([*high, *low]));
        rest = rest.get(length..).unwrap_or_default();
    }
    // No scan: damaged, which the decoder says better.
    true
}

/// Y, Cb and Cr of each pixel to planes with one chroma sample for four pixels, their mean.
fn subsample(pixels: &[u8], width: usize, picture: &mut I420, luma: &[u8; 256], chroma: &[u8; 256]) {
    let columns = picture.width();
    let (y, u, v) = picture.planes_mut();
    let pairs = pixels.chunks_exact(2 * 3 * width).zip(y.chunks_exact_mut(2 * columns));
    let half = columns / 2;
    for ((lines, y), (u, v)) in pairs.zip(u.chunks_exact_mut(half).zip(v.chunks_exact_mut(half))) {
        let (upper, lower) = lines.split_at(3 * width);
        let (y_upper, y_lower) = y.split_at_mut(columns);
        let sources = upper.chunks_exact(6).zip(lower.chunks_exact(6));
        let lumas = y_upper.chunks_exact_mut(2).zip(y_lower.chunks_exact_mut(2));
        for (((a, b), (top, bottom)), (u, v)) in sources.zip(lumas).zip(u.iter_mut().zip(v)) {
            let mean = |i: usize| {
                let sum = u16::from(a[i]) + u16::from(a[i + 3]) + u16::from(b[i]) + u16::from(b[i + 3]);
                chroma[usize::from((sum + 2) / 4)]
            };
            (top[0], top[1]) = (luma[usize::from(a[0])], luma[usize::from(a[3])]);
            (bottom[0], bottom[1]) = (luma[usize::from(b[0])], luma[usize::from(b[3])]);
            (*u, *v) = (mean(1), mean(2));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 32x16, 4:2:2: left half white, right half pure red.
    const BARS: &[u8] = include_bytes!("testdata/bars.jpg");

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
        assert!(!has_huffman_tables(&bare));
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
