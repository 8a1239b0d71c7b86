//! Brings jobs and device owners together: checks what a job asks for, makes a socketpair, gives one end to each.

use super::jobs::ProcessId;
use super::process::Happened;
use super::run::Supervisor;
use super::{Event, holder};
use crate::control::{FromOwner, OLDEST, OwnerState, ToJob, ToOwner, VERSION, is_spoken};
use hal::process::Socket;
use protocol::worker::{Exit, JobId};
use std::os::fd::AsFd;
use std::path::Path;
use std::time::Instant;
use tracing::{debug, info, warn};

/// Characters.
const MAX_LABEL: usize = 128;

impl Supervisor {
    /// A job wants a device.
    pub(super) fn open_source(&mut self, reader: ProcessId, name: String, now: Instant) {
        match self.attach(reader, &name, now) {
            Ok(()) => {}
            Err(why) => self.deny(reader, &name, why),
        }
    }

    /// The job says it, once: either it ends with this error or it asks again.
    pub(super) fn deny(&mut self, reader: ProcessId, name: &str, why: String) {
        debug!("{}: source {name:?} denied: {why}", self.reader_label(reader));
        self.tell_process(reader, &ToJob::Denied { name: name.chars().take(MAX_LABEL).collect(), why });
    }

    /// Those who waited for an owner that can be started again now.
    pub(super) fn serve_waiting(&mut self, now: Instant) {
        for (name, reader) in self.owners.due(now) {
            self.open_source(reader, name, now);
        }
    }

    fn attach(&mut self, reader: ProcessId, name: &str, now: Instant) -> Result<(), String> {
        let label = self.reader_label(reader);
        let Some(job) = self.jobs.processes.get(&reader) else { return Ok(()) };
        if job.job().is_none() {
            return Err("the process has no job".into());
        }
        // A dead owner comes back soon, and the reader is served then.
        let Some(socket) = self.reader(name, label, now)? else {
            self.owners.wait(name, reader);
            return Ok(());
        };
        self.owners.served(name, reader);
        let Some(job) = self.jobs.processes.get(&reader) else { return Ok(()) };
        // If this fails the owner sees its reader's socket closed, which is what happened.
        job.process.send(&ToJob::SourceFd { name: name.to_owned() }, &[socket.as_fd()]).map_err(|e| e.to_string())
    }

    /// A reader's end of a socket to this device's owner, which is started if need be; nothing while a dead one waits for
    /// its restart. `label` names the reader in the owner's log, and each has one place.
    pub(super) fn reader(&mut self, name: &str, label: String, now: Instant) -> Result<Option<Socket>, String> {
        let Some(owner) = self.owners.demand(name, &mut self.spawner, now)? else { return Ok(None) };
        let (for_owner, for_reader) = Socket::pair().map_err(|e| format!("socketpair: {e}"))?;
        let sent = owner.send(&ToOwner::Reader { job: label }, &[for_owner.as_fd()]);
        Ok(sent
            .inspect_err(|e| debug!("device {name}: reader waits for the next owner: {e}"))
            .ok()
            .map(|()| for_reader))
    }

    pub(super) fn owner_happened(&mut self, name: &str, happened: Happened<FromOwner>, now: Instant) {
        match happened {
            Happened::Said(message) => self.owner_said(name, message),
            Happened::Violated(violation) => warn!("device {name}: owner process killed: {violation}"),
            Happened::Ended(exit) => self.owner_ended(name, &exit, now),
        }
    }

    fn owner_said(&mut self, name: &str, message: FromOwner) {
        let Some(owner) = self.owners.table.get_mut(name) else { return };
        let greets = match message {
            FromOwner::Hello { version } => is_spoken(version),
            FromOwner::Panic { .. } => true,
            _ => owner.greeted,
        };
        if !greets {
            let versions = format!("version {OLDEST} to {VERSION} of the control protocol");
            warn!("device {name}: owner process killed: did not greet in {versions}");
            return owner.process.iter().for_each(|process| process.kill());
        }
        match message {
            FromOwner::Hello { .. } => owner.greeted = true,
            FromOwner::NeedNode { path } => self.open_node(name, &path),
            FromOwner::WhoHolds { device } => self.find_holder(name, device),
            FromOwner::State(state) => {
                match &state {
                    OwnerState::Closed => info!("device {name}: closed"),
                    OwnerState::Running(what) => info!("device {name}: {what}"),
                    OwnerState::Lost(why) => warn!("device {name}: lost: {why}"),
                }
                owner.state = state;
            }
            FromOwner::Pong { id, stats } => {
                if owner.pulse.pong(id) {
                    owner.counted(stats, Instant::now());
                    self.serve_postponed(name);
                }
            }
            FromOwner::Facts(facts) => owner.learned(facts),
            FromOwner::Violated { job, why } => self.violated(name, &job, &why),
            FromOwner::Panic { message, location } => owner.panic = Some(format!("panic: {message} ({location})")),
        }
    }

    /// It lives: so those that it could not take before, as its socket was full, need not wait for the next one.
    fn serve_postponed(&mut self, name: &str) {
        let waiting = self.owners.table.get_mut(name).map(|owner| std::mem::take(&mut owner.waiting));
        for reader in waiting.unwrap_or_default() {
            self.open_source(reader, name.to_owned(), Instant::now());
        }
    }

    /// Jobs see the end of their sockets and ask again.
    fn owner_ended(&mut self, name: &str, exit: &Exit, now: Instant) {
        let Some(owner) = self.owners.ended(name, now) else { return };
        if std::mem::take(&mut owner.outdated) {
            owner.state = OwnerState::Closed;
            info!("device {name}: owner process of the program before ended: {exit}");
            let configured = self.config.devices.iter().find(|device| device.name == name);
            return self.owners.renew(name, configured).into_iter().for_each(|keeper| self.spawner.let_go(keeper));
        }
        self.totals.owner_deaths += 1;
        let why = owner.panic.take().unwrap_or_else(|| exit.to_string());
        warn!("device {name}: owner process ended: {why}");
        owner.state = OwnerState::Lost(format!("owner process ended: {why}"));
    }

    /// It reads some thousand links, so off the loop.
    fn find_holder(&mut self, name: &str, busy: String) {
        let Some(owner) = self.owners.table.get_mut(name) else { return };
        let Some(process) = owner.process.as_ref().filter(|_| !owner.asking) else { return };
        let ours = [process.pid().unsigned_abs(), std::process::id()];
        owner.asking = true;
        let (device, start, events) = (owner.device.clone(), owner.starts, self.events.clone());
        tokio::spawn(async move {
            let name = device.name.clone();
            let look = move || holder::describe(Path::new("/proc"), &device, &busy, &ours);
            let who = tokio::task::spawn_blocking(look).await.unwrap_or_else(|_| "in use".into());
            let _ = events.send(Event::Holder { device: name, start, who }).await;
        });
    }

    pub(super) fn holder_found(&mut self, name: &str, start: u32, who: String) {
        let Some(owner) = self.owners.table.get_mut(name).filter(|owner| owner.starts == start) else { return };
        owner.asking = false;
        if let Some(process) = &owner.process
            && let Err(e) = process.send(&ToOwner::Holder { who }, &[])
        {
            debug!("device {name}: {e}");
        }
    }

    fn tell_process(&self, id: ProcessId, message: &ToJob) {
        if let Some(process) = self.jobs.processes.get(&id)
            && let Err(e) = process.process.send(message, &[])
        {
            debug!("process {}: {e}", process.process.pid());
        }
    }

    fn reader_label(&self, reader: ProcessId) -> String {
        let job = self.jobs.processes.get(&reader).and_then(|process| process.job());
        job.map_or_else(|| "process without a job".to_owned(), label)
    }
}

/// What owners call a job.
pub(super) fn label(job: &JobId) -> String {
    job.0.chars().take(MAX_LABEL).collect()
}
