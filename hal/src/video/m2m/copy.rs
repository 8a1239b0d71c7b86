//! Pictures into an encoder's buffers, where it cannot take them from the camera's memory.

use crate::video::handle::Mapped;
use crate::video::layout::{Layout, Part};
use crate::video::sys::{Format, Queue};
use crate::video::{PixelFormat, Plane};

/// Whether pictures of one format can be written as the other.
pub(super) fn converts(from: PixelFormat, to: PixelFormat) -> bool {
    from == to || (from, to) == (PixelFormat::Yu12, PixelFormat::Nv12)
}

/// Writes a picture of `size` into a buffer; lines that `planes` lacks stay as they are.
pub(super) fn write(
    (from, planes): (PixelFormat, &[Plane<'_>]),
    size: (u32, u32),
    (to, layout): (PixelFormat, &Layout),
    buffer: &mut [Mapped],
) {
    let tight = Layout::of(from, &Format { width: size.0, height: size.1, ..Format::of(Queue::Output) });
    if from == to {
        for ((plane, part), line) in planes.iter().zip(layout.parts()).zip(tight.parts()) {
            lines(plane, line, part, buffer, |source, target| target.copy_from_slice(source));
        }
        return;
    }
    let [luma, u, v] = planes else { return };
    lines(luma, &tight.parts[0], &layout.parts[0], buffer, |source, target| target.copy_from_slice(source));
    // Two bytes of chroma for each one of U and of V.
    for (chroma, offset) in [(u, 0), (v, 1)] {
        let (line, part) = (tight.parts[1], layout.parts[1]);
        let Some(memory) = buffer.get_mut(part.memory) else { return };
        let target = memory.bytes_mut().get_mut(part.start..).unwrap_or_default();
        let sources = chroma.data.chunks(chroma.stride.max(1)).take(line.size / line.stride.max(1));
        for (source, target) in sources.zip(target.chunks_mut(part.stride.max(1))) {
            for (sample, pair) in source.iter().take(line.stride).zip(target.chunks_exact_mut(2)) {
                pair[offset] = *sample;
            }
        }
    }
}

/// Line by line, as far as both have lines.
fn lines(source: &Plane<'_>, line: &Part, part: &Part, buffer: &mut [Mapped], copy: impl Fn(&[u8], &mut [u8])) {
    let Some(memory) = buffer.get_mut(part.memory) else { return };
    let target = memory.bytes_mut().get_mut(part.start..).unwrap_or_default();
    let count = (line.size / line.stride.max(1)).min(part.size / part.stride.max(1));
    let sources = source.data.chunks(source.stride.max(1)).take(count);
    for (source, target) in sources.zip(target.chunks_mut(part.stride.max(1))) {
        let bytes = line.stride.min(source.len()).min(target.len());
        copy(&source[..bytes], &mut target[..bytes]);
    }
}
