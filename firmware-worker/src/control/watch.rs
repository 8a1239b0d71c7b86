//! Readiness of our own descriptors in tokio.

use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use tokio::io::unix::AsyncFd;

/// Something that owns its descriptor for as long as it lives, as [`AsFd`] promises.
#[derive(Debug)]
pub struct Owned<T>(pub T);

impl<T: AsFd> AsRawFd for Owned<T> {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

/// Registers `inner` with the current runtime.
pub fn watch<T: AsFd>(inner: T) -> io::Result<AsyncFd<Owned<T>>> {
    // The constructor is deprecated because an arbitrary `AsRawFd` may lie about its descriptor; `Owned` cannot, and
    // its successor is `unsafe`.
    #[allow(deprecated)]
    AsyncFd::new(Owned(inner))
}
