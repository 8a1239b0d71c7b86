//! The files that a child sees: a small root of read-only directories, a private `/tmp`, a few device nodes.
//!
//! Directories are bound, never files that others replace by renaming: `resolv.conf`, a card's nodes and certificates stay
//! those of the system while the child runs.

use crate::process::check;
use crate::process::sandbox::cover::cover;
use crate::process::sandbox::read_only::read_only;
use crate::process::sandbox::{PLAIN, Sandbox, mount};
use std::fs::{self, File, Permissions};
use std::io::{self, Error, ErrorKind};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

/// What every program may need: itself, libraries, certificates, time zones, names.
const SYSTEM: [&str; 8] = ["/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/etc"];

/// Where those that replace `resolv.conf` keep it: systemd-resolved, NetworkManager, resolvconf, ConnMan.
const RESOLVERS: [&str; 4] = ["/run/systemd/resolve", "/run/NetworkManager", "/run/resolvconf", "/run/connman"];

/// Nodes of sound cards, and what tells which card is which.
const SOUND: &str = "/dev/snd";
const SYSFS: &str = "/sys";

/// Parts of it that tell of the system and of others.
const HIDDEN: [&str; 2] = ["/sys/fs", "/sys/kernel"];

/// Where the new root is put together, and the old one's `/tmp`.
const ROOT: &str = "/tmp";

/// Places for mounts, and nothing else: `size`, and inodes.
const SKELETON: &str = "mode=755,size=256k,nr_inodes=1k";

/// What may be done with a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    /// Read, list, run.
    Read,
    /// Device nodes.
    Device,
    /// Anything: it is private.
    Write,
}

/// See the module.
#[derive(Debug)]
pub(super) struct View {
    places: Vec<(PathBuf, Access)>,
    hidden: Vec<PathBuf>,
    /// Bytes of the private `/tmp`.
    temporary: u64,
    sound: bool,
    /// Names in `/etc` that the configuration adds.
    granted: Vec<String>,
}

impl View {
    /// Those places that there are; without what is `hidden` in them.
    pub(super) fn new(Sandbox { paths, hidden, devices, sound, temporary, .. }: &Sandbox) -> Self {
        let (devices, sound) = (*devices, *sound);
        if sound {
            // So that a card that comes later is seen. It stays, as the kernel removes only what it has made: so everybody
            // may enter it, as if the kernel had.
            let _ = fs::create_dir(SOUND).and_then(|()| fs::set_permissions(SOUND, Permissions::from_mode(0o755)));
        }
        let read = SYSTEM.iter().map(PathBuf::from).chain(resolvers()).chain(paths.iter().cloned());
        let read = read.chain(devices.then(|| SYSFS.into())).map(|path| (path, Access::Read));
        let nodes = PLAIN.iter().map(|name| Path::new("/dev").join(name)).chain(sound.then(|| SOUND.into()));
        let places = read.chain(nodes.map(|path| (path, Access::Device)));
        let places = places.filter(|(path, _)| path.symlink_metadata().is_ok());
        let hidden = hidden.iter().cloned().chain(HIDDEN.map(PathBuf::from)).collect();
        let granted = paths.iter().filter_map(|path| path.strip_prefix("/etc").ok()?.components().next());
        let granted = granted.map(|name| name.as_os_str().to_string_lossy().into_owned()).collect();
        Self { places: places.collect(), hidden, temporary: *temporary, sound, granted }
    }

    /// Every place and what may be done with it.
    pub(super) fn places(&self) -> impl Iterator<Item = (&Path, Access)> {
        let more = [("/proc", Access::Read), ("/tmp", Access::Write)].map(|(path, access)| (Path::new(path), access));
        self.places.iter().map(|(path, access)| (path.as_path(), *access)).chain(more)
    }

    /// Makes it the whole file system of this process, which is in a mount namespace of its own. The inner result says why
    /// other users' processes are not hidden in `/proc`, which is no failure of the whole.
    pub(super) fn enter(&self) -> io::Result<io::Result<()>> {
        let _umask = Umask::open();
        // What is unmounted outside goes here too; nothing that is mounted here is seen outside.
        mount("none", "/", "", libc::MS_REC | libc::MS_SLAVE, "")?;
        let sources = self.places.iter().map(|(path, _)| Source::of(path)).collect::<io::Result<Vec<_>>>()?;
        let proc = Source::of(Path::new("/proc"))?;
        let (nosuid, nodev, noexec) = (libc::MS_NOSUID, libc::MS_NODEV, libc::MS_NOEXEC);
        mount("tmpfs", ROOT, "tmpfs", nosuid | nodev, SKELETON)?;
        for ((path, access), source) in self.places.iter().zip(&sources) {
            source.show(path, *access)?;
        }
        let hides = |name: &str| self.hidden.iter().any(|hidden| *hidden == Path::new("/etc").join(name));
        let spared = |name: &str| hides(name) || self.granted.iter().any(|granted| granted == name);
        // Plugins of ALSA's library read what they like of it, and crash where they may not.
        if !self.sound {
            cover(&inside(Path::new("/etc")), &inside(Path::new("/covers")), spared)?;
        }
        for hidden in self.hidden.iter().map(|path| inside(path)).filter(|path| path.is_dir()) {
            mount("tmpfs", &hidden.to_string_lossy(), "tmpfs", libc::MS_RDONLY | nosuid | nodev, "mode=555,size=4k")?;
        }
        fs::create_dir(inside(Path::new("/proc")))?;
        let own = inside(Path::new("/proc"));
        let apart = mount("proc", &own.to_string_lossy(), "proc", nosuid | nodev | noexec, "hidepid=2");
        if apart.is_err() {
            proc.bind(&own)?;
        }
        let temporary = inside(Path::new("/tmp"));
        fs::create_dir(&temporary)?;
        let options = format!("mode=1777,size={},nr_inodes=4k", self.temporary);
        mount("tmpfs", &temporary.to_string_lossy(), "tmpfs", nosuid | nodev | noexec, &options)?;
        links()?;
        mount("none", ROOT, "", libc::MS_REMOUNT | libc::MS_BIND | libc::MS_RDONLY | nosuid | nodev, "")?;
        become_root()?;
        Ok(apart)
    }
}

/// Where a child that is started now finds `resolv.conf`. One that is there only later, it never sees.
pub fn resolvers() -> Vec<PathBuf> {
    let kept = RESOLVERS.iter().map(PathBuf::from).filter(|path| path.symlink_metadata().is_ok());
    kept.chain(resolver()).collect()
}

/// The directory that `resolv.conf` is really in, wherever that is: but not one that holds everybody's.
fn resolver() -> Option<PathBuf> {
    let directory = fs::canonicalize("/etc/resolv.conf").ok()?.parent()?.to_owned();
    let shared = ["/", "/run", "/var", "/tmp", "/dev", "/proc", "/sys", "/home", "/root"];
    let seen = SYSTEM.iter().chain(&RESOLVERS).chain(&shared).any(|path| directory == Path::new(path));
    (!seen).then_some(directory)
}

/// What is shown, opened before the new root hides it.
enum Source {
    Link(PathBuf),
    Place { fd: OwnedFd, directory: bool },
}

impl Source {
    fn of(path: &Path) -> io::Result<Self> {
        if let Ok(target) = fs::read_link(path) {
            return Ok(Self::Link(target));
        }
        let named = |error: Error| Error::new(error.kind(), format!("open {}: {error}", path.display()));
        let file = File::options().read(true).custom_flags(libc::O_PATH).open(path).map_err(named)?;
        let directory = file.metadata().map_err(named)?.is_dir();
        Ok(Self::Place { fd: file.into(), directory })
    }

    fn show(&self, path: &Path, access: Access) -> io::Result<()> {
        let target = inside(path);
        // A place within one that is shown already, which shows it.
        if target.symlink_metadata().is_ok() {
            return Ok(());
        }
        target.parent().map_or(Ok(()), fs::create_dir_all)?;
        match self {
            Self::Link(to) => return symlink(to, &target),
            Self::Place { directory: true, .. } => fs::create_dir(&target)?,
            Self::Place { directory: false, .. } => fs::write(&target, "")?,
        }
        self.bind(&target)?;
        match access {
            Access::Read => read_only(&target.to_string_lossy()),
            Access::Device | Access::Write => Ok(()),
        }
    }

    fn bind(&self, target: &Path) -> io::Result<()> {
        let Self::Place { fd, .. } = self else { return Err(ErrorKind::InvalidInput.into()) };
        let source = format!("/proc/self/fd/{}", fd.as_raw_fd());
        mount(&source, &target.to_string_lossy(), "", libc::MS_BIND | libc::MS_REC, "")
    }
}

/// While it lives, everybody may enter the directories that are made: the umask comes from whoever started the worker, and
/// the child gives up the user that makes them.
struct Umask(libc::mode_t);

impl Umask {
    fn open() -> Self {
        // SAFETY: takes a number and cannot fail.
        Self(unsafe { libc::umask(0o022) })
    }
}

impl Drop for Umask {
    fn drop(&mut self) {
        // SAFETY: takes a number and cannot fail.
        unsafe { libc::umask(self.0) };
    }
}

/// What programs take for granted.
fn links() -> io::Result<()> {
    for (name, target) in [("fd", ""), ("stdin", "/0"), ("stdout", "/1"), ("stderr", "/2")] {
        symlink(format!("/proc/self/fd{target}"), inside(Path::new("/dev")).join(name))?;
    }
    fs::create_dir_all(inside(Path::new("/var")))?;
    symlink("/run", inside(Path::new("/var/run"))).or(Ok(()))
}

fn inside(path: &Path) -> PathBuf {
    Path::new(ROOT).join(path.strip_prefix("/").unwrap_or(path))
}

/// The tree at [`ROOT`] becomes `/`, and the old one is gone.
fn become_root() -> io::Result<()> {
    std::env::set_current_dir(ROOT)?;
    let here = c".".as_ptr();
    // SAFETY: strings that end in NUL.
    let moved = unsafe { check(libc::syscall(libc::SYS_pivot_root, here, here) as libc::c_int) };
    match moved {
        // The old root lies over the new one.
        // SAFETY: a string that ends in NUL.
        Ok(_) => check(unsafe { libc::umount2(here, libc::MNT_DETACH) }).map(drop)?,
        // A system that lives in its initial RAM disk has a root that cannot be exchanged, only covered.
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
            mount(".", "/", "", libc::MS_MOVE, "")?;
            // SAFETY: a string that ends in NUL.
            check(unsafe { libc::chroot(here) })?;
        }
        Err(error) => return Err(Error::new(error.kind(), format!("pivot_root: {error}"))),
    }
    std::env::set_current_dir("/")
}
