//! What operators see over HTTP: `/worker` and `/jobs` as JSON, `/metrics` for Prometheus. Names follow the official workers where they have
//! one, so that their dashboards work.

use super::isolation::IsolationView;
use super::run::Supervisor;
use crate::control::{BOUNDS_US, JOB_STAGES, JobReport, Latency, OwnerStage, OwnerState, SandboxReport};
use serde::Serialize;
use std::fmt::Write;
use std::time::Duration;

/// The agents protocol that we speak, as the official workers show it.
const AGENT_PROTOCOL: u32 = 1;

/// Upper bounds in seconds of the official workers' histogram of process starts.
const BUCKETS: [f64; 6] = [0.1, 0.5, 1.0, 2.0, 5.0, 10.0];

/// How long each stage of the media path takes, from the driver's stamp to the last packet.
const STAGE_SECONDS: &str = "firmware_worker_stage_seconds";

/// Counted since the start.
#[derive(Debug, Default)]
pub(super) struct Totals {
    pub registrations: u64,
    pub jobs_started: u64,
    pub jobs_succeeded: u64,
    pub jobs_failed: u64,
    pub job_restarts: u64,
    pub owner_deaths: u64,
    buckets: [u64; BUCKETS.len()],
    initializations: u64,
    initialization_time: Duration,
}

/// One look at the worker.
#[derive(Debug)]
pub(super) struct Report {
    /// `/ready`: why not, or nothing.
    pub problem: Option<String>,
    /// `/worker`
    pub worker: String,
    /// `/jobs`
    pub jobs: String,
    /// `/metrics`
    pub metrics: String,
}

#[derive(Serialize)]
struct WorkerView<'a> {
    agent_name: &'a str,
    worker_type: &'static str,
    worker_id: &'a str,
    worker_load: f32,
    active_jobs: u32,
    sdk_version: &'static str,
    protocol_version: u32,
    deployment: &'a str,
    registered: bool,
    draining: bool,
    problem: &'a str,
    /// By a service manager, in the last ten minutes and since an orderly end.
    restarts: usize,
    /// Memory and process limits apply to children.
    limits: bool,
    isolation: IsolationView,
    jobs: Vec<JobReport>,
    devices: Vec<DeviceView<'a>>,
}

#[derive(Serialize)]
struct DeviceView<'a> {
    name: &'a str,
    state: &'static str,
    detail: &'a str,
    pid: Option<i32>,
    readers: u32,
    encoders: u32,
    /// What codes a camera that runs; empty for others.
    encoder: String,
    sandbox: SandboxReport,
}

impl Totals {
    /// A job process was ready after `took`.
    pub(super) fn initialized(&mut self, took: Duration) {
        self.initializations += 1;
        self.initialization_time += took;
        for (count, bound) in self.buckets.iter_mut().zip(BUCKETS) {
            *count += u64::from(took.as_secs_f64() <= bound);
        }
    }

    fn write_histogram(&self, text: &mut String, node: &str) {
        const NAME: &str = "lk_agents_proc_initialize_duration_seconds";
        let _ = writeln!(text, "# TYPE {NAME} histogram");
        for (count, bound) in self.buckets.iter().zip(BUCKETS) {
            let _ = writeln!(text, "{NAME}_bucket{{nodename=\"{node}\",le=\"{bound:?}\"}} {count}");
        }
        let (count, sum) = (self.initializations, self.initialization_time.as_secs_f64());
        let _ = writeln!(text, "{NAME}_bucket{{nodename=\"{node}\",le=\"+Inf\"}} {count}");
        let _ = writeln!(text, "{NAME}_sum{{nodename=\"{node}\"}} {sum}\n{NAME}_count{{nodename=\"{node}\"}} {count}");
    }
}

impl Supervisor {
    pub(super) fn report(&self) -> Report {
        let snapshot = self.brain.snapshot();
        let worker = serde_json::to_string(&self.worker_view(snapshot.as_ref()))
            .expect("a struct of strings and numbers has a JSON form");
        Report { problem: self.problem(), worker, jobs: self.jobs_json(), metrics: self.metrics() }
    }

    /// Why it is not registered.
    pub(super) fn problem(&self) -> Option<String> {
        match self.brain.snapshot() {
            Some(s) if s.registered && !s.draining => None,
            Some(s) if s.draining => Some("draining".to_owned()),
            Some(s) if !s.problem.is_empty() => Some(s.problem),
            Some(_) => Some("not registered yet".to_owned()),
            None => Some("runs one job without registration".to_owned()),
        }
    }

    fn worker_view<'a>(&'a self, snapshot: Option<&'a protocol::worker::Snapshot>) -> WorkerView<'a> {
        WorkerView {
            agent_name: &self.config.worker.agent_name,
            worker_type: match self.config.worker.job_type {
                protocol::worker::JobType::Room => "JT_ROOM",
                protocol::worker::JobType::Publisher => "JT_PUBLISHER",
                protocol::worker::JobType::Participant => "JT_PARTICIPANT",
            },
            worker_id: snapshot.map_or("", |s| &s.worker_id),
            worker_load: snapshot.map_or(0.0, |s| s.load),
            active_jobs: u32::try_from(self.jobs.records.len()).unwrap_or(u32::MAX),
            sdk_version: env!("CARGO_PKG_VERSION"),
            protocol_version: AGENT_PROTOCOL,
            deployment: &self.config.worker.deployment,
            registered: snapshot.is_some_and(|s| s.registered),
            draining: snapshot.is_some_and(|s| s.draining),
            problem: snapshot.map_or("", |s| &s.problem),
            restarts: self.restarts,
            limits: self.spawner.unlimited().is_none(),
            isolation: self.spawner.isolation_view(),
            jobs: self.job_reports(),
            devices: self.device_views(),
        }
    }

    fn device_views(&self) -> Vec<DeviceView<'_>> {
        self.owners
            .table
            .iter()
            .map(|(name, owner)| {
                let (state, detail) = match &owner.state {
                    OwnerState::Closed => ("closed", ""),
                    OwnerState::Running(what) => ("running", what.as_str()),
                    OwnerState::Lost(why) => ("lost", why.as_str()),
                };
                DeviceView {
                    name,
                    state,
                    detail,
                    pid: owner.process.as_ref().map(|p| p.pid()),
                    readers: owner.stats.readers,
                    encoders: owner.stats.encoders,
                    encoder: owner.stats.encoder.map(|encoder| encoder.to_string()).unwrap_or_default(),
                    sandbox: owner.process.as_ref().map(|p| p.sandbox()).unwrap_or_default(),
                }
            })
            .collect()
    }

    /// Prometheus text format 0.0.4.
    fn metrics(&self) -> String {
        let node = hostname();
        let mut text = String::with_capacity(4096);
        let load = self.brain.snapshot().map_or(0.0, |s| s.load);
        let (jobs, totals) = (self.jobs.records.len() as f64, &self.totals);
        let owners = self.owners.table.values().filter(|owner| owner.process.is_some()).count();
        let children = (self.jobs.processes.len() + owners) as f64;
        let mut plain = |name: &str, kind: &str, value: f64| {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "# TYPE {name} {kind}\n{name}{{nodename=\"{node}\"}} {value}");
        };
        plain("lk_agents_active_job_count", "gauge", jobs);
        plain("lk_agents_worker_load", "gauge", load.into());
        plain("lk_agents_child_process_count", "gauge", children);
        plain("firmware_worker_recent_restarts", "gauge", self.restarts as f64);
        plain("firmware_worker_registrations_total", "counter", totals.registrations as f64);
        plain("firmware_worker_jobs_started_total", "counter", totals.jobs_started as f64);
        plain("firmware_worker_jobs_succeeded_total", "counter", totals.jobs_succeeded as f64);
        plain("firmware_worker_jobs_failed_total", "counter", totals.jobs_failed as f64);
        plain("firmware_worker_job_restarts_total", "counter", totals.job_restarts as f64);
        plain("firmware_worker_owner_deaths_total", "counter", totals.owner_deaths as f64);
        totals.write_histogram(&mut text, &node);
        self.write_job_states(&mut text);
        self.write_jobs(&mut text);
        self.write_devices(&mut text);
        self.write_accounts(&mut text);
        text
    }

    fn write_jobs(&self, text: &mut String) {
        type Value = fn(&crate::control::JobStats) -> u64;
        const SERIES: [(&str, Value); 6] = [
            ("firmware_worker_job_packets_out_total", |s| s.packets_out),
            ("firmware_worker_job_bytes_out_total", |s| s.bytes_out),
            ("firmware_worker_job_lapped_total", |s| s.lapped),
            ("firmware_worker_job_rejoins_total", |s| s.rejoins),
            ("firmware_worker_job_resumes_total", |s| s.resumes),
            ("firmware_worker_job_stamps_clamped_total", |s| s.stamps_clamped),
        ];
        for (name, value) in SERIES {
            let _ = writeln!(text, "# TYPE {name} counter");
            for process in self.jobs.processes.values() {
                if let Some(job) = process.job() {
                    let _ = writeln!(text, "{name}{{job=\"{}\"}} {}", escape(&job.0), value(&process.stats));
                }
            }
        }
    }

    fn write_devices(&self, text: &mut String) {
        type Value = fn(&crate::control::OwnerStats) -> u64;
        const SERIES: [(&str, &str, Value); 10] = [
            ("firmware_worker_device_captured_total", "counter", |s| s.captured),
            ("firmware_worker_device_written_total", "counter", |s| s.written),
            ("firmware_worker_device_dropped_total", "counter", |s| s.dropped),
            ("firmware_worker_device_keyframes_total", "counter", |s| s.keyframes),
            ("firmware_worker_device_readers", "gauge", |s| s.readers.into()),
            ("firmware_worker_device_encoders", "gauge", |s| s.encoders.into()),
            ("firmware_worker_device_saving", "gauge", |s| s.saving.into()),
            ("firmware_worker_speaker_dry_total", "counter", |s| s.dry),
            ("firmware_worker_speaker_skipped_frames_total", "counter", |s| s.skipped),
            ("firmware_worker_speaker_buffer_microseconds", "gauge", |s| s.buffer_us.into()),
        ];
        for (name, kind, value) in SERIES {
            let _ = writeln!(text, "# TYPE {name} {kind}");
            for (device, owner) in &self.owners.table {
                let _ = writeln!(text, "{name}{{device=\"{}\"}} {}", escape(device), value(&owner.stats));
            }
        }
        const ENCODER: &str = "firmware_worker_device_encoder";
        let _ = writeln!(text, "# TYPE {ENCODER} gauge");
        for (device, owner) in &self.owners.table {
            if let Some(encoder) = owner.stats.encoder {
                let _ = writeln!(text, "{ENCODER}{{device=\"{}\",encoder=\"{encoder}\"}} 1", escape(device));
            }
        }
        let _ = writeln!(text, "# TYPE {STAGE_SECONDS} histogram");
        for (device, owner) in &self.owners.table {
            let stages =
                OwnerStage::NAMES.iter().zip(owner.stats.stages.iter()).chain(JOB_STAGES.iter().zip(&owner.in_jobs));
            for (stage, latency) in stages {
                write_stage(text, &format!("device=\"{}\",stage=\"{stage}\"", escape(device)), latency);
            }
        }
        self.write_levels(text);
    }

    /// Of sound cards that run.
    fn write_levels(&self, text: &mut String) {
        type Value = fn(&crate::control::SoundLevel) -> i16;
        const SERIES: [(&str, Value); 2] = [
            ("firmware_worker_device_peak_dbfs", |level| level.peak),
            ("firmware_worker_device_rms_dbfs", |level| level.rms),
        ];
        for (name, value) in SERIES {
            let _ = writeln!(text, "# TYPE {name} gauge");
            for (device, owner) in &self.owners.table {
                let Some(level) = &owner.stats.level else { continue };
                let decibel = f64::from(value(level)) / 100.0;
                let _ = writeln!(text, "{name}{{device=\"{}\"}} {decibel}", escape(device));
            }
        }
    }
}

/// Of one stage, in Prometheus' sums from the left.
fn write_stage(text: &mut String, labels: &str, latency: &Latency) {
    let mut count = 0;
    for (bucket, bound) in latency.counts.iter().zip(BOUNDS_US) {
        // A job's numbers may be anything.
        count = bucket.saturating_add(count);
        let bound = f64::from(bound) / 1e6;
        let _ = writeln!(text, "{STAGE_SECONDS}_bucket{{{labels},le=\"{bound:?}\"}} {count}");
    }
    count = latency.counts[BOUNDS_US.len()].saturating_add(count);
    let seconds = latency.sum_us as f64 / 1e6;
    let _ = writeln!(text, "{STAGE_SECONDS}_bucket{{{labels},le=\"+Inf\"}} {count}");
    let _ = writeln!(text, "{STAGE_SECONDS}_sum{{{labels}}} {seconds}\n{STAGE_SECONDS}_count{{{labels}}} {count}");
}

/// The label that the official workers put on their metrics.
fn hostname() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    escape(name.trim())
}

/// For a label's value.
pub(super) fn escape(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}
