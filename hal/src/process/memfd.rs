//! Anonymous files that are sealed before they are passed on.

use super::check;
use std::ffi::CString;
use std::fs::File;
use std::io::{Error, ErrorKind, Result, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::fs::FileExt;

const FROZEN: libc::c_int = libc::F_SEAL_SHRINK | libc::F_SEAL_GROW | libc::F_SEAL_WRITE;

/// A sealed memfd with these bytes, for messages that do not fit a packet.
pub fn sealed_memfd(name: &str, bytes: &[u8]) -> Result<OwnedFd> {
    let fd = create(name)?;
    let mut file = File::from(fd);
    file.write_all(bytes)?;
    add_seals(file.as_fd(), FROZEN | libc::F_SEAL_SEAL)?;
    Ok(file.into())
}

/// Reads a sealed memfd of at most `limit` bytes; refuses one that could still change or shrink.
pub fn read_sealed(fd: OwnedFd, limit: usize) -> Result<Vec<u8>> {
    if seals(fd.as_fd())? & FROZEN != FROZEN {
        return Err(Error::new(ErrorKind::PermissionDenied, "the memfd is not sealed"));
    }
    let file = File::from(fd);
    let size = file.metadata()?.len();
    if size > limit as u64 {
        return Err(Error::new(ErrorKind::FileTooLarge, format!("a memfd of {size} bytes (limit {limit})")));
    }
    let mut bytes = vec![0; size as usize];
    file.read_exact_at(&mut bytes, 0)?;
    Ok(bytes)
}

/// An empty memfd that can be sealed, close-on-exec, never executable where the kernel can promise that (6.3).
pub(crate) fn create(name: &str) -> Result<OwnedFd> {
    let name = CString::new(name)?;
    let flags = libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING;
    let open = |flags| {
        // SAFETY: `name` is a string that ends in NUL.
        check(unsafe { libc::memfd_create(name.as_ptr(), flags) })
    };
    let fd = match open(flags | libc::MFD_NOEXEC_SEAL) {
        Err(e) if e.raw_os_error() == Some(libc::EINVAL) => open(flags),
        other => other,
    }?;
    // SAFETY: just made, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

pub(crate) fn add_seals(fd: BorrowedFd<'_>, seals: libc::c_int) -> Result<()> {
    // SAFETY: takes numbers only.
    check(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_ADD_SEALS, seals) }).map(drop)
}

pub(crate) fn seals(fd: BorrowedFd<'_>) -> Result<libc::c_int> {
    // SAFETY: takes numbers only.
    check(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_GET_SEALS) })
}
