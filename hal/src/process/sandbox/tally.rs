//! How often which system call was refused: a page that a child counts in and the supervisor reads.

use crate::process::{add_seals, create_memfd};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::AtomicU32;

/// Counters, by the number of the call; the last is for all that have higher ones.
pub(super) const CALLS: usize = 512;
const BYTES: usize = CALLS * size_of::<AtomicU32>();

/// The counts of one child. They are its own to spoil, and nothing but a number is ever made of them.
#[derive(Debug)]
pub struct Tally(File);

impl Tally {
    /// All zero, and never larger or smaller.
    pub fn new() -> io::Result<Self> {
        let file = File::from(create_memfd("refused")?);
        file.set_len(BYTES as u64)?;
        add_seals(file.as_fd(), libc::F_SEAL_SHRINK | libc::F_SEAL_GROW | libc::F_SEAL_SEAL)?;
        Ok(Self(file))
    }

    /// Names and counts of the calls that were refused.
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    pub fn refused(&self) -> Vec<(String, u32)> {
        use std::os::unix::fs::FileExt;
        let mut bytes = [0; BYTES];
        // What cannot be read was not counted.
        let _ = self.0.read_exact_at(&mut bytes, 0);
        let counts = bytes.as_chunks().0.iter().map(|count| u32::from_ne_bytes(*count));
        let counted = counts.enumerate().filter(|(_, count)| *count > 0);
        counted.map(|(number, count)| (super::calls::name(number), count)).collect()
    }

    /// Nothing is refused without a filter.
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    pub fn refused(&self) -> Vec<(String, u32)> {
        Vec::new()
    }

    /// The counters in memory, for good.
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    pub(super) fn map(&self) -> io::Result<*const AtomicU32> {
        use std::os::fd::AsRawFd;
        let (protection, fd) = (libc::PROT_READ | libc::PROT_WRITE, self.0.as_raw_fd());
        // SAFETY: a new mapping of a file that keeps its size.
        let at = unsafe { libc::mmap(std::ptr::null_mut(), BYTES, protection, libc::MAP_SHARED, fd, 0) };
        if at == libc::MAP_FAILED { Err(io::Error::last_os_error()) } else { Ok(at.cast_const().cast()) }
    }
}

impl AsFd for Tally {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl From<OwnedFd> for Tally {
    fn from(fd: OwnedFd) -> Self {
        Self(fd.into())
    }
}
