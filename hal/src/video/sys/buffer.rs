//! Buffers of both APIs as one type.

use super::{Argument, MAX_PLANES, MEMORY_DMABUF, MEMORY_MMAP, Queue};
use std::io;

/// Where a buffer's memory comes from. There is no user memory: the kernel would write to an address of ours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u32)]
pub enum Memory {
    /// The driver's, to be mapped.
    #[default]
    Mmap = MEMORY_MMAP,
    /// Another driver's, named by a descriptor.
    Dmabuf = MEMORY_DMABUF,
}

/// Part of a buffer: the whole of it with the single-planar API.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Plane {
    /// Bytes of content, from the beginning.
    pub used: u32,
    /// Bytes that it can hold.
    pub length: u32,
    /// Bytes before the content; only the multi-planar API has them.
    pub data_offset: u32,
    /// What to map, or the number of the descriptor.
    pub place: u32,
}

/// A buffer of one queue, as the buffer calls take and answer it.
#[derive(Clone, Copy, Debug)]
pub struct Buffer {
    /// Whose.
    pub queue: Queue,
    /// Which.
    pub index: u32,
    /// Where its memory comes from.
    pub memory: Memory,
    /// `V4L2_BUF_FLAG_*`
    pub flags: u32,
    /// Interlacing.
    pub field: u32,
    /// Of the timestamp.
    pub seconds: i64,
    /// Of the timestamp.
    pub microseconds: i64,
    /// The driver's counter.
    pub sequence: u32,
    /// The first [`Buffer::count`] of them are used.
    pub planes: [Plane; MAX_PLANES],
    /// Planes; calls that answer with planes take room for all of them.
    pub count: usize,
}

impl Buffer {
    /// An mmap buffer with room for every plane.
    pub fn of(queue: Queue, index: u32) -> Self {
        Self {
            queue,
            index,
            memory: Memory::Mmap,
            flags: 0,
            field: 0,
            seconds: 0,
            microseconds: 0,
            sequence: 0,
            planes: Default::default(),
            count: if queue.is_multi_planar() { MAX_PLANES } else { 1 },
        }
    }

    /// Its planes.
    pub fn planes(&self) -> &[Plane] {
        &self.planes[..self.count.min(MAX_PLANES)]
    }
}

/// `struct v4l2_buffer`
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct RawBuffer {
    index: u32,
    kind: u32,
    bytesused: u32,
    flags: u32,
    field: u32,
    seconds: i64,
    microseconds: i64,
    timecode: [u32; 4],
    sequence: u32,
    memory: u32,
    /// Union of `u32` offset, pointers and `i32` descriptor.
    place: usize,
    length: u32,
    reserved: u32,
    request: u32,
}

/// `struct v4l2_plane`
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct RawPlane {
    bytesused: u32,
    length: u32,
    /// Union of `u32` offset, user memory and `i32` descriptor.
    place: usize,
    data_offset: u32,
    reserved: [u32; 11],
}

// SAFETY: `RawBuffer` is the kernel's structure of all buffer calls. It has one pointer that the kernel follows: to the
// planes, on multi-planar queues, with their count in `length`, at most the eight that exist here until the call is over.
// Other members of the union are numbers, as `Memory` knows no user memory, and so is the union in each plane.
unsafe impl Argument for Buffer {
    type Raw = RawBuffer;

    fn with(&mut self, call: impl FnOnce(&mut RawBuffer) -> io::Result<()>) -> io::Result<()> {
        let mut raw = RawBuffer {
            index: self.index,
            kind: self.queue.kind(),
            flags: self.flags,
            field: self.field,
            seconds: self.seconds,
            microseconds: self.microseconds,
            sequence: self.sequence,
            memory: self.memory as u32,
            ..RawBuffer::default()
        };
        let mut planes = self.planes.map(|plane| RawPlane {
            bytesused: plane.used,
            length: plane.length,
            place: union_of(plane.place),
            data_offset: plane.data_offset,
            ..RawPlane::default()
        });
        let [only, ..] = &planes;
        if self.queue.is_multi_planar() {
            raw.length = self.count.min(MAX_PLANES) as u32;
            raw.place = (&raw mut planes).expose_provenance();
        } else {
            (raw.bytesused, raw.length, raw.place) = (only.bytesused, only.length, only.place);
        }
        call(&mut raw)?;
        (self.index, self.flags, self.field, self.sequence) = (raw.index, raw.flags, raw.field, raw.sequence);
        (self.seconds, self.microseconds) = (raw.seconds, raw.microseconds);
        if self.queue.is_multi_planar() {
            self.count = (raw.length as usize).min(MAX_PLANES);
        } else {
            let [only, ..] = &mut planes;
            *only = RawPlane { bytesused: raw.bytesused, length: raw.length, place: raw.place, ..RawPlane::default() };
        }
        self.planes = planes.map(|plane| Plane {
            used: plane.bytesused,
            length: plane.length,
            data_offset: plane.data_offset,
            place: number_of(plane.place),
        });
        Ok(())
    }
}

/// The union's number lies at its start, whatever the byte order.
fn union_of(number: u32) -> usize {
    let mut bytes = [0; size_of::<usize>()];
    bytes[..4].copy_from_slice(&number.to_ne_bytes());
    usize::from_ne_bytes(bytes)
}

fn number_of(place: usize) -> u32 {
    let [a, b, c, d, ..] = place.to_ne_bytes();
    u32::from_ne_bytes([a, b, c, d])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_pointer_width = "64")]
    fn fields_are_where_the_kernels_header_has_them() {
        use std::mem::offset_of;
        assert_eq!(offset_of!(RawBuffer, seconds), 24);
        assert_eq!(offset_of!(RawBuffer, memory), 60);
        assert_eq!(offset_of!(RawBuffer, place), 64);
        assert_eq!(offset_of!(RawBuffer, length), 72);
        assert_eq!(offset_of!(RawPlane, place), 8);
        assert_eq!(offset_of!(RawPlane, data_offset), 16);
    }

    #[test]
    fn the_only_plane_of_a_single_planar_buffer_lies_in_the_buffer() {
        let mut buffer = Buffer::of(Queue::Output, 3);
        buffer.planes[0] = Plane { used: 7, length: 90, data_offset: 0, place: 0x1000 };
        let call = |raw: &mut RawBuffer| {
            assert_eq!((raw.index, raw.kind, raw.memory), (3, 2, 1));
            assert_eq!((raw.bytesused, raw.length, number_of(raw.place)), (7, 90, 0x1000));
            (raw.bytesused, raw.sequence, raw.seconds) = (8, 5, -1);
            Ok(())
        };
        buffer.with(call).unwrap();
        assert_eq!((buffer.planes[0].used, buffer.sequence, buffer.seconds, buffer.planes().len()), (8, 5, -1, 1));
    }

    #[test]
    fn planes_of_a_multi_planar_buffer_are_handed_over_by_their_address_and_number() {
        let mut buffer = Buffer::of(Queue::CapturePlanes, 0);
        let call = |raw: &mut RawBuffer| {
            assert_eq!((raw.kind, raw.length), (9, 8));
            assert_ne!(raw.place, 0);
            raw.length = 3;
            Ok(())
        };
        buffer.with(call).unwrap();
        assert_eq!(buffer.planes().len(), 3);
        buffer.count = 100;
        let call = |raw: &mut RawBuffer| {
            assert_eq!(raw.length, 8);
            Ok(())
        };
        buffer.with(call).unwrap();
    }

    #[test]
    fn a_failed_call_leaves_the_buffer_as_it_was() {
        let mut buffer = Buffer::of(Queue::Capture, 1);
        let call = |raw: &mut RawBuffer| {
            raw.index = 9;
            Err(io::Error::from_raw_os_error(libc::EAGAIN))
        };
        assert!(buffer.with(call).is_err());
        assert_eq!(buffer.index, 1);
    }
}
