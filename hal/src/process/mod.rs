//! Processes and descriptors: spawn by re-exec into a cgroup, pidfds, SEQPACKET sockets with descriptor passing.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

/// A connected SEQPACKET socket, close-on-exec, non-blocking: one message a packet, descriptors beside it.
#[derive(Debug)]
pub struct Socket(OwnedFd);

#[allow(unused_variables, clippy::todo)]
impl Socket {
    /// A connected pair.
    pub fn pair() -> io::Result<(Socket, Socket)> {
        todo!()
    }
    /// Takes over an inherited or received descriptor; sets it non-blocking and close-on-exec.
    pub fn from_fd(fd: OwnedFd) -> io::Result<Socket> {
        todo!()
    }
    /// Sends one packet. `WouldBlock` when the peer does not read; never raises SIGPIPE.
    pub fn send(&self, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        todo!()
    }
    /// Receives one packet into `buffer`: length and descriptors (close-on-exec, at most 4; more are closed).
    /// Length 0 is the end of the stream; a packet longer than the buffer is an `InvalidData` error.
    pub fn receive(&self, buffer: &mut [u8]) -> io::Result<(usize, Vec<OwnedFd>)> {
        todo!()
    }
    /// The descriptor.
    pub fn into_fd(self) -> OwnedFd {
        self.0
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl std::os::fd::AsRawFd for Socket {
    fn as_raw_fd(&self) -> std::os::fd::RawFd {
        std::os::fd::AsRawFd::as_raw_fd(&self.0)
    }
}

/// The running executable, held open so that children are the same binary even after an upgrade on disk.
#[derive(Debug)]
pub struct Executable(OwnedFd);

/// A child by its pidfd. Not reaped until [`Child::try_wait`] has said so; killed on drop? No: dropping leaks nothing but
/// leaves the process alone.
#[derive(Debug)]
pub struct Child {
    /// Process id, for logs and cgroups.
    pub pid: i32,
    pidfd: OwnedFd,
}

/// How a child ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Exit code.
    Code(i32),
    /// Signal.
    Signal(i32),
}

#[allow(unused_variables, clippy::todo)]
impl Executable {
    /// Opens `/proc/self/exe`.
    pub fn current() -> io::Result<Self> {
        todo!()
    }
    /// Starts it with `arguments` (argv[0] is `name`), `control` as descriptor 3, stdin from /dev/null, stdout and
    /// stderr inherited, every other descriptor closed, signal mask and dispositions reset, own process group, an empty
    /// environment but for `environment`, and, with `cgroup` (an open cgroup directory), inside that cgroup before exec.
    pub fn spawn(
        &self,
        name: &str,
        arguments: &[&str],
        environment: &[(&str, &str)],
        control: Socket,
        cgroup: Option<BorrowedFd<'_>>,
    ) -> io::Result<Child> {
        todo!()
    }
}

#[allow(unused_variables, clippy::todo)]
impl Child {
    /// Readable when it has ended.
    pub fn pidfd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }
    /// Reaps it if it has ended.
    pub fn try_wait(&self) -> io::Result<Option<Ended>> {
        todo!()
    }
    /// Sends a signal; `Ok` if it is already gone.
    pub fn signal(&self, signal: i32) -> io::Result<()> {
        todo!()
    }
}

/// Descriptor 3, in a child started by [`Executable::spawn`]; once per process.
pub fn inherited_control() -> io::Result<Socket> {
    todo_inherited()
}

fn todo_inherited() -> io::Result<Socket> {
    Err(io::Error::other("not written yet"))
}

/// A sealed memfd with these bytes, for messages that do not fit a packet.
pub fn sealed_memfd(_name: &str, _bytes: &[u8]) -> io::Result<OwnedFd> {
    Err(io::Error::other("not written yet"))
}

/// Reads a sealed memfd of at most `limit` bytes; refuses one that could still change or shrink.
pub fn read_sealed(_fd: OwnedFd, _limit: usize) -> io::Result<Vec<u8>> {
    Err(io::Error::other("not written yet"))
}

/// CLOCK_MONOTONIC in ns, the clock of rings and kernel capture stamps.
pub fn monotonic_ns() -> u64 {
    0
}

/// A directory opened for [`Executable::spawn`].
pub fn open_directory(_path: &Path) -> io::Result<OwnedFd> {
    Err(io::Error::other("not written yet"))
}
