//! An open video node: the one place where we speak to the kernel, and where a test puts a driver of its own.

#[cfg(any(test, feature = "fake"))]
use super::fake;
use super::identity;
use super::sys::{self, Argument, Queue, Request};
use crate::process::check;
use crate::wait;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::path::Path;
use std::ptr::{NonNull, null_mut};
use std::slice::{from_raw_parts, from_raw_parts_mut};
use std::time::Duration;

/// An open video node; closed when dropped.
#[derive(Debug)]
pub struct Handle(Kind);

#[derive(Debug)]
enum Kind {
    Kernel(OwnedFd),
    #[cfg(any(test, feature = "fake"))]
    Fake(fake::File),
}

impl From<OwnedFd> for Handle {
    fn from(fd: OwnedFd) -> Self {
        #[cfg(any(test, feature = "fake"))]
        if let Some(device) = fake::behind(fd.as_fd()) {
            return device;
        }
        Self(Kind::Kernel(fd))
    }
}

#[cfg(any(test, feature = "fake"))]
impl From<fake::File> for Handle {
    fn from(file: fake::File) -> Self {
        Self(Kind::Fake(file))
    }
}

impl Handle {
    /// Calls the driver with `value` in and out.
    pub(super) fn ioctl<T: Argument>(&self, request: &Request<T>, value: &mut T) -> io::Result<()> {
        match &self.0 {
            Kind::Kernel(fd) => sys::ioctl(fd.as_fd(), request, value),
            #[cfg(any(test, feature = "fake"))]
            Kind::Fake(file) => file.ioctl(request.name, value),
        }
    }

    /// Waits until one of the poll events `wanted` has come or the device has failed, and says which; 0 after `timeout`.
    pub(super) fn poll(&self, wanted: libc::c_short, timeout: Duration) -> io::Result<libc::c_short> {
        match &self.0 {
            Kind::Kernel(fd) => wait::ready(fd.as_fd(), wanted, timeout),
            #[cfg(any(test, feature = "fake"))]
            Kind::Fake(file) => file.poll(wanted, timeout),
        }
    }

    /// Maps a plane of an mmap buffer, which QUERYBUF has named: to read what the driver writes, to write what it reads.
    pub(super) fn map(&self, plane: &sys::Plane, access: Access) -> io::Result<Mapped> {
        match &self.0 {
            Kind::Kernel(fd) => Mapped::new(fd.as_fd(), plane.place, plane.length as usize, access),
            #[cfg(any(test, feature = "fake"))]
            Kind::Fake(file) => file.map(plane, access),
        }
    }

    /// A USB camera's descriptors, and which of its interfaces this node is of.
    pub(super) fn usb_descriptors(&self) -> Option<(Vec<u8>, u8)> {
        match &self.0 {
            Kind::Kernel(fd) => identity::usb_descriptors(Path::new("/"), fd.as_fd()),
            #[cfg(any(test, feature = "fake"))]
            Kind::Fake(file) => file.usb_descriptors(),
        }
    }

    /// A plane of an mmap buffer as a DMABUF, for another driver.
    pub(super) fn export(&self, queue: Queue, index: u32, plane: u32) -> io::Result<OwnedFd> {
        let flags = libc::O_CLOEXEC as u32;
        let mut export =
            sys::ExportBuffer { kind: queue.kind(), index, plane, flags, fd: -1, ..sys::ExportBuffer::default() };
        self.ioctl(&sys::EXPBUF, &mut export)?;
        check(export.fd)?;
        // SAFETY: the driver has just made it for this call, and nobody else knows it.
        Ok(unsafe { OwnedFd::from_raw_fd(export.fd) })
    }

    /// The open file may come from the supervisor, opened as it liked; calls must not wait in the driver.
    pub(super) fn set_nonblocking(&self) -> io::Result<()> {
        match &self.0 {
            Kind::Kernel(fd) => {
                // SAFETY: flag calls on a descriptor that we own.
                let set = unsafe {
                    check(libc::fcntl(fd.as_raw_fd(), libc::F_GETFL))
                        .and_then(|flags| check(libc::fcntl(fd.as_raw_fd(), libc::F_SETFL, flags | libc::O_NONBLOCK)))
                };
                set.map(drop)
            }
            #[cfg(any(test, feature = "fake"))]
            Kind::Fake(file) => file.set_nonblocking(),
        }
    }
}

/// What a mapping is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    /// Looking at what the driver has written.
    Read,
    /// Writing what the driver is to read.
    Write,
}

/// A plane of a buffer of the driver in our memory.
#[derive(Debug)]
pub(super) struct Mapped {
    start: NonNull<u8>,
    length: usize,
    access: Access,
    /// The fake counts what is mapped.
    #[cfg(any(test, feature = "fake"))]
    pub(super) count: Option<std::sync::Arc<()>>,
}

// SAFETY: plain memory, owned by this value until it is unmapped.
unsafe impl Send for Mapped {}

impl Mapped {
    pub(super) fn new(fd: BorrowedFd<'_>, offset: u32, length: usize, access: Access) -> io::Result<Self> {
        let protection = match access {
            Access::Read => libc::PROT_READ,
            Access::Write => libc::PROT_READ | libc::PROT_WRITE,
        };
        let (fd, offset) = (fd.as_raw_fd(), offset as libc::off_t);
        // SAFETY: a new mapping, at an address that the kernel chooses; the driver checks offset and length.
        let start = unsafe { libc::mmap(null_mut(), length, protection, libc::MAP_SHARED, fd, offset) };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = NonNull::new(start.cast()).expect("mmap without a fixed address never gives 0");
        #[cfg(any(test, feature = "fake"))]
        return Ok(Self { start, length, access, count: None });
        #[cfg(not(any(test, feature = "fake")))]
        Ok(Self { start, length, access })
    }

    /// Bytes.
    pub(super) fn len(&self) -> usize {
        self.length
    }

    /// To be used only between dequeuing and queueing the buffer: then the driver leaves it alone.
    pub(super) fn bytes(&self) -> &[u8] {
        // SAFETY: mapped with this length for reading until `self` is dropped.
        unsafe { from_raw_parts(self.start.as_ptr(), self.length) }
    }

    /// As [`Mapped::bytes`]; of a mapping for reading there is nothing to write.
    pub(super) fn bytes_mut(&mut self) -> &mut [u8] {
        let length = if self.access == Access::Write { self.length } else { 0 };
        // SAFETY: mapped with at least this length for writing until `self` is dropped, and borrowed by nobody else.
        unsafe { from_raw_parts_mut(self.start.as_ptr(), length) }
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        // SAFETY: it was mapped with this length, and nothing borrows from it any more.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.length) };
    }
}
