//! A child process: its control link, its pidfd, its cgroup leaf. It is polled, never waited for.

mod confining;
mod gone;
mod handover;
mod leaving;

use super::cgroup::{Cgroups, Leaf, Limits, Memory, Role, Usage};
use super::hearing::{self, Ear};
use super::isolation::{Confined, Isolation};
pub(super) use super::kind::Kind;
use super::oom;
use crate::cli::log;
use crate::control::confinement::Report;
use crate::control::{KEEPER_SETUP, Link, LinkError, Owned, SandboxReport, watch};
use hal::process::{Child, Ended, Executable, Inheritance, Socket};
use leaving::Leaving;
use protocol::worker::Exit;
use serde::{Serialize, de::DeserializeOwned};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};
use tokio::io::unix::AsyncFd;
use tracing::warn;

/// A child that closed its control socket is on its way out; one that stays for longer is stuck and is killed.
const HANGUP_GRACE: Duration = Duration::from_secs(1);

/// SIGKILL.
const KILL: i32 = 9;

/// What children are started with.
#[derive(Debug)]
pub(super) struct Spawner {
    executable: Executable,
    cgroups: Option<Cgroups>,
    isolation: Isolation,
    /// Of each child: how to log, and nothing else.
    environment: Vec<(&'static str, String)>,
    /// The same for the keepers of commands, whose standard error is ours.
    keeper_environment: Vec<(&'static str, String)>,
    started: u64,
    leaving: Vec<Leaving>,
}

/// What a child is to be.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan<'a> {
    /// `job` or `owner`: argv[0], and the start of the cgroup's name.
    pub name: &'static str,
    /// The hidden subcommand.
    pub subcommand: &'a str,
    /// Limits of its cgroup.
    pub limits: Limits,
    /// What it keeps, and what it gets when there is not enough for all.
    pub kind: Kind,
}

/// A command that runs, and what its owner reads it by.
#[derive(Debug)]
pub(super) struct Kept {
    /// It says nothing to us.
    pub keeper: Process,
    /// Closing it ends the command.
    pub control: Socket,
    /// What the command writes.
    pub stdout: OwnedFd,
    /// What it complains of.
    pub stderr: OwnedFd,
}

/// A running child.
#[derive(Debug)]
pub(super) struct Process {
    child: AsyncFd<Owned<Pidfd>>,
    /// None once the child has closed it or broken its rules.
    link: Option<Link>,
    leaf: Option<Leaf>,
    /// None for a keeper, which sees to itself. Dropped after the leaf.
    confined: Option<Confined>,
    /// None for a keeper, which says little.
    ear: Option<Ear>,
    /// Its name in the log.
    label: String,
    kill_at: Option<Instant>,
    ended: Option<Ended>,
}

/// What a child did.
#[derive(Debug)]
pub(super) enum Happened<M> {
    /// It says something.
    Said(M),
    /// It broke the rules of its control socket and was detached and killed.
    Violated(LinkError),
    /// It is gone, and everything it said before has been told.
    Ended(Exit),
}

#[derive(Debug)]
struct Pidfd(Child);

impl AsFd for Pidfd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.pidfd()
    }
}

impl Spawner {
    pub(super) fn new(cgroups: Option<Cgroups>, isolation: Isolation, log_level: tracing::Level) -> io::Result<Self> {
        let (environment, keeper_environment) =
            (log::read_child_environment(log_level), log::child_environment(log_level));
        let (executable, leaving) = (Executable::current()?, Vec::new());
        Ok(Self { executable, cgroups, isolation, environment, keeper_environment, started: 0, leaving })
    }

    /// Starts a child. Its first message, `setup`, waits for it in the socket.
    pub(super) fn spawn<M: Serialize, B: Serialize>(
        &mut self,
        plan: Plan<'_>,
        setup: &M,
        body: &B,
    ) -> Result<Process, String> {
        let process = self.start(plan)?;
        match process.send_long(setup, "setup", body) {
            Ok(()) => Ok(process),
            Err(error) => {
                self.let_go(process);
                Err(error.to_string())
            }
        }
    }

    fn start(&mut self, plan: Plan<'_>) -> Result<Process, String> {
        let leaf = self.leaf(plan.name, plan.limits, plan.kind.role())?;
        let (ours, theirs) = Socket::pair().map_err(|e| format!("control socket: {e}"))?;
        // Only its cgroup's limit can be told from others when it is reached, and changed for a job that asks for more.
        let processes = plan.limits.pids.filter(|_| !leaf.as_ref().is_some_and(Leaf::limits_processes));
        let confined = self.isolation.confine(plan.kind, processes, leaf.as_ref().and_then(directory), &ours)?;
        let environment = pairs(&self.environment);
        let (ear, stderr) = hearing::pipe().map_err(|e| format!("standard error: {e}"))?;
        // Before there is a child that this could leave behind.
        let link = Link::new(ours.with_foreign_peer()).map_err(|e| e.to_string())?;
        let name = format!("firmware-worker-{}", plan.name);
        let cgroup = leaf.as_ref().map(Leaf::directory);
        let child = self
            .executable
            .spawn(&name, &[plan.subcommand], &environment, theirs, Some(stderr.as_fd()), cgroup)
            .map_err(|e| format!("{} process: {e}", plan.name))?;
        oom::mark_child(Path::new("/proc"), child.pid, plan.kind.role());
        let label = format!("{} process {}", plan.name, child.pid);
        let child = watch(Pidfd(child)).map_err(|e| format!("{} process: pidfd: {e}", plan.name))?;
        let (link, confined, ear) = (Some(link), Some(confined), Some(ear));
        Ok(Process { child, link, leaf, confined, ear, label, kill_at: None, ended: None })
    }

    /// Starts the keeper of a command.
    pub(super) fn keep(&mut self, limits: Limits, setup: &impl Serialize) -> Result<Kept, String> {
        let failed = |what: &str, error: &dyn std::fmt::Display| format!("{what}: {error}");
        let leaf = self.leaf("command", limits, Role::Owner)?;
        let (control, theirs) = Socket::pair().map_err(|e| failed("control socket", &e))?;
        let (stdout, written) = io::pipe().map_err(|e| failed("pipe", &e))?;
        let (stderr, complained) = io::pipe().map_err(|e| failed("pipe", &e))?;
        let body = postcard::to_stdvec(setup).map_err(|e| failed("setup", &e))?;
        let body = hal::process::sealed_memfd("setup", &body).map_err(|e| failed("memfd", &e))?;
        let fds = [body.as_fd(), written.as_fd(), complained.as_fd()];
        control.send(&[KEEPER_SETUP], &fds).map_err(|e| failed("setup", &e))?;
        let (arguments, environment) = ([crate::cli::KEEPER], pairs(&self.keeper_environment));
        let cgroup = leaf.as_ref().map(Leaf::directory);
        let child = self.executable.spawn_apart("firmware-worker-keeper", &arguments, &environment, theirs, cgroup);
        let child = child.inspect(|child| oom::mark_child(Path::new("/proc"), child.pid, Role::Owner));
        let child = child.and_then(|child| watch(Pidfd(child))).map_err(|e| failed("keeper process", &e))?;
        let label = String::from("keeper of a command");
        let keeper = Process { child, link: None, leaf, confined: None, ear: None, label, kill_at: None, ended: None };
        Ok(Kept { keeper, control, stdout: stdout.into(), stderr: stderr.into() })
    }

    /// Starts what opens nodes, with the rights and in the cgroup of this process, whose work it does. It says nothing
    /// to us by itself: whoever has the other end of `control` hears it.
    pub(super) fn start_opener(&mut self, control: Socket) -> Result<Process, String> {
        let (arguments, environment) = ([crate::cli::OPENER], pairs(&self.keeper_environment));
        let child = self.executable.spawn("firmware-worker-opener", &arguments, &environment, control, None, None);
        let child = child.and_then(|child| watch(Pidfd(child))).map_err(|e| format!("opener process: {e}"))?;
        let label = String::from("opener of a node");
        Ok(Process { child, link: None, leaf: None, confined: None, ear: None, label, kill_at: None, ended: None })
    }

    /// The running program.
    pub(super) fn executable(&self) -> &Executable {
        &self.executable
    }

    fn leaf(&mut self, name: &str, limits: Limits, role: Role) -> Result<Option<Leaf>, String> {
        self.started += 1;
        let Some(cgroups) = &mut self.cgroups else { return Ok(None) };
        match cgroups.leaf(&format!("{name}-{}", self.started), limits, role) {
            Ok(leaf) => Ok(Some(leaf)),
            Err(e) if self.isolation.strict() => {
                Err(format!("isolation is strict, and a {name} process would have no limits: {e}"))
            }
            Err(e) => {
                warn!("{name} process runs without limits: {e}");
                Ok(None)
            }
        }
    }
}

impl Process {
    /// What it writes is logged under this name from now on.
    pub(super) fn call(&mut self, label: String) {
        self.label = label;
    }

    /// The last that it wrote to its standard error beside its log.
    pub(super) fn last_words(&mut self) -> String {
        self.ear.as_mut().map(|ear| ear.last_words(&self.label)).unwrap_or_default()
    }

    /// Puts it before all others.
    pub(super) fn hasten(&self) {
        if let Some(leaf) = &self.leaf {
            leaf.hasten();
        }
    }

    pub(super) fn pid(&self) -> i32 {
        self.child.get_ref().0.0.pid
    }

    /// Sends or fails at once: a child that does not read never makes the supervisor wait.
    pub(super) fn send<M: Serialize>(&self, message: &M, fds: &[BorrowedFd<'_>]) -> Result<(), LinkError> {
        self.link.as_ref().ok_or(LinkError::Closed)?.send(message, fds)
    }

    /// Sends `message` with `body` in a sealed memfd beside it.
    pub(super) fn send_long<M: Serialize, B: Serialize>(
        &self,
        message: &M,
        name: &str,
        body: &B,
    ) -> Result<(), LinkError> {
        let bytes = postcard::to_stdvec(body).map_err(|e| LinkError::Malformed(e.to_string()))?;
        let memfd: OwnedFd =
            hal::process::sealed_memfd(name, &bytes).map_err(|source| LinkError::System { call: "memfd", source })?;
        self.send(message, &[memfd.as_fd()])
    }

    /// What the child did next: everything it said comes before its end.
    pub(super) fn poll_next<M: DeserializeOwned>(&mut self, cx: &mut Context<'_>) -> Poll<Happened<M>> {
        if let Some(ear) = &mut self.ear {
            ear.listen(&self.label, cx);
        }
        while let Some(link) = &mut self.link {
            let happened = if self.confined.as_ref().is_none_or(Confined::has_reported) {
                let Poll::Ready(received) = link.poll_receive(cx) else { break };
                self.received(received)
            } else {
                let Poll::Ready(received) = link.poll_receive(cx) else { break };
                self.reported(received)
            };
            if let Some(happened) = happened {
                return Poll::Ready(happened);
            }
        }
        let ended = match self.ended {
            Some(ended) => ended,
            None => *self.ended.insert(ready!(self.poll_end(cx))),
        };
        // The end became visible between the two looks, and last words with it.
        if let Some(happened) = self.try_next() {
            return Poll::Ready(happened);
        }
        let stderr = self.last_words();
        Poll::Ready(Happened::Ended(self.explain(ended).with_stderr(stderr)))
    }

    /// A message that waits now.
    pub(super) fn try_next<M: DeserializeOwned>(&mut self) -> Option<Happened<M>> {
        if !self.confined.as_ref().is_none_or(Confined::has_reported) {
            let received = self.link.as_mut()?.try_receive().transpose()?;
            if let Some(violation) = self.reported(received) {
                return Some(violation);
            }
        }
        let received = self.link.as_mut()?.try_receive().transpose()?;
        self.received(received)
    }

    fn reported<M>(&mut self, received: Result<(Report, Vec<OwnedFd>), LinkError>) -> Option<Happened<M>> {
        match (received, &mut self.confined) {
            (Ok((report, _)), Some(confined)) => {
                confined.reported(report);
                None
            }
            // One that is not confined is not asked.
            (Ok(_), None) => None,
            (Err(error), _) => self.received(Err(error)),
        }
    }

    fn received<M>(&mut self, received: Result<(M, Vec<OwnedFd>), LinkError>) -> Option<Happened<M>> {
        match received {
            Ok((message, _)) => Some(Happened::Said(message)),
            Err(LinkError::Closed) => {
                self.link = None;
                self.kill_at = Some(Instant::now() + HANGUP_GRACE);
                None
            }
            Err(violation) => {
                self.link = None;
                self.kill();
                Some(Happened::Violated(violation))
            }
        }
    }

    /// Gives it other limits than it was born with, where it has a cgroup; false if it is over them already.
    pub(super) fn limit(&mut self, limits: Limits) -> Result<bool, String> {
        let Some(leaf) = &mut self.leaf else { return Ok(true) };
        leaf.change(limits).map_err(|e| e.to_string())
    }

    /// What it has used, where its cgroup counts that.
    pub(super) fn usage(&self) -> Usage {
        self.leaf.as_ref().map(Leaf::usage).unwrap_or_default()
    }

    /// Where its cgroup counts that.
    pub(super) fn memory(&self) -> Option<Memory> {
        self.leaf.as_ref().and_then(Leaf::memory)
    }

    /// Gives the child's part to a test, which speaks through the socket. The child lives while the link is kept.
    #[cfg(test)]
    pub(super) fn play(&mut self) -> (Socket, Option<Link>) {
        let (ours, theirs) = Socket::pair().expect("a socket pair");
        let link = Link::new(ours.with_foreign_peer()).expect("a runtime");
        self.confined.iter_mut().for_each(|confined| confined.reported(Report::default()));
        (theirs, self.link.replace(link))
    }

    /// What it has given up.
    pub(super) fn sandbox(&self) -> SandboxReport {
        self.confined.as_ref().map(Confined::view).unwrap_or_default()
    }

    /// When [`Process::time`] is due.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.kill_at.into_iter().chain(self.ear.as_ref().and_then(Ear::deadline)).min()
    }

    pub(super) fn time(&mut self, now: Instant) {
        if self.kill_at.is_some_and(|at| at <= now) {
            self.kill_at = None;
            self.kill();
        }
        if let Some(ear) = &mut self.ear {
            ear.time(now);
        }
    }
}

fn pairs<'a>(environment: &'a [(&'static str, String)]) -> Vec<(&'a str, &'a str)> {
    environment.iter().map(|(name, value)| (*name, value.as_str())).collect()
}

/// Where a leaf is.
fn directory(leaf: &Leaf) -> Option<PathBuf> {
    std::fs::read_link(format!("/proc/self/fd/{}", leaf.directory().as_raw_fd())).ok()
}
