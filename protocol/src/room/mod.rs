//! The LiveKit room client as one machine: signalling, one peer connection, media, data.
//!
//! ```text
//! Joining --join--> Connecting --ICE+DTLS+channels--> Live
//! Live --signal lost, Leave RESUME, media dead--> Resuming --reconnect + re-offer--> Live
//! Live, Resuming --Leave RECONNECT, resume refused--> Rejoining (event Rejoining, then Connect) --join--> Connecting
//! Connecting --no media, signal lost, Leave RECONNECT--> Rejoining, after a delay that grows
//! any --Leave DISCONNECT, our leave, 401/403, attempts used up--> Ended
//! ```
//!
//! Driving rule: after every call of a `&mut self` method, poll [`Room::poll`] until it returns `None`, then sleep
//! until [`Room::deadline`] or the next input.

mod allocate;
mod data;
mod deadlines;
mod link;
mod lost;
mod machine;
mod negotiate;
mod participants;
mod path;
mod peer;
mod publish;
mod reconnect;
mod respond;
pub mod rtp;
pub(crate) mod signal;
mod signoff;
mod sound;
mod strange;
mod subscribe;
#[cfg(test)]
mod tests;
mod track;

pub use machine::Room;
pub use signoff::{SignOff, Step};
pub use sound::Sound;
pub use track::{Kind, LocalTrack, RemoteTrack, Source, TrackId, TrackSid};

use crate::clock::Clocks;
use crate::secret::Secret;
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant, SystemTime};

/// Does now what the first peer connection of a process would do while a room is being joined: what
/// cryptography makes once per process takes a board some tens of milliseconds.
pub fn warm_up(now: Instant) {
    drop(peer::Peer::new(&[], reconnect::FIRST_ESTIMATE, now));
}

/// How to join. The room keeps the newest token itself.
#[derive(Clone, Debug)]
pub struct Config {
    /// `ws://` or `wss://` (`http` is mapped), with optional base path.
    pub url: String,
    /// Join token.
    pub token: Secret,
    /// Our version, for ClientInfo.
    pub version: String,
    /// Subscribe to every track by itself.
    pub auto_subscribe: bool,
    /// Tracks published with the join, in the first HTTP upgrade.
    pub tracks: Vec<LocalTrack>,
    /// First of the random numbers that the machine needs (ids, jitter); the shell draws it once.
    pub seed: u64,
    /// Wall clock minus `Instant` anchor, for sender reports: the time since 1970 at `wall_anchor.0`.
    pub wall_anchor: (Instant, Duration),
}

/// Why signalling failed or closed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SignalError {
    /// HTTP refusal. The body is not kept: it echoes the token.
    Refused {
        /// HTTP status.
        status: u16,
        /// Ours and the server's, where it told its time.
        clocks: Option<Clocks>,
    },
    /// Certificate.
    Tls(String),
    /// DNS, connect, reset.
    Broken(String),
    /// Closed by the server.
    Closed,
}

/// Transport of a datagram or framed packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Proto {
    /// UDP.
    Udp,
    /// ICE-TCP, RFC 4571 framing done by the shell; one stream per remote address.
    Tcp,
}

/// One access unit to send.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    /// Annex B for H.264, one packet for Opus.
    pub data: &'a [u8],
    /// When its first sample was captured.
    pub captured: Instant,
    /// For audio: position in samples at 48 kHz on the source's counted clock; for video ignored (90 kHz from
    /// `captured`).
    pub samples: u64,
    /// The source was restarted or data was lost before this frame.
    pub discontinuity: bool,
    /// For Opus: audio level in -dBov (0 loudest, 127 silence), for the audio-level extension.
    pub level: u8,
}

/// A participant as others see it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Participant {
    /// `PA_…`
    pub sid: String,
    /// Identity.
    pub identity: String,
    /// Display name.
    pub name: String,
    /// Metadata.
    pub metadata: String,
    /// Attributes.
    pub attributes: BTreeMap<String, String>,
    /// Kind AGENT.
    pub agent: bool,
    /// Published tracks.
    pub tracks: Vec<RemoteTrack>,
}

/// User data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Data {
    /// Bytes, at most 60,000. Lossy data of more than about 1,000 travel in several datagrams and are lost with any of
    /// them: what must arrive is sent reliable.
    pub payload: Vec<u8>,
    /// Topic; empty for none.
    pub topic: String,
    /// Ordered and repeated, or at most once.
    pub reliable: bool,
    /// Identities of the receivers; empty means all. On receipt empty.
    pub to: Vec<String>,
    /// Sender identity on receipt; ignored when sending.
    pub from: String,
}

/// What the job asks of the room.
#[derive(Clone, Debug)]
pub enum Command {
    /// Publish one more track.
    Publish(LocalTrack),
    /// Unpublish.
    Unpublish(TrackId),
    /// Mute or unmute a local track.
    Mute(TrackId, bool),
    /// Subscribe to or unsubscribe from a remote track.
    Subscribe(TrackSid, bool),
    /// Ask the publisher of a subscribed video track for a keyframe.
    RequestKeyframe(TrackSid),
    /// Send data. When the queue (256 KiB reliable, 64 KiB lossy) is full the data is refused with
    /// [`Event::DataRefused`].
    Send(Data),
    /// Change own name, metadata and attributes; `None` leaves it, an empty attribute value deletes it.
    Update {
        /// Name.
        name: Option<String>,
        /// Metadata.
        metadata: Option<String>,
        /// Attributes.
        attributes: BTreeMap<String, String>,
    },
    /// Leave the room as soon as the other side has the data sent before, or after this time: a Leave takes the peer
    /// connection down at once and what is on its way with it. Data sent later are refused. [`Event::Ended`] follows when
    /// the Leave message is out. A second Leave can only shorten the time.
    Leave {
        /// For data; [`Duration::ZERO`] leaves now.
        within: Duration,
    },
    /// For tests and operators: drop the signal socket (resume), or rejoin in full.
    Reconnect {
        /// Full reconnect instead of resume.
        full: bool,
    },
}

/// Why a room ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// We left.
    Left,
    /// Room deleted or closed.
    RoomClosed,
    /// Removed by an operator.
    Removed,
    /// Somebody joined with our identity.
    DuplicateIdentity,
    /// The server refuses our token: HTTP status, in plain words.
    Refused(String),
    /// The server could not be reached or media could not be connected for all attempts.
    Unreachable(String),
    /// Any other DISCONNECT, by its protocol name.
    Other(String),
}

/// What happened in the room.
#[derive(Clone, Debug)]
pub enum Event {
    /// Joined (signalling); our participant sid. Again after each full reconnect.
    Joined {
        /// `PA_…`
        sid: String,
        /// Ours.
        identity: String,
        /// The others.
        participants: Vec<Participant>,
    },
    /// The room, as the server has it: with each join, and when it changes, its number of participants for example.
    Room {
        /// `RM_…`
        sid: String,
        /// Free text set by the application.
        metadata: String,
    },
    /// Media is connected: others see us as active. Again after each full reconnect.
    Connected,
    /// The server pushed a new token.
    Token(Secret),
    /// The signal socket is gone, media may go on.
    Resuming(String),
    /// Resume done.
    Resumed,
    /// A full reconnect starts; the next output opens the socket.
    Rejoining(String),
    /// Somebody joined, or changed, or a track was published, unpublished or muted: the new picture.
    ParticipantChanged(Participant),
    /// Somebody left.
    ParticipantLeft(Participant),
    /// A local track is published.
    Published(TrackId, TrackSid),
    /// A local track was refused or ended by the server.
    Unpublished(TrackId, String),
    /// The server muted our track (or unmuted it): stop (start) the source.
    Muted(TrackId, bool),
    /// A receiver needs a keyframe of this local track.
    KeyframeNeeded(TrackId),
    /// Bit/s that all video together may take, from congestion control; changes under 5 % are not told. Told again when
    /// tracks come, go, mute or unmute: the others' shares change with it.
    Bandwidth(u32),
    /// Any receiver wants this local track (dynacast); true until the server says otherwise, and again from each join, resume
    /// and unmuting on. It says so of video alone, 10 s after the track began without a receiver and 5 s after the last one
    /// left. What is written to it goes out all the same, at the rate that the path allows.
    Wanted(TrackId, bool),
    /// A remote track's media can be received from now on.
    Subscribed {
        /// Track.
        track: RemoteTrack,
        /// Publisher's identity.
        identity: String,
    },
    /// No more media of it.
    Unsubscribed(TrackSid),
    /// The subscription failed, in plain words.
    SubscribeFailed(TrackSid, String),
    /// One Opus packet, in arrival order, duplicates removed.
    Audio {
        /// Track.
        track: TrackSid,
        /// Extended RTP sequence number.
        sequence: u64,
        /// Extended RTP time, 48 kHz.
        timestamp: u64,
        /// Opus packet.
        payload: Vec<u8>,
        /// When it came.
        arrived: Instant,
        /// When it was captured by its publisher's wall clock, as the server passes it on. The same clock for all tracks of
        /// one publisher; none before the first sender report.
        captured: Option<SystemTime>,
    },
    /// One complete H.264 access unit (Annex B), in order.
    Video {
        /// Track.
        track: TrackSid,
        /// RTP time, 90 kHz, extended.
        timestamp: u64,
        /// As that of [`Event::Audio`].
        captured: Option<SystemTime>,
        /// Annex B.
        data: Vec<u8>,
        /// Starts with an IDR.
        keyframe: bool,
    },
    /// Data.
    Data(Data),
    /// Data was not sent: topic and why.
    DataRefused(String, String),
    /// The server did not take a [`Command::Update`]; why.
    UpdateRefused(String),
    /// Identities speaking now, loudest first, with levels 0..1.
    Speakers(Vec<(String, f32)>),
    /// Our connection quality as the server sees it: "excellent", "good", "poor", "lost".
    Quality(&'static str),
    /// The end. Nothing follows but outputs that close.
    Ended(End),
}

/// What the shell must do.
#[derive(Debug)]
pub enum Output {
    /// Open the signal WebSocket, after closing an old one. `path` is everything after the host, with query; send
    /// `Authorization: Bearer <token>` and no User-Agent that names a browser.
    Connect {
        /// Scheme, host, base path and query: a complete `ws`/`wss` URL.
        url: String,
        /// Bearer token.
        token: Secret,
    },
    /// Send a binary frame on the signal socket.
    Signal(Vec<u8>),
    /// Close the signal socket after what was sent.
    CloseSignal,
    /// Send a packet.
    Transmit {
        /// UDP or TCP.
        proto: Proto,
        /// Local address to send from.
        source: SocketAddr,
        /// Remote.
        destination: SocketAddr,
        /// Bytes.
        payload: Vec<u8>,
    },
    /// Open a TCP stream to this passive candidate; answer by [`Room::tcp_open`] or [`Room::tcp_closed`].
    OpenTcp(SocketAddr),
    /// Something to tell the job.
    Event(Event),
}

/// Traffic counters, for metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// RTP packets sent.
    pub packets_out: u64,
    /// Bytes of RTP payload sent.
    pub bytes_out: u64,
    /// Video frames not sent, for lack of bandwidth or before connection.
    pub frames_dropped: u64,
    /// Capture stamps that lay in the future and were taken as now, and those of pictures that were not after the one before and
    /// were taken as the next tick of its clock.
    pub stamps_clamped: u64,
    /// Full reconnects.
    pub rejoins: u64,
    /// Resumes.
    pub resumes: u64,
}

/// A local address to offer as candidate: a UDP socket bound by the shell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LocalAddress {
    /// Interface address.
    pub ip: IpAddr,
    /// Port of the UDP socket bound to it.
    pub port: u16,
}
