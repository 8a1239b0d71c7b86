//! What the server was told of our jobs and has not confirmed.
//!
//! Nothing answers a job status, but a server reads a connection in order: a pong confirms what went before its ping.
//! What is not confirmed when a link ends, because it was written to a dying socket or there was none, is said after the
//! next registration, and never twice on one connection. A server that has forgotten the job ignores its status, and
//! lets go of what it still held of it (livekit#4893).

use super::handover::StatusesHandover;
use super::{JobId, JobResult, wire};
use std::collections::{BTreeMap, VecDeque};

/// Ends kept until they are confirmed. When there are more the oldest is dropped, and counted if it was never sent.
const ENDS_LIMIT: usize = 128;

#[derive(Debug, Default)]
pub(super) struct Statuses {
    /// RUNNING of jobs that have not ended; no more than there are slots.
    running: BTreeMap<JobId, Sent>,
    /// Terminal statuses.
    ended: VecDeque<(JobId, Vec<u8>, Sent)>,
    /// Sent on this link.
    pings: u64,
    /// Received on this link.
    pongs: u64,
    /// Ends that were dropped without ever being sent.
    pub lost: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sent {
    No,
    /// The ping of this number on the link confirms it.
    Before {
        ping: u64,
    },
}

impl Statuses {
    /// All that is not confirmed.
    pub fn export(&self) -> StatusesHandover {
        let ended = self.ended.iter().map(|(job, frame, _)| (job.clone(), frame.clone()));
        StatusesHandover { running: self.running.keys().cloned().collect(), ended: ended.collect() }
    }

    /// Of an earlier program, whose link is gone.
    pub fn resume(&mut self, handover: StatusesHandover) {
        self.running = handover.running.into_iter().map(|job| (job, Sent::No)).collect();
        self.ended = handover.ended.into_iter().map(|(job, frame)| (job, frame, Sent::No)).collect();
    }

    /// The job is assigned, perhaps not for the first time: an earlier end must not be taken for the one to come.
    pub fn assigned(&mut self, job: &JobId) {
        self.ended.retain(|(other, ..)| other != job);
    }

    /// The job runs: what to send, if there is a link.
    pub fn running(&mut self, job: &JobId, linked: bool) -> Option<Vec<u8>> {
        let sent = self.sending(linked);
        self.running.insert(job.clone(), sent);
        linked.then(|| wire::job_running(job))
    }

    /// The job has ended: what to send, if there is a link.
    pub fn ended(&mut self, job: &JobId, result: &JobResult, linked: bool) -> Option<Vec<u8>> {
        self.running.remove(job);
        if self.ended.len() == ENDS_LIMIT
            && let Some((.., Sent::No)) = self.ended.pop_front()
        {
            self.lost += 1;
        }
        let frame = wire::job_ended(job, result);
        self.ended.push_back((job.clone(), frame.clone(), self.sending(linked)));
        linked.then_some(frame)
    }

    /// A new registration: the ends to tell it. What runs follows by [`Statuses::running_again`].
    pub fn registered(&mut self) -> Vec<Vec<u8>> {
        (self.pings, self.pongs) = (0, 0);
        let sent = self.sending(true);
        let repeat = |(_, frame, before): &mut (JobId, Vec<u8>, Sent)| {
            *before = sent;
            frame.clone()
        };
        self.ended.iter_mut().map(repeat).collect()
    }

    /// The rest, once the server knows by `migrate_job` which jobs we have.
    pub fn running_again(&mut self) -> Vec<Vec<u8>> {
        let sent = self.sending(true);
        let repeat = |(job, before): (&JobId, &mut Sent)| {
            *before = sent;
            wire::job_running(job)
        };
        self.running.iter_mut().map(repeat).collect()
    }

    /// A WorkerPing goes out.
    pub fn pinged(&mut self) {
        self.pings += 1;
    }

    /// A pong came; one that nobody asked for says nothing.
    pub fn ponged(&mut self) {
        self.pongs = self.pings.min(self.pongs + 1);
        let pongs = self.pongs;
        let open = |sent: &Sent| !matches!(sent, Sent::Before { ping } if *ping <= pongs);
        self.running.retain(|_, sent| open(sent));
        self.ended.retain(|(.., sent)| open(sent));
    }

    /// The length of the longest table.
    #[cfg(test)]
    pub fn longest(&self) -> usize {
        self.running.len().max(self.ended.len())
    }

    fn sending(&self, linked: bool) -> Sent {
        if linked { Sent::Before { ping: self.pings + 1 } } else { Sent::No }
    }
}
