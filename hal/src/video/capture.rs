//! Streaming from one node by mapped buffers.

use super::handle::Mapped;
use super::idle::Stream;
use super::layout::{Layout, PLANES};
use super::m2m::set_bitrate;
use super::node::Node;
use super::stamp;
use super::sys::{self, Buffer};
use super::{Error, Mode, PixelFormat};
use crate::ring::Stamped;
use std::cell::Cell;
use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

/// One that the driver fills, one that is full, one that is being encoded, one for jitter. More would only add delay.
pub const BUFFERS: u32 = 4;

/// Of H.264, whose pictures are given in order: one that finds no buffer costs all up to the next keyframe. Twice the time
/// that the reader may be kept from running; the delay stays that of the oldest picture that waits.
pub const ENCODED_BUFFERS: u32 = 8;

/// A streaming capture device; stopped and released when dropped.
#[derive(Debug)]
pub struct Capture {
    node: Node,
    stream: Stream,
    /// Giving a picture back has failed: known only after [`Picture`] was dropped, reported by the next call.
    lost: Cell<Option<i32>>,
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
    pub(super) fn of(node: Node, stream: Stream) -> Self {
        Self { node, stream, lost: Cell::new(None) }
    }

    /// What the driver has made of the mode that was asked for.
    pub fn mode(&self) -> Mode {
        self.stream.mode
    }

    /// Bytes of the driver's buffers, which no cgroup counts.
    pub fn buffer_bytes(&self) -> u64 {
        self.stream.buffers.iter().flatten().map(|plane| plane.len() as u64).sum()
    }

    /// Whether the camera encodes and makes keyframes when asked.
    pub fn makes_keyframes(&self) -> bool {
        self.stream.keyframe.is_some()
    }

    /// Asks the camera for a keyframe, if it makes them; it comes with one of the next pictures.
    pub fn force_keyframe(&self) -> Result<(), Error> {
        let Some(keyframe) = self.stream.keyframe else { return Ok(()) };
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
        let older = if self.stream.mode.format == PixelFormat::H264 { 0 } else { self.stream.buffers.len() - 1 };
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
        let parts = self.stream.layout.parts();
        parts.iter().enumerate().filter(|(index, part)| part.memory == *index).map(|(_, part)| part.stride as u32)
    }

    /// Descriptors and sizes of all buffers' planes, if these are as another driver needs them: laid out like that, and of these
    /// sizes at least.
    pub(super) fn share(&self, layout: &Layout, sizes: &[u32]) -> Option<Vec<Vec<(OwnedFd, u32)>>> {
        let large = |planes: &Vec<Mapped>| {
            planes.len() == sizes.len() && planes.iter().zip(sizes).all(|(plane, size)| plane.len() >= *size as usize)
        };
        if self.stream.layout != *layout || !self.stream.buffers.iter().all(large) {
            return None;
        }
        let buffer = |index: usize| -> io::Result<Vec<_>> {
            let planes = self.stream.buffers[index].iter().enumerate();
            let export = |plane| self.node.handle.export(self.node.queue, index as u32, plane);
            planes.map(|(plane, memory)| Ok((export(plane as u32)?, memory.len() as u32))).collect()
        };
        (0..self.stream.buffers.len()).map(buffer).collect::<io::Result<_>>().ok()
    }

    fn source_changed(&self) -> bool {
        let mut event = sys::Event::default();
        self.node.handle.ioctl(&sys::DQEVENT, &mut event).is_ok() && event.kind == sys::EVENT_SOURCE_CHANGE
    }

    /// A filled buffer, if one is waiting. Any failure is the loss of the device: drivers answer ENODEV, EIO or EINVAL.
    fn dequeue(&self) -> Result<Option<Buffer>, Error> {
        let mut buffer = Buffer::of(self.node.queue, 0);
        match self.node.handle.ioctl(&sys::DQBUF, &mut buffer) {
            Ok(()) if (buffer.index as usize) < self.stream.buffers.len() => Ok(Some(buffer)),
            Ok(()) => Err(self.node.gone(io::Error::from_raw_os_error(libc::EINVAL))),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(e) => Err(self.node.gone(e)),
        }
    }

    fn give_back(&self, index: u32) -> io::Result<()> {
        self.node.queue_buffer(index, self.stream.buffers[index as usize].len())
    }

    fn picture(&self, buffer: &Buffer) -> Result<Picture<'_>, Error> {
        let memory = &self.stream.buffers[buffer.index as usize];
        let mut planes = [Plane::default(); PLANES];
        let mut damaged = buffer.flags & sys::BUF_FLAG_ERROR != 0;
        for (plane, part) in planes.iter_mut().zip(self.stream.layout.parts()) {
            let (bytes, told) = (memory.get(part.memory).map_or(&[][..], Mapped::bytes), buffer.planes[part.memory]);
            let used = content(bytes, &told);
            let end = if part.stride == 0 { used.len() } else { part.start.saturating_add(part.size).min(used.len()) };
            plane.data = used.get(part.start..end).unwrap_or_default();
            plane.stride = part.stride;
            damaged |= plane.data.is_empty() || plane.data.len() < part.least;
        }
        let (captured_ns, stamped) = stamp::of(buffer);
        Ok(Picture {
            planes,
            count: self.stream.layout.count,
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
        let _ = self.node.handle.ioctl(&sys::STREAMOFF, &mut self.node.queue.number());
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

/// What a plane holds, of what the driver says about it only what is inside.
fn content<'a>(bytes: &'a [u8], told: &sys::Plane) -> &'a [u8] {
    let used = (told.used as usize).min(bytes.len());
    bytes[..used].get(told.data_offset as usize..).unwrap_or_default()
}
