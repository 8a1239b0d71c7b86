//! The worker's states and their transitions: every input lands here and is handed to the part it concerns.
//!
//! ```text
//! Serving --Drain--> Draining --no job left--> Finished
//!    |                  '-- timeout, Stop --> Stopping --no job left--^
//!    '-- Stop --------------------------------^
//! ```

use super::intake::Refusal;
use super::job::{Job, Step};
use super::link::{Due, Link};
use super::offer::Offer;
use super::statuses::Statuses;
use super::strange::Told;
use super::wire::{self, FromServer};
use super::{
    Action, Counters, Health, Input, JobEvent, JobId, JobResult, JobState, LinkError, Options, Reason, Snapshot, Tuning,
};
use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

/// Jobs remembered after their end, so that a repeated assignment does not start them again or report them twice.
const ENDED_LIMIT: usize = 128;
/// Configured times are cut to this, so that adding one to an `Instant` cannot overflow.
pub(super) const LONGEST_TIMEOUT: Duration = Duration::from_secs(365 * 24 * 3600);

/// The worker side of the agents protocol.
#[derive(Debug)]
pub struct Worker {
    pub(super) options: Options,
    pub(super) offers: BTreeMap<JobId, Offer>,
    pub(super) jobs: BTreeMap<JobId, Job>,
    /// Assignments that we do not take, and when to say so.
    pub(super) refused: BTreeMap<JobId, Refusal>,
    pub(super) counters: Counters,
    pub(super) told: Told,
    pub(super) mode: Mode,
    link: Link,
    pub(super) health: Health,
    started: Instant,
    pub(super) statuses: Statuses,
    pub(super) ended: VecDeque<JobId>,
    actions: VecDeque<Action>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    Serving,
    Draining { until: Instant },
    Stopping,
    Finished,
}

impl Worker {
    /// A worker that wants to connect at once. `seed` feeds the jitter of its reconnect delays.
    pub fn new(mut options: Options, now: Instant, seed: u64) -> Self {
        options.drain_timeout = options.drain_timeout.min(LONGEST_TIMEOUT);
        options.timeouts = options.timeouts.bounded();
        options.max_jobs = options.max_jobs.max(1);
        let mut worker = Self {
            options,
            offers: BTreeMap::new(),
            jobs: BTreeMap::new(),
            refused: BTreeMap::new(),
            counters: Counters::default(),
            told: Told::default(),
            mode: Mode::Serving,
            link: Link::new(now, seed),
            health: Health::default(),
            started: now,
            statuses: Statuses::default(),
            ended: VecDeque::new(),
            actions: VecDeque::new(),
        };
        worker.time(now);
        worker
    }

    /// Takes one input; poll until `None` afterwards.
    pub fn handle(&mut self, input: Input, now: Instant) {
        if self.mode == Mode::Finished {
            return;
        }
        match input {
            Input::Adopt(spec, restarts) => self.adopt(spec, &restarts, now),
            Input::LinkUp => self.link_up(now),
            Input::LinkDown(error) => self.link_down(&error, now),
            Input::Message(frame) => self.message(&frame, now),
            Input::Answer(job, answer) => self.answer(&job, answer, now),
            Input::Job(job, event) => self.job_event(&job, event, now),
            Input::Health(health) => self.health = health,
            Input::Drain => self.drain(now),
            Input::End(job) => self.end(&job, now),
            Input::Stop => self.stop("worker stops", now),
            Input::StopWithin(limit) => self.stop_within(limit, now),
            Input::Tune(tuning) => self.tune(tuning),
            Input::Time => self.time(now),
        }
        self.report(false, now);
        self.finish_when_empty();
    }

    /// Next action.
    pub fn poll(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// When [`Input::Time`] is due, and why.
    pub fn deadline(&self) -> Option<(Instant, Reason)> {
        let drain = match self.mode {
            Mode::Draining { until } => Some((until, Reason::Drain)),
            Mode::Serving | Mode::Stopping | Mode::Finished => None,
        };
        self.link
            .deadline()
            .into_iter()
            .chain(drain)
            .chain(self.offers.values().map(Offer::deadline))
            .chain(self.refused.values().map(|refusal| (refusal.at, Reason::Filing)))
            .chain(self.jobs.values().filter_map(Job::deadline))
            .min_by_key(|(at, _)| *at)
    }

    /// For operators.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot {
            registered: self.link.is_registered(),
            worker_id: self.link.worker_id().to_owned(),
            draining: self.mode != Mode::Serving,
            load: self.status().load,
            active_jobs: count(self.jobs.len()),
            problem: self.link.problem().to_owned(),
        }
    }

    /// What a job does; none when it is not ours, or has ended.
    pub fn job_state(&self, job: &JobId) -> Option<JobState> {
        self.jobs.get(job).map(Job::state)
    }

    /// The length of the longest table.
    #[cfg(test)]
    pub(super) fn longest(&self) -> usize {
        let statuses = self.statuses.longest();
        let tables = [self.offers.len(), self.jobs.len(), self.refused.len(), statuses, self.ended.len()];
        tables.into_iter().fold(0, usize::max)
    }

    /// What went wrong or was ignored since the start.
    pub fn counters(&self) -> Counters {
        Counters { statuses_lost: self.statuses.lost, ..self.counters }
    }

    pub(super) fn act(&mut self, action: Action) {
        self.actions.push_back(action);
    }

    pub(super) fn send(&mut self, frame: Vec<u8>) {
        self.act(Action::Send(frame));
    }

    pub(super) fn was_ours(&self, job: &JobId) -> bool {
        self.jobs.contains_key(job) || self.ended.contains(job)
    }

    fn link_up(&mut self, now: Instant) {
        if self.link.up(now) {
            self.told = Told::default();
            self.send(wire::register(&self.options));
        }
    }

    fn link_down(&mut self, error: &LinkError, now: Instant) {
        if self.link.down(error, now) {
            self.drop_offers();
        }
    }

    fn message(&mut self, frame: &[u8], now: Instant) {
        self.link.heard(now);
        let message = match wire::decode(frame) {
            Ok(message) => message,
            Err(error) => return self.malformed(&error),
        };
        match message {
            FromServer::Registered { worker_id } if self.link.is_registering() => self.registered(worker_id, now),
            _ if !self.link.is_registered() => self.counters.ignored += 1,
            FromServer::Registered { .. } => self.counters.ignored += 1,
            FromServer::Unknown => self.unknown(),
            FromServer::Pong => self.statuses.ponged(),
            FromServer::Offer(job) => self.offered(job, now),
            FromServer::Unfit(job) => self.decline(&job, false),
            FromServer::Assignment { job, url, token } => self.assigned(job, url, token, now),
            FromServer::Termination(job) => self.terminated(&job, now),
            FromServer::GoAway => self.lose_link("the server sent us elsewhere (go_away)", now),
        }
    }

    /// The status goes first: a fresh registration counts as idle until the server hears otherwise.
    fn registered(&mut self, worker_id: String, now: Instant) {
        self.link.registered(worker_id, now);
        self.report(true, now);
        self.actions.extend(self.statuses.registered().into_iter().map(Action::Send));
        let open: Vec<_> = self.jobs.iter().filter(|(_, job)| job.is_open()).map(|(id, _)| id).collect();
        if !open.is_empty() {
            let frame = wire::migrate(open.into_iter());
            self.send(frame);
        }
        self.actions.extend(self.statuses.running_again().into_iter().map(Action::Send));
    }

    fn terminated(&mut self, id: &JobId, now: Instant) {
        self.forget_offer(id);
        if let Some(job) = self.jobs.get_mut(id) {
            let steps = job.terminated(now);
            self.carry_out(id, steps);
        } else if self.ended.contains(id) {
            self.act(Action::CancelSignOff(id.clone()));
        }
    }

    fn end(&mut self, id: &JobId, now: Instant) {
        if let Some(job) = self.jobs.get_mut(id) {
            let steps = job.stop_by_operator(now);
            self.carry_out(id, steps);
        }
    }

    fn job_event(&mut self, id: &JobId, event: JobEvent, now: Instant) {
        if let Some(job) = self.jobs.get_mut(id) {
            let steps = job.handle(event, now);
            self.carry_out(id, steps);
        }
    }

    fn carry_out(&mut self, id: &JobId, steps: Vec<Step>) {
        for step in steps {
            let job = id.clone();
            match step {
                Step::Running => {
                    let frame = self.statuses.running(id, self.link.is_registered());
                    self.actions.extend(frame.map(Action::Send));
                }
                Step::Conclude(result) => self.conclude(id, &result),
                Step::Terminate { reason, grace } => self.act(Action::Terminate { job, reason, grace }),
                Step::Ack => self.act(Action::Ack(job)),
                Step::Kill => self.act(Action::Kill(job)),
                Step::Failed { error, wait } => self.act(Action::Failed { job, error, wait }),
                Step::Restart => self.act(Action::Restart(job)),
                Step::SignOff => self.act(Action::SignOff(job)),
                Step::Release(result) => {
                    self.jobs.remove(id);
                    self.remember_ended(job.clone());
                    self.act(Action::Release { job, result });
                }
            }
        }
    }

    /// Tells a terminal status now, or after the next registration.
    pub(super) fn conclude(&mut self, job: &JobId, result: &JobResult) {
        let frame = self.statuses.ended(job, result, self.link.is_registered());
        self.actions.extend(frame.map(Action::Send));
    }

    pub(super) fn remember_ended(&mut self, job: JobId) {
        if self.ended.len() == ENDED_LIMIT {
            self.ended.pop_front();
        }
        self.ended.push_back(job);
    }

    pub(super) fn link_worker_id(&self) -> String {
        self.link.worker_id().to_owned()
    }

    fn drain(&mut self, now: Instant) {
        if self.mode == Mode::Serving {
            self.mode = Mode::Draining { until: now + self.options.drain_timeout };
            self.decline_asked();
        }
    }

    fn stop(&mut self, reason: &str, now: Instant) {
        if self.mode == Mode::Stopping {
            return;
        }
        self.mode = Mode::Stopping;
        self.decline_asked();
        self.drop_offers();
        self.each_job(|job| job.stop(reason, now));
    }

    fn stop_within(&mut self, limit: Duration, now: Instant) {
        self.each_job(|job| job.hurry(limit, now));
        self.stop("the system goes down", now);
    }

    fn tune(&mut self, tuning: Tuning) {
        let Tuning { max_jobs, limits, drain_timeout, timeouts, restart } = tuning;
        self.options.max_jobs = max_jobs.max(1);
        self.options.limits = limits;
        self.options.drain_timeout = drain_timeout.min(LONGEST_TIMEOUT);
        self.options.timeouts = timeouts.bounded();
        self.options.restart = restart;
    }

    /// Acts on everything that is due; afterwards the next deadline lies after `now`.
    fn time(&mut self, now: Instant) {
        if let Mode::Draining { until } = self.mode
            && until <= now
        {
            self.stop("drain timeout", now);
        }
        self.expire_offers(now);
        self.report_refusals(now);
        self.each_job(|job| job.time(now));
        while let Some(due) = self.link.due(now) {
            match due {
                Due::Connect => self.act(Action::Connect),
                Due::Ping => {
                    let ms = now.duration_since(self.started).as_millis();
                    self.send(wire::ping(i64::try_from(ms).unwrap_or(i64::MAX)));
                    self.statuses.pinged();
                }
                Due::Status => self.report(true, now),
                Due::Lost => self.link_closed(),
            }
        }
    }

    fn each_job(&mut self, mut step: impl FnMut(&mut Job) -> Vec<Step>) {
        let steps: Vec<_> = self.jobs.iter_mut().map(|(id, job)| (id.clone(), step(job))).collect();
        for (id, steps) in steps {
            self.carry_out(&id, steps);
        }
    }

    fn lose_link(&mut self, why: &str, now: Instant) {
        self.link.abandon(why, now);
        self.link_closed();
    }

    fn link_closed(&mut self) {
        self.act(Action::Close);
        self.drop_offers();
    }

    fn report(&mut self, now_due: bool, now: Instant) {
        let status = self.status();
        if let Some(frame) = self.link.report(status, now_due, now) {
            self.send(frame);
        }
    }

    fn finish_when_empty(&mut self) {
        let ending = matches!(self.mode, Mode::Draining { .. } | Mode::Stopping);
        let empty = self.jobs.is_empty() && self.offers.is_empty() && self.refused.is_empty();
        if !ending || !empty {
            return;
        }
        if self.link.is_open() {
            self.act(Action::Close);
        }
        self.link.close();
        self.mode = Mode::Finished;
        self.act(Action::Finished);
    }
}

pub(super) fn count(jobs: usize) -> u32 {
    u32::try_from(jobs).unwrap_or(u32::MAX)
}
