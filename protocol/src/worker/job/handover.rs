//! A job as a value.

use super::phase::{Phase, Presence};
use super::{JOIN_LIMIT, Job, Restarts};
use crate::worker::handover::{JobHandover, PhaseHandover};
use crate::worker::machine::LONGEST_TIMEOUT;
use std::time::{Duration, Instant};

/// What is meant where it is left out, as all programs did once.
const INITIALIZE: Duration = Duration::from_secs(10);

impl Job {
    /// `None` while it gets ready, ends, or may not be filed by the server yet.
    pub fn export(&self, now: Instant) -> Option<JobHandover> {
        let left = |until: &Instant| until.saturating_duration_since(now);
        let phase = match &self.phase {
            Phase::Joining { until } => PhaseHandover::Joining { left: left(until) },
            Phase::Running(Presence::Inside) => PhaseHandover::Inside,
            Phase::Running(Presence::Rejoining { until, terminated, successor }) => {
                PhaseHandover::Rejoining { left: left(until), terminated: *terminated, successor: *successor }
            }
            Phase::Running(Presence::Back { until, terminated }) => {
                PhaseHandover::Back { left: left(until), terminated: *terminated }
            }
            Phase::Waiting { until } => PhaseHandover::Waiting { left: left(until) },
            Phase::Starting { .. }
            | Phase::Stopping { .. }
            | Phase::Leaving { .. }
            | Phase::Killed { .. }
            | Phase::Failing { .. } => return None,
        };
        if now < self.filed_at || !self.early.is_empty() {
            return None;
        }
        let (policy, restarts) = self.restarts.export(now);
        Some(JobHandover {
            info: self.info.clone(),
            phase,
            initialize: (self.initialize != INITIALIZE).then_some(self.initialize),
            grace: self.grace,
            may_be_inside: self.may_be_inside,
            stopped: self.stopped,
            reported: self.reported,
            policy,
            restarts,
        })
    }

    pub fn resume(job: JobHandover, now: Instant) -> Self {
        // No wait of a job is longer.
        let until = |left: Duration| now + left.min(JOIN_LIMIT);
        let phase = match job.phase {
            PhaseHandover::Joining { left } => Phase::Joining { until: until(left) },
            PhaseHandover::Inside => Phase::Running(Presence::Inside),
            PhaseHandover::Rejoining { left, terminated, successor } => {
                Phase::Running(Presence::Rejoining { until: until(left), terminated, successor })
            }
            PhaseHandover::Back { left, terminated } => {
                Phase::Running(Presence::Back { until: until(left), terminated })
            }
            PhaseHandover::Waiting { left } => Phase::Waiting { until: until(left) },
        };
        Self {
            info: job.info,
            phase,
            initialize: job.initialize.unwrap_or(INITIALIZE).min(LONGEST_TIMEOUT),
            grace: job.grace.min(LONGEST_TIMEOUT),
            // A worker whose system goes down is not upgraded: its jobs end.
            leave_by: None,
            concluded: None,
            may_be_inside: job.may_be_inside,
            terminated: false,
            stopped: job.stopped,
            reported: job.reported,
            restarts: Restarts::resume(job.policy, &job.restarts, now),
            filed_at: now,
            early: vec![],
        }
    }
}
