//! The jobs that read from this owner. Whatever one of them does, the others and the device never wait for it: every
//! send either fits its socket at once or detaches it, and so does every message that an honest job would not send.

use super::media::Media;
use crate::control::{FromReader, Link, LinkError, ToReader, VERSION, is_spoken};
use hal::doorbell::Doorbell;
use hal::process::Socket;
use protocol::device::ReaderId;
use std::borrow::Cow;
use std::future::poll_fn;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::task::{Context, Poll};

/// Readers of one device: as many as a worker may have jobs, each of which has one place. More are refused.
const MAX_READERS: usize = 256;

/// Why a reader was let go.
#[derive(Debug, thiserror::Error)]
pub enum Ended {
    /// Its socket failed, closed, flooded or spoke another language.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// It said so.
    #[error("detached")]
    Detached,
    /// It is of another build.
    #[error("speaks version {0}, this owner {VERSION}")]
    Version(u32),
    /// It sent something out of order, or broke its PCM ring.
    #[error("broke the protocol: {0}")]
    Violation(Cow<'static, str>),
    /// No ring could be made for it.
    #[error(transparent)]
    Ring(#[from] hal::ring::Error),
    /// No descriptor could be made for it.
    #[error("{call}: {source}")]
    System {
        /// What was tried.
        call: &'static str,
        /// Why it failed.
        source: std::io::Error,
    },
    /// Its job asked again: it has one place, so that no job can take those of others.
    #[error("replaced by a newer one of the same job")]
    Replaced,
    /// There are enough.
    #[error("more than {MAX_READERS} readers")]
    TooMany,
}

/// One job.
#[derive(Debug)]
pub struct Reader {
    /// Its name for the policy and the outlet.
    pub id: ReaderId,
    /// Named in log lines.
    pub job: String,
    link: Link,
    bell: Arc<Doorbell>,
    /// Given away with `Attached`.
    listener: Option<OwnedFd>,
}

impl Reader {
    /// Answers the first message with the ring and the doorbell.
    pub fn attach(&mut self, version: u32, media: &Media) -> Result<(), Ended> {
        if !is_spoken(version) {
            return Err(Ended::Version(version));
        }
        let listener = self.listener.take().ok_or(Ended::Violation("attached twice".into()))?;
        let (message, ring) = media.attach(self.id, &self.bell)?;
        Ok(self.link.send(&message, &[ring.as_fd(), listener.as_fd()])?)
    }

    /// Whether it has said hello.
    pub fn is_attached(&self) -> bool {
        self.listener.is_none()
    }

    /// Rung with each unit while it is live.
    pub fn bell(&self) -> &Arc<Doorbell> {
        &self.bell
    }

    /// Tells it something; it hears nothing before it has attached.
    pub fn tell(&self, message: &ToReader) -> Result<(), Ended> {
        if self.is_attached() {
            self.link.send(message, &[])?;
        }
        Ok(())
    }
}

/// All of them.
#[derive(Debug, Default)]
pub struct Readers {
    list: Vec<Reader>,
    next_id: u64,
    /// Whose turn it is to be asked first, so that one that always has something to say does not silence the others.
    turn: usize,
}

impl Readers {
    /// The reader of this job, if it has one.
    pub fn of(&self, job: &str) -> Option<ReaderId> {
        self.list.iter().find(|reader| reader.job == job).map(|reader| reader.id)
    }

    /// Takes a new reader's socket.
    pub fn add(&mut self, job: String, socket: Socket) -> Result<ReaderId, Ended> {
        if self.list.len() >= MAX_READERS {
            return Err(Ended::TooMany);
        }
        let (bell, listener) = Doorbell::new().map_err(|source| Ended::System { call: "make a doorbell", source })?;
        let id = ReaderId(self.next_id);
        self.next_id += 1;
        let link = Link::new(socket)?;
        self.list.push(Reader { id, job, link, bell: Arc::new(bell), listener: Some(listener) });
        Ok(id)
    }

    /// The one named `id`.
    pub fn get(&mut self, id: ReaderId) -> Option<&mut Reader> {
        self.list.iter_mut().find(|reader| reader.id == id)
    }

    /// Closes its socket.
    pub fn remove(&mut self, id: ReaderId) -> Option<Reader> {
        let at = self.list.iter().position(|reader| reader.id == id)?;
        Some(self.list.swap_remove(at))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Tells all; gives back those that did not take it.
    pub fn tell_all(&self, message: &ToReader) -> Vec<(ReaderId, Ended)> {
        let refused = |reader: &Reader| reader.tell(message).err().map(|why| (reader.id, why));
        self.list.iter().filter_map(refused).collect()
    }

    /// The next message of any of them. Cancel-safe; never ready while there are none.
    pub async fn next(&mut self) -> (ReaderId, Result<FromReader, Ended>) {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<(ReaderId, Result<FromReader, Ended>)> {
        let count = self.list.len();
        for i in 0..count {
            let at = (self.turn + i) % count;
            let reader = &mut self.list[at];
            if let Poll::Ready(received) = reader.link.poll_receive(cx) {
                self.turn = at + 1;
                let message = match received {
                    Ok((FromReader::Detach, _)) => Err(Ended::Detached),
                    Ok((message, _)) => Ok(message),
                    Err(error) => Err(error.into()),
                };
                return Poll::Ready((reader.id, message));
            }
        }
        Poll::Pending
    }
}
