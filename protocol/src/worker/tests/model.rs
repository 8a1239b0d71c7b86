//! What must hold whatever happens: a model that watches every action of the machine and knows nothing of its states.

use super::*;
use livekit_protocol as lk;
use lk::worker_message::Message as ToServer;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Runs the machine and checks each action as it comes.
pub struct Model {
    pub worker: Worker,
    pub now: Instant,
    max_jobs: usize,
    link: Link,
    asked: BTreeSet<String>,
    /// Started and not released: whether the end was told.
    open: BTreeMap<String, bool>,
    /// Released, but the terminal status could not be sent yet.
    owed: BTreeSet<String>,
    /// Ends that were told: how, and whether on this link.
    told: BTreeMap<String, (lk::UpdateJobStatus, bool)>,
    /// Jobs told RUNNING on this link.
    running: BTreeSet<String>,
    /// For each unanswered ping on this link: the ends that were told before it.
    pinged: VecDeque<BTreeSet<String>>,
    /// Ends that the server has confirmed by a pong.
    confirmed: BTreeSet<String>,
    /// The last input was an assignment of this job.
    assigned: Option<String>,
    /// Assigned, but neither started nor reported yet.
    refused: BTreeSet<String>,
    pub finished: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Link {
    Down,
    Connecting,
    Up,
    Registered,
}

impl Model {
    pub fn new(options: Options) -> Self {
        let now = origin();
        let mut model = Self {
            max_jobs: options.max_jobs as usize,
            worker: Worker::new(options, now, 3),
            now,
            link: Link::Down,
            asked: BTreeSet::new(),
            open: BTreeMap::new(),
            owed: BTreeSet::new(),
            told: BTreeMap::new(),
            running: BTreeSet::new(),
            pinged: VecDeque::new(),
            confirmed: BTreeSet::new(),
            assigned: None,
            refused: BTreeSet::new(),
            finished: false,
        };
        model.check_actions();
        model
    }

    pub fn link_up(&mut self) {
        if self.link == Link::Connecting {
            self.link = Link::Up;
            self.give(Input::LinkUp);
        }
    }

    pub fn link_down(&mut self, error: LinkError) {
        if self.link != Link::Down {
            self.link = Link::Down;
            self.give(Input::LinkDown(error));
        }
    }

    pub fn register(&mut self) {
        if self.link == Link::Up {
            self.link = Link::Registered;
            self.give(Input::Message(server::registered("AW_1")));
            assert!(self.owed.is_empty(), "not told after the registration: {:?}", self.owed);
            let forgotten = self.told.iter().find(|(job, (_, here))| !here && !self.confirmed.contains(*job));
            assert_eq!(forgotten, None, "neither confirmed nor told again");
        }
    }

    /// A server sends nothing on a link that is down.
    pub fn message(&mut self, frame: Vec<u8>) {
        if matches!(self.link, Link::Up | Link::Registered) {
            self.give(Input::Message(frame));
        }
    }

    pub fn assign(&mut self, job: &str) {
        self.assigned = Some(job.to_owned());
        self.message(server::assignment(job));
        self.assigned = None;
        if !self.open.contains_key(job) {
            self.refused.insert(job.to_owned());
        }
    }

    /// Jobs that run already may be more than the new slots.
    pub fn tune(&mut self, max_jobs: u32) {
        self.max_jobs = self.max_jobs.max(max_jobs as usize);
        let Options { limits, drain_timeout, timeouts, restart, .. } = options();
        self.give(Input::Tune(Tuning { max_jobs, limits, drain_timeout, timeouts, restart }));
    }

    pub fn adopt(&mut self, job: &str) {
        self.assigned = Some(job.to_owned());
        self.give(Input::Adopt(Box::new(server::spec(job)), vec![]));
        self.assigned = None;
    }

    pub fn job(&mut self, job: &str, event: JobEvent) {
        self.give(Input::Job(id(job), event));
    }

    pub fn pass(&mut self, time: Duration, alive: bool) {
        const WAKES_AT_MOST: usize = 100_000;
        let end = self.now + time;
        for _ in 0..WAKES_AT_MOST {
            let Some((at, _)) = self.worker.deadline().filter(|(at, _)| *at <= end) else {
                self.now = end;
                return;
            };
            self.now = self.now.max(at);
            self.give(Input::Time);
            assert!(self.worker.deadline().is_none_or(|(at, _)| at > self.now), "a deadline is not acted on");
            while alive
                && self.link == Link::Registered
                && let Some(before) = self.pinged.pop_front()
            {
                self.confirmed.extend(before);
                self.message(server::pong());
            }
        }
        panic!("the machine spins at {:?}", self.worker.deadline());
    }

    pub fn give(&mut self, input: Input) {
        self.worker.handle(input, self.now);
        self.check_actions();
        assert!(self.open.len() <= self.max_jobs, "more jobs than slots: {:?}", self.open);
        assert_eq!(self.worker.snapshot().active_jobs as usize, self.open.len());
    }

    fn check_actions(&mut self) {
        while let Some(action) = self.worker.poll() {
            assert!(!self.finished, "after Finished: {action:?}");
            match action {
                Action::Connect => self.connect(),
                Action::Close => self.link = Link::Down,
                Action::Send(frame) => self.sent(&frame),
                Action::Ask(job) => assert!(self.asked.insert(job.id.0), "asked twice"),
                Action::Forget(job) => assert!(self.asked.remove(&job.0), "forgotten without being asked"),
                Action::Start(spec) => self.started(&spec.job.id.0),
                Action::Terminate { job, .. } | Action::Kill(job) | Action::SignOff(job) | Action::Ack(job) => {
                    assert!(self.open.contains_key(&job.0), "{} was released", job.0);
                }
                Action::Failed { job, .. } | Action::Restart(job) => {
                    assert_eq!(self.open.get(&job.0), Some(&false), "{} is over and starts again", job.0);
                }
                Action::CancelSignOff(job) => assert!(!self.open.contains_key(&job.0), "{} is not released", job.0),
                Action::Release { job, .. } => self.released(&job.0),
                Action::Finished => self.finish(),
            }
        }
    }

    fn connect(&mut self) {
        assert_eq!(self.link, Link::Down, "one link at a time");
        self.link = Link::Connecting;
        self.told.values_mut().for_each(|(_, here)| *here = false);
        self.running.clear();
        self.pinged.clear();
    }

    fn started(&mut self, job: &str) {
        self.asked.remove(job);
        // A job that is assigned again begins anew.
        self.told.remove(job);
        self.confirmed.remove(job);
        self.running.remove(job);
        for before in &mut self.pinged {
            before.remove(job);
        }
        assert_eq!(self.assigned.as_deref(), Some(job), "started without an assignment");
        assert!(self.open.insert(job.to_owned(), false).is_none(), "{job} was started twice");
    }

    fn sent(&mut self, frame: &[u8]) {
        assert!(matches!(self.link, Link::Up | Link::Registered), "sent without a link");
        match server::decode(frame) {
            ToServer::UpdateJob(status) if status.status() == lk::JobStatus::JsRunning => {
                assert_eq!(self.open.get(&status.job_id), Some(&false), "running after its end");
                assert!(self.running.insert(status.job_id), "told twice on one connection that it runs");
            }
            ToServer::UpdateJob(status) => self.told_end(status),
            ToServer::UpdateWorker(status) => {
                let full = status.status == Some(lk::WorkerStatus::WsFull.into());
                assert_eq!(full, status.load >= 0.7, "a server that looks at the load alone must see the same");
            }
            ToServer::Ping(_) => {
                let here = self.told.iter().filter(|(_, (_, here))| *here);
                self.pinged.push_back(here.map(|(job, _)| job.clone()).collect());
            }
            _ => {}
        }
    }

    fn told_end(&mut self, status: lk::UpdateJobStatus) {
        let job = status.job_id.clone();
        if let Some((first, here)) = self.told.get_mut(&job) {
            assert!(!std::mem::replace(here, true), "the end of {job} was told twice on one connection");
            assert!(!self.confirmed.contains(&job), "the end of {job} was told again though it was confirmed");
            return assert_eq!(*first, status, "a second result");
        }
        match self.open.get_mut(&job) {
            Some(told) => *told = true,
            None => assert!(self.owed.remove(&job) || self.refused.remove(&job), "the end of {job}, which is not ours"),
        }
        self.told.insert(job, (status, true));
    }

    fn released(&mut self, job: &str) {
        let told = self.open.remove(job).expect("released once, after its start");
        if !told {
            assert_ne!(self.link, Link::Registered, "the end of {job} was not told");
            self.owed.insert(job.to_owned());
        }
    }

    fn finish(&mut self) {
        assert!(self.open.is_empty() && self.asked.is_empty(), "finished with {:?} {:?}", self.open, self.asked);
        assert_eq!(self.link, Link::Down, "finished with an open link");
        self.finished = true;
    }
}
