//! Offers: from the server's question to the assignment.
//!
//! ```text
//! Asked --answer--> Reserved --assignment--> (a job)
//!   '-- no answer -----'-- no assignment --> gone, slot free
//! ```
//!
//! A slot is taken from the offer on, so that two offers in a row cannot win the same one. The server's effective
//! patience is about 2.8 s.

use super::{Accept, JobInfo, Options, Reason};
use std::time::{Duration, Instant};

/// For `on_request`: leaves the server time to ask the next worker.
const ANSWER_LIMIT: Duration = Duration::from_millis(1500);
/// From our yes to the assignment, as in the official workers.
const ASSIGNMENT_LIMIT: Duration = Duration::from_millis(7500);

#[derive(Debug)]
pub(super) struct Offer {
    pub info: JobInfo,
    /// `on_request` has it: Start or Forget must follow.
    pub asked: bool,
    phase: Phase,
}

#[derive(Debug)]
enum Phase {
    Asked { until: Instant },
    Reserved { until: Instant, accept: Accept },
}

impl Offer {
    /// `on_request` decides.
    pub fn ask(info: JobInfo, now: Instant) -> Self {
        Self { info, asked: true, phase: Phase::Asked { until: now + ANSWER_LIMIT } }
    }

    /// Taken without asking.
    pub fn reserve(info: JobInfo, accept: Accept, now: Instant) -> Self {
        Self { info, asked: false, phase: Phase::Reserved { until: now + ASSIGNMENT_LIMIT, accept } }
    }

    /// `on_request` said yes: false if it is not waited for any more.
    pub fn accept(&mut self, accept: Accept, now: Instant) -> bool {
        let waiting = self.accepted().is_none();
        if waiting {
            self.phase = Phase::Reserved { until: now + ASSIGNMENT_LIMIT, accept };
        }
        waiting
    }

    /// As whom we said we would join, if we did.
    pub fn accepted(&self) -> Option<&Accept> {
        match &self.phase {
            Phase::Asked { .. } => None,
            Phase::Reserved { accept, .. } => Some(accept),
        }
    }

    pub fn deadline(&self) -> (Instant, Reason) {
        match self.phase {
            Phase::Asked { until } => (until, Reason::AnswerTimeout),
            Phase::Reserved { until, .. } => (until, Reason::AssignmentTimeout),
        }
    }
}

/// What `on_request` left empty comes from the options; an identity there must be.
pub(super) fn complete(answer: Accept, options: &Options, job: &JobInfo) -> Accept {
    let default = &options.accept;
    let or = |own: String, other: &String| if own.is_empty() { other.clone() } else { own };
    let identity = or(answer.identity, &default.identity);
    Accept {
        name: or(answer.name, &default.name),
        identity: if identity.is_empty() { format!("agent-{}", job.id.0) } else { identity },
        metadata: or(answer.metadata, &default.metadata),
        attributes: if answer.attributes.is_empty() { default.attributes.clone() } else { answer.attributes },
    }
}
