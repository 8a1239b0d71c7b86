//! What the user's side asks of the room driver, over one bounded channel.

use super::Error;
use super::publication::TrackState;
use protocol::room::{Data, LocalTrack, TrackId, TrackSid};
use protocol::worker::Answer;
use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::time::{Instant, SystemTime};
use tokio::sync::{broadcast, oneshot, watch};

/// Requests that may wait for the driver. A full queue makes async callers wait; what is sent when
/// something is dropped is left out, and the driver finds out by itself.
pub(super) const QUEUE: usize = 64;

pub(super) type Reply<T> = oneshot::Sender<Result<T, Error>>;

/// A local track as its owner sees it.
pub(super) type TrackWatch = (TrackId, watch::Receiver<TrackState>);

#[derive(Debug)]
pub(super) enum Request {
    /// `prewarm` is through; an error is its text.
    Prewarmed(Result<(), String>),
    /// `on_request` decided.
    Answer(Answer),
    /// All shutdown hooks are through.
    HooksDone,
    /// Join the room; answered when joined.
    Connect {
        reply: Reply<()>,
    },
    /// Publish a configured source; answered when it was granted.
    PublishSource {
        name: String,
        reply: Reply<TrackWatch>,
    },
    /// Publish frames of the user's own. The driver makes the id from the name.
    PublishOwn {
        track: LocalTrack,
        reply: Reply<TrackWatch>,
    },
    /// The next keyframe of a published camera.
    Keyframe {
        name: String,
        reply: Reply<Vec<u8>>,
    },
    /// Open a configured speaker; answered with a socket to its owner.
    OpenSpeaker {
        name: String,
        reply: Reply<OwnedFd>,
    },
    Unpublish(TrackId),
    Mute(TrackId, bool),
    /// One frame of the user's own.
    Write(OwnFrame),
    SubscribeAudio {
        sid: TrackSid,
        reply: Reply<broadcast::Receiver<AudioPacket>>,
    },
    SubscribeVideo {
        sid: TrackSid,
        reply: Reply<broadcast::Receiver<VideoFrame>>,
    },
    WantKeyframe(TrackSid),
    Send {
        data: Data,
        reply: Reply<()>,
    },
    Update(Own),
}

/// Changes of our own participant; what is `None` stays, and so do other attributes.
#[derive(Debug, Default)]
pub(super) struct Own {
    pub name: Option<String>,
    pub metadata: Option<String>,
    pub attributes: BTreeMap<String, String>,
}

impl Own {
    /// As if the later one had been part of this.
    pub fn then(&mut self, later: Self) {
        self.name = later.name.or(self.name.take());
        self.metadata = later.metadata.or(self.metadata.take());
        self.attributes.extend(later.attributes);
    }
}

/// A frame from a writer.
#[derive(Debug)]
pub(super) struct OwnFrame {
    pub track: TrackId,
    pub data: Vec<u8>,
    pub captured: Instant,
    /// Audio: position at 48 kHz.
    pub samples: u64,
    /// Audio: -dBov.
    pub level: u8,
}

/// One Opus packet of a subscribed track, in arrival order, duplicates removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AudioPacket {
    /// Extended RTP sequence number: a gap is a lost packet.
    pub sequence: u64,
    /// Extended RTP time, 48 kHz.
    pub timestamp: u64,
    /// Opus.
    pub payload: Vec<u8>,
    /// When it came.
    pub arrived: Instant,
    /// When its first sample was captured by the publisher's wall clock, which is one for all tracks of a participant: what
    /// has the same time in [`VideoFrame::captured`] belongs together. None before the first sender report, in the first
    /// seconds. Of Opus' delay, 6.5 ms at most, it knows nothing.
    pub captured: Option<SystemTime>,
}

/// One access unit of a subscribed track, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VideoFrame {
    /// Extended RTP time, 90 kHz.
    pub timestamp: u64,
    /// As [`AudioPacket::captured`].
    pub captured: Option<SystemTime>,
    /// H.264, Annex B.
    pub data: Vec<u8>,
    /// Starts with an IDR.
    pub keyframe: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_before_the_join_add_up_and_the_last_word_counts() {
        let attributes = |of: &[(&str, &str)]| of.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
        let mut own =
            Own { name: Some("door".into()), attributes: attributes(&[("a", "1"), ("b", "1")]), ..Own::default() };
        own.then(Own { name: Some("gate".into()), metadata: Some("m".into()), ..Own::default() });
        own.then(Own { attributes: attributes(&[("b", "2")]), ..Own::default() });
        assert_eq!((own.name.as_deref(), own.metadata.as_deref()), (Some("gate"), Some("m")));
        assert_eq!(own.attributes, attributes(&[("a", "1"), ("b", "2")]));
    }
}
