//! The room machine: damaged signal messages, SDP answers, candidates and datagrams, before and after an honest join.

use crate::mutate::{Random, damage, damage_text};
use base64::Engine;
use livekit_protocol as lk;
use lk::signal_response::Message;
use prost::Message as _;
use protocol::room::{
    Command, Config, Frame, Kind, LocalAddress, LocalTrack, Output, Proto, Room, Sound, Source, TrackId,
};
use protocol::secret::Secret;
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use str0m::change::SdpOffer;
use str0m::{Candidate, Rtc};

/// Inputs that one room gets before a new one takes over.
const LIFE: u64 = 100;

/// Outputs of one turn: more than any queue of the machine can hold.
const MAX_OUTPUTS: usize = 20_000;

/// The room's own address.
const OURS: &str = "127.0.0.1:5000";

/// The server's.
const THEIRS: &str = "127.0.0.1:7882";

#[test]
fn damaged_signalling_and_datagrams_neither_stop_nor_block_a_room() {
    let mut random = crate::random("room");
    let mut now = Instant::now();
    let mut room = Fuzzed::join(now);
    for turn in 0..crate::count() {
        if turn % LIFE == 0 {
            room = Fuzzed::join(now);
        }
        now += Duration::from_millis(random.below(40) as u64);
        room.input(&mut random, now);
        room.settle(now);
    }
}

/// A room, and the server's side of its honest join.
struct Fuzzed {
    room: Room,
    offer: Option<String>,
    answer: String,
    ended: bool,
}

impl Fuzzed {
    fn join(now: Instant) -> Self {
        let address: SocketAddr = OURS.parse().expect("an address");
        let config = Config {
            url: "ws://127.0.0.1:7880".into(),
            token: Secret::new("a.b.c"),
            version: "fuzz".into(),
            auto_subscribe: true,
            tracks: vec![track(Kind::Audio), track(Kind::Video)],
            seed: 7,
            wall_anchor: (now, Duration::from_secs(1_790_000_000)),
        };
        let local = LocalAddress { ip: address.ip(), port: address.port() };
        let mut fuzzed =
            Self { room: Room::new(config, &[local], now), offer: None, answer: String::new(), ended: false };
        fuzzed.settle(now);
        fuzzed.room.signal_open(now);
        fuzzed.answer = answer(fuzzed.offer.as_deref().expect("the join carries an offer"), now);
        fuzzed
    }

    fn input(&mut self, random: &mut Random, now: Instant) {
        match random.below(10) {
            0 => self.room.packet(Proto::Udp, address(THEIRS), address(OURS), &datagram(random), now),
            1 => {
                let data = [0, 0, 0, 1, 0x65, random.next() as u8, 3, 4];
                let frame =
                    Frame { data: &data, captured: now, samples: random.next() >> 40, discontinuity: false, level: 9 };
                self.room.write(&TrackId("video".into()), frame, now);
            }
            2 if random.below(8) == 0 => self.room.command(Command::Reconnect { full: random.below(2) == 0 }, now),
            3 => self.room.signal_message(&encode(self.honest(random)), now),
            4 | 5 => {
                let message = self.damaged_text(random);
                self.room.signal_message(&encode(message), now);
            }
            _ => {
                let mut frame = encode(self.honest(random));
                damage(&mut frame, random);
                self.room.signal_message(&frame, now);
            }
        }
    }

    fn honest(&self, random: &mut Random) -> Message {
        let info = lk::ParticipantInfo {
            sid: "PA_1".into(),
            identity: "me".into(),
            tracks: vec![lk::TrackInfo { sid: "TR_V1".into(), r#type: 1, ..Default::default() }],
            ..Default::default()
        };
        match random.below(12) {
            0..=2 => Message::Join(lk::JoinResponse {
                participant: Some(info.clone()),
                other_participants: vec![lk::ParticipantInfo { identity: "anna".into(), sid: "PA_2".into(), ..info }],
                ping_interval: 5,
                ping_timeout: 15,
                ..Default::default()
            }),
            3 | 4 => Message::Answer(lk::SessionDescription {
                r#type: "answer".into(),
                sdp: self.answer.clone(),
                id: 1,
                ..Default::default()
            }),
            5 => Message::Trickle(lk::TrickleRequest { candidate_init: candidate(), ..Default::default() }),
            6 => Message::Update(lk::ParticipantUpdate { participants: vec![info] }),
            7 => Message::MediaSectionsRequirement(lk::MediaSectionsRequirement { num_audios: 1, num_videos: 1 }),
            8 => Message::RefreshToken("a.b.d".into()),
            9 => Message::Reconnect(lk::ReconnectResponse { last_message_seq: 3, ..Default::default() }),
            10 => Message::TrackPublished(lk::TrackPublishedResponse {
                cid: "video".into(),
                track: Some(lk::TrackInfo { sid: "TR_V1".into(), ..Default::default() }),
            }),
            _ => Message::Leave(lk::LeaveRequest { action: random.below(4) as i32, ..Default::default() }),
        }
    }

    /// Whole as protobuf, damaged inside.
    fn damaged_text(&self, random: &mut Random) -> Message {
        if random.below(3) == 0 {
            let candidate_init = damage_text(&candidate(), random);
            return Message::Trickle(lk::TrickleRequest { candidate_init, ..Default::default() });
        }
        let sdp = damage_text(&self.answer, random);
        let id = random.below(3) as u32;
        Message::Answer(lk::SessionDescription { r#type: "answer".into(), sdp, id, ..Default::default() })
    }

    fn settle(&mut self, now: Instant) {
        self.drain(now);
        if self.room.deadline().is_some_and(|at| at <= now) {
            self.room.timeout(now);
            self.drain(now);
        }
    }

    fn drain(&mut self, now: Instant) {
        for _ in 0..MAX_OUTPUTS {
            match self.room.poll() {
                None => return,
                Some(Output::Connect { url, .. }) => {
                    self.offer = offer(&url).or(self.offer.take());
                    self.room.signal_open(now);
                }
                Some(Output::OpenTcp(remote)) => self.room.tcp_closed(remote, now),
                Some(Output::Event(protocol::room::Event::Ended(_))) => {
                    assert!(!self.ended, "a room ends once");
                    self.ended = true;
                }
                Some(_) => {}
            }
        }
        panic!("the machine never comes to rest");
    }
}

fn track(kind: Kind) -> LocalTrack {
    let (id, source) = match kind {
        Kind::Audio => ("audio", Source::Microphone),
        Kind::Video => ("video", Source::Camera),
    };
    let (id, name) = (TrackId(id.into()), id.into());
    LocalTrack {
        id,
        name,
        kind,
        source,
        width: 640,
        height: 360,
        sound: Sound::default(),
        bitrate: 500_000,
        muted: false,
        rests: false,
    }
}

/// The offer in a join.
fn offer(url: &str) -> Option<String> {
    let wrapped = url.split_once("join_request=")?.1;
    let bytes = base64::engine::general_purpose::URL_SAFE.decode(wrapped).ok()?;
    let wrapped = lk::WrappedJoinRequest::decode(bytes.as_slice()).ok()?;
    Some(lk::JoinRequest::decode(wrapped.join_request.as_slice()).ok()?.publisher_offer?.sdp)
}

/// What an honest peer answers.
fn answer(offer: &str, now: Instant) -> String {
    let mut peer = Rtc::builder().build(now);
    peer.add_local_candidate(Candidate::host(address(THEIRS), "udp").expect("a host candidate"));
    let offer = SdpOffer::from_sdp_string(offer).expect("our offer is SDP");
    peer.sdp_api().accept_offer(offer).expect("a peer of the same kind accepts it").to_sdp_string()
}

fn candidate() -> String {
    serde_json::json!({
        "candidate": "candidate:1 1 udp 2130706431 127.0.0.1 7882 typ host ufrag abcd",
        "sdpMid": "0",
        "sdpMLineIndex": 0
    })
    .to_string()
}

/// By its first byte STUN, DTLS, SRTP or nothing.
fn datagram(random: &mut Random) -> Vec<u8> {
    let first = *random.pick(&[0, 1, 20, 22, 23, 128, 144, 200]);
    let mut bytes: Vec<u8> = (0..random.below(200)).map(|_| random.next() as u8).collect();
    bytes.insert(0, first);
    if first < 2 && bytes.len() > 20 {
        bytes[1] = 1;
        bytes[4..8].copy_from_slice(&[0x21, 0x12, 0xa4, 0x42]);
        let length = (bytes.len() - 20) as u16;
        bytes[2..4].copy_from_slice(&length.to_be_bytes());
    }
    bytes
}

fn address(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

fn encode(message: Message) -> Vec<u8> {
    lk::SignalResponse { message: Some(message) }.encode_to_vec()
}
