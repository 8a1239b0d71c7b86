//! A speaker of the board, as user code plays into it.

use super::Error;
use super::request::{Reply, Request};
use crate::control::{Demand, FromReader, Link, LinkError, OLDEST, ToReader};
use hal::process::Socket;
use hal::ring::pcm::{Writer, now_us};
use protocol::backoff::Backoff;
use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;
use tokio::net::UnixStream;
use tokio::sync::{mpsc, oneshot};

pub use hal::ring::pcm::Frame;

/// First and longest wait before a dead owner's speaker is asked for again. The supervisor has a backoff of its own.
const RETRY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// Until a question to the supervisor is repeated: it may have lost the owner in between. Longer than its backoff.
const ASK_TIMEOUT: Duration = Duration::from_secs(35);

/// A speaker. Sound is stereo at 48 kHz, S16, a [`Frame`] for left and right; a card with one channel gets their mean.
///
/// What is written waits up to 170 ms for the card, 40 ms where the writer keeps the pace of real time: the owner of the card
/// follows the writer's lead and evens out the two clocks. Jobs are mixed. While the card is unplugged, writing waits.
pub struct Speaker {
    name: String,
    requests: mpsc::Sender<Request>,
    line: Option<Line>,
    backoff: Backoff,
    _lease: Arc<()>,
}

/// To a living owner.
struct Line {
    link: Link,
    ring: Writer,
    bell: UnixStream,
    demand: Demand,
}

/// Which speakers are in use by this job: the owner has one place for each job.
#[derive(Debug, Default)]
pub(super) struct Leases(Mutex<BTreeMap<String, Weak<()>>>);

impl Leases {
    fn take(&self, name: &str) -> Option<Arc<()>> {
        let mut leases = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        leases.retain(|_, lease| lease.strong_count() > 0);
        if leases.contains_key(name) {
            return None;
        }
        let lease = Arc::new(());
        leases.insert(name.to_owned(), Arc::downgrade(&lease));
        Some(lease)
    }
}

impl Speaker {
    pub(super) async fn open(name: &str, leases: &Leases, requests: mpsc::Sender<Request>) -> Result<Self, Error> {
        let lease = leases.take(name).ok_or_else(|| Error::InUse(name.to_owned()))?;
        let backoff = Backoff::new(RETRY.0, RETRY.1);
        let mut speaker = Self { name: name.to_owned(), requests, line: None, backoff, _lease: lease };
        speaker.line().await?;
        Ok(speaker)
    }

    /// Its name in the configuration.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Plays these frames after all that was written before; waits while there is no room. When it is cancelled, a part of
    /// them may have been written.
    pub async fn write(&mut self, mut frames: &[Frame]) -> Result<(), Error> {
        loop {
            let line = self.line().await?;
            line.want(Demand::Live);
            frames = &frames[line.ring.write(now_us(), frames)..];
            if frames.is_empty() {
                line.ring.hold(false);
                return Ok(());
            }
            self.room().await;
        }
    }

    /// Waits until all that was written has been played, and lets the card rest until the next write: it closes half a
    /// minute after the last job.
    pub async fn drain(&mut self) -> Result<(), Error> {
        loop {
            let line = self.line().await?;
            if line.ring.level() == 0 {
                line.ring.hold(false);
                line.want(Demand::Off);
                return Ok(());
            }
            self.room().await;
        }
    }

    /// Throws away what has not been played yet, and lets the card rest.
    pub fn clear(&mut self) {
        if let Some(line) = &mut self.line {
            line.ring.clear();
            line.want(Demand::Off);
        }
    }

    /// How much sound waits to be played.
    pub fn waiting(&self) -> Duration {
        let frames = self.line.as_ref().map_or(0, |line| line.ring.level());
        Duration::from_micros(frames as u64 * 1000 / 48)
    }

    /// Waits until the owner has taken something. If it is gone, what was written is lost with it.
    async fn room(&mut self) {
        let Some(line) = &mut self.line else { return };
        line.ring.hold(true);
        if let Err(error) = line.wait(&self.name).await {
            tracing::warn!(speaker = self.name, %error, "its owner is gone; asking for it again");
            self.line = None;
        }
    }

    /// The line to the owner; waits until there is one.
    async fn line(&mut self) -> Result<&mut Line, Error> {
        while self.line.is_none() {
            match self.connect().await? {
                Ok(line) => {
                    self.backoff.reset();
                    self.line = Some(line);
                }
                Err(why) => {
                    tracing::warn!(speaker = self.name, why, "not attached");
                    // One speaker a job: there is no herd to spread by jitter.
                    tokio::time::sleep(self.backoff.fail(u64::MAX)).await;
                }
            }
        }
        Ok(self.line.as_mut().expect("just connected"))
    }

    /// One attempt. The outer error is final.
    async fn connect(&self) -> Result<Result<Line, String>, Error> {
        let (reply, answer): (Reply<OwnedFd>, _) = oneshot::channel();
        let request = Request::OpenSpeaker { name: self.name.clone(), reply };
        self.requests.send(request).await.map_err(|_| Error::Ended)?;
        match tokio::time::timeout(ASK_TIMEOUT, answer).await {
            Err(_) => Ok(Err("the supervisor does not answer".into())),
            Ok(Err(_)) => Err(Error::Ended),
            Ok(Ok(socket)) => Ok(Line::attach(socket?).await.map_err(|error| error.to_string())),
        }
    }
}

impl Line {
    async fn attach(socket: OwnedFd) -> Result<Self, LinkError> {
        let system = |call| move |source| LinkError::System { call, source };
        let mut link = Link::new(Socket::from_fd(socket).map_err(system("take over"))?)?;
        link.send(&FromReader::Attach { version: OLDEST }, &[])?;
        let (ToReader::AttachedSpeaker, fds) = link.receive().await? else {
            return Err(LinkError::Malformed("the device is no speaker".into()));
        };
        let [ring, bell]: [OwnedFd; 2] = fds
            .try_into()
            .map_err(|fds: Vec<_>| LinkError::Malformed(format!("{} descriptors beside AttachedSpeaker", fds.len())))?;
        let ring = Writer::map(ring).map_err(|error| LinkError::Malformed(error.to_string()))?;
        let bell = StdUnixStream::from(bell);
        bell.set_nonblocking(true).map_err(system("set up the doorbell"))?;
        let bell = UnixStream::from_std(bell).map_err(system("register the doorbell"))?;
        Ok(Self { link, ring, bell, demand: Demand::Off })
    }

    /// An owner that does not read is found when we wait for it.
    fn want(&mut self, demand: Demand) {
        if self.demand != demand && self.link.send(&FromReader::Demand(demand), &[]).is_ok() {
            self.demand = demand;
        }
    }

    /// Waits for the bell or a message.
    async fn wait(&mut self, name: &str) -> Result<(), LinkError> {
        let mut rung = [0; 16];
        tokio::select! {
            biased;
            message = self.link.receive() => match message?.0 {
                ToReader::Running { .. } => tracing::debug!(speaker = name, "the card runs"),
                ToReader::Lost { why } => tracing::warn!(speaker = name, why, "the card is gone; waiting for it"),
                ToReader::Attached { .. } | ToReader::AttachedSpeaker => {
                    return Err(LinkError::Malformed("attached twice".into()));
                }
            },
            ready = self.bell.readable() => {
                let read = ready.and_then(|()| self.bell.try_read(&mut rung));
                match read {
                    Ok(0) => return Err(LinkError::Closed),
                    Ok(_) => {}
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    Err(source) => return Err(LinkError::System { call: "read the doorbell", source }),
                }
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Speaker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Speaker")
            .field("name", &self.name)
            .field("attached", &self.line.is_some())
            .finish_non_exhaustive()
    }
}
