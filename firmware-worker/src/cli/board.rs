//! `board apply`: what the service of a flashed board does at each start, before network and worker.

use super::exit;
use crate::board;
use crate::config::{Defaults, Outline};
use hal::board::Board;
use std::path::Path;
use std::process::{Command, ExitCode};

pub(super) fn apply(entrypoint: Outline) -> ExitCode {
    let root = Path::new("/");
    if !root.join("data/board").is_dir() {
        eprintln!("firmware-worker: /data/board: there is none: `board` is for boards with a flashed image");
        return exit::FAILURE.into();
    }
    let memory = Board::default().memory().map(|memory| memory.total);
    let defaults = Defaults { memory, development: false, entrypoint };
    // Raspberry Pi OS has it writable, and so it stays.
    let writable = is_writable(Path::new("/boot/firmware"));
    let mut change = |folder: &Path, open| if writable { Ok(()) } else { remount(folder, open) };
    let report = board::apply(root, defaults, &mut change);
    // Onto the console too, where the service's output goes.
    print!("{}", report.text().replace("\r\n", "\n"));
    if report.mistakes.is_empty() && report.undone.is_empty() { ExitCode::SUCCESS } else { exit::CONFIGURATION.into() }
}

/// Whether this mount is, by proc_mounts(5); the last one there counts.
fn is_writable(folder: &Path) -> bool {
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let options = mounts.lines().rev().find_map(|line| {
        let mut words = line.split(' ').skip(1);
        (words.next().map(Path::new) == Some(folder)).then(|| words.nth(1))?
    });
    options.is_some_and(|options| options.split(',').any(|option| option == "rw"))
}

fn remount(folder: &Path, writable: bool) -> Result<(), String> {
    let mode = if writable { "remount,rw" } else { "remount,ro" };
    let output = Command::new("mount").args(["-o", mode]).arg(folder).output().map_err(|e| format!("mount: {e}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    if output.status.success() { Ok(()) } else { Err(said.trim().to_owned()) }
}
