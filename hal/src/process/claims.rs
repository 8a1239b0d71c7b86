//! Numbers that several processes share out among themselves: each is had by one of them at a time, for as long as that
//! lives. A number is a byte of a file, and to have it is to hold the lock of that byte.
//!
//! The locks belong to the open file, not to the process: they go with its descriptor to a program that takes another's
//! place.

use super::check;
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// The numbers of one process.
#[derive(Debug)]
pub struct Claims(File);

impl Claims {
    /// Of those that share this file.
    pub fn open(path: &Path) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        Ok(Self(options.create(true).truncate(false).write(true).mode(0o600).open(path)?))
    }

    /// False if another process has it; one that is ours already stays so.
    pub fn take(&self, number: u32) -> io::Result<bool> {
        match self.lock(number, libc::F_WRLCK) {
            Ok(()) => Ok(true),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::PermissionDenied) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Others may have it from now on.
    pub fn give_back(&self, number: u32) -> io::Result<()> {
        self.lock(number, libc::F_UNLCK)
    }

    fn lock(&self, number: u32, kind: libc::c_int) -> io::Result<()> {
        // SAFETY: all zeroes is a valid value; the kernel wants no process in it.
        let mut lock: libc::flock = unsafe { std::mem::zeroed() };
        (lock.l_type, lock.l_whence) = (kind as _, libc::SEEK_SET as _);
        // Where offsets have 32 bits, the kernel refuses those that do not fit.
        lock.l_start = number as libc::off_t;
        lock.l_len = 1;
        // SAFETY: a valid structure.
        check(unsafe { libc::fcntl(self.0.as_raw_fd(), libc::F_OFD_SETLK, &raw const lock) }).map(drop)
    }
}

impl AsFd for Claims {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl From<OwnedFd> for Claims {
    fn from(descriptor: OwnedFd) -> Self {
        Self(descriptor.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_had_by_one_at_a_time_and_stays_with_a_copy_of_the_descriptor() {
        let path = std::env::temp_dir().join(format!("fw-claims-{}", std::process::id()));
        let (first, second) = (Claims::open(&path).unwrap(), Claims::open(&path).unwrap());
        assert!(first.take(70_000).unwrap() && first.take(70_000).unwrap());
        assert!(!second.take(70_000).unwrap() && second.take(70_001).unwrap());
        let copy = Claims::from(first.as_fd().try_clone_to_owned().unwrap());
        drop(first);
        assert!(!second.take(70_000).unwrap());
        copy.give_back(70_000).unwrap();
        assert!(second.take(70_000).unwrap());
        drop(second);
        assert!(copy.take(70_001).unwrap());
        std::fs::remove_file(&path).unwrap();
    }
}
