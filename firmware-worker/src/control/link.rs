//! A control socket in tokio: typed messages, size and rate checked.

use super::{MAX_MESSAGE, MAX_RATE, Owned, watch};
use hal::process::Socket;
use serde::{Serialize, de::DeserializeOwned};
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};
use tokio::io::unix::AsyncFd;

/// What can go wrong on a control socket. Every variant but `Full` means: detach the peer.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The socket failed.
    #[error("control socket: {call}: {source}")]
    System {
        /// Operation.
        call: &'static str,
        /// Why.
        source: io::Error,
    },
    /// The peer is gone.
    #[error("control socket: closed by the peer")]
    Closed,
    /// The peer does not read: our send buffer is full.
    #[error("control socket: the peer does not read")]
    Full,
    /// No message of this protocol.
    #[error("control socket: malformed message: {0}")]
    Malformed(String),
    /// Too many messages.
    #[error("control socket: more than {MAX_RATE} messages in a second")]
    Flooded,
    /// Ours is too long: a bug, or text that was not bounded.
    #[error("control socket: a message of {0} bytes does not fit")]
    TooLong(usize),
}

/// One end of a control socket.
#[derive(Debug)]
pub struct Link {
    socket: AsyncFd<Owned<Socket>>,
    buffer: Box<[u8; MAX_MESSAGE]>,
    window: Instant,
    in_window: u32,
}

impl Link {
    /// Takes the socket into the current tokio runtime.
    pub fn new(socket: Socket) -> Result<Self, LinkError> {
        let socket = watch(socket).map_err(|source| LinkError::System { call: "register", source })?;
        Ok(Self { socket, buffer: Box::new([0; MAX_MESSAGE]), window: Instant::now(), in_window: 0 })
    }

    /// Sends at once or fails with `Full`: control sockets never make their sender wait.
    pub fn send<T: Serialize>(&self, message: &T, fds: &[BorrowedFd<'_>]) -> Result<(), LinkError> {
        let bytes = postcard::to_stdvec(message).map_err(|e| LinkError::Malformed(e.to_string()))?;
        if bytes.len() > MAX_MESSAGE {
            return Err(LinkError::TooLong(bytes.len()));
        }
        self.socket.get_ref().0.send(&bytes, fds).map_err(|source| match source.kind() {
            io::ErrorKind::WouldBlock => LinkError::Full,
            io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => LinkError::Closed,
            _ => LinkError::System { call: "send", source },
        })
    }

    /// The next message and the descriptors beside it. Cancel-safe.
    pub async fn receive<T: DeserializeOwned>(&mut self) -> Result<(T, Vec<OwnedFd>), LinkError> {
        std::future::poll_fn(|cx| self.poll_receive(cx)).await
    }

    /// As [`Link::receive`], for a task that watches many links at once.
    pub fn poll_receive<T: DeserializeOwned>(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(T, Vec<OwnedFd>), LinkError>> {
        loop {
            let mut guard =
                ready!(self.socket.poll_read_ready(cx)).map_err(|source| LinkError::System { call: "wait", source })?;
            match guard.get_inner().0.receive(&mut self.buffer[..]) {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => guard.clear_ready(),
                result => return Poll::Ready(self.decode(result)),
            }
        }
    }

    /// A message that waits now, if any: asks the socket itself, not what the runtime knows of it.
    pub fn try_receive<T: DeserializeOwned>(&mut self) -> Result<Option<(T, Vec<OwnedFd>)>, LinkError> {
        match self.socket.get_ref().0.receive(&mut self.buffer[..]) {
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => Ok(None),
            result => self.decode(result).map(Some),
        }
    }

    fn decode<T: DeserializeOwned>(
        &mut self,
        received: io::Result<(usize, Vec<OwnedFd>)>,
    ) -> Result<(T, Vec<OwnedFd>), LinkError> {
        let (length, fds) = match received {
            Ok((0, _)) => return Err(LinkError::Closed),
            Ok(received) => received,
            Err(e) if e.kind() == io::ErrorKind::ConnectionReset => return Err(LinkError::Closed),
            Err(e) if e.kind() == io::ErrorKind::InvalidData => return Err(LinkError::Malformed(e.to_string())),
            Err(source) => return Err(LinkError::System { call: "receive", source }),
        };
        self.count()?;
        let message = postcard::from_bytes(&self.buffer[..length]).map_err(|e| LinkError::Malformed(e.to_string()))?;
        Ok((message, fds))
    }

    fn count(&mut self) -> Result<(), LinkError> {
        if self.window.elapsed() > Duration::from_secs(1) {
            self.window = Instant::now();
            self.in_window = 0;
        }
        self.in_window += 1;
        if self.in_window > MAX_RATE { Err(LinkError::Flooded) } else { Ok(()) }
    }
}
