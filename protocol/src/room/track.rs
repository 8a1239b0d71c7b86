//! Tracks as the room and its user speak of them.

use super::Sound;
use serde::{Deserialize, Serialize};

/// Audio or video.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Opus.
    Audio,
    /// H.264, constrained baseline.
    Video,
}

/// Names a local track for its whole life, over every reconnect. Chosen by the job; becomes the `cid`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TrackId(pub String);

/// Names a remote track: the server's `TR_…`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TrackSid(pub String);

/// LiveKit's track source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// A camera.
    Camera,
    /// A microphone.
    Microphone,
    /// Shared screen or any other picture.
    ScreenShare,
    /// Anything else.
    Unknown,
}

/// A track to publish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalTrack {
    /// Our name for it.
    pub id: TrackId,
    /// Name shown to others.
    pub name: String,
    /// Opus or H.264.
    pub kind: Kind,
    /// What it is.
    pub source: Source,
    /// Pixels, 0 for audio.
    pub width: u32,
    /// Pixels, 0 for audio.
    pub height: u32,
    /// What receivers must know of its packets; of no meaning for video.
    pub sound: Sound,
    /// Bit/s that it wants at most; feeds bandwidth estimation and the layer description.
    pub bitrate: u32,
    /// Publish as muted.
    pub muted: bool,
    /// Whoever writes it stops as long as nobody wants it (`Event::Wanted`), and leaves the path to the others.
    pub rests: bool,
}

/// A track that somebody else publishes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteTrack {
    /// Its sid.
    pub sid: TrackSid,
    /// Name.
    pub name: String,
    /// Kind.
    pub kind: Kind,
    /// Source.
    pub source: Source,
    /// Muted by its publisher.
    pub muted: bool,
}
