//! What the successor of this supervisor must know, should it die: which jobs run and whose participants may be left in
//! their rooms, with the newest tokens. One file a worker, in the runtime directory, which is memory.
//!
//! ```text
//! <directory>/<key>-<place>.lock    held for as long as the worker lives, so that no other takes its place
//! <directory>/<key>-<place>.jobs    replaced as a whole whenever it changes; empty after an orderly end
//! ```
//!
//! The key is what makes workers alike: server and agent name. A worker takes the first place that is free, so one that
//! is started again finds what it has left, and a second one beside it has a place of its own.

use super::handover::LedgerEntry;
use protocol::worker::JobSpec;
use serde::{Deserialize, Serialize};
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use tracing::warn;

/// Of the file's form. An older one is read as well.
const VERSION: u32 = 1;

/// Workers alike on one board; one more runs without a ledger.
const PLACES: u32 = 16;

/// Bytes of a file: what many jobs with the largest metadata take. A longer one is not ours.
const MAX_LENGTH: u64 = 8 * 1024 * 1024;

/// One job of an earlier life.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Entry {
    /// With the newest token.
    pub spec: JobSpec,
    /// Its participant, once it has joined.
    pub sid: Option<String>,
    /// The job is over; its participant is being signed off.
    #[serde(default)]
    pub over: bool,
    /// When it was started again, seconds since the board's start, oldest first: the limit holds beyond a supervisor's life.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub restarted: Vec<u64>,
}

/// The same, as it is where it is kept.
#[derive(Clone, Copy)]
pub(super) struct Line<'a> {
    pub spec: &'a JobSpec,
    pub sid: Option<&'a str>,
    pub over: bool,
    pub restarted: &'a [u64],
}

impl Entry {
    pub(super) fn line(&self) -> Line<'_> {
        Line { spec: &self.spec, sid: self.sid.as_deref(), over: self.over, restarted: &self.restarted }
    }
}

impl Line<'_> {
    fn stands_in(self, entry: &Entry) -> bool {
        *self.spec == entry.spec
            && self.sid == entry.sid.as_deref()
            && self.over == entry.over
            && self.restarted == entry.restarted
    }

    fn entry(self) -> Entry {
        let (sid, restarted) = (self.sid.map(str::to_owned), self.restarted.to_vec());
        Entry { spec: self.spec.clone(), sid, over: self.over, restarted }
    }
}

#[derive(Serialize)]
struct Written<'a> {
    version: u32,
    jobs: &'a [Entry],
}

/// As much as must be known before the rest can be read.
#[derive(Deserialize)]
struct Head {
    version: u32,
}

#[derive(Deserialize)]
struct Read {
    jobs: Vec<Entry>,
}

/// Why there is no ledger, or none that could be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// A file or directory failed.
    #[error("{call} {path}: {source}")]
    File {
        /// Operation.
        call: &'static str,
        /// Object.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Others have all places.
    #[error("{directory}: {PLACES} workers like this one run already")]
    Crowded {
        /// Where.
        directory: PathBuf,
    },
    /// It says nothing that we understand.
    #[error("{path}: {why}; jobs of an earlier life are not resumed")]
    Damaged {
        /// File.
        path: PathBuf,
        /// In plain words.
        why: String,
    },
}

/// This worker's file.
#[derive(Debug)]
pub(super) struct Ledger {
    path: PathBuf,
    /// Its lock is held.
    place: File,
    /// As it stands in the file.
    entries: Vec<Entry>,
    /// That it cannot be written was said.
    failing: bool,
}

impl Ledger {
    /// Takes a place in `directory`; with it comes what an earlier life has left there.
    pub(super) fn open(directory: &Path, key: &str) -> Result<(Self, Vec<Entry>), Error> {
        make_directory(directory)?;
        for place in 0..PLACES {
            let lock = directory.join(format!("{key}-{place}.lock"));
            let file = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&lock);
            let file = file.map_err(|source| Error::File { call: "open", path: lock.clone(), source })?;
            match file.try_lock() {
                Ok(()) => return Ok(Self::take(file, directory.join(format!("{key}-{place}.jobs")))),
                Err(TryLockError::WouldBlock) => {}
                Err(TryLockError::Error(source)) => return Err(Error::File { call: "lock", path: lock, source }),
            }
        }
        Err(Error::Crowded { directory: directory.to_owned() })
    }

    fn take(place: File, path: PathBuf) -> (Self, Vec<Entry>) {
        let left = read(&path).unwrap_or_else(|error| {
            warn!("{error}");
            Vec::new()
        });
        (Self { path, place, entries: left.clone(), failing: false }, left)
    }

    /// For a program that takes this one's place: where it is, and the lock of the place.
    pub(super) fn export(&self) -> LedgerEntry {
        LedgerEntry { path: self.path.clone(), lock: self.place.as_raw_fd() }
    }

    /// The same in that program. What stands there runs on, so nothing of it is to be resumed.
    pub(super) fn resume(path: PathBuf, place: File) -> Self {
        Self::take(place, path).0
    }

    /// Writes these lines, if they are others than before. That it fails is said once, until it works again.
    pub(super) fn keep<'a>(&mut self, lines: impl Iterator<Item = Line<'a>> + Clone) {
        let same = lines.clone().count() == self.entries.len()
            && lines.clone().zip(&self.entries).all(|(line, entry)| line.stands_in(entry));
        if same && !self.failing {
            return;
        }
        let entries: Vec<_> = lines.map(Line::entry).collect();
        let written = write(&self.path, &entries).or_else(|_| {
            // What stands there is true no more: jobs that have ended would be resumed. And it takes the room.
            let _ = fs::remove_file(&self.path);
            write(&self.path, &entries)
        });
        if let (Err(error), false) = (&written, self.failing) {
            warn!("{error}; should the worker die, its jobs are not resumed");
        }
        self.failing = written.is_err();
        self.entries = entries;
    }
}

/// Tells workers apart that are configured differently, in a file's name. FNV-1a: the same in every build.
pub(super) fn key(parts: &[&str]) -> String {
    let bytes = parts.iter().flat_map(|part| part.bytes().chain([0]));
    let hash =
        bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    format!("{hash:016x}")
}

/// Which nobody else may look into.
pub(super) fn make_directory(path: &Path) -> Result<(), Error> {
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|source| Error::File { call: "mkdir", path: path.to_owned(), source })
}

fn read(path: &Path) -> Result<Vec<Entry>, Error> {
    let failed = |call, source| Error::File { call, path: path.to_owned(), source };
    let damaged = |why: String| Error::Damaged { path: path.to_owned(), why };
    let length = match fs::metadata(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        found => found.map_err(|e| failed("stat", e))?.len(),
    };
    if length > MAX_LENGTH {
        return Err(damaged(format!("{length} bytes are more than any worker writes")));
    }
    let text = fs::read(path).map_err(|e| failed("read", e))?;
    let head: Head = serde_json::from_slice(&text).map_err(|e| damaged(in_words(&e)))?;
    if head.version == 0 || head.version > VERSION {
        return Err(damaged(format!("version {} is not known here", head.version)));
    }
    let read: Read = serde_json::from_slice(&text).map_err(|e| damaged(in_words(&e)))?;
    Ok(read.jobs)
}

/// Where it is wrong, without what stands there: that may be a token.
fn in_words(error: &serde_json::Error) -> String {
    format!("damaged at line {} column {}", error.line(), error.column())
}

fn write(path: &Path, entries: &[Entry]) -> Result<(), Error> {
    let fresh = path.with_extension("new");
    let failed = |call, path: &Path, source| Error::File { call, path: path.to_owned(), source };
    let text =
        serde_json::to_vec(&Written { version: VERSION, jobs: entries }).expect("strings and numbers have a JSON form");
    let open = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&fresh);
    let mut file = open.map_err(|e| failed("open", &fresh, e))?;
    if let Err(e) = file.write_all(&text) {
        let _ = fs::remove_file(&fresh);
        return Err(failed("write", &fresh, e));
    }
    fs::rename(&fresh, path).map_err(|e| failed("rename", path, e))
}

#[cfg(test)]
mod tests;
