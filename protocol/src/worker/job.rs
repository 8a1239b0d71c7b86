//! One assigned job, from the start of its process to the end of it.
//!
//! ```text
//! Starting --Ready--> Joining --Joined--> Running --terminate, stop, no join--> Stopping --Ending--> Leaving
//!     |                  '------------------ Ending (of its own accord) ----------------------------^  |
//!     '-- not ready --> Killed <-- not ended in time ------------------------------------ not gone ----'
//!                         '--Exited, or given up--> Ended; so does Exited from every state
//!
//! Starting, Joining, Running --Failing, not ready--> Failing --Exited--> Waiting --in time--> Starting
//!                 '--- Exited with a failure ---------------------------^     as often as Restarts allows
//! ```
//!
//! Every state but Running has a deadline, and so has the first join of a process that was started again. The result is told to the server once, as soon as it is known: a failure that
//! is followed by a restart is none.

mod due;
mod handover;
mod phase;

use super::restart::Restarts;
use super::{Exit, JobEvent, JobInfo, JobResult, JobState, RestartPolicy, Timeouts};
use phase::{Phase, Presence};
use std::time::{Duration, Instant};

/// From Ready to Joined; the server drops a participant that is not active after the same time.
const JOIN_LIMIT: Duration = Duration::from_secs(60);
/// From Ack to exit: nothing but the last data, a Leave and the end of the process are left to do.
const LEAVE_LIMIT: Duration = Duration::from_secs(5);
/// A termination in this time after a rejoin is about the participant that the rejoin replaced (livekit#4887). A
/// deleted dispatch removes the participant after 3 s, so a job that outlives this was not meant.
const REJOIN_GRACE: Duration = Duration::from_secs(10);
/// The server files a job only after it has sent its assignment, and loses the end of a job that it has not filed. So
/// an end that comes sooner than this is held back. A status sent within a millisecond was seen lost; the rest is margin.
/// A job that dies in this time with its participant already in the room can so be filed FAILED "agent worker left the
/// room" before our text comes. Holding back less would trade that text for jobs that stay RUNNING on a slow server, and
/// telling it twice would break the rule of one end per connection.
pub(super) const FILING_TIME: Duration = Duration::from_millis(100);
/// From a kill to the next attempt.
const KILL_INTERVAL: Duration = Duration::from_secs(5);
/// Kills before a process that the kernel does not let go (stuck in a driver) is written off.
const KILL_ATTEMPTS: u32 = 3;

/// What the worker must do for a job, in order.
#[derive(Debug, PartialEq)]
pub(super) enum Step {
    /// Report RUNNING.
    Running,
    /// Report how it ended.
    Conclude(JobResult),
    /// Ask the process to end.
    Terminate { reason: String, grace: Duration },
    /// Let it leave.
    Ack,
    /// Kill it.
    Kill,
    /// Say why it is started again, and after which wait.
    Failed { error: String, wait: Duration },
    /// Start it again.
    Restart,
    /// Take its participant out of the room.
    SignOff,
    /// Forget it.
    Release(JobResult),
}

#[derive(Debug)]
pub(super) struct Job {
    pub info: JobInfo,
    phase: Phase,
    /// From assignment to Ready.
    initialize: Duration,
    /// From Terminate to Kill.
    grace: Duration,
    /// When it must have left, as the whole system goes down.
    leave_by: Option<Instant>,
    /// What the server was told.
    concluded: Option<JobResult>,
    /// Was Ready, so it may have joined without our knowing yet.
    may_be_inside: bool,
    /// The server ended it and removes the participant itself.
    terminated: bool,
    /// An operator ended it.
    stopped: bool,
    /// RUNNING was reported: a restart changes nothing for the server.
    reported: bool,
    restarts: Restarts,
    filed_at: Instant,
    /// Ending or Failing, and Exited, that came before `filed_at`, at most one of each.
    early: Vec<JobEvent>,
}

impl Job {
    pub fn new(info: JobInfo, timeouts: Timeouts, policy: RestartPolicy, now: Instant) -> Self {
        let Timeouts { initialize, shutdown: grace } = timeouts;
        Self {
            info,
            phase: Phase::Starting { until: now + initialize },
            initialize,
            grace,
            leave_by: None,
            concluded: None,
            may_be_inside: false,
            terminated: false,
            stopped: false,
            reported: false,
            restarts: Restarts::new(policy),
            filed_at: now + FILING_TIME,
            early: vec![],
        }
    }

    /// One that a process of an earlier life has left: its end counts as a failure.
    pub fn adopted(info: JobInfo, timeouts: Timeouts, restarts: Restarts, now: Instant) -> Self {
        let mut job = Self::new(info, timeouts, RestartPolicy::Never, now);
        (job.may_be_inside, job.restarts) = (true, restarts);
        // Of the limit alone; this start waits for nothing.
        job.restarts.take(now);
        job
    }

    /// Neither ending nor ended: it occupies its room.
    pub fn runs(&self) -> bool {
        self.is_well() || matches!(self.phase, Phase::Failing { .. } | Phase::Waiting { .. })
    }

    /// Has a process that is neither ending nor failing.
    fn is_well(&self) -> bool {
        matches!(self.phase, Phase::Starting { .. } | Phase::Joining { .. } | Phase::Running(_))
    }

    /// For operators.
    pub fn state(&self) -> JobState {
        match &self.phase {
            Phase::Starting { .. } => JobState::Starting,
            Phase::Joining { .. } => JobState::Joining,
            Phase::Running(Presence::Rejoining { .. }) => JobState::Rejoining,
            Phase::Running(Presence::Inside | Presence::Back { .. }) => JobState::Running,
            Phase::Stopping { .. } | Phase::Leaving { .. } | Phase::Killed { .. } => JobState::Ending,
            Phase::Failing { .. } | Phase::Waiting { .. } => JobState::Restarting,
        }
    }

    /// The server was not told yet how it ended.
    pub fn is_open(&self) -> bool {
        self.concluded.is_none()
    }

    pub fn handle(&mut self, event: JobEvent, now: Instant) -> Vec<Step> {
        if now < self.filed_at && matches!(event, JobEvent::Ending(_) | JobEvent::Failing(_) | JobEvent::Exited(_)) {
            self.hold_back(event);
            return vec![];
        }
        match event {
            JobEvent::Ready => self.ready(now),
            JobEvent::Joined | JobEvent::Rejoined => self.joined(now),
            JobEvent::Rejoining => self.rejoining(now),
            JobEvent::Ending(result) => self.ending(result, now),
            JobEvent::Failing(error) => self.failing(error, now),
            JobEvent::Exited(exit) => self.exited(&exit, now),
        }
    }

    /// The first of a kind counts, and nothing after the exit.
    fn hold_back(&mut self, event: JobEvent) {
        let first = match self.early.last() {
            None => true,
            Some(JobEvent::Exited(_)) => false,
            Some(_) => matches!(event, JobEvent::Exited(_)),
        };
        if first {
            self.early.push(event);
        }
    }

    fn ready(&mut self, now: Instant) -> Vec<Step> {
        let successor = std::mem::replace(&mut self.may_be_inside, true);
        match self.phase {
            Phase::Starting { .. } if successor => {
                let until = now + JOIN_LIMIT;
                self.phase = Phase::Running(Presence::Rejoining { until, terminated: false, successor });
            }
            Phase::Starting { .. } => self.phase = Phase::Joining { until: now + JOIN_LIMIT },
            Phase::Joining { .. }
            | Phase::Running(_)
            | Phase::Stopping { .. }
            | Phase::Leaving { .. }
            | Phase::Killed { .. }
            | Phase::Failing { .. }
            | Phase::Waiting { .. } => return vec![],
        }
        if std::mem::replace(&mut self.reported, true) { vec![] } else { vec![Step::Running] }
    }

    /// Some jobs say Joined, some Rejoined when they are back.
    fn joined(&mut self, now: Instant) -> Vec<Step> {
        let steps = self.ready(now);
        match self.phase {
            Phase::Joining { .. } => self.phase = Phase::Running(Presence::Inside),
            Phase::Running(Presence::Rejoining { .. }) => {
                self.phase = Phase::Running(Presence::Back { until: now + REJOIN_GRACE, terminated: false });
            }
            Phase::Starting { .. }
            | Phase::Running(Presence::Inside | Presence::Back { .. })
            | Phase::Stopping { .. }
            | Phase::Leaving { .. }
            | Phase::Killed { .. }
            | Phase::Failing { .. }
            | Phase::Waiting { .. } => {}
        }
        steps
    }

    /// A job that tries several times is away since the first.
    fn rejoining(&mut self, now: Instant) -> Vec<Step> {
        if let Phase::Running(presence @ (Presence::Inside | Presence::Back { .. })) = &mut self.phase {
            *presence = Presence::Rejoining { until: now + JOIN_LIMIT, terminated: false, successor: false };
        }
        vec![]
    }

    fn ending(&mut self, result: JobResult, now: Instant) -> Vec<Step> {
        match self.phase {
            Phase::Leaving { .. } => vec![Step::Ack],
            Phase::Killed { .. } | Phase::Failing { .. } | Phase::Waiting { .. } => vec![],
            Phase::Starting { .. } | Phase::Joining { .. } | Phase::Running(_) | Phase::Stopping { .. } => {
                let limit = now + LEAVE_LIMIT;
                self.phase = Phase::Leaving { until: self.leave_by.map_or(limit, |by| by.min(limit)) };
                let mut steps = self.conclude(result);
                steps.push(Step::Ack);
                steps
            }
        }
    }

    /// The process is of no more use; its participant stays for the successor to replace.
    fn failing(&mut self, error: String, now: Instant) -> Vec<Step> {
        if self.is_well() && self.restarts.left(now) {
            self.phase = Phase::Failing { error, until: now + KILL_INTERVAL, kills: 1 };
            return vec![Step::Kill];
        }
        self.ending(failed(error), now)
    }

    fn exited(&mut self, exit: &Exit, now: Instant) -> Vec<Step> {
        match &self.phase {
            Phase::Failing { error, .. } => return self.start_again(error.clone(), now),
            _ if self.is_well() && *exit != Exit::Code(0) => return self.start_again(exit.to_string(), now),
            _ => {}
        }
        let result = match (&self.phase, exit) {
            (Phase::Stopping { reason, .. }, Exit::Code(0)) => JobResult::Success { reason: reason.clone() },
            (_, Exit::Code(0)) => JobResult::Success { reason: exit.to_string() },
            (_, exit) => JobResult::Failed { error: exit.to_string() },
        };
        let left = matches!((&self.phase, exit), (Phase::Leaving { .. }, Exit::Code(0)));
        self.end(result, left)
    }

    /// Its process is gone.
    fn start_again(&mut self, error: String, now: Instant) -> Vec<Step> {
        let Some(wait) = self.restarts.take(now) else { return self.end(failed(error), false) };
        self.phase = Phase::Waiting { until: now + wait };
        let mut steps = vec![Step::Failed { error, wait }];
        if wait.is_zero() {
            steps.extend(self.restart(now));
        }
        steps
    }

    fn restart(&mut self, now: Instant) -> Vec<Step> {
        self.phase = Phase::Starting { until: now + self.initialize };
        vec![Step::Restart]
    }

    fn end(&mut self, result: JobResult, left: bool) -> Vec<Step> {
        let mut steps = self.conclude(result.clone());
        // One that was back, and is not any more, was told the truth perhaps: a sign-off would make its room anew.
        let terminated =
            self.terminated || matches!(self.phase, Phase::Running(Presence::Back { terminated: true, .. }));
        if self.may_be_inside && !terminated && !left {
            steps.push(Step::SignOff);
        }
        steps.push(Step::Release(self.concluded.clone().unwrap_or(result)));
        steps
    }

    /// Asks the job to end, unless it is ending already.
    pub fn stop(&mut self, reason: &str, now: Instant) -> Vec<Step> {
        match &self.phase {
            Phase::Starting { .. } | Phase::Joining { .. } | Phase::Running(_) => {
                self.phase = Phase::Stopping { until: now + self.grace, reason: reason.to_owned() };
                vec![Step::Terminate { reason: reason.to_owned(), grace: self.grace }]
            }
            Phase::Failing { error, .. } => self.kill(failed(error.clone()), now),
            Phase::Waiting { .. } => self.end(JobResult::Success { reason: reason.to_owned() }, false),
            Phase::Stopping { .. } | Phase::Leaving { .. } | Phase::Killed { .. } => vec![],
        }
    }

    /// An operator ends it.
    pub fn stop_by_operator(&mut self, now: Instant) -> Vec<Step> {
        // Before: a job that waits for its restart ends at once.
        let stopped = std::mem::replace(&mut self.stopped, true);
        let steps = self.stop("stopped by an operator", now);
        self.stopped = stopped || !steps.is_empty();
        steps
    }

    /// From now on it has no more time to end than this, also if it is ending already.
    pub fn hurry(&mut self, limit: Duration, now: Instant) -> Vec<Step> {
        self.grace = self.grace.min(limit);
        self.leave_by = Some(now + self.grace);
        match &mut self.phase {
            Phase::Stopping { until, reason } if *until > now + self.grace => {
                *until = now + self.grace;
                vec![Step::Terminate { reason: reason.clone(), grace: self.grace }]
            }
            Phase::Leaving { until } => {
                *until = (*until).min(now + self.grace);
                vec![]
            }
            Phase::Starting { .. }
            | Phase::Joining { .. }
            | Phase::Running(_)
            | Phase::Stopping { .. }
            | Phase::Killed { .. }
            | Phase::Failing { .. }
            | Phase::Waiting { .. } => vec![],
        }
    }

    /// The server says that the job is over.
    pub fn terminated(&mut self, now: Instant) -> Vec<Step> {
        match &mut self.phase {
            Phase::Running(Presence::Rejoining { terminated, .. } | Presence::Back { terminated, .. }) => {
                *terminated = true;
                vec![]
            }
            Phase::Starting { .. }
            | Phase::Joining { .. }
            | Phase::Running(Presence::Inside)
            | Phase::Stopping { .. }
            | Phase::Leaving { .. }
            | Phase::Killed { .. }
            | Phase::Failing { .. }
            | Phase::Waiting { .. } => {
                self.terminated = true;
                self.stop("terminated by the server", now)
            }
        }
    }

    fn kill(&mut self, result: JobResult, now: Instant) -> Vec<Step> {
        self.phase = Phase::Killed { until: now + KILL_INTERVAL, kills: 1 };
        let mut steps = self.conclude(result);
        steps.push(Step::Kill);
        steps
    }

    /// The first result counts.
    fn conclude(&mut self, result: JobResult) -> Vec<Step> {
        if self.concluded.is_some() {
            return vec![];
        }
        let result = match result {
            JobResult::Success { reason } if self.stopped => JobResult::Stopped { reason },
            other => other,
        };
        self.concluded = Some(result.clone());
        vec![Step::Conclude(result)]
    }
}

fn failed(error: String) -> JobResult {
    JobResult::Failed { error }
}
