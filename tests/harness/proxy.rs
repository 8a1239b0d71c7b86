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
    accepted: AtomicUsize,
    connections: Mutex<Vec<Connection>>,
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
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has free ports");
        let address = listener.local_addr().expect("a bound socket has an address");
        let state = Arc::new(State::default());
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

    /// Connections forwarded so far.
    pub fn accepted(&self) -> usize {
        self.state.accepted.load(Ordering::SeqCst)
    }
}

impl State {
    fn lock(&self) -> MutexGuard<'_, Vec<Connection>> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn forward(&self, mut client: TcpStream, target: SocketAddr) -> std::io::Result<()> {
        if self.refusing.load(Ordering::SeqCst) {
            return client.shutdown(Shutdown::Both);
        }
        let mut server = TcpStream::connect(target)?;
        let mut first = [0; 16384];
        let length = client.read(&mut first)?;
        server.write_all(&first[..length])?;
        let path = String::from_utf8_lossy(&first[..length]).split(' ').nth(1).unwrap_or_default().to_owned();
        self.lock().push(Connection { path, ends: [client.try_clone()?, server.try_clone()?] });
        self.accepted.fetch_add(1, Ordering::SeqCst);
        let (mut back_from, mut back_to) = (server.try_clone()?, client.try_clone()?);
        thread::spawn(move || {
            let _ = std::io::copy(&mut back_from, &mut back_to);
            let _ = back_to.shutdown(Shutdown::Both);
        });
        std::io::copy(&mut client, &mut server)?;
        server.shutdown(Shutdown::Both)
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
