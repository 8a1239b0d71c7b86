//! Streaming from one node by mapped buffers.

use super::modes::{Offer, choose, format_of, milli_fps, offers};
use super::sys::{self, Buffer, Fraction, Request, ioctl};
use super::{Error, Mode, Picture, PixelFormat};
use crate::process::{check, monotonic_ns};
use crate::wait;
use std::cell::Cell;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::ptr::{NonNull, null_mut};
use std::slice::from_raw_parts;
use std::time::Duration;

/// One that the driver fills, one that is full, one that is being encoded, one for jitter. More would only add delay.
const BUFFERS: u32 = 4;

/// What drivers may raise [`BUFFERS`] to.
const MAX_BUFFERS: u32 = 32;

/// A streaming capture device; stopped and released when dropped.
#[derive(Debug)]
pub struct Capture {
    node: Node,
    mode: Mode,
    stride: usize,
    /// Bytes of a whole picture; 0 where that varies.
    whole: usize,
    buffers: Vec<Mapped>,
    /// Giving a picture back has failed: known only after [`Picture`] was dropped, reported by the next call.
    lost: Cell<Option<i32>>,
}

impl Capture {
    /// Chooses the nearest mode to the wanted one (raw where it is as fast, MJPEG where raw is slower or smaller), sets it
    /// and starts streaming with 4 mmap buffers. `path` is for messages.
    pub fn start(fd: OwnedFd, path: &str, width: u32, height: u32, fps: u32) -> Result<Self, Error> {
        let node = Node { fd, path: path.to_owned() };
        node.set_nonblocking()?;
        let offer = choose(&offers(node.fd.as_fd(), Some((width, height))), width, height, fps)
            .ok_or_else(|| Error::NoMode(node.path.clone()))?;
        let (pix, format) = node.set_format(offer)?;
        let milli_fps = node.set_rate(fps.saturating_mul(1000).min(offer.mode.milli_fps));
        let mode =
            Mode { format, width: pix.width, height: pix.height, milli_fps: milli_fps.unwrap_or(offer.mode.milli_fps) };
        let stride = stride(&mode, pix.bytesperline);
        let whole = whole_picture(&mode, stride);
        let mut capture = Self { node, mode, stride, whole, buffers: Vec::new(), lost: Cell::new(None) };
        capture.map_buffers()?;
        for index in 0..capture.buffers.len() as u32 {
            capture.node.call(&sys::QBUF, &mut Buffer::of(index))?;
        }
        let mut kind = sys::BUF_TYPE_VIDEO_CAPTURE as libc::c_int;
        capture.node.call(&sys::STREAMON, &mut kind)?;
        Ok(capture)
    }

    /// What was chosen.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// The newest picture; older ones waiting are given back and counted by `sequence`. `None` after `timeout`.
    pub fn next(&mut self, timeout: Duration) -> Result<Option<Picture<'_>>, Error> {
        if let Some(errno) = self.lost.take() {
            return Err(self.node.gone(io::Error::from_raw_os_error(errno)));
        }
        let events = wait::readable(self.node.fd.as_fd(), timeout).map_err(|e| self.node.gone(e))?;
        if events == 0 {
            return Ok(None);
        }
        let Some(mut newest) = self.dequeue()? else {
            // Ready with nothing to take: the driver has stopped the queue without a word.
            return match events & (libc::POLLERR | libc::POLLHUP | libc::POLLNVAL) {
                0 => Ok(None),
                _ => Err(self.node.gone(io::Error::from_raw_os_error(libc::EIO))),
            };
        };
        // Bounded: while we give old ones back, the driver may fill them again.
        for _ in 1..self.buffers.len() {
            let Some(newer) = self.dequeue()? else { break };
            self.give_back(newest.index).map_err(|e| self.node.gone(e))?;
            newest = newer;
        }
        self.picture(&newest).map(Some)
    }

    fn map_buffers(&mut self) -> Result<(), Error> {
        let mut request = sys::RequestBuffers {
            count: BUFFERS,
            kind: sys::BUF_TYPE_VIDEO_CAPTURE,
            memory: sys::MEMORY_MMAP,
            ..Default::default()
        };
        self.node.call(&sys::REQBUFS, &mut request)?;
        for index in 0..request.count.min(MAX_BUFFERS) {
            let mut buffer = Buffer::of(index);
            self.node.call(&sys::QUERYBUF, &mut buffer)?;
            let mapped = Mapped::new(self.node.fd.as_fd(), buffer.offset(), buffer.length as usize)
                .map_err(|source| self.node.failed("mmap", source))?;
            self.buffers.push(mapped);
        }
        Ok(())
    }

    /// A filled buffer, if one is waiting. Any failure is the loss of the device: drivers answer ENODEV, EIO or EINVAL.
    fn dequeue(&self) -> Result<Option<Buffer>, Error> {
        let mut buffer = Buffer::of(0);
        match ioctl(self.node.fd.as_fd(), &sys::DQBUF, &mut buffer) {
            Ok(()) if (buffer.index as usize) < self.buffers.len() => Ok(Some(buffer)),
            Ok(()) => Err(self.node.gone(io::Error::from_raw_os_error(libc::EINVAL))),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(e) => Err(self.node.gone(e)),
        }
    }

    fn give_back(&self, index: u32) -> io::Result<()> {
        ioctl(self.node.fd.as_fd(), &sys::QBUF, &mut Buffer::of(index))
    }

    fn picture(&self, buffer: &Buffer) -> Result<Picture<'_>, Error> {
        let mapped = &self.buffers[buffer.index as usize];
        let used = (buffer.bytesused as usize).min(mapped.length);
        let damaged = buffer.flags & sys::BUF_FLAG_ERROR != 0 || used == 0 || used < self.whole;
        Ok(Picture {
            data: &mapped.bytes()[..used],
            stride: self.stride,
            captured_ns: captured_ns(buffer).unwrap_or_else(monotonic_ns),
            sequence: buffer.sequence,
            damaged,
            _loan: Loan { capture: self, index: buffer.index },
        })
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        // Failures do not matter: the device may be gone, and closing it ends the stream as well.
        let mut kind = sys::BUF_TYPE_VIDEO_CAPTURE as libc::c_int;
        let _ = ioctl(self.node.fd.as_fd(), &sys::STREAMOFF, &mut kind);
    }
}

/// Gives a buffer back to the driver.
#[derive(Debug)]
pub(super) struct Loan<'a> {
    capture: &'a Capture,
    index: u32,
}

impl Drop for Loan<'_> {
    fn drop(&mut self) {
        if let Err(e) = self.capture.give_back(self.index) {
            self.capture.lost.set(Some(e.raw_os_error().unwrap_or(libc::EIO)));
        }
    }
}

/// A video node and its name.
#[derive(Debug)]
struct Node {
    fd: OwnedFd,
    path: String,
}

impl Node {
    /// The open file may come from the supervisor, opened as it liked.
    fn set_nonblocking(&self) -> Result<(), Error> {
        let fd = self.fd.as_raw_fd();
        // SAFETY: flag calls on a descriptor that we own.
        let set = unsafe {
            check(libc::fcntl(fd, libc::F_GETFL))
                .and_then(|flags| check(libc::fcntl(fd, libc::F_SETFL, flags | libc::O_NONBLOCK)))
        };
        set.map(drop).map_err(|source| self.failed("F_SETFL", source))
    }

    fn set_format(&self, offer: Offer) -> Result<(sys::PixFormat, PixelFormat), Error> {
        let mut format = sys::Format { kind: sys::BUF_TYPE_VIDEO_CAPTURE, ..Default::default() };
        format.union.pix = sys::PixFormat {
            width: offer.mode.width,
            height: offer.mode.height,
            pixelformat: offer.fourcc,
            field: sys::FIELD_NONE,
            ..Default::default()
        };
        self.call(&sys::S_FMT, &mut format)?;
        // The driver answers with what it does instead, where it cannot do what it was asked for.
        let pix = format.union.pix;
        match format_of(pix.pixelformat) {
            Some(taken) if pix.width > 0 && pix.height > 0 => Ok((pix, taken)),
            _ => Err(Error::NoMode(self.path.clone())),
        }
    }

    /// Asks for a rate and returns what the driver answers; `None` where it cannot set one.
    fn set_rate(&self, wanted_milli_fps: u32) -> Option<u32> {
        let mut parameters = sys::StreamParameters::default();
        ioctl(self.fd.as_fd(), &sys::G_PARM, &mut parameters).ok()?;
        if parameters.capability & sys::CAP_TIME_PER_FRAME != 0 {
            parameters.time_per_frame = Fraction { numerator: 1000, denominator: wanted_milli_fps.max(1) };
            ioctl(self.fd.as_fd(), &sys::S_PARM, &mut parameters).ok()?;
        }
        milli_fps(parameters.time_per_frame)
    }

    fn call<T>(&self, request: &Request<T>, value: &mut T) -> Result<(), Error> {
        ioctl(self.fd.as_fd(), request, value).map_err(|source| self.failed(request.name, source))
    }

    /// Failures while starting.
    fn failed(&self, call: &'static str, source: io::Error) -> Error {
        let path = self.path.clone();
        match source.raw_os_error() {
            Some(libc::EBUSY) => Error::Busy(path),
            Some(libc::ENOSPC) => Error::NoBandwidth(path),
            Some(libc::ENODEV | libc::ENXIO) => Error::Gone { path, source },
            _ => Error::Call { path, call, source },
        }
    }

    fn gone(&self, source: io::Error) -> Error {
        Error::Gone { path: self.path.clone(), source }
    }
}

/// A buffer of the driver in our memory.
#[derive(Debug)]
struct Mapped {
    start: NonNull<u8>,
    length: usize,
}

// SAFETY: plain memory, owned by this value until it is unmapped.
unsafe impl Send for Mapped {}

impl Mapped {
    fn new(fd: BorrowedFd<'_>, offset: u32, length: usize) -> io::Result<Self> {
        let (protection, offset) = (libc::PROT_READ, offset as libc::off_t);
        // SAFETY: a new mapping, at an address that the kernel chooses; the driver checks offset and length.
        let start = unsafe { libc::mmap(null_mut(), length, protection, libc::MAP_SHARED, fd.as_raw_fd(), offset) };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        Ok(Self { start: NonNull::new(start.cast()).expect("mmap without a fixed address never gives 0"), length })
    }

    /// To be read only between dequeuing and giving back, as [`Loan`] sees to: then the driver leaves it alone.
    fn bytes(&self) -> &[u8] {
        // SAFETY: mapped with this length for reading until `self` is dropped.
        unsafe { from_raw_parts(self.start.as_ptr(), self.length) }
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        // SAFETY: it was mapped with this length, and nothing borrows from it any more.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.length) };
    }
}

fn stride(mode: &Mode, told: u32) -> usize {
    let least = match mode.format {
        PixelFormat::Mjpeg => return 0,
        PixelFormat::Yuyv => mode.width as usize * 2,
        PixelFormat::Nv12 | PixelFormat::Yu12 => mode.width as usize,
    };
    (told as usize).max(least)
}

fn whole_picture(mode: &Mode, stride: usize) -> usize {
    let height = mode.height as usize;
    match mode.format {
        PixelFormat::Mjpeg => 0,
        PixelFormat::Yuyv => stride * height,
        PixelFormat::Nv12 => stride * (height + height.div_ceil(2)),
        PixelFormat::Yu12 => stride * height + 2 * stride.div_ceil(2) * height.div_ceil(2),
    }
}

/// The driver's stamp, if it is of the clock that we use.
fn captured_ns(buffer: &Buffer) -> Option<u64> {
    if buffer.flags & sys::BUF_FLAG_TIMESTAMP_MASK != sys::BUF_FLAG_TIMESTAMP_MONOTONIC {
        return None;
    }
    let seconds = u64::try_from(buffer.seconds).ok()?;
    let microseconds = u64::try_from(buffer.microseconds).ok()?;
    seconds.checked_mul(1_000_000_000)?.checked_add(microseconds.checked_mul(1000)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(format: PixelFormat, width: u32, height: u32) -> Mode {
        Mode { format, width, height, milli_fps: 30_000 }
    }

    #[test]
    fn a_whole_picture_has_the_bytes_of_all_its_planes() {
        let bytes = |format, told| {
            let mode = mode(format, 640, 360);
            whole_picture(&mode, stride(&mode, told))
        };
        assert_eq!(bytes(PixelFormat::Yuyv, 0), 460_800);
        assert_eq!(bytes(PixelFormat::Nv12, 640), 345_600);
        assert_eq!(bytes(PixelFormat::Yu12, 640), 345_600);
        assert_eq!(bytes(PixelFormat::Nv12, 704), 704 * 540);
        assert_eq!(bytes(PixelFormat::Mjpeg, 0), 0);
    }

    #[test]
    fn only_stamps_of_the_monotonic_clock_are_believed() {
        let stamp =
            |flags, seconds, microseconds| captured_ns(&Buffer { flags, seconds, microseconds, ..Default::default() });
        assert_eq!(stamp(0x2000, 3, 5), Some(3_000_005_000));
        assert_eq!(stamp(0x4000, 3, 5), None, "copied from elsewhere");
        assert_eq!(stamp(0, 3, 5), None, "unknown clock");
        assert_eq!(stamp(0x2000, -1, 5), None);
        assert_eq!(stamp(0x2000, i64::MAX, 5), None);
    }

    #[test]
    fn errors_tell_what_to_do_about_them() {
        let node = Node { fd: std::fs::File::open("/dev/null").unwrap().into(), path: "/dev/video9".to_owned() };
        let error = |errno| node.failed("VIDIOC_STREAMON", io::Error::from_raw_os_error(errno));
        assert!(matches!(error(libc::EBUSY), Error::Busy(path) if path == "/dev/video9"));
        assert!(matches!(error(libc::ENOSPC), Error::NoBandwidth(_)));
        assert!(matches!(error(libc::ENODEV), Error::Gone { .. }));
        assert!(matches!(error(libc::EINVAL), Error::Call { call: "VIDIOC_STREAMON", .. }));
    }

    #[test]
    fn what_is_no_camera_offers_no_mode() {
        let null = std::fs::File::open("/dev/null").unwrap().into();
        assert!(matches!(Capture::start(null, "/dev/null", 640, 480, 30), Err(Error::NoMode(_))));
    }
}
