//! What operators see over HTTP: `/worker` and `/jobs` as JSON, `/metrics` for Prometheus. Names follow the official workers where they have
//! one, so that their dashboards work.

use super::device_reports::DeviceView;
use super::isolation::IsolationView;
use super::run::Supervisor;
use crate::control::{JobReport, JobStats};
use serde::{Deserialize, Serialize};
use std::fmt::{Display, Write};
use std::time::Duration;

/// The agents protocol that we speak, as the official workers show it.
const AGENT_PROTOCOL: u32 = 1;

/// Upper bounds in seconds of the official workers' histogram of process starts.
const BUCKETS: [f64; 6] = [0.1, 0.5, 1.0, 2.0, 5.0, 10.0];

/// Name after `firmware_worker_job_`, what it is, value.
type JobSeries = (&'static str, &'static str, fn(&JobStats) -> u64);

const JOB_SERIES: [JobSeries; 6] = [
    ("packets_out_total", "Packets of media sent.", |s| s.packets_out),
    ("bytes_out_total", "Bytes of media sent.", |s| s.bytes_out),
    ("lapped_total", "Units of media lost because the job was too slow for a device's ring.", |s| s.lapped),
    ("rejoins_total", "Times that the room was joined anew.", |s| s.rejoins),
    ("resumes_total", "Times that the signal connection was resumed.", |s| s.resumes),
    (
        "stamps_clamped_total",
        "Units whose time of capture was mended: it lay ahead of the clock, or a picture's was not after the one before.",
        |s| s.stamps_clamped,
    ),
];

/// Counted since the start, through upgrades, but for what a program says of itself.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Totals {
    pub registrations: u64,
    pub jobs_started: u64,
    pub jobs_succeeded: u64,
    pub jobs_failed: u64,
    pub job_restarts: u64,
    pub owner_deaths: u64,
    #[serde(skip)]
    buckets: [u64; BUCKETS.len()],
    #[serde(skip)]
    initializations: u64,
    #[serde(skip)]
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

impl Totals {
    /// Nothing to be handed over.
    pub(super) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

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
        head(text, NAME, "histogram", "Time that job processes took to get ready.");
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

    /// Prometheus text format 0.0.4.
    fn metrics(&self) -> String {
        let node = hostname();
        let mut text = String::with_capacity(4096);
        let load = self.brain.snapshot().map_or(0.0, |s| s.load);
        let (jobs, totals, server) = (self.jobs.records.len(), &self.totals, self.brain.counters());
        let owners = self.owners.table.values();
        let owners =
            owners.map(|owner| usize::from(owner.process.is_some()) + usize::from(owner.command.keeper.is_some()));
        let children = self.jobs.processes.len() + owners.sum::<usize>();
        let mut plain = |name: &str, kind: &str, help: &str, value: &dyn Display| {
            head(&mut text, name, kind, help);
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{name}{{nodename=\"{node}\"}} {value}");
        };
        plain("lk_agents_active_job_count", "gauge", "Jobs that have not ended.", &jobs);
        plain("lk_agents_worker_load", "gauge", "Load as the server is told it, 0 to 1.", &load);
        plain(
            "lk_agents_child_process_count",
            "gauge",
            "Processes of jobs, devices and keepers of commands.",
            &children,
        );
        for (name, kind, help, value) in [
            ("recent_restarts", "gauge", "Starts by the service manager in ten minutes.", self.restarts as u64),
            ("registrations_total", "counter", "Times that the server took the worker.", totals.registrations),
            ("jobs_started_total", "counter", "Jobs begun.", totals.jobs_started),
            ("jobs_succeeded_total", "counter", "Jobs that ended as a success.", totals.jobs_succeeded),
            ("jobs_failed_total", "counter", "Jobs that ended as a failure.", totals.jobs_failed),
            ("job_restarts_total", "counter", "Times that a job which failed was started again.", totals.job_restarts),
            ("owner_deaths_total", "counter", "Processes of devices that died.", totals.owner_deaths),
            ("malformed_messages_total", "counter", "Messages of the server that cannot be read.", server.malformed),
            ("ignored_messages_total", "counter", "Those of unknown kinds, or out of turn.", server.ignored),
            ("statuses_lost_total", "counter", "Ends of jobs that no server was told.", server.statuses_lost),
        ] {
            plain(&format!("firmware_worker_{name}"), kind, help, &value);
        }
        totals.write_histogram(&mut text, &node);
        self.write_job_states(&mut text);
        self.write_jobs(&mut text);
        self.write_devices(&mut text);
        self.write_accounts(&mut text);
        text
    }

    fn write_jobs(&self, text: &mut String) {
        for (name, help, value) in JOB_SERIES {
            let name = format!("firmware_worker_job_{name}");
            head(text, &name, "counter", help);
            for process in self.jobs.processes.values() {
                if let Some(job) = process.job() {
                    let _ = writeln!(text, "{name}{{job=\"{}\"}} {}", escape(&job.0), value(&process.stats));
                }
            }
        }
    }
}

/// What a series is, before its values.
pub(super) fn head(text: &mut String, name: &str, kind: &str, help: &str) {
    // Writing to a String cannot fail.
    let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
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
