//! Jobs that failed and are started again.

use super::run::Supervisor;
use protocol::worker::{Exit, JobEvent, JobId};
use std::time::{Duration, Instant};
use tracing::{info, warn};

impl Supervisor {
    /// A failure that the server is not told, as the job goes on.
    pub(super) fn failed(&mut self, job: &JobId, error: String, wait: Duration) {
        self.totals.job_restarts += 1;
        let Some(record) = self.jobs.records.get_mut(job) else { return };
        record.restarts += 1;
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
