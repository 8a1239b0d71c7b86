//! Between a worker and its operators: those who type a command on the board. They speak over a SEQPACKET socket in the
//! worker's runtime directory, one question a connection.

use crate::config::CameraDevice;
use hal::process::user;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Version of these messages. `Hello` and `Refused` are the same in all of them.
pub const OPERATOR_VERSION: u32 = 1;

/// Bytes of [`WorkerJobs`] as JSON: 256 jobs with the longest names and failures fit.
pub const MAX_JOBS: usize = 4 << 20;

/// Below the directory for such things.
const DIRECTORY: &str = "firmware-worker";

/// From an operator to a worker.
#[derive(Debug, Serialize, Deserialize)]
pub enum FromOperator {
    /// First message; one question follows it.
    Hello {
        /// [`OPERATOR_VERSION`]
        version: u32,
    },
    /// Which jobs run?
    Jobs,
    /// End this job.
    Stop {
        /// `AJ_…`
        job: String,
    },
    /// A reader's end of this camera, if it is configured as that.
    Read {
        /// Name in the configuration.
        camera: String,
        /// What it is: another worker may have another camera of this name.
        device: CameraDevice,
    },
    /// Are you registered, or were you lately?
    Registration,
}

/// From a worker to an operator.
#[derive(Debug, Serialize, Deserialize)]
pub enum ToOperator {
    /// It cannot be done.
    Refused {
        /// In plain words.
        why: String,
    },
    /// This worker has no such job or camera.
    Unknown,
    /// Beside it, in a sealed memfd, [`WorkerJobs`] as JSON.
    Jobs,
    /// The job has ended.
    Stopped {
        /// In plain words.
        result: String,
    },
    /// Beside it the reader's end of a socket to the camera's owner, where [`super::FromReader`] is spoken.
    Source,
    /// What it is with the server.
    Registration {
        /// Why it is not registered, in plain words; `None` if it is.
        problem: Option<String>,
        /// Seconds since it was; `None` if it never was.
        ago_s: Option<u64>,
    },
}

/// The jobs of one worker, as its operators see them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct WorkerJobs {
    /// Process of the worker.
    pub worker: u32,
    /// Its name for explicit dispatch; empty for automatic dispatch.
    pub agent_name: String,
    /// All that have not ended.
    pub jobs: Vec<JobReport>,
    /// The last that failed, the latest first.
    pub failed: Vec<FailedJob>,
}

/// A job that failed, as operators see it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct FailedJob {
    /// `AJ_…`
    pub id: String,
    /// Its room.
    pub room: String,
    /// As the server was told: why, and the last that its process wrote to its standard error.
    pub error: String,
    /// Since then.
    pub seconds: u64,
}

/// A job, as operators see it. A field that the other side does not know is left out or empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct JobReport {
    /// `AJ_…`
    pub id: String,
    /// Its room.
    pub room: String,
    /// As which it joined.
    pub identity: String,
    /// `PA_…`, once it has joined.
    pub participant: Option<String>,
    /// As `protocol::worker::JobState` names it.
    pub state: String,
    /// Its process.
    pub pid: Option<i32>,
    /// Since it was assigned.
    pub seconds: u64,
    /// RTP packets sent.
    pub packets_out: u64,
    /// RTP payload bytes sent.
    pub bytes_out: u64,
    /// Units whose time of capture was mended: it lay ahead of the clock, or a picture's was not after the one before.
    pub stamps_clamped: u64,
    /// Since it was assigned.
    pub restarts: u32,
    /// Why it was started again.
    pub last_failure: Option<String>,
    /// What its process has given up.
    pub sandbox: SandboxReport,
    /// What it uses of the board.
    pub usage: UsageReport,
}

/// What a process has given up, as operators see it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SandboxReport {
    /// Its user, if it has one of its own.
    pub uid: Option<u32>,
    /// Layers that hold.
    pub layers: Vec<String>,
    /// Layers that could not be had: why, and the remedy.
    pub missing: Vec<String>,
    /// System calls that were refused, and how often.
    pub refused: BTreeMap<String, u32>,
}

/// What a job uses, as its cgroup counts it; nothing where that does not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct UsageReport {
    /// Bytes of memory now.
    pub memory: Option<u64>,
    /// Bytes of memory at most so far.
    pub memory_peak: Option<u64>,
    /// Bytes of memory it may use.
    pub memory_limit: Option<u64>,
    /// CPU time, ms.
    pub cpu_ms: Option<u64>,
    /// Processes and threads now.
    pub pids: Option<u64>,
    /// Processes and threads it may have.
    pub pids_limit: Option<u32>,
}

/// Where a worker has its sockets and what else lives as long as it: systemd's runtime directory of the unit, else the
/// system's for root and the session's for others. `None` where there is none of them.
pub fn runtime_directory(environment: impl Fn(&str) -> Option<String>) -> Option<PathBuf> {
    // A unit may have several, in one variable.
    let of_unit = environment("RUNTIME_DIRECTORY").and_then(|all| all.split(':').next().map(PathBuf::from));
    let of_user = || match user() {
        0 => Some(Path::new("/run").join(DIRECTORY)),
        _ => environment("XDG_RUNTIME_DIR").map(|session| Path::new(&session).join(DIRECTORY)),
    };
    of_unit.filter(|path| path.is_absolute()).or_else(of_user).filter(|path| path.is_absolute())
}

/// Where workers on this board may have their sockets, as somebody at a shell looks for them: whoever is given a runtime
/// directory means that one.
pub fn runtime_directories(environment: impl Fn(&str) -> Option<String>) -> Vec<PathBuf> {
    if environment("RUNTIME_DIRECTORY").is_some() {
        return runtime_directory(environment).into_iter().collect();
    }
    let system = Path::new("/run").join(DIRECTORY);
    let session = environment("XDG_RUNTIME_DIR").map(|session| Path::new(&session).join(DIRECTORY));
    let mut all: Vec<_> = runtime_directory(environment).into_iter().chain([system]).chain(session).collect();
    all.sort();
    all.dedup();
    all
}

/// The socket of the worker with this process id.
pub fn operator_socket(directory: &Path, worker: u32) -> PathBuf {
    directory.join(format!("{worker}.sock"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(variables: &'static [(&'static str, &'static str)]) -> impl Fn(&str) -> Option<String> {
        |name| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
    }

    #[test]
    fn the_units_directory_goes_before_the_users_and_both_must_be_whole_paths() {
        let unit = with(&[("RUNTIME_DIRECTORY", "/run/unit:/run/other"), ("XDG_RUNTIME_DIR", "/run/user/7")]);
        assert_eq!(runtime_directory(unit), Some("/run/unit".into()));
        let user = runtime_directory(with(&[("RUNTIME_DIRECTORY", ""), ("XDG_RUNTIME_DIR", "/run/user/7")]));
        let expected = if super::user() == 0 { "/run/firmware-worker" } else { "/run/user/7/firmware-worker" };
        assert_eq!(user, Some(expected.into()));
    }

    #[test]
    fn an_operator_looks_where_workers_of_the_system_and_of_the_session_are() {
        let all = runtime_directories(with(&[("XDG_RUNTIME_DIR", "/run/user/7")]));
        assert_eq!(all, [Path::new("/run/firmware-worker"), Path::new("/run/user/7/firmware-worker")]);
        let given =
            runtime_directories(with(&[("RUNTIME_DIRECTORY", "/run/unit"), ("XDG_RUNTIME_DIR", "/run/user/7")]));
        assert_eq!(given, [Path::new("/run/unit")]);
    }

    #[test]
    fn a_report_of_another_build_is_read_as_far_as_it_is_known() {
        let text = r#"{"worker":7,"jobs":[{"id":"AJ_1","state":"running","from_the_future":[1]}],"more":{}}"#;
        let report: WorkerJobs = serde_json::from_str(text).unwrap();
        assert_eq!((report.worker, &*report.jobs[0].id, report.jobs[0].pid), (7, "AJ_1", None));
    }
}
