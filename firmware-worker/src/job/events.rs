//! Who is in the room, and what happens there.

use super::Error;
use protocol::room::{Data, Kind, Participant, RemoteTrack, TrackSid};
use protocol::worker::RoomInfo;
use std::collections::BTreeMap;
use tokio::sync::broadcast::{self, error::RecvError};

/// Events that a slow receiver may fall behind by before it loses the oldest.
pub(super) const BACKLOG: usize = 128;

/// What happened in the room.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// Somebody joined, or was there when we joined.
    ParticipantJoined(Participant),
    /// Name, metadata or attributes changed: the new picture.
    ParticipantChanged(Participant),
    /// Somebody left: the last picture.
    ParticipantLeft(Participant),
    /// The room's metadata changed, or it is another one of the same name: the new picture.
    RoomChanged(RoomInfo),
    /// A track can be subscribed to.
    TrackPublished {
        /// Publisher.
        identity: String,
        /// Track.
        track: RemoteTrack,
    },
    /// A track was muted or unmuted by its publisher.
    TrackMuted {
        /// Publisher.
        identity: String,
        /// Track, with its new state.
        track: RemoteTrack,
    },
    /// A track is gone.
    TrackUnpublished {
        /// Publisher.
        identity: String,
        /// Track.
        track: RemoteTrack,
    },
    /// A subscription was refused or failed.
    SubscribeFailed {
        /// Track.
        sid: TrackSid,
        /// In plain words.
        why: String,
    },
    /// Data from a participant.
    Data(Data),
    /// Data of ours was not sent.
    DataRefused {
        /// Its topic.
        topic: String,
        /// In plain words.
        why: String,
    },
    /// The server did not take a change of our name, metadata or attributes; in plain words.
    UpdateRefused(String),
    /// Who speaks now, loudest first, with levels 0 to 1.
    Speakers(Vec<(String, f32)>),
    /// Our connection as the server sees it: `excellent`, `good`, `poor` or `lost`.
    Quality(&'static str),
    /// The device of a published source is not there, or may not be had: its track is muted, and it is tried again for
    /// as long as the job runs, at most every 2.5 s in the long run. Told once until it is back.
    SourceLost {
        /// Its name in the configuration.
        name: String,
        /// In plain words.
        why: String,
    },
    /// It is there again.
    SourceBack {
        /// Its name in the configuration.
        name: String,
    },
    /// The connection is lost and being restored.
    Reconnecting(String),
    /// It is restored.
    Reconnected,
    /// This receiver was too slow: so many events were dropped before the next one.
    Missed(u64),
}

/// Receives events from the moment it was made.
#[derive(Debug)]
pub struct Events(pub(super) broadcast::Receiver<Event>);

impl Events {
    /// The next event. Cancel-safe. There is one as long as user code runs: the process ends with the job, so that what must
    /// be done then belongs into a [`JobContext::add_shutdown_hook`](super::JobContext::add_shutdown_hook), not behind the loop.
    pub async fn next(&mut self) -> Option<Event> {
        match self.0.recv().await {
            Ok(event) => Some(event),
            Err(RecvError::Lagged(missed)) => Some(Event::Missed(missed)),
            Err(RecvError::Closed) => None,
        }
    }
}

/// The room as last told by the server. The driver owns it; contexts read a published copy.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Roster {
    /// Ours; empty before the join.
    pub sid: String,
    /// Ours.
    pub identity: String,
    /// Where we are; before the join as dispatched.
    pub room: RoomInfo,
    /// The others, by identity.
    pub participants: BTreeMap<String, Participant>,
}

impl Roster {
    /// After a (re)join: everybody who is there, and what changed since the last picture.
    pub fn joined(&mut self, sid: String, identity: String, present: Vec<Participant>) -> Vec<Event> {
        self.sid = sid;
        self.identity = identity;
        let gone: Vec<_> = self
            .participants
            .values()
            .filter(|old| !present.iter().any(|new| new.identity == old.identity))
            .cloned()
            .collect();
        let mut events: Vec<_> = gone.iter().flat_map(|old| self.left(old)).collect();
        events.extend(present.into_iter().flat_map(|new| self.changed(new)));
        events
    }

    /// What the server says of the room.
    pub fn room(&mut self, sid: String, metadata: String) -> Vec<Event> {
        if (&self.room.sid, &self.room.metadata) == (&sid, &metadata) {
            return Vec::new();
        }
        (self.room.sid, self.room.metadata) = (sid, metadata);
        vec![Event::RoomChanged(self.room.clone())]
    }

    /// Whether a track is of this kind, or not known: what comes is judged by the room then.
    pub fn fit(&self, sid: &TrackSid, wanted: Kind) -> Result<(), Error> {
        let mut tracks = self.participants.values().flat_map(|participant| &participant.tracks);
        match tracks.find(|track| track.sid == *sid) {
            Some(track) if track.kind != wanted => {
                let name = |kind| if kind == Kind::Audio { "audio" } else { "video" };
                Err(Error::OtherKind { sid: sid.0.clone(), wanted: name(wanted), is: name(track.kind) })
            }
            _ => Ok(()),
        }
    }

    /// The new picture of one participant, as events.
    pub fn changed(&mut self, new: Participant) -> Vec<Event> {
        let identity = new.identity.clone();
        let old = self.participants.insert(identity.clone(), new.clone());
        let mut events = Vec::new();
        match &old {
            Some(old) if old.sid == new.sid => {
                if (&old.name, &old.metadata, &old.attributes) != (&new.name, &new.metadata, &new.attributes) {
                    events.push(Event::ParticipantChanged(new.clone()));
                }
            }
            Some(old) => {
                events.extend(departure(old));
                events.push(Event::ParticipantJoined(new.clone()));
            }
            None => events.push(Event::ParticipantJoined(new.clone())),
        }
        let known = old.filter(|old| old.sid == new.sid).map(|old| old.tracks).unwrap_or_default();
        events.extend(track_changes(&identity, &known, &new.tracks));
        events
    }

    /// Somebody left. Silent when a successor with the same identity is already there.
    pub fn left(&mut self, participant: &Participant) -> Vec<Event> {
        match self.participants.get(&participant.identity) {
            Some(present) if present.sid == participant.sid => {}
            _ => return Vec::new(),
        }
        self.participants.remove(&participant.identity).iter().flat_map(departure).collect()
    }
}

fn departure(old: &Participant) -> Vec<Event> {
    let mut events = track_changes(&old.identity, &old.tracks, &[]);
    events.push(Event::ParticipantLeft(old.clone()));
    events
}

fn track_changes(identity: &str, old: &[RemoteTrack], new: &[RemoteTrack]) -> Vec<Event> {
    let of = |track: &RemoteTrack| (identity.to_owned(), track.clone());
    let mut events = Vec::new();
    for track in old.iter().filter(|o| !new.iter().any(|n| n.sid == o.sid)) {
        let (identity, track) = of(track);
        events.push(Event::TrackUnpublished { identity, track });
    }
    for track in new {
        let (identity, track) = of(track);
        match old.iter().find(|o| o.sid == track.sid) {
            None => events.push(Event::TrackPublished { identity, track }),
            Some(before) if before.muted != track.muted => events.push(Event::TrackMuted { identity, track }),
            Some(_) => {}
        }
    }
    events
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::room::Source;

    fn person(identity: &str, sid: &str, tracks: &[(&str, bool)]) -> Participant {
        let track = |&(sid, muted): &(&str, bool)| RemoteTrack {
            sid: TrackSid(sid.into()),
            name: String::new(),
            kind: Kind::Audio,
            source: Source::Microphone,
            muted,
        };
        Participant {
            sid: sid.into(),
            identity: identity.into(),
            tracks: tracks.iter().map(track).collect(),
            ..Participant::default()
        }
    }

    fn names(events: &[Event]) -> Vec<String> {
        let name = |event: &Event| match event {
            Event::ParticipantJoined(p) => format!("+{}", p.sid),
            Event::ParticipantChanged(p) => format!("~{}", p.sid),
            Event::ParticipantLeft(p) => format!("-{}", p.sid),
            Event::TrackPublished { track, .. } => format!("+{}", track.sid.0),
            Event::TrackMuted { track, .. } => format!("m{}", track.sid.0),
            Event::TrackUnpublished { track, .. } => format!("-{}", track.sid.0),
            other => format!("{other:?}"),
        };
        events.iter().map(name).collect()
    }

    #[test]
    fn a_changed_picture_becomes_one_event_per_difference() {
        let mut roster = Roster::default();
        assert_eq!(names(&roster.changed(person("a", "PA_1", &[("T1", false)]))), ["+PA_1", "+T1"]);
        assert_eq!(names(&roster.changed(person("a", "PA_1", &[("T1", true), ("T2", false)]))), ["mT1", "+T2"]);
        assert_eq!(names(&roster.changed(person("a", "PA_1", &[("T2", false)]))), ["-T1"]);
        let renamed = Participant { name: "Anna".into(), ..person("a", "PA_1", &[("T2", false)]) };
        assert_eq!(names(&roster.changed(renamed.clone())), ["~PA_1"]);
        assert!(roster.changed(renamed).is_empty());
    }

    #[test]
    fn a_room_is_told_when_it_differs_from_what_was_dispatched_or_told() {
        let dispatched = RoomInfo { sid: "RM_1".into(), name: "hall".into(), metadata: "dark".into() };
        let mut roster = Roster { room: dispatched.clone(), ..Roster::default() };
        assert_eq!(roster.room("RM_1".into(), "dark".into()), []);
        let lit = RoomInfo { metadata: "lit".into(), ..dispatched };
        assert_eq!(roster.room("RM_1".into(), "lit".into()), [Event::RoomChanged(lit.clone())]);
        assert_eq!(roster.room("RM_1".into(), "lit".into()), []);
        let again = RoomInfo { sid: "RM_2".into(), ..lit };
        assert_eq!(roster.room("RM_2".into(), "lit".into()), [Event::RoomChanged(again)]);
    }

    #[test]
    fn a_track_of_the_other_kind_cannot_be_subscribed_to() {
        let mut roster = Roster::default();
        roster.changed(person("a", "PA_1", &[("T1", false)]));
        let fit = |sid: &str, kind| roster.fit(&TrackSid(sid.into()), kind);
        assert_eq!((fit("T1", Kind::Audio), fit("T2", Kind::Video)), (Ok(()), Ok(())));
        let error = fit("T1", Kind::Video).unwrap_err().to_string();
        assert_eq!(error, "track \"T1\": there is no video in it, it is audio");
    }

    #[test]
    fn a_successor_with_the_same_identity_is_not_removed_by_the_late_news_of_its_predecessor() {
        let mut roster = Roster::default();
        roster.changed(person("a", "PA_1", &[("T1", false)]));
        let events = roster.changed(person("a", "PA_2", &[]));
        assert_eq!(names(&events), ["-T1", "-PA_1", "+PA_2"]);
        assert!(roster.left(&person("a", "PA_1", &[])).is_empty());
        assert_eq!(names(&roster.left(&person("a", "PA_2", &[]))), ["-PA_2"]);
    }

    #[test]
    fn a_rejoin_tells_only_what_changed_meanwhile() {
        let mut roster = Roster::default();
        roster.joined("PA_9".into(), "us".into(), vec![person("a", "PA_1", &[]), person("b", "PA_2", &[])]);
        let events =
            roster.joined("PA_10".into(), "us".into(), vec![person("a", "PA_1", &[]), person("c", "PA_3", &[])]);
        assert_eq!(names(&events), ["-PA_2", "+PA_3"]);
        assert_eq!(roster.sid, "PA_10");
    }
}
