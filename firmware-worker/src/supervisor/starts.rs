//! Starts of this worker one after the other. The service manager starts a worker that has ended again at once and for ever, as
//! a board must not stay down because it failed often. So it is the worker that waits, when it was started often.
//!
//! ```text
//! <runtime directory>/starts    a start a line, in seconds since the board's own, so it is memory; an orderly end removes it
//! ```

use hal::process::monotonic_ns;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tracing::debug;

/// A start that lies further back than this is forgiven, in seconds.
const WINDOW: u64 = 600;

/// Starts before this one that are followed at once: whoever kills a worker a few times sees it come back each time.
const FREE: usize = 4;

/// The longest wait, in seconds: two starts a minute cost a board neither its cores nor its log, and it is back half a minute
/// after what was wrong is mended. Far below the time that the service manager gives a start (TimeoutStartSec, 90 s).
const LONGEST: u64 = 30;

/// What came before this start.
#[derive(Clone, Debug, Default)]
pub(super) struct Starts {
    path: Option<PathBuf>,
    /// Starts within [`WINDOW`] that no orderly end followed.
    before: usize,
}

impl Starts {
    /// Notes this start in a directory of memory.
    pub(super) fn note(directory: &Path) -> Self {
        Self::note_at(directory, monotonic_ns() / 1_000_000_000)
    }

    fn note_at(directory: &Path, now: u64) -> Self {
        let path = directory.join("starts");
        let mut times = read(&path, now);
        let before = times.len();
        times.push(now);
        let text: String = times.iter().map(|time| format!("{time}\n")).collect();
        // Then the next start knows of no earlier one, and is made at once.
        let _ = fs::write(&path, text).inspect_err(|e| debug!("write {}: {e}", path.display()));
        Self { path: Some(path), before }
    }

    /// The same for a program that takes the place of the one that has started.
    pub(super) fn noted(directory: &Path) -> Self {
        let path = directory.join("starts");
        let before = read(&path, monotonic_ns() / 1_000_000_000).len().saturating_sub(1);
        Self { path: Some(path), before }
    }

    /// Before this start goes on.
    pub(super) fn wait(&self) -> Duration {
        let doublings = self.before.checked_sub(FREE).map(|more| u32::try_from(more).unwrap_or(u32::MAX));
        let seconds = doublings.map_or(0, |more| 1u64.checked_shl(more).unwrap_or(LONGEST).min(LONGEST));
        Duration::from_secs(seconds)
    }

    /// How often it was started again lately.
    pub(super) fn restarts(&self) -> usize {
        self.before
    }

    /// It has ended as it was asked to.
    pub(super) fn forget(&self) {
        let removed = self.path.as_ref().map(fs::remove_file);
        let known = |e: &io::Error| e.kind() == io::ErrorKind::NotFound;
        if let Some(Err(e)) = removed.filter(|removed| !removed.as_ref().is_err_and(known)) {
            debug!("remove the list of starts: {e}");
        }
    }
}

/// Those within the window; what is no time, or none of this board's life, counts for nothing.
fn read(path: &Path, now: u64) -> Vec<u64> {
    let text = fs::read_to_string(path).unwrap_or_default();
    let times = text.lines().filter_map(|line| line.parse::<u64>().ok());
    times.filter(|time| now.checked_sub(*time).is_some_and(|age| age < WINDOW)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_starts_come_at_once_more_wait_twice_as_long_each_and_an_orderly_end_or_time_forgives() {
        let directory = std::env::temp_dir().join(format!("fw-starts-{}", std::process::id()));
        fs::create_dir(&directory).unwrap();
        let mut now = 1000;
        let mut waits = |count: usize| -> Vec<u64> {
            let start = |_| {
                let wait = Starts::note_at(&directory, now).wait().as_secs();
                now += wait;
                wait
            };
            (0..count).map(start).collect()
        };
        assert_eq!(waits(12), [0, 0, 0, 0, 1, 2, 4, 8, 16, 30, 30, 30]);
        let last = Starts::noted(&directory);
        assert_eq!(Starts::note_at(&directory, now + WINDOW).wait(), Duration::ZERO);
        last.forget();
        last.forget();
        assert_eq!(Starts::note_at(&directory, 10).restarts(), 0);
        // Of another life of the board, or damaged.
        fs::write(directory.join("starts"), "5000\nx\n\n9\n").unwrap();
        assert_eq!(Starts::note_at(&directory, 10).restarts(), 1);
        fs::remove_dir_all(&directory).unwrap();
    }
}
