//! Our own tracks: what feeds them, who muted them, what the room knows of them.

mod insight;
mod local;
mod told;

use super::held::Held;
use super::session::Session;
use super::source::{Happening, Source};
use super::timeline::Anchor;
use crate::control::{Format, Granted};
use crate::job::publication::TrackState;
use crate::job::request::{OwnFrame, Reply, TrackWatch};
use crate::job::{Error, Event as UserEvent};
use insight::Viewers;
use protocol::room::{Command, Frame, Kind, LocalTrack, Sound, Source as TrackSource, TrackId};
use std::collections::{BTreeMap, VecDeque};
use std::os::fd::OwnedFd;
use std::task::{Context, Poll};
use std::time::Instant;
use tokio::sync::watch;

/// All local tracks, by their id.
#[derive(Debug)]
pub struct Tracks {
    locals: BTreeMap<TrackId, Local>,
    /// Makes ids unique: a name may be published, unpublished and published again.
    count: u32,
    anchor: Anchor,
    /// One unit; grows to the largest.
    buffer: Vec<u8>,
    connected: bool,
    /// Sources that went or came back, at most one of each before the driver takes it.
    news: VecDeque<UserEvent>,
    /// Where the next search for a source that has something begins, so that a busy one does not starve the others.
    turn: usize,
}

#[derive(Debug)]
struct Local {
    track: LocalTrack,
    state: watch::Sender<TrackState>,
    held: Held,
    /// Muted as the room knows it; `None` until the room knows the track.
    told: Option<bool>,
    feed: Feed,
    /// Who waits for the grant.
    reply: Option<Reply<TrackWatch>>,
    /// It is published, or is going to be. Else it is a camera that is read for its viewers alone, as long as there are any.
    shown: bool,
    /// Who waits for a keyframe, to look at it.
    viewers: Viewers,
}

#[derive(Debug)]
enum Feed {
    Source(Box<Source>),
    Own,
}

impl Tracks {
    /// None yet.
    pub fn new(anchor: Anchor) -> Self {
        Self {
            locals: BTreeMap::new(),
            count: 0,
            anchor,
            buffer: Vec::new(),
            connected: false,
            news: VecDeque::new(),
            turn: 0,
        }
    }

    /// Adds a configured source. `true` when the supervisor must be asked for it.
    pub fn add_source(
        &mut self,
        granted: &Granted,
        reply: Reply<TrackWatch>,
        session: Option<&mut Session>,
        now: Instant,
    ) -> bool {
        let connected = self.connected;
        let taken = |local: &Local| local.track.name == granted.name && matches!(local.feed, Feed::Own);
        if self.locals.values().any(taken) {
            refuse(reply, Error::PublishedAlready(granted.name.clone()));
            return false;
        }
        match self.source_named(&granted.name) {
            None => {
                self.open(granted, now, Some(reply));
                return true;
            }
            Some(local) if local.shown => refuse(reply, Error::PublishedAlready(granted.name.clone())),
            // Somebody takes a picture with it.
            Some(local) => {
                (local.shown, local.reply) = (true, Some(reply));
                if matches!(&local.feed, Feed::Source(source) if source.deadline().is_none()) {
                    local.introduce(connected, session);
                }
            }
        }
        false
    }

    /// Reads a source: to publish it, if somebody waits for that.
    fn open(&mut self, granted: &Granted, now: Instant, reply: Option<Reply<TrackWatch>>) -> TrackId {
        let feed = Feed::Source(Box::new(Source::new(granted.name.clone(), now)));
        let shown = reply.is_some();
        let id = self.add(describe(granted), feed, reply);
        self.locals.get_mut(&id).expect("just added").shown = shown;
        id
    }

    /// Adds a track that the user writes.
    pub fn add_own(&mut self, track: LocalTrack, reply: Reply<TrackWatch>, session: Option<&mut Session>) {
        // A camera of this name that is open for a picture alone is no track.
        if self.locals.values().any(|local| local.shown && local.track.name == track.name) {
            return refuse(reply, Error::PublishedAlready(track.name));
        }
        let id = self.add(track, Feed::Own, None);
        let local = self.locals.get_mut(&id).expect("just added");
        if let Some(session) = session {
            local.publish(session);
        }
        // A caller that no longer waits has dropped its task; the track goes with the next sweep.
        let _ = reply.send(Ok((id, local.state.subscribe())));
    }

    fn add(&mut self, mut track: LocalTrack, feed: Feed, reply: Option<Reply<TrackWatch>>) -> TrackId {
        track.id = TrackId(format!("{}-{}", track.name, self.count));
        self.count += 1;
        let id = track.id.clone();
        let state = watch::Sender::new(TrackState { bitrate: track.bitrate, wanted: true, ..TrackState::default() });
        self.locals.insert(
            id.clone(),
            Local {
                track,
                state,
                held: Held::default(),
                told: None,
                feed,
                reply,
                shown: true,
                viewers: Viewers::default(),
            },
        );
        id
    }

    /// The supervisor gave a source's socket.
    pub fn granted(&mut self, name: &str, socket: OwnedFd, session: Option<&mut Session>, now: Instant, random: u64) {
        let connected = self.connected;
        let Some(local) = self.source_named(name) else { return };
        let Feed::Source(source) = &mut local.feed else { return };
        if let Err(error) = source.granted(socket) {
            tracing::warn!(source = name, %error, "attach");
            source.retry(now, random);
        }
        local.introduce(connected, session);
    }

    /// The supervisor refused a source: for good if it was never there, else it is asked again.
    pub fn denied(&mut self, name: &str, why: String, now: Instant, random: u64) {
        let Some(local) = self.source_named(name) else { return };
        let id = local.track.id.clone();
        if let Some(reply) = local.reply.take() {
            refuse(reply, Error::Denied { name: name.to_owned(), why });
            self.locals.remove(&id);
        } else if !local.shown {
            local.viewers.refuse(name, &why);
            self.locals.remove(&id);
        } else if let Feed::Source(source) = &mut local.feed {
            source.retry(now, random);
            let news = local.held.lose(name, why);
            self.news.extend(news);
        }
    }

    /// What the user has to know of a source.
    pub fn news(&mut self) -> Option<UserEvent> {
        self.news.pop_front()
    }

    /// Tracks for the join.
    pub fn for_join(&mut self) -> Vec<LocalTrack> {
        let ready = self.locals.values_mut().filter(|local| local.shown && local.reply.is_none());
        ready.map(Local::announce).collect()
    }

    /// Takes a track out of the room.
    pub fn unpublish(&mut self, id: &TrackId, session: Option<&mut Session>) {
        if let (Some(local), Some(session)) = (self.locals.remove(id), session)
            && local.told.is_some()
        {
            session.command(Command::Unpublish(id.clone()));
        }
    }

    /// Takes tracks out of the room whose writer is gone, and lets cameras rest whose viewers have given up.
    pub fn sweep(&mut self, session: &mut Session) {
        for local in self.locals.values_mut() {
            if local.viewers.forget_gone() {
                local.settle(self.connected, Some(session));
            }
        }
        let gone = |local: &Local| {
            (matches!(local.feed, Feed::Own) && local.state.is_closed()) || (!local.shown && !local.viewers.any())
        };
        let ids: Vec<_> = self.locals.values().filter(|l| gone(l)).map(|l| l.track.id.clone()).collect();
        for id in ids {
            self.unpublish(&id, Some(session));
        }
    }

    /// The user mutes or unmutes a track; unmuting lifts the server's mute too.
    pub fn mute(&mut self, id: &TrackId, muted: bool, session: Option<&mut Session>) {
        let connected = self.connected;
        let Some(local) = self.locals.get_mut(id) else { return };
        local.held.user = muted;
        local.held.server &= muted;
        local.settle(connected, session);
    }

    /// A frame of the user's own.
    pub fn write(&self, frame: &OwnFrame, session: &mut Session) {
        if self.locals.contains_key(&frame.track) {
            let OwnFrame { data, captured, samples, level, .. } = frame;
            let (captured, samples, level) = (*captured, *samples, *level);
            session.write(&frame.track, Frame { data, captured, samples, discontinuity: false, level });
        }
    }

    /// Waits for the owners of all sources.
    pub fn poll(&mut self, context: &mut Context<'_>) -> Poll<(TrackId, Happening)> {
        let count = self.locals.len();
        for step in 0..count {
            let turn = (self.turn + step) % count;
            if let Some((id, local)) = self.locals.iter_mut().nth(turn)
                && let Feed::Source(source) = &mut local.feed
                && let Poll::Ready(happening) = source.poll(context)
            {
                self.turn = turn + 1;
                return Poll::Ready((id.clone(), happening));
            }
        }
        Poll::Pending
    }

    /// Acts on what an owner did.
    pub fn happened(
        &mut self,
        id: &TrackId,
        happening: Happening,
        session: Option<&mut Session>,
        now: Instant,
        random: u64,
    ) {
        let Some(local) = self.locals.get_mut(id) else { return };
        let Feed::Source(source) = &mut local.feed else { return };
        match happening {
            Happening::Rung => {
                self.news.extend(local.forward(&self.anchor, &mut self.buffer, self.connected, session));
                if !local.shown && !local.viewers.any() {
                    self.locals.remove(id);
                }
                return;
            }
            // Nobody but those who wait for a picture wants to know.
            Happening::Lost(why) if !local.shown => {
                local.viewers.refuse(&source.name, &why);
                self.locals.remove(id);
                return;
            }
            Happening::Attached(format) => tracing::debug!(source = %source.name, ?format, "attached"),
            Happening::Running => self.news.extend(local.held.find(&source.name).filter(|_| local.shown)),
            Happening::Lost(why) => self.news.extend(local.held.lose(&source.name, why)),
            Happening::Gone(why) => {
                source.retry(now, random);
                self.news.extend(local.held.lose(&source.name, why).filter(|_| local.shown));
            }
        }
        local.settle(self.connected, session);
    }

    /// When [`Tracks::due`] has something to say.
    pub fn deadline(&self) -> Option<Instant> {
        self.sources().filter_map(Source::deadline).min()
    }

    /// Sources for which the supervisor must be asked (again) now. One that has not been granted by then is published
    /// muted, so that a dead owner holds up neither its caller nor the join.
    pub fn due(&mut self, now: Instant, mut session: Option<&mut Session>) -> Vec<String> {
        let mut names = Vec::new();
        for local in self.locals.values_mut() {
            let Feed::Source(source) = &mut local.feed else { continue };
            if source.due(now) {
                names.push(source.name.clone());
                if local.reply.is_some() {
                    local.held.device = true;
                    local.introduce(self.connected, session.as_deref_mut());
                }
            }
        }
        names
    }

    /// Units that this job was too slow for.
    pub fn lapped(&self) -> u64 {
        self.sources().map(|source| source.lapped).sum()
    }

    /// What grants are for: an own track may have the name of a camera that is open for a picture.
    fn source_named(&mut self, name: &str) -> Option<&mut Local> {
        self.locals.values_mut().find(|local| local.track.name == name && matches!(local.feed, Feed::Source(_)))
    }

    fn sources(&self) -> impl Iterator<Item = &Source> {
        self.locals.values().filter_map(|local| match &local.feed {
            Feed::Source(source) => Some(&**source),
            Feed::Own => None,
        })
    }
}

fn describe(granted: &Granted) -> LocalTrack {
    let (kind, source, width, height, bitrate) = match granted.format {
        Format::H264 { width, height, bitrate, .. } => {
            (Kind::Video, TrackSource::Camera, u32::from(width), u32::from(height), bitrate)
        }
        Format::Opus { bitrate, .. } => (Kind::Audio, TrackSource::Microphone, 0, 0, bitrate),
    };
    let sound = match granted.format {
        Format::H264 { .. } => Sound::default(),
        Format::Opus { channels, frame_ms, dtx, fec, .. } => {
            Sound { stereo: channels == 2, dtx, fec, packet_ms: Some(frame_ms) }
        }
    };
    let id = TrackId(String::new());
    LocalTrack {
        id,
        name: granted.name.clone(),
        kind,
        source,
        width,
        height,
        sound,
        bitrate,
        muted: false,
        rests: true,
    }
}

fn refuse<T>(reply: Reply<T>, error: Error) {
    // A caller that no longer waits needs no answer.
    let _ = reply.send(Err(error));
}
