//! What decides: the worker machine, or one job's for `connect`.

use protocol::worker::{Action, Counters, Input, JobId, JobState, Snapshot, Solo, Worker};
use std::time::Instant;

/// Both speak the same language, so the loop does not care which it drives.
#[derive(Debug)]
pub(super) enum Brain {
    /// `start` and `dev`.
    Worker(Box<Worker>),
    /// `connect`.
    Solo(Box<Solo>),
}

impl Brain {
    pub(super) fn handle(&mut self, input: Input, now: Instant) {
        match self {
            Self::Worker(worker) => worker.handle(input, now),
            Self::Solo(solo) => solo.handle(input, now),
        }
    }

    pub(super) fn poll(&mut self) -> Option<Action> {
        match self {
            Self::Worker(worker) => worker.poll(),
            Self::Solo(solo) => solo.poll(),
        }
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        let due = match self {
            Self::Worker(worker) => worker.deadline(),
            Self::Solo(solo) => solo.deadline(),
        };
        due.map(|(at, reason)| {
            tracing::trace!(?reason, "next deadline");
            at
        })
    }

    /// None for a job that has ended.
    pub(super) fn job_state(&self, job: &JobId) -> Option<JobState> {
        match self {
            Self::Worker(worker) => worker.job_state(job),
            Self::Solo(solo) => solo.job_state(job),
        }
    }

    /// All zero without registration.
    pub(super) fn counters(&self) -> Counters {
        match self {
            Self::Worker(worker) => worker.counters(),
            Self::Solo(_) => Counters::default(),
        }
    }

    /// None without registration.
    pub(super) fn snapshot(&self) -> Option<Snapshot> {
        match self {
            Self::Worker(worker) => Some(worker.snapshot()),
            Self::Solo(_) => None,
        }
    }
}
