//! A control socket in tokio: typed messages, size and rate checked.

use super::{MAX_MESSAGE, MAX_RATE, Owned, Rate, watch};
use hal::process::Socket;
use serde::{Serialize, de::DeserializeOwned};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::task::{Context, Poll, ready};
use std::time::Instant;
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
    /// Of a peer that is not trusted: a job may cause as many messages between those that are.
    rate: Option<Rate>,
}

impl Link {
    /// Takes the socket into the current tokio runtime. A foreign peer is held to [`MAX_RATE`].
    pub fn new(socket: Socket) -> Result<Self, LinkError> {
        let rate = socket.has_foreign_peer().then(|| Rate::new(MAX_RATE, Instant::now()));
        let socket = watch(socket).map_err(|source| LinkError::System { call: "register", source })?;
        Ok(Self { socket, buffer: Box::new([0; MAX_MESSAGE]), rate })
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

    /// Takes the socket out of the runtime.
    #[cfg(test)]
    pub fn into_socket(self) -> Socket {
        self.socket.into_inner().0
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
        if self.rate.as_mut().is_some_and(|rate| rate.is_exceeded(Instant::now())) {
            return Err(LinkError::Flooded);
        }
        let message = postcard::from_bytes(&self.buffer[..length]).map_err(|e| LinkError::Malformed(e.to_string()))?;
        Ok((message, fds))
    }
}

impl AsRawFd for Link {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::{FromJob, ToJob};

    fn pair() -> (Link, Socket) {
        let (ours, theirs) = Socket::pair().unwrap();
        (Link::new(ours.with_foreign_peer()).unwrap(), theirs)
    }

    #[tokio::test]
    async fn a_peer_that_floods_is_found_out_within_its_second() {
        let (mut link, peer) = pair();
        let message = postcard::to_stdvec(&FromJob::Left).unwrap();
        for sent in 0.. {
            peer.send(&message, &[]).unwrap();
            match link.receive::<FromJob>().await {
                Ok(_) => assert!(sent < MAX_RATE),
                Err(error) => {
                    return assert!(matches!(error, LinkError::Flooded) && sent == MAX_RATE, "{sent} {error}");
                }
            }
        }
    }

    #[tokio::test]
    async fn a_trusted_peer_may_say_as_much_as_jobs_make_it_say() {
        let (ours, peer) = Socket::pair().unwrap();
        let mut link = Link::new(ours).unwrap();
        for _ in 0..=MAX_RATE {
            peer.send(&postcard::to_stdvec(&FromJob::Left).unwrap(), &[]).unwrap();
            link.receive::<FromJob>().await.unwrap();
        }
    }

    #[tokio::test]
    async fn what_is_no_message_or_too_long_is_malformed() {
        let (mut link, peer) = pair();
        peer.send(&[0xff; 9], &[]).unwrap();
        assert!(matches!(link.receive::<FromJob>().await, Err(LinkError::Malformed(_))));
        peer.send(&[0; MAX_MESSAGE + 1], &[]).unwrap();
        assert!(matches!(link.try_receive::<FromJob>(), Err(LinkError::Malformed(_))));
    }

    #[tokio::test]
    async fn a_peer_that_does_not_read_never_makes_the_sender_wait() {
        let (link, _peer) = pair();
        let error = (0..100_000).find_map(|_| link.send(&ToJob::Ack, &[]).err());
        assert!(matches!(error, Some(LinkError::Full)), "{error:?}");
    }

    #[tokio::test]
    async fn asking_without_waiting_sees_what_was_sent_just_now_and_then_the_end() {
        let (mut link, peer) = pair();
        assert!(link.try_receive::<FromJob>().unwrap().is_none());
        peer.send(&postcard::to_stdvec(&FromJob::Rejoining).unwrap(), &[]).unwrap();
        drop(peer);
        assert!(matches!(link.try_receive::<FromJob>(), Ok(Some((FromJob::Rejoining, _)))));
        assert!(matches!(link.try_receive::<FromJob>(), Err(LinkError::Closed)));
    }
}
