//! Media of others on its way to the user's streams.

use super::session::Session;
use crate::job::request::{AudioPacket, VideoFrame};
use crate::job::subscription::{AUDIO_BACKLOG, VIDEO_BACKLOG};
use protocol::room::{Command, TrackSid};
use std::collections::BTreeMap;
use tokio::sync::broadcast;

/// Subscriptions that have a stream.
#[derive(Debug, Default)]
pub struct Subscriptions {
    audio: BTreeMap<TrackSid, broadcast::Sender<AudioPacket>>,
    video: BTreeMap<TrackSid, broadcast::Sender<VideoFrame>>,
}

impl Subscriptions {
    /// Packets of an audio track from now on.
    pub fn audio(&mut self, sid: TrackSid, session: &mut Session) -> broadcast::Receiver<AudioPacket> {
        listen(&mut self.audio, sid, AUDIO_BACKLOG, session)
    }

    /// Frames of a video track from now on.
    pub fn video(&mut self, sid: TrackSid, session: &mut Session) -> broadcast::Receiver<VideoFrame> {
        listen(&mut self.video, sid, VIDEO_BACKLOG, session)
    }

    /// A packet came; without listeners the subscription ends.
    pub fn packet(&mut self, sid: &TrackSid, packet: AudioPacket, session: &mut Session) {
        deliver(&mut self.audio, sid, packet, session);
    }

    /// A frame came; without listeners the subscription ends.
    pub fn frame(&mut self, sid: &TrackSid, frame: VideoFrame, session: &mut Session) {
        deliver(&mut self.video, sid, frame, session);
    }

    /// The track is gone: its streams end.
    pub fn end(&mut self, sid: &TrackSid) {
        self.audio.remove(sid);
        self.video.remove(sid);
    }
}

type Listeners<T> = BTreeMap<TrackSid, broadcast::Sender<T>>;

fn listen<T: Clone>(
    all: &mut Listeners<T>,
    sid: TrackSid,
    backlog: usize,
    session: &mut Session,
) -> broadcast::Receiver<T> {
    if let Some(sender) = all.get(&sid) {
        return sender.subscribe();
    }
    let (sender, receiver) = broadcast::channel(backlog);
    all.insert(sid.clone(), sender);
    session.command(Command::Subscribe(sid, true));
    receiver
}

fn deliver<T>(all: &mut Listeners<T>, sid: &TrackSid, item: T, session: &mut Session) {
    let Some(sender) = all.get(sid) else { return };
    if sender.send(item).is_err() {
        all.remove(sid);
        session.command(Command::Subscribe(sid.clone(), false));
    }
}
