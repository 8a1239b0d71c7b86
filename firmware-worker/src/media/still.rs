//! Still pictures out of a camera's H.264: how bright a picture is, and a keyframe as JPEG.

use jpeg_encoder::{ColorType, Encoder};
use openh264::decoder::{self, DecodedYUV};
use openh264::formats::YUVSource;
use std::fmt;

/// JPEG quality of 100: above it, files grow faster than pictures gain.
const QUALITY: u8 = 85;

/// Pixels a side that a still may have: the largest picture that a camera may be configured for.
const MAX_SIDE: usize = 4096;

/// A picture.
#[derive(Clone, PartialEq, Eq)]
pub struct Jpeg {
    /// JFIF.
    pub data: Vec<u8>,
    /// Pixels.
    pub width: u32,
    /// Pixels.
    pub height: u32,
}

impl fmt::Debug for Jpeg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Jpeg({}x{}, {} bytes)", self.width, self.height, self.data.len())
    }
}

/// What can go wrong.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No decoder, or a unit that it cannot take.
    #[error("openh264: decode: {0}")]
    Decode(openh264::Error),
    /// The unit has no picture that stands alone.
    #[error("openh264: the unit is no keyframe")]
    NoPicture,
    /// Larger than any camera's.
    #[error("a picture of {width}x{height} is too large for a still")]
    TooLarge {
        /// Pixels.
        width: usize,
        /// Pixels.
        height: usize,
    },
    /// The JPEG encoder failed.
    #[error("JPEG: {0}")]
    Encode(jpeg_encoder::EncodingError),
}

/// Looks at access units in their order.
pub struct Viewer(decoder::Decoder);

impl Viewer {
    /// Has seen nothing; the first unit must be a keyframe.
    pub fn new() -> Result<Self, Error> {
        decoder::Decoder::new().map(Self).map_err(Error::Decode)
    }

    /// The picture in this unit, where it has one.
    pub fn look(&mut self, unit: &[u8]) -> Result<Option<Picture<'_>>, Error> {
        Ok(self.0.decode(unit).map_err(Error::Decode)?.map(Picture))
    }
}

/// A picture that a [`Viewer`] looks at.
pub struct Picture<'a>(DecodedYUV<'a>);

impl Picture<'_> {
    /// Mean luma, 16 (black) to 235 (white).
    pub fn luma(&self) -> f32 {
        let ((width, height), stride) = (self.0.dimensions(), self.0.strides().0);
        let line = |line: &[u8]| line[..width].iter().map(|&sample| u64::from(sample)).sum::<u64>();
        let sum: u64 = self.0.y().chunks(stride).take(height).map(line).sum();
        sum as f32 / (width * height).max(1) as f32
    }

    /// As a file.
    pub fn jpeg(&self) -> Result<Jpeg, Error> {
        let (width, height) = self.0.dimensions();
        if width > MAX_SIDE || height > MAX_SIDE {
            return Err(Error::TooLarge { width, height });
        }
        let mut rgb = vec![0; width * height * 3];
        self.0.write_rgb8(&mut rgb);
        let mut data = Vec::new();
        Encoder::new(&mut data, QUALITY)
            .encode(&rgb, width as u16, height as u16, ColorType::Rgb)
            .map_err(Error::Encode)?;
        Ok(Jpeg { data, width: width as u32, height: height as u32 })
    }
}

/// The picture of a keyframe. Takes some ten ms of CPU time and as many MB for a 720p picture.
pub fn jpeg(keyframe: &[u8]) -> Result<Jpeg, Error> {
    Viewer::new()?.look(keyframe)?.ok_or(Error::NoPicture)?.jpeg()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::h264::{Coded, Encoder, Settings};
    use crate::media::{I420, jpeg};

    fn keyframe(picture: &I420) -> Vec<u8> {
        let (width, height) = (picture.width() as u32, picture.height() as u32);
        let settings = Settings { width, height, milli_fps: 30_000, ceiling: 2_000_000, bitrate: 2_000_000 };
        let mut unit = Vec::new();
        let coded = Encoder::new(settings).unwrap().encode(picture, 0, true, &mut unit).unwrap();
        assert_eq!(coded, Coded::Key);
        unit
    }

    #[test]
    fn a_keyframe_becomes_a_jpeg_that_shows_the_same_picture() {
        let mut picture = I420::new(320, 180);
        picture.fill(0, 0, 160, 180, [200, 128, 128]);
        let still = super::jpeg(&keyframe(&picture)).unwrap();
        assert_eq!((still.width, still.height), (320, 180));
        let mut shown = I420::new(320, 180);
        jpeg::Decoder::default().decode(&still.data, &mut shown).unwrap();
        let (y, u, _) = shown.planes();
        let at = |x: usize, line: usize| y[line * 320 + x];
        assert!(at(40, 90).abs_diff(200) < 10 && at(280, 90).abs_diff(16) < 10, "{} {}", at(40, 90), at(280, 90));
        assert!(u.iter().all(|sample| sample.abs_diff(128) < 6));
    }

    #[test]
    fn what_is_no_keyframe_is_an_error_and_no_picture() {
        for unit in [&b""[..], b"\0\0\0\x01\x41abc", b"not H.264"] {
            assert!(super::jpeg(unit).is_err(), "{unit:?}");
        }
    }

    #[test]
    fn brightness_is_that_of_the_picture() {
        let mut picture = I420::new(64, 64);
        picture.fill(0, 0, 64, 32, [116, 128, 128]);
        let luma = Viewer::new().unwrap().look(&keyframe(&picture)).unwrap().unwrap().luma();
        assert!((luma - 66.0).abs() < 3.0, "{luma}");
    }
}
