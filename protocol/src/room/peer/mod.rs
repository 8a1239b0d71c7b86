//! The one place that knows str0m: a peer connection in RTP mode that speaks packets of our own types.
//!
//! The caller polls after every mutation until nothing is left and then waits for [`Peer::deadline`]; this module
//! keeps str0m's rule of draining after each input for it.

mod handshake;
mod media;
mod sdp;

use super::rtp::report::Report;
use super::{Kind, LocalAddress, Proto};
use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use str0m::bwe::Bitrate;
use str0m::change::SdpPendingOffer;
use str0m::channel::ChannelId;
use str0m::media::Mid;
use str0m::net::{Protocol, Receive};
use str0m::{Candidate, Input, Output, PacerReason, Reason, Rtc};

/// Payload types offered; the server adopts the offerer's numbers.
pub(super) const PT_OPUS: u8 = 111;
const PT_H264: u8 = 108;
const PT_H264_RTX: u8 = 109;
/// Constrained baseline 3.1; the server compares the first two bytes only, so any level may be sent.
const H264_PROFILE_LEVEL_ID: u32 = 0x42e01f;

/// Packets kept per video track for resends: more than a second at 2 Mbit/s. It dominates a job's memory.
const RTX_PACKETS: usize = 400;
/// A repair that comes later than this is of no use to a receiver.
const RTX_AGE: Duration = Duration::from_secs(2);
/// Resends may take this share of the bit rate: less freezes at 10 % loss, more storms a narrow link (measured).
const RTX_SHARE: f32 = 0.3;

/// Bytes str0m buffers for both data channels together before it refuses more: what the budgets of both add up to, so
/// that neither ever waits for the other.
pub(super) const SCTP_BUFFER: usize = 224 * 1024;

/// How often the estimate is read where video is sent. What str0m tells by itself is the mean of 3 s, too late for a queue
/// of 250 ms.
const ESTIMATE_INTERVAL: Duration = Duration::from_millis(250);
/// Where no video is sent congestion control's timers, 65 turns a second, wait for this or for any other input.
const IDLE_TURN: Duration = Duration::from_millis(200);
/// After received media the repair of losses needs its timers, which may be hidden behind those.
const RECEIVING: Duration = Duration::from_secs(1);

/// Between turns until media is up, the least that RFC 8445 section 14.2 allows. The server's checks are often here before its
/// answer; str0m answers one of them a turn and sends none of its own before, and its own timers are 25 to 50 ms apart.
const ICE_TURN: Duration = Duration::from_millis(5);

/// SSRCs remembered; a room that exceeds it has the mapping looked up again, nothing breaks.
const MAX_SSRCS: usize = 256;
/// Remote candidates remembered; a server sends a handful.
const MAX_CANDIDATES: usize = 64;

/// One m-line of the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Section(Mid);

impl Section {
    /// As spelled in SDP and `mid_to_track_id`.
    pub(super) fn named(name: &str) -> Self {
        Self(Mid::from(name))
    }
}

/// The two data channels of LiveKit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Channel {
    Reliable,
    Lossy,
}

/// What a connection tells.
#[derive(Debug)]
pub(super) enum PeerEvent {
    Transmit { proto: Proto, source: SocketAddr, destination: SocketAddr, payload: Vec<u8> },
    Connected,
    Closed,
    KeyframeNeeded(Section),
    Media(Section, Arrived),
    Data(Channel, Vec<u8>),
    Estimate(u32),
}

/// A received media packet.
#[derive(Debug)]
pub(super) struct Arrived {
    pub(super) ssrc: u32,
    pub(super) sequence: u64,
    pub(super) timestamp: u64,
    pub(super) marker: bool,
    pub(super) payload: Arc<[u8]>,
    pub(super) at: Instant,
    /// The newest of its stream.
    pub(super) report: Option<Report>,
}

/// A media packet to send.
#[derive(Debug)]
pub(super) struct Outgoing {
    pub(super) sequence: u64,
    pub(super) timestamp: u32,
    pub(super) captured: Instant,
    pub(super) marker: bool,
    /// -dBov, for audio.
    pub(super) level: Option<u8>,
    pub(super) payload: Arc<[u8]>,
}

/// What the next offer adds to the last one.
#[derive(Debug, Default)]
pub(super) struct Changes<'a> {
    /// Sections that send: kind, cid.
    pub(super) send: Vec<(Kind, &'a str)>,
    /// Sections that stop sending.
    pub(super) stop: Vec<Section>,
    /// Further sections that receive.
    pub(super) receive_audio: u32,
    /// Further sections that receive.
    pub(super) receive_video: u32,
    /// Restart ICE: the path is dead.
    pub(super) ice_restart: bool,
}

/// An offer that must be answered before the next.
#[derive(Debug)]
pub(super) struct Offer {
    pub(super) sdp: String,
    /// In the order of [`Changes::send`].
    pub(super) sections: Vec<Section>,
}

/// Why an answer was refused.
#[derive(Debug, thiserror::Error)]
pub(super) enum AnswerError {
    #[error("SDP answer cannot be parsed: {0}")]
    Malformed(String),
    #[error("SDP answer cannot be applied: {0}")]
    Refused(String),
    #[error("SDP answer without an offer")]
    Unexpected,
}

/// One peer connection.
pub(super) struct Peer {
    rtc: Rtc,
    pending: Option<SdpPendingOffer>,
    reliable: Option<ChannelId>,
    lossy: Option<ChannelId>,
    receiving: Vec<Mid>,
    ssrcs: HashMap<u32, Mid>,
    candidates: HashSet<(Proto, SocketAddr)>,
    tcp: Vec<(SocketAddr, Candidate)>,
    deadline: Option<Instant>,
    ice_up: bool,
    /// DTLS is up, and with it the whole path.
    connected: bool,
    closed: bool,
    /// The server acknowledges packets: there is something to estimate from.
    acknowledged: bool,
    /// Video needs estimates.
    estimating: bool,
    /// The last timeout handled.
    turned: Instant,
    /// The last media packet received.
    received: Option<Instant>,
}

impl std::fmt::Debug for Peer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Peer").field("ice_up", &self.ice_up).field("closed", &self.closed).finish_non_exhaustive()
    }
}

impl Peer {
    /// `bandwidth` is the first estimate in bit/s. Estimation cannot be switched on later, so it is always there, and
    /// rests until [`Peer::set_bandwidth`] desires some.
    pub(super) fn new(addresses: &[LocalAddress], bandwidth: u32, now: Instant) -> Self {
        handshake::offer_what_servers_take();
        let mut config = Rtc::builder()
            .clear_codecs()
            .enable_opus(true, false)
            .set_rtp_mode(true)
            .set_stats_interval(Some(ESTIMATE_INTERVAL))
            .set_send_buffer_video(RTX_PACKETS)
            .set_sctp_max_buffered_amount(SCTP_BUFFER)
            .enable_bwe(Some(Bitrate::from(u64::from(bandwidth))));
        config.codec_config().add_h264(PT_H264.into(), Some(PT_H264_RTX.into()), true, H264_PROFILE_LEVEL_ID);
        let mut peer = Self {
            rtc: config.build(now),
            pending: None,
            reliable: None,
            lossy: None,
            receiving: Vec::new(),
            ssrcs: HashMap::new(),
            candidates: HashSet::new(),
            tcp: Vec::new(),
            deadline: Some(now),
            ice_up: false,
            connected: false,
            closed: false,
            acknowledged: false,
            estimating: false,
            turned: now,
            received: None,
        };
        peer.add_addresses(addresses);
        peer
    }

    /// A packet came. Anything that is not for this connection is ignored.
    pub(super) fn receive(
        &mut self,
        proto: Proto,
        source: SocketAddr,
        destination: SocketAddr,
        payload: &[u8],
        now: Instant,
    ) -> bool {
        let Ok(receive) = Receive::new(protocol(proto), source, destination, payload) else { return false };
        let input = Input::Receive(now, receive);
        if self.closed || !self.rtc.accepts(&input) {
            return false;
        }
        self.input(input);
        true
    }

    /// Time passed.
    pub(super) fn timeout(&mut self, now: Instant) {
        if !self.closed {
            self.turned = now;
            self.input(Input::Timeout(now));
        }
    }

    fn input(&mut self, input: Input<'_>) {
        if let Err(error) = self.rtc.handle_input(input) {
            tracing::debug!(%error, "peer connection input");
        }
    }

    /// When [`Peer::timeout`] is due. Valid after [`Peer::poll`] has returned `None`.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// ICE has a working path.
    pub(super) fn ice_up(&self) -> bool {
        self.ice_up
    }

    /// Ends the connection; the goodbyes are polled as usual.
    pub(super) fn close(&mut self) {
        if let Err(error) = self.rtc.close() {
            tracing::debug!(%error, "peer connection close");
        }
    }

    /// The next thing it has to say.
    pub(super) fn poll(&mut self) -> Option<PeerEvent> {
        loop {
            match self.rtc.poll_output() {
                Ok(Output::Timeout(at)) => {
                    self.deadline = (!self.closed).then(|| self.next_turn(at));
                    return (!self.rtc.is_alive()).then(|| self.closing()).flatten();
                }
                Ok(Output::Transmit(t)) => {
                    let Some(proto) = proto(t.proto) else { continue };
                    return Some(PeerEvent::Transmit {
                        proto,
                        source: t.source,
                        destination: t.destination,
                        payload: t.contents.into(),
                    });
                }
                Ok(Output::Event(event)) => {
                    if let Some(event) = self.translate(event) {
                        return Some(event);
                    }
                }
                Err(error) => {
                    tracing::debug!(%error, "peer connection");
                    return self.closing();
                }
            }
        }
    }

    /// Hurries while there is no path, and puts off what only estimation wants when nobody needs it.
    fn next_turn(&self, at: Instant) -> Instant {
        if (!self.connected || !self.ice_up) && !self.candidates.is_empty() {
            return at.min(self.turned + ICE_TURN);
        }
        let estimation = matches!(
            self.rtc.last_timeout_reason(),
            Reason::BweDelayControl | Reason::Stats | Reason::Pacer(PacerReason::Handle | PacerReason::Padding)
        );
        let receiving = self.received.is_some_and(|last| self.turned < last + RECEIVING);
        let idle = self.ice_up && !self.estimating && !receiving;
        if idle && estimation { at.max(self.turned + IDLE_TURN) } else { at }
    }

    fn closing(&mut self) -> Option<PeerEvent> {
        self.deadline = None;
        (!std::mem::replace(&mut self.closed, true)).then_some(PeerEvent::Closed)
    }
}

/// A server candidate worth having.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RemoteCandidate {
    /// In use.
    Udp,
    /// Needs a stream to this address.
    Tcp(SocketAddr),
}

fn protocol(proto: Proto) -> Protocol {
    match proto {
        Proto::Udp => Protocol::Udp,
        Proto::Tcp => Protocol::Tcp,
    }
}

fn proto(protocol: Protocol) -> Option<Proto> {
    match protocol {
        Protocol::Udp => Some(Proto::Udp),
        Protocol::Tcp => Some(Proto::Tcp),
        _ => None,
    }
}
