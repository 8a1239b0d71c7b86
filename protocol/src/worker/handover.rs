//! The machine as a value, for a successor in the same process: an upgrade replaces the program and keeps its jobs.
//!
//! What lasts is in it. What is over within seconds (an offer, a start, an end) is waited for instead: it would be many
//! more states that two programs must agree on.

use super::job::Job;
use super::machine::Mode;
use super::{JobId, JobInfo, JobState, Options, RestartPolicy, Worker};
use serde::{Deserialize, Serialize};
use std::time::{Duration, Instant};

/// What a successor must know. Times are lengths, from now on or up to now, as the two share no clock but the kernel's.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Handover {
    jobs: Vec<JobHandover>,
    /// How long a drain may still take; `None` while serving.
    draining: Option<Duration>,
    /// Jobs that have ended, oldest first.
    ended: Vec<JobId>,
    statuses: StatusesHandover,
}

/// One job.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct JobHandover {
    pub info: JobInfo,
    pub phase: PhaseHandover,
    /// Left out for the usual time, so that this adds no version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub initialize: Option<Duration>,
    pub grace: Duration,
    pub may_be_inside: bool,
    pub stopped: bool,
    pub reported: bool,
    pub policy: RestartPolicy,
    /// How long ago it was started again, oldest first.
    pub restarts: Vec<Duration>,
}

/// Where it stands. `left` is the time to its deadline.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) enum PhaseHandover {
    Joining {
        left: Duration,
    },
    Inside,
    Rejoining {
        left: Duration,
        terminated: bool,
        /// Left out where it is not, so that this adds no version.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        successor: bool,
    },
    Back {
        left: Duration,
        /// As above.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        terminated: bool,
    },
    Waiting {
        left: Duration,
    },
}

/// What a server was told and has not confirmed; it is told again after the next registration.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct StatusesHandover {
    /// Jobs that are RUNNING.
    pub running: Vec<JobId>,
    /// Terminal statuses, as they go out.
    pub ended: Vec<(JobId, Vec<u8>)>,
}

/// Why the machine cannot be handed over now. All but `Stopping` passes within seconds.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Busy {
    /// An offer is being answered, or waits for its assignment.
    #[error("job {} is being offered", .0.0)]
    Offered(JobId),
    /// An assignment was refused, which the server is to be told.
    #[error("job {} is being refused", .0.0)]
    Refused(JobId),
    /// It gets ready or ends.
    #[error("job {} is {}", .0.0, .1.name())]
    Job(JobId, JobState),
    /// There will be no successor.
    #[error("the worker is stopping")]
    Stopping,
}

impl Worker {
    /// The machine as a value; poll until `None` before.
    pub fn export(&self, now: Instant) -> Result<Handover, Busy> {
        if let Some(offer) = self.offers.keys().next() {
            return Err(Busy::Offered(offer.clone()));
        }
        if let Some(refused) = self.refused.keys().next() {
            return Err(Busy::Refused(refused.clone()));
        }
        let draining = match self.mode {
            Mode::Serving => None,
            Mode::Draining { until } => Some(until.saturating_duration_since(now)),
            Mode::Stopping | Mode::Finished => return Err(Busy::Stopping),
        };
        let one = |(id, job): (&JobId, &Job)| {
            job.export(now).ok_or_else(|| match job.state() {
                // Its end would not be told by the server yet.
                JobState::Running | JobState::Joining => Busy::Job(id.clone(), JobState::Starting),
                state => Busy::Job(id.clone(), state),
            })
        };
        let jobs = self.jobs.iter().map(one).collect::<Result<_, _>>()?;
        let ended = self.ended.iter().cloned().collect();
        Ok(Handover { jobs, draining, ended, statuses: self.statuses.export() })
    }

    /// The successor: it has the same jobs, wants to connect at once, and registers anew.
    pub fn resume(options: Options, handover: Handover, now: Instant, seed: u64) -> Self {
        let mut worker = Self::new(options, now, seed);
        if let Some(left) = handover.draining {
            worker.mode = Mode::Draining { until: now + left.min(worker.options.drain_timeout) };
        }
        worker.jobs = handover.jobs.into_iter().map(|job| (job.info.id.clone(), Job::resume(job, now))).collect();
        worker.ended = handover.ended.into();
        worker.statuses.resume(handover.statuses);
        worker
    }
}
