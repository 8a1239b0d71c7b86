//! Raw camera pictures to I420. Lines may be padded; a picture shorter than its size says is refused, not read beyond.

use super::I420;
use hal::video::{PixelFormat, Plane};
use yuv::{BufferStoreMut, YuvPackedImage, YuvPlanarImageMut};

/// A picture that cannot be taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Fewer bytes than the size needs.
    #[error("a {format} picture with a plane of {bytes} bytes, {needed} needed")]
    Short {
        /// Its format.
        format: PixelFormat,
        /// Bytes that came.
        bytes: usize,
        /// Bytes that the size needs.
        needed: usize,
    },
    /// The driver's line length cannot hold a line.
    #[error("lines of {stride} bytes for {width} bytes of pixels")]
    Stride {
        /// Bytes of a line.
        stride: usize,
        /// Bytes of its pixels.
        width: usize,
    },
    /// Compressed pictures go through [`super::jpeg`], or need no encoder.
    #[error("not a raw picture")]
    Compressed,
    /// The converter refused.
    #[error("conversion: {0}")]
    Refused(String),
}

/// Converts into `picture`, whose size is the camera's.
pub fn to_i420(format: PixelFormat, planes: &[Plane<'_>], picture: &mut I420) -> Result<(), Error> {
    let (width, height) = (picture.width(), picture.height());
    let plane = |index: usize, line: usize, lines: usize| checked(format, planes, index, line, lines);
    match format {
        PixelFormat::Yuyv => packed(&plane(0, 2 * width, height)?, yuv::yuyv422_to_yuv420, picture),
        PixelFormat::Uyvy => packed(&plane(0, 2 * width, height)?, yuv::uyvy422_to_yuv420, picture),
        PixelFormat::Nv12 => {
            copy_plane(plane(0, width, height)?, picture.planes_mut().0, width);
            interleaved(plane(1, width, height / 2)?, picture);
            Ok(())
        }
        PixelFormat::Nv16 => {
            copy_plane(plane(0, width, height)?, picture.planes_mut().0, width);
            interleaved_422(plane(1, width, height)?, picture);
            Ok(())
        }
        PixelFormat::Yu12 => {
            let (y, u, v) = picture.planes_mut();
            copy_plane(plane(0, width, height)?, y, width);
            copy_plane(plane(1, width / 2, height / 2)?, u, width / 2);
            copy_plane(plane(2, width / 2, height / 2)?, v, width / 2);
            Ok(())
        }
        PixelFormat::Mjpeg | PixelFormat::H264 => Err(Error::Compressed),
    }
}

/// A plane that has `lines` lines of `line` bytes.
fn checked<'a>(
    format: PixelFormat,
    planes: &[Plane<'a>],
    index: usize,
    line: usize,
    lines: usize,
) -> Result<Plane<'a>, Error> {
    let plane = planes.get(index).copied().unwrap_or_default();
    if plane.stride < line {
        return Err(Error::Stride { stride: plane.stride, width: line });
    }
    // The converter of packed formats wants the padding of the last line, too.
    let last = if planes.len() == 1 { plane.stride } else { line };
    let (bytes, needed) = (plane.data.len(), plane.stride * lines.saturating_sub(1) + last);
    if bytes < needed {
        return Err(Error::Short { format, bytes, needed });
    }
    Ok(plane)
}

type Unpack = fn(&mut YuvPlanarImageMut<'_, u8>, &YuvPackedImage<'_, u8>) -> Result<(), yuv::YuvError>;

fn packed(plane: &Plane<'_>, unpack: Unpack, picture: &mut I420) -> Result<(), Error> {
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
    let packed = YuvPackedImage { yuy: plane.data, yuy_stride: plane.stride as u32, width, height };
    unpack(&mut planes, &packed).map_err(|e| Error::Refused(e.to_string()))
}

/// Chroma of 4:2:0.
fn interleaved(plane: Plane<'_>, picture: &mut I420) {
    let width = picture.width();
    let (_, u, v) = picture.planes_mut();
    let lines = u.chunks_exact_mut(width / 2).zip(v.chunks_exact_mut(width / 2));
    for (line, (u, v)) in plane.data.chunks(plane.stride).zip(lines) {
        for ((pair, u), v) in line[..width].chunks_exact(2).zip(u).zip(v) {
            (*u, *v) = (pair[0], pair[1]);
        }
    }
}

/// Chroma of 4:2:2: of two lines their mean.
fn interleaved_422(plane: Plane<'_>, picture: &mut I420) {
    let width = picture.width();
    let (_, u, v) = picture.planes_mut();
    let lines = u.chunks_exact_mut(width / 2).zip(v.chunks_exact_mut(width / 2));
    for (pair, (u, v)) in plane.data.chunks(2 * plane.stride).zip(lines) {
        let (upper, lower) = pair.split_at(plane.stride);
        let samples = upper[..width].chunks_exact(2).zip(lower[..width].chunks_exact(2));
        for (((a, b), u), v) in samples.zip(u).zip(v) {
            (*u, *v) = (a[0].midpoint(b[0]), a[1].midpoint(b[1]));
        }
    }
}

fn copy_plane(source: Plane<'_>, plane: &mut [u8], width: usize) {
    for (line, source) in plane.chunks_exact_mut(width).zip(source.data.chunks(source.stride)) {
        line.copy_from_slice(&source[..width]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RAW: [PixelFormat; 5] =
        [PixelFormat::Yuyv, PixelFormat::Uyvy, PixelFormat::Nv12, PixelFormat::Nv16, PixelFormat::Yu12];

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

    /// The lines of each plane of the same picture.
    fn lines(format: PixelFormat, width: usize, height: usize) -> Vec<Vec<Vec<u8>>> {
        let row = |plane, y, width: usize| (0..width).map(|x| sample(plane, x, y)).collect::<Vec<_>>();
        let pairs = |y| (0..width / 2).flat_map(|x| [sample(1, x, y), sample(2, x, y)]).collect::<Vec<_>>();
        let packed = |y: usize, chroma_first: bool| {
            let pixels = |x: usize| {
                let (a, u) = (sample(0, 2 * x, y), sample(1, x, y / 2));
                let (b, v) = (sample(0, 2 * x + 1, y), sample(2, x, y / 2));
                if chroma_first { [u, a, v, b] } else { [a, u, b, v] }
            };
            (0..width / 2).flat_map(pixels).collect::<Vec<_>>()
        };
        let luma = || (0..height).map(|y| row(0, y, width)).collect::<Vec<_>>();
        match format {
            PixelFormat::Yuyv => vec![(0..height).map(|y| packed(y, false)).collect()],
            PixelFormat::Uyvy => vec![(0..height).map(|y| packed(y, true)).collect()],
            PixelFormat::Nv12 => vec![luma(), (0..height / 2).map(pairs).collect()],
            PixelFormat::Nv16 => vec![luma(), (0..height).map(|y| pairs(y / 2)).collect()],
            PixelFormat::Yu12 => {
                let chroma = |plane| (0..height / 2).map(|y| row(plane, y, width / 2)).collect();
                vec![luma(), chroma(1), chroma(2)]
            }
            PixelFormat::Mjpeg | PixelFormat::H264 => vec![],
        }
    }

    /// Each plane with its stride; lines are padded with 255, so that reading it shows. The last one is not, where the
    /// format has planes.
    fn planes(format: PixelFormat, width: usize, height: usize, padding: usize) -> Vec<(Vec<u8>, usize)> {
        let packed = matches!(format, PixelFormat::Yuyv | PixelFormat::Uyvy);
        let joined = |lines: Vec<Vec<u8>>| {
            let stride = lines[0].len() + padding;
            let mut data = Vec::new();
            for mut line in lines {
                line.resize(stride, 255);
                data.extend(line);
            }
            data.truncate(data.len() - if packed { 0 } else { padding });
            (data, stride)
        };
        lines(format, width, height).into_iter().map(joined).collect()
    }

    fn borrowed(planes: &[(Vec<u8>, usize)]) -> Vec<Plane<'_>> {
        planes.iter().map(|(data, stride)| Plane { data, stride: *stride }).collect()
    }

    #[test]
    fn every_format_gives_the_same_planes_with_and_without_padding() {
        for format in RAW {
            for padding in [0, 2, 48] {
                let data = planes(format, 16, 8, padding);
                let mut picture = I420::new(16, 8);
                to_i420(format, &borrowed(&data), &mut picture).unwrap();
                assert_eq!(picture, expected(16, 8), "{format} with {padding} bytes of padding");
            }
        }
    }

    #[test]
    fn chroma_of_two_lines_becomes_their_mean() {
        let luma = vec![0; 32];
        let chroma: Vec<u8> = [[10, 200].repeat(8), [20, 100].repeat(8)].concat();
        let planes = [Plane { data: &luma, stride: 16 }, Plane { data: &chroma, stride: 16 }];
        let mut picture = I420::new(16, 2);
        to_i420(PixelFormat::Nv16, &planes, &mut picture).unwrap();
        let (_, u, v) = picture.planes();
        assert_eq!((u, v), (&[15; 8][..], &[150; 8][..]));
    }

    #[test]
    fn a_short_or_mislabelled_picture_is_refused() {
        let mut picture = I420::new(16, 8);
        for format in RAW {
            let data = planes(format, 16, 8, 0);
            for index in 0..data.len() {
                let whole = data[index].0.len();
                for length in [0, 1, whole / 2, whole - 1] {
                    let mut short = borrowed(&data);
                    short[index].data = &data[index].0[..length];
                    assert!(matches!(to_i420(format, &short, &mut picture), Err(Error::Short { .. })), "{format}");
                }
                let mut narrow = borrowed(&data);
                narrow[index].stride -= 1;
                assert!(matches!(to_i420(format, &narrow, &mut picture), Err(Error::Stride { .. })), "{format}");
            }
            assert!(to_i420(format, &[], &mut picture).is_err());
        }
        assert_eq!(to_i420(PixelFormat::Mjpeg, &[], &mut picture), Err(Error::Compressed));
    }
}
