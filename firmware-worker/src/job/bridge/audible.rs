//! Which tracks are to be heard: those that events tell of, and those whose events were missed.

use crate::job::Event;
use protocol::room::{Kind, Participant, RemoteTrack, TrackSid};
use std::collections::BTreeSet;

/// Tracks that are there and have been taken care of.
#[derive(Debug, Default)]
pub(super) struct Audible(BTreeSet<TrackSid>);

impl Audible {
    /// Tracks that are new with this event; `present` says who is there now.
    pub(super) fn news(&mut self, event: &Event, present: impl FnOnce() -> Vec<Participant>) -> Vec<RemoteTrack> {
        match event {
            Event::TrackPublished { track, .. } => self.add([track.clone()]),
            Event::TrackUnpublished { track, .. } => {
                self.0.remove(&track.sid);
                Vec::new()
            }
            // A room that is joined tells of all who are there at once, which may be more than are kept.
            Event::Missed(_) => {
                let tracks: Vec<_> = present().into_iter().flat_map(|participant| participant.tracks).collect();
                self.0.retain(|sid| tracks.iter().any(|track| track.sid == *sid));
                self.add(tracks)
            }
            _ => Vec::new(),
        }
    }

    fn add(&mut self, tracks: impl IntoIterator<Item = RemoteTrack>) -> Vec<RemoteTrack> {
        let sound = tracks.into_iter().filter(|track| track.kind == Kind::Audio);
        sound.filter(|track| self.0.insert(track.sid.clone())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::room::Source;

    fn track(sid: &str, kind: Kind) -> RemoteTrack {
        let source = if kind == Kind::Audio { Source::Microphone } else { Source::Camera };
        RemoteTrack { sid: TrackSid(sid.into()), name: String::new(), kind, source, muted: false }
    }

    fn published(sid: &str, kind: Kind) -> Event {
        Event::TrackPublished { identity: "guest".into(), track: track(sid, kind) }
    }

    fn nobody() -> Vec<Participant> {
        panic!("no event was missed")
    }

    #[test]
    fn a_track_of_sound_is_heard_once_and_again_when_it_was_gone() {
        let mut audible = Audible::default();
        let voice = published("TR_a", Kind::Audio);
        assert_eq!(audible.news(&voice, nobody), [track("TR_a", Kind::Audio)]);
        assert_eq!(audible.news(&voice, nobody), []);
        assert_eq!(audible.news(&published("TR_v", Kind::Video), nobody), []);
        let gone = Event::TrackUnpublished { identity: "guest".into(), track: track("TR_a", Kind::Audio) };
        assert_eq!(audible.news(&gone, nobody), []);
        assert_eq!(audible.news(&voice, nobody), [track("TR_a", Kind::Audio)]);
    }

    #[test]
    fn a_track_whose_event_was_missed_is_heard_all_the_same() {
        let mut audible = Audible::default();
        audible.news(&published("TR_a", Kind::Audio), nobody);
        audible.news(&published("TR_left", Kind::Audio), nobody);
        let guest = Participant {
            tracks: vec![track("TR_a", Kind::Audio), track("TR_b", Kind::Audio), track("TR_v", Kind::Video)],
            ..Participant::default()
        };
        let present = || vec![guest.clone()];
        assert_eq!(audible.news(&Event::Missed(9), present), [track("TR_b", Kind::Audio)]);
        assert_eq!(audible.news(&published("TR_b", Kind::Audio), nobody), [], "its own event came after all");
        assert_eq!(audible.news(&Event::Missed(9), present), []);
        assert_eq!(audible.0.len(), 2, "who has left is forgotten");
    }
}
