//! Remote tracks: which section carries which, and their packets.

use super::participants::Roster;
use super::peer::{Arrived, Peer, Section};
use super::rtp::report::Newest;
use super::rtp::video::{Received, Receiver};
use super::{Event, Kind, TrackSid};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::{Instant, SystemTime};

/// Ticks a second of RTP time.
const AUDIO_RATE: u32 = 48_000;
const VIDEO_RATE: u32 = 90_000;

/// Remote tracks by sid.
#[derive(Debug, Default)]
pub(super) struct Subscriptions {
    tracks: BTreeMap<TrackSid, Subscription>,
    /// Tracks whose subscription differs from auto_subscribe, as long as they are published: each resume and rejoin tells
    /// all of them.
    pub(super) exceptions: BTreeSet<TrackSid>,
}

#[derive(Debug)]
struct Subscription {
    section: Section,
    /// Told to the job; that waits until the publisher is known.
    announced: bool,
    kind: Kind,
    ssrc: Option<u32>,
    /// The stream of the track that had this section before; its tail may still arrive.
    retired: Option<u32>,
    report: Newest,
    video: Receiver,
}

impl Subscriptions {
    /// Takes the mapping of an answer.
    pub(super) fn map(&mut self, mids: &HashMap<String, String>, roster: &Roster) -> Vec<Event> {
        let wanted: BTreeMap<TrackSid, Section> =
            mids.iter().map(|(mid, sid)| (TrackSid(sid.clone()), Section::named(mid))).collect();
        let gone: Vec<TrackSid> =
            self.tracks.iter().filter(|(sid, s)| wanted.get(sid) != Some(&s.section)).map(|(s, _)| s.clone()).collect();
        let former: HashMap<Section, u32> = self.tracks.values().filter_map(|s| Some((s.section, s.ssrc?))).collect();
        let mut events: Vec<Event> = gone.iter().filter_map(|sid| self.remove(sid)).collect();
        for (sid, section) in wanted {
            self.tracks.entry(sid).or_insert_with(|| Subscription {
                section,
                announced: false,
                kind: Kind::Audio,
                ssrc: None,
                retired: former.get(&section).copied(),
                report: Newest::default(),
                video: Receiver::new(),
            });
        }
        events.extend(self.announce(roster));
        events
    }

    /// Tells tracks whose publisher has become known, and ends those that are published no more.
    pub(super) fn announce(&mut self, roster: &Roster) -> Vec<Event> {
        let gone =
            |(sid, s): (&TrackSid, &Subscription)| (s.announced && roster.track(sid).is_none()).then(|| sid.clone());
        let gone: Vec<TrackSid> = self.tracks.iter().filter_map(gone).collect();
        let mut events: Vec<Event> = gone.iter().filter_map(|sid| self.remove(sid)).collect();
        for (sid, s) in self.tracks.iter_mut().filter(|(_, s)| !s.announced) {
            let Some((track, identity)) = roster.track(sid) else { continue };
            s.announced = true;
            s.kind = track.kind;
            events.push(Event::Subscribed { track: track.clone(), identity: identity.to_owned() });
        }
        events
    }

    /// What is published no more does not come back under its sid.
    pub(super) fn forget_exceptions(&mut self, roster: &Roster) {
        self.exceptions.retain(|sid| roster.track(sid).is_some());
    }

    fn remove(&mut self, sid: &TrackSid) -> Option<Event> {
        let s = self.tracks.remove(sid)?;
        s.announced.then(|| Event::Unsubscribed(sid.clone()))
    }

    /// A new connection has none of them.
    pub(super) fn clear(&mut self) -> Vec<Event> {
        let sids: Vec<TrackSid> = self.tracks.keys().cloned().collect();
        sids.iter().filter_map(|sid| self.remove(sid)).collect()
    }

    /// A packet came.
    pub(super) fn media(&mut self, section: Section, packet: Arrived, peer: &mut Peer) -> Vec<Event> {
        let Some((sid, s)) = self.tracks.iter_mut().find(|(_, s)| s.section == section) else { return Vec::new() };
        // Padding for bandwidth probes has no payload.
        if !s.announced || packet.payload.is_empty() || s.retired == Some(packet.ssrc) {
            return Vec::new();
        }
        if s.ssrc != Some(packet.ssrc) {
            s.ssrc = Some(packet.ssrc);
            s.video = Receiver::new();
            s.report = Newest::default();
        }
        s.report.take(packet.report, packet.at);
        match s.kind {
            Kind::Audio => vec![Event::Audio {
                track: sid.clone(),
                sequence: packet.sequence,
                timestamp: packet.timestamp,
                payload: packet.payload.to_vec(),
                arrived: packet.at,
                captured: s.captured(packet.timestamp, AUDIO_RATE),
            }],
            Kind::Video => {
                s.video.push(packet.sequence, packet.timestamp, packet.marker, packet.payload, packet.at);
                s.drain(sid, peer)
            }
        }
    }

    /// Receive buffers whose wait is over.
    pub(super) fn timeout(&mut self, now: Instant, peer: &mut Peer) -> Vec<Event> {
        let mut events = Vec::new();
        for (sid, s) in self.tracks.iter_mut().filter(|(_, s)| s.video.deadline().is_some_and(|at| at <= now)) {
            s.video.timeout(now);
            events.extend(s.drain(sid, peer));
        }
        events
    }

    /// When [`Subscriptions::timeout`] is due.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.tracks.values().filter_map(|s| s.video.deadline()).min()
    }

    /// Asks the publisher for a keyframe.
    pub(super) fn request_keyframe(&self, sid: &TrackSid, peer: &mut Peer) {
        if let Some(ssrc) = self.tracks.get(sid).and_then(|s| s.ssrc) {
            peer.request_keyframe(ssrc);
        }
    }
}

impl Subscription {
    fn captured(&self, timestamp: u64, rate: u32) -> Option<SystemTime> {
        self.report.captured(timestamp, rate)
    }

    fn drain(&mut self, sid: &TrackSid, peer: &mut Peer) -> Vec<Event> {
        let mut events = Vec::new();
        while let Some(received) = self.video.poll() {
            match received {
                Received::Unit(unit) => events.push(Event::Video {
                    track: sid.clone(),
                    timestamp: unit.timestamp,
                    captured: self.captured(unit.timestamp, VIDEO_RATE),
                    data: unit.data,
                    keyframe: unit.keyframe,
                }),
                Received::KeyframeNeeded => {
                    if let Some(ssrc) = self.ssrc {
                        peer.request_keyframe(ssrc);
                    }
                }
            }
        }
        events
    }
}
