//! What job processes say and how they end.

use super::Event;
use super::broker::label;
use super::cgroup::Memory;
use super::hearing::masked;
use super::jobs::{JobProcess, Phase, ProcessId};
use super::process::Happened;
use super::pulse::Check;
use super::run::Supervisor;
use crate::control::{FromJob, JobStats, MAX_REQUESTS, OLDEST, TOO_OFTEN, ToJob, VERSION, is_spoken};
use protocol::worker::{Answer, Exit, Input, JobEvent, JobResult, complaint};
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tracing::{debug, info, warn};

/// Bytes of a participant's sid at most: the server's are shorter.
const MAX_SID: usize = 64;

/// A room driver says this of itself when its own turns take as long; the limit is that of a missing pong.
const DRIVER_LIMIT: Duration = super::pulse::SILENCE_LIMIT;

/// User code that blocks for this long is mentioned; `unresponsive_timeout` ends the job.
const BLOCKED_WARNING: Duration = Duration::from_secs(10);

impl Supervisor {
    pub(super) fn job_happened(&mut self, id: ProcessId, happened: Happened<FromJob>) {
        match happened {
            Happened::Said(message) => self.job_said(id, message),
            Happened::Violated(violation) => self.condemn(id, violation.to_string()),
            Happened::Ended(exit) => self.job_exited(id, exit),
        }
    }

    pub(super) fn job_said(&mut self, id: ProcessId, message: FromJob) {
        let Some(process) = self.jobs.processes.get_mut(&id) else { return };
        let greets = match message {
            FromJob::Hello { version } => is_spoken(version),
            FromJob::Panic { .. } => true,
            _ => process.greeted,
        };
        if !greets {
            return self.condemn(id, format!("did not greet in version {OLDEST} to {VERSION} of the control protocol"));
        }
        if costs(&message) && !process.asks.may_ask(Instant::now()) {
            return self.condemn(id, format!("asked for more than {MAX_REQUESTS} things in a second"));
        }
        match message {
            FromJob::Hello { .. } => process.greeted = true,
            FromJob::Prewarmed => self.job_prewarmed(id),
            FromJob::Answer(answer) => self.answered(id, answer),
            FromJob::Ready => self.job_event(id, JobEvent::Ready),
            FromJob::OpenSource { name } => {
                let now = Instant::now();
                if process.asks.may_open(now) {
                    self.open_source(id, name, now);
                } else {
                    self.deny(id, &name, TOO_OFTEN.into());
                }
            }
            FromJob::Joined { sid } => self.joined(id, sid),
            FromJob::Token(token) => self.with_record(id, |record| record.spec.token = token),
            FromJob::TokenPart { at, part, last } => {
                if let Some(token) = process.token.take(at, &part, last) {
                    self.with_record(id, |record| record.spec.token = token);
                }
            }
            FromJob::Rejoining => self.job_event(id, JobEvent::Rejoining),
            FromJob::Rejoined => self.job_event(id, JobEvent::Rejoined),
            FromJob::Ending(result) => {
                // All of them are told to the log.
                let result = match result {
                    JobResult::Failed { error } => JobResult::Failed { error: self.with_causes(id, error) },
                    well @ (JobResult::Success { .. } | JobResult::Stopped { .. }) => {
                        well.map_text(|text| masked(&text))
                    }
                };
                self.job_event(id, JobEvent::Ending(result));
            }
            FromJob::Failing(error) => self.conclude(id, error),
            FromJob::Left => self.with_record(id, |record| record.left = true),
            FromJob::Resolve { id: question, host, port } => self.resolve(id, question, host, port),
            FromJob::Pong { id: ping, driver_ms, user_ms, stats } => self.pong(id, ping, driver_ms, user_ms, stats),
            FromJob::Panic { message, location } => {
                self.conclude(id, format!("panic: {message} ({location})"));
            }
        }
    }

    fn job_prewarmed(&mut self, id: ProcessId) {
        match self.jobs.prewarmed(id) {
            Ok(Some(took)) => self.totals.initialized(took),
            Ok(None) => {}
            Err(why) => self.condemn(id, why),
        }
    }

    fn answered(&mut self, id: ProcessId, answer: Answer) {
        let Some(process) = self.jobs.processes.get_mut(&id) else { return };
        // An answer to no question changes nothing.
        let Phase::Asked(job) = &process.phase else { return };
        let job = job.clone();
        process.phase = Phase::Idle;
        self.inputs.push_back(Input::Answer(job, answer));
        self.jobs.ask_next();
    }

    fn joined(&mut self, id: ProcessId, sid: String) {
        // It goes to the log, and into the sign-off.
        if sid.len() > MAX_SID || !sid.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte)) {
            return self.condemn(id, "joined as what is no participant".into());
        }
        let Some(job) = self.jobs.processes.get(&id).and_then(|p| p.job()).cloned() else { return };
        let Some(record) = self.jobs.records.get_mut(&job) else { return };
        match &record.sid {
            None => {
                let took = record.started.elapsed().as_millis();
                info!("job {} room {:?}: joined as {sid} after {took} ms", job.0, record.room);
            }
            Some(before) if *before != sid => info!("job {} room {:?}: rejoined as {sid}", job.0, record.room),
            Some(_) => {}
        }
        record.sid = Some(sid);
        self.job_input(job, JobEvent::Joined);
    }

    fn resolve(&mut self, id: ProcessId, question: u32, host: String, port: u16) {
        let Some(process) = self.jobs.processes.get_mut(&id) else { return };
        let Some(turn) = process.asks.take_question(question) else {
            return self.resolved_with(id, question, Err("too many questions at a time".into()));
        };
        let (resolver, events) = (self.resolver_of_jobs.clone(), self.events.clone());
        tokio::spawn(async move {
            let _turn = turn.acquire_owned().await;
            let result = resolver.resolve(&host, port).await;
            let _ = events.send(Event::Resolved { process: id, id: question, result }).await;
        });
    }

    pub(super) fn resolved(&mut self, id: ProcessId, question: u32, result: Result<Vec<SocketAddr>, String>) {
        if self.jobs.processes.get_mut(&id).is_some_and(|process| process.asks.answered(question)) {
            self.resolved_with(id, question, result);
        }
    }

    /// A successor of this supervisor would not know of them.
    pub(super) fn give_up_questions(&mut self) {
        let asked = self.jobs.processes.iter_mut().map(|(id, process)| (*id, process.asks.give_up()));
        for (id, questions) in asked.collect::<Vec<_>>() {
            for question in questions {
                self.resolved_with(id, question, Err("the worker is being replaced: ask again".into()));
            }
        }
    }

    fn resolved_with(&self, id: ProcessId, question: u32, result: Result<Vec<SocketAddr>, String>) {
        let (addresses, error) = result.map_or_else(|error| (Vec::new(), error), |found| (found, String::new()));
        if let Some(process) = self.jobs.processes.get(&id)
            && let Err(e) = process.process.send(&ToJob::Addresses { id: question, addresses, error }, &[])
        {
            debug!("process {}: {e}", process.process.pid());
        }
    }

    fn pong(&mut self, id: ProcessId, ping: u32, driver_ms: u32, user_ms: u32, stats: JobStats) {
        let Some(process) = self.jobs.processes.get_mut(&id) else { return };
        if !process.pulse.pong(ping) {
            return;
        }
        let before = std::mem::replace(&mut process.stats, stats);
        self.owners.passed(&process.stats.stages, &before.stages);
        let (driver, user) = (Duration::from_millis(driver_ms.into()), Duration::from_millis(user_ms.into()));
        let job = process.job().map(|job| job.0.clone()).unwrap_or_default();
        let was_blocked = std::mem::replace(&mut process.blocked, user >= BLOCKED_WARNING);
        if driver >= DRIVER_LIMIT {
            return self.condemn(id, format!("room driver silent for {} s", driver.as_secs()));
        }
        if job.is_empty() {
            return;
        }
        if user >= self.config.worker.unresponsive_timeout {
            return self.condemn(id, format!("entrypoint blocked for {} s", user.as_secs()));
        }
        if user >= BLOCKED_WARNING && !was_blocked {
            warn!("job {job}: entrypoint blocks its thread since {} s", user.as_secs());
        }
        self.look_at_memory(id);
    }

    /// A job that grows is told once, before its limit ends it, and again when it has been below the mark.
    fn look_at_memory(&mut self, id: ProcessId) {
        let Some(process) = self.jobs.processes.get_mut(&id) else { return };
        let Some(Memory { used, limit }) = process.process.memory() else { return };
        let Some(mark) = self.config.limits.job_memory_warning.mark(limit) else { return };
        let was_large = std::mem::replace(&mut process.large, used >= mark);
        if let Some(job) = process.job().filter(|_| process.large && !was_large) {
            let of = limit.map_or_else(String::new, |limit| format!(" of {}", limit >> 20));
            warn!("job {} uses {}{of} MiB of memory (told from {} MiB on)", job.0, used >> 20, mark >> 20);
        }
    }

    /// Pings, and ends what does not answer.
    pub(super) fn check_jobs(&mut self, now: Instant) {
        let mut condemned = Vec::new();
        let limit = self.config.worker.initialize_timeout;
        for (id, job) in &mut self.jobs.processes {
            if matches!(job.phase, Phase::Warming(None)) && now.duration_since(job.started) >= limit {
                condemned.push((*id, format!("not prewarmed in {} s", limit.as_secs())));
                continue;
            }
            match job.pulse.tick() {
                // One that does not read has not answered either.
                Check::Ping(ping) => drop(job.process.send(&ToJob::Ping { id: ping }, &[])),
                Check::Wait => {}
                Check::Silent => condemned.push((*id, "room driver silent".to_owned())),
            }
        }
        for (id, why) in condemned {
            self.condemn(id, why);
        }
    }

    /// Ends a process that broke a rule: its job's status first, then the kill; the sign-off follows its death. It is heard no
    /// more, as what it has sent before would condemn it again, with a line of the log each time.
    fn condemn(&mut self, id: ProcessId, why: String) {
        let Some(process) = self.jobs.processes.get_mut(&id) else { return };
        warn!("job process {} killed: {why}", process.process.pid());
        process.process.kill();
        process.process.hang_up();
        self.conclude(id, why);
    }

    /// It broke the rules of an owner's socket: with the next one it would do so again. An owner is believed of its own readers
    /// alone: a process that has followed one has done nothing yet.
    pub(super) fn violated(&mut self, device: &str, job: &str, why: &str) {
        let Some(owner) = self.owners.table.get(device) else { return };
        let culprit = |id: &&ProcessId| {
            let process = self.jobs.processes.get(id);
            process.and_then(JobProcess::job).is_some_and(|id| label(id) == job)
        };
        if let Some(id) = owner.readers.iter().find(culprit).copied() {
            self.condemn(id, format!("device {device}: {why}"));
        }
    }

    fn conclude(&mut self, id: ProcessId, error: String) {
        let error = self.with_causes(id, error);
        match self.jobs.processes.get(&id).and_then(|p| p.job()).cloned() {
            Some(job) => self.job_input(job, JobEvent::Failing(error)),
            None => warn!("job process without a job: {error}"),
        }
    }

    /// A failure is told with the limit that may have caused it, as the job sees only that something cannot be had, and
    /// with the last that its process wrote to its standard error.
    fn with_causes(&mut self, id: ProcessId, error: String) -> String {
        let Some(process) = self.jobs.processes.get_mut(&id).map(|job| &mut job.process) else { return error };
        let error = masked(&error);
        let error = match process.out_of_processes() {
            Some(limit) => format!("process limit {limit} reached; {error}"),
            None => error,
        };
        complaint(&error, &process.last_words())
    }

    fn job_exited(&mut self, id: ProcessId, exit: Exit) {
        let Some(process) = self.jobs.remove(id, Instant::now()) else { return };
        self.owners.forget(id);
        if let Phase::Asked(offer) = &process.phase {
            self.inputs.push_back(Input::Answer(offer.clone(), Answer::Silent));
        }
        match process.job() {
            Some(job) => self.job_input(job.clone(), JobEvent::Exited(exit)),
            None if matches!(process.phase, Phase::Retired) => {}
            None => warn!("job process {} without a job ended: {exit}", process.process.pid()),
        }
    }

    fn job_event(&mut self, id: ProcessId, event: JobEvent) {
        if let Some(job) = self.jobs.processes.get(&id).and_then(|p| p.job()).cloned() {
            self.job_input(job, event);
        }
    }

    fn with_record(&mut self, id: ProcessId, change: impl FnOnce(&mut super::jobs::Record)) {
        let Some(job) = self.jobs.processes.get(&id).and_then(|p| p.job()) else { return };
        if let Some(record) = self.jobs.records.get_mut(job) {
            change(record);
        }
    }
}

/// Whether a message makes us do more than note a fact. Sources are counted apart.
fn costs(message: &FromJob) -> bool {
    match message {
        FromJob::Joined { .. }
        | FromJob::Token(_)
        | FromJob::TokenPart { last: true, .. }
        | FromJob::Ending(_)
        | FromJob::Failing(_)
        | FromJob::Resolve { .. }
        | FromJob::Panic { .. } => true,
        FromJob::Hello { .. }
        | FromJob::Prewarmed
        | FromJob::Answer(_)
        | FromJob::Ready
        | FromJob::OpenSource { .. }
        | FromJob::Rejoining
        | FromJob::Rejoined
        | FromJob::Left
        | FromJob::TokenPart { last: false, .. }
        | FromJob::Pong { .. } => false,
    }
}
