//! What follows a start: a slot on trial is kept or given up, and what happened to an update is written down.

use super::disk::write_record;
use super::{Error, System};
use protocol::update::{Probation, Record, Seen, Standing, Verdict};
use std::fs::File;
use std::time::{Duration, Instant};

/// Between looks at an update that is being installed.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// How it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Nothing was on trial.
    Settled,
    /// An update was taken back before this start: version and reason.
    TakenBack(String, String),
    /// An update waits for the next start.
    Installed,
    /// An update waits for a start in which the boot loader can write that down.
    NotStarted,
    /// An update was cut off before this start: its version, which may be installed again.
    CutOff(String),
    /// The running slot is good from now on.
    Kept,
    /// It is not, for this reason, and the other one starts next.
    GivenUp(String),
}

/// Watches a slot that is on trial until there is a verdict, and carries that out but for the restart. `ask` looks at the
/// worker, `wait` returns at that time of the clock `now`.
pub fn settle(
    system: &System,
    mut ask: impl FnMut() -> Seen,
    now: impl Fn() -> Instant,
    wait: impl Fn(Instant),
) -> Result<Ending, Error> {
    let lock = no_installation(system, &now, &wait);
    let copies = system.copies()?;
    let (before, record, running) = (system.history(), Record::newest(&copies), system.slot());
    let mut history = before.clone();
    let standing = history.started(running, record, system.fallback());
    if history != before {
        remember(system, &history);
    }
    drop(lock);
    let must_register = match standing {
        Standing::OnTrial { must_register } => must_register,
        Standing::Installed => return Ok(Ending::Installed),
        Standing::NotStarted => return Ok(Ending::NotStarted),
        Standing::CutOff => return Ok(Ending::CutOff(before.trial.map(|attempt| attempt.version).unwrap_or_default())),
        Standing::Settled => {
            let new = history.failed.last().filter(|_| history.failed != before.failed);
            return Ok(new.map_or(Ending::Settled, |new| Ending::TakenBack(new.version.clone(), new.reason.clone())));
        }
    };
    let mut probation = Probation::new(now(), must_register);
    loop {
        let seen = if system.has_boot() { ask() } else { without_boot() };
        // The record first: without it nothing has happened.
        match probation.look(now(), &seen) {
            Verdict::Wait(until) => wait(until),
            Verdict::Commit => {
                write_record(system, &copies, running)?;
                history.committed();
                remember(system, &history);
                return Ok(Ending::Kept);
            }
            Verdict::RollBack(reason) => {
                write_record(system, &copies, running.other())?;
                history.rolled_back(reason.clone());
                remember(system, &history);
                return Ok(Ending::GivenUp(reason));
            }
        }
    }
}

/// It may be registered, with the settings kept before: nobody could give it others.
fn without_boot() -> Seen {
    Seen::Silent("the boot partition cannot be mounted, so settings cannot be changed".into())
}

/// Waits for one that is under way: it is remembered before it is on trial, and would look like one that was taken back. None
/// where nothing can be written, as then nobody installs.
fn no_installation(system: &System, now: impl Fn() -> Instant, wait: impl Fn(Instant)) -> Option<File> {
    loop {
        match system.lock() {
            Err(Error::Busy) => wait(now() + LOOK_EVERY),
            lock => return lock.ok(),
        }
    }
}

/// A data partition that cannot be written keeps no slot from being kept or given up.
fn remember(system: &System, history: &protocol::update::History) {
    if let Err(e) = system.remember(history) {
        tracing::warn!("{e}: this update will not be remembered");
    }
}
