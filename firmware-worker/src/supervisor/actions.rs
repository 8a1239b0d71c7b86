//! Does what the machine says.

use super::Event;
use super::jobs::Failed;
use super::ledger::Entry;
use super::run::Supervisor;
use super::signoff::{Ghost, Outcome, sign_off};
use crate::control::ToJob;
use protocol::worker::{Action, Answer, Exit, Input, JobEvent, JobId, JobInfo, JobResult, JobSpec, LinkError};
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;
use tracing::{debug, info, warn};

/// Sign-offs at a time. Far above the slots of any board; beyond it ghosts are left to the server's timeout.
const MAX_SIGNOFFS: usize = 32;

/// A sign-off under way.
#[derive(Debug)]
pub(super) struct SigningOff {
    pub room: String,
    pub identity: String,
    /// For a successor of this supervisor.
    pub entry: Entry,
    pub task: JoinHandle<()>,
}

impl Supervisor {
    pub(super) fn execute(&mut self, action: Action) {
        match action {
            Action::Connect => self.uplink = Some(self.uplinks.connect()),
            Action::Send(frame) => self.send(frame),
            Action::Close => self.closing = self.uplink.take().map(|uplink| uplink.close()),
            Action::Ask(job) => self.ask(*job),
            Action::Forget(job) => self.jobs.forget(&job),
            Action::Start(spec) => self.start(spec),
            Action::Terminate { job, reason, grace } => self.terminate(&job, reason, grace),
            Action::Ack(job) => self.acknowledge(job),
            Action::Kill(job) => self.kill(&job),
            Action::Failed { job, error, wait } => self.failed(&job, error, wait),
            Action::Restart(job) => self.restart(job),
            Action::SignOff(job) => self.sign_off(job),
            Action::CancelSignOff(job) => self.cancel_sign_off(&job),
            Action::Release { job, result } => self.release(job, result),
            Action::Finished => self.finished = true,
        }
    }

    /// A queue that is full means a server that does not read: the machine reconnects and says again what matters.
    fn send(&mut self, frame: Vec<u8>) {
        let Some(uplink) = &self.uplink else { return };
        if !uplink.send(frame) {
            self.uplink.take().map(|uplink| uplink.close());
            self.inputs.push_back(Input::LinkDown(LinkError::Broken("the server does not read".into())));
        }
    }

    fn ask(&mut self, job: JobInfo) {
        let id = job.id.clone();
        if let Err(why) = self.jobs.ask(job, &mut self.spawner, Instant::now()) {
            warn!("job {}: nobody to ask: {why}", id.0);
            self.inputs.push_back(Input::Answer(id, Answer::Silent));
        }
    }

    fn start(&mut self, mut spec: Box<JobSpec>) {
        let (job, room) = (spec.job.id.clone(), spec.job.room.name.clone());
        if spec.accept.identity.is_empty() {
            spec.accept.identity = format!("agent-{}", job.0);
        }
        // A successor with the same identity replaces the ghost by joining; the sign-off would hit the successor.
        let identity = &spec.accept.identity;
        self.signoffs.retain(|_, ghost| {
            let replaced = ghost.room == room && ghost.identity == *identity;
            if replaced {
                ghost.task.abort();
            }
            !replaced
        });
        self.totals.jobs_started += 1;
        match self.jobs.start(*spec, &mut self.spawner, Instant::now()) {
            Ok(pid) => info!("job {} room {room:?}: starting in process {pid}", job.0),
            Err(why) => self.job_input(job, JobEvent::Exited(Exit::NotStarted(why))),
        }
    }

    fn terminate(&mut self, job: &JobId, reason: String, grace: Duration) {
        info!("job {}: asked to end: {reason}", job.0);
        let grace_ms = u32::try_from(grace.as_millis()).unwrap_or(u32::MAX);
        // Reasons come from us, or bounded from the wire, but a message must fit whatever they are.
        let reason = reason.chars().take(512).collect();
        self.tell(job, &ToJob::Terminate { reason, grace_ms });
    }

    /// The job leaves its room on this, so the status must be on the wire: otherwise the server sees the participant
    /// leave first and files a result of its own (livekit#4447).
    fn acknowledge(&self, job: JobId) {
        let marked = self.uplink.as_ref().is_some_and(|uplink| uplink.mark(job.clone()));
        if !marked {
            self.tell(&job, &ToJob::Ack);
        }
    }

    /// A job that does not read its socket is caught by its pings or by the machine's deadlines.
    pub(super) fn tell(&self, job: &JobId, message: &ToJob) {
        if let Some(process) = self.jobs.process_of(job)
            && let Err(e) = process.process.send(message, &[])
        {
            debug!("job {}: {e}", job.0);
        }
    }

    fn kill(&self, job: &JobId) {
        if let Some(process) = self.jobs.process_of(job) {
            warn!("job {}: process {} killed", job.0, process.process.pid());
            process.process.kill();
        }
    }

    /// The machine knows that the server did not end the job; whether there is a ghost at all is known here.
    fn sign_off(&mut self, job: JobId) {
        let Some(record) = self.jobs.records.get(&job) else { return };
        let Some(sid) = record.sid.clone().filter(|_| !record.left) else { return };
        let successor = self
            .jobs
            .records
            .iter()
            .any(|(id, other)| *id != job && other.room == record.room && other.identity == record.identity);
        if successor || self.signoffs.len() >= MAX_SIGNOFFS {
            return;
        }
        let url = record.spec.url.clone().unwrap_or_else(|| self.config.server.url.clone());
        let entry = Entry { spec: record.spec.clone(), sid: Some(sid.clone()), over: true, restarted: Vec::new() };
        let ghost = Ghost { url, token: record.spec.token.clone(), sid, identity: record.identity.clone() };
        self.start_sign_off(job, ghost, entry);
    }

    pub(super) fn start_sign_off(&mut self, job: JobId, ghost: Ghost, entry: Entry) {
        let (room, identity) = (entry.spec.job.room.name.clone(), ghost.identity.clone());
        let (tls, resolver, events) = (self.tls.clone(), self.resolver.clone(), self.events.clone());
        let (seed, name) = (self.seed, job.clone());
        let task = tokio::spawn(async move {
            let outcome = sign_off(ghost, tls, resolver, seed).await;
            let _ = events.send(Event::SignedOff { job: name, outcome }).await;
        });
        self.signoffs.insert(job, SigningOff { room, identity, entry, task });
    }

    fn cancel_sign_off(&mut self, job: &JobId) {
        if let Some(ghost) = self.signoffs.remove(job) {
            ghost.task.abort();
            debug!("job {}: terminated by the server, no sign-off", job.0);
        }
    }

    pub(super) fn signed_off(&mut self, job: &JobId, outcome: Outcome) {
        self.signoffs.remove(job);
        match outcome {
            Outcome::SignedOff => info!("job {}: participant signed off", job.0),
            Outcome::AlreadyGone => debug!("job {}: participant was gone already", job.0),
            Outcome::Refused(status) => warn!("job {}: sign-off refused (HTTP {status})", job.0),
            Outcome::GivenUp => warn!("job {}: sign-off given up, the server will notice by itself", job.0),
        }
    }

    fn release(&mut self, job: JobId, result: JobResult) {
        let record = self.jobs.records.remove(&job);
        let (room, seconds) = record.map_or_else(Default::default, |r| (r.room, r.started.elapsed().as_secs()));
        match &result {
            JobResult::Success { reason } | JobResult::Stopped { reason } => {
                self.totals.jobs_succeeded += 1;
                info!("job {} room {room:?}: ended after {seconds} s: {reason}", job.0);
            }
            JobResult::Failed { error } => {
                self.totals.jobs_failed += 1;
                warn!("job {} room {room:?}: failed after {seconds} s: {error}", job.0);
                let (error, at) = (error.clone(), Instant::now());
                self.jobs.remember(Failed { id: job.clone(), room, error, at });
            }
        }
        self.tell_stopped(&job, &result);
        self.last_result = Some(result);
    }
}
