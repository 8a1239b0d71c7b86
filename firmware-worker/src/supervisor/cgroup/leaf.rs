//! The cgroup of one child.

use super::Error;
use super::files::{error, number, read, value, write};
use super::usage::{Memory, Usage};
use hal::process::kill_if;
use protocol::worker::{Limits, MemoryLimit};
use std::fs;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tracing::debug;

/// The kernel's default of 100 ms would hold a child off for longer than a sound card's buffer lasts.
const CPU_PERIOD_US: u64 = 20_000;

/// Reads of `cgroup.procs` in which every process is found, where the kernel cannot kill a cgroup: what is frozen or has
/// a SIGKILL waiting makes no more.
const KILL_ROUNDS: u32 = 16;

/// Whose leaf it is, which decides what it gets when there is not enough for all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Role {
    /// Us.
    Supervisor,
    /// A device owner, or the command that a camera is read from: media for all rooms.
    Owner,
    /// A job, which may be anybody's code.
    Job,
}

/// `cpu.weight` of a job that must leave its room before the system is gone: twice that of an owner, which then works for
/// nobody any more.
const ENDING: u32 = 1600;

impl Role {
    /// `cpu.weight` and `io.weight`; 100 is what everything else on the board has.
    fn weight(self) -> u32 {
        match self {
            Self::Supervisor => 500,
            Self::Owner => 800,
            Self::Job => 100,
        }
    }

    /// `memory.low`, bytes that are not taken back while others have any: what it takes when it works.
    fn protected(self) -> u64 {
        match self {
            Self::Supervisor => 12 << 20,
            Self::Owner => 40 << 20,
            Self::Job => 0,
        }
    }

    /// Whom the kernel kills first when the whole board is out of memory.
    pub(in super::super) fn oom_score_adj(self) -> i32 {
        match self {
            Self::Supervisor => -900,
            Self::Owner => -500,
            Self::Job => 500,
        }
    }
}

/// The cgroup of one child. What is left in it is killed on drop, and it is removed then or by the next
/// [`super::Cgroups::sweep`].
#[derive(Debug)]
pub(in super::super) struct Leaf {
    path: PathBuf,
    directory: OwnedFd,
    /// As the kernel was told; nothing where it cannot hold it.
    limits: Limits,
    /// None for a leaf that is not removed.
    used: Option<Arc<()>>,
}

impl Leaf {
    pub(super) fn open(path: PathBuf, used: Arc<()>) -> Result<Self, Error> {
        let directory = hal::process::open_directory(&path).map_err(|source| error("open", &path, source))?;
        Ok(Self { path, directory, limits: Limits::default(), used: Some(used) })
    }

    /// One that a child has, with limits that the kernel knows already.
    pub(super) fn adopt(path: PathBuf, used: Arc<()>, limits: Limits) -> Result<Self, Error> {
        let mut leaf = Self::open(path, used)?;
        leaf.limits = limits;
        Ok(leaf)
    }

    /// Where it is.
    pub(in super::super) fn path(&self) -> &Path {
        &self.path
    }

    /// As the kernel was told.
    pub(in super::super) fn limits(&self) -> Limits {
        self.limits
    }

    /// It stays when this goes.
    pub(super) fn keep(mut self) -> Self {
        self.used = None;
        self
    }

    /// Weights and protection, where the kernel has them.
    pub(super) fn favour(&self, role: Role) {
        self.try_write("cpu.weight", &role.weight().to_string());
        self.try_write("io.weight", &format!("default {}", role.weight()));
        self.try_write("memory.low", &role.protected().to_string());
    }

    /// Puts its child before all others, for what time it has left to end in.
    pub(in super::super) fn hasten(&self) {
        self.try_write("cpu.weight", &ENDING.to_string());
        self.try_write("cpu.max", "max");
    }

    /// With these limits, as far as there is a controller for them.
    pub(super) fn limited(mut self, limits: Limits) -> Result<Self, Error> {
        self.set_limits(limits)?;
        // What kills, kills the whole child.
        self.try_write("memory.oom.group", "1");
        Ok(self)
    }

    fn set_limits(&mut self, limits: Limits) -> Result<(), Error> {
        self.limits = Limits {
            memory: limits.memory.filter(|_| self.has("memory.max")),
            pids: limits.pids.filter(|_| self.has("pids.max")),
            cpu_percent: limits.cpu_percent.filter(|_| self.has("cpu.max")),
        };
        self.write_limits()
    }

    /// Puts other limits in the place of those it has. False if it uses more memory already: then nothing is changed, as the
    /// kernel would kill it.
    pub(in super::super) fn change(&mut self, limits: Limits) -> Result<bool, Error> {
        let used = number(&self.path.join("memory.current")).unwrap_or(0);
        if limits.memory.is_some_and(|memory| used > memory) {
            return Ok(false);
        }
        self.set_limits(limits)?;
        Ok(true)
    }

    fn write_limits(&self) -> Result<(), Error> {
        let Limits { memory, pids, cpu_percent } = self.limits;
        if self.has("memory.max") {
            self.write("memory.max", &memory.map_or_else(|| "max".to_owned(), |bytes| bytes.to_string()))?;
            // A job that leaks ends, instead of wearing out the board's card.
            self.try_write("memory.swap.max", if memory.is_some() { "0" } else { "max" });
        }
        if self.has("pids.max") {
            self.write("pids.max", &pids.map_or_else(|| "max".to_owned(), |count| count.to_string()))?;
        }
        if self.has("cpu.max") {
            let quota = cpu_percent.map(|percent| u64::from(percent) * CPU_PERIOD_US / 100);
            let quota = quota.map_or_else(|| "max".to_owned(), |us| us.to_string());
            self.write("cpu.max", &format!("{quota} {CPU_PERIOD_US}"))?;
        }
        Ok(())
    }

    /// For the child to be born in.
    pub(in super::super) fn directory(&self) -> BorrowedFd<'_> {
        self.directory.as_fd()
    }

    /// Kills every process in it.
    pub(in super::super) fn kill(&self) {
        kill(&self.path);
    }

    /// What memory it went over, if the kernel has killed for it: its limit, or all that the board has.
    pub(in super::super) fn out_of_memory(&self) -> Option<MemoryLimit> {
        let events = read(&self.path.join("memory.events")).ok()?;
        let count = |key| value(&events, key).unwrap_or(0);
        if count("oom_kill") == 0 {
            return None;
        }
        // `oom` counts what our limit caused; a kill without it was for the whole board.
        let own = self.limits.memory.filter(|_| count("oom") > 0);
        Some(own.map_or(MemoryLimit::Board, MemoryLimit::Bytes))
    }

    /// Its limit of processes and threads, if it has ever wanted more.
    pub(in super::super) fn out_of_pids(&self) -> Option<u32> {
        let events = read(&self.path.join("pids.events")).ok()?;
        self.limits.pids.filter(|_| value(&events, "max").is_some_and(|times| times > 0))
    }

    /// The kernel holds it to a number of processes.
    pub(in super::super) fn limits_processes(&self) -> bool {
        self.limits.pids.is_some()
    }

    /// What it uses now.
    pub(in super::super) fn memory(&self) -> Option<Memory> {
        Some(Memory { used: number(&self.path.join("memory.current"))?, limit: self.limits.memory })
    }

    /// What it has used.
    pub(in super::super) fn usage(&self) -> Usage {
        Usage::of(&self.path, self.limits)
    }

    fn has(&self, file: &str) -> bool {
        self.path.join(file).exists()
    }

    fn write(&self, file: &str, text: &str) -> Result<(), Error> {
        write(&self.path.join(file), text)
    }

    /// For what a kernel may lack without harm.
    fn try_write(&self, file: &str, text: &str) {
        if self.has(file)
            && let Err(e) = self.write(file, text)
        {
            debug!("{e}");
        }
    }
}

impl Drop for Leaf {
    fn drop(&mut self) {
        if self.used.is_some() {
            // Fails while a process of it is still going; `sweep` comes again.
            bury(&self.path);
        }
    }
}

/// Ends what is left in a leaf and removes it; false while something is still going.
pub(super) fn bury(path: &Path) -> bool {
    let populated = read(&path.join("cgroup.events")).is_ok_and(|events| value(&events, "populated") == Some(1));
    if populated {
        kill(path);
    }
    remove(path)
}

/// With the cgroups that the child has made in it, if it could.
fn remove(path: &Path) -> bool {
    for inner in fs::read_dir(path).into_iter().flatten().flatten() {
        if inner.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove(&inner.path());
        }
    }
    match fs::remove_dir(path) {
        Ok(()) => true,
        Err(e) => e.kind() == std::io::ErrorKind::NotFound,
    }
}

fn kill(path: &Path) {
    if write(&path.join("cgroup.kill"), "1").is_ok() {
        return;
    }
    kill_one_by_one(path);
}

/// Kills every process in a cgroup where the kernel cannot do it at once, before Linux 5.14. They are frozen meanwhile, so that
/// they start no more.
pub fn kill_one_by_one(path: &Path) {
    let members = path.join("cgroup.procs");
    let read_members = || read(&members).unwrap_or_default();
    let freeze = |on: &str| {
        if let Err(e) = write(&path.join("cgroup.freeze"), on) {
            debug!("{e}");
        }
    };
    freeze("1");
    let mut killed = Vec::new();
    for _ in 0..KILL_ROUNDS {
        let listed: Vec<i32> = read_members().lines().filter_map(|line| line.parse().ok()).collect();
        let fresh: Vec<i32> = listed.into_iter().filter(|pid| !killed.contains(pid)).collect();
        if fresh.is_empty() {
            break;
        }
        for pid in fresh {
            // The number may be another's by now, but not that of a member.
            let member = || read_members().lines().any(|line| line == pid.to_string());
            if let Err(e) = kill_if(pid, member) {
                debug!("kill process {pid}: {e}");
            }
            killed.push(pid);
        }
    }
    freeze("0");
}
