//! Wakes a reader of a ring without ever waiting for it: one byte over a socketpair.
//!
//! Not an eventfd: its file description is shared, so a reader could clear O_NONBLOCK on it and fill it. Here the
//! non-blocking flag is part of each call, and a full socket means that the reader has been rung already.

use std::io;
use std::net::Shutdown;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;

/// The writer's end.
#[derive(Debug)]
pub struct Doorbell(UnixStream);

/// What became of a ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rung {
    /// A byte is waiting for the reader, this one or an earlier one.
    Waiting,
    /// Nobody holds the other end any more.
    Gone,
}

impl Doorbell {
    /// A doorbell and the end to wait on: a non-blocking stream that gives one byte a ring.
    pub fn new() -> io::Result<(Self, OwnedFd)> {
        let (bell, listener) = UnixStream::pair()?;
        bell.shutdown(Shutdown::Read)?;
        listener.set_nonblocking(true)?;
        Ok((Self(bell), listener.into()))
    }

    /// Rings; returns at once whatever the other side does.
    pub fn ring(&self) -> Rung {
        let byte = [1u8];
        // SAFETY: the buffer is valid for its one byte, the descriptor is open as long as `self`. Needed because std
        // has no send with MSG_DONTWAIT.
        let sent = unsafe {
            libc::send(self.0.as_raw_fd(), byte.as_ptr().cast(), byte.len(), libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL)
        };
        if sent >= 0 {
            return Rung::Waiting;
        }
        match io::Error::last_os_error().kind() {
            io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset | io::ErrorKind::NotConnected => Rung::Gone,
            _ => Rung::Waiting,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::time::{Duration, Instant};

    #[test]
    fn a_listener_that_never_drains_and_floods_back_costs_the_ringer_nothing() {
        let (bell, listener) = Doorbell::new().unwrap();
        let mut listener = UnixStream::from(listener);
        while listener.write(&[0; 4096]).is_ok() {}
        listener.set_nonblocking(false).unwrap();
        let start = Instant::now();
        for _ in 0..100_000 {
            assert_eq!(bell.ring(), Rung::Waiting);
        }
        assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
        assert_eq!(listener.read(&mut [0; 16]).unwrap(), 16);
    }

    #[test]
    fn a_closed_listener_is_told_apart() {
        let (bell, listener) = Doorbell::new().unwrap();
        assert_eq!(bell.ring(), Rung::Waiting);
        drop(listener);
        assert_eq!(bell.ring(), Rung::Gone);
    }
}
