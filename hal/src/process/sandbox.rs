//! What is taken from a foreign program before it runs: files to write, devices, the network, other processes, rights. What
//! our own children take from themselves is in [`layers`].
//!
//! Each layer is taken if it can be had; what cannot is told with its remedy. Called in a process of one thread, which
//! stays in it.

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
mod calls;
mod cover;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
mod filter;
mod landlock;
mod layers;
mod read_only;
mod rights;
mod tally;
mod view;

pub use layers::{Layer, Missing, Sandbox, is_call};
use read_only::read_only;
pub use rights::Limit;
pub(super) use rights::keep_only_reading;
pub use tally::Tally;
pub use view::resolvers;

use super::check;
use std::ffi::CString;
use std::fs;
use std::io::{self, Error};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::ptr::null;

/// Devices that cameras and encoders are driven by, by the beginnings of their names under `/dev`: media and video nodes,
/// buffers, and the ways to the firmware and the graphics memory of a Raspberry Pi.
const DEVICES: [&str; 9] = ["media", "video", "v4l-subdev", "dma_heap", "udmabuf", "dri", "vchiq", "vcio", "vcsm"];
/// Nodes that every program may want.
const PLAIN: [&str; 5] = ["null", "zero", "full", "random", "urandom"];

/// Where the real `/dev` is while its small copy is made.
const STASH: &str = "/tmp/dev";

/// Bytes of the private `/tmp`: what is written there is memory of the program's cgroup.
const TEMPORARY: &str = "mode=1777,size=16m";

/// Descriptors that a program may have open: as many as the system gives to who does not ask for more. Cameras have dozens of
/// buffers.
const MAX_FILES: u64 = 1024;

/// The user and the group without rights, if `/etc/passwd` and `/etc/group` name none.
const NOBODY: u32 = 65534;

/// Whom a program runs as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rights {
    uid: u32,
    gid: u32,
    groups: Vec<u32>,
}

impl Rights {
    /// `nobody` in the groups of cameras and encoders; `None` where we are not root, and cannot become anybody else.
    pub fn of_cameras() -> Option<Self> {
        // SAFETY: takes nothing and cannot fail.
        if unsafe { libc::geteuid() } != 0 {
            return None;
        }
        let (users, groups) = (read("/etc/passwd"), read("/etc/group"));
        let group = |name| number(&groups, name);
        let gid = group("nogroup").or_else(|| group("nobody")).unwrap_or(NOBODY);
        let uid = number(&users, "nobody").unwrap_or(NOBODY);
        Some(Self { uid, gid, groups: ["video", "render"].into_iter().filter_map(group).collect() })
    }

    /// Becomes that user for good. Makes system calls only, so it may run between fork and exec.
    pub(super) fn take(&self) -> io::Result<()> {
        // SAFETY: the list and its length agree; the others take numbers.
        unsafe {
            check(libc::setgroups(self.groups.len() as _, self.groups.as_ptr()))?;
            check(libc::setresgid(self.gid, self.gid, self.gid))?;
            check(libc::setresuid(self.uid, self.uid, self.uid)).map(drop)
        }
    }
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

/// The number in the third field of the line of this name.
fn number(table: &str, name: &str) -> Option<u32> {
    let fields = table.lines().map(|line| line.split(':').collect::<Vec<_>>());
    fields.filter(|fields| fields.first() == Some(&name)).find_map(|fields| fields.get(2)?.parse().ok())
}

/// The number of a group of the system.
pub fn group(name: &str) -> Option<u32> {
    number(&read("/etc/group"), name)
}

/// Takes every layer that can be had from this process and its children, for good. The others are told: what is missing,
/// why, and the remedy.
pub fn confine() -> Vec<String> {
    let mut missing = Vec::new();
    // SAFETY: takes numbers only. Whoever started us is not left behind by us.
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
    let mut layer = |what: &str, remedy: &str, taken: io::Result<()>| {
        if let Err(error) = taken {
            missing.push(format!("{what}: {error} ({remedy})"));
        }
    };
    let root = "run the worker as root with CAP_SYS_ADMIN";
    // SAFETY: takes nothing and cannot fail.
    if unsafe { libc::getpid() } != 1 {
        layer("not apart from other processes", root, Err(io::ErrorKind::PermissionDenied.into()));
    }
    layer("files can be written, all devices are there", root, files());
    layer("the network is there", root, unshare(libc::CLONE_NEWNET | libc::CLONE_NEWIPC));
    let files = rights::Limit::Files(MAX_FILES).set();
    layer("it may open as many files as the worker", "allow the worker setrlimit", files);
    layer("its threads can come before all others", "allow the worker setrlimit", rights::keep_no_priority());
    // SAFETY: takes numbers only.
    let no_new_rights = unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
    layer("programs can gain rights", "use Linux 3.5 or newer", check(no_new_rights).map(drop));
    if Rights::of_cameras().is_none() {
        layer("it runs as the worker's user", "run the worker as root", Err(io::ErrorKind::PermissionDenied.into()));
    } else {
        // We keep what we have, to become somebody else for the program, which gets nothing back by whatever it executes.
        let remedy = "add CAP_SETPCAP to the bounding set of the worker's unit";
        layer("programs of root can gain rights", remedy, rights::drop_bounding_set(0));
    }
    missing
}

/// Gives up for good what only starting the program took: from now on we may signal it, whoever it is, and no more.
pub fn keep_only_signals() -> io::Result<()> {
    /// `CAP_KILL`
    const KILL: u32 = 5;
    rights::keep_capabilities(1 << KILL)
}

fn unshare(what: libc::c_int) -> io::Result<()> {
    // SAFETY: takes numbers only; no thread shares what is left.
    check(unsafe { libc::unshare(what) }).map(drop)
}

/// All files to read only, a `/tmp` and a `/proc` of its own, of `/dev` what cameras need.
fn files() -> io::Result<()> {
    unshare(libc::CLONE_NEWNS)?;
    mount("none", "/", "", libc::MS_REC | libc::MS_PRIVATE, "")?;
    read_only("/")?;
    let (nosuid, nodev, noexec) = (libc::MS_NOSUID, libc::MS_NODEV, libc::MS_NOEXEC);
    mount("tmpfs", "/tmp", "tmpfs", nosuid | nodev, TEMPORARY)?;
    // Without one of its own, the program sees others' names there and can still do nothing to them.
    let _ = mount("proc", "/proc", "proc", nosuid | nodev | noexec, "");
    fs::create_dir(STASH)?;
    mount("/dev", STASH, "", libc::MS_BIND | libc::MS_REC, "")?;
    mount("tmpfs", "/dev", "tmpfs", nosuid, "mode=755,size=64k")?;
    for entry in fs::read_dir(STASH)?.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if PLAIN.contains(&name.as_str()) || DEVICES.iter().any(|device| name.starts_with(device)) {
            show(&entry.path(), &Path::new("/dev").join(&name))?;
        }
    }
    for (name, target) in [("fd", ""), ("stdin", "/0"), ("stdout", "/1"), ("stderr", "/2")] {
        symlink(format!("/proc/self/fd{target}"), Path::new("/dev").join(name))?;
    }
    unmount(Path::new(STASH))?;
    fs::remove_dir(STASH)
}

/// One node, or a directory of them.
fn show(from: &Path, to: &Path) -> io::Result<()> {
    if from.is_dir() {
        fs::create_dir(to)?;
    } else {
        fs::write(to, "")?;
    }
    mount(&from.to_string_lossy(), &to.to_string_lossy(), "", libc::MS_BIND | libc::MS_REC, "")
}

fn mount(source: &str, target: &str, kind: &str, flags: libc::c_ulong, options: &str) -> io::Result<()> {
    let [source, target, kind, options] = [source, target, kind, options].map(CString::new);
    let (source, target, kind, options) = (source?, target?, kind?, options?);
    let kind = if kind.is_empty() { null() } else { kind.as_ptr() };
    // SAFETY: strings that end in NUL, or null where the kernel takes that.
    check(unsafe { libc::mount(source.as_ptr(), target.as_ptr(), kind, flags, options.as_ptr().cast()) })
        .map(drop)
        .map_err(|error| Error::new(error.kind(), format!("mount {}: {error}", target.to_string_lossy())))
}

/// Takes a mount away; what is in use of it stays until it is not.
fn unmount(path: &Path) -> io::Result<()> {
    let path = CString::new(path.as_os_str().as_encoded_bytes())?;
    // SAFETY: a string that ends in NUL.
    check(unsafe { libc::umount2(path.as_ptr(), libc::MNT_DETACH) }).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_found_by_name_in_the_systems_tables() {
        let groups = "root:x:0:\nvideo:x:44:pi,anna\nvideos:x:45:\nrender:x:broken:\n";
        assert_eq!(number(groups, "video"), Some(44));
        assert_eq!(number(groups, "render"), None);
        assert_eq!(number(groups, "vide"), None);
    }
}
