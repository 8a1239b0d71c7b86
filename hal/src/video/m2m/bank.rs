//! The buffers of one queue, and who has each.

use super::error::{Error, Place};
use crate::video::Handle;
use crate::video::handle::{Access, Mapped};
use crate::video::sys::{self, Buffer, Memory, Queue, RequestBuffers};
use std::io;

/// What drivers may raise a wanted number of buffers to.
const MAX_BUFFERS: u32 = 32;

/// All buffers of a queue.
#[derive(Debug)]
pub(super) struct Bank {
    pub queue: Queue,
    pub memory: Memory,
    /// Of the driver's own buffers, what each plane is in our memory; nothing of another driver's.
    pub planes: Vec<Vec<Mapped>>,
    /// Buffers.
    pub count: u32,
    /// Those that the driver does not have.
    pub free: Vec<u32>,
}

impl Bank {
    /// Asks for that many, and maps those of the driver itself.
    pub(super) fn request(
        handle: &Handle,
        place: Place<'_>,
        (queue, memory, access): (Queue, Memory, Access),
        wanted: u32,
    ) -> Result<Self, Error> {
        let failed = |call| move |source| place.failed(call, source);
        let mut request =
            RequestBuffers { count: wanted, kind: queue.kind(), memory: memory as u32, ..Default::default() };
        handle.ioctl(&sys::REQBUFS, &mut request).map_err(failed(sys::REQBUFS.name))?;
        let count = request.count.min(MAX_BUFFERS);
        let mut planes = Vec::new();
        if memory == Memory::Mmap {
            for index in 0..count {
                let mut buffer = Buffer::of(queue, index);
                handle.ioctl(&sys::QUERYBUF, &mut buffer).map_err(failed(sys::QUERYBUF.name))?;
                let mapped: io::Result<Vec<_>> =
                    buffer.planes().iter().map(|plane| handle.map(plane, access)).collect();
                planes.push(mapped.map_err(failed("mmap"))?);
            }
        }
        Ok(Self { queue, memory, planes, count, free: (0..count).collect() })
    }

    /// Bytes of the driver's own buffers.
    pub(super) fn bytes(&self) -> u64 {
        self.planes.iter().flatten().map(|plane| plane.len() as u64).sum()
    }

    /// Hands a buffer to the driver.
    pub(super) fn give(&mut self, handle: &Handle, buffer: &mut Buffer) -> io::Result<()> {
        let index = buffer.index;
        handle.ioctl(&sys::QBUF, buffer)?;
        self.free.retain(|free| *free != index);
        Ok(())
    }

    /// A buffer that the driver has done with, if there is one. After the last one of a stream drivers answer EPIPE.
    pub(super) fn take_back(&mut self, handle: &Handle) -> io::Result<Option<Buffer>> {
        let mut buffer = Buffer { memory: self.memory, ..Buffer::of(self.queue, 0) };
        match handle.ioctl(&sys::DQBUF, &mut buffer) {
            Ok(()) if buffer.index < self.count => {
                self.free.push(buffer.index);
                Ok(Some(buffer))
            }
            Ok(()) => Err(io::Error::from_raw_os_error(libc::EINVAL)),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(e) => Err(e),
        }
    }
}

/// Starts or stops a queue.
pub(super) fn stream(handle: &Handle, queue: Queue, on: bool) -> io::Result<()> {
    let mut number = queue.kind() as libc::c_int;
    handle.ioctl(if on { &sys::STREAMON } else { &sys::STREAMOFF }, &mut number)
}

/// Frees a queue's buffers. Failures do not matter: closing the file frees them as well.
pub(super) fn release(handle: &Handle, queue: Queue, memory: Memory) {
    let mut none = RequestBuffers { kind: queue.kind(), memory: memory as u32, ..Default::default() };
    let _ = handle.ioctl(&sys::REQBUFS, &mut none);
}
