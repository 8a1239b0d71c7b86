//! A TCP proxy on loopback whose connections can be cut, to break a signal connection and leave the server alone.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

/// A running proxy.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    state: Arc<State>,
}

#[derive(Debug, Default)]
struct State {
    refusing: AtomicBool,
    /// Upgrades to answer with 404 before the next one is forwarded, each by the path it begins with.
    denials: Mutex<Vec<String>>,
    accepted: AtomicUsize,
    connections: Mutex<Vec<Connection>>,
    bearers: Mutex<Vec<(String, String)>>,
    /// What the server says, and what is said instead.
    exchange: Option<(Vec<u8>, Vec<u8>)>,
}

/// Both ends of one connection and the path that was asked for.
#[derive(Debug)]
struct Connection {
    path: String,
    ends: [TcpStream; 2],
}

impl Proxy {
    /// Forwards to `target`.
    pub fn start(target: SocketAddr) -> Self {
        Self::start_with(target, None)
    }

    /// The same, with another UDP port in the server's loopback candidate.
    pub fn start_with_candidate(target: SocketAddr, port: u16, other: u16) -> Self {
        let [from, to] = [port, other].map(|port| format!("127.0.0.1 {port} typ").into_bytes());
        assert_eq!(from.len(), to.len(), "messages keep their length");
        Self::start_with(target, Some((from, to)))
    }

    fn start_with(target: SocketAddr, exchange: Option<(Vec<u8>, Vec<u8>)>) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has free ports");
        let address = listener.local_addr().expect("a bound socket has an address");
        let state = Arc::new(State { exchange, ..State::default() });
        let shared = state.clone();
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let state = shared.clone();
                // A connection that fails is closed, which its client sees.
                thread::spawn(move || state.forward(client, target));
            }
        });
        Self { address, state }
    }

    /// For workers and SDKs.
    pub fn url(&self) -> String {
        format!("ws://{}", self.address)
    }

    /// Cuts every connection whose request path starts with `path`; returns how many.
    pub fn cut(&self, path: &str) -> usize {
        let mut connections = self.state.lock();
        let before = connections.len();
        connections.retain(|connection| {
            let hit = connection.path.starts_with(path);
            if hit {
                connection.close();
            }
            !hit
        });
        before - connections.len()
    }

    /// Refuses new connections, or takes them again.
    pub fn refuse(&self, refuse: bool) {
        self.state.refusing.store(refuse, Ordering::SeqCst);
    }

    /// The bearer tokens of the connections of a path so far, oldest first.
    pub fn bearers(&self, path: &str) -> Vec<String> {
        let bearers = self.state.bearers.lock().unwrap_or_else(PoisonError::into_inner);
        bearers.iter().filter(|(asked, _)| asked.starts_with(path)).map(|(_, bearer)| bearer.clone()).collect()
    }

    /// Answers the next request whose path starts with `path` with 404, as a server does that has lost the session.
    pub fn deny_next(&self, path: &str) {
        self.state.denials().push(path.to_owned());
    }

    /// Connections forwarded so far.
    pub fn accepted(&self) -> usize {
        self.state.accepted.load(Ordering::SeqCst)
    }
}

impl State {
    fn lock(&self) -> MutexGuard<'_, Vec<Connection>> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn denials(&self) -> MutexGuard<'_, Vec<String>> {
        self.denials.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether this request is to be denied, once.
    fn denied(&self, path: &str) -> bool {
        let mut denials = self.denials();
        let found = denials.iter().position(|denial| path.starts_with(denial));
        found.map(|at| denials.swap_remove(at)).is_some()
    }

    fn forward(&self, mut client: TcpStream, target: SocketAddr) -> std::io::Result<()> {
        if self.refusing.load(Ordering::SeqCst) {
            return client.shutdown(Shutdown::Both);
        }
        let mut first = [0; 16384];
        let length = client.read(&mut first)?;
        let head = String::from_utf8_lossy(&first[..length]).into_owned();
        let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
        if self.denied(&path) {
            return client.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        }
        let mut server = TcpStream::connect(target)?;
        server.write_all(&first[..length])?;
        let mut headers = head.lines().filter_map(|line| line.split_once(": "));
        if let Some((_, value)) = headers.find(|(name, _)| name.eq_ignore_ascii_case("authorization")) {
            let bearer = (path.clone(), value.trim_start_matches("Bearer ").to_owned());
            self.bearers.lock().unwrap_or_else(PoisonError::into_inner).push(bearer);
        }
        self.lock().push(Connection { path, ends: [client.try_clone()?, server.try_clone()?] });
        self.accepted.fetch_add(1, Ordering::SeqCst);
        let (mut back_from, mut back_to, exchange) = (server.try_clone()?, client.try_clone()?, self.exchange.clone());
        thread::spawn(move || {
            let _ = match &exchange {
                Some((from, to)) => copy_exchanging(&mut back_from, &mut back_to, from, to),
                None => std::io::copy(&mut back_from, &mut back_to).map(drop),
            };
            let _ = back_to.shutdown(Shutdown::Both);
        });
        std::io::copy(&mut client, &mut server)?;
        server.shutdown(Shutdown::Both)
    }
}

/// Copies with `to` in place of each `from` of the same length.
fn copy_exchanging(reader: &mut impl Read, writer: &mut impl Write, from: &[u8], to: &[u8]) -> std::io::Result<()> {
    let mut held = Vec::new();
    let mut chunk = [0; 16384];
    loop {
        let length = reader.read(&mut chunk)?;
        held.extend_from_slice(&chunk[..length]);
        while let Some(at) = held.windows(from.len()).position(|window| window == from) {
            held[at..at + to.len()].copy_from_slice(to);
        }
        // The end may be the beginning of one whose rest is still to come.
        let begun = (1..from.len()).rev().find(|&count| length > 0 && held.ends_with(&from[..count]));
        let whole = held.len() - begun.unwrap_or(0);
        writer.write_all(&held[..whole])?;
        held.drain(..whole);
        if length == 0 {
            return Ok(());
        }
    }
}

impl Connection {
    fn close(&self) {
        // An end that is closed already needs no closing.
        let _ = self.ends.iter().try_for_each(|end| end.shutdown(Shutdown::Both));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exchange_is_made_even_across_two_reads() {
        let mut parts = (&b"a port 12 b por"[..]).chain(&b"t 12 c port 1"[..]);
        let mut out = Vec::new();
        copy_exchanging(&mut parts, &mut out, b"port 12", b"port 34").unwrap();
        assert_eq!(out, b"a port 34 b port 34 c port 1");
    }

    #[test]
    fn a_cut_closes_only_connections_of_that_path() {
        let server = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let proxy = Proxy::start(server.local_addr().unwrap());
        let open = |path: &str| {
            let mut client = TcpStream::connect(proxy.address).unwrap();
            write!(client, "GET {path} HTTP/1.1\r\n\r\n").unwrap();
            let (mut accepted, _) = server.accept().unwrap();
            let mut seen = [0; 4];
            accepted.read_exact(&mut seen).unwrap();
            (client, accepted)
        };
        let (mut signal, _signal_end) = open("/rtc/v1?x=1");
        let (mut worker, mut worker_end) = open("/agent");
        crate::poll::until("both are known", std::time::Duration::from_secs(5), || {
            (proxy.accepted() == 2).then_some(())
        });
        assert_eq!(proxy.cut("/rtc"), 1);
        assert_eq!(signal.read(&mut [0; 1]).unwrap(), 0);
        worker_end.write_all(b"x").unwrap();
        assert_eq!(worker.read(&mut [0; 1]).unwrap(), 1);
    }
}
