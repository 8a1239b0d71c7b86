//! SIGUSR2: the program of this worker, which an update has replaced on disk, takes this one's place, and no job ends.
//!
//! ```text
//! Waiting --quiet--> Checking --understood--> Checked --quiet--> exec: the new program adopts everything
//!    |                   '-- not, or no answer --> refused              '-- not up in time, crash --> back to this one
//!    '-- not quiet in time --> given up
//! ```
//!
//! Quiet is a moment in which nothing is under way that is over within seconds anyway. Messages that children send meanwhile
//! wait in their sockets. The connection to the server is not handed over: the new program registers again.

use super::Event;
use super::announce::notify;
use super::brain::Brain;
use super::handover::{DeviceEntry, LedgerEntry, ProcessEntry, Table};
use super::jobs::ProcessId;
use super::ledger::Ledger;
use super::process::Process;
use super::run::Supervisor;
use super::signoff::Ghost;
use super::system::Sign;
use hal::process::{Ended, Inheritance, run_briefly};
use protocol::worker::{Input, LinkError};
use std::ffi::OsString;
use std::fs::File;
use std::os::fd::AsFd;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use tokio::time::timeout;
use tracing::{error, info, warn};

/// For a quiet moment: offers, starts and ends are over by then, but for a job that does not get ready or does not end.
const PATIENCE: Duration = Duration::from_secs(10);

/// Between looks for it; what ends by time alone does not wake the loop.
const LOOK: Duration = Duration::from_millis(50);

/// What a program may take to say that it can take over, and then to be up: both take 100 ms, and more on a board that swaps.
const LIMIT: Duration = Duration::from_secs(5);

/// Statuses that are queued, and the Close, must not wait for a dead server.
const GOODBYE: Duration = Duration::from_millis(500);

/// An upgrade that was asked for.
#[derive(Debug)]
pub(super) struct Upgrade {
    until: Instant,
    stage: Stage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Waiting,
    Checking,
    Checked,
}

impl Supervisor {
    pub(super) fn asked_to_upgrade(&mut self) {
        match &self.upgrade {
            Some(_) => info!("an upgrade is under way already"),
            None if !self.mode.drain => warn!("no upgrade: only a worker that was started by `start` is upgraded"),
            None => {
                info!("upgrade to {}", self.program.display());
                self.upgrade = Some(Upgrade { until: Instant::now() + PATIENCE, stage: Stage::Waiting });
            }
        }
    }

    /// When [`Supervisor::upgrade`] is due.
    pub(super) fn upgrade_due(&self, now: Instant) -> Option<Instant> {
        self.upgrade.as_ref().map(|_| now + LOOK)
    }

    /// Goes one step further, if one is due. Call it when nothing waits in the queue.
    pub(super) async fn upgrade(&mut self) {
        let now = Instant::now();
        let Some(Upgrade { until, stage }) = self.upgrade else { return };
        match (self.table(now), stage) {
            (Err(busy), _) if until <= now => self.refuse(&format!("given up, try again in a moment: {busy}")),
            (Err(_), _) | (Ok(_), Stage::Checking) => {}
            (Ok(table), Stage::Waiting) => self.check(&table),
            (Ok(_), Stage::Checked) => self.replace().await,
        }
    }

    fn refuse(&mut self, why: &str) {
        error!("the upgrade to {} is {why}; nothing has changed", self.program.display());
        self.upgrade = None;
    }

    /// Asks the new program whether it understands.
    fn check(&mut self, table: &Table) {
        let memfd = match table.seal() {
            Ok(memfd) => memfd,
            Err(why) => return self.refuse(&format!("refused: {why}")),
        };
        if let Some(upgrade) = &mut self.upgrade {
            upgrade.stage = Stage::Checking;
        }
        let (program, events) = (self.program.clone(), self.events.clone());
        tokio::spawn(async move {
            let ask = move || ask(&program, check_arguments(std::env::args_os()), Stdio::from(memfd));
            let asked = tokio::task::spawn_blocking(ask).await;
            let result = asked.unwrap_or_else(|_| Err("shutting down".into()));
            let _ = events.send(Event::Checked(result)).await;
        });
    }

    pub(super) fn checked(&mut self, result: Result<String, String>) {
        match (&mut self.upgrade, result) {
            (Some(upgrade), Ok(words)) => {
                info!("{}: {words}", self.program.display());
                (upgrade.stage, upgrade.until) = (Stage::Checked, Instant::now() + PATIENCE);
            }
            (Some(_), Err(why)) => self.refuse(&format!("refused: {why}")),
            (None, _) => {}
        }
    }

    /// Returns only if the program could not be started.
    async fn replace(&mut self) {
        self.upgrade = None;
        notify(&[sd_notify::NotifyState::Watchdog, sd_notify::NotifyState::Status("upgrading")]);
        // Otherwise what is queued would be lost, and the server would find out late.
        if let Some(uplink) = self.uplink.take() {
            let _ = timeout(GOODBYE, uplink.close()).await;
        }
        self.give_up_questions();
        self.write_ledger();
        let sealed = self.table(Instant::now()).and_then(|table| Ok((table.seal()?, table.descriptors())));
        let why = match sealed {
            Ok((memfd, descriptors)) => {
                let program = self.spawner.executable();
                program.replace_by(&self.program, memfd.as_fd(), &descriptors, LIMIT).to_string()
            }
            Err(why) => why,
        };
        self.refuse(&format!("refused: {why}"));
        self.inputs.push_back(Input::LinkDown(LinkError::Broken("closed for an upgrade".into())));
        self.turn();
    }

    /// What the successor must know; an error is what must be over before.
    fn table(&mut self, now: Instant) -> Result<Table, String> {
        let Brain::Worker(worker) = &self.brain else { return Err("there is no registration".into()) };
        let worker = worker.export(now).map_err(|busy| busy.to_string())?;
        if let Some(device) = self.openings.under_way() {
            return Err(format!("device {device} is being opened"));
        }
        let devices = self.owners.export()?;
        let owners = self.owners.table.values().flat_map(|owner| [&owner.process, &owner.command.keeper]);
        let mut children = self.jobs.processes.values().map(|job| &job.process).chain(owners.flatten());
        if let Some(child) = children.find(|child| child.has_ended()) {
            return Err(format!("process {} has just ended", child.pid()));
        }
        let (processes, jobs, processes_started) = self.jobs.export(now);
        let (leaves_made, users, missing) = self.spawner.export();
        Ok(Table {
            version: Table::VERSION,
            build: env!("CARGO_PKG_VERSION").into(),
            program: self.program.clone(),
            worker,
            signals: self.signals,
            sign_seen: self.sign.is_seen(),
            processes_started,
            leaves_made,
            processes,
            jobs,
            devices,
            ghosts: self.signoffs.values().map(|ghost| ghost.entry.clone()).collect(),
            ledger: self.ledger.as_ref().map(Ledger::export),
            users,
            leaving: self.spawner.leaving().chain(self.openings.left()).map(Process::export).collect(),
            failed: self.jobs.export_failed(now),
            totals: self.totals.clone(),
            claims: self.spawner.isolation().claims(),
            missing,
        })
    }

    /// Takes the place of the program that has left this. The machine has its part already.
    pub(super) fn succeed(&mut self, table: Table, inheritance: &mut Inheritance) -> Result<(), String> {
        let now = Instant::now();
        (self.program, self.signals) = (table.program, table.signals);
        self.sign = Sign::resume(table.sign_seen);
        match table.claims {
            Some(number) => {
                let claims = inheritance.copy(number).map_err(|e| format!("users: {e}"))?;
                self.spawner.share_users_by(claims.into());
            }
            None => self.share_users(),
        }
        self.spawner.resume(table.leaves_made, table.users, &table.missing);
        self.jobs.number_after(table.processes_started);
        for ProcessEntry { number, child, job } in table.processes {
            let process = self.spawner.adopt(child, inheritance)?;
            self.jobs.resume(ProcessId(number), process, job, now);
        }
        table.jobs.into_iter().for_each(|job| self.jobs.resume_job(job, now));
        table.failed.into_iter().for_each(|failed| self.jobs.resume_failed(failed, now));
        self.totals = table.totals;
        for mut device in table.devices {
            let (owner, keeper) = self.adopt_device(&mut device, inheritance)?;
            self.owners.resume(device, owner, keeper, now).into_iter().for_each(|keeper| self.spawner.let_go(keeper));
        }
        for child in table.leaving {
            let child = self.spawner.adopt(child, inheritance)?;
            self.spawner.let_go(child);
        }
        if let Some(LedgerEntry { path, lock }) = table.ledger {
            let lock = inheritance.copy(lock).map_err(|e| format!("ledger: {e}"))?;
            self.ledger = Some(Ledger::resume(path, File::from(lock)));
        }
        self.spawner.adopted();
        for entry in table.ghosts {
            let job = entry.spec.job.id.clone();
            if let Some(ghost) = Ghost::of(&entry, &self.config.server.url) {
                self.start_sign_off(job, ghost, entry);
            }
        }
        Ok(())
    }

    fn adopt_device(
        &mut self,
        device: &mut DeviceEntry,
        inheritance: &mut Inheritance,
    ) -> Result<(Option<Process>, Option<Process>), String> {
        let mut adopt = |child| self.spawner.adopt(child, inheritance);
        Ok((device.owner.take().map(&mut adopt).transpose()?, device.keeper.take().map(adopt).transpose()?))
    }

    /// The loop turns: there is no way back any more.
    pub(super) fn settle(&mut self, inheritance: Inheritance) {
        if let Some(why) = inheritance.why() {
            let program = self.program.display();
            error!("the upgrade to {program} failed: {why}; the program before goes on, until the next SIGUSR2");
        }
        inheritance.settle();
        // What was told to nobody: pings bring counters, and devices may have come and gone.
        self.next_tick = Instant::now();
        self.owners.rescan();
    }
}

/// Runs a program for a moment, without other rights than to read; what it says, or why it is refused.
pub(super) fn ask(program: &Path, arguments: impl Iterator<Item = OsString>, input: Stdio) -> Result<String, String> {
    let mut command = Command::new(program);
    command.args(arguments).stdin(input);
    let (ended, said) = run_briefly(command, LIMIT).map_err(|e| format!("it cannot be started: {e}"))?;
    let last = said.lines().last().unwrap_or_default().trim().to_owned();
    let said = if last.is_empty() { String::new() } else { format!(": {last}") };
    match ended {
        Some(Ended::Code(0)) => Ok(last),
        Some(Ended::Code(code)) => Err(format!("its check ends with code {code}{said}")),
        Some(Ended::Signal(signal)) => Err(format!("its check is ended by signal {signal}{said}")),
        None => Err(format!("its check gives no answer in {} s{said}", LIMIT.as_secs())),
    }
}

/// As this program was started, with `check --handover 0` for `start`: the table is its standard input.
fn check_arguments(ours: impl Iterator<Item = OsString>) -> impl Iterator<Item = OsString> {
    ["check", "--handover", "0"].into_iter().map(OsString::from).chain(ours.skip(2))
}
