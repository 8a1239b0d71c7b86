//! Children in the hands of a program that takes this one's place.

use super::*;
use crate::supervisor::handover::{ChildEntry, LeafEntry, UserEntry};

impl Spawner {
    /// What a program that takes this one's place must know; nothing of a child can be said then.
    pub(in crate::supervisor) fn export(&mut self) -> (u64, Vec<UserEntry>, Report) {
        let missing: Vec<_> = self.isolation.missing_layers().to_vec();
        (self.started, self.isolation.export_users(), Report::new(&missing))
    }

    /// The same in that program, before it adopts children.
    pub(in crate::supervisor) fn resume(&mut self, started: u64, users: Vec<UserEntry>, missing: &Report) {
        self.started = started;
        self.isolation.resume(users, missing.missing());
    }

    /// A child that the earlier program has started.
    pub(in crate::supervisor) fn adopt(
        &mut self,
        entry: ChildEntry,
        inheritance: &mut Inheritance,
    ) -> Result<Process, String> {
        let pid = entry.pid;
        let failed = |what: &str, error: &dyn std::fmt::Display| format!("process {pid}: {what}: {error}");
        let mut copy = |what, number| inheritance.copy(number).map_err(|e| failed(what, &e));
        let child = Child::adopt(pid, copy("pidfd", entry.pidfd)?);
        let control = entry.control.map(|number| copy("control socket", number)).transpose()?;
        let stderr = entry.stderr.map(|number| copy("standard error", number)).transpose()?;
        let tally = entry.confined.as_ref().map(|confined| copy("page", confined.tally)).transpose()?;
        let child = watch(Pidfd(child)).map_err(|e| failed("pidfd", &e))?;
        let link = control.map(|fd| Socket::from_fd(fd).map_err(|e| failed("control socket", &e))).transpose()?;
        let link = link
            .map(|socket| Link::new(socket.with_foreign_peer()).map_err(|e| failed("control socket", &e)))
            .transpose()?;
        let ear = stderr.map(Ear::new).transpose().map_err(|e| failed("standard error", &e))?;
        let leaf = entry.leaf.and_then(|leaf| {
            let adopted = self.cgroups.as_mut()?.adopt(leaf.path, leaf.limits);
            adopted.inspect_err(|e| warn!("process {pid} goes on without a cgroup of its own: {e}")).ok()
        });
        let confined = tally.zip(entry.confined).map(|(tally, confined)| self.isolation.adopt(confined, tally));
        // A keeper has no link; any other child without one is on its way out.
        let kill_at = (link.is_none() && confined.is_some()).then(|| Instant::now() + HANGUP_GRACE);
        Ok(Process { child, link, leaf, confined, ear, label: entry.label, kill_at, ended: None })
    }

    /// All children of the earlier program are adopted: what cgroups it has left beside theirs are removed.
    pub(in crate::supervisor) fn adopted(&mut self) {
        self.cgroups.iter_mut().for_each(Cgroups::take_the_rest);
    }
}

impl Process {
    /// For a program that takes this one's place. Its end must not have been seen.
    pub(in crate::supervisor) fn export(&self) -> ChildEntry {
        let leaf = |leaf: &Leaf| LeafEntry { path: leaf.path().to_owned(), limits: leaf.limits() };
        ChildEntry {
            pid: self.pid(),
            pidfd: self.child.as_raw_fd(),
            label: self.label.clone(),
            control: self.link.as_ref().map(AsRawFd::as_raw_fd),
            stderr: self.ear.as_ref().map(|ear| ear.as_fd().as_raw_fd()),
            leaf: self.leaf.as_ref().map(leaf),
            confined: self.confined.as_ref().map(Confined::export),
        }
    }

    /// It was waited for, and what it said before is still being told.
    pub(in crate::supervisor) fn has_ended(&self) -> bool {
        self.ended.is_some()
    }
}
