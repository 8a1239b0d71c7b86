//! One UDP socket per address of the board: each is a host candidate.

use hal::interfaces::Address;
use protocol::room::LocalAddress;
use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::task::Poll;
use tokio::net::UdpSocket;

/// Candidates. Boards have two or three addresses; machines with dozens of virtual ones would make hundreds of pairs.
const MAX_SOCKETS: usize = 8;

/// A datagram's buffer: more than any path's MTU that WebRTC uses.
const DATAGRAM: usize = 2048;

/// The sockets of one session.
#[derive(Debug)]
pub struct Udp {
    sockets: Vec<(SocketAddr, UdpSocket)>,
    buffer: Box<[u8; DATAGRAM]>,
    /// Where the next search for a readable socket starts, so that a busy one does not starve the others.
    turn: usize,
}

impl Udp {
    /// Binds a socket to every usable address. Those that cannot be bound are logged and left out.
    pub fn bind(addresses: &[Address], server: Option<IpAddr>) -> Self {
        let mut udp = Self { sockets: Vec::new(), buffer: Box::new([0; DATAGRAM]), turn: 0 };
        udp.rebind(addresses, server);
        udp
    }

    /// Drops the sockets of addresses that are gone, binds new ones, keeps the others. `false` if nothing changed.
    pub fn rebind(&mut self, addresses: &[Address], server: Option<IpAddr>) -> bool {
        let wanted = usable(addresses, server);
        let before = self.sockets.len();
        self.sockets.retain(|(local, _)| wanted.contains(&local.ip()));
        let mut changed = self.sockets.len() != before;
        for ip in wanted {
            if self.sockets.iter().any(|(local, _)| local.ip() == ip) {
                continue;
            }
            match bind(ip) {
                Ok(socket) => {
                    self.sockets.push(socket);
                    changed = true;
                }
                Err(error) => tracing::warn!(%ip, %error, "no UDP socket on this address"),
            }
        }
        changed
    }

    /// What was bound.
    pub fn addresses(&self) -> Vec<LocalAddress> {
        self.sockets.iter().map(|(local, _)| LocalAddress { ip: local.ip(), port: local.port() }).collect()
    }

    /// Sockets, for [`Udp::receive`].
    pub fn count(&self) -> usize {
        self.sockets.len()
    }

    /// Waits until a socket can be read. Cancel-safe.
    pub async fn readable(&mut self) -> usize {
        poll_fn(|context| {
            let count = self.sockets.len();
            for step in 0..count {
                let index = (self.turn + step) % count;
                if self.sockets[index].1.poll_recv_ready(context).is_ready() {
                    self.turn = index + 1;
                    return Poll::Ready(index);
                }
            }
            Poll::Pending
        })
        .await
    }

    /// Takes one datagram: source, destination, payload.
    pub fn receive(&mut self, index: usize) -> Option<(SocketAddr, SocketAddr, &[u8])> {
        let (local, socket) = self.sockets.get(index)?;
        match socket.try_recv_from(&mut self.buffer[..]) {
            Ok((length, source)) => Some((source, *local, &self.buffer[..length])),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
            // ICMP errors of earlier sends: ICE notices dead paths by itself. The socket stays readable for another try.
            Err(error) => {
                tracing::trace!(%local, %error, "receive");
                None
            }
        }
    }

    /// Sends, or drops the packet as a network would.
    pub fn send(&self, source: SocketAddr, destination: SocketAddr, payload: &[u8]) {
        let Some((_, socket)) = self.sockets.iter().find(|(local, _)| *local == source) else {
            tracing::trace!(%source, "no such socket any more");
            return;
        };
        if let Err(error) = socket.try_send_to(payload, destination) {
            tracing::trace!(%destination, %error, "send");
        }
    }
}

fn bind(ip: IpAddr) -> io::Result<(SocketAddr, UdpSocket)> {
    let socket = std::net::UdpSocket::bind((ip, 0))?;
    socket.set_nonblocking(true)?;
    Ok((socket.local_addr()?, UdpSocket::from_std(socket)?))
}

/// Loopback serves only where nothing else does, or where the server itself is there.
fn usable(addresses: &[Address], server: Option<IpAddr>) -> Vec<IpAddr> {
    let server_is_local = server.is_some_and(|ip| ip.is_loopback());
    let only_loopback = addresses.iter().all(|a| a.loopback);
    let wanted = addresses.iter().filter(|a| !a.loopback || server_is_local || only_loopback);
    wanted.map(|a| a.ip).take(MAX_SOCKETS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(ip: &str, loopback: bool) -> Address {
        Address { interface: "x".into(), ip: ip.parse().expect("an address"), loopback }
    }

    #[test]
    fn loopback_is_offered_only_to_a_local_server_or_where_nothing_else_is() {
        let both = [address("127.0.0.1", true), address("10.0.0.2", false)];
        let ip = |text: &str| text.parse::<IpAddr>().expect("an address");
        assert_eq!(usable(&both, Some(ip("203.0.113.5"))), [ip("10.0.0.2")]);
        assert_eq!(usable(&both, None), [ip("10.0.0.2")]);
        assert_eq!(usable(&both, Some(ip("127.0.0.1"))), [ip("127.0.0.1"), ip("10.0.0.2")]);
        assert_eq!(usable(&both[..1], Some(ip("203.0.113.5"))), [ip("127.0.0.1")]);
    }

    #[tokio::test]
    async fn sockets_of_addresses_that_stay_are_kept() {
        let (one, two) = (address("127.0.0.1", true), address("127.0.0.2", true));
        let both = [one, two];
        let mut udp = Udp::bind(&both[..1], None);
        let kept = udp.addresses();
        assert!(!udp.rebind(&both[..1], None));
        assert!(udp.rebind(&both, None));
        assert_eq!(udp.addresses()[..1], kept);
        assert!(udp.rebind(&both[1..], None));
        assert_eq!(udp.addresses().len(), 1);
    }

    #[tokio::test]
    async fn a_busy_socket_does_not_keep_another_from_its_turn() {
        let mut udp = Udp::bind(&[address("127.0.0.1", true), address("127.0.0.2", true)], None);
        let locals: Vec<_> = udp.sockets.iter().map(|(local, _)| *local).collect();
        let sender = std::net::UdpSocket::bind("127.0.0.1:0").expect("a socket");
        for _ in 0..3 {
            sender.send_to(b"a", locals[0]).expect("sent");
        }
        sender.send_to(b"b", locals[1]).expect("sent");
        let mut got = Vec::new();
        for _ in 0..2 {
            let index = udp.readable().await;
            got.extend(udp.receive(index).map(|(_, _, payload)| payload.to_vec()));
        }
        got.sort();
        assert_eq!(got, [b"a", b"b"]);
    }
}
