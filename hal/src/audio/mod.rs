//! ALSA capture and playback at 10 ms periods; xruns and unplugs are values.

mod capture;
mod list;
pub mod playback;
mod volume;

pub use capture::Capture;
pub use list::list;
pub use playback::{Playback, Turn};
pub use volume::{Volume, set_playback};

/// A PCM that can capture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Card {
    /// `hw:CARD=Loopback,DEV=1`.
    pub name: String,
    /// Card's long name.
    pub description: String,
    /// Has capture.
    pub capture: bool,
    /// Has playback.
    pub playback: bool,
}

/// What can go wrong when opening.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A call failed.
    #[error("{device}: {call}: {source}")]
    Call {
        /// PCM name.
        device: String,
        /// Function.
        call: &'static str,
        /// errno.
        source: std::io::Error,
    },
    /// Another program has it.
    #[error("{0}: in use by another program")]
    Busy(String),
    /// Does not exist.
    #[error("{0}: no such sound card (`firmware-worker devices` lists those there are)")]
    Missing(String),
    /// Offers nothing that we can take.
    #[error("{0}: cannot capture S16 at 48000 Hz")]
    NoFormat(String),
    /// Offers nothing that we can give.
    #[error("{0}: cannot play S16 or S32 at 48000 Hz in 10 ms periods (its `plughw:` name may convert)")]
    NoPlayback(String),
}

/// One turn of a capture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Period {
    /// The buffer is filled.
    Samples {
        /// CLOCK_MONOTONIC ns of its first sample.
        captured_ns: u64,
    },
    /// Samples were lost; capture goes on.
    Xrun,
    /// Nothing came within the timeout.
    Silent,
    /// Unplugged.
    Gone,
}
