//! One job without registration: the same life as a dispatched job, with nobody to report to.

use super::job::{Job, Step};
use super::{Action, Input, JobId, JobSpec, JobState, Reason, RestartPolicy, Timeouts};
use std::collections::VecDeque;
use std::time::Instant;

/// Drives one job that was not dispatched; speaks the language of [`super::Worker`], so that one shell serves both.
#[derive(Debug)]
pub struct Solo {
    id: JobId,
    job: Option<Job>,
    actions: VecDeque<Action>,
}

impl Solo {
    /// Starts the job at once; [`Action::Finished`] follows its end.
    pub fn new(spec: JobSpec, timeouts: Timeouts, now: Instant) -> Self {
        let id = spec.job.id.clone();
        let job = Some(Job::new(spec.job.clone(), timeouts.bounded(), RestartPolicy::Never, now));
        Self { id, job, actions: [Action::Start(Box::new(spec))].into() }
    }

    /// Takes one input; poll until `None` afterwards.
    pub fn handle(&mut self, input: Input, now: Instant) {
        let Some(job) = &mut self.job else { return };
        let steps = match input {
            Input::Job(id, event) if id == self.id => job.handle(event, now),
            Input::Drain | Input::Stop => job.stop("stopped by the operator", now),
            Input::End(id) if id == self.id => job.stop_by_operator(now),
            Input::StopWithin(limit) => {
                let mut steps = job.hurry(limit, now);
                steps.extend(job.stop("the system goes down", now));
                steps
            }
            Input::Time => job.time(now),
            Input::Job(..)
            | Input::End(_)
            | Input::Adopt(..)
            | Input::Tune(_)
            | Input::LinkUp
            | Input::LinkDown(_)
            | Input::Message(_)
            | Input::Answer(..)
            | Input::Health(_) => vec![],
        };
        for step in steps {
            self.carry_out(step);
        }
    }

    /// Next action.
    pub fn poll(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// What its job does, as long as it has not ended.
    pub fn job_state(&self, job: &JobId) -> Option<JobState> {
        self.job.as_ref().filter(|_| self.id == *job).map(Job::state)
    }

    /// When [`Input::Time`] is due, and why.
    pub fn deadline(&self) -> Option<(Instant, Reason)> {
        self.job.as_ref()?.deadline()
    }

    fn carry_out(&mut self, step: Step) {
        let job = self.id.clone();
        match step {
            Step::Running | Step::Conclude(_) => {}
            Step::Terminate { reason, grace } => self.actions.push_back(Action::Terminate { job, reason, grace }),
            Step::Ack => self.actions.push_back(Action::Ack(job)),
            Step::Kill => self.actions.push_back(Action::Kill(job)),
            Step::Failed { error, wait } => self.actions.push_back(Action::Failed { job, error, wait }),
            Step::Restart => self.actions.push_back(Action::Restart(job)),
            Step::SignOff => self.actions.push_back(Action::SignOff(job)),
            Step::Release(result) => {
                self.job = None;
                self.actions.extend([Action::Release { job, result }, Action::Finished]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::disallowed_methods, reason = "simulated time starts at any instant")]

    use super::super::{Accept, Exit, JobEvent, JobInfo, JobResult, JobType, RoomInfo};
    use super::*;
    use crate::secret::Secret;
    use std::time::Duration;

    fn solo(now: Instant) -> Solo {
        let job = JobInfo {
            id: JobId("connect".into()),
            kind: JobType::Room,
            room: RoomInfo { name: "r".into(), ..RoomInfo::default() },
            participant: None,
            metadata: String::new(),
            attributes: Default::default(),
            agent_name: String::new(),
            dispatch_id: String::new(),
            deployment: String::new(),
        };
        let spec = JobSpec {
            job,
            accept: Accept::default(),
            url: None,
            token: Secret::new("t"),
            worker_id: String::new(),
            limits: Default::default(),
        };
        Solo::new(spec, Timeouts { initialize: Duration::from_secs(10), shutdown: Duration::from_secs(5) }, now)
    }

    fn actions(solo: &mut Solo) -> Vec<Action> {
        std::iter::from_fn(|| solo.poll()).collect()
    }

    fn job(event: JobEvent) -> Input {
        Input::Job(JobId("connect".into()), event)
    }

    #[test]
    fn it_starts_at_once_and_finishes_with_its_job() {
        let now = Instant::now();
        let mut solo = solo(now);
        assert!(matches!(actions(&mut solo)[..], [Action::Start(_)]));
        solo.handle(job(JobEvent::Ready), now);
        solo.handle(job(JobEvent::Joined), now);
        let result = JobResult::Success { reason: "room closed".into() };
        let later = now + Duration::from_secs(1);
        solo.handle(job(JobEvent::Ending(result.clone())), later);
        solo.handle(job(JobEvent::Exited(Exit::Code(0))), later);
        let id = JobId("connect".into());
        let expected = [Action::Ack(id.clone()), Action::Release { job: id, result }, Action::Finished];
        assert_eq!(actions(&mut solo), expected);
        assert_eq!(solo.deadline(), None);
    }

    #[test]
    fn a_stop_terminates_the_job_and_kills_it_when_it_does_not_end() {
        let now = Instant::now();
        let mut solo = solo(now);
        actions(&mut solo);
        solo.handle(job(JobEvent::Joined), now);
        solo.handle(Input::Stop, now);
        assert!(matches!(actions(&mut solo)[..], [Action::Terminate { .. }]));
        solo.handle(Input::Time, now + Duration::from_secs(5));
        assert!(matches!(actions(&mut solo)[..], [Action::Kill(_)]));
        solo.handle(job(JobEvent::Exited(Exit::Signal(9))), now + Duration::from_secs(5));
        assert!(matches!(actions(&mut solo)[..], [Action::SignOff(_), Action::Release { .. }, Action::Finished]));
    }
}
