//! `doctor`: what on this board keeps the worker from working well, each in one line with its remedy.

mod boot;
mod checks;

use super::{Settings, load};
use crate::config::Outline;
use crate::net::shown;
use crate::supervisor;
use checks::{Finding, State};
use hal::board::Board;
use hal::process::end_with_the_reader;
use std::path::Path;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

/// Prints the findings; with `fix` mends first what can be mended from here. Code 1 when something is wrong.
pub(super) fn print(settings: Settings, fix: bool, entrypoint: Outline) -> ExitCode {
    let root = Path::new("/");
    if fix && let Err(why) = boot::enable_memory_cgroup(root, &mut std::io::stdout()) {
        eprintln!("firmware-worker: {why}");
        return ExitCode::FAILURE;
    }
    let findings: Vec<_> = local(root).into_iter().chain([server(settings, entrypoint)]).collect();
    // Not before: the server is such a reader too, and one that hangs up is a finding.
    end_with_the_reader();
    let mut wrong = false;
    for finding in findings {
        wrong |= finding.state == State::Wrong;
        println!("{finding}");
    }
    if wrong { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn local(root: &Path) -> Vec<Finding> {
    let board = Board::under(root);
    let flashed = Path::new(crate::board::SETTINGS).exists();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    vec![
        checks::cgroups(root),
        checks::groups(root),
        checks::encoder(&hal::video::encoders()),
        checks::power(&board),
        checks::heat(&board),
        checks::clock(hal::clock::synchronised(), now, flashed),
        checks::network(&hal::interfaces::addresses().unwrap_or_default(), flashed),
    ]
}

/// Connects as the worker would, but does not register.
fn server(settings: Settings, entrypoint: Outline) -> Finding {
    let config = match load(settings, false, entrypoint) {
        Ok(config) => config,
        Err(error) => return Finding::wrong("server", error.to_string()),
    };
    let url = shown(&config.server.url);
    match supervisor::try_server(config.server) {
        Ok(()) => Finding::good("server", format!("{url} takes our credentials")),
        Err(why) => Finding::wrong("server", why),
    }
}

#[cfg(test)]
mod tests;
