//! Processes and jobs in the hands of a program that takes this one's place.

use super::*;
use crate::control::FailedJob;
use crate::supervisor::handover::{JobEntry, ProcessEntry};

impl Jobs {
    /// Processes and jobs, for a program that takes this one's place, and the number of the last process.
    pub(in crate::supervisor) fn export(&self, now: Instant) -> (Vec<ProcessEntry>, Vec<JobEntry>, u64) {
        let process = |(id, process): (&ProcessId, &JobProcess)| ProcessEntry {
            number: id.0,
            child: process.process.export(),
            job: process.job().cloned(),
        };
        let job = |record: &Record| JobEntry {
            process: record.process.0,
            spec: record.spec.clone(),
            sid: record.sid.clone(),
            left: record.left,
            age: now.saturating_duration_since(record.started),
            restarts: record.restarts,
            restarted: record.restarted.clone(),
            last_failure: record.last_failure.clone(),
        };
        (self.processes.iter().map(process).collect(), self.records.values().map(job).collect(), self.next)
    }

    /// The same in that program. A process without a job has the old program's code, so it ends.
    pub(in crate::supervisor) fn resume(
        &mut self,
        id: ProcessId,
        mut process: Process,
        job: Option<JobId>,
        now: Instant,
    ) {
        if job.is_none() {
            process.dismiss(now);
        }
        let job = JobProcess {
            process,
            phase: job.map_or(Phase::Retired, Phase::Assigned),
            pulse: Pulse::default(),
            stats: JobStats::default(),
            started: now,
            // It has its job already, or ends.
            resolvers: Vec::new(),
            greeted: true,
            asks: Asks::new(now),
            token: Parts::default(),
            blocked: false,
            large: false,
        };
        self.processes.insert(id, job);
    }

    pub(in crate::supervisor) fn resume_job(&mut self, entry: JobEntry, now: Instant) {
        let JobEntry { process, spec, sid, left, age, restarts, restarted, last_failure } = entry;
        let record = Record {
            process: ProcessId(process),
            room: spec.job.room.name.clone(),
            identity: spec.accept.identity.clone(),
            sid,
            left,
            started: now.checked_sub(age).unwrap_or(now),
            restarts,
            restarted,
            last_failure,
            spec,
        };
        self.records.insert(record.spec.job.id.clone(), record);
    }

    /// The last that failed, the earliest first.
    pub(in crate::supervisor) fn export_failed(&self, now: Instant) -> Vec<FailedJob> {
        let failed = self.failed.iter().map(|failed| FailedJob {
            id: failed.id.0.clone(),
            room: failed.room.clone(),
            error: failed.error.clone(),
            seconds: now.saturating_duration_since(failed.at).as_secs(),
        });
        failed.collect()
    }

    pub(in crate::supervisor) fn resume_failed(&mut self, failed: FailedJob, now: Instant) {
        let FailedJob { id, room, error, seconds } = failed;
        // A board that has not run for so long has no such moment.
        let at = now.checked_sub(Duration::from_secs(seconds)).unwrap_or(now);
        self.remember(Failed { id: JobId(id), room, error, at });
    }

    /// Numbers of further processes come after this one.
    pub(in crate::supervisor) fn number_after(&mut self, last: u64) {
        self.next = self.next.max(last);
    }
}
