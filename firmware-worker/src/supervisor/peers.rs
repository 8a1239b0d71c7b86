//! Who is at the other end of a TCP connection on this board.

use std::fs;
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

/// The kernel's tables of TCP sockets.
const TABLES: [&str; 2] = ["/proc/net/tcp", "/proc/net/tcp6"];

/// Reads of the tables. None is of one moment: where a socket before it closes meanwhile, a line can be missed.
const READS: usize = 3;

/// Whose a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Whose {
    /// Another machine's.
    Elsewhere,
    /// This user's, on this board.
    User(u32),
    /// Somebody's on this board, who has closed it or was missed.
    Unknown,
}

/// Whose socket at `peer` is connected to ours at `local`. The tables may be long: not for the loop.
pub(super) fn whose(peer: SocketAddr, local: SocketAddr) -> Whose {
    let (peer, local) = (plain(peer), plain(local));
    if !is_ours(peer) {
        return Whose::Elsewhere;
    }
    let look = |table: &str| find(&fs::read_to_string(table).ok()?, peer, local);
    (0..READS).find_map(|_| TABLES.into_iter().find_map(look)).map_or(Whose::Unknown, Whose::User)
}

/// Nothing can be bound to another machine's address. What fails for another reason may be one of this board.
fn is_ours(mut address: SocketAddr) -> bool {
    address.set_port(0);
    UdpSocket::bind(address).map_or_else(|e| e.kind() != ErrorKind::AddrNotAvailable, |_| true)
}

/// In such a table: number, local address, remote address, state, queues, timer, retransmits, user.
fn find(table: &str, local: SocketAddr, remote: SocketAddr) -> Option<u32> {
    table.lines().skip(1).find_map(|line| {
        let mut words = line.split_whitespace().skip(1);
        let (ours, theirs) = (address(words.next()?)?, address(words.next()?)?);
        words.nth(4)?.parse().ok().filter(|_| is_same(ours, local) && is_same(theirs, remote))
    })
}

/// Words of 32 bits as they lie in memory, and the port as a number.
fn address(text: &str) -> Option<SocketAddr> {
    let (ip, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let word = |at: usize| Some(u32::from_str_radix(ip.get(at * 8..at * 8 + 8)?, 16).ok()?.to_ne_bytes());
    let ip: IpAddr = match ip.len() {
        8 => Ipv4Addr::from(word(0)?).into(),
        32 => {
            let mut bytes = [0; 16];
            for (at, four) in bytes.as_chunks_mut().0.iter_mut().enumerate() {
                *four = word(at)?;
            }
            Ipv6Addr::from(bytes).into()
        }
        _ => return None,
    };
    Some(plain(SocketAddr::new(ip, port)))
}

/// An IPv4 address is one, whichever way it is written. An IPv6 address keeps its scope.
fn plain(mut address: SocketAddr) -> SocketAddr {
    address.set_ip(address.ip().to_canonical());
    address
}

/// Tables have no scope.
fn is_same(one: SocketAddr, other: SocketAddr) -> bool {
    (one.ip(), one.port()) == (other.ip(), other.port())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream};

    #[test]
    fn the_user_of_a_connection_on_this_board_is_known_and_one_that_is_missed_is_not_taken_for_another_machines() {
        for host in ["127.0.0.1:0", "[::1]:0"] {
            let listener = TcpListener::bind(host).unwrap();
            let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let (server, peer) = listener.accept().unwrap();
            let local = server.local_addr().unwrap();
            assert_eq!(whose(peer, local), Whose::User(hal::process::user()), "{host}");
            assert_eq!(whose(SocketAddr::from(([192, 0, 2, 1], peer.port())), local), Whose::Elsewhere);
            // Nobody connects from there.
            assert_eq!(whose(SocketAddr::new(peer.ip(), 1), local), Whose::Unknown, "{host}");
            drop(client);
        }
    }

    #[test]
    fn each_line_has_its_own_user_and_what_is_no_line_is_passed_over() {
        let word = |ip: [u8; 4]| format!("{:08X}", u32::from_ne_bytes(ip));
        let (one, other) = (word([127, 0, 0, 1]), word([10, 0, 0, 7]));
        let line = |ours: &str, uid: u32| {
            format!("   0: {ours}:1F91 {one}:1F90 01 00000000:00000000 00:00000000 00000000 {uid:>5} 0 1\n")
        };
        let table =
            ["  sl  local_address rem_address   st ...\n", "garbage\n", &line(&other, 7), &line(&one, 9)].concat();
        let at = |text: &str| text.parse().unwrap();
        assert_eq!(find(&table, at("127.0.0.1:8081"), at("127.0.0.1:8080")), Some(9));
        assert_eq!(find(&table, at("10.0.0.7:8081"), at("127.0.0.1:8080")), Some(7));
        assert_eq!(find(&table, at("127.0.0.1:8082"), at("127.0.0.1:8080")), None);
    }
}
