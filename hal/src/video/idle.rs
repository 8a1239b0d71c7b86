//! A camera before its stream: what it offers, and the start in one of its modes.

use super::capture::{BUFFERS, ENCODED_BUFFERS};
use super::handle::{Access, Mapped};
use super::keyframe::Keyframe;
use super::layout::Layout;
use super::list;
use super::modes::{Offer, TAKEN, offers};
use super::node::Node;
use super::sys::{self, Buffer, Memory, Queue};
use super::{Capture, Error, Handle, Mode, PixelFormat};
use std::io;

/// What drivers may raise the number of buffers to.
const MAX_BUFFERS: u32 = 32;

/// An open camera that does not stream; closed when dropped.
#[derive(Debug)]
pub struct Idle {
    node: Node,
    offers: Vec<Offer>,
}

/// A start that failed.
#[derive(Debug)]
pub struct NotStarted {
    /// The camera, of which nothing is held: another mode may be tried.
    pub idle: Idle,
    /// Why.
    pub error: Error,
}

/// What a stream has beside its node.
#[derive(Debug)]
pub(super) struct Stream {
    pub mode: Mode,
    pub layout: Layout,
    pub buffers: Vec<Vec<Mapped>>,
    pub keyframe: Option<Keyframe>,
}

impl Idle {
    /// Asks what a camera offers; `size` is tried beside common ones where its driver takes any. `path` is for messages.
    pub fn new(handle: impl Into<Handle>, path: &str, size: (u32, u32)) -> Self {
        let handle = handle.into();
        let mut capability = sys::Capability::default();
        // What is no video node at all fails here, and then offers nothing.
        let asked = handle.ioctl(&sys::QUERYCAP, &mut capability);
        let queue = asked.ok().and_then(|()| list::queue(&capability)).unwrap_or(Queue::Capture);
        let offers = offers(&handle, queue, Some(size));
        Self { node: Node { handle, path: path.to_owned(), queue }, offers }
    }

    /// What it offers.
    pub fn modes(&self) -> impl Iterator<Item = Mode> + '_ {
        self.offers.iter().map(|offer| offer.mode)
    }

    /// That none of its modes will do.
    pub fn no_mode(&self) -> Error {
        Error::NoMode(self.node.path.clone(), TAKEN)
    }

    /// Sets the mode at this place of [`Idle::modes`], at `milli_fps` frames a second times 1000, and starts streaming with
    /// 4 mmap buffers, with 8 for H.264. The driver may make something else of it: see [`Capture::mode`].
    pub fn start(self, place: usize, milli_fps: u32) -> Result<Capture, Box<NotStarted>> {
        let mut buffers = Vec::new();
        match stream(&self.node, self.offers[place], milli_fps, &mut buffers) {
            Ok((mode, layout, keyframe)) => Ok(Capture::of(self.node, Stream { mode, layout, buffers, keyframe })),
            Err(error) => {
                buffers.clear();
                self.release();
                Err(Box::new(NotStarted { idle: self, error }))
            }
        }
    }

    /// The driver frees its buffers, so that another format can be set.
    fn release(&self) {
        let memory = Memory::Mmap as u32;
        let mut none = sys::RequestBuffers { kind: self.node.queue.kind(), memory, ..Default::default() };
        let _ = self.node.handle.ioctl(&sys::REQBUFS, &mut none);
    }
}

fn stream(
    node: &Node,
    offer: Offer,
    milli_fps: u32,
    buffers: &mut Vec<Vec<Mapped>>,
) -> Result<(Mode, Layout, Option<Keyframe>), Error> {
    node.handle.set_nonblocking().map_err(|source| node.failed("F_SETFL", source, offer.mode))?;
    let (set, format) = node.set_format(offer)?;
    let milli_fps = node.set_rate(milli_fps).unwrap_or(offer.mode.milli_fps);
    let mode = Mode { format, width: set.width, height: set.height, milli_fps };
    let keyframe = if format == PixelFormat::H264 { Keyframe::of(&node.handle) } else { None };
    watch_source(node);
    map_buffers(node, mode, buffers)?;
    for (index, planes) in buffers.iter().enumerate() {
        let queued = node.queue_buffer(index as u32, planes.len());
        queued.map_err(|source| node.failed(sys::QBUF.name, source, mode))?;
    }
    node.call(&sys::STREAMON, &mut node.queue.number(), mode)?;
    Ok((mode, Layout::of(format, &set), keyframe))
}

/// Asks to be told when the source changes its size or rate; only drivers of HDMI bridges and the like can.
fn watch_source(node: &Node) {
    let mut wish = sys::EventSubscription { kind: sys::EVENT_SOURCE_CHANGE, ..Default::default() };
    let _ = node.handle.ioctl(&sys::SUBSCRIBE_EVENT, &mut wish);
}

fn map_buffers(node: &Node, mode: Mode, buffers: &mut Vec<Vec<Mapped>>) -> Result<(), Error> {
    let mut request = sys::RequestBuffers {
        count: if mode.format == PixelFormat::H264 { ENCODED_BUFFERS } else { BUFFERS },
        kind: node.queue.kind(),
        memory: Memory::Mmap as u32,
        ..Default::default()
    };
    node.call(&sys::REQBUFS, &mut request, mode)?;
    for index in 0..request.count.min(MAX_BUFFERS) {
        let mut buffer = Buffer::of(node.queue, index);
        node.call(&sys::QUERYBUF, &mut buffer, mode)?;
        let planes = buffer.planes().iter().map(|plane| node.handle.map(plane, Access::Read));
        let planes: io::Result<Vec<_>> = planes.collect();
        buffers.push(planes.map_err(|source| node.failed("mmap", source, mode))?);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_camera_offers_no_mode() {
        let null: std::os::fd::OwnedFd = std::fs::File::open("/dev/null").unwrap().into();
        let idle = Idle::new(null, "/dev/null", (640, 480));
        assert_eq!(idle.modes().count(), 0);
        assert!(idle.no_mode().to_string().starts_with("/dev/null: offers no format that we can take (YUYV"));
    }
}
