//! Where the planes of a picture lie in a driver's buffer: one after the other in one piece of memory, or each in its own.

use super::PixelFormat;
use super::sys;

/// Most planes that a format has: Y, U and V.
pub(super) const PLANES: usize = 3;

/// One plane of the picture.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Part {
    /// Which piece of the buffer's memory.
    pub memory: usize,
    /// Bytes before it.
    pub start: usize,
    /// Bytes with the padding of its last line.
    pub size: usize,
    /// Bytes without that: drivers may leave it out.
    pub least: usize,
    /// Bytes of a line, 0 for compressed data.
    pub stride: usize,
}

/// All planes of a picture.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Layout {
    pub parts: [Part; PLANES],
    pub count: usize,
}

impl Layout {
    /// By what the driver has answered to S_FMT.
    pub(super) fn of(format: PixelFormat, set: &sys::Format) -> Self {
        let (width, height) = (set.width as usize, set.height as usize);
        let (half, lower) = (width.div_ceil(2), height.div_ceil(2));
        // Bytes of a line and lines of each plane.
        let lines: &[(usize, usize)] = match format {
            PixelFormat::Mjpeg | PixelFormat::H264 => &[(0, 0)],
            PixelFormat::Yuyv | PixelFormat::Uyvy => &[(half * 4, height)],
            PixelFormat::Nv12 => &[(width, height), (half * 2, lower)],
            PixelFormat::Nv16 => &[(width, height), (half * 2, height)],
            PixelFormat::Yu12 => &[(width, height), (half, lower), (half, lower)],
        };
        let apart = set.planes().len() >= lines.len() && lines.len() > 1;
        let first = set.planes[0].stride as usize;
        let mut layout = Self { parts: [Part::default(); PLANES], count: lines.len() };
        let mut start = 0;
        for (index, (line, lines)) in lines.iter().enumerate() {
            let told = match (apart, format) {
                (true, _) => set.planes[index].stride as usize,
                // Chroma lines of a planar picture have half the padding too.
                (false, PixelFormat::Yu12) if index > 0 => first / 2,
                (false, _) => first,
            };
            // Compressed data has no lines, whatever the driver says.
            let stride = if *line == 0 { 0 } else { told.max(*line) };
            let size = stride.saturating_mul(*lines);
            let least = size - (stride - line).min(size);
            let memory = if apart { index } else { 0 };
            layout.parts[index] = Part { memory, start: if apart { 0 } else { start }, size, least, stride };
            start = start.saturating_add(size);
        }
        layout
    }

    /// The planes.
    pub(super) fn parts(&self) -> &[Part] {
        &self.parts[..self.count]
    }
}

#[cfg(test)]
mod tests {
    use super::super::sys::{Format, PlaneFormat, Queue};
    use super::*;

    /// Start, bytes and stride of each plane of a picture of 640x360.
    fn planes(format: PixelFormat, strides: &[u32]) -> Vec<(usize, usize, usize, usize)> {
        let mut set = Format { width: 640, height: 360, count: strides.len(), ..Format::of(Queue::CapturePlanes) };
        for (plane, stride) in set.planes.iter_mut().zip(strides) {
            *plane = PlaneFormat { stride: *stride, size: 0 };
        }
        Layout::of(format, &set).parts().iter().map(|p| (p.memory, p.start, p.size, p.stride)).collect()
    }

    #[test]
    fn planes_in_one_piece_of_memory_follow_each_other() {
        assert_eq!(planes(PixelFormat::Yuyv, &[0]), [(0, 0, 460_800, 1280)]);
        assert_eq!(planes(PixelFormat::Uyvy, &[1344]), [(0, 0, 1344 * 360, 1344)]);
        assert_eq!(planes(PixelFormat::Nv12, &[640]), [(0, 0, 230_400, 640), (0, 230_400, 115_200, 640)]);
        assert_eq!(planes(PixelFormat::Nv16, &[704]), [(0, 0, 253_440, 704), (0, 253_440, 253_440, 704)]);
        let planar =
            [(0, 0, 704 * 360, 704), (0, 704 * 360, 352 * 180, 352), (0, 704 * 360 + 352 * 180, 352 * 180, 352)];
        assert_eq!(planes(PixelFormat::Yu12, &[704]), planar);
    }

    #[test]
    fn planes_with_memory_of_their_own_start_there() {
        assert_eq!(planes(PixelFormat::Nv12, &[640, 704]), [(0, 0, 230_400, 640), (1, 0, 704 * 180, 704)]);
        let planar = [(0, 0, 230_400, 640), (1, 0, 320 * 180, 320), (2, 0, 320 * 180, 320)];
        assert_eq!(planes(PixelFormat::Yu12, &[640, 320, 320]), planar);
    }

    #[test]
    fn the_padding_of_the_last_line_may_be_missing() {
        let mut set = Format { width: 638, height: 4, ..Format::of(Queue::Capture) };
        set.planes[0].stride = 1408;
        let layout = Layout::of(PixelFormat::Yuyv, &set);
        assert_eq!((layout.parts[0].size, layout.parts[0].least), (1408 * 4, 1408 * 3 + 1276));
    }

    #[test]
    fn compressed_data_has_no_lines() {
        assert_eq!(planes(PixelFormat::Mjpeg, &[640]), [(0, 0, 0, 0)]);
        assert_eq!(planes(PixelFormat::H264, &[0]), [(0, 0, 0, 0)]);
    }
}
