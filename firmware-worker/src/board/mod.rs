//! A flashed board's settings: one text file on its boot partition, which any computer can write, becomes what worker and
//! system read.
//!
//! ```text
//! /boot/firmware/firmware-worker.toml        read at each start; its secrets are taken out once they are kept
//! /boot/firmware/firmware-worker-report.txt  what came of it
//! /data/board/firmware-worker.toml           the last good one, for the worker
//! /data/board/before.toml                    the good one before it
//! /data/board/credentials                    its secrets, as variables of its environment
//! /data/board/NAME                           what its `ca_file` names, if that lies beside it
//! ```
//!
//! A file that is wrong changes nothing: the last good one goes on. Everything is kept before it leaves the boot partition, and
//! replaced as a whole, so that the power may go at any time.

mod file;
mod kept;
mod network_manager;
mod system;
#[cfg(test)]
mod tests;

use crate::config::{self, Board, Config, Defaults, Written};
use crate::net::shown;
use file::Boot;
pub(crate) use file::replace;
use kept::Kept;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// What the worker of a flashed board reads, and with it every other command.
pub const SETTINGS: &str = "/data/board/firmware-worker.toml";

/// What holds where these say nothing.
pub const IMAGE: &str = "/usr/share/firmware-worker/image.toml";

/// What holds below `root` where the configuration says nothing: an image's, else the package's.
pub fn below(root: &Path) -> Option<PathBuf> {
    let there = |path: &str| Some(root.join(path.trim_start_matches('/'))).filter(|path| path.exists());
    there(IMAGE).or_else(|| there(config::UNIT))
}

/// The secret that a flashed board keeps for this variable.
pub fn secret(variable: &str) -> Option<String> {
    Kept::under(Path::new("/")).secret(variable)
}

/// Why a step failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file or folder.
    #[error("{call} {path}: {source}")]
    File {
        /// Operation.
        call: &'static str,
        /// Object.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The boot partition stays as it is.
    #[error("{path}: cannot be made writable: {why}; is the card's lock on, or the card worn out?")]
    ReadOnly {
        /// Where it is mounted.
        path: PathBuf,
        /// In plain words.
        why: String,
    },
}

/// Makes a mount writable, or no longer.
pub type Remount<'a> = &'a mut dyn FnMut(&Path, bool) -> Result<(), String>;

/// What came of the file.
#[derive(Debug, Default, PartialEq)]
pub struct Report {
    /// What must be mended, as the file is not taken over.
    pub mistakes: Vec<String>,
    /// What could not be done once it was.
    pub undone: Vec<String>,
    /// What was done, and what is worth knowing.
    pub notes: Vec<String>,
}

impl Report {
    /// For a person at another computer.
    pub fn text(&self) -> String {
        let head = match (self.mistakes.is_empty(), self.undone.is_empty()) {
            (true, true) => "The settings of this board are good.",
            (true, false) => "The settings of this board are taken over, but something is left to mend:",
            (false, _) => "The settings of this board are NOT taken over. What to mend:",
        };
        let mistakes = self.mistakes.iter().chain(&self.undone).map(|mistake| format!("\n  * {mistake}"));
        let notes = self.notes.iter().map(|note| format!("\n  - {note}"));
        // Windows' own editor once knew no other line ends.
        format!("{head}{}{}\n", mistakes.collect::<String>(), notes.collect::<String>()).replace('\n', "\r\n")
    }
}

/// Reads the file, keeps what is good, and writes what the system below `root` reads.
pub fn apply(root: &Path, defaults: Defaults, remount: Remount<'_>) -> Report {
    let mut report = Report::default();
    let boot = Boot::under(root);
    let kept = Kept::under(root);
    report.notes.extend(kept.trouble().map(|why| format!("Nothing lasts beyond this start: {why}")));
    let board = match take(&boot, &kept, below_written(root), defaults, remount, &mut report) {
        Ok(Some(board)) => Some(board),
        Ok(None) => last(&kept, defaults, &mut report),
        Err(why) => {
            report.mistakes.push(why);
            last(&kept, defaults, &mut report)
        }
    };
    if let Some(board) = board
        && let Err(error) = system::write(root, &board, &kept)
    {
        report.undone.push(error.to_string());
    }
    if let Err(error) = boot.tell(&report.text(), remount) {
        report.undone.push(error.to_string());
    }
    report
}

/// What the boot partition's file says, once it is kept; nothing without one.
fn take(
    boot: &Boot,
    kept: &Kept,
    below: Written,
    defaults: Defaults,
    remount: Remount<'_>,
    report: &mut Report,
) -> Result<Option<Board>, String> {
    let Some(text) = boot.read()? else {
        report.notes.push(format!("There is no {}; the settings kept before are used.", file::NAME));
        return Ok(None);
    };
    let written = config::parse(&text, Path::new(file::NAME)).map_err(|e| e.to_string())?;
    let secrets = kept.with(&written);
    let config =
        config::check(secrets.fill(written.clone()).over(below), &|_| None, defaults).map_err(|e| e.to_string())?;
    kept.network_is_known(&written, &config.board)?;
    report.notes.extend(kept.save_authority(boot, &written)?);
    keep(kept, &text, &written, &secrets, &config).map_err(|e| e.to_string())?;
    report.notes.push(format!("The worker connects to {}.", shown(&config.server.url)));
    report.notes.extend(config.doubts);
    report.notes.extend(config.board.wifi.iter().map(|wifi| format!("Wi-Fi: {:?} ({}).", wifi.ssid, wifi.country)));
    // Only now, and only if it lasts: a secret is in two places rather than in none.
    if let Some(without) = file::without_secrets(&text).filter(|_| kept.trouble().is_none()) {
        match boot.replace(&without, remount) {
            Ok(()) => report.notes.push(format!("The secrets were moved from {} into the board.", file::NAME)),
            Err(error) => report.undone.push(format!("The secrets are still in {}: {error}", file::NAME)),
        }
    }
    Ok(Some(config.board))
}

/// A wrong one is told by the worker; here the settings are judged.
fn below_written(root: &Path) -> Written {
    let read = |path: PathBuf| config::parse(&fs::read_to_string(&path).ok()?, &path).ok();
    below(root).and_then(read).unwrap_or_default()
}

fn keep(kept: &Kept, text: &str, written: &Written, secrets: &kept::Secrets, config: &Config) -> Result<(), Error> {
    kept.save(file::without_secrets(text).as_deref().unwrap_or(text), secrets)?;
    kept.save_network(written, &config.board)
}

/// The last good settings; where this program does not understand them, as after an update was rolled back, those before.
fn last(kept: &Kept, defaults: Defaults, report: &mut Report) -> Option<Board> {
    let mut read = |text: String, name: &str| {
        let config = config::parse(&text, Path::new(name))
            .and_then(|written| config::check(kept.with(&written).fill(written), &|_| None, defaults));
        config.map_err(|error| report.mistakes.push(error.to_string())).ok()
    };
    if let Some(config) = read(kept.settings()?, "the settings kept before") {
        return Some(config.board);
    }
    let config = read(kept.settings_before()?, "the settings before those")?;
    match kept.go_back() {
        Ok(()) => report.notes.push("The settings before those are used.".into()),
        Err(error) => report.mistakes.push(error.to_string()),
    }
    Some(config.board)
}
