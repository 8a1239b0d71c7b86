//! A board for this test alone: what it mounts and makes is seen by no other process.

use std::ffi::CString;
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::ptr::null;

/// The group of sound cards.
pub const AUDIO: u32 = 29;
/// A directory that the configuration grants.
pub const GRANTED: &str = "/run/granted";
/// A file system in it that everybody may write to.
pub const GRANTED_BELOW: &str = "/run/granted/below";
/// Another, among the configuration of others.
pub const GRANTED_IN_ETC: &str = "/etc/granted";
/// Where a token is.
pub const SECRETS: &str = "/etc/firmware-worker";
/// A directory of which everybody may do what he likes.
pub const OPEN: &str = "/run/open";
/// Tells the pid of another child.
pub const VICTIM: &str = "/run/granted/victim";

/// `major`, `minor`, mode and group of devices: those that all programs may have, a camera, and a card.
const NODES: [(&str, u32, u32, u32, u32); 7] = [
    ("null", 1, 3, 0o666, 0),
    ("zero", 1, 5, 0o666, 0),
    ("full", 1, 7, 0o666, 0),
    ("random", 1, 8, 0o666, 0),
    ("urandom", 1, 9, 0o666, 0),
    // What it is does not matter to who may open it.
    ("video0", 1, 5, 0o666, 0),
    ("snd/controlC0", 1, 5, 0o660, AUDIO),
];

/// Makes it.
pub fn build() {
    be_generous();
    // SAFETY: takes numbers only; this process has one thread.
    assert_eq!(unsafe { libc::unshare(libc::CLONE_NEWNS) }, 0, "a mount namespace");
    mount(null(), "/", libc::MS_REC | libc::MS_PRIVATE);
    for place in ["/dev", "/etc", "/run"] {
        fs::create_dir_all(place).expect("a root that can be written, or has it");
        mount(c"tmpfs".as_ptr(), place, 0);
    }
    fs::create_dir("/dev/snd").expect("an empty /dev");
    // TOMOYO of Linux 5.10 looks there for a program that is started by its descriptor.
    symlink("/proc/self/fd", "/dev/fd").expect("an empty /dev");
    for (name, major, minor, mode, group) in NODES {
        node(name, major, minor, mode, group);
    }
    for directory in [GRANTED_BELOW, GRANTED_IN_ETC, SECRETS, "/etc/ssl", "/etc/ssh", "/run/systemd/resolve"] {
        fs::create_dir_all(directory).expect("an empty tree");
    }
    mount(c"tmpfs".as_ptr(), GRANTED_BELOW, 0);
    fs::set_permissions(GRANTED_BELOW, Permissions::from_mode(0o777)).expect("it is ours");
    fs::write("/run/systemd/resolve/stub-resolv.conf", "nameserver 192.0.2.1").expect("an empty /run");
    symlink("../run/systemd/resolve/stub-resolv.conf", "/etc/resolv.conf").expect("an empty /etc");
    fs::write("/etc/hosts", "192.0.2.9 board").expect("an empty /etc");
    fs::write("/etc/passwd", "root:x:0:0").expect("an empty /etc");
    fs::write(Path::new(GRANTED_IN_ETC).join("file"), "granted").expect("an empty /etc");
    // For everybody to read: what hides it must be the view.
    fs::write(Path::new(SECRETS).join("token"), "secret").expect("an empty /etc");
    fs::write(VICTIM, "0").expect("an empty /run");
    fs::write("/run/private", "secret").expect("an empty /run");
    fs::create_dir(OPEN).expect("an empty /run");
    fs::write(Path::new(OPEN).join("file"), "open").expect("an empty /run");
    fs::set_permissions(OPEN, Permissions::from_mode(0o777)).expect("it is ours");
    fs::write("/tmp/fw-other", "secret").expect("a /tmp");
}

/// As a unit may be that gives a worker real-time priority and locked memory: all that it starts has them too.
fn be_generous() {
    for (resource, value) in [(libc::RLIMIT_RTPRIO, 20), (libc::RLIMIT_MEMLOCK, libc::RLIM_INFINITY)] {
        let limit = libc::rlimit { rlim_cur: value, rlim_max: value };
        // SAFETY: a valid structure. A container that allows no more than it has shows less.
        unsafe { libc::setrlimit(resource, &limit) };
    }
}

/// A device that comes.
pub fn node(name: &str, major: u32, minor: u32, mode: u32, group: u32) {
    let path = CString::new(format!("/dev/{name}")).expect("no NUL");
    // SAFETY: strings that end in NUL; the mode is set apart, as the umask takes from it.
    unsafe {
        assert_eq!(libc::mknod(path.as_ptr(), libc::S_IFCHR, libc::makedev(major, minor)), 0, "node {name}");
        assert_eq!(libc::chown(path.as_ptr(), 0, group), 0, "group of {name}");
        assert_eq!(libc::chmod(path.as_ptr(), mode), 0, "mode of {name}");
    }
}

fn mount(kind: *const libc::c_char, place: &str, flags: libc::c_ulong) {
    let place = CString::new(place).expect("no NUL");
    // SAFETY: strings that end in NUL, or null where the kernel takes that.
    let answer = unsafe { libc::mount(c"none".as_ptr(), place.as_ptr(), kind, flags, null()) };
    assert_eq!(answer, 0, "mount on {place:?}: {}", std::io::Error::last_os_error());
}
