//! The ioctls of linux/videodev2.h that we use; nothing here decides anything.
//!
//! A [`Request`] ties each number to its argument, so that a wrong pair does not compile. Arguments are of two kinds: the
//! kernel's own structures where those are plain numbers ([`structures`]), and types of ours where the kernel's differ
//! between the single- and the multi-planar API or hold pointers ([`Buffer`], [`Format`], [`Controls`]); these are made
//! into the kernel's for the length of the call, so no pointer outlives it and none comes from outside.
//!
//! Timestamps are 64-bit everywhere: 32-bit kernels take that form of `v4l2_buffer` and `v4l2_event` since 5.6.

mod buffer;
mod controls;
mod extension;
mod format;
mod structures;

pub use buffer::{Buffer, Memory, Plane};
pub use controls::{Control, Controls};
pub use extension::{ExtensionQuery, GET_INFO, GET_LEN, SET_CUR};
pub use format::{Format, PlaneFormat};
pub use structures::*;

use crate::process::{check, uninterrupted};
use std::any::Any;
use std::ffi::c_int;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// `VIDEO_MAX_PLANES`
pub const MAX_PLANES: usize = 8;

/// One of a device's queues: `enum v4l2_buf_type`, as far as we use it. For an encoder, OUTPUT takes pictures in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Queue {
    /// `V4L2_BUF_TYPE_VIDEO_CAPTURE`
    Capture = 1,
    /// `V4L2_BUF_TYPE_VIDEO_OUTPUT`
    Output = 2,
    /// `V4L2_BUF_TYPE_VIDEO_CAPTURE_MPLANE`
    CapturePlanes = 9,
    /// `V4L2_BUF_TYPE_VIDEO_OUTPUT_MPLANE`
    OutputPlanes = 10,
}

impl Queue {
    /// Its number in the kernel's structures.
    pub fn kind(self) -> u32 {
        self as u32
    }

    /// What STREAMON and STREAMOFF take.
    pub fn number(self) -> libc::c_int {
        self.kind() as libc::c_int
    }

    /// Whether its buffers and formats are of the multi-planar API.
    pub fn is_multi_planar(self) -> bool {
        matches!(self, Self::CapturePlanes | Self::OutputPlanes)
    }
}

/// A pixel format's four letters.
pub const fn fourcc(letters: &[u8; 4]) -> u32 {
    u32::from_le_bytes(*letters)
}

/// What can be an ioctl's argument.
///
/// # Safety
///
/// `Raw` is the structure that the kernel reads and writes for each [`Request`] made with this type, every value of its
/// numbers is valid, and while `call` runs each pointer in it that the kernel follows leads to memory of the size that the
/// structure tells, which nothing else uses.
pub unsafe trait Argument: Any {
    /// The kernel's structure.
    type Raw;
    /// Makes it, calls with it, and takes from it what the kernel has answered.
    fn with(&mut self, call: impl FnOnce(&mut Self::Raw) -> io::Result<()>) -> io::Result<()>;
}

/// The kernel's structures without pointers are arguments as they are.
macro_rules! plain {
    ($($structure:ty),*) => {$(
        // SAFETY: plain numbers, of the size that the header gives (checked below), which the kernel uses as numbers.
        unsafe impl Argument for $structure {
            type Raw = Self;
            fn with(&mut self, call: impl FnOnce(&mut Self) -> io::Result<()>) -> io::Result<()> {
                call(self)
            }
        }
    )*};
}
plain!(Capability, FormatDescription, FrameSize, FrameInterval, StreamParameters, RequestBuffers, ExportBuffer);
plain!(ControlDescription, MenuItem, EncoderCommand, EventSubscription, Event, Selection, c_int);

/// An ioctl number and the argument that goes with it.
pub struct Request<T> {
    pub name: &'static str,
    number: u32,
    argument: std::marker::PhantomData<T>,
}

impl<T: Argument> Request<T> {
    const fn new(name: &'static str, direction: u32, number: u32) -> Self {
        Self::of(b'V', name, direction, number)
    }

    /// As the macros of asm-generic/ioctl.h, which all our architectures use: direction, size, letter, number.
    const fn of(letter: u8, name: &'static str, direction: u32, number: u32) -> Self {
        let number = direction << 30 | (size_of::<T::Raw>() as u32) << 16 | (letter as u32) << 8 | number;
        Self { name, number, argument: std::marker::PhantomData }
    }
}

const WRITE: u32 = 1;
const READ: u32 = 2;
const BOTH: u32 = READ | WRITE;

pub const QUERYCAP: Request<Capability> = Request::new("VIDIOC_QUERYCAP", READ, 0);
pub const ENUM_FMT: Request<FormatDescription> = Request::new("VIDIOC_ENUM_FMT", BOTH, 2);
pub const S_FMT: Request<Format> = Request::new("VIDIOC_S_FMT", BOTH, 5);
pub const REQBUFS: Request<RequestBuffers> = Request::new("VIDIOC_REQBUFS", BOTH, 8);
pub const QUERYBUF: Request<Buffer> = Request::new("VIDIOC_QUERYBUF", BOTH, 9);
pub const QBUF: Request<Buffer> = Request::new("VIDIOC_QBUF", BOTH, 15);
pub const EXPBUF: Request<ExportBuffer> = Request::new("VIDIOC_EXPBUF", BOTH, 16);
pub const DQBUF: Request<Buffer> = Request::new("VIDIOC_DQBUF", BOTH, 17);
pub const STREAMON: Request<c_int> = Request::new("VIDIOC_STREAMON", WRITE, 18);
pub const STREAMOFF: Request<c_int> = Request::new("VIDIOC_STREAMOFF", WRITE, 19);
pub const G_PARM: Request<StreamParameters> = Request::new("VIDIOC_G_PARM", BOTH, 21);
pub const S_PARM: Request<StreamParameters> = Request::new("VIDIOC_S_PARM", BOTH, 22);
pub const QUERYMENU: Request<MenuItem> = Request::new("VIDIOC_QUERYMENU", BOTH, 37);
pub const G_EXT_CTRLS: Request<Controls> = Request::new("VIDIOC_G_EXT_CTRLS", BOTH, 71);
pub const S_EXT_CTRLS: Request<Controls> = Request::new("VIDIOC_S_EXT_CTRLS", BOTH, 72);
pub const ENUM_FRAMESIZES: Request<FrameSize> = Request::new("VIDIOC_ENUM_FRAMESIZES", BOTH, 74);
pub const ENUM_FRAMEINTERVALS: Request<FrameInterval> = Request::new("VIDIOC_ENUM_FRAMEINTERVALS", BOTH, 75);
pub const ENCODER_CMD: Request<EncoderCommand> = Request::new("VIDIOC_ENCODER_CMD", BOTH, 77);
pub const DQEVENT: Request<Event> = Request::new("VIDIOC_DQEVENT", READ, 89);
pub const SUBSCRIBE_EVENT: Request<EventSubscription> = Request::new("VIDIOC_SUBSCRIBE_EVENT", WRITE, 90);
pub const S_SELECTION: Request<Selection> = Request::new("VIDIOC_S_SELECTION", BOTH, 95);
pub const QUERY_EXT_CTRL: Request<ControlDescription> = Request::new("VIDIOC_QUERY_EXT_CTRL", BOTH, 103);

pub const UVC_QUERY: Request<ExtensionQuery> = Request::of(b'u', "UVCIOC_CTRL_QUERY", BOTH, 0x21);

/// Calls the driver with `value` in and out.
pub fn ioctl<T: Argument>(fd: BorrowedFd<'_>, request: &Request<T>, value: &mut T) -> io::Result<()> {
    let number = request.number as _;
    // SAFETY: `Request`s are made only above, each with the argument of its number; what an argument promises makes the
    // structure right for the kernel and its pointers good for the length of this call.
    value.with(|raw| uninterrupted(|| check(unsafe { libc::ioctl(fd.as_raw_fd(), number, &raw mut *raw) })).map(drop))
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
    sized::<<Format as Argument>::Raw>(208, 204);
    sized::<format::RawPicture>(48, 48);
    sized::<format::RawPlane>(20, 20);
    sized::<format::RawPlanes>(192, 192);
    sized::<StreamParameters>(204, 204);
    sized::<RequestBuffers>(20, 20);
    sized::<buffer::RawBuffer>(88, 80);
    sized::<buffer::RawPlane>(64, 60);
    sized::<ExportBuffer>(64, 64);
    sized::<ControlDescription>(232, 232);
    sized::<MenuItem>(44, 44);
    sized::<controls::RawControl>(20, 20);
    sized::<controls::RawControls>(32, 24);
    sized::<EncoderCommand>(40, 40);
    sized::<EventSubscription>(32, 32);
    sized::<Event>(136, 136);
    sized::<extension::RawQuery>(16, 12);
    sized::<Selection>(64, 64);
};

#[cfg(all(test, target_pointer_width = "64"))]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_the_kernels_header() {
        let numbers = [
            (QUERYCAP.number, 0x8068_5600),
            (ENUM_FMT.number, 0xc040_5602),
            (S_FMT.number, 0xc0d0_5605),
            (REQBUFS.number, 0xc014_5608),
            (QUERYBUF.number, 0xc058_5609),
            (QBUF.number, 0xc058_560f),
            (EXPBUF.number, 0xc040_5610),
            (DQBUF.number, 0xc058_5611),
            (STREAMON.number, 0x4004_5612),
            (STREAMOFF.number, 0x4004_5613),
            (G_PARM.number, 0xc0cc_5615),
            (S_PARM.number, 0xc0cc_5616),
            (QUERYMENU.number, 0xc02c_5625),
            (G_EXT_CTRLS.number, 0xc020_5647),
            (S_EXT_CTRLS.number, 0xc020_5648),
            (ENUM_FRAMESIZES.number, 0xc02c_564a),
            (ENUM_FRAMEINTERVALS.number, 0xc034_564b),
            (ENCODER_CMD.number, 0xc028_564d),
            (DQEVENT.number, 0x8088_5659),
            (SUBSCRIBE_EVENT.number, 0x4020_565a),
            (S_SELECTION.number, 0xc040_565f),
            (QUERY_EXT_CTRL.number, 0xc0e8_5667),
            (UVC_QUERY.number, 0xc010_7521),
        ];
        for (ours, kernels) in numbers {
            assert_eq!(ours, kernels, "{ours:#x} {kernels:#x}");
        }
        assert_eq!(fourcc(b"YUYV"), 0x5659_5559);
        assert_eq!(fourcc(b"MJPG"), 0x4750_4a4d);
    }
}
