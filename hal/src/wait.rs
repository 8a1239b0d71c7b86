//! Waiting for a descriptor.

use crate::process::check;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::time::{Duration, Instant};

/// Waits until one of the poll events `wanted` has come on `fd` or it has failed, and says which; 0 after `timeout`.
pub(crate) fn ready(fd: BorrowedFd<'_>, wanted: libc::c_short, timeout: Duration) -> io::Result<libc::c_short> {
    let start = Instant::now();
    loop {
        let mut poll = libc::pollfd { fd: fd.as_raw_fd(), events: wanted, revents: 0 };
        // Rounded up: a rest below one millisecond must not become a busy loop.
        let left = timeout.saturating_sub(start.elapsed()).as_micros().div_ceil(1000);
        // SAFETY: one valid structure, and its count.
        match check(unsafe { libc::poll(&mut poll, 1, left.min(i32::MAX as u128) as libc::c_int) }) {
            Ok(_) => return Ok(poll.revents),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
}
