//! SEQPACKET sockets with a place in the file system, for those who were not started by us.

use super::{Socket, check, uninterrupted};
use std::fs::{self, Permissions};
use std::io::{Error, ErrorKind, Result};
use std::mem::{offset_of, size_of, zeroed};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Connections that wait to be accepted; more are refused by the kernel.
const BACKLOG: libc::c_int = 16;

/// Who is at the other end of a socket, as the kernel knows it since the connection was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Process id; 0 if it lives in a PID namespace that we do not see.
    pub pid: i32,
    /// User id.
    pub uid: u32,
}

/// A listening SEQPACKET socket, non-blocking. Its file goes when it is dropped.
#[derive(Debug)]
pub struct Listener {
    socket: OwnedFd,
    path: PathBuf,
}

impl Listener {
    /// Listens at `path`, which our user alone may connect to. A file that nobody listens behind is replaced; `AddrInUse`
    /// if somebody does.
    pub fn bind(path: &Path) -> Result<Self> {
        match Socket::connect(path) {
            Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) => {}
            Ok(_) => return Err(Error::new(ErrorKind::AddrInUse, "another process listens there")),
            Err(e) => return Err(e),
        }
        let socket = new_socket()?;
        // In place only when it listens, so that nobody takes it for a dead one meanwhile.
        let preparing = path.with_extension("new");
        remove(&preparing)?;
        let (address, length) = address(&preparing)?;
        // SAFETY: `address` lives until the call returns, and `length` is not more than it has.
        check(unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), length) })?;
        let ready = fs::set_permissions(&preparing, Permissions::from_mode(0o600))
            // SAFETY: takes numbers only.
            .and_then(|()| check(unsafe { libc::listen(socket.as_raw_fd(), BACKLOG) }))
            .and_then(|_| fs::rename(&preparing, path));
        if ready.is_err() {
            // What went wrong before is the news.
            let _ = remove(&preparing);
        }
        ready.map(|()| Self { socket, path: path.to_owned() })
    }

    /// The next connection, and who made it. `WouldBlock` when there is none.
    pub fn accept(&self) -> Result<(Socket, Peer)> {
        let flags = libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
        let (listener, nobody) = (self.socket.as_raw_fd(), std::ptr::null_mut());
        // SAFETY: null pointers say that the peer's address, which has none, is not wanted.
        let accepted =
            uninterrupted(|| check(unsafe { libc::accept4(listener, nobody, std::ptr::null_mut(), flags) }))?;
        // SAFETY: the call has just made it and nobody else knows it.
        let socket = Socket::from_fd(unsafe { OwnedFd::from_raw_fd(accepted) })?;
        let peer = socket.peer()?;
        Ok((socket, peer))
    }

    /// Where it listens.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        // Whoever finds it later sees that nobody listens.
        let _ = fs::remove_file(&self.path);
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Socket {
    /// Connects to whoever listens at `path`. `ConnectionRefused` if nobody does, `WouldBlock` if too many wait.
    pub fn connect(path: &Path) -> Result<Socket> {
        let socket = new_socket()?;
        let (address, length) = address(path)?;
        // SAFETY: `address` lives until the call returns, and `length` is not more than it has.
        uninterrupted(|| check(unsafe { libc::connect(socket.as_raw_fd(), (&raw const address).cast(), length) }))?;
        Socket::from_fd(socket)
    }

    /// Who is at the other end.
    pub fn peer(&self) -> Result<Peer> {
        let mut peer = libc::ucred { pid: 0, uid: u32::MAX, gid: u32::MAX };
        let mut length = size_of::<libc::ucred>() as libc::socklen_t;
        let (option, place) = (libc::SO_PEERCRED, (&raw mut peer).cast());
        // SAFETY: the answer is a `ucred` and `length` says so.
        check(unsafe { libc::getsockopt(self.as_raw_fd(), libc::SOL_SOCKET, option, place, &mut length) })?;
        Ok(Peer { pid: peer.pid, uid: peer.uid })
    }
}

fn new_socket() -> Result<OwnedFd> {
    let kind = libc::SOCK_SEQPACKET | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: takes numbers only.
    let socket = check(unsafe { libc::socket(libc::AF_UNIX, kind, 0) })?;
    // SAFETY: the call has just made it and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(socket) })
}

fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

fn address(path: &Path) -> Result<(libc::sockaddr_un, libc::socklen_t)> {
    // SAFETY: all zeroes is an address without a name; some libcs have private fields, so it cannot be a literal.
    let mut address: libc::sockaddr_un = unsafe { zeroed() };
    address.sun_family = libc::AF_UNIX as libc::sa_family_t;
    let bytes = path.as_os_str().as_bytes();
    // The last byte stays 0.
    if bytes.is_empty() || bytes.contains(&0) || bytes.len() >= address.sun_path.len() {
        return Err(Error::new(ErrorKind::InvalidInput, "a socket's path has 1 to 107 bytes"));
    }
    for (to, from) in address.sun_path.iter_mut().zip(bytes) {
        *to = *from as libc::c_char;
    }
    Ok((address, (offset_of!(libc::sockaddr_un, sun_path) + bytes.len() + 1) as libc::socklen_t))
}

/// The user that this process acts as.
pub fn user() -> u32 {
    // SAFETY: takes nothing and cannot fail.
    unsafe { libc::geteuid() }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Place(PathBuf);

    impl Place {
        fn new(name: &str) -> Self {
            let directory = std::env::temp_dir().join(format!("fw-listener-{}-{name}", std::process::id()));
            fs::create_dir_all(&directory).unwrap();
            Self(directory)
        }

        fn file(&self) -> PathBuf {
            self.0.join("1.sock")
        }
    }

    impl Drop for Place {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn who_connects_is_known_by_process_and_user_and_packets_pass_both_ways() {
        let place = Place::new("packets");
        let listener = Listener::bind(&place.file()).unwrap();
        assert_eq!(listener.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
        let client = Socket::connect(&place.file()).unwrap();
        let (server, peer) = listener.accept().unwrap();
        assert_eq!(peer, Peer { pid: std::process::id() as i32, uid: user() });
        client.send(b"question", &[]).unwrap();
        let mut buffer = [0; 16];
        assert_eq!(server.receive(&mut buffer).unwrap().0, 8);
        server.send(b"answer", &[]).unwrap();
        assert_eq!(client.receive(&mut buffer).unwrap().0, 6);
        assert_eq!(client.peer().unwrap().uid, user());
    }

    #[test]
    fn a_file_of_a_dead_process_is_replaced_and_that_of_a_living_one_is_not() {
        let place = Place::new("stale");
        let first = Listener::bind(&place.file()).unwrap();
        assert_eq!(Listener::bind(&place.file()).unwrap_err().kind(), ErrorKind::AddrInUse);
        // As after a SIGKILL: the socket is closed and the file stays.
        let left = place.0.join("left");
        fs::rename(place.file(), &left).unwrap();
        drop(first);
        fs::rename(&left, place.file()).unwrap();
        assert_eq!(Socket::connect(&place.file()).unwrap_err().kind(), ErrorKind::ConnectionRefused);
        let second = Listener::bind(&place.file()).unwrap();
        assert!(Socket::connect(&place.file()).is_ok());
        drop(second);
        assert_eq!(fs::read_dir(&place.0).unwrap().count(), 0, "a file is left");
    }

    #[test]
    fn only_the_own_user_may_connect() {
        let place = Place::new("mode");
        let _listener = Listener::bind(&place.file()).unwrap();
        assert_eq!(fs::metadata(place.file()).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_path_that_no_address_holds_is_refused() {
        let long = PathBuf::from("x".repeat(108));
        assert_eq!(Listener::bind(&long).unwrap_err().kind(), ErrorKind::InvalidInput);
        assert_eq!(Socket::connect(Path::new("")).unwrap_err().kind(), ErrorKind::InvalidInput);
    }
}
