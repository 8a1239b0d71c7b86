//! The table of device owners: one process per configured device, started on first demand; a warm device's at once.

mod handover;

use super::cgroup::Limits;
use super::commands::Command;
use super::jobs::ProcessId;
use super::process::{Happened, Kind, Plan, Process, Spawner};
use super::pulse::{PING_INTERVAL, Pulse};
use super::stuck::Verdict;
use crate::config::Device;
use crate::control::{
    DeviceFacts, DriverBuffers, FromOwner, JOB_STAGES, Latency, OwnerState, OwnerStats, SourceStages, ToOwner,
};
use protocol::backoff::Backoff;
use protocol::worker::Exit;
use std::collections::{BTreeMap, BTreeSet};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tracing::{info, warn};

/// Waits before a dead owner is started again.
const RETRY: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(30));

/// An owner that lived for this long was well: the next death starts with the shortest wait again.
const STABLE: Duration = Duration::from_secs(60);

/// All device owners, by the name of their device.
#[derive(Debug)]
pub(super) struct Owners {
    pub(super) table: BTreeMap<String, Owner>,
    limits: Limits,
    seed: u64,
}

/// The owner of one device.
#[derive(Debug)]
pub(super) struct Owner {
    pub device: Device,
    pub process: Option<Process>,
    /// What it reads from, if that is a command.
    pub command: Command,
    pub pulse: Pulse,
    pub state: OwnerState,
    pub stats: OwnerStats,
    /// Nothing of an owner of a program that did not tell it yet.
    pub facts: Option<DeviceFacts>,
    /// The most that was told of its buffers: what was opened last may have been a lighter mode than the next.
    pub buffers: Option<DriverBuffers>,
    /// Of its media in all jobs since the start, as [`JOB_STAGES`].
    pub in_jobs: [Latency; JOB_STAGES.len()],
    pub greeted: bool,
    /// It was killed and does not die, as the kernel holds it. It is neither waited for nor spoken to, and has no
    /// successor before it is gone.
    pub parked: bool,
    /// Its question who holds its device has no answer yet.
    pub asking: bool,
    /// It was started by the program before this one: replaced when nobody reads it.
    pub outdated: bool,
    /// When somebody wanted to read it last, and when it told last how many do.
    wanted_at: Instant,
    counted_at: Option<Instant>,
    /// Starts so far, so that an answer for an earlier process is not given to a later one.
    pub starts: u32,
    pub panic: Option<String>,
    started: Instant,
    backoff: Backoff,
    /// A dead one is not started again before, and those who wait are served then. `None` if that has been done, or if
    /// there was no death yet.
    retry_at: Option<Instant>,
    /// Living job processes that wait for the restart.
    pub waiting: BTreeSet<ProcessId>,
    /// Living job processes that were given a socket to it, by this program.
    pub readers: BTreeSet<ProcessId>,
}

impl Owners {
    pub(super) fn new(devices: &[Device], limits: Limits, now: Instant, seed: u64) -> Self {
        let table = devices.iter().map(|device| (device.name.clone(), Owner::new(device, now))).collect();
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

    /// The next command that has ended, by its camera.
    pub(super) fn poll_commands(&mut self, cx: &mut Context<'_>) -> Poll<(String, Exit)> {
        for (name, owner) in &mut self.table {
            if let Some(keeper) = &mut owner.command.keeper
                && let Poll::Ready(happened) = keeper.poll_next::<()>(cx)
                && let Happened::Ended(exit) = happened
            {
                return Poll::Ready((name.clone(), exit));
            }
        }
        Poll::Pending
    }

    /// The running owner of `name`, started if need be; `None` while a dead one waits for its restart.
    pub(super) fn demand(
        &mut self,
        name: &str,
        spawner: &mut Spawner,
        now: Instant,
    ) -> Result<Option<&Process>, String> {
        let owner = self.table.get_mut(name).ok_or_else(|| format!("no device {name:?} is configured"))?;
        owner.wanted_at = now;
        if owner.parked {
            return Ok(None);
        }
        if owner.process.is_none() {
            if owner.retry_at.is_some_and(|at| at > now) {
                return Ok(None);
            }
            owner.start(self.limits, spawner, now)?;
        }
        Ok(owner.process.as_ref())
    }

    /// There is no owner, or it did not take its reader, so it is going: the job's process waits for the next one.
    pub(super) fn wait(&mut self, name: &str, reader: ProcessId) {
        if let Some(owner) = self.table.get_mut(name) {
            owner.waiting.insert(reader);
        }
    }

    /// It has an owner, and waits for none.
    pub(super) fn served(&mut self, name: &str, reader: ProcessId) {
        if let Some(owner) = self.table.get_mut(name) {
            owner.waiting.remove(&reader);
            owner.readers.insert(reader);
        }
    }

    /// The reader's process is gone.
    pub(super) fn forget(&mut self, reader: ProcessId) {
        for owner in self.table.values_mut() {
            owner.waiting.remove(&reader);
            owner.readers.remove(&reader);
        }
    }

    /// Starts the owners of warm devices that are due; where that fails, again after a while.
    pub(super) fn keep_warm(&mut self, spawner: &mut Spawner, now: Instant) {
        for (name, owner) in &mut self.table {
            let due = owner.process.is_none() && owner.retry_at.is_some_and(|at| at <= now);
            if due
                && owner.device.warm()
                && let Err(why) = owner.start(self.limits, spawner, now)
            {
                warn!("device {name}: {why}");
                owner.retry(self.seed, now);
            }
        }
    }

    /// The owner's process is gone.
    pub(super) fn ended(&mut self, name: &str, now: Instant) -> Option<&mut Owner> {
        let owner = self.table.get_mut(name)?;
        (owner.process, owner.parked) = (None, false);
        if now.duration_since(owner.started) >= STABLE {
            owner.backoff.reset();
        }
        owner.retry(self.seed, now);
        owner.stats.readers = 0;
        owner.stats.encoders = 0;
        owner.stats.encoder = None;
        Some(owner)
    }

    /// Readers that have waited for a restart that is due now, or that another reader has caused already.
    pub(super) fn due(&mut self, now: Instant) -> Vec<(String, ProcessId)> {
        let mut due = Vec::new();
        for (name, owner) in &mut self.table {
            if owner.retry_at.is_some_and(|at| at <= now) {
                due.extend(std::mem::take(&mut owner.waiting).into_iter().map(|reader| (name.clone(), reader)));
                owner.retry_at.take_if(|_| owner.process.is_some());
            }
        }
        due
    }

    /// When [`Owners::due`] or [`Owners::keep_warm`] has something to do.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let missing = |owner: &&Owner| owner.process.is_none() && owner.device.warm();
        let waiting = self.table.values().filter(|owner| !owner.waiting.is_empty() || missing(owner));
        let stuck = self.table.values().filter_map(|owner| owner.process.as_ref()?.deadline());
        waiting.filter_map(|owner| owner.retry_at).chain(stuck).min()
    }

    /// A job's times of its sources, and what it had told `before`.
    pub(super) fn passed(&mut self, now: &[SourceStages], before: &[SourceStages]) {
        for source in now {
            let Some(owner) = self.table.get_mut(&source.name) else { continue };
            let before = before.iter().find(|earlier| earlier.name == source.name);
            for (stage, total) in owner.in_jobs.iter_mut().enumerate() {
                let earlier = before.map_or_else(Latency::default, |earlier| earlier.latency[stage]);
                total.add(&source.latency[stage].since(&earlier));
            }
        }
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
    fn new(device: &Device, now: Instant) -> Self {
        Self {
            device: device.clone(),
            process: None,
            command: Command::default(),
            pulse: Pulse::default(),
            state: OwnerState::Closed,
            stats: OwnerStats::default(),
            facts: None,
            buffers: None,
            in_jobs: Default::default(),
            greeted: false,
            asking: false,
            outdated: false,
            wanted_at: now,
            counted_at: None,
            parked: false,
            starts: 0,
            panic: None,
            started: now,
            backoff: Backoff::new(RETRY.0, RETRY.1),
            retry_at: device.warm().then_some(now),
            waiting: BTreeSet::new(),
            readers: BTreeSet::new(),
        }
    }

    fn start(&mut self, limits: Limits, spawner: &mut Spawner, now: Instant) -> Result<(), String> {
        let kind = Kind::of(&self.device);
        let plan = Plan { name: "owner", subcommand: crate::cli::OWNER, limits, kind };
        let mut process = spawner.spawn(plan, &ToOwner::Setup, &self.device)?;
        process.call(format!("device {}", self.device.name));
        tracing::debug!("device {}: owner process {}", self.device.name, process.pid());
        self.process = Some(process);
        self.pulse = Pulse::default();
        (self.greeted, self.asking, self.parked) = (false, false, false);
        (self.outdated, self.counted_at) = (false, None);
        self.starts += 1;
        self.panic = None;
        self.started = now;
        Ok(())
    }

    /// It has told what it counts.
    pub(super) fn counted(&mut self, stats: OwnerStats, now: Instant) {
        self.stats = stats;
        self.counted_at = Some(now);
    }

    /// It has told what it knows. One that has not opened its device yet needs what the one before did.
    pub(super) fn learned(&mut self, facts: DeviceFacts) {
        let before = self.facts.and_then(|facts| facts.buffers);
        self.facts = Some(DeviceFacts { buffers: facts.buffers.or(before), ..facts });
        if let Some(told) = facts.buffers {
            self.buffers = Some(self.buffers.map_or(told, |before| before.most(told)));
        }
    }

    /// It did not answer its pings and was killed.
    pub(super) fn silent(&mut self, name: &str, verdict: Verdict) {
        let Some(pid) = self.process.as_ref().map(Process::pid) else { return };
        match verdict {
            Verdict::Dies => warn!("device {name}: owner process {pid} is silent, killed"),
            Verdict::Stuck if self.parked => {}
            Verdict::Stuck => {
                let why = format!(
                    "owner process {pid} hangs in the kernel and cannot be killed: unplug the device, or restart the board"
                );
                warn!("device {name}: {why}");
                self.state = OwnerState::Lost(why);
                self.parked = true;
            }
        }
    }

    fn retry(&mut self, seed: u64, now: Instant) {
        self.retry_at = Some(now + self.backoff.fail(seed.rotate_left(self.backoff.failures())));
    }
}

#[cfg(test)]
mod tests {
    use super::super::isolation::Isolation;
    use super::*;
    use crate::config::{self, DeviceKind, Microphone};

    fn table(warm: bool, now: Instant) -> Owners {
        let microphone = Microphone { warm, ..Microphone::default() };
        let device = Device { name: "microphone".into(), kind: DeviceKind::Microphone(microphone) };
        Owners::new(&[device], Limits::default(), now, 1)
    }

    /// Its children are this test program, which does nothing as an owner: it ends by itself.
    fn spawner() -> Spawner {
        let isolation = Isolation::new(config::Isolation::default(), Vec::new());
        Spawner::new(None, isolation, tracing::Level::ERROR).unwrap()
    }

    #[tokio::test]
    async fn a_warm_device_has_an_owner_from_the_start_and_another_after_each_death() {
        let (start, mut spawner) = (Instant::now(), spawner());
        let mut owners = table(true, start);
        assert_eq!(owners.deadline(), Some(start));
        owners.keep_warm(&mut spawner, start);
        assert!(owners.table["microphone"].process.is_some());
        assert_eq!(owners.deadline(), None);
        owners.ended("microphone", start);
        let due = owners.deadline().unwrap();
        owners.keep_warm(&mut spawner, due - Duration::from_millis(1));
        assert!(owners.table["microphone"].process.is_none(), "not before its backoff");
        owners.keep_warm(&mut spawner, due);
        assert_eq!(owners.table["microphone"].starts, 2);
    }

    #[tokio::test]
    async fn a_device_that_is_not_warm_has_no_owner_before_a_job_asks() {
        let (start, mut spawner) = (Instant::now(), spawner());
        let mut owners = table(false, start);
        assert_eq!(owners.deadline(), None);
        owners.keep_warm(&mut spawner, start);
        assert!(owners.table["microphone"].process.is_none());
        assert!(owners.demand("microphone", &mut spawner, start).unwrap().is_some());
    }

    #[tokio::test]
    async fn an_owner_that_hangs_in_the_kernel_is_told_once_and_has_no_successor_until_it_is_gone() {
        let (start, mut spawner) = (Instant::now(), spawner());
        let mut owners = table(false, start);
        owners.demand("microphone", &mut spawner, start).unwrap();
        let owner = owners.table.get_mut("microphone").unwrap();
        owner.silent("microphone", Verdict::Dies);
        assert!(!owner.parked && owner.state == OwnerState::Closed);
        owner.silent("microphone", Verdict::Stuck);
        assert!(matches!(&owner.state, OwnerState::Lost(why) if why.contains("hangs in the kernel")));
        let later = start + Duration::from_secs(3600);
        assert!(owners.demand("microphone", &mut spawner, later).unwrap().is_none());
        owners.wait("microphone", ProcessId(2));
        assert_eq!((owners.table["microphone"].starts, owners.deadline()), (1, None));
        owners.ended("microphone", later);
        let due = owners.deadline().unwrap();
        assert_eq!(owners.due(due), [("microphone".to_owned(), ProcessId(2))]);
        assert!(owners.demand("microphone", &mut spawner, due).unwrap().is_some());
    }
}
