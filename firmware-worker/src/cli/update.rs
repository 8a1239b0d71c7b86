//! `update`: installs an update of a flashed image, says how it stands, and keeps or gives up what is on trial.

use super::arguments::UpdateOptions;
use super::operator::{self, PATIENCE, Workers};
use super::{exit, log};
use crate::control::{FromOperator, ToOperator};
use crate::net::{Tls, certificates};
use crate::update::{Ending, Error, Insist, Source, System, install, settle};
use protocol::update::{History, Record, Seen};
use serde::Serialize;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

/// The worker's, which is drained before the restart.
const UNIT: &str = "firmware-worker.service";

/// A worker that was registered at some time within this must be so with the update too.
const LATELY: Duration = Duration::from_secs(600);

pub(super) fn run(options: &UpdateOptions) -> ExitCode {
    log::start(tracing::Level::INFO);
    let root = Path::new("/");
    let done = match &options.source {
        Some(source) => put(root, source, options),
        None if options.watch => watch(root),
        None => status(root, options.json),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("firmware-worker: {why}");
            exit::FAILURE.into()
        }
    }
}

fn put(root: &Path, source: &str, options: &UpdateOptions) -> Result<(), String> {
    let system = System::under(root).map_err(|e| e.to_string())?;
    let mut source = Source::open(source, trusting(options.ca_file.as_deref())?).map_err(|e| e.to_string())?;
    let insist = Insist { older: options.allow_older, again: options.again };
    let lately = matches!(registration(), Ok((_, Some(ago))) if ago < LATELY.as_secs());
    let manifest = install(&system, &mut source, insist, lately, tell_progress()).map_err(|e| e.to_string())?;
    say(&format!(
        "version {} is in slot {}; the worker is drained, then this board restarts into it\n",
        manifest.version,
        system.slot().other()
    ))?;
    // A worker that does not stop is no reason to stay: the restart stops it too.
    let _ = system_manager(&["stop", UNIT]);
    system_manager(&["reboot"]).map_err(|why| format!("{why}: restart this board to start the update"))
}

fn trusting(ca_file: Option<&Path>) -> Result<Tls, String> {
    let read = |path: &Path| certificates(path).map_err(|e| format!("{}: {e}", path.display()));
    Tls::new(&ca_file.map(read).transpose()?.unwrap_or_default())
}

/// A line for each tenth: a terminal's tricks would fill a journal.
fn tell_progress() -> impl FnMut(u64, u64) {
    let mut told = 0;
    move |done, all| {
        let tenth = done * 10 / all.max(1);
        if tenth > told {
            told = tenth;
            eprintln!("{} %", tenth * 10);
        }
    }
}

fn watch(root: &Path) -> Result<(), String> {
    let system = System::under(root).map_err(|e| e.to_string())?;
    let wait = |until: Instant| std::thread::sleep(until.saturating_duration_since(Instant::now()));
    match settle(&system, look, Instant::now, wait).map_err(|e| e.to_string())? {
        Ending::Settled => Ok(()),
        Ending::Installed => {
            tracing::info!("an update waits in slot {} for the next start", system.slot().other());
            Ok(())
        }
        Ending::NotStarted => {
            let slot = system.slot().other();
            tracing::error!(
                "the update in slot {slot} was not started: the boot loader cannot write to the card, which may be worn out"
            );
            Ok(())
        }
        Ending::CutOff(version) => {
            tracing::warn!("version {version} was cut off before it was whole: install it again");
            Ok(())
        }
        Ending::TakenBack(version, reason) => {
            tracing::error!("version {version} was taken back: {reason}");
            Ok(())
        }
        Ending::Kept => {
            tracing::info!("slot {} is good and stays", system.slot());
            Ok(())
        }
        Ending::GivenUp(reason) => {
            tracing::error!("slot {} is given up, and this board restarts into the other: {reason}", system.slot());
            // The other slot is good by the record now, and this one would run on: nobody else looks after that.
            system_manager(&["reboot"]).or_else(|_| system_manager(&["reboot", "--force"]))
        }
    }
}

/// One look at the worker.
fn look() -> Seen {
    match registration() {
        Ok((_, Some(_))) => Seen::Registered,
        Ok((problem, None)) => Seen::Unregistered(problem.unwrap_or_default()),
        Err(why) => Seen::Silent(why),
    }
}

/// What the worker is with its server: why it is not registered, and how many seconds ago it was.
fn registration() -> Result<(Option<String>, Option<u64>), String> {
    let mut workers = Workers::find();
    let answers = workers.ask(&operator::runtime()?, &FromOperator::Registration, PATIENCE)?;
    let found = answers.into_iter().filter_map(|(answer, _)| match answer {
        ToOperator::Registration { problem, ago_s } => Some((problem, ago_s)),
        _ => None,
    });
    // Of several the one that was registered last.
    let best = found.min_by_key(|(_, ago)| ago.unwrap_or(u64::MAX));
    best.ok_or_else(|| workers.missing().unwrap_or_else(|| "the worker does not answer".into()))
}

/// What `--status --json` prints.
#[derive(Debug, Serialize)]
struct Status {
    board: String,
    version: String,
    slot: protocol::update::Slot,
    /// Starts that the other slot has left on trial, or this one.
    tries_left: Option<u32>,
    on_trial: Option<protocol::update::Slot>,
    history: History,
}

fn status(root: &Path, json: bool) -> Result<(), String> {
    let status = look_up(root).map_err(|e| e.to_string())?;
    match json {
        true => say(&format!("{:#}\n", serde_json::json!(status))),
        false => say(&status.text()),
    }
}

fn look_up(root: &Path) -> Result<Status, Error> {
    let system = System::under(root)?;
    let (board, version) = system.image()?;
    let record = Record::newest(&system.copies()?);
    let tries_left = record.and_then(|record| record.tries);
    let on_trial = record.filter(|_| tries_left.is_some()).map(|record| record.good.other());
    Ok(Status { board, version, slot: system.slot(), tries_left, on_trial, history: system.history() })
}

impl Status {
    fn text(&self) -> String {
        let Self { board, version, slot, .. } = self;
        let mut text = format!("slot {slot} runs: {board} {version}\n");
        let tries = self.tries_left.unwrap_or_default();
        // Writing to a String cannot fail.
        let _ = match self.on_trial {
            Some(trial) if trial == *slot => writeln!(text, "it is on trial, with {tries} starts left"),
            Some(trial) => writeln!(text, "slot {trial} is on trial from the next start on, with {tries} starts"),
            None => Ok(()),
        };
        for failure in &self.history.failed {
            let _ = writeln!(text, "version {} was taken back: {}", failure.version, failure.reason);
        }
        text
    }
}

fn system_manager(arguments: &[&str]) -> Result<(), String> {
    let command = || format!("systemctl {}", arguments.join(" "));
    match Command::new("systemctl").args(arguments).status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("{}: {status}", command())),
        Err(e) => Err(format!("{}: {e}", command())),
    }
}

/// A closed stdout is no reason to panic.
fn say(text: &str) -> Result<(), String> {
    std::io::stdout().write_all(text.as_bytes()).map_err(|e| format!("stdout: {e}"))
}
