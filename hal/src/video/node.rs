//! An open capture node with its name: format, rate and the meaning of its failures.

use super::modes::{Offer, format_of, milli_fps};
use super::sys::{self, Argument, Buffer, Fraction, Queue, Request};
use super::{Error, Handle, Mode, PixelFormat};
use std::io;

/// A video node and its name.
#[derive(Debug)]
pub(super) struct Node {
    pub handle: Handle,
    pub path: String,
    pub queue: Queue,
}

impl Node {
    /// Sets what was chosen; the driver answers with what it does instead, where it cannot do what it was asked for.
    pub(super) fn set_format(&self, offer: Offer) -> Result<(sys::Format, PixelFormat), Error> {
        let mut format = sys::Format {
            width: offer.mode.width,
            height: offer.mode.height,
            pixelformat: offer.fourcc,
            field: sys::FIELD_NONE,
            ..sys::Format::of(self.queue)
        };
        self.call(&sys::S_FMT, &mut format, offer.mode)?;
        match format_of(format.pixelformat) {
            Some(taken) if format.width > 0 && format.height > 0 => Ok((format, taken)),
            _ => Err(Error::NoMode(self.path.clone(), super::modes::TAKEN)),
        }
    }

    /// Asks for a rate and returns what the driver answers; `None` where it cannot set one.
    pub(super) fn set_rate(&self, wanted_milli_fps: u32) -> Option<u32> {
        let mut parameters = sys::StreamParameters::of(self.queue);
        self.handle.ioctl(&sys::G_PARM, &mut parameters).ok()?;
        if parameters.capability & sys::CAP_TIME_PER_FRAME != 0 {
            parameters.time_per_frame = Fraction { numerator: 1000, denominator: wanted_milli_fps.max(1) };
            self.handle.ioctl(&sys::S_PARM, &mut parameters).ok()?;
        }
        milli_fps(parameters.time_per_frame)
    }

    /// Gives a buffer of so many planes to the driver.
    pub(super) fn queue_buffer(&self, index: u32, planes: usize) -> io::Result<()> {
        let mut buffer = Buffer::of(self.queue, index);
        buffer.count = planes;
        self.handle.ioctl(&sys::QBUF, &mut buffer)
    }

    /// A call while starting in `mode`.
    pub(super) fn call<T: Argument>(&self, request: &Request<T>, value: &mut T, mode: Mode) -> Result<(), Error> {
        self.handle.ioctl(request, value).map_err(|source| self.failed(request.name, source, mode))
    }

    /// Failures while starting in `mode`.
    pub(super) fn failed(&self, call: &'static str, source: io::Error, mode: Mode) -> Error {
        let path = self.path.clone();
        match source.raw_os_error() {
            Some(libc::EBUSY) => Error::Busy(path),
            Some(libc::ENOSPC) => Error::NoBandwidth { path, mode },
            // uvcvideo says so where no setting of the camera's is fast enough for the mode, and ENOSPC only where the bus
            // has less than the setting that is.
            Some(libc::EIO) if call == sys::STREAMON.name => Error::NotStarted { path, mode, source },
            Some(libc::ENOMEM) => Error::NoMemory { path, mode },
            Some(libc::ENODEV | libc::ENXIO) => Error::Gone { path, source },
            _ => Error::Call { path, call, source },
        }
    }

    /// Failures while running.
    pub(super) fn gone(&self, source: io::Error) -> Error {
        Error::Gone { path: self.path.clone(), source }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_tell_what_to_do_about_them() {
        let fd: std::os::fd::OwnedFd = std::fs::File::open("/dev/null").unwrap().into();
        let node = Node { handle: fd.into(), path: "/dev/video9".to_owned(), queue: Queue::Capture };
        let mode = Mode { format: PixelFormat::Yuyv, width: 1280, height: 720, milli_fps: 30_000 };
        let error = |errno| node.failed("VIDIOC_STREAMON", io::Error::from_raw_os_error(errno), mode);
        assert!(matches!(error(libc::EBUSY), Error::Busy(path) if path == "/dev/video9"));
        let bandwidth = error(libc::ENOSPC).to_string();
        assert!(bandwidth.starts_with("/dev/video9: no USB bandwidth left for YUYV 1280x720@30; lower"), "{bandwidth}");
        let memory = error(libc::ENOMEM).to_string();
        assert!(memory.starts_with("/dev/video9: no memory for the buffers of YUYV 1280x720@30: CMA is"), "{memory}");
        assert!(memory.contains("raise `cma=`"), "{memory}");
        assert!(matches!(error(libc::ENODEV), Error::Gone { .. }));
        let doubtful = error(libc::EIO).to_string();
        assert!(
            doubtful.starts_with("/dev/video9: YUYV 1280x720@30 was not started (Input/output error"),
            "{doubtful}"
        );
        assert!(doubtful.contains("USB bandwidth; lower width"), "{doubtful}");
        let elsewhere = node.failed("VIDIOC_REQBUFS", io::Error::from_raw_os_error(libc::EIO), mode);
        assert!(matches!(elsewhere, Error::Call { call: "VIDIOC_REQBUFS", .. }));
        assert!(matches!(error(libc::EINVAL), Error::Call { call: "VIDIOC_STREAMON", .. }));
    }
}
