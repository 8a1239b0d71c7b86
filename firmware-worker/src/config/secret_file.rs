//! Secrets in files of their own, readable by their owner alone.

use protocol::secret::Secret;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Bytes of the longest secret; a token with many grants has about one thousand.
const LONGEST_SECRET: u64 = 16 * 1024;

/// Access for group and others.
const OTHERS: u32 = 0o077;

/// Why a file with a secret is refused.
#[derive(Debug, thiserror::Error)]
pub enum SecretFileError {
    /// It cannot be read.
    #[error("{path}: cannot read the secret: {source}{}", remedy(.source, .path))]
    Read {
        /// File.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// There is no file of this name, and it names no folder either. It is not shown: it may be the secret itself.
    #[error(
        "cannot read the secret: {source}; what is to be named is its file, with the folder, and not the secret itself"
    )]
    Unnamed {
        /// Why.
        source: io::Error,
    },
    /// Others can read it.
    #[error("{path}: others can read this secret (mode {mode:04o}); run: chmod 600 {path}")]
    Exposed {
        /// File.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// It is no file but a secret, which is not repeated.
    #[error(
        "a token is given where the name of a file with it is wanted: write it into a file that only you can read, or set \
         LIVEKIT_TOKEN"
    )]
    Itself,
    /// Nothing in it, or more than one line, or too much.
    #[error("{path}: must hold one line with the secret and nothing else")]
    NotOneLine {
        /// File.
        path: PathBuf,
    },
}

/// The service is root without CAP_DAC_OVERRIDE, so that a file of another user is closed to it while `sudo cat` shows it.
fn remedy(error: &io::Error, path: &Path) -> String {
    match error.kind() {
        io::ErrorKind::PermissionDenied => format!("; {}; by hand: run this as its owner or with sudo", own(path)),
        _ => String::new(),
    }
}

fn own(path: &Path) -> String {
    let path = path.display();
    format!("the service reads only what belongs to root: keep it in /etc/firmware-worker and run: chown root: {path}")
}

/// What is to be said of a secret that root can read and the service, which is root too, cannot.
pub(super) fn foreign_secret(path: &Path) -> Option<String> {
    foreign(path, fs::metadata(path).ok()?.uid(), hal::process::user())
}

pub(super) fn foreign(path: &Path, owner: u32, user: u32) -> Option<String> {
    (user == 0 && owner != 0).then(|| format!("{} belongs to user {owner}; {}", path.display(), own(path)))
}

/// Reads a secret from a file that only its owner can read. White space around it is left out.
pub fn read_secret(path: &Path) -> Result<Secret, SecretFileError> {
    let failed = |source| SecretFileError::Read { path: path.to_owned(), source };
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    if protocol::token::inspect(&Secret::new(name)).is_ok() {
        return Err(SecretFileError::Itself);
    }
    let file = File::open(path).map_err(|source| match path.parent() {
        Some(folder) if folder.is_dir() || source.kind() == io::ErrorKind::PermissionDenied => failed(source),
        _ => SecretFileError::Unnamed { source },
    })?;
    // Asked of the open file: a path could be exchanged between the check and the reading.
    let mode = file.metadata().map_err(failed)?.permissions().mode() & 0o7777;
    if mode & OTHERS != 0 {
        return Err(SecretFileError::Exposed { path: path.to_owned(), mode });
    }
    let mut text = String::new();
    file.take(LONGEST_SECRET + 1).read_to_string(&mut text).map_err(failed)?;
    let secret = text.trim();
    let one_line = !secret.is_empty() && !secret.contains(char::is_whitespace) && text.len() as u64 <= LONGEST_SECRET;
    if one_line { Ok(Secret::new(secret)) } else { Err(SecretFileError::NotOneLine { path: path.to_owned() }) }
}
