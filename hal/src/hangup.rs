//! Waiting for the other end of a socket to go away, without reading from it.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Blocks until the peer has closed its end, also when unread packets are left.
pub fn wait(socket: BorrowedFd<'_>) -> io::Result<()> {
    // No events are asked for: POLLHUP and POLLERR are always reported, and data must not wake this up.
    let mut poll = libc::pollfd { fd: socket.as_raw_fd(), events: 0, revents: 0 };
    loop {
        // SAFETY: one valid pollfd, whose descriptor is borrowed for longer than the call.
        match unsafe { libc::poll(&mut poll, 1, -1) } {
            -1 => {
                let error = io::Error::last_os_error();
                if error.kind() != io::ErrorKind::Interrupted {
                    return Err(error);
                }
            }
            _ if poll.revents & libc::POLLNVAL != 0 => return Err(io::ErrorKind::InvalidInput.into()),
            _ => return Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;
    use std::sync::mpsc;
    use std::time::Duration;

    #[test]
    fn data_does_not_end_the_wait_but_the_closed_peer_does() {
        let (ours, mut theirs) = UnixStream::pair().expect("socketpair");
        let (done, ended) = mpsc::channel();
        let waiter = std::thread::spawn(move || done.send(super::wait(ours.as_fd())));
        theirs.write_all(b"x").expect("room for one byte");
        assert!(ended.recv_timeout(Duration::from_millis(50)).is_err(), "woken by data");
        drop(theirs);
        assert!(ended.recv_timeout(Duration::from_secs(5)).expect("woken by the hangup").is_ok());
        assert!(waiter.join().is_ok());
    }
}
