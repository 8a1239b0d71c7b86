//! Files of the hierarchy: small, in memory, and each answered by the kernel at once.

use super::Error;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

pub(super) fn read(path: &Path) -> Result<String, Error> {
    fs::read_to_string(path).map_err(|source| error("read", path, source))
}

/// Never makes the file: one that is not there says that this kernel, or this cgroup, cannot do it.
pub(super) fn write(path: &Path, text: &str) -> Result<(), Error> {
    let written =
        OpenOptions::new().write(true).truncate(true).open(path).and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(|source| error("write", path, source))
}

pub(super) fn make_directory(path: &Path) -> Result<(), Error> {
    match fs::create_dir(path) {
        Err(e) if e.kind() != io::ErrorKind::AlreadyExists => Err(error("mkdir", path, e)),
        _ => Ok(()),
    }
}

pub(super) fn error(call: &'static str, path: &Path, source: io::Error) -> Error {
    Error::File { call, path: path.to_owned(), source }
}

pub(super) fn has_word(text: &str, word: &str) -> bool {
    text.split_whitespace().any(|candidate| candidate == word)
}

/// The number beside `key` in a flat keyed file.
pub(super) fn value(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' ')?.trim().parse().ok())
}

/// The number that a file holds.
pub(super) fn number(path: &Path) -> Option<u64> {
    read(path).ok()?.trim().parse().ok()
}
