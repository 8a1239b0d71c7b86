//! When a job's time is up, and what becomes of it then.

use super::phase::{Phase, Presence};
use super::{JOIN_LIMIT, Job, KILL_ATTEMPTS, KILL_INTERVAL, LEAVE_LIMIT, Step, failed};
use crate::worker::Reason;
use std::time::Instant;

impl Job {
    pub fn deadline(&self) -> Option<(Instant, Reason)> {
        let filing = (!self.early.is_empty()).then_some((self.filed_at, Reason::Filing));
        filing.into_iter().chain(self.phase_deadline()).min_by_key(|(at, _)| *at)
    }

    fn phase_deadline(&self) -> Option<(Instant, Reason)> {
        match &self.phase {
            Phase::Starting { until } => Some((*until, Reason::ReadyTimeout)),
            Phase::Joining { until } => Some((*until, Reason::JoinTimeout)),
            Phase::Running(Presence::Inside | Presence::Rejoining { terminated: false, successor: false, .. }) => None,
            Phase::Running(Presence::Rejoining { until, terminated: false, successor: true }) => {
                Some((*until, Reason::JoinTimeout))
            }
            Phase::Running(Presence::Rejoining { until, .. } | Presence::Back { until, .. }) => {
                Some((*until, Reason::RejoinGrace))
            }
            Phase::Stopping { until, .. }
            | Phase::Leaving { until }
            | Phase::Killed { until, .. }
            | Phase::Failing { until, .. } => Some((*until, Reason::KillTimeout)),
            Phase::Waiting { until } => Some((*until, Reason::Restart)),
        }
    }

    /// Acts on a deadline that has passed; afterwards the next one lies after `now`, or the job is released.
    pub fn time(&mut self, now: Instant) -> Vec<Step> {
        if self.deadline().is_none_or(|(at, _)| at > now) {
            return vec![];
        }
        if !self.early.is_empty() {
            return std::mem::take(&mut self.early).into_iter().flat_map(|event| self.handle(event, now)).collect();
        }
        match &mut self.phase {
            Phase::Starting { .. } => self.give_up_starting(now),
            Phase::Joining { .. } | Phase::Running(Presence::Rejoining { terminated: false, .. }) => {
                self.give_up_joining(now)
            }
            Phase::Running(Presence::Rejoining { terminated: true, .. }) => {
                self.terminated = true;
                self.stop("terminated by the server while it could not rejoin its room", now)
            }
            Phase::Running(presence) => {
                *presence = Presence::Inside;
                vec![]
            }
            Phase::Stopping { reason, .. } => {
                let error = format!("did not end within {:?} when asked to ({reason})", self.grace);
                self.kill(failed(error), now)
            }
            Phase::Leaving { .. } => {
                let error = format!("did not exit within {} s after it had ended", LEAVE_LIMIT.as_secs());
                self.kill(failed(error), now)
            }
            Phase::Killed { until, kills } if *kills < KILL_ATTEMPTS => {
                *kills += 1;
                *until = now + KILL_INTERVAL;
                vec![Step::Kill]
            }
            Phase::Killed { .. } => self.end(failed("process cannot be killed".to_owned()), false),
            Phase::Failing { until, kills, .. } if *kills < KILL_ATTEMPTS => {
                *kills += 1;
                *until = now + KILL_INTERVAL;
                vec![Step::Kill]
            }
            // What hangs in the kernel would hang its successor too.
            Phase::Failing { error, .. } => {
                let error = format!("{error}; process cannot be killed");
                self.end(failed(error), false)
            }
            Phase::Waiting { .. } => self.restart(now),
        }
    }

    fn give_up_starting(&mut self, now: Instant) -> Vec<Step> {
        let error = format!("not ready in {} s", self.initialize.as_secs());
        if self.restarts.left(now) { self.failing(error, now) } else { self.kill(failed(error), now) }
    }

    fn give_up_joining(&mut self, now: Instant) -> Vec<Step> {
        let error = format!("no join in {} s", JOIN_LIMIT.as_secs());
        if self.restarts.left(now) {
            return self.failing(error, now);
        }
        let mut steps = self.stop(&error, now);
        steps.splice(0..0, self.conclude(failed(error)));
        steps
    }
}
