//! The room's inputs, its drain and its deadlines. What each input leads to is in the files beside this one.

use super::data::DataQueues;
use super::link::{Backlog, KeepAlive, Phase, Retries};
use super::negotiate::Negotiation;
use super::participants::Roster;
use super::path::MediaPath;
use super::peer::{Peer, PeerEvent};
use super::publish::{Publications, Written};
use super::reconnect::{FIRST_ESTIMATE, Leaving, Own};
use super::rtp::Stamp;
use super::rtp::bandwidth::Bandwidth;
use super::signal::{self, Request};
use super::strange::Strange;
use super::subscribe::Subscriptions;
use super::{Command, Config, Event, Frame, Kind, LocalAddress, Output, Proto, SignalError, Stats, TrackId};
use crate::random::Random;
use crate::secret::Secret;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// How long the peer connection may be closed before the Leave comes that explains it.
const CLOSE_GRACE: Duration = Duration::from_secs(1);
/// Due timeouts handled in one call: a paced video frame takes one per packet. The rest is done in the next call.
const MAX_TURNS: usize = 512;

/// One room: signalling and one peer connection.
#[derive(Debug)]
pub struct Room {
    pub(super) config: Config,
    /// The newest token.
    pub(super) token: Secret,
    pub(super) random: Random,
    pub(super) phase: Phase,
    pub(super) retries: Retries,
    pub(super) keep_alive: KeepAlive,
    pub(super) backlog: Backlog,
    strange: Strange,
    pub(super) peer: Peer,
    pub(super) media: MediaPath,
    pub(super) negotiation: Negotiation,
    pub(super) publications: Publications,
    pub(super) subscriptions: Subscriptions,
    pub(super) roster: Roster,
    pub(super) data: DataQueues,
    pub(super) own: Own,
    pub(super) bandwidth: Bandwidth,
    /// What the policy was told last: video, audio.
    pub(super) wanted_bitrate: Option<(u32, u32)>,
    pub(super) addresses: Vec<LocalAddress>,
    /// Told to leave, but not gone yet.
    pub(super) leaving: Option<Leaving>,
    pub(super) out: VecDeque<Output>,
    pub(super) stats: Stats,
}

impl Room {
    /// Starts to join; the first output is `Connect`.
    pub fn new(config: Config, addresses: &[LocalAddress], now: Instant) -> Self {
        let mut random = Random(config.seed);
        let mut publications = Publications::default();
        for track in &config.tracks {
            publications.add(track.clone(), random.next());
        }
        let mut room = Self {
            token: config.token.clone(),
            random,
            phase: Phase::Ended,
            retries: Retries::new(now),
            keep_alive: KeepAlive::new(5, 15, now),
            backlog: Backlog::default(),
            strange: Strange::default(),
            peer: Peer::new(addresses, FIRST_ESTIMATE, now),
            media: MediaPath::new(now),
            negotiation: Negotiation::default(),
            publications,
            subscriptions: Subscriptions::default(),
            roster: Roster::default(),
            data: DataQueues::default(),
            own: Own::default(),
            bandwidth: Bandwidth::new(),
            wanted_bitrate: None,
            addresses: addresses.to_vec(),
            leaving: None,
            out: VecDeque::new(),
            stats: Stats::default(),
            config,
        };
        room.join(now);
        room
    }

    /// The signal socket is open.
    pub fn signal_open(&mut self, now: Instant) {
        if let Phase::Opening { attempt, .. } = self.phase {
            self.phase = Phase::Opening { until: now + super::link::FIRST_MESSAGE_TIMEOUT, attempt };
            self.keep_alive.reopened(now);
            self.strange = Strange::default();
        }
    }

    /// A binary frame (protobuf `SignalResponse`). Malformed ones are ignored, and so are those of an unknown kind.
    pub fn signal_message(&mut self, frame: &[u8], now: Instant) {
        if matches!(self.phase, Phase::Ended | Phase::Waiting { .. }) {
            return;
        }
        self.keep_alive.heard(now);
        match signal::decode(frame) {
            Ok(Some(message)) => self.respond(message, now),
            Ok(None) => self.strange.unknown(),
            Err(error) => self.strange.malformed(&error),
        }
        self.settle(now);
    }

    /// The signal socket could not be opened or is gone.
    pub fn signal_closed(&mut self, why: SignalError, now: Instant) {
        self.signal_lost(why, now);
        self.settle(now);
    }

    /// A packet came. TCP packets come without their length prefix.
    pub fn packet(&mut self, proto: Proto, source: SocketAddr, destination: SocketAddr, payload: &[u8], now: Instant) {
        if self.phase != Phase::Ended && self.peer.receive(proto, source, destination, payload, now) {
            if self.media.came(source, destination, payload, now) && self.media.up {
                self.refresh_video();
            }
            self.finish_resume(now);
        }
        self.settle(now);
    }

    /// The stream asked for by `OpenTcp` is open from `local`.
    pub fn tcp_open(&mut self, local: SocketAddr, remote: SocketAddr, now: Instant) {
        self.peer.tcp_open(local, remote);
        self.settle(now);
    }

    /// It failed or closed.
    pub fn tcp_closed(&mut self, remote: SocketAddr, now: Instant) {
        tracing::debug!(%remote, "ICE-TCP stream closed");
        if !self.peer.ice_up() && !self.media.tcp.is_empty() {
            self.media.try_tcp = Some(now);
        }
        self.settle(now);
    }

    /// The board's addresses changed: new UDP sockets were bound.
    pub fn addresses(&mut self, addresses: &[LocalAddress], now: Instant) {
        self.addresses = addresses.to_vec();
        self.peer.add_addresses(addresses);
        if self.phase == Phase::Live {
            self.negotiation.restart_ice();
        }
        self.settle(now);
    }

    /// A command of the job.
    pub fn command(&mut self, command: Command, now: Instant) {
        if self.phase != Phase::Ended {
            self.obey(command, now);
            self.settle(now);
        }
    }

    /// Sends one frame; its packets leave from now on, as the pacer lets them. Before the connection stands, or while
    /// muted, it is dropped and counted.
    pub fn write(&mut self, track: &TrackId, frame: Frame<'_>, now: Instant) -> Option<Stamp> {
        if frame.captured > now {
            self.stats.stamps_clamped += 1;
        }
        let captured = frame.captured.min(now);
        let publication = self.publications.get_mut(track)?;
        let video = publication.track.kind == Kind::Video;
        let stalled = video && self.media.stalled(now);
        if stalled {
            publication.await_keyframe();
        }
        let written = if self.media.up && !stalled {
            publication.write(&mut self.peer, &frame, captured, now)
        } else {
            Written::Dropped
        };
        self.stats.stamps_clamped += publication.take_mended();
        match written {
            Written::Sent(stamp, bytes) => {
                self.stats.packets_out += u64::from(stamp.packets);
                self.stats.bytes_out += bytes;
                if video {
                    self.media.video_sent(now);
                }
                self.turn(now);
                self.settle(now);
                return Some(stamp);
            }
            Written::Dropped => self.stats.frames_dropped += u64::from(video),
            Written::KeyframeNeeded => {
                self.stats.frames_dropped += u64::from(video);
                self.event(Event::KeyframeNeeded(track.clone()));
            }
        }
        None
    }

    /// A deadline passed.
    pub fn timeout(&mut self, now: Instant) {
        self.turn(now);
        self.check_deadlines(now);
        self.settle(now);
    }

    /// Next output.
    pub fn poll(&mut self) -> Option<Output> {
        self.out.pop_front()
    }

    /// When `timeout` must be called.
    pub fn deadline(&self) -> Option<Instant> {
        let peer = self.peer.deadline();
        if self.phase == Phase::Ended {
            return peer;
        }
        let alive = self.phase.signalling().then(|| self.keep_alive.deadline());
        let silence = (self.media.up && self.phase == Phase::Live).then(|| self.media.dead_at());
        let tcp = if self.peer.ice_up() { None } else { self.media.try_tcp };
        let answer = if self.phase.signalling() { self.negotiation.deadline() } else { None };
        [
            peer,
            alive,
            silence,
            tcp,
            answer,
            self.phase.deadline(),
            self.media.closed,
            self.leaving.map(|leaving| leaving.deadline(self.phase)),
            self.subscriptions.deadline(),
            self.bandwidth.deadline(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Counters.
    pub fn stats(&self) -> Stats {
        self.stats
    }

    pub(super) fn event(&mut self, event: Event) {
        self.out.push_back(Output::Event(event));
    }

    /// Sends a request, or keeps it until the signal connection is back.
    pub(super) fn request(&mut self, request: Request) {
        match self.phase {
            Phase::Connecting { .. } | Phase::Live => self.request_now(request),
            Phase::Syncing { .. } if matches!(request, Request::AddTrack(_)) => self.request_now(request),
            Phase::Waiting { .. } | Phase::Opening { .. } | Phase::Syncing { .. } | Phase::Ended => {
                self.backlog.push(request);
            }
        }
    }

    pub(super) fn request_now(&mut self, request: Request) {
        self.out.push_back(Output::Signal(signal::encode(request)));
    }

    /// Lets the peer connection do what is due, the pacer above all.
    fn turn(&mut self, now: Instant) {
        self.peer.timeout(now);
        for _ in 0..MAX_TURNS {
            self.drain(now);
            if self.peer.deadline().is_none_or(|at| at > now) {
                break;
            }
            self.peer.timeout(now);
        }
    }

    /// After each input: offers what is due, hands over data, shares out the bandwidth, takes everything out of the peer
    /// connection, and leaves when it is time.
    pub(super) fn settle(&mut self, now: Instant) {
        if self.phase.signalling() && self.negotiation.ready() {
            self.offer(now);
        }
        self.drain(now);
        // After a resume what the server missed comes first.
        if self.data.waiting() && !matches!(self.phase, Phase::Syncing { .. } | Phase::Ended) {
            self.data.flush(&mut self.peer);
            self.drain(now);
        }
        self.allocate(now);
        self.leave_when_delivered(now);
    }

    pub(super) fn drain(&mut self, now: Instant) {
        while let Some(event) = self.peer.poll() {
            match event {
                PeerEvent::Transmit { proto, source, destination, payload } => {
                    self.media.goes(source, destination, &payload, now);
                    self.out.push_back(Output::Transmit { proto, source, destination, payload });
                }
                _ if self.phase.without_session() => {}
                PeerEvent::Connected => self.media_connected(now),
                PeerEvent::Closed => self.media_closed(now),
                PeerEvent::KeyframeNeeded(section) => {
                    if let Some(p) = self.publications.by_section(section) {
                        let id = p.track.id.clone();
                        self.event(Event::KeyframeNeeded(id));
                    }
                }
                PeerEvent::Media(section, packet) => {
                    let events = self.subscriptions.media(section, packet, &mut self.peer);
                    self.out.extend(events.into_iter().map(Output::Event));
                }
                PeerEvent::Data(channel, bytes) => {
                    if let Some(data) = self.data.receive(channel, &bytes) {
                        self.event(Event::Data(data));
                    }
                }
                PeerEvent::Estimate(bps) => {
                    tracing::trace!(bps, "bandwidth estimate");
                    self.bandwidth.estimate(bps, now);
                }
            }
        }
    }

    fn media_closed(&mut self, now: Instant) {
        self.media.up = false;
        // Why it was closed comes a moment later on the signal socket. Without one nothing can be resumed.
        self.media.closed = Some(now + CLOSE_GRACE);
    }

    /// Milliseconds since 1970 by the anchor of the configuration.
    pub(super) fn wall_ms(&self, now: Instant) -> i64 {
        let (anchor, since_epoch) = self.config.wall_anchor;
        let wall = since_epoch + now.saturating_duration_since(anchor);
        i64::try_from(wall.as_millis()).unwrap_or(i64::MAX)
    }
}
