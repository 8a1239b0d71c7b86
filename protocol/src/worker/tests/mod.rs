//! The machine driven in simulated time. What it does is compared as short lines, so that a test reads like a log.

mod admission;
mod handover;
mod jobs;
mod link;
mod model;
mod offers;
mod properties;
mod restarts;
mod server;
mod stopping;

use super::job::FILING_TIME;
use super::{
    Accept, Action, Allowance, Busy, Exit, Handover, Health, Input, JobEvent, JobId, JobResult, JobState, JobType,
    LinkError, MemoryLimit, Options, Permissions, Reason, RestartPolicy, Timeouts, Tuning, Worker,
};
use std::time::{Duration, Instant};

/// The worker, the time, and what was not looked at yet.
struct Script {
    worker: Worker,
    now: Instant,
}

fn options() -> Options {
    Options {
        agent_name: "cam".to_owned(),
        deployment: String::new(),
        job_type: JobType::Room,
        permissions: Permissions::default(),
        version: "0.1.0".to_owned(),
        max_jobs: 2,
        limits: Allowance::default(),
        target_load: 0.7,
        drain_timeout: Duration::from_secs(3600),
        timeouts: Timeouts { initialize: Duration::from_secs(10), shutdown: Duration::from_secs(10) },
        restart: RestartPolicy::Never,
        ask: false,
        accept: Accept::default(),
    }
}

#[allow(clippy::disallowed_methods, reason = "an arbitrary origin for simulated time")]
fn origin() -> Instant {
    Instant::now()
}

impl Script {
    fn new(options: Options) -> Self {
        let now = origin();
        Self { worker: Worker::new(options, now, 7), now }
    }

    /// Connected and registered, what was said so far forgotten.
    fn registered(options: Options) -> Self {
        let mut script = Self::new(options);
        script.register();
        script
    }

    /// Registered, with this job in its room.
    fn running(options: Options, job: &str) -> Self {
        let mut script = Self::registered(options);
        script.run_job(job);
        script
    }

    fn register(&mut self) -> Vec<String> {
        self.give(Input::LinkUp);
        self.message(server::registered("AW_1"))
    }

    fn run_job(&mut self, job: &str) {
        self.message(server::offer(job, "cam", &format!("room of {job}")));
        self.message(server::assignment(job));
        self.job(job, JobEvent::Ready);
        self.job(job, JobEvent::Joined);
        self.pass(FILING_TIME);
    }

    fn give(&mut self, input: Input) -> Vec<String> {
        self.worker.handle(input, self.now);
        self.said()
    }

    fn message(&mut self, frame: Vec<u8>) -> Vec<String> {
        self.give(Input::Message(frame))
    }

    fn job(&mut self, job: &str, event: JobEvent) -> Vec<String> {
        self.give(Input::Job(id(job), event))
    }

    fn said(&mut self) -> Vec<String> {
        std::iter::from_fn(|| self.worker.poll()).map(|action| server::describe(&action)).collect()
    }

    /// Lets time pass, waking the machine at each of its deadlines. The server answers pings, so that the link stays;
    /// periodic traffic (status, ping) is left out of the result.
    fn pass(&mut self, time: Duration) -> Vec<String> {
        let end = self.now + time;
        let mut said = vec![];
        while let Some((at, _)) = self.worker.deadline().filter(|(at, _)| *at <= end) {
            self.now = self.now.max(at);
            for line in self.give(Input::Time) {
                match line.as_str() {
                    "send ping" => said.extend(self.message(server::pong())),
                    line if line.starts_with("send status") => {}
                    _ => said.push(line),
                }
            }
        }
        self.now = end;
        said
    }

    /// Like `pass`, with a server that says nothing.
    fn pass_in_silence(&mut self, time: Duration) -> Vec<String> {
        let end = self.now + time;
        let mut said = vec![];
        while let Some((at, _)) = self.worker.deadline().filter(|(at, _)| *at <= end) {
            self.now = self.now.max(at);
            said.extend(self.give(Input::Time));
        }
        self.now = end;
        said
    }

    /// From now to the next deadline, in ms, and its reason.
    fn next(&self) -> Option<(u128, Reason)> {
        self.worker.deadline().map(|(at, reason)| (at.duration_since(self.now).as_millis(), reason))
    }
}

fn id(job: &str) -> JobId {
    JobId(job.to_owned())
}

fn seconds(s: u64) -> Duration {
    Duration::from_secs(s)
}

fn success(reason: &str) -> JobResult {
    JobResult::Success { reason: reason.to_owned() }
}

fn failed(error: &str) -> JobResult {
    JobResult::Failed { error: error.to_owned() }
}

fn broken() -> Input {
    Input::LinkDown(LinkError::Broken("reset".to_owned()))
}

fn health(takes_jobs: bool) -> Input {
    Input::Health(Health { takes_jobs, ..Health::default() })
}

fn exited(exit: Exit) -> JobEvent {
    JobEvent::Exited(exit)
}
