//! Files and block devices, as far as std does not reach.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

/// Drops what the page cache holds of `file`, so that the next read comes from the medium. What is not flushed stays.
pub fn drop_cache(file: &File) -> io::Result<()> {
    // SAFETY: takes a descriptor that is open and three numbers; no memory of ours.
    match unsafe { libc::posix_fadvise(file.as_raw_fd(), 0, 0, libc::POSIX_FADV_DONTNEED) } {
        0 => Ok(()),
        // The call returns its error.
        code => Err(io::Error::from_raw_os_error(code)),
    }
}
