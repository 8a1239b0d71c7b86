//! See [`super`].

use protocol::worker::{JobId, JobSpec};

/// What a job process is doing.
#[derive(Debug)]
pub(in crate::supervisor) enum Phase {
    /// Starting, running `prewarm`. A job that already waits for it.
    Warming(Option<Box<JobSpec>>),
    /// Ready for an offer or a job.
    Idle,
    /// Thinks about an offer.
    Asked(JobId),
    /// Runs a job.
    Assigned(JobId),
    /// Was prepared by a configuration that is old now: it ends.
    Retired,
}
