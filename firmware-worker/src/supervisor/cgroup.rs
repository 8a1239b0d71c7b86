//! A cgroup v2 leaf per child, under the subtree that the service manager has delegated to us.
//!
//! ```text
//! <own cgroup>/            delegated: memory, pids and cpu are enabled for its children
//!   supervisor             this process, since a cgroup with controllers may hold no processes of its own
//!   fw-<pid>-job-7         a job
//!   fw-<pid>-owner-2       a device owner
//! ```
//!
//! The pid in a leaf's name is the supervisor's: leaves of one that is gone are removed at the next start.

use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use tracing::warn;

/// Without these two a leaf limits nothing that matters on a board.
const NEEDED: [&str; 2] = ["memory", "pids"];

/// Welcome for accounting and weights.
const WANTED: [&str; 1] = ["cpu"];

/// Why there is no usable subtree, or no leaf.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// No cgroup v2 hierarchy, or we are not in it.
    #[error("{path}: {why}")]
    Unfit {
        /// File or directory.
        path: PathBuf,
        /// In plain words.
        why: String,
    },
    /// A file of the hierarchy could not be read, written or made.
    #[error("{call} {path}: {source}")]
    File {
        /// Operation.
        call: &'static str,
        /// Object.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// What a leaf allows; `None` for no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Limits {
    /// memory.max in bytes.
    pub memory: Option<u64>,
    /// pids.max.
    pub pids: Option<u32>,
}

/// The writable subtree.
#[derive(Debug)]
pub(super) struct Cgroups {
    base: PathBuf,
    prefix: String,
}

/// The cgroup of one child. Removed on drop, or by the next [`Cgroups::sweep`] if its processes are still going.
#[derive(Debug)]
pub(super) struct Leaf {
    path: PathBuf,
    directory: OwnedFd,
    memory: Option<u64>,
}

impl Cgroups {
    /// Finds our own cgroup through `proc` (`/proc/self`), moves this process, `pid`, into a leaf of it, and enables
    /// the controllers.
    pub(super) fn set_up(proc: &Path, pid: u32) -> Result<Self, Error> {
        let own = own_cgroup(proc)?;
        let available = read(&own.join("cgroup.controllers"))?;
        let missing: Vec<_> = NEEDED.into_iter().filter(|name| !has_word(&available, name)).collect();
        if !missing.is_empty() {
            let why = format!("has no {} controller to give to children", missing.join(" and no "));
            return Err(Error::Unfit { path: own, why });
        }
        let cgroups = Self { base: own, prefix: format!("fw-{pid}-") };
        cgroups.remove_leftovers(proc);
        cgroups.make_room(pid)?;
        for name in NEEDED {
            write(&cgroups.base.join("cgroup.subtree_control"), &format!("+{name}"))?;
        }
        for name in WANTED {
            // Limits work without it.
            let _ = write(&cgroups.base.join("cgroup.subtree_control"), &format!("+{name}"));
        }
        Ok(cgroups)
    }

    /// Makes a leaf for one child.
    pub(super) fn leaf(&self, name: &str, limits: Limits) -> Result<Leaf, Error> {
        let path = self.base.join(format!("{}{name}", self.prefix));
        make_directory(&path)?;
        let limited = (|| {
            if let Some(bytes) = limits.memory {
                write(&path.join("memory.max"), &bytes.to_string())?;
                write(&path.join("memory.oom.group"), "1")?;
            }
            if let Some(count) = limits.pids {
                write(&path.join("pids.max"), &count.to_string())?;
            }
            hal::process::open_directory(&path).map_err(|source| file("open", &path, source))
        })();
        match limited {
            Ok(directory) => Ok(Leaf { path, directory, memory: limits.memory }),
            Err(error) => {
                let _ = fs::remove_dir(&path);
                Err(error)
            }
        }
    }

    /// Removes our leaves that hold no process any more and were not removable before.
    pub(super) fn sweep(&self) {
        for path in self.leaves() {
            let ours = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(&self.prefix));
            if ours && read(&path.join("cgroup.events")).is_ok_and(|events| value(&events, "populated") == Some(0)) {
                let _ = fs::remove_dir(&path);
            }
        }
    }

    /// A cgroup that gives controllers to its children may hold no process itself (the hierarchy's root may).
    fn make_room(&self, pid: u32) -> Result<(), Error> {
        if !self.base.join("cgroup.type").exists() {
            return Ok(());
        }
        let leaf = self.base.join("supervisor");
        make_directory(&leaf)?;
        write(&leaf.join("cgroup.procs"), &pid.to_string())
    }

    fn remove_leftovers(&self, proc: &Path) {
        let processes = proc.parent().unwrap_or(Path::new("/proc"));
        for path in self.leaves() {
            let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            let Some((pid, _)) = name.strip_prefix("fw-").and_then(|rest| rest.split_once('-')) else { continue };
            if processes.join(pid).exists() {
                continue;
            }
            let _ = write(&path.join("cgroup.kill"), "1");
            if let Err(e) = fs::remove_dir(&path) {
                warn!("a cgroup of an earlier run stays: {}: {e}", path.display());
            }
        }
    }

    fn leaves(&self) -> Vec<PathBuf> {
        let Ok(entries) = fs::read_dir(&self.base) else { return Vec::new() };
        let ours = |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("fw-"));
        entries.flatten().map(|entry| entry.path()).filter(ours).collect()
    }
}

impl Leaf {
    /// For the child to be born in.
    pub(super) fn directory(&self) -> BorrowedFd<'_> {
        self.directory.as_fd()
    }

    /// Kills every process in it. Kernels before 5.14 lack the file; there the pidfd alone must do.
    pub(super) fn kill(&self) {
        let _ = write(&self.path.join("cgroup.kill"), "1");
    }

    /// The memory limit in bytes, if the kernel has killed for it.
    pub(super) fn out_of_memory(&self) -> Option<u64> {
        let events = read(&self.path.join("memory.events")).ok()?;
        let kills = value(&events, "oom_kill").unwrap_or(0);
        self.memory.filter(|_| kills > 0)
    }
}

impl Drop for Leaf {
    fn drop(&mut self) {
        // Fails while a process of it is still going; `sweep` comes again.
        let _ = fs::remove_dir(&self.path);
    }
}

/// The directory of our cgroup: the `0::` line says where below the mount, mountinfo says where the mount is.
fn own_cgroup(proc: &Path) -> Result<PathBuf, Error> {
    let membership_file = proc.join("cgroup");
    let membership = read(&membership_file)?;
    let Some(path) = membership.lines().find_map(|line| line.strip_prefix("0::")) else {
        return Err(Error::Unfit { path: membership_file, why: "no cgroup v2 here".into() });
    };
    let mounts_file = proc.join("mountinfo");
    let mounts = read(&mounts_file)?;
    for line in mounts.lines() {
        let Some((left, right)) = line.split_once(" - ") else { continue };
        let fields: Vec<_> = left.split(' ').collect();
        let (Some(root), Some(point)) = (fields.get(3), fields.get(4)) else { continue };
        // In a container the mount may start below the hierarchy's root.
        if let (true, Ok(below)) = (right.starts_with("cgroup2 "), Path::new(path).strip_prefix(root)) {
            return Ok(Path::new(point).join(below));
        }
    }
    Err(Error::Unfit { path: mounts_file, why: "our cgroup is mounted nowhere".into() })
}

fn has_word(text: &str, word: &str) -> bool {
    text.split_whitespace().any(|candidate| candidate == word)
}

/// The number beside `key` in a flat keyed file.
fn value(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' ')?.trim().parse().ok())
}

fn make_directory(path: &Path) -> Result<(), Error> {
    match fs::create_dir(path) {
        Err(e) if e.kind() != io::ErrorKind::AlreadyExists => Err(file("mkdir", path, e)),
        _ => Ok(()),
    }
}

fn read(path: &Path) -> Result<String, Error> {
    fs::read_to_string(path).map_err(|source| file("read", path, source))
}

fn write(path: &Path, text: &str) -> Result<(), Error> {
    fs::write(path, text).map_err(|source| file("write", path, source))
}

fn file(call: &'static str, path: &Path, source: io::Error) -> Error {
    Error::File { call, path: path.to_owned(), source }
}

#[cfg(test)]
mod tests;
