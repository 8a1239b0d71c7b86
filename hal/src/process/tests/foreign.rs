//! Sockets whose other end is held by who may mean no good.

use super::*;

#[test]
fn a_foreign_peer_has_no_descriptors_to_give() {
    let (a, b) = Socket::pair().unwrap();
    let b = b.with_foreign_peer();
    let (mut reading, writing) = std::io::pipe().unwrap();
    send_many(&a, &[writing.as_raw_fd(); 12]);
    a.send(b"with one that nobody receives", &[writing.as_fd()]).unwrap();
    drop(writing);
    assert_eq!(b.receive(&mut [0; 64]).unwrap_err().kind(), ErrorKind::InvalidData);
    drop(b);
    assert_eq!(reading.read(&mut [0]).unwrap(), 0, "the pipe has no writer left");
}

#[test]
fn what_a_foreign_peer_sends_makes_nobody_wait_who_closes_it() {
    let (a, b) = Socket::pair().unwrap();
    let b = b.with_foreign_peer();
    let (mut streams, mut deaf) = (Vec::new(), Vec::new());
    for _ in 0..2 {
        let (stream, peer) = lingering();
        streams.push(stream);
        deaf.push(peer);
    }
    a.send(b"received", &[streams[0].as_fd()]).unwrap();
    a.send(b"never received", &[streams[1].as_fd()]).unwrap();
    drop(streams);
    let start = Instant::now();
    assert_eq!(b.receive(&mut [0; 64]).unwrap_err().kind(), ErrorKind::InvalidData);
    drop(b);
    assert!(start.elapsed() < LINGER / 4, "took {:?}", start.elapsed());
}

/// Its peer may come with it, so that nobody ever reads what it has to say; and they may come in a socket that comes.
#[test]
fn what_a_foreign_peer_sends_is_closed_soon_all_of_it() {
    let (a, b) = Socket::pair().unwrap();
    let b = b.with_foreign_peer();
    let (mut reading, writing) = std::io::pipe().unwrap();
    let (inner, other) = Socket::pair().unwrap();
    for (socket, text) in [(&inner, &b"in a socket"[..]), (&a, b"received"), (&a, b"never received")] {
        let (stream, deaf) = lingering();
        let fds = [stream.as_fd(), writing.as_fd(), other.as_fd(), deaf.as_fd()];
        socket.send(text, if text == b"in a socket" { &fds[..2] } else { &fds }).unwrap();
    }
    drop((writing, inner, other));
    assert_eq!(b.receive(&mut [0; 64]).unwrap_err().kind(), ErrorKind::InvalidData);
    drop(b);
    let start = Instant::now();
    assert_eq!(reading.read(&mut [0]).unwrap(), 0, "the pipe has no writer left");
    assert!(start.elapsed() < LINGER / 4, "took {:?}", start.elapsed());
}

/// How long the last close of [`lingering`] takes.
const LINGER: Duration = Duration::from_secs(20);

/// A stream whose peer never reads, and the peer.
fn lingering() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (peer, _) = listener.accept().unwrap();
    stream.set_nonblocking(true).unwrap();
    while stream.write(&[0; 65536]).is_ok() {}
    let linger = libc::linger { l_onoff: 1, l_linger: LINGER.as_secs() as libc::c_int };
    let length = size_of::<libc::linger>() as libc::socklen_t;
    // SAFETY: a valid structure and its length.
    let set = unsafe {
        libc::setsockopt(stream.as_raw_fd(), libc::SOL_SOCKET, libc::SO_LINGER, (&raw const linger).cast(), length)
    };
    assert_eq!(set, 0);
    (stream, peer)
}
