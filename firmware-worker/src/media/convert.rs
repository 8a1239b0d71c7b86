//! Raw camera pictures to I420. Lines may be padded; a picture shorter than its size says is refused, not read beyond.

use super::I420;
use hal::video::PixelFormat;
use yuv::{BufferStoreMut, YuvPackedImage, YuvPlanarImageMut};

/// A picture that cannot be taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Fewer bytes than the size needs.
    #[error("a {format:?} picture of {bytes} bytes, {needed} needed")]
    Short {
        /// Its format.
        format: PixelFormat,
        /// Bytes that came.
        bytes: usize,
        /// Bytes that the size needs.
        needed: usize,
    },
    /// The driver's line length cannot hold a line.
    #[error("lines of {stride} bytes for {width} pixels")]
    Stride {
        /// Bytes of a line.
        stride: usize,
        /// Pixels of a line.
        width: usize,
    },
    /// Compressed pictures go through [`super::jpeg`].
    #[error("not a raw picture")]
    Compressed,
    /// The converter refused.
    #[error("conversion: {0}")]
    Refused(String),
}

/// Converts into `picture`, whose size is the camera's; `stride` is that of the first plane.
pub fn to_i420(format: PixelFormat, data: &[u8], stride: usize, picture: &mut I420) -> Result<(), Error> {
    let (width, height) = (picture.width(), picture.height());
    let (line, needed) = match format {
        PixelFormat::Yuyv => (2 * width, stride * (height - 1) + 2 * width),
        PixelFormat::Nv12 => (width, stride * (height + height / 2 - 1) + width),
        PixelFormat::Yu12 => (width, stride * height + (stride / 2) * (height - 1) + width / 2),
        PixelFormat::Mjpeg => return Err(Error::Compressed),
    };
    if stride < line {
        return Err(Error::Stride { stride, width });
    }
    if data.len() < needed {
        return Err(Error::Short { format, bytes: data.len(), needed });
    }
    match format {
        PixelFormat::Yuyv => yuyv(data, stride, picture)?,
        PixelFormat::Nv12 => nv12(data, stride, picture),
        PixelFormat::Yu12 => yu12(data, stride, picture),
        PixelFormat::Mjpeg => {}
    }
    Ok(())
}

fn yuyv(data: &[u8], stride: usize, picture: &mut I420) -> Result<(), Error> {
    let (width, height) = (picture.width() as u32, picture.height() as u32);
    let (y, u, v) = picture.planes_mut();
    let mut planes = YuvPlanarImageMut {
        y_plane: BufferStoreMut::Borrowed(y),
        y_stride: width,
        u_plane: BufferStoreMut::Borrowed(u),
        u_stride: width / 2,
        v_plane: BufferStoreMut::Borrowed(v),
        v_stride: width / 2,
        width,
        height,
    };
    let packed = YuvPackedImage { yuy: data, yuy_stride: stride as u32, width, height };
    yuv::yuyv422_to_yuv420(&mut planes, &packed).map_err(|e| Error::Refused(e.to_string()))
}

fn nv12(data: &[u8], stride: usize, picture: &mut I420) {
    let (width, height) = (picture.width(), picture.height());
    let (y, u, v) = picture.planes_mut();
    copy_plane(data, stride, y, width);
    let chroma = data[stride * height..].chunks(stride);
    for ((line, u), v) in chroma.zip(u.chunks_exact_mut(width / 2)).zip(v.chunks_exact_mut(width / 2)) {
        for ((pair, u), v) in line[..width].chunks_exact(2).zip(u).zip(v) {
            (*u, *v) = (pair[0], pair[1]);
        }
    }
}

fn yu12(data: &[u8], stride: usize, picture: &mut I420) {
    let (width, height) = (picture.width(), picture.height());
    let (y, u, v) = picture.planes_mut();
    let chroma = stride * height;
    let half = stride / 2;
    copy_plane(data, stride, y, width);
    copy_plane(&data[chroma..], half, u, width / 2);
    copy_plane(&data[chroma + half * (height / 2)..], half, v, width / 2);
}

fn copy_plane(data: &[u8], stride: usize, plane: &mut [u8], width: usize) {
    for (line, source) in plane.chunks_exact_mut(width).zip(data.chunks(stride)) {
        line.copy_from_slice(&source[..width]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A sample that names its plane and place.
    fn sample(plane: usize, x: usize, y: usize) -> u8 {
        (plane * 70 + y * 13 + x * 3) as u8
    }

    fn expected(width: usize, height: usize) -> I420 {
        let mut picture = I420::new(width as u32, height as u32);
        let (y, u, v) = picture.planes_mut();
        for (plane, samples, width) in [(0, y, width), (1, u, width / 2), (2, v, width / 2)] {
            for (i, s) in samples.iter_mut().enumerate() {
                *s = sample(plane, i % width, i / width);
            }
        }
        picture
    }

    /// The same picture with padded lines; padding is 255, so that reading it shows.
    fn padded(format: PixelFormat, width: usize, height: usize, stride: usize) -> Vec<u8> {
        let mut lines: Vec<Vec<u8>> = Vec::new();
        let row = |plane, y, width| (0..width).map(move |x| sample(plane, x, y));
        match format {
            PixelFormat::Yuyv => lines.extend((0..height).map(|y| {
                (0..width / 2)
                    .flat_map(|x| {
                        [sample(0, 2 * x, y), sample(1, x, y / 2), sample(0, 2 * x + 1, y), sample(2, x, y / 2)]
                    })
                    .collect()
            })),
            PixelFormat::Nv12 => {
                lines.extend((0..height).map(|y| row(0, y, width).collect()));
                lines.extend(
                    (0..height / 2)
                        .map(|y| (0..width / 2).flat_map(|x| [sample(1, x, y), sample(2, x, y)]).collect::<Vec<_>>()),
                );
            }
            PixelFormat::Yu12 | PixelFormat::Mjpeg => {
                lines.extend((0..height).map(|y| row(0, y, width).collect()));
                for plane in 1..3 {
                    lines.extend((0..height / 2).map(|y| row(plane, y, width / 2).collect::<Vec<_>>()));
                }
            }
        }
        let planar = format == PixelFormat::Yu12;
        let lines = lines.into_iter().enumerate().map(|(i, mut line)| {
            line.resize(if planar && i >= height { stride / 2 } else { stride }, 255);
            line
        });
        lines.flatten().collect()
    }

    #[test]
    fn every_format_gives_the_same_planes_with_and_without_padding() {
        for (format, line) in [(PixelFormat::Yuyv, 32), (PixelFormat::Nv12, 16), (PixelFormat::Yu12, 16)] {
            for padding in [0, 2, 48] {
                let data = padded(format, 16, 8, line + padding);
                let mut picture = I420::new(16, 8);
                to_i420(format, &data, line + padding, &mut picture).unwrap();
                assert_eq!(picture, expected(16, 8), "{format:?} with {padding} bytes of padding");
            }
        }
    }

    #[test]
    fn a_short_or_mislabelled_picture_is_refused() {
        let mut picture = I420::new(16, 8);
        for format in [PixelFormat::Yuyv, PixelFormat::Nv12, PixelFormat::Yu12] {
            let stride = if format == PixelFormat::Yuyv { 32 } else { 16 };
            let data = padded(format, 16, 8, stride);
            for length in [0, 1, data.len() / 2, data.len() - 1] {
                assert!(matches!(to_i420(format, &data[..length], stride, &mut picture), Err(Error::Short { .. })));
            }
            assert!(matches!(to_i420(format, &data, stride - 1, &mut picture), Err(Error::Stride { .. })));
        }
        assert_eq!(to_i420(PixelFormat::Mjpeg, &[], 0, &mut picture), Err(Error::Compressed));
    }
}
