//! Streaming from one node by mapped buffers.

use super::handle::{Access, Mapped};
use super::keyframe::Keyframe;
use super::layout::{Layout, PLANES};
use super::list;
use super::m2m::set_bitrate;
use super::modes::{TAKEN, Wanted, choose, offers};
use super::node::Node;
use super::sys::{self, Buffer, Memory, Queue};
use super::{Error, Handle, Mode, PixelFormat};
use crate::process::monotonic_ns;
use std::cell::Cell;
use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

/// One that the driver fills, one that is full, one that is being encoded, one for jitter. More would only add delay.
const BUFFERS: u32 = 4;

/// Of H.264, whose pictures are given in order: one that finds no buffer costs all up to the next keyframe. Twice the time
/// that the reader may be kept from running; the delay stays that of the oldest picture that waits.
const ENCODED_BUFFERS: u32 = 8;

/// What drivers may raise them to.
const MAX_BUFFERS: u32 = 32;

/// A streaming capture device; stopped and released when dropped.
#[derive(Debug)]
pub struct Capture {
    node: Node,
    mode: Mode,
    layout: Layout,
    buffers: Vec<Vec<Mapped>>,
    /// Giving a picture back has failed: known only after [`Picture`] was dropped, reported by the next call.
    lost: Cell<Option<i32>>,
    /// How a keyframe can be had, where the camera encodes.
    keyframe: Option<Keyframe>,
}

/// One dequeued picture; given back to the driver when dropped.
#[derive(Debug)]
pub struct Picture<'a> {
    planes: [Plane<'a>; PLANES],
    count: usize,
    /// CLOCK_MONOTONIC ns, of the moment that `stamped` names.
    pub captured_ns: u64,
    /// As the driver says.
    pub stamped: Stamped,
    /// Driver's frame counter: gaps are drops.
    pub sequence: u32,
    /// The driver marked it as damaged, or it is shorter than a picture of its format.
    pub damaged: bool,
    loan: Loan<'a>,
}

/// The moment that a picture's time is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stamped {
    /// Its exposure began.
    ExposureStart,
    /// Its transfer ended.
    FrameEnd,
    /// It was dequeued: the driver gives no time of CLOCK_MONOTONIC.
    Here,
}

impl fmt::Display for Stamped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ExposureStart => "at the start of exposure",
            Self::FrameEnd => "at the end of the frame",
            Self::Here => "here, as its driver gives no time of ours",
        })
    }
}

/// A buffer that the driver does not get back by itself: until [`Capture::release`], or for as long as the stream runs, the
/// camera has one buffer less.
#[derive(Debug)]
#[must_use]
pub struct Held(u32);

impl Held {
    /// Which buffer.
    pub(super) fn index(&self) -> u32 {
        self.0
    }
}

/// One plane of a picture, wherever the driver has put it. A picture that is not damaged has all its lines; the padding
/// of the last one may be missing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Plane<'a> {
    /// Bytes used.
    pub data: &'a [u8],
    /// Bytes of one line; 0 for compressed pictures.
    pub stride: usize,
}

impl<'a> Picture<'a> {
    /// As many as the format has: one of packed and compressed formats, luma and chroma of the others.
    pub fn planes(&self) -> &[Plane<'a>] {
        &self.planes[..self.count]
    }

    /// A compressed picture's bytes, a packed one's lines, else the luma.
    pub fn data(&self) -> &'a [u8] {
        self.planes[0].data
    }

    /// Who gave it.
    pub fn camera(&self) -> &'a Capture {
        self.loan.capture
    }

    /// Keeps its buffer from the driver.
    pub fn hold(self) -> Held {
        let index = self.loan.index;
        std::mem::forget(self.loan);
        Held(index)
    }
}

impl Capture {
    /// Chooses the nearest mode to the wanted one (raw where it is as fast, MJPEG where raw is slower or smaller), sets it
    /// and starts streaming with 4 mmap buffers. `path` is for messages.
    pub fn start(handle: impl Into<Handle>, path: &str, wanted: &Wanted) -> Result<Self, Error> {
        let handle = handle.into();
        let mut capability = sys::Capability::default();
        // What is no video node at all fails here, and then offers nothing.
        let asked = handle.ioctl(&sys::QUERYCAP, &mut capability);
        let queue = asked.ok().and_then(|()| list::queue(&capability)).unwrap_or(Queue::Capture);
        let node = Node { handle, path: path.to_owned(), queue };
        let offer = choose(&offers(&node.handle, queue, Some((wanted.width, wanted.height))), wanted)
            .ok_or_else(|| Error::NoMode(node.path.clone(), TAKEN))?;
        node.handle.set_nonblocking().map_err(|source| node.failed("F_SETFL", source, offer.mode))?;
        let (set, format) = node.set_format(offer)?;
        let milli_fps = node.set_rate(wanted.fps.saturating_mul(1000).min(offer.mode.milli_fps));
        let milli_fps = milli_fps.unwrap_or(offer.mode.milli_fps);
        let mode = Mode { format, width: set.width, height: set.height, milli_fps };
        let layout = Layout::of(format, &set);
        let keyframe = if format == PixelFormat::H264 { Keyframe::of(&node.handle) } else { None };
        let mut capture = Self { node, mode, layout, buffers: Vec::new(), lost: Cell::new(None), keyframe };
        capture.watch_source();
        capture.map_buffers()?;
        for index in 0..capture.buffers.len() as u32 {
            let done = capture.give_back(index);
            done.map_err(|source| capture.node.failed(sys::QBUF.name, source, mode))?;
        }
        capture.node.call(&sys::STREAMON, &mut queue_number(queue), mode)?;
        Ok(capture)
    }

    /// What was chosen.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// Whether the camera encodes and makes keyframes when asked.
    pub fn makes_keyframes(&self) -> bool {
        self.keyframe.is_some()
    }

    /// Asks the camera for a keyframe, if it makes them; it comes with one of the next pictures.
    pub fn force_keyframe(&self) -> Result<(), Error> {
        let Some(keyframe) = self.keyframe else { return Ok(()) };
        let path = self.node.path.clone();
        keyframe.force(&self.node.handle).map_err(|source| Error::Call { path, call: "force a keyframe", source })
    }

    /// Asks a camera that encodes for so many bit/s, to the nearest that it can; one that cannot be told keeps its own.
    pub fn set_bitrate(&self, bps: u32) -> Result<(), Error> {
        let (path, call) = (self.node.path.clone(), "V4L2_CID_MPEG_VIDEO_BITRATE");
        set_bitrate(&self.node.handle, bps).map_err(|source| Error::Call { path, call, source })
    }

    /// The newest picture; older ones waiting are given back and counted by `sequence`. H.264 is given in its order, as
    /// each unit needs the one before. `None` after `timeout`.
    pub fn next(&mut self, timeout: Duration) -> Result<Option<Picture<'_>>, Error> {
        if let Some(errno) = self.lost.take() {
            return Err(self.node.gone(io::Error::from_raw_os_error(errno)));
        }
        let events = self.node.handle.poll(libc::POLLIN | libc::POLLPRI, timeout).map_err(|e| self.node.gone(e))?;
        if events == 0 {
            return Ok(None);
        }
        if events & libc::POLLPRI != 0 && self.source_changed() {
            return Err(Error::Changed(self.node.path.clone()));
        }
        let Some(mut newest) = self.dequeue()? else {
            // Ready with nothing to take: the driver has stopped the queue without a word.
            return match events & (libc::POLLERR | libc::POLLHUP | libc::POLLNVAL) {
                0 => Ok(None),
                _ => Err(self.node.gone(io::Error::from_raw_os_error(libc::EIO))),
            };
        };
        // Bounded: while we give old ones back, the driver may fill them again.
        let older = if self.mode.format == PixelFormat::H264 { 0 } else { self.buffers.len() - 1 };
        for _ in 0..older {
            let Some(newer) = self.dequeue()? else { break };
            self.give_back(newest.index).map_err(|e| self.node.gone(e))?;
            newest = newer;
        }
        self.picture(&newest).map(Some)
    }

    /// Gives a buffer back to the driver.
    pub fn release(&self, held: Held) {
        drop(Loan { capture: self, index: held.0 });
    }

    /// Bytes of a line in each piece of a buffer's memory.
    pub(super) fn strides(&self) -> impl Iterator<Item = u32> + '_ {
        let parts = self.layout.parts();
        parts.iter().enumerate().filter(|(index, part)| part.memory == *index).map(|(_, part)| part.stride as u32)
    }

    /// Descriptors and sizes of all buffers' planes, if these are as another driver needs them: laid out like that, and of these
    /// sizes at least.
    pub(super) fn share(&self, layout: &Layout, sizes: &[u32]) -> Option<Vec<Vec<(OwnedFd, u32)>>> {
        let large = |planes: &Vec<Mapped>| {
            planes.len() == sizes.len() && planes.iter().zip(sizes).all(|(plane, size)| plane.len() >= *size as usize)
        };
        if self.layout != *layout || !self.buffers.iter().all(large) {
            return None;
        }
        let buffer = |index: usize| -> io::Result<Vec<_>> {
            let planes = self.buffers[index].iter().enumerate();
            let export = |plane| self.node.handle.export(self.node.queue, index as u32, plane);
            planes.map(|(plane, memory)| Ok((export(plane as u32)?, memory.len() as u32))).collect()
        };
        (0..self.buffers.len()).map(buffer).collect::<io::Result<_>>().ok()
    }

    /// Asks to be told when the source changes its size or rate; only drivers of HDMI bridges and the like can.
    fn watch_source(&self) {
        let mut wish = sys::EventSubscription { kind: sys::EVENT_SOURCE_CHANGE, ..Default::default() };
        let _ = self.node.handle.ioctl(&sys::SUBSCRIBE_EVENT, &mut wish);
    }

    fn source_changed(&self) -> bool {
        let mut event = sys::Event::default();
        self.node.handle.ioctl(&sys::DQEVENT, &mut event).is_ok() && event.kind == sys::EVENT_SOURCE_CHANGE
    }

    fn map_buffers(&mut self) -> Result<(), Error> {
        let Self { node, mode, .. } = self;
        let mut request = sys::RequestBuffers {
            count: if mode.format == PixelFormat::H264 { ENCODED_BUFFERS } else { BUFFERS },
            kind: node.queue.kind(),
            memory: Memory::Mmap as u32,
            ..Default::default()
        };
        node.call(&sys::REQBUFS, &mut request, *mode)?;
        for index in 0..request.count.min(MAX_BUFFERS) {
            let mut buffer = Buffer::of(node.queue, index);
            node.call(&sys::QUERYBUF, &mut buffer, *mode)?;
            let planes = buffer.planes().iter().map(|plane| node.handle.map(plane, Access::Read));
            let planes: io::Result<Vec<_>> = planes.collect();
            self.buffers.push(planes.map_err(|source| node.failed("mmap", source, *mode))?);
        }
        Ok(())
    }

    /// A filled buffer, if one is waiting. Any failure is the loss of the device: drivers answer ENODEV, EIO or EINVAL.
    fn dequeue(&self) -> Result<Option<Buffer>, Error> {
        let mut buffer = Buffer::of(self.node.queue, 0);
        match self.node.handle.ioctl(&sys::DQBUF, &mut buffer) {
            Ok(()) if (buffer.index as usize) < self.buffers.len() => Ok(Some(buffer)),
            Ok(()) => Err(self.node.gone(io::Error::from_raw_os_error(libc::EINVAL))),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(e) => Err(self.node.gone(e)),
        }
    }

    fn give_back(&self, index: u32) -> io::Result<()> {
        let mut buffer = Buffer::of(self.node.queue, index);
        buffer.count = self.buffers[index as usize].len();
        self.node.handle.ioctl(&sys::QBUF, &mut buffer)
    }

    fn picture(&self, buffer: &Buffer) -> Result<Picture<'_>, Error> {
        let memory = &self.buffers[buffer.index as usize];
        let mut planes = [Plane::default(); PLANES];
        let mut damaged = buffer.flags & sys::BUF_FLAG_ERROR != 0;
        for (plane, part) in planes.iter_mut().zip(self.layout.parts()) {
            let (bytes, told) = (memory.get(part.memory).map_or(&[][..], Mapped::bytes), buffer.planes[part.memory]);
            let used = content(bytes, &told);
            let end = if part.stride == 0 { used.len() } else { part.start.saturating_add(part.size).min(used.len()) };
            plane.data = used.get(part.start..end).unwrap_or_default();
            plane.stride = part.stride;
            damaged |= plane.data.is_empty() || plane.data.len() < part.least;
        }
        let (captured_ns, stamped) = match captured_ns(buffer) {
            Some(ns) if buffer.flags & sys::BUF_FLAG_TSTAMP_SRC_MASK == sys::BUF_FLAG_TSTAMP_SRC_SOE => {
                (ns, Stamped::ExposureStart)
            }
            Some(ns) => (ns, Stamped::FrameEnd),
            None => (monotonic_ns(), Stamped::Here),
        };
        Ok(Picture {
            planes,
            count: self.layout.count,
            captured_ns,
            stamped,
            sequence: buffer.sequence,
            damaged,
            loan: Loan { capture: self, index: buffer.index },
        })
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        // Failures do not matter: the device may be gone, and closing it ends the stream as well.
        let _ = self.node.handle.ioctl(&sys::STREAMOFF, &mut queue_number(self.node.queue));
    }
}

/// Gives a buffer back to the driver.
#[derive(Debug)]
struct Loan<'a> {
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

/// What STREAMON and STREAMOFF take.
fn queue_number(queue: Queue) -> libc::c_int {
    queue.kind() as libc::c_int
}

/// What a plane holds, of what the driver says about it only what is inside.
fn content<'a>(bytes: &'a [u8], told: &sys::Plane) -> &'a [u8] {
    let used = (told.used as usize).min(bytes.len());
    bytes[..used].get(told.data_offset as usize..).unwrap_or_default()
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
    use crate::video::Encoded;

    #[test]
    fn only_stamps_of_the_monotonic_clock_are_believed() {
        let stamp = |flags, seconds, microseconds| {
            captured_ns(&Buffer { flags, seconds, microseconds, ..Buffer::of(Queue::Capture, 0) })
        };
        assert_eq!(stamp(0x2000, 3, 5), Some(3_000_005_000));
        assert_eq!(stamp(0x4000, 3, 5), None, "copied from elsewhere");
        assert_eq!(stamp(0, 3, 5), None, "unknown clock");
        assert_eq!(stamp(0x2000, -1, 5), None);
        assert_eq!(stamp(0x2000, i64::MAX, 5), None);
    }

    #[test]
    fn what_is_no_camera_offers_no_mode() {
        let null: std::os::fd::OwnedFd = std::fs::File::open("/dev/null").unwrap().into();
        let wanted = Wanted { width: 640, height: 480, fps: 30, format: None, encoded: Encoded::Never };
        assert!(matches!(Capture::start(null, "/dev/null", &wanted), Err(Error::NoMode(..))));
    }
}
