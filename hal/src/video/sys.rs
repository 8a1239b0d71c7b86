//! The ioctls of linux/videodev2.h that we use, and their structures; nothing here decides anything.
//!
//! `Request` ties each number to its structure, so that a wrong pair does not compile. Timestamps are 64-bit everywhere:
//! 32-bit kernels take that form of `v4l2_buffer` since 5.6. Only the single-planar members of unions are spelled out;
//! the unions have their full size, so multi-planar ones can be added beside them.

use crate::process::{check, uninterrupted};
use std::ffi::c_int;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

pub const CAP_VIDEO_CAPTURE: u32 = 0x1;
pub const CAP_STREAMING: u32 = 0x0400_0000;
pub const CAP_DEVICE_CAPS: u32 = 0x8000_0000;
pub const CAP_TIME_PER_FRAME: u32 = 0x1000;
pub const BUF_TYPE_VIDEO_CAPTURE: u32 = 1;
pub const MEMORY_MMAP: u32 = 1;
pub const FIELD_NONE: u32 = 1;
pub const BUF_FLAG_ERROR: u32 = 0x40;
pub const BUF_FLAG_TIMESTAMP_MASK: u32 = 0xe000;
pub const BUF_FLAG_TIMESTAMP_MONOTONIC: u32 = 0x2000;
pub const FRAME_DISCRETE: u32 = 1;

/// A pixel format's four letters.
pub const fn fourcc(letters: &[u8; 4]) -> u32 {
    u32::from_le_bytes(*letters)
}

/// `struct v4l2_capability`
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct Capability {
    pub driver: [u8; 16],
    pub card: [u8; 32],
    pub bus_info: [u8; 32],
    pub version: u32,
    pub capabilities: u32,
    pub device_caps: u32,
    pub reserved: [u32; 3],
}

/// `struct v4l2_fmtdesc`
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct FormatDescription {
    pub index: u32,
    pub kind: u32,
    pub flags: u32,
    pub description: [u8; 32],
    pub pixelformat: u32,
    pub mbus_code: u32,
    pub reserved: [u32; 3],
}

/// `struct v4l2_frmsizeenum`; a discrete size is in the first two numbers of `stepwise`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct FrameSize {
    pub index: u32,
    pub pixelformat: u32,
    pub kind: u32,
    pub stepwise: SizeSteps,
    pub reserved: [u32; 2],
}

/// `struct v4l2_frmsize_stepwise`
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct SizeSteps {
    pub min_width: u32,
    pub max_width: u32,
    pub step_width: u32,
    pub min_height: u32,
    pub max_height: u32,
    pub step_height: u32,
}

/// `struct v4l2_frmivalenum`; a discrete interval is in `min`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct FrameInterval {
    pub index: u32,
    pub pixelformat: u32,
    pub width: u32,
    pub height: u32,
    pub kind: u32,
    pub min: Fraction,
    pub max: Fraction,
    pub step: Fraction,
    pub reserved: [u32; 2],
}

/// `struct v4l2_fract`
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct Fraction {
    pub numerator: u32,
    pub denominator: u32,
}

/// `struct v4l2_format`
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct Format {
    pub kind: u32,
    pub union: FormatUnion,
}

/// The union of `struct v4l2_format`: 200 bytes, aligned for the pointers in members that we do not spell out.
#[repr(C)]
#[cfg_attr(target_pointer_width = "64", repr(align(8)))]
#[derive(Clone, Copy)]
pub struct FormatUnion {
    pub pix: PixFormat,
    rest: [u32; 38],
}

impl Default for FormatUnion {
    fn default() -> Self {
        Self { pix: PixFormat::default(), rest: [0; 38] }
    }
}

/// `struct v4l2_pix_format`
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct PixFormat {
    pub width: u32,
    pub height: u32,
    pub pixelformat: u32,
    pub field: u32,
    pub bytesperline: u32,
    pub sizeimage: u32,
    pub colorspace: u32,
    pub private: u32,
    pub flags: u32,
    pub encoding: u32,
    pub quantization: u32,
    pub transfer: u32,
}

/// `struct v4l2_streamparm` of a capture queue
#[repr(C)]
#[derive(Clone, Copy)]
pub struct StreamParameters {
    pub kind: u32,
    pub capability: u32,
    pub mode: u32,
    pub time_per_frame: Fraction,
    pub extended_mode: u32,
    pub read_buffers: u32,
    rest: [u32; 44],
}

impl Default for StreamParameters {
    fn default() -> Self {
        Self {
            kind: BUF_TYPE_VIDEO_CAPTURE,
            capability: 0,
            mode: 0,
            time_per_frame: Fraction::default(),
            extended_mode: 0,
            read_buffers: 0,
            rest: [0; 44],
        }
    }
}

/// `struct v4l2_requestbuffers`
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct RequestBuffers {
    pub count: u32,
    pub kind: u32,
    pub memory: u32,
    pub capabilities: u32,
    pub flags: u32,
}

/// `struct v4l2_buffer`
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct Buffer {
    pub index: u32,
    pub kind: u32,
    pub bytesused: u32,
    pub flags: u32,
    pub field: u32,
    pub seconds: i64,
    pub microseconds: i64,
    pub timecode: [u32; 4],
    pub sequence: u32,
    pub memory: u32,
    /// Union of offset, pointers and descriptor; see [`Buffer::offset`].
    pub place: usize,
    pub length: u32,
    pub reserved: u32,
    pub request: u32,
}

impl Buffer {
    /// A buffer of our capture queue.
    pub fn of(index: u32) -> Self {
        Self { index, kind: BUF_TYPE_VIDEO_CAPTURE, memory: MEMORY_MMAP, ..Default::default() }
    }

    /// What to map: the `u32` at the start of the union.
    pub fn offset(&self) -> u32 {
        let [a, b, c, d, ..] = self.place.to_ne_bytes();
        u32::from_ne_bytes([a, b, c, d])
    }
}

/// An ioctl number and the structure that goes with it.
pub struct Request<T> {
    pub name: &'static str,
    number: u32,
    structure: std::marker::PhantomData<T>,
}

impl<T> Request<T> {
    /// As the macros of asm-generic/ioctl.h, which all our architectures use: direction, size, 'V', number.
    const fn new(name: &'static str, direction: u32, number: u32) -> Self {
        let number = direction << 30 | (size_of::<T>() as u32) << 16 | (b'V' as u32) << 8 | number;
        Self { name, number, structure: std::marker::PhantomData }
    }
}

const WRITE: u32 = 1;
const READ: u32 = 2;

pub const QUERYCAP: Request<Capability> = Request::new("VIDIOC_QUERYCAP", READ, 0);
pub const ENUM_FMT: Request<FormatDescription> = Request::new("VIDIOC_ENUM_FMT", READ | WRITE, 2);
pub const S_FMT: Request<Format> = Request::new("VIDIOC_S_FMT", READ | WRITE, 5);
pub const REQBUFS: Request<RequestBuffers> = Request::new("VIDIOC_REQBUFS", READ | WRITE, 8);
pub const QUERYBUF: Request<Buffer> = Request::new("VIDIOC_QUERYBUF", READ | WRITE, 9);
pub const QBUF: Request<Buffer> = Request::new("VIDIOC_QBUF", READ | WRITE, 15);
pub const DQBUF: Request<Buffer> = Request::new("VIDIOC_DQBUF", READ | WRITE, 17);
pub const STREAMON: Request<c_int> = Request::new("VIDIOC_STREAMON", WRITE, 18);
pub const STREAMOFF: Request<c_int> = Request::new("VIDIOC_STREAMOFF", WRITE, 19);
pub const G_PARM: Request<StreamParameters> = Request::new("VIDIOC_G_PARM", READ | WRITE, 21);
pub const S_PARM: Request<StreamParameters> = Request::new("VIDIOC_S_PARM", READ | WRITE, 22);
pub const ENUM_FRAMESIZES: Request<FrameSize> = Request::new("VIDIOC_ENUM_FRAMESIZES", READ | WRITE, 74);
pub const ENUM_FRAMEINTERVALS: Request<FrameInterval> = Request::new("VIDIOC_ENUM_FRAMEINTERVALS", READ | WRITE, 75);

/// Calls the driver with `value` in and out.
pub fn ioctl<T>(fd: BorrowedFd<'_>, request: &Request<T>, value: &mut T) -> io::Result<()> {
    // SAFETY: `Request`s are made only above, each with the structure that the kernel reads and writes for its number;
    // all of them are plain numbers, of which every value is valid, and hold no pointers that the kernel would follow.
    uninterrupted(|| check(unsafe { libc::ioctl(fd.as_raw_fd(), request.number as _, &raw mut *value) })).map(drop)
}

/// Sizes that the kernel's header gives: 64-bit, then 32-bit ARM.
const fn sized<T>(on_64: usize, on_32: usize) {
    assert!(size_of::<T>() == if cfg!(target_pointer_width = "64") { on_64 } else { on_32 });
}
const _: () = {
    sized::<Capability>(104, 104);
    sized::<FormatDescription>(64, 64);
    sized::<FrameSize>(44, 44);
    sized::<FrameInterval>(52, 52);
    sized::<Format>(208, 204);
    sized::<PixFormat>(48, 48);
    sized::<StreamParameters>(204, 204);
    sized::<RequestBuffers>(20, 20);
    sized::<Buffer>(88, 80);
};

#[cfg(all(test, target_pointer_width = "64"))]
mod tests {
    use super::*;
    use std::mem::offset_of;

    #[test]
    fn numbers_are_those_of_the_kernels_header() {
        let numbers = [
            (QUERYCAP.number, 0x8068_5600),
            (ENUM_FMT.number, 0xc040_5602),
            (S_FMT.number, 0xc0d0_5605),
            (REQBUFS.number, 0xc014_5608),
            (QUERYBUF.number, 0xc058_5609),
            (QBUF.number, 0xc058_560f),
            (DQBUF.number, 0xc058_5611),
            (STREAMON.number, 0x4004_5612),
            (STREAMOFF.number, 0x4004_5613),
            (G_PARM.number, 0xc0cc_5615),
            (S_PARM.number, 0xc0cc_5616),
            (ENUM_FRAMESIZES.number, 0xc02c_564a),
            (ENUM_FRAMEINTERVALS.number, 0xc034_564b),
        ];
        for (ours, kernels) in numbers {
            assert_eq!(ours, kernels, "{ours:#x} {kernels:#x}");
        }
    }

    #[test]
    fn fields_are_where_the_kernels_header_has_them() {
        assert_eq!(offset_of!(Format, union), 8);
        assert_eq!(offset_of!(Buffer, seconds), 24);
        assert_eq!(offset_of!(Buffer, memory), 60);
        assert_eq!(offset_of!(Buffer, place), 64);
        assert_eq!(offset_of!(Buffer, length), 72);
        assert_eq!(fourcc(b"YUYV"), 0x5659_5559);
        assert_eq!(fourcc(b"MJPG"), 0x4750_4a4d);
    }
}
