//! ALSA capture and playback at 10 ms periods; xruns and unplugs are values.

/// In methods of an enum of libasound's object and a script: the same call to whichever it is. Before the modules, as macros go.
macro_rules! call {
    ($self:ident, $alsa:ident => $real:expr, $fake:ident => $script:expr) => {
        match $self {
            Self::Alsa($alsa) => $real,
            #[cfg(any(test, feature = "fake"))]
            Self::Fake($fake) => $script,
        }
    };
}

mod capture;
mod controls;
#[cfg(any(test, feature = "fake"))]
pub mod fake;
mod format;
mod identity;
mod list;
pub mod mixer;
mod pcm;
pub mod playback;
mod volume;

pub use capture::Capture;
pub use controls::Side;
pub use format::SampleFormat;
pub use identity::{Identity, Usb, Use, auto, find};
pub use list::{Offer, list, offer};
pub use pcm::Failed;
pub use playback::{Playback, Turn};
pub use volume::set_playback;

use std::io;
use std::path::PathBuf;

/// A PCM of a card.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Card {
    /// `hw:CARD=Loopback,DEV=1`.
    pub name: String,
    /// Card's long name and the PCM's.
    pub description: String,
    /// The card's id, as in its name.
    pub id: String,
    /// The card's short name.
    pub card: String,
    /// Where it is on USB.
    pub usb: Option<Usb>,
    /// Of the card, as it is this time.
    pub number: i32,
    /// A link that names it by where it is: `/dev/snd/by-path/...`.
    pub by_path: Option<PathBuf>,
    /// Has capture.
    pub capture: bool,
    /// Has playback.
    pub playback: bool,
}

/// What a card and we have agreed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Setup {
    /// Of each sample.
    pub format: SampleFormat,
    /// Hz.
    pub rate: u32,
    /// Interleaved.
    pub channels: u32,
    /// Frames a period.
    pub period: usize,
    /// Frames that the kernel holds.
    pub buffer: usize,
}

impl std::fmt::Display for Setup {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { format, rate, channels, period, buffer } = *self;
        let ms = |frames: usize| frames as f64 * 1000.0 / f64::from(rate);
        let format = format.name();
        write!(f, "{format} {channels} ch {rate} Hz, period {:.1} ms, buffer {:.0} ms", ms(period), ms(buffer))
    }
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
        source: io::Error,
    },
    /// Another program has it.
    #[error("{0}: in use by another program")]
    Busy(String),
    /// Does not exist.
    #[error("{0}: no such sound card (`firmware-worker devices` lists those there are)")]
    Missing(String),
    /// Nothing for `auto`: no card does that.
    #[error("no sound card {0}")]
    None(&'static str),
    /// Nothing for `auto`: what there is may have nobody listening behind it.
    #[error(
        "no sound card {verb} but displays and digital connectors, which auto leaves out: {digital}; name one, as \
         `device = \"{first}\"`"
    )]
    OnlyDigital {
        /// What is wanted of it.
        verb: &'static str,
        /// All of them.
        digital: String,
        /// The first one's name.
        first: String,
    },
    /// The configuration means more than one.
    #[error("{wanted}: fits more than one sound card: {cards}; name one of them")]
    Ambiguous {
        /// As configured.
        wanted: String,
        /// All of them.
        cards: String,
    },
    /// Not for this user.
    #[error("{0}: permission denied (is this user in the group `audio`?)")]
    Denied(String),
    /// Too much on one USB bus.
    #[error("{0}: no bandwidth is left on its USB bus; use another port, or lower a camera's size or rate")]
    NoBandwidth(String),
    /// Offers nothing that we can take.
    #[error("{0}: gives none of S16, S24, S24_3, S32 and FLOAT at 16 to 96 kHz in up to 8 channels")]
    NoFormat(String),
    /// Offers nothing that we can give.
    #[error(
        "{0}: plays none of S16, S24, S24_3, S32 and FLOAT at 16 to 96 kHz in periods of 85 ms at most (its `plughw:` name \
         may convert)"
    )]
    NoPlayback(String),
}

impl Error {
    fn of(device: &str, failed: Failed) -> Self {
        let device = device.to_owned();
        match failed.errno {
            libc::EBUSY | libc::EAGAIN => Self::Busy(device),
            libc::EACCES | libc::EPERM => Self::Denied(device),
            libc::ENOSPC => Self::NoBandwidth(device),
            _ if failed.is_missing() => Self::Missing(device),
            errno => Self::Call { device, call: failed.call, source: io::Error::from_raw_os_error(errno) },
        }
    }
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
    /// Unplugged, or failing in a way that only opening it again can mend.
    Gone(Failed),
}
