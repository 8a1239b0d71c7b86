//! Who is in the room.

use super::signal::{self, lk};
use super::{Event, Participant, RemoteTrack, TrackSid};
use std::collections::BTreeMap;

/// Participants remembered at most; further ones are not told. A room of a board is far smaller.
const MAX_PARTICIPANTS: usize = 2000;

/// The other participants by sid.
#[derive(Debug, Default)]
pub(super) struct Roster {
    /// Our own sid; empty before the first join.
    pub(super) me: String,
    identity: String,
    others: BTreeMap<String, Known>,
    /// Levels of those who speak, by their sid. The server tells changes only.
    speaking: BTreeMap<String, f32>,
    /// After a resume the server sends a complete list: who is not in it has left.
    resync: bool,
}

#[derive(Debug)]
struct Known {
    version: u32,
    participant: Participant,
}

impl Roster {
    /// A new session.
    pub(super) fn join(&mut self, me: &lk::ParticipantInfo, others: &[lk::ParticipantInfo]) -> Vec<Participant> {
        *self = Self { me: me.sid.clone(), identity: me.identity.clone(), ..Self::default() };
        for info in others {
            self.insert(info);
        }
        self.others.values().map(|k| k.participant.clone()).collect()
    }

    /// The next list that names us is complete.
    pub(super) fn expect_complete_list(&mut self) {
        self.resync = true;
    }

    /// The complete list after a resume shows somebody else under our identity. The server resumes whoever has the
    /// identity, whatever the sid: this session is then a successor's.
    pub(super) fn replaced(&self, infos: &[lk::ParticipantInfo]) -> bool {
        let present = |i: &&lk::ParticipantInfo| i.state() != lk::participant_info::State::Disconnected;
        let mut ours = infos.iter().filter(present).filter(|i| i.identity == self.identity).peekable();
        self.resync && ours.peek().is_some() && ours.all(|i| i.sid != self.me)
    }

    /// Ourselves in this list, if it is the complete one that is expected.
    pub(super) fn completed_by<'a>(&self, infos: &'a [lk::ParticipantInfo]) -> Option<&'a lk::ParticipantInfo> {
        infos.iter().find(|i| self.resync && i.sid == self.me)
    }

    /// Takes an update; older versions are ignored.
    pub(super) fn update(&mut self, infos: &[lk::ParticipantInfo]) -> Vec<Event> {
        let mut events = Vec::new();
        let speaking = self.speaking.len();
        if self.completed_by(infos).is_some() {
            self.resync = false;
            let absent: Vec<String> =
                self.others.keys().filter(|sid| infos.iter().all(|i| i.sid != **sid)).cloned().collect();
            events.extend(absent.iter().filter_map(|sid| self.remove(sid)));
        }
        for info in infos {
            if info.sid == self.me {
                continue;
            }
            if info.state() == lk::participant_info::State::Disconnected {
                events.extend(self.remove(&info.sid));
            } else {
                events.extend(self.insert(info).map(Event::ParticipantChanged));
            }
        }
        events.extend((self.speaking.len() < speaking).then(|| Event::Speakers(self.speakers())));
        events
    }

    /// Takes changes of who speaks; false where there are none.
    pub(super) fn speak(&mut self, changes: &[lk::SpeakerInfo]) -> bool {
        let mut changed = false;
        for info in changes {
            changed |= if info.active && self.others.contains_key(&info.sid) {
                self.speaking.insert(info.sid.clone(), info.level) != Some(info.level)
            } else {
                self.speaking.remove(&info.sid).is_some()
            };
        }
        changed
    }

    /// Nobody speaks, as far as is known; false where nobody did.
    pub(super) fn silence(&mut self) -> bool {
        !std::mem::take(&mut self.speaking).is_empty()
    }

    /// Identities of all who speak, loudest first, with their levels.
    pub(super) fn speakers(&self) -> Vec<(String, f32)> {
        let named = |(sid, level): (&String, &f32)| Some((self.others.get(sid)?.participant.identity.clone(), *level));
        let mut speakers: Vec<_> = self.speaking.iter().filter_map(named).collect();
        speakers.sort_by(|a, b| b.1.total_cmp(&a.1));
        speakers
    }

    fn remove(&mut self, sid: &str) -> Option<Event> {
        self.speaking.remove(sid);
        self.others.remove(sid).map(|k| Event::ParticipantLeft(k.participant))
    }

    fn insert(&mut self, info: &lk::ParticipantInfo) -> Option<Participant> {
        let participant = signal::participant(info);
        let nothing_new = match self.others.get(&info.sid) {
            Some(known) => info.version < known.version || known.participant == participant,
            None => self.others.len() >= MAX_PARTICIPANTS,
        };
        if nothing_new {
            return None;
        }
        let known = Known { version: info.version, participant: participant.clone() };
        self.others.insert(info.sid.clone(), known);
        Some(participant)
    }

    /// A track and its publisher's identity.
    pub(super) fn track(&self, sid: &TrackSid) -> Option<(&RemoteTrack, &str)> {
        let of = |p: &'_ Known| p.participant.tracks.iter().any(|t| t.sid == *sid);
        let publisher = &self.others.values().find(|k| of(k))?.participant;
        let track = publisher.tracks.iter().find(|t| t.sid == *sid)?;
        Some((track, &publisher.identity))
    }
}
