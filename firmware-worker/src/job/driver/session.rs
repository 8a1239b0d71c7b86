//! The room machine with its sockets: feeds it what comes, does what it wants, and keeps its events for the driver.

use super::sending::Sending;
use super::signal::{Signal, SignalEvent, Where};
use super::tcp::{Tcp, TcpEvent};
use super::udp::Udp;
use crate::control::Latency;
use crate::net::{Tls, host_and_port};
use protocol::room::{Command, Config, Event, Frame, Output, Proto, Room, SignalError, Stats, TrackId};
use protocol::secret::Secret;
use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// Datagrams taken from a socket before the rest of the driver gets its turn.
const RECEIVE_BATCH: usize = 32;

/// How long the room may go on within one turn of the driver. The pacer asks for a timeout per packet, and going through the
/// runtime for each would cost a third more CPU; on a processor that is too slow for its media the next one is always due,
/// and nothing else would ever get its turn: no packet that has come, no ping.
const TURN: Duration = Duration::from_millis(5);

/// A deadline that is missed by more was missed because the board did something else. What has come meanwhile goes before
/// it: a server that was not listened to is not silent.
const LATE: Duration = Duration::from_millis(250);

/// While the room is behind, one turn in so many may take new media. The others get rid of what it has: what is not read in time
/// the ring drops, and what is would lie in the room's queue, which knows no end.
const RELIEF: u32 = 8;

/// Something to feed to the room.
#[derive(Debug)]
pub enum Ready {
    /// From the signal socket.
    Signal(SignalEvent),
    /// This UDP socket can be read.
    Udp(usize),
    /// From an ICE-TCP stream.
    Tcp(TcpEvent),
}

/// A name that the supervisor must resolve.
#[derive(Debug)]
pub struct Lookup {
    /// Host.
    pub host: String,
    /// Port.
    pub port: u16,
    /// For the answer.
    pub reply: oneshot::Sender<Result<Vec<SocketAddr>, String>>,
}

/// One room and its network.
#[derive(Debug)]
pub struct Session {
    room: Room,
    signal: Signal,
    signal_open: bool,
    udp: Udp,
    tcp: Tcp,
    events: VecDeque<Event>,
    sending: Sending,
    lookup: Option<Lookup>,
    /// For the choice of interfaces, where the URL holds an address.
    server: Option<IpAddr>,
    addresses_due: bool,
    /// The sockets are as old as the first attempt.
    connected_before: bool,
    /// When this turn of the driver has lasted for long enough.
    turn_ends: Instant,
    /// This turn has left a timeout to the next one.
    cut: bool,
    /// How many turns in a row did.
    behind: u32,
}

impl Session {
    /// Starts to join.
    pub fn new(config: Config, tls: Tls) -> Self {
        let server = host_and_port(&config.url).ok().and_then(|(host, _)| host.parse().ok());
        let udp = Udp::bind(&interfaces(), server);
        let now = Instant::now();
        let room = Room::new(config, &udp.addresses(), now);
        let mut session = Self {
            room,
            signal: Signal::new(tls),
            signal_open: false,
            udp,
            tcp: Tcp::new(),
            events: VecDeque::new(),
            sending: Sending::default(),
            lookup: None,
            server,
            addresses_due: false,
            connected_before: false,
            turn_ends: now + TURN,
            cut: false,
            behind: 0,
        };
        session.drain();
        session
    }

    /// Waits for the network. Cancel-safe.
    pub async fn ready(&mut self) -> Ready {
        tokio::select! {
            index = self.udp.readable() => Ready::Udp(index),
            event = self.signal.next() => Ready::Signal(event),
            event = self.tcp.next() => Ready::Tcp(event),
        }
    }

    /// A turn of the driver begins. Where the room is behind, packets that wait come before all that it would do by the clock.
    pub fn begin_turn(&mut self, now: Instant) {
        self.turn_ends = now + TURN;
        self.behind = if std::mem::take(&mut self.cut) { self.behind.wrapping_add(1) } else { 0 };
        if self.behind > 0 || self.is_late(now) {
            self.take_in();
        }
    }

    /// A deadline was missed by so much that what has come meanwhile is to be read first.
    pub fn is_late(&self, now: Instant) -> bool {
        self.room.deadline().is_some_and(|deadline| deadline + LATE <= now)
    }

    /// The processor is too slow for what the room has already: it should get no more for now.
    pub fn is_full(&self) -> bool {
        self.cut && !self.behind.is_multiple_of(RELIEF)
    }

    /// The rest of the driver is due. What began this turn is done by then, so that each turn gets on.
    pub fn turn_is_over(&self) -> bool {
        Instant::now() >= self.turn_ends
    }

    /// Feeds what [`Session::ready`] gave.
    pub fn handle(&mut self, ready: Ready) {
        match ready {
            Ready::Signal(event) => self.signal_event(event),
            Ready::Udp(index) => self.datagrams(index, Self::drain),
            Ready::Tcp(event) => self.tcp_event(event),
        }
    }

    /// Asks something of the room.
    pub fn command(&mut self, command: Command) {
        self.room.command(command, Instant::now());
        self.drain();
    }

    /// Sends a frame.
    pub fn write(&mut self, track: &TrackId, frame: Frame<'_>) {
        let now = Instant::now();
        if let Some(stamp) = self.room.write(track, frame, now) {
            self.sending.frame(track, stamp, now);
        }
        self.drain();
    }

    /// How long frames of this track took from [`Session::write`] until their last packet was sent.
    pub fn sent(&self, track: &TrackId) -> Latency {
        self.sending.latency(track)
    }

    /// When [`Session::tick`] is due.
    pub fn deadline(&self) -> Option<Instant> {
        self.room.deadline()
    }

    /// Handles a deadline that has passed.
    pub fn tick(&mut self, now: Instant) {
        if self.room.deadline().is_some_and(|deadline| deadline <= now) {
            self.room.timeout(now);
            self.drain();
        }
    }

    /// The next thing that happened in the room.
    pub fn event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// A lookup that nobody has taken care of yet.
    pub fn lookup(&mut self) -> Option<Lookup> {
        self.lookup.take()
    }

    /// Counters.
    pub fn stats(&self) -> Stats {
        self.room.stats()
    }

    /// Whether a Leave would reach the server.
    pub fn signal_open(&self) -> bool {
        self.signal_open
    }

    /// Waits until the closed signal socket has sent everything. Cancel-safe.
    pub async fn signal_closed(&mut self) {
        self.signal.closed().await;
    }

    fn signal_event(&mut self, event: SignalEvent) {
        let now = Instant::now();
        match event {
            SignalEvent::Open => {
                self.signal_open = true;
                self.room.signal_open(now);
            }
            SignalEvent::Frame(frame) => self.room.signal_message(&frame, now),
            SignalEvent::Closed(why) => {
                self.signal_open = false;
                self.signal.close();
                self.room.signal_closed(why, now);
            }
        }
        self.drain();
    }

    /// Datagrams that wait, as far as this turn goes; `then` comes after each.
    fn datagrams(&mut self, index: usize, then: fn(&mut Self)) {
        for _ in 0..RECEIVE_BATCH {
            let Some((source, local, payload)) = self.udp.receive(index) else { return };
            self.room.packet(Proto::Udp, source, local, payload, Instant::now());
            then(self);
            if self.turn_is_over() {
                return;
            }
        }
    }

    fn tcp_event(&mut self, event: TcpEvent) {
        self.feed(event);
        self.drain();
    }

    fn feed(&mut self, event: TcpEvent) {
        let now = Instant::now();
        match event {
            TcpEvent::Open { local, remote } => self.room.tcp_open(local, remote, now),
            TcpEvent::Packet { local, remote, payload } => self.room.packet(Proto::Tcp, remote, local, &payload, now),
            TcpEvent::Closed { remote } => {
                self.tcp.close(remote);
                self.room.tcp_closed(remote, now);
            }
        }
    }

    /// Packets that wait, and no timeout.
    fn take_in(&mut self) {
        (0..self.udp.count()).for_each(|index| self.datagrams(index, Self::obey));
        while !self.turn_is_over()
            && let Some(event) = self.tcp.waiting()
        {
            self.feed(event);
            self.obey();
        }
    }

    /// Everything the room wants after one input, with the timeouts that are due by then, as far as this turn goes.
    fn drain(&mut self) {
        loop {
            self.obey();
            let now = Instant::now();
            if std::mem::take(&mut self.addresses_due) {
                self.look_at_addresses(now);
                continue;
            }
            let due = self.room.deadline().is_some_and(|deadline| deadline <= now);
            self.cut = due && now >= self.turn_ends;
            if !due || self.cut {
                return;
            }
            self.room.timeout(now);
        }
    }

    fn obey(&mut self) {
        while let Some(output) = self.room.poll() {
            self.act(output);
        }
    }

    fn act(&mut self, output: Output) {
        match output {
            Output::Connect { url, token } => {
                // A board that lost its network may be back on another with any attempt, not only the first.
                self.addresses_due = self.connected_before;
                self.connected_before = true;
                self.connect(url, token);
            }
            Output::Signal(frame) => self.signal.send(frame),
            Output::CloseSignal => {
                self.signal_open = false;
                self.signal.close();
            }
            Output::Transmit { proto: Proto::Udp, source, destination, payload } => {
                self.udp.send(source, destination, &payload);
                self.sending.packet(&payload, Instant::now());
            }
            Output::Transmit { proto: Proto::Tcp, destination, payload, .. } => {
                self.sending.packet(&payload, Instant::now());
                self.tcp.send(destination, payload);
            }
            Output::OpenTcp(remote) => {
                if !self.tcp.open(remote) {
                    self.room.tcp_closed(remote, Instant::now());
                }
            }
            Output::Event(event) => self.events.push_back(event),
        }
    }

    fn connect(&mut self, url: String, token: Secret) {
        self.signal_open = false;
        let (host, port) = match host_and_port(&url) {
            Ok(place) => place,
            Err(why) => {
                self.room.signal_closed(SignalError::Broken(why), Instant::now());
                return;
            }
        };
        let place = match host.parse::<IpAddr>() {
            Ok(ip) => Where::Known(SocketAddr::new(ip, port)),
            Err(_) => {
                let (reply, answer) = oneshot::channel();
                self.lookup = Some(Lookup { host, port, reply });
                Where::Asked(answer)
            }
        };
        self.signal.open(url, token, place);
    }

    fn look_at_addresses(&mut self, now: Instant) {
        if self.udp.rebind(&interfaces(), self.server) {
            let addresses = self.udp.addresses();
            tracing::info!(count = addresses.len(), "the board's addresses changed");
            self.room.addresses(&addresses, now);
        }
    }
}

fn interfaces() -> Vec<hal::interfaces::Address> {
    hal::interfaces::addresses().unwrap_or_else(|error| {
        tracing::warn!(%error, "list network interfaces");
        Vec::new()
    })
}
