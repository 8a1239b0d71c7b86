//! Jobs as operators see them: `/jobs`, the jobs in `/worker`, `firmware-worker jobs`, and metrics.

use super::report::{escape, head};
use super::run::Supervisor;
use crate::control::{JobReport, WorkerJobs};
use protocol::worker::JobState;
use std::fmt::Write;
use std::time::Instant;

impl Supervisor {
    /// All that have not ended.
    pub(super) fn job_reports(&self) -> Vec<JobReport> {
        let reports = self.jobs.records.iter().map(|(id, record)| {
            let process = self.jobs.processes.get(&record.process);
            let stats = process.map(|p| &p.stats);
            JobReport {
                id: id.0.clone(),
                room: record.room.clone(),
                identity: record.identity.clone(),
                participant: record.sid.clone(),
                // One that has ended is forgotten within the same turn.
                state: self.brain.job_state(id).unwrap_or(JobState::Ending).name().to_owned(),
                pid: process.map(|p| p.process.pid()),
                seconds: record.started.elapsed().as_secs(),
                packets_out: stats.map_or(0, |stats| stats.packets_out),
                bytes_out: stats.map_or(0, |stats| stats.bytes_out),
                stamps_clamped: stats.map_or(0, |stats| stats.stamps_clamped),
                restarts: record.restarts,
                last_failure: record.last_failure.clone(),
                sandbox: process.map(|p| p.process.sandbox()).unwrap_or_default(),
                usage: process.map(|p| p.process.usage().report()).unwrap_or_default(),
            }
        });
        reports.collect()
    }

    /// [`WorkerJobs`]
    pub(super) fn jobs_json(&self) -> String {
        let (worker, agent_name) = (std::process::id(), self.config.worker.agent_name.clone());
        let mut failed = self.jobs.export_failed(Instant::now());
        failed.reverse();
        let all = WorkerJobs { worker, agent_name, jobs: self.job_reports(), failed };
        serde_json::to_string(&all).expect("a struct of strings and numbers has a JSON form")
    }

    /// What each job does, and since when it is here.
    pub(super) fn write_job_states(&self, text: &mut String) {
        const STATE: &str = "firmware_worker_job_state";
        const AGE: &str = "firmware_worker_job_age_seconds";
        let reports = self.job_reports();
        // Writing to a String cannot fail.
        head(text, STATE, "gauge", "1 for the state that a job is in.");
        for job in &reports {
            for state in JobState::ALL.map(JobState::name) {
                let is = u8::from(job.state == state);
                let _ = writeln!(text, "{STATE}{{job=\"{}\",state=\"{state}\"}} {is}", escape(&job.id));
            }
        }
        head(text, AGE, "gauge", "Time since the job was begun.");
        for job in &reports {
            let _ = writeln!(text, "{AGE}{{job=\"{}\"}} {}", escape(&job.id), job.seconds);
        }
    }
}
