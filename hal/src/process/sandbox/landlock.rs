//! Landlock: which files may be opened, and that neither signals nor abstract sockets leave the process. It repeats what
//! the mount view and the users say, where the kernel has it, and holds where they cannot be had.

use super::view::{Access, View};
use crate::process::check;
use libc::c_int;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::ptr::null;

/// `LANDLOCK_CREATE_RULESET_VERSION`
const VERSION: u32 = 1;
/// `LANDLOCK_RULE_PATH_BENEATH`
const PATH_BENEATH: c_int = 1;

/// Rights of linux/landlock.h, `LANDLOCK_ACCESS_FS_*`.
const EXECUTE: u64 = 1 << 0;
const WRITE_FILE: u64 = 1 << 1;
const READ_FILE: u64 = 1 << 2;
const READ_DIR: u64 = 1 << 3;
const TRUNCATE: u64 = 1 << 14;
const IOCTL_DEV: u64 = 1 << 15;

/// Those that a rule for a file may name.
const OF_FILES: u64 = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | IOCTL_DEV;

/// All rights over files of the first version, the second, and so on.
const RIGHTS: [u64; 5] = [(1 << 13) - 1, (1 << 14) - 1, (1 << 15) - 1, (1 << 15) - 1, (1 << 16) - 1];

/// `LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET`, `LANDLOCK_SCOPE_SIGNAL`; since the sixth version.
const SCOPES: u64 = 0b11;

/// `struct landlock_ruleset_attr`
#[repr(C)]
struct Ruleset {
    files: u64,
    network: u64,
    scoped: u64,
}

/// `struct landlock_path_beneath_attr`
#[repr(C, packed)]
struct Beneath {
    rights: u64,
    parent: c_int,
}

/// Restricts this process, which has no_new_privs, to `view` for good.
pub(super) fn apply(view: &View) -> io::Result<()> {
    // SAFETY: without a structure the call tells the version.
    let version =
        check(unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, null::<u8>(), 0, VERSION) } as c_int)?;
    let known = RIGHTS[usize::try_from(version).unwrap_or(1).clamp(1, RIGHTS.len()) - 1];
    let scoped = if version >= 6 { SCOPES } else { 0 };
    let ruleset = Ruleset { files: known, network: 0, scoped };
    // SAFETY: a structure with its size; the fields that an older kernel does not know are zero.
    let fd = unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, &raw const ruleset, size_of::<Ruleset>(), 0) };
    let fd = check(fd as c_int)?;
    // SAFETY: just made, and nobody else knows it.
    let ruleset = unsafe { OwnedFd::from_raw_fd(fd) };
    for (path, access) in view.places() {
        let Ok(place) = File::options().read(true).custom_flags(libc::O_PATH).open(path) else { continue };
        let of_kind = if place.metadata()?.is_dir() { known } else { known & OF_FILES };
        let rule = Beneath { rights: rights(access) & of_kind, parent: place.as_raw_fd() };
        // SAFETY: a ruleset and a rule of the kind that is named.
        let added = unsafe {
            libc::syscall(libc::SYS_landlock_add_rule, ruleset.as_raw_fd(), PATH_BENEATH, &raw const rule, 0)
        };
        check(added as c_int)?;
    }
    // SAFETY: takes numbers only.
    check(unsafe { libc::syscall(libc::SYS_landlock_restrict_self, ruleset.as_raw_fd(), 0) } as c_int).map(drop)
}

fn rights(access: Access) -> u64 {
    match access {
        Access::Read => EXECUTE | READ_FILE | READ_DIR,
        Access::Device => READ_FILE | WRITE_FILE | READ_DIR | IOCTL_DEV,
        Access::Write => !EXECUTE,
    }
}
