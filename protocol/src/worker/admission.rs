//! Whether one more job fits, and the load that is reported for it.

use super::limits::Unfit;
use super::machine::{Mode, Worker, count};
use super::{JobInfo, Limits, wire};

/// Load just before the last slot is taken, in parts of the server's default target of 0.7: below it with room for
/// rounding, since the server selects nobody at or above its target.
const TOP_LOAD: f32 = 0.65;
const DEFAULT_TARGET_LOAD: f32 = 0.7;
/// Reported with FULL; servers that look at the load alone must not choose us either.
const FULL_LOAD: f32 = 1.0;
/// Bytes that a job without a limit is planned with: twice what one of the bridge was seen to take.
pub const PLANNED_MEMORY: u64 = 16 << 20;

impl Worker {
    /// No further job fits, or none is wanted.
    pub(super) fn is_full(&self) -> bool {
        let taken = self.offers.len() + self.jobs.len();
        self.mode != Mode::Serving
            || !self.health.takes_jobs
            || count(taken) >= self.options.max_jobs
            || !self.fits(self.options.limits.default)
    }

    /// What the job may use, by its dispatch or by default.
    pub(super) fn limits_of(&self, job: &JobInfo) -> Result<Limits, Unfit> {
        self.options.limits.of(&job.metadata)
    }

    /// There is memory for a job with these limits beside all that are promised theirs.
    pub(super) fn fits(&self, limits: Limits) -> bool {
        let planned = |limits: Limits| limits.memory.unwrap_or(PLANNED_MEMORY);
        let offers = self.offers.values().map(|offer| &offer.info);
        let promised = offers.chain(self.jobs.values().map(|job| &job.info));
        // One that asks for nonsense is not started.
        let promised: u64 = promised.filter_map(|job| self.limits_of(job).ok()).map(planned).sum();
        self.health.memory_for_jobs.is_none_or(|room| promised.saturating_add(planned(limits)) <= room)
    }

    pub(super) fn status(&self) -> wire::Status {
        let jobs = count(self.jobs.len());
        let taken = count(self.offers.len()) + jobs;
        let full = self.is_full();
        let scale = TOP_LOAD * self.options.target_load / DEFAULT_TARGET_LOAD;
        let share = taken as f32 / self.options.max_jobs as f32;
        let load = if full { FULL_LOAD } else { scale * share.max(self.health.strain.clamp(0.0, 1.0)) };
        wire::Status { full, load, jobs, draining: self.mode != Mode::Serving }
    }
}
