//! Secrets in files of their own, readable by their owner alone.

use protocol::secret::Secret;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Bytes of the longest secret; a token with many grants has about one thousand.
const LONGEST_SECRET: u64 = 16 * 1024;

/// Access for group and others.
const OTHERS: u32 = 0o077;

/// Why a file with a secret is refused.
#[derive(Debug, thiserror::Error)]
pub enum SecretFileError {
    /// It cannot be read.
    #[error("{path}: cannot read the secret: {source}{}", remedy(.source))]
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

fn remedy(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::PermissionDenied => "; run this as its owner or with sudo",
        _ => "",
    }
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
