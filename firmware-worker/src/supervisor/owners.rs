//! The table of device owners: one process per configured device, started on first demand.

use super::cgroup;
use super::jobs::ProcessId;
use super::process::{Happened, Plan, Process, Spawner};
use super::pulse::Pulse;
use crate::config::Device;
use crate::control::{FromOwner, OwnerState, OwnerStats, ToOwner};
use protocol::backoff::Backoff;
use std::collections::{BTreeMap, BTreeSet};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

/// Waits before a dead owner is started again.
const RETRY: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(30));

/// An owner that lived for this long was well: the next death starts with the shortest wait again.
const STABLE: Duration = Duration::from_secs(60);

/// All device owners, by the name of their device.
#[derive(Debug)]
pub(super) struct Owners {
    pub(super) table: BTreeMap<String, Owner>,
    limits: cgroup::Limits,
    seed: u64,
}

/// The owner of one device.
#[derive(Debug)]
pub(super) struct Owner {
    pub device: Device,
    pub process: Option<Process>,
    pub pulse: Pulse,
    pub state: OwnerState,
    pub stats: OwnerStats,
    pub greeted: bool,
    /// Starts so far, so that an answer for an earlier process is not given to a later one.
    pub starts: u32,
    pub panic: Option<String>,
    started: Instant,
    backoff: Backoff,
    retry_at: Option<Instant>,
    /// Job processes that wait for the restart; no more than there are jobs.
    waiting: BTreeSet<ProcessId>,
}

impl Owners {
    pub(super) fn new(devices: &[Device], limits: cgroup::Limits, now: Instant, seed: u64) -> Self {
        let owner = |device: &Device| Owner {
            device: device.clone(),
            process: None,
            pulse: Pulse::default(),
            state: OwnerState::Closed,
            stats: OwnerStats::default(),
            greeted: false,
            starts: 0,
            panic: None,
            started: now,
            backoff: Backoff::new(RETRY.0, RETRY.1),
            retry_at: None,
            waiting: BTreeSet::new(),
        };
        let table = devices.iter().map(|device| (device.name.clone(), owner(device))).collect();
        Self { table, limits, seed }
    }

    /// The next thing that any owner did.
    pub(super) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<(String, Happened<FromOwner>)> {
        for (name, owner) in &mut self.table {
            if let Some(process) = &mut owner.process
                && let Poll::Ready(happened) = process.poll_next(cx)
            {
                return Poll::Ready((name.clone(), happened));
            }
        }
        Poll::Pending
    }

    /// The running owner of `name`, started if need be; `None` while a dead one waits for its restart, and then the
    /// reader is remembered.
    pub(super) fn demand(
        &mut self,
        name: &str,
        reader: ProcessId,
        spawner: &mut Spawner,
        now: Instant,
    ) -> Result<Option<&Process>, String> {
        let owner = self.table.get_mut(name).ok_or_else(|| format!("no device {name:?} is configured"))?;
        if owner.process.is_none() {
            if owner.retry_at.is_some_and(|at| at > now) {
                owner.waiting.insert(reader);
                return Ok(None);
            }
            let plan = Plan { name: "owner", subcommand: crate::cli::OWNER, limits: self.limits };
            let process = spawner.spawn(plan, &ToOwner::Setup, &owner.device)?;
            tracing::debug!("device {name}: owner process {}", process.pid());
            owner.begin(process, now);
        }
        Ok(owner.process.as_ref())
    }

    /// The owner's process is gone.
    pub(super) fn ended(&mut self, name: &str, now: Instant) -> Option<&mut Owner> {
        let owner = self.table.get_mut(name)?;
        owner.process = None;
        if now.duration_since(owner.started) >= STABLE {
            owner.backoff.reset();
        }
        owner.retry_at = Some(now + owner.backoff.fail(self.seed.rotate_left(owner.backoff.failures())));
        owner.stats.readers = 0;
        owner.stats.encoders = 0;
        owner.stats.encoder = None;
        Some(owner)
    }

    /// Readers that have waited for a restart that is due now.
    pub(super) fn due(&mut self, now: Instant) -> Vec<(String, ProcessId)> {
        let mut due = Vec::new();
        for (name, owner) in &mut self.table {
            if owner.retry_at.is_some_and(|at| at <= now) {
                due.extend(std::mem::take(&mut owner.waiting).into_iter().map(|reader| (name.clone(), reader)));
            }
        }
        due
    }

    /// When [`Owners::due`] has something.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let waiting = self.table.values().filter(|owner| !owner.waiting.is_empty());
        let stuck = self.table.values().filter_map(|owner| owner.process.as_ref()?.deadline());
        waiting.filter_map(|owner| owner.retry_at).chain(stuck).min()
    }

    /// Tells every owner to look for its device again.
    pub(super) fn rescan(&self) {
        for process in self.table.values().filter_map(|owner| owner.process.as_ref()) {
            // One that does not read is found by its pings.
            let _ = process.send(&ToOwner::Rescan, &[]);
        }
    }
}

impl Owner {
    fn begin(&mut self, process: Process, now: Instant) {
        self.process = Some(process);
        self.pulse = Pulse::default();
        self.greeted = false;
        self.starts += 1;
        self.panic = None;
        self.started = now;
        self.retry_at = None;
    }
}
