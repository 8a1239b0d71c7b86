//! Mounts that nobody writes to.

use crate::process::check;
use crate::process::sandbox::mount;
use std::collections::BTreeMap;
use std::ffi::CString;
use std::fs;
use std::io::{self, Error};
use std::mem::size_of;
use std::path::Path;

/// What the kernel tells of a mount that a change of it must keep, and the flag of mount(2).
const KEPT: [(&str, libc::c_ulong); 3] =
    [("nodev", libc::MS_NODEV), ("noexec", libc::MS_NOEXEC), ("nosymfollow", MS_NOSYMFOLLOW)];

/// Of linux/mount.h, since Linux 5.10.
const MS_NOSYMFOLLOW: libc::c_ulong = 1 << 8;

/// How the kernel says that a place is not to be reached, or is no mount: another one lies over it.
const HIDDEN: [io::ErrorKind; 2] = [io::ErrorKind::NotFound, io::ErrorKind::InvalidInput];

/// `path`, where something is mounted, and every mount below it; no program there gives rights either.
pub(super) fn read_only(path: &str) -> io::Result<()> {
    match at_once(path) {
        Err(error) if error.raw_os_error() == Some(libc::ENOSYS) => one_by_one(Path::new(path)),
        taken => taken,
    }
}

/// `struct mount_attr` of linux/mount.h
#[repr(C)]
#[derive(Default)]
struct Attributes {
    set: u64,
    clear: u64,
    propagation: u64,
    userns_fd: u64,
}

/// mount_setattr(2), since Linux 5.12.
fn at_once(path: &str) -> io::Result<()> {
    /// `AT_RECURSIVE`
    const RECURSIVE: libc::c_uint = 0x8000;
    /// `MOUNT_ATTR_RDONLY`, `MOUNT_ATTR_NOSUID`
    const READ_ONLY: u64 = 0x1 | 0x2;
    let path = CString::new(path)?;
    let attributes = Attributes { set: READ_ONLY, ..Default::default() };
    // SAFETY: a string that ends in NUL, and a structure with its size.
    let answer = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            libc::AT_FDCWD,
            path.as_ptr(),
            RECURSIVE,
            &raw const attributes,
            size_of::<Attributes>(),
        )
    };
    check(answer as libc::c_int).map(drop)
}

/// Before Linux 5.12: the same, one mount after the other; what lies under another mount stays as it is.
fn one_by_one(path: &Path) -> io::Result<()> {
    let path = fs::canonicalize(path)?;
    let table = fs::read("/proc/self/mountinfo")?;
    // Of what is mounted over each other, the last lies on top and is what a path leads to.
    let mounts: BTreeMap<_, _> = String::from_utf8_lossy(&table).lines().filter_map(told).collect();
    if !mounts.keys().any(|place| Path::new(place) == path) {
        return Err(Error::from_raw_os_error(libc::EINVAL));
    }
    for (place, kept) in mounts.into_iter().filter(|(place, _)| Path::new(place).starts_with(&path)) {
        let flags = libc::MS_REMOUNT | libc::MS_BIND | libc::MS_RDONLY | libc::MS_NOSUID | kept;
        match mount("none", &place, "", flags, "") {
            // Nobody comes there.
            Err(error) if Path::new(&place) != path && HIDDEN.contains(&error.kind()) => {}
            taken => taken?,
        }
    }
    Ok(())
}

/// Where a line of mountinfo has something mounted, and the flags to keep (proc_pid_mountinfo(5)).
fn told(line: &str) -> Option<(String, libc::c_ulong)> {
    let mut fields = line.split(' ').skip(4);
    let (place, options) = (fields.next()?, fields.next()?);
    let kept = KEPT.iter().filter(|(name, _)| options.split(',').any(|option| option == *name));
    let place = place.replace("\\040", " ").replace("\\011", "\t").replace("\\012", "\n").replace("\\134", "\\");
    Some((place, kept.fold(0, |flags, (_, flag)| flags | flag)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_is_told_with_its_place_and_what_it_must_keep() {
        let line = r"36 35 98:0 /mnt1 /mnt\0402 rw,nosuid,nodev,noatime master:1 - ext3 /dev/root rw,noexec";
        assert_eq!(told(line), Some(("/mnt 2".into(), libc::MS_NODEV)));
        assert_eq!(told("36 35 98:0 / / ro - tmpfs none rw"), Some(("/".into(), 0)));
        assert_eq!(told(""), None);
    }
}
