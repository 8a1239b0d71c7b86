//! What a supervisor hands to the program that takes its place: its table, as JSON in a sealed memfd, and the numbers of the
//! descriptors that stay open beside it.
//!
//! Version N is read by N and by N + 1. A field that a version adds has a default; one that it drops is ignored.

use super::ledger::Entry;
use super::report::Totals;
use crate::config::Device;
use crate::control::confinement::Report;
use crate::control::{FailedJob, OwnerState};
use hal::process::{Inheritance, read_sealed, sealed_memfd};
use protocol::worker::{Handover, JobId, JobSpec, Limits};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::os::fd::{OwnedFd, RawFd};
use std::path::PathBuf;
use std::time::Duration;
use tracing::info;

/// Of the table's form.
const VERSION: u32 = 1;

/// The oldest that is read.
const OLDEST: u32 = 1;

/// Bytes of a table: what many jobs with the largest metadata take.
const MAX_LENGTH: usize = 16 * 1024 * 1024;

/// The state of a supervisor, but for what its successor finds out by itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Table {
    pub version: u32,
    /// Version of the program that wrote it.
    pub build: String,
    /// Where the program of this worker is looked for.
    pub program: PathBuf,
    pub worker: Handover,
    /// SIGTERM and SIGINT so far.
    pub signals: u32,
    /// That the system stays up: its sign was seen.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub sign_seen: bool,
    /// Job processes so far: their numbers are never used twice.
    pub processes_started: u64,
    /// Leaves so far: nor are their names.
    pub leaves_made: u64,
    pub processes: Vec<ProcessEntry>,
    pub jobs: Vec<JobEntry>,
    pub devices: Vec<DeviceEntry>,
    /// Sign-offs under way.
    pub ghosts: Vec<Entry>,
    pub ledger: Option<LedgerEntry>,
    /// Users whose last child may still be going.
    pub users: Vec<UserEntry>,
    /// Children that were killed and not reaped yet.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub leaving: Vec<ChildEntry>,
    /// The last that failed, the earliest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failed: Vec<FailedJob>,
    /// What was counted since the start.
    #[serde(default, skip_serializing_if = "Totals::is_empty")]
    pub totals: Totals,
    /// What users are shared by with other workers on the board.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claims: Option<RawFd>,
    /// Layers of isolation that cannot be had here.
    pub missing: Report,
}

/// A child that lives, or has ended and was not waited for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct ChildEntry {
    pub pid: i32,
    pub pidfd: RawFd,
    /// Its name in the log.
    pub label: String,
    /// None once it has closed it.
    pub control: Option<RawFd>,
    /// The reading end of its standard error.
    pub stderr: Option<RawFd>,
    pub leaf: Option<LeafEntry>,
    pub confined: Option<ConfinedEntry>,
}

/// The cgroup of a child.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct LeafEntry {
    pub path: PathBuf,
    pub limits: Limits,
}

/// What a child has given up.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct ConfinedEntry {
    pub user: UserEntry,
    /// Page of refused calls.
    pub tally: RawFd,
    /// None if it has not told.
    pub report: Option<Report>,
}

/// A user that children become, and the leaf of the one that is it or was it last.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct UserEntry {
    pub uid: u32,
    pub leaf: Option<PathBuf>,
}

/// A job process. One without a job is of no use to a successor, which lets it end.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct ProcessEntry {
    pub number: u64,
    pub child: ChildEntry,
    pub job: Option<JobId>,
}

/// A job.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct JobEntry {
    /// Number of its process.
    pub process: u64,
    pub spec: JobSpec,
    pub sid: Option<String>,
    pub left: bool,
    pub age: Duration,
    pub restarts: u32,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub restarted: Vec<u64>,
    pub last_failure: Option<String>,
}

/// A device and its owner.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct DeviceEntry {
    pub device: Device,
    pub owner: Option<ChildEntry>,
    pub greeted: bool,
    pub parked: bool,
    pub state: OwnerState,
    pub starts: u32,
    /// Numbers of job processes that wait for its restart.
    pub waiting: Vec<u64>,
    /// What keeps the command that it is read from.
    pub keeper: Option<ChildEntry>,
}

/// The ledger, with the lock of its place.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct LedgerEntry {
    pub path: PathBuf,
    pub lock: RawFd,
}

/// As much as must be known before the rest can be read.
#[derive(Deserialize)]
struct Head {
    version: u32,
    #[serde(default)]
    build: String,
}

impl Table {
    /// [`VERSION`]
    pub(super) const VERSION: u32 = VERSION;

    /// Reads what [`Table::seal`] made; in plain words why that cannot be.
    pub(super) fn read(memfd: OwnedFd) -> Result<Self, String> {
        let text = read_sealed(memfd, MAX_LENGTH).map_err(|e| format!("handover: {e}"))?;
        Self::parse(&text)
    }

    fn parse(text: &[u8]) -> Result<Self, String> {
        // Where it is wrong, without what stands there: that may be a token.
        let damaged = |e: serde_json::Error| format!("handover: damaged at line {} column {}", e.line(), e.column());
        let Head { version, build } = serde_json::from_slice(text).map_err(damaged)?;
        if !(OLDEST..=VERSION).contains(&version) {
            return Err(format!(
                "handover: version {version} of program {build} is not read here ({OLDEST} to {VERSION} are): restart \
                 the worker"
            ));
        }
        serde_json::from_slice(text).map_err(damaged)
    }

    pub(super) fn seal(&self) -> Result<OwnedFd, String> {
        let text = serde_json::to_vec(self).map_err(|e| format!("handover: {e}"))?;
        if text.len() > MAX_LENGTH {
            return Err(format!("handover: {} bytes are more than is read", text.len()));
        }
        sealed_memfd("handover", &text).map_err(|e| format!("handover: memfd: {e}"))
    }

    /// Numbers of all descriptors that it names.
    pub(super) fn descriptors(&self) -> Vec<RawFd> {
        let jobs = self.processes.iter().map(|process| &process.child);
        let devices = self.devices.iter().flat_map(|device| device.owner.iter().chain(&device.keeper));
        let children = jobs.chain(devices).chain(&self.leaving).flat_map(ChildEntry::descriptors);
        children.chain(self.ledger.as_ref().map(|ledger| ledger.lock)).chain(self.claims).collect()
    }

    /// For operators.
    pub(super) fn in_words(&self) -> String {
        let owners = self.devices.iter().filter(|device| device.owner.is_some()).count();
        format!("{} jobs and {owners} device owners of program {}", self.jobs.len(), self.build)
    }
}

impl ChildEntry {
    fn descriptors(&self) -> impl Iterator<Item = RawFd> {
        let tally = self.confined.as_ref().map(|confined| confined.tally);
        [Some(self.pidfd), self.control, self.stderr, tally].into_iter().flatten()
    }
}

/// What comes with a table to a program that takes another's place.
#[derive(Debug)]
pub(super) struct Succession {
    pub table: Table,
    pub inheritance: Inheritance,
}

impl Succession {
    /// Goes back to the program of before if the table cannot be read.
    pub(super) fn of(inheritance: Inheritance) -> Self {
        let table = inheritance.table().map_err(|e| format!("handover: {e}")).and_then(Table::read);
        match table {
            Ok(table) => Self { table, inheritance },
            Err(why) => inheritance.go_back(&why),
        }
    }

    /// Said first: what comes after it may fail.
    pub(super) fn announce(&self) {
        if self.inheritance.why().is_none() {
            info!("taking over {}", self.table.in_words());
        }
    }
}

/// Whether this program could take over what stands in the memfd of this number, in words.
pub(super) fn check(number: RawFd, resume: impl FnOnce(Handover)) -> Result<String, String> {
    let path = format!("/proc/self/fd/{number}");
    let memfd = File::open(&path).map_err(|e| format!("--handover: {path}: {e}"))?;
    let table = Table::read(memfd.into())?;
    let words = table.in_words();
    resume(table.worker);
    Ok(format!("handover of version {}: {words} can be taken over", table.version))
}

#[cfg(test)]
mod tests;
