//! Room, SFU and the network between them, in simulated time.

use super::link::Link;
use super::sfu::Sfu;
use crate::room::*;
use crate::secret::Secret;
use std::time::{Duration, Instant};

/// One way.
const LATENCY: Duration = Duration::from_millis(5);

pub struct World {
    pub room: Room,
    pub sfu: Sfu,
    pub now: Instant,
    pub events: Vec<Event>,
    /// Signal URLs asked for.
    pub connects: usize,
    /// Datagrams are lost in both directions.
    pub cut: bool,
    /// The way of datagrams to the SFU.
    pub link: Link,
    /// Which datagrams to the SFU are lost.
    pub up_loss: Loss,
    /// Which datagrams to the room are lost.
    pub down_loss: Loss,
    /// Connections are refused.
    pub down: bool,
    /// The room does not exist: connections are answered with 404.
    pub deleted: bool,
    /// What the SFU says in signalling takes this much longer than a datagram.
    pub slow_signal: Duration,
    /// When the room first told the SFU which path it takes.
    pub nominated: Option<Instant>,
    /// Deadlines of the room that passed.
    pub wakes: usize,
    /// ICE-TCP streams asked for; none is ever opened.
    pub streams: Vec<std::net::SocketAddr>,
    /// How far behind the present the stamps of frames lie.
    pub behind: Duration,
    signal: bool,
    up: Vec<(Instant, Vec<u8>)>,
    to_sfu: Vec<(Instant, Vec<u8>)>,
    to_room: Vec<(Instant, Vec<u8>)>,
    frame: u64,
}

/// Loses datagrams by their place among the big ones, which are fragments of data, not acknowledgements.
#[derive(Debug, Default)]
pub struct Loss {
    lost: Vec<usize>,
    seen: usize,
}

impl Loss {
    /// From now on, counted from 0.
    pub fn of(lost: &[usize]) -> Self {
        Self { lost: lost.to_vec(), seen: 0 }
    }

    fn takes(&mut self, payload: &[u8]) -> bool {
        if payload.len() < 500 {
            return false;
        }
        self.seen += 1;
        self.lost.contains(&(self.seen - 1))
    }
}

pub fn microphone() -> LocalTrack {
    LocalTrack {
        id: TrackId("microphone".to_owned()),
        name: "microphone".to_owned(),
        kind: Kind::Audio,
        source: Source::Microphone,
        width: 0,
        height: 0,
        sound: Sound::default(),
        bitrate: 32_000,
        muted: false,
        rests: false,
    }
}

pub fn camera() -> LocalTrack {
    LocalTrack {
        id: TrackId("camera".to_owned()),
        name: "camera".to_owned(),
        kind: Kind::Video,
        source: Source::Camera,
        width: 1280,
        height: 720,
        sound: Sound::default(),
        bitrate: 2_000_000,
        muted: false,
        rests: false,
    }
}

impl World {
    pub fn new(tracks: Vec<LocalTrack>) -> Self {
        let now = Instant::now();
        let config = Config {
            url: "ws://sfu:7880".to_owned(),
            token: Secret::new("token-0"),
            version: "1".to_owned(),
            auto_subscribe: true,
            tracks,
            seed: 7,
            wall_anchor: (now, Duration::from_secs(1_800_000_000)),
        };
        let local = LocalAddress { ip: "10.0.0.2".parse().expect("literal"), port: 5000 };
        Self {
            room: Room::new(config, &[local], now),
            sfu: Sfu::new(now),
            now,
            events: Vec::new(),
            connects: 0,
            cut: false,
            link: Link::default(),
            up_loss: Loss::default(),
            down_loss: Loss::default(),
            down: false,
            deleted: false,
            slow_signal: Duration::ZERO,
            nominated: None,
            wakes: 0,
            streams: Vec::new(),
            behind: Duration::ZERO,
            signal: false,
            up: Vec::new(),
            to_sfu: Vec::new(),
            to_room: Vec::new(),
            frame: 0,
        }
    }

    /// Joined with media up.
    pub fn live(tracks: Vec<LocalTrack>) -> Self {
        let mut world = Self::new(tracks);
        // Two str0m may lose the first DTLS flight to each other, and repeat it after a second.
        world.run(Duration::from_secs(3));
        assert!(
            world.saw(|e| matches!(e, Event::Connected)),
            "events: {:?} ICE {} room {:?} sfu {:?}",
            world.events,
            world.room.peer.ice_up(),
            world.room.deadline().map(|d| d.saturating_duration_since(world.now)),
            world.sfu.deadline.saturating_duration_since(world.now)
        );
        world
    }

    pub fn saw(&self, wanted: impl Fn(&Event) -> bool) -> bool {
        self.count(wanted) > 0
    }

    pub fn count(&self, wanted: impl Fn(&Event) -> bool) -> usize {
        self.events.iter().filter(|e| wanted(e)).count()
    }

    pub fn end(&self) -> Option<&End> {
        self.events.iter().find_map(|e| match e {
            Event::Ended(end) => Some(end),
            _ => None,
        })
    }

    pub fn command(&mut self, command: Command) {
        self.room.command(command, self.now);
        self.drain();
    }

    /// The server's signal socket dies.
    pub fn drop_signal(&mut self) {
        self.signal = false;
        self.room.signal_closed(SignalError::Closed, self.now);
        self.drain();
    }

    /// The signal socket stands, but nothing passes any more.
    pub fn mute_signal(&mut self) {
        self.signal = false;
    }

    /// Lets time pass.
    pub fn run(&mut self, duration: Duration) {
        let end = self.now + duration;
        self.drain();
        loop {
            let at = [self.room.deadline(), Some(self.sfu.deadline), self.next_delivery()].into_iter().flatten().min();
            let Some(at) = at.filter(|at| *at <= end) else { break };
            // A deadline in the past is due now; a machine that never gets past one would hang here.
            self.now = self.now.max(at) + Duration::from_micros(100);
            self.deliver();
            if self.sfu.deadline <= self.now {
                self.sfu.timeout(self.now);
            }
            if self.room.deadline().is_some_and(|at| at <= self.now) {
                self.wakes += 1;
                self.room.timeout(self.now);
            }
            self.drain();
        }
        self.now = self.now.max(end);
    }

    fn next_delivery(&self) -> Option<Instant> {
        let first = |queue: &[(Instant, Vec<u8>)]| queue.first().map(|(at, _)| *at);
        [first(&self.up), first(&self.to_sfu), first(&self.to_room)].into_iter().flatten().min()
    }

    fn deliver(&mut self) {
        let (room, sfu) = ("10.0.0.2:5000".parse().expect("literal"), self.sfu.address);
        for frame in due(&mut self.up, self.now) {
            if self.signal {
                self.room.signal_message(&frame, self.now);
            }
        }
        for packet in due(&mut self.to_sfu, self.now) {
            self.sfu.receive(room, &packet, self.now);
            // str0m keeps one received packet only.
            self.drain();
        }
        for packet in due(&mut self.to_room, self.now) {
            self.room.packet(Proto::Udp, sfu, room, &packet, self.now);
        }
    }

    fn drain(&mut self) {
        while let Some(output) = self.room.poll() {
            match output {
                Output::Connect { url, .. } => self.connect(&url),
                Output::Signal(frame) if self.signal => self.sfu.request(&frame),
                Output::Signal(_) => {}
                Output::OpenTcp(remote) => self.streams.push(remote),
                Output::CloseSignal => self.signal = false,
                Output::Transmit { payload, .. } => {
                    if nominates(&payload) {
                        self.nominated.get_or_insert(self.now);
                    }
                    if !self.cut && !self.up_loss.takes(&payload) {
                        let passed = self.link.pass(payload.len(), self.now);
                        self.to_sfu.extend(passed.map(|at| (at + LATENCY, payload)));
                    }
                }
                Output::Event(event) => self.events.push(event),
            }
        }
        for (_, payload) in self.sfu.poll() {
            if !self.cut && !self.down_loss.takes(&payload) {
                self.to_room.push((self.now + LATENCY, payload));
            }
        }
        let signal = LATENCY + self.slow_signal;
        self.up.extend(self.sfu.to_client.drain(..).map(|f| (self.now + signal, f)));
    }

    fn connect(&mut self, url: &str) {
        self.connects += 1;
        self.up.clear();
        self.signal = !self.down && !self.deleted;
        if self.down {
            self.room.signal_closed(SignalError::Broken("refused".to_owned()), self.now);
        } else if self.deleted {
            self.room.signal_closed(SignalError::Refused { status: 404, clocks: None }, self.now);
        } else {
            self.room.signal_open(self.now);
            self.sfu.connect(url, self.now);
        }
    }

    /// Writes one second of 50 Opus packets and 25 pictures, the first of them a keyframe.
    pub fn stream(&mut self, seconds: u32) {
        for tick in 0..seconds * 50 {
            self.audio(&[1, 2, 3]);
            if tick % 2 == 0 {
                self.video(tick == 0, 3000);
            }
            self.run(Duration::from_millis(20));
        }
    }

    pub fn audio(&mut self, data: &[u8]) {
        self.frame += 1;
        let samples = self.frame * 960;
        let frame = Frame { data, captured: self.now - self.behind, samples, discontinuity: false, level: 30 };
        self.room.write(&TrackId("microphone".to_owned()), frame, self.now);
        self.drain();
    }

    pub fn video(&mut self, key: bool, bytes: usize) {
        let mut data = vec![0, 0, 0, 1, if key { 0x65 } else { 0x41 }];
        data.resize(bytes, 0xaa);
        let frame = Frame { data: &data, captured: self.now - self.behind, samples: 0, discontinuity: false, level: 0 };
        self.room.write(&TrackId("camera".to_owned()), frame, self.now);
        self.drain();
    }
}

/// A binding request with USE-CANDIDATE, which is empty (RFC 8445 section 16.1).
fn nominates(payload: &[u8]) -> bool {
    payload.starts_with(&[0, 1]) && payload[20..].windows(4).any(|attribute| attribute == [0, 0x25, 0, 0])
}

fn due(queue: &mut Vec<(Instant, Vec<u8>)>, now: Instant) -> Vec<Vec<u8>> {
    let count = queue.iter().take_while(|(at, _)| *at <= now).count();
    queue.drain(..count).map(|(_, bytes)| bytes).collect()
}
