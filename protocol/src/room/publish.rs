//! Local tracks: their publication, their RTP clocks and sequence numbers.

mod stream;

use super::peer::{Outgoing, Peer, Section};
use super::rtp::{Stamp, h264};
use super::signal::lk;
use super::{Frame, Kind, LocalTrack, Sound, TrackId, TrackSid};
use std::time::Instant;
use stream::Stream;

/// RTP payload bytes: with all headers a packet stays under 1,200 bytes, which every path carries.
const PAYLOAD_LIMIT: usize = 1150;
/// Characters of a track id that go into its cid; SDP allows 64 with the rest.
const CID_CHARS: usize = 48;

/// How far a publication's m-line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// Not offered yet.
    New,
    /// In the outstanding offer.
    Offered(Section),
    /// Answered.
    Sending(Section),
}

/// One local track.
#[derive(Debug)]
pub(super) struct Publication {
    pub(super) track: LocalTrack,
    pub(super) cid: String,
    pub(super) stage: Stage,
    /// As the server published it.
    pub(super) info: Option<lk::TrackInfo>,
    /// When it was announced to the server.
    pub(super) announced_at: Option<Instant>,
    /// When the job changed last whether it is muted, or the server was told so.
    pub(super) muted_at: Option<Instant>,
    /// To be taken out as soon as its section can be stopped.
    pub(super) removed: bool,
    /// Any receiver wants it, as far as the server has said. What is written is sent all the same.
    pub(super) wanted: bool,
    stream: Stream,
}

/// What a frame led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Written {
    /// Queued; payload bytes.
    Sent(Stamp, u64),
    /// Dropped.
    Dropped,
    /// Dropped, and the source should make a keyframe.
    KeyframeNeeded,
}

impl Publication {
    fn new(track: LocalTrack, serial: u32, random: u64) -> Self {
        let name: String = track.id.0.chars().filter(char::is_ascii_alphanumeric).take(CID_CHARS).collect();
        Self {
            track,
            cid: format!("{name}-{serial}"),
            stage: Stage::New,
            info: None,
            announced_at: None,
            muted_at: None,
            removed: false,
            wanted: true,
            stream: Stream::new(random),
        }
    }

    /// Its frames are sent, and congestion control must know of it.
    pub(super) fn running(&self) -> bool {
        !self.track.muted && (self.wanted || !self.track.rests)
    }

    /// Its sid, once published.
    pub(super) fn sid(&self) -> Option<TrackSid> {
        self.info.as_ref().map(|i| TrackSid(i.sid.clone()))
    }

    fn section(&self) -> Option<Section> {
        match self.stage {
            Stage::New => None,
            Stage::Offered(s) | Stage::Sending(s) => Some(s),
        }
    }

    /// The next frames are of no use before a keyframe.
    pub(super) fn await_keyframe(&mut self) {
        self.stream.awaits_keyframe = self.track.kind == Kind::Video;
        self.stream.reminded = None;
    }

    /// Capture times that were mended since this was asked last, as they did not advance.
    pub(super) fn take_mended(&mut self) -> u64 {
        self.stream.take_mended()
    }

    /// Packetizes a frame into the peer.
    pub(super) fn write(&mut self, peer: &mut Peer, frame: &Frame<'_>, captured: Instant, now: Instant) -> Written {
        let Stage::Sending(section) = self.stage else { return Written::Dropped };
        if self.track.muted {
            return Written::Dropped;
        }
        match self.track.kind {
            Kind::Audio => self.write_audio(peer, section, frame, captured, now),
            Kind::Video => self.write_video(peer, section, frame, captured, now),
        }
    }

    fn write_audio(
        &mut self,
        peer: &mut Peer,
        section: Section,
        frame: &Frame<'_>,
        captured: Instant,
        now: Instant,
    ) -> Written {
        let (timestamp, pause) = self.stream.audio_time(frame, captured);
        let captured = self.stream.counted(now);
        let packet = Outgoing {
            sequence: self.stream.take_sequence(),
            timestamp,
            captured,
            marker: pause || frame.discontinuity,
            level: Some(frame.level),
            payload: frame.data.into(),
        };
        let bytes = frame.data.len() as u64;
        match peer.send(section, Kind::Audio, packet) {
            Some(ssrc) => Written::Sent(Stamp { ssrc, timestamp, packets: 1 }, bytes),
            None => Written::Dropped,
        }
    }

    fn write_video(
        &mut self,
        peer: &mut Peer,
        section: Section,
        frame: &Frame<'_>,
        captured: Instant,
        now: Instant,
    ) -> Written {
        if self.stream.awaits_keyframe {
            if !h264::is_keyframe(frame.data) {
                return self.stream.remind(now);
            }
            self.stream.awaits_keyframe = false;
        }
        let timestamp = self.stream.video_time(captured);
        let captured = self.stream.counted(now);
        let mut packets = Vec::new();
        h264::packetize(frame.data, PAYLOAD_LIMIT, &mut packets);
        let (mut stamp, mut bytes) = (Stamp { ssrc: 0, timestamp, packets: 0 }, 0);
        for p in packets {
            bytes += p.payload.len() as u64;
            stamp.packets += 1;
            let packet = Outgoing {
                sequence: self.stream.take_sequence(),
                timestamp,
                captured,
                marker: p.marker,
                level: None,
                payload: p.payload.into(),
            };
            let Some(ssrc) = peer.send(section, Kind::Video, packet) else { return Written::Dropped };
            stamp.ssrc = ssrc;
        }
        Written::Sent(stamp, bytes)
    }
}

/// All local tracks.
#[derive(Debug, Default)]
pub(super) struct Publications {
    list: Vec<Publication>,
    serial: u32,
}

impl Publications {
    /// Adds a track; false where one of that id is published already.
    pub(super) fn add(&mut self, track: LocalTrack, random: u64) -> bool {
        if self.get(&track.id).is_some() {
            return false;
        }
        self.serial += 1;
        self.list.push(Publication::new(track, self.serial, random));
        true
    }

    /// For a new connection: every track begins again under a new cid, in the order it had.
    pub(super) fn restart(&mut self, mut random: impl FnMut() -> u64) {
        self.list.retain(|p| !p.removed);
        for p in &mut self.list {
            self.serial += 1;
            *p = Publication { wanted: p.wanted, ..Publication::new(p.track.clone(), self.serial, random()) };
        }
    }

    /// The requests that announce all tracks.
    pub(super) fn requests(&self) -> Vec<lk::AddTrackRequest> {
        self.iter().map(|p| super::signal::add_track(&p.track, &p.cid)).collect()
    }

    /// All that are not on their way out.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Publication> {
        self.list.iter().filter(|p| !p.removed)
    }

    /// All that are not on their way out.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Publication> {
        self.list.iter_mut().filter(|p| !p.removed)
    }

    pub(super) fn get(&self, id: &TrackId) -> Option<&Publication> {
        self.iter().find(|p| p.track.id == *id)
    }

    pub(super) fn get_mut(&mut self, id: &TrackId) -> Option<&mut Publication> {
        self.iter_mut().find(|p| p.track.id == *id)
    }

    pub(super) fn by_cid(&mut self, cid: &str) -> Option<&mut Publication> {
        self.iter_mut().find(|p| p.cid == cid)
    }

    pub(super) fn by_sid(&mut self, sid: &str) -> Option<&mut Publication> {
        self.iter_mut().find(|p| p.info.as_ref().is_some_and(|i| i.sid == sid))
    }

    pub(super) fn by_section(&self, section: Section) -> Option<&Publication> {
        self.iter().find(|p| p.section() == Some(section))
    }

    /// Sum of what the running tracks of a kind want, bit/s.
    pub(super) fn bitrate(&self, kind: Kind) -> u32 {
        let running = self.iter().filter(|p| p.track.kind == kind && p.running());
        running.fold(0, |total, p| total.saturating_add(p.track.bitrate))
    }

    /// Tracks for the next offer.
    pub(super) fn to_offer(&self) -> Vec<(Kind, &str)> {
        self.iter().filter(|p| p.stage == Stage::New).map(|p| (p.track.kind, p.cid.as_str())).collect()
    }

    /// The sections of [`Publications::to_offer`], in its order.
    pub(super) fn offered(&mut self, sections: &[Section]) {
        let new = self.list.iter_mut().filter(|p| !p.removed && p.stage == Stage::New);
        for (p, section) in new.zip(sections) {
            p.stage = Stage::Offered(*section);
        }
    }

    /// Sections that send sound, with what they send and its bit/s.
    pub(super) fn sounds(&self) -> Vec<(Section, Sound, u32)> {
        let audio = self.iter().filter(|p| p.track.kind == Kind::Audio);
        audio.filter_map(|p| Some((p.section()?, p.track.sound, p.track.bitrate))).collect()
    }

    /// The offer was answered: offered sections send now. Returns those of video.
    pub(super) fn answered(&mut self) -> Vec<Section> {
        let mut video = Vec::new();
        for p in &mut self.list {
            if let Stage::Offered(section) = p.stage {
                p.stage = Stage::Sending(section);
                video.extend((p.track.kind == Kind::Video).then_some(section));
            }
        }
        video
    }

    /// Marks a track for removal. Returns whether an offer is needed for it.
    pub(super) fn remove(&mut self, id: &TrackId) -> bool {
        let Some(p) = self.get_mut(id) else { return false };
        p.removed = true;
        let offered = p.stage != Stage::New;
        self.list.retain(|p| !p.removed || p.stage != Stage::New);
        offered
    }

    /// Sections of removed tracks that can be stopped now; they are forgotten.
    pub(super) fn take_stopped(&mut self) -> Vec<Section> {
        let stopped = |p: &Publication| match p.stage {
            Stage::Sending(section) => p.removed.then_some(section),
            Stage::New | Stage::Offered(_) => None,
        };
        let sections = self.list.iter().filter_map(stopped).collect();
        self.list.retain(|p| stopped(p).is_none());
        sections
    }

    /// Whether anything waits for an offer.
    pub(super) fn needs_offer(&self) -> bool {
        self.list.iter().any(|p| match p.stage {
            Stage::New => !p.removed,
            Stage::Offered(_) => false,
            Stage::Sending(_) => p.removed,
        })
    }
}
