//! A cgroup v2 leaf per child, under the subtree that the service manager has delegated to us.
//!
//! ```text
//! <base>/                         delegated: memory, pids, cpu and io are enabled for its children
//!   supervisor                    this process, since a cgroup with controllers may hold no processes of its own
//!   fw-<pid>-<start>-job-7        a job
//!   fw-<pid>-<start>-owner-2      a device owner
//! ```
//!
//! Pid and start time in a leaf's name are the supervisor's: leaves of one that is gone are emptied and removed at the
//! next start, those of a second worker stay. Without controllers (a hybrid host, no delegation) birth, kill and removal
//! still work, and nothing is limited.

mod files;
mod leaf;
mod locate;
mod usage;

pub use leaf::kill_one_by_one;
pub(super) use leaf::{Leaf, Role};
pub(super) use protocol::worker::Limits;
pub(super) use usage::{Memory, Usage};

use super::burial::Burial;
use files::{has_word, make_directory, read, write};
use std::ffi::OsStr;
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::time::Instant;

/// What is asked of the kernel, in this order; the flag: without it a leaf limits nothing that matters on a board.
const CONTROLLERS: [(&str, bool); 4] = [("memory", true), ("pids", true), ("cpu", false), ("io", false)];

/// Our own leaf. A unit's `DelegateSubgroup=` of this name puts us there from the start.
const OWN: &str = "supervisor";

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

/// A controller that leaves have to do without.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Missing {
    /// `memory`, `pids`, `cpu` or `io`.
    pub controller: &'static str,
    /// A worker that insists on isolation does not start without it.
    pub needed: bool,
    /// Object, reason and remedy, in plain words.
    pub why: String,
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { controller, needed, why } = self;
        let what = if *needed { "limits" } else { "weights" };
        write!(f, "no {controller} {what} for children: {why}")
    }
}

/// The subtree that our leaves are made in.
#[derive(Debug)]
pub(super) struct Cgroups {
    base: PathBuf,
    prefix: String,
    missing: Vec<Missing>,
    /// Every leaf that is not removed yet.
    leaves: Vec<Known>,
}

/// A leaf that is not removed yet.
#[derive(Debug)]
struct Known {
    path: PathBuf,
    /// Whether a child still has it.
    used: Weak<()>,
    /// Its own: one that hangs does not hold up others.
    burial: Burial,
}

impl Known {
    fn new(path: PathBuf, used: Weak<()>) -> Self {
        Self { path, used, burial: Burial::new() }
    }

    fn is_dead(&self) -> bool {
        self.used.strong_count() == 0
    }
}

impl Cgroups {
    /// Finds our own cgroup through `proc` (`/proc`), moves this process, `pid`, into a leaf of it, enables what
    /// controllers there are, and ends what a former life has left.
    pub(super) fn set_up(proc: &Path, pid: u32) -> Result<Self, Error> {
        let place = locate::own(&proc.join("self"))?;
        let start = start_time(proc, pid).unwrap_or(0);
        let prefix = format!("fw-{pid}-{start}-");
        let mut cgroups = Self { base: place.base.clone(), prefix, missing: Vec::new(), leaves: Vec::new() };
        cgroups.take_leftovers(proc);
        // Tells whether leaves can be made at all.
        let probe = cgroups.base.join(format!("{}probe", cgroups.prefix));
        make_directory(&probe)?;
        leaf::bury(&probe);
        cgroups.enable(&place, pid)?;
        cgroups.sweep(Instant::now());
        Ok(cgroups)
    }

    /// Controllers that are not there.
    pub(super) fn missing(&self) -> &[Missing] {
        &self.missing
    }

    /// Makes a leaf for one child.
    pub(super) fn leaf(&mut self, name: &str, limits: Limits, role: Role) -> Result<Leaf, Error> {
        let path = self.base.join(format!("{}{name}", self.prefix));
        make_directory(&path)?;
        let used = Arc::new(());
        self.leaves.push(Known::new(path.clone(), Arc::downgrade(&used)));
        let leaf = Leaf::open(path, used)?;
        leaf.favour(role);
        leaf.limited(limits)
    }

    /// The leaf of a child that an earlier program of this process has started.
    pub(super) fn adopt(&mut self, path: PathBuf, limits: Limits) -> Result<Leaf, Error> {
        let ours = |name: &OsStr| name.to_string_lossy().starts_with(&self.prefix);
        if path.parent() != Some(&self.base) || !path.file_name().is_some_and(ours) {
            return Err(Error::Unfit { path, why: "no cgroup of this worker's children".into() });
        }
        let used = Arc::new(());
        self.leaves.push(Known::new(path.clone(), Arc::downgrade(&used)));
        Leaf::adopt(path, used, limits)
    }

    /// What the earlier program has left beside those leaves is to be removed.
    pub(super) fn take_the_rest(&mut self) {
        let entries = fs::read_dir(&self.base).into_iter().flatten().flatten();
        for path in entries.map(|entry| entry.path()) {
            let ours = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(&self.prefix));
            if ours && self.leaves.iter().all(|known| known.path != path) {
                self.leaves.push(Known::new(path, Weak::new()));
            }
        }
    }

    /// When [`Cgroups::sweep`] has something to do.
    pub(super) fn sweep_at(&self) -> Option<Instant> {
        self.leaves.iter().filter(|leaf| leaf.is_dead()).map(|leaf| leaf.burial.due()).min()
    }

    /// Ends and removes leaves that no child has any more, if their time has come.
    pub(super) fn sweep(&mut self, now: Instant) {
        self.leaves.retain_mut(|leaf| {
            let due = leaf.is_dead() && leaf.burial.due() <= now;
            if due && leaf::bury(&leaf.path) {
                return false;
            }
            if due {
                leaf.burial.put_off(now);
            }
            true
        });
    }

    fn enable(&mut self, place: &locate::Place, pid: u32) -> Result<(), Error> {
        let available = read(&self.base.join("cgroup.controllers"))?;
        let (there, absent): (Vec<_>, Vec<_>) =
            CONTROLLERS.into_iter().partition(|(name, _)| has_word(&available, name));
        self.missing = absent.into_iter().map(|(name, needed)| place.missing(name, needed)).collect();
        if there.is_empty() {
            return Ok(());
        }
        if let Err(why) = self.make_room(place, pid) {
            let missing = |(controller, needed)| Missing { controller, needed, why: why.to_string() };
            self.missing.extend(there.into_iter().map(missing));
            return Ok(());
        }
        for (controller, needed) in there {
            if let Err(why) = write(&self.base.join("cgroup.subtree_control"), &format!("+{controller}")) {
                self.missing.push(Missing { controller, needed, why: why.to_string() });
            }
        }
        Leaf::open(self.base.join(OWN), Arc::new(()))?.keep().favour(Role::Supervisor);
        Ok(())
    }

    /// A cgroup that gives controllers to its children may hold no process itself, but for the hierarchy's root. There
    /// too we move: weights count between leaves.
    fn make_room(&self, place: &locate::Place, pid: u32) -> Result<(), Error> {
        let processes = read(&self.base.join("cgroup.procs"))?;
        let others = processes.lines().filter(|line| *line != pid.to_string()).count();
        if others > 0 && !place.root {
            let why = format!(
                "{others} other processes are in our cgroup, so children cannot be limited: run the worker as a service \
                 with Delegate=yes, or by `systemd-run --scope -p Delegate=yes`"
            );
            return Err(Error::Unfit { path: self.base.clone(), why });
        }
        let leaf = self.base.join(OWN);
        make_directory(&leaf)?;
        write(&leaf.join("cgroup.procs"), &pid.to_string())
    }

    /// Leaves of supervisors that are gone become ours to remove.
    fn take_leftovers(&mut self, proc: &Path) {
        let Ok(entries) = fs::read_dir(&self.base) else { return };
        for path in entries.flatten().map(|entry| entry.path()) {
            let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            let mut words = name.splitn(4, '-');
            let (Some("fw"), Some(pid), Some(start), Some(_)) =
                (words.next(), words.next(), words.next(), words.next())
            else {
                continue;
            };
            let (Ok(pid), Ok(start)) = (pid.parse::<u32>(), start.parse::<u64>()) else { continue };
            // Pids are used again, but not with the same start.
            if start_time(proc, pid) != Some(start) {
                self.leaves.push(Known::new(path, Weak::new()));
            }
        }
    }
}

/// When a process that lives was started, in ticks since boot (proc(5), field 22 of stat); an exec does not change it.
fn start_time(proc: &Path, pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(proc.join(pid.to_string()).join("stat")).ok()?;
    // The name in parentheses may hold anything.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?;
    if matches!(state, "Z" | "X") { None } else { fields.nth(18)?.parse().ok() }
}

#[cfg(test)]
mod tests;
