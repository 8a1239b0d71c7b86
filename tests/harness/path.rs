//! A stretch of network for UDP on loopback that loses everything of a flow, or carries so many bits a second.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// The queue in front of a narrow stretch: what a home router has. Packets that would wait longer are lost.
const QUEUE: Duration = Duration::from_millis(250);

/// More than any packet of WebRTC.
const DATAGRAM: usize = 2048;

/// A running path.
#[derive(Debug)]
pub struct Path {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    flows: HashMap<SocketAddr, Flow>,
    /// Everything is lost.
    cut: bool,
    /// Everything of these clients is lost.
    lost: HashSet<SocketAddr>,
    /// Bit/s towards the server.
    limit: Option<u32>,
    /// When the narrow stretch has sent all that waits.
    free: Option<Instant>,
}

#[derive(Debug)]
struct Flow {
    socket: Arc<UdpSocket>,
    bytes: usize,
}

/// A packet on its way to the server.
struct Waiting {
    due: Instant,
    socket: Arc<UdpSocket>,
    packet: Vec<u8>,
}

impl Path {
    /// To `target` and back.
    pub fn start(target: SocketAddr) -> Self {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has free ports");
        let address = socket.local_addr().expect("a bound socket has an address");
        let state = Arc::new(Mutex::new(State::default()));
        let shared = state.clone();
        let (queue, waiting) = channel();
        thread::spawn(move || deliver(&waiting));
        // A path whose socket breaks loses everything, which its test sees.
        thread::spawn(move || forward(&Arc::new(socket), target, &shared, &queue));
        Self { address, state }
    }

    /// Where it begins.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Loses every packet, both ways, or none.
    pub fn cut(&self, cut: bool) {
        lock(&self.state).cut = cut;
    }

    /// Loses every packet of the client that has sent most, until [`Path::mend`].
    pub fn cut_busiest(&self) {
        let mut state = lock(&self.state);
        let busiest = state.flows.iter().max_by_key(|(_, flow)| flow.bytes).map(|(client, _)| *client);
        state.lost.insert(busiest.expect("somebody sends media"));
    }

    /// Loses nothing any more.
    pub fn mend(&self) {
        let mut state = lock(&self.state);
        state.cut = false;
        state.lost.clear();
    }

    /// Carries this many bit/s towards the server.
    pub fn limit(&self, bps: Option<u32>) {
        lock(&self.state).limit = bps;
    }
}

impl State {
    fn loses(&self, client: SocketAddr) -> bool {
        self.cut || self.lost.contains(&client)
    }

    /// When a packet of this size comes out at the server's end; `None` when it is lost in a full queue.
    fn pass(&mut self, bytes: usize, now: Instant) -> Option<Instant> {
        let Some(limit) = self.limit else { return Some(now) };
        let start = self.free.map_or(now, |free| free.max(now));
        (start - now < QUEUE).then(|| {
            let due = start + Duration::from_secs_f64(bytes as f64 * 8.0 / f64::from(limit));
            self.free = Some(due);
            due
        })
    }
}

fn forward(
    socket: &Arc<UdpSocket>,
    target: SocketAddr,
    state: &Arc<Mutex<State>>,
    queue: &Sender<Waiting>,
) -> io::Result<()> {
    let mut buffer = [0; DATAGRAM];
    loop {
        let (length, client) = socket.recv_from(&mut buffer)?;
        let mut locked = lock(state);
        if locked.loses(client) {
            continue;
        }
        let due = locked.pass(length, Instant::now());
        let flow = match locked.flows.entry(client) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => entry.insert(flow(client, target, socket, state)?),
        };
        flow.bytes += length;
        if let Some(due) = due {
            // Without a receiver the test is over.
            let _ = queue.send(Waiting { due, socket: flow.socket.clone(), packet: buffer[..length].to_vec() });
        }
    }
}

fn flow(
    client: SocketAddr,
    target: SocketAddr,
    socket: &Arc<UdpSocket>,
    state: &Arc<Mutex<State>>,
) -> io::Result<Flow> {
    let flow = Arc::new(UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?);
    flow.connect(target)?;
    let (from, to, state) = (flow.clone(), socket.clone(), state.clone());
    thread::spawn(move || back(&from, &to, client, &state));
    Ok(Flow { socket: flow, bytes: 0 })
}

fn deliver(queue: &Receiver<Waiting>) {
    for Waiting { due, socket, packet } in queue {
        thread::sleep(due.saturating_duration_since(Instant::now()));
        // A server that has gone away loses packets as any network does.
        let _ = socket.send(&packet);
    }
}

fn back(from: &UdpSocket, to: &UdpSocket, client: SocketAddr, state: &Mutex<State>) {
    let mut buffer = [0; DATAGRAM];
    loop {
        match from.recv(&mut buffer) {
            Ok(length) if !lock(state).loses(client) => drop(to.send_to(&buffer[..length], client)),
            Ok(_) => {}
            // The server has gone away and may come back.
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
            Err(_) => return,
        }
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_narrow_path_spreads_packets_out_and_loses_what_its_queue_cannot_hold() {
        let mut state = State { limit: Some(80_000), ..State::default() };
        let now = Instant::now();
        let due: Vec<_> = (0..5).map(|_| state.pass(1000, now).map(|due| (due - now).as_millis())).collect();
        assert_eq!(due, [Some(100), Some(200), Some(300), None, None]);
        state.limit = None;
        assert_eq!(state.pass(1000, now), Some(now));
    }
}
