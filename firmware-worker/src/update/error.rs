//! What can go wrong with an update.

use crate::net::DownloadError;
use protocol::update::{Damage, Part, Slot, bundle};
use std::io;
use std::path::PathBuf;

/// Why there is no update. The slot that runs is as it was.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not one of our images.
    #[error(
        "this system has no second slot ({0}): only a flashed image can be updated so; a package is updated by apt"
    )]
    NoSlots(String),
    /// The image does not say what it is.
    #[error("{path}: no {key} in it: this image does not say what it is; flash a new one")]
    Image {
        /// os-release
        path: PathBuf,
        /// What is missing.
        key: &'static str,
    },
    /// Nobody is trusted.
    #[error("{path}: {why}: this image cannot tell whose updates are good; flash one that was made with a key")]
    Keys {
        /// The file.
        path: PathBuf,
        /// In plain words.
        why: String,
    },
    /// One at a time.
    #[error("another update is being installed")]
    Busy,
    /// First things first.
    #[error(
        "the running slot, {slot}, is on trial itself: wait until it is kept; `firmware-worker update --status` says"
    )]
    OnTrial {
        /// It.
        slot: Slot,
    },
    /// No update, or not one for us.
    #[error("{file}: it {error}")]
    Bundle {
        /// File or URL.
        file: String,
        /// Why.
        error: bundle::Error,
    },
    /// Too short, or too long.
    #[error("{file}: has {found} bytes and not {wanted}: it is truncated or damaged; fetch it again")]
    Length {
        /// File or URL.
        file: String,
        /// By its manifest.
        wanted: u64,
        /// As it is.
        found: u64,
    },
    /// It has no beginning even.
    #[error("{file}: has only {length} bytes: it is truncated or no update file")]
    Truncated {
        /// File.
        file: String,
        /// Bytes.
        length: u64,
    },
    /// Foreign board.
    #[error("{file}: is for boards of the kind {board:?}, and this image is of the kind {ours:?}")]
    Board {
        /// File or URL.
        file: String,
        /// Its.
        board: String,
        /// Ours.
        ours: String,
    },
    /// Not forwards.
    #[error("{file}: version {version} is older than {ours}, which runs: --allow-older installs it all the same")]
    Older {
        /// File or URL.
        file: String,
        /// Its.
        version: String,
        /// Ours.
        ours: String,
    },
    /// Tried, and taken back.
    #[error("version {version} was taken back before: {reason}; --again tries it once more")]
    Failed {
        /// It.
        version: String,
        /// Why.
        reason: String,
    },
    /// Card too small.
    #[error("{file}: its {part} has {size} bytes, and the slot's partition {room}: flash the new image instead")]
    Room {
        /// File or URL.
        file: String,
        /// Which.
        part: Part,
        /// Bytes.
        size: u64,
        /// Bytes.
        room: u64,
    },
    /// The file's or the card's content.
    #[error("{file}: it {damage}")]
    Damage {
        /// File or URL.
        file: String,
        /// What.
        damage: Damage,
    },
    /// From a server.
    #[error(transparent)]
    Download(#[from] DownloadError),
    /// Replacing what is remembered.
    #[error(transparent)]
    Remember(#[from] crate::board::Error),
    /// Reading or writing.
    #[error("{call} {path}: {source}")]
    File {
        /// Operation.
        call: &'static str,
        /// Object.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}
