//! The table of job processes, and what is known of the jobs in them.
//!
//! ```text
//! Warming --Prewarmed--> Idle --offer--> Asked --answer--> Idle
//!    '------ spec ---------'------ spec --------> Assigned --> gone
//! ```
//!
//! A process takes one job in its life. At most one without a job is kept ready.

mod handover;
mod phase;

use super::asks::Asks;
use super::cgroup::Limits;
use super::process::{Happened, Kind, Plan, Process, Spawner};
use super::pulse::Pulse;
use super::restarts::note_restart;
use crate::control::{FromJob, JobSetup, JobStats, ToJob, token::Parts};
use hal::process::resolvers;
pub(super) use phase::Phase;
use protocol::backoff::Backoff;
use protocol::worker::{JobId, JobInfo, JobSpec};
use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tracing::info;

/// A used process is replaced this late: the job that took it needs the board's cores first.
const REPLACE_AFTER: Duration = Duration::from_secs(1);

/// Between attempts to prewarm: a preparation that always fails must not cost a core (agents#4857).
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// Failed jobs that operators can still see.
const FAILED: usize = 8;

/// Names a job process; never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ProcessId(pub u64);

/// All job processes and jobs.
#[derive(Debug)]
pub(super) struct Jobs {
    pub(super) processes: BTreeMap<ProcessId, JobProcess>,
    pub(super) records: BTreeMap<JobId, Record>,
    /// The last [`FAILED`] that failed.
    pub(super) failed: VecDeque<Failed>,
    setup: JobSetup,
    limits: Limits,
    /// Restarts of jobs of an earlier life, until they are started.
    inherited: BTreeMap<JobId, Vec<u64>>,
    next: u64,
    /// Offers that wait for a process that can be asked; bounded by the machine's slots.
    offers: VecDeque<JobInfo>,
    warm_at: Instant,
    backoff: Backoff,
    seed: u64,
}

/// A job process.
#[derive(Debug)]
pub(super) struct JobProcess {
    pub process: Process,
    pub phase: Phase,
    pub pulse: Pulse,
    pub stats: JobStats,
    pub started: Instant,
    /// Where it finds `resolv.conf`.
    pub resolvers: Vec<PathBuf>,
    /// Said Hello.
    pub greeted: bool,
    /// What it asks of us.
    pub asks: Asks,
    /// Of a new token.
    pub token: Parts,
    /// Its user runtime was reported as blocked.
    pub blocked: bool,
    /// Its use of memory was reported.
    pub large: bool,
}

/// What is known of a job besides its state, which the machine has.
#[derive(Debug)]
pub(super) struct Record {
    pub process: ProcessId,
    pub room: String,
    pub identity: String,
    /// As it was assigned, with the newest token.
    pub spec: JobSpec,
    /// Its participant, once it has joined.
    pub sid: Option<String>,
    /// Has sent Leave.
    pub left: bool,
    pub started: Instant,
    /// Since it was assigned.
    pub restarts: u32,
    /// When, for a successor of this supervisor: [`super::ledger::Entry`].
    pub restarted: Vec<u64>,
    /// Why it was started again.
    pub last_failure: Option<String>,
}

/// A job that is no more.
#[derive(Debug)]
pub(super) struct Failed {
    pub id: JobId,
    pub room: String,
    pub error: String,
    pub at: Instant,
}

impl Jobs {
    pub(super) fn new(setup: JobSetup, limits: Limits, now: Instant, seed: u64) -> Self {
        Self {
            processes: BTreeMap::new(),
            records: BTreeMap::new(),
            failed: VecDeque::new(),
            setup,
            limits,
            inherited: BTreeMap::new(),
            next: 0,
            offers: VecDeque::new(),
            warm_at: now,
            backoff: Backoff::new(RETRY.0, RETRY.1),
            seed,
        }
    }

    /// The next thing that any job process did.
    pub(super) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<(ProcessId, Happened<FromJob>)> {
        for (id, job) in &mut self.processes {
            if let Poll::Ready(happened) = job.process.poll_next(cx) {
                return Poll::Ready((*id, happened));
            }
        }
        Poll::Pending
    }

    /// A message that waits in any job's socket.
    pub(super) fn try_next(&mut self) -> Option<(ProcessId, Happened<FromJob>)> {
        self.processes.iter_mut().find_map(|(id, job)| Some((*id, job.process.try_next()?)))
    }

    /// Hands the job to a process that has none, or to a new one; its pid.
    pub(super) fn start(&mut self, spec: JobSpec, spawner: &mut Spawner, now: Instant) -> Result<i32, String> {
        let process = self.place(&spec, spawner, now)?;
        let record = Record {
            process,
            room: spec.job.room.name.clone(),
            identity: spec.accept.identity.clone(),
            sid: None,
            left: false,
            started: now,
            restarts: 0,
            restarted: self.inherited.remove(&spec.job.id).unwrap_or_default(),
            last_failure: None,
            spec,
        };
        self.records.insert(record.spec.job.id.clone(), record);
        Ok(self.pid(process))
    }

    /// A job of an earlier life is about to be started, for which that counts as a restart.
    pub(super) fn inherit(&mut self, job: JobId, mut restarted: Vec<u64>) {
        note_restart(&mut restarted);
        self.inherited.insert(job, restarted);
    }

    /// The same for a job whose process is gone.
    pub(super) fn restart(&mut self, job: &JobId, spawner: &mut Spawner, now: Instant) -> Result<i32, String> {
        let spec = self.records.get(job).map(|record| record.spec.clone()).ok_or("the job is not known")?;
        let process = self.place(&spec, spawner, now)?;
        if let Some(record) = self.records.get_mut(job) {
            record.process = process;
        }
        Ok(self.pid(process))
    }

    fn place(&mut self, spec: &JobSpec, spawner: &mut Spawner, now: Instant) -> Result<ProcessId, String> {
        // A prewarmed process may have died without our knowing yet; a new one has not.
        let id = match self.ready_for_a_job() {
            Some(id) if self.sees_names(id) && self.hand_over(id, spec) => id,
            _ => {
                let id = self.spawn(spec.limits, spawner, now)?;
                if !self.hand_over(id, spec) {
                    return Err("its new process cannot be given the job".into());
                }
                id
            }
        };
        self.warm_at = self.warm_at.max(now + REPLACE_AFTER);
        Ok(id)
    }

    fn pid(&self, id: ProcessId) -> i32 {
        self.processes.get(&id).map_or(0, |process| process.process.pid())
    }

    /// False, and the process killed, if a resolver has come since it was started, as on a board that starts: what a child
    /// sees of the system is fixed at its start.
    fn sees_names(&self, id: ProcessId) -> bool {
        let Some(process) = self.processes.get(&id) else { return false };
        let sees = process.resolvers == resolvers();
        if !sees {
            info!(
                "prewarmed process {} is replaced: the system keeps its resolv.conf elsewhere now",
                process.process.pid()
            );
            process.process.kill();
        }
        sees
    }

    /// False, and the process killed, if it takes nothing, or has more memory already than the job may have.
    fn hand_over(&mut self, id: ProcessId, spec: &JobSpec) -> bool {
        let Some(process) = self.processes.get_mut(&id) else { return false };
        // Before the job can do anything.
        let limited = process.process.limit(spec.limits);
        if !matches!(limited, Ok(true)) {
            let why = limited.err().unwrap_or_else(|| "it uses more memory than the job may have".into());
            info!("prewarmed process {} is replaced: {why}", process.process.pid());
            process.process.kill();
            return false;
        }
        process.process.call(format!("job {}", spec.job.id.0));
        if matches!(process.phase, Phase::Warming(_)) {
            process.phase = Phase::Warming(Some(Box::new(spec.clone())));
            return true;
        }
        let sent = process.process.send_long(&ToJob::Spec, "job", spec).is_ok();
        if sent {
            process.phase = Phase::Assigned(spec.job.id.clone());
        } else {
            process.process.kill();
        }
        sent
    }

    /// Asks `on_request`, now or as soon as a process can be asked.
    pub(super) fn ask(&mut self, offer: JobInfo, spawner: &mut Spawner, now: Instant) -> Result<(), String> {
        let any = self.processes.values().any(|p| p.unassigned());
        self.offers.push_back(offer);
        if !any {
            self.spawn(self.limits, spawner, now)?;
        }
        self.ask_next();
        Ok(())
    }

    /// Sends a waiting offer to an idle process.
    pub(super) fn ask_next(&mut self) {
        let idle = self.processes.values_mut().find(|p| matches!(p.phase, Phase::Idle));
        if let (Some(process), Some(offer)) = (idle, self.offers.front())
            && process.process.send_long(&ToJob::Offer, "offer", offer).is_ok()
        {
            process.phase = Phase::Asked(offer.id.clone());
            self.offers.pop_front();
        }
    }

    /// The offer is settled. A process that still thinks about it is killed: its answer would pass for the next one's.
    pub(super) fn forget(&mut self, job: &JobId) {
        self.offers.retain(|offer| offer.id != *job);
        for process in self.processes.values() {
            if matches!(&process.phase, Phase::Asked(asked) if asked == job) {
                process.process.kill();
            }
        }
    }

    /// It has run its preparation: takes what waits for it.
    pub(super) fn prewarmed(&mut self, id: ProcessId) -> Result<Option<Duration>, String> {
        let Some(process) = self.processes.get_mut(&id) else { return Ok(None) };
        let took = process.started.elapsed();
        match std::mem::replace(&mut process.phase, Phase::Idle) {
            Phase::Warming(Some(spec)) => {
                process.phase = Phase::Assigned(spec.job.id.clone());
                process.process.send_long(&ToJob::Spec, "job", &*spec).map_err(|e| e.to_string())?;
            }
            Phase::Warming(None) => {
                self.backoff.reset();
                self.ask_next();
            }
            // Said twice: nothing new.
            phase => process.phase = phase,
        }
        Ok(Some(took))
    }

    /// The process is gone. Its job, if it had one, or the offer it was asked about.
    pub(super) fn remove(&mut self, id: ProcessId, now: Instant) -> Option<JobProcess> {
        let process = self.processes.remove(&id)?;
        if process.unassigned() {
            let wait = self.backoff.fail(self.seed.rotate_left(self.backoff.failures()));
            self.warm_at = now + wait;
        }
        Some(process)
    }

    /// Kept for operators to see.
    pub(super) fn remember(&mut self, failed: Failed) {
        if self.failed.len() == FAILED {
            self.failed.pop_front();
        }
        self.failed.push_back(failed);
    }

    /// When a process should be prewarmed, if one is wanted and there is none.
    pub(super) fn warm_due(&self, wanted: bool) -> Option<Instant> {
        let any = self.processes.values().any(JobProcess::unassigned);
        (wanted && !any).then_some(self.warm_at)
    }

    /// Prewarms a process.
    pub(super) fn warm(&mut self, spawner: &mut Spawner, now: Instant) -> Result<(), String> {
        // Until it is ready, and if it never is, this attempt counts.
        self.warm_at = now + RETRY.0;
        let spawned = self.spawn(self.limits, spawner, now).map(drop);
        if spawned.is_err() {
            self.warm_at = now + self.backoff.fail(self.seed);
        }
        spawned
    }

    /// For jobs that are started from now on.
    pub(super) fn reconfigure(&mut self, options: String, shutdown_timeout: Duration, limits: Limits) {
        self.setup.options = options;
        self.setup.shutdown_timeout_ms = in_ms(shutdown_timeout);
        self.limits = limits;
        for process in self.processes.values_mut().filter(|process| process.unassigned()) {
            if !matches!(process.phase, Phase::Asked(_)) {
                process.phase = Phase::Retired;
                process.process.hang_up();
            }
        }
    }

    pub(super) fn process_of(&self, job: &JobId) -> Option<&JobProcess> {
        self.processes.get(&self.records.get(job)?.process)
    }

    fn ready_for_a_job(&self) -> Option<ProcessId> {
        let idle = self.processes.iter().find(|(_, p)| matches!(p.phase, Phase::Idle));
        let warming = || self.processes.iter().find(|(_, p)| matches!(p.phase, Phase::Warming(None)));
        idle.or_else(warming).map(|(id, _)| *id)
    }

    fn spawn(&mut self, limits: Limits, spawner: &mut Spawner, now: Instant) -> Result<ProcessId, String> {
        let plan = Plan { name: "job", subcommand: crate::cli::JOB, limits, kind: Kind::Job };
        let resolvers = resolvers();
        let process = spawner.spawn(plan, &ToJob::Setup, &self.setup)?;
        self.next += 1;
        let id = ProcessId(self.next);
        let job = JobProcess {
            process,
            phase: Phase::Warming(None),
            pulse: Pulse::default(),
            stats: JobStats::default(),
            started: now,
            resolvers,
            greeted: false,
            asks: Asks::new(now),
            token: Parts::default(),
            blocked: false,
            large: false,
        };
        self.processes.insert(id, job);
        Ok(id)
    }
}

/// As it goes to jobs.
pub(super) fn in_ms(time: Duration) -> u32 {
    u32::try_from(time.as_millis()).unwrap_or(u32::MAX)
}

impl JobProcess {
    /// Has no job and waits for none.
    pub(super) fn unassigned(&self) -> bool {
        matches!(self.phase, Phase::Warming(None) | Phase::Idle | Phase::Asked(_))
    }

    /// Its job.
    pub(super) fn job(&self) -> Option<&JobId> {
        match &self.phase {
            Phase::Assigned(job) => Some(job),
            Phase::Warming(Some(spec)) => Some(&spec.job.id),
            Phase::Warming(None) | Phase::Idle | Phase::Asked(_) | Phase::Retired => None,
        }
    }
}
