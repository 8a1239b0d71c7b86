//! Jobs that failed and are started again.

use super::run::Supervisor;
use hal::process::monotonic_ns;
use protocol::worker::{Exit, JobEvent, JobId};
use std::time::{Duration, Instant};
use tracing::{info, warn};

/// Restarts of a job that are remembered: no limit counts more.
const RESTARTS: usize = 3;

impl Supervisor {
    /// A failure that the server is not told, as the job goes on.
    pub(super) fn failed(&mut self, job: &JobId, error: String, wait: Duration) {
        self.totals.job_restarts += 1;
        let Some(record) = self.jobs.records.get_mut(job) else { return };
        record.restarts += 1;
        note_restart(&mut record.restarted);
        let (room, when) =
            (&record.room, if wait.is_zero() { String::new() } else { format!(" in {} s", wait.as_secs()) });
        warn!("job {} room {room:?}: {error}; restart {}{when}", job.0, record.restarts);
        record.last_failure = Some(error);
    }

    pub(super) fn restart(&mut self, job: JobId) {
        match self.jobs.restart(&job, &mut self.spawner, Instant::now()) {
            Ok(pid) => {
                let room = self.jobs.records.get(&job).map_or("", |record| &record.room);
                info!("job {} room {room:?}: starting in process {pid}", job.0);
            }
            Err(why) => self.job_input(job, JobEvent::Exited(Exit::NotStarted(why))),
        }
    }
}

/// Adds one that is made now; older ones than the limit counts are forgotten.
pub(super) fn note_restart(restarted: &mut Vec<u64>) {
    restarted.push(board_seconds());
    restarted.drain(..restarted.len().saturating_sub(RESTARTS));
}

/// Since the start of the board, the same for all lives of a supervisor.
pub(super) fn board_seconds() -> u64 {
    monotonic_ns() / 1_000_000_000
}
