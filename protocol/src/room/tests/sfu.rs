//! The answering side: what livekit-server does with one participant, as far as the room can tell.

use crate::room::signal::lk;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE;
use lk::signal_request::Message as Request;
use lk::signal_response::Message as Response;
use prost::Message;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Instant, SystemTime};
use str0m::change::SdpOffer;
use str0m::channel::ChannelId;
use str0m::media::{Direction, KeyframeRequestKind, Mid};
use str0m::net::{Protocol, Receive};
use str0m::rtp::{RtpWrite, Ssrc};
use str0m::{Candidate, Event, Input, Output, Rtc};

/// What arrived of one RTP packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    pub ssrc: u32,
    pub sequence: u64,
    pub timestamp: u64,
    pub marker: bool,
    pub payload: Vec<u8>,
    /// Of the last sender report: a time, and the RTP time that belongs to it.
    pub report: Option<(SystemTime, u64)>,
}

/// One participant's server side.
pub struct Sfu {
    rtc: Rtc,
    pub address: SocketAddr,
    pub to_client: VecDeque<Vec<u8>>,
    pub requests: Vec<Request>,
    pub joins: Vec<lk::JoinRequest>,
    pub packets: Vec<Packet>,
    pub data: Vec<lk::DataPacket>,
    channels: Vec<(String, ChannelId)>,
    /// Remote tracks to be mapped to free receiving sections: sid.
    pub downstream: Vec<String>,
    mapped: Vec<(Mid, String)>,
    pub others: Vec<lk::ParticipantInfo>,
    pub refuse_resume: bool,
    /// It is about to go: what joins or resumes is told so at once.
    pub draining: bool,
    /// It checks the path by itself. Such an agent may lose the room's first DTLS flight, because it cannot answer before
    /// the nomination.
    pub checks: bool,
    pub silent: bool,
    /// Announcements of tracks get no answer.
    pub ignores_tracks: bool,
    /// A candidate line that answers hold.
    pub candidate: Option<String>,
    pub sessions: u32,
    published: u32,
    pub deadline: Instant,
}

impl Sfu {
    pub fn new(now: Instant) -> Self {
        Self {
            rtc: peer(false, now),
            address: "10.0.0.1:7882".parse().expect("literal"),
            to_client: VecDeque::new(),
            requests: Vec::new(),
            joins: Vec::new(),
            packets: Vec::new(),
            data: Vec::new(),
            channels: Vec::new(),
            downstream: Vec::new(),
            mapped: Vec::new(),
            others: Vec::new(),
            refuse_resume: false,
            draining: false,
            checks: false,
            silent: false,
            ignores_tracks: false,
            candidate: None,
            sessions: 0,
            published: 0,
            deadline: now,
        }
    }

    pub fn say(&mut self, message: Response) {
        self.to_client.push_back(lk::SignalResponse { message: Some(message) }.encode_to_vec());
    }

    /// A WebSocket was opened with this URL.
    pub fn connect(&mut self, url: &str, now: Instant) {
        let query = url.split_once("join_request=").expect("the query carries the join").1;
        let bytes = URL_SAFE.decode(query).expect("padded base64url");
        let wrapped = lk::WrappedJoinRequest::decode(&bytes[..]).expect("own encoding");
        let join = lk::JoinRequest::decode(&wrapped.join_request[..]).expect("own encoding");
        self.joins.push(join.clone());
        if self.silent {
            return;
        }
        match join.reconnect {
            false => self.join(join, now),
            true if self.refuse_resume => self.leave(lk::leave_request::Action::Reconnect, "STATE_MISMATCH"),
            true => self.say(Response::Reconnect(lk::ReconnectResponse::default())),
        }
        if self.draining {
            self.leave(lk::leave_request::Action::Disconnect, "SERVER_SHUTDOWN");
        }
    }

    fn join(&mut self, join: lk::JoinRequest, now: Instant) {
        self.sessions += 1;
        self.rtc = peer(self.checks, now);
        self.mapped.clear();
        let participant = lk::ParticipantInfo {
            sid: format!("PA_{}", self.sessions),
            identity: "board".to_owned(),
            ..Default::default()
        };
        self.say(Response::Join(lk::JoinResponse {
            participant: Some(participant),
            other_participants: self.others.clone(),
            ping_interval: 5,
            ping_timeout: 15,
            ..Default::default()
        }));
        for track in &join.add_track_requests {
            self.publish(track);
        }
        self.say(Response::RefreshToken(format!("token-{}", self.sessions)));
        self.answer(&join.publisher_offer.expect("a join carries the offer"));
        let candidate = format!("candidate:1 1 udp 2130706431 {} {} typ host", self.address.ip(), self.address.port());
        let init = serde_json::json!({ "candidate": candidate, "sdpMid": "0", "sdpMLineIndex": 0 });
        self.say(Response::Trickle(lk::TrickleRequest { candidate_init: init.to_string(), ..Default::default() }));
        self.say(Response::Trickle(lk::TrickleRequest { r#final: true, ..Default::default() }));
    }

    fn publish(&mut self, track: &lk::AddTrackRequest) {
        if self.ignores_tracks {
            return;
        }
        self.published += 1;
        let info = lk::TrackInfo {
            sid: format!("TR_{}", self.published),
            r#type: track.r#type,
            name: track.name.clone(),
            muted: track.muted,
            ..Default::default()
        };
        self.say(Response::TrackPublished(lk::TrackPublishedResponse { cid: track.cid.clone(), track: Some(info) }));
    }

    fn answer(&mut self, offer: &lk::SessionDescription) {
        let sdp = SdpOffer::from_sdp_string(&offer.sdp).expect("a valid offer");
        let answer = self.rtc.sdp_api().accept_offer(sdp).expect("an acceptable offer");
        self.map();
        self.say(Response::Answer(lk::SessionDescription {
            r#type: "answer".to_owned(),
            sdp: answer.to_sdp_string() + &self.candidate.iter().map(|c| format!("a={c}\r\n")).collect::<String>(),
            id: offer.id,
            mid_to_track_id: self.mapped.iter().map(|(mid, sid)| (mid.to_string(), sid.clone())).collect(),
        }));
    }

    fn map(&mut self) {
        let mids: Vec<Mid> = self.sections(Direction::SendOnly);
        self.mapped.retain(|(_, sid)| self.downstream.contains(sid));
        for sid in &self.downstream {
            if self.mapped.iter().any(|(_, s)| s == sid) {
                continue;
            }
            if let Some(mid) = mids.iter().find(|m| self.mapped.iter().all(|(used, _)| used != *m)) {
                self.mapped.push((*mid, sid.clone()));
            }
        }
    }

    fn sections(&self, direction: Direction) -> Vec<Mid> {
        let mids: Vec<Mid> =
            self.joins.iter().flat_map(mids_of).chain(self.requests.iter().flat_map(offered)).collect();
        let open = |m: &Mid| self.rtc.media(*m).is_some_and(|media| media.direction() == direction);
        let mut open: Vec<Mid> = mids.into_iter().filter(open).collect();
        open.dedup();
        open
    }

    /// A request came.
    pub fn request(&mut self, frame: &[u8]) {
        let Some(request) = lk::SignalRequest::decode(frame).expect("own encoding").message else { return };
        self.requests.push(request.clone());
        match request {
            Request::Offer(offer) if !self.silent => self.answer(&offer),
            Request::AddTrack(track) => self.publish(&track),
            Request::PingReq(ping) => {
                self.say(Response::PongResp(lk::Pong { last_ping_timestamp: ping.timestamp, timestamp: 0 }));
            }
            _ => {}
        }
    }

    pub fn leave(&mut self, action: lk::leave_request::Action, reason: &str) {
        let reason = lk::DisconnectReason::from_str_name(reason).expect("a known reason");
        let leave = lk::LeaveRequest { action: action.into(), reason: reason.into(), ..Default::default() };
        self.say(Response::Leave(leave));
    }

    pub fn receive(&mut self, source: SocketAddr, payload: &[u8], now: Instant) {
        let Ok(receive) = Receive::new(Protocol::Udp, source, self.address, payload) else { return };
        let input = Input::Receive(now, receive);
        if self.rtc.accepts(&input) {
            self.rtc.handle_input(input).expect("packets of the room are well-formed");
        }
    }

    pub fn timeout(&mut self, now: Instant) {
        self.rtc.handle_input(Input::Timeout(now)).expect("time passes");
    }

    /// Drains the peer; returns datagrams for the client.
    pub fn poll(&mut self) -> Vec<(SocketAddr, Vec<u8>)> {
        let mut out = Vec::new();
        loop {
            match self.rtc.poll_output() {
                Ok(Output::Timeout(at)) => {
                    self.deadline = at;
                    return out;
                }
                Ok(Output::Transmit(t)) => out.push((t.destination, t.contents.into())),
                Ok(Output::Event(event)) => self.event(event),
                Err(_) => return out,
            }
        }
    }

    fn event(&mut self, event: Event) {
        match event {
            Event::RtpPacket(p) => self.packets.push(Packet {
                ssrc: *p.header.ssrc,
                sequence: *p.seq_no,
                timestamp: p.time.numer(),
                marker: p.header.marker,
                payload: p.payload.to_vec(),
                report: p.last_sender_info.map(|info| (info.ntp_time, info.rtp_time.numer())),
            }),
            Event::ChannelOpen(id, label) => self.channels.push((label, id)),
            Event::ChannelData(d) => self.data.extend(lk::DataPacket::decode(&d.data[..]).ok()),
            _ => {}
        }
    }

    /// Closes the peer connection.
    pub fn close(&mut self) {
        self.rtc.close().expect("a connection that stands");
    }

    /// Asks for a keyframe of the stream.
    pub fn request_keyframe(&mut self, ssrc: u32) {
        let mut api = self.rtc.direct_api();
        api.stream_rx(&ssrc.into()).expect("a stream of the room").request_keyframe(KeyframeRequestKind::Pli);
    }

    /// Sends a packet of a mapped remote track.
    pub fn send(&mut self, sid: &str, ssrc: u32, pt: u8, sequence: u64, payload: &[u8], now: Instant) {
        let (mid, _) = *self.mapped.iter().find(|(_, s)| s == sid).expect("a mapped track");
        let mut api = self.rtc.direct_api();
        api.reset_stream_tx(mid, None, Ssrc::from(ssrc), None);
        let stream = api.stream_tx_by_mid(mid, None).expect("a section that sends");
        stream.write_rtp(RtpWrite::new(pt.into(), sequence.into(), sequence as u32 * 960, now, payload).marker(true));
        self.timeout(now);
    }

    /// Sends data of another participant on the channel of this label.
    pub fn send_data(&mut self, label: &str, payload: Vec<u8>) {
        let (_, id) = *self.channels.iter().rfind(|(l, _)| l == label).expect("an open channel");
        let user = lk::UserPacket { payload, ..Default::default() };
        let packet = lk::DataPacket { value: Some(lk::data_packet::Value::User(user)), ..Default::default() };
        let accepted = self.rtc.channel(id).expect("an open channel").write(true, &packet.encode_to_vec());
        assert!(accepted.expect("an established association"), "the SFU's buffer is full");
    }

    pub fn sent(&self, wanted: impl Fn(&Request) -> bool) -> usize {
        self.requests.iter().filter(|r| wanted(r)).count()
    }
}

fn mids_of(join: &lk::JoinRequest) -> Vec<Mid> {
    join.publisher_offer.as_ref().map(|o| mids(&o.sdp)).unwrap_or_default()
}

fn offered(request: &Request) -> Vec<Mid> {
    match request {
        Request::Offer(offer) => mids(&offer.sdp),
        _ => Vec::new(),
    }
}

fn mids(sdp: &str) -> Vec<Mid> {
    sdp.lines().filter_map(|l| l.trim().strip_prefix("a=mid:")).map(Mid::from).collect()
}

fn peer(checks: bool, now: Instant) -> Rtc {
    let mut config = Rtc::builder().clear_codecs().enable_opus(true, false).set_rtp_mode(true).set_ice_lite(!checks);
    config.codec_config().add_h264(108.into(), Some(109.into()), true, 0x42e01f);
    let mut rtc = config.build(now);
    let address: SocketAddr = "10.0.0.1:7882".parse().expect("literal");
    rtc.add_local_candidate(Candidate::host(address, "udp").expect("a host candidate"));
    rtc
}
