//! The control loop of a device owner: one task that owns the policy, the readers and the running device.
//!
//! ```text
//! supervisor --ToOwner-->  +-------+  --Wanted (latest values)-->  pipeline thread --> ring, doorbells
//! readers --FromReader-->  | Owner |
//! pipeline --Event------>  +-------+  --ToReader, FromOwner-->
//! ```
//!
//! Every input goes into `protocol::device::Owner`; its actions are carried out in one `match`.

mod losing;
mod opening;

use super::media::Media;
use super::pipeline::{Event, Failure, Pipeline};
use super::readers::{Ended, Readers};
use crate::config::{Device, DeviceKind};
use crate::control::{
    Demand, DeviceFacts, DriverBuffers, Encoder, FromOwner, FromReader, Link, LinkError, OwnerState, OwnerStats,
    ToOwner, ToReader, VERSION,
};
use hal::process::Socket;
use protocol::device::encoder::Board;
use protocol::device::{self as policy, Action, Heartbeat, Input, ReaderId, State};
use std::os::fd::OwnedFd;
use std::time::Instant;

/// Bytes of a device's configuration.
const MAX_SETUP: usize = 64 * 1024;
/// Characters of a reason that are passed on: paths and driver texts stay far below, and a message must fit.
const MAX_WHY_CHARS: usize = 400;

/// What ends an owner.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The supervisor's socket failed. Its closing is no error.
    #[error("supervisor: {0}")]
    Supervisor(#[from] LinkError),
    /// The first message was not a setup with its memfd.
    #[error("no setup came first")]
    NoSetup,
    /// The setup could not be read.
    #[error("setup: {0}")]
    Setup(String),
    /// The process could not set itself up.
    #[error("start: {0}")]
    Process(std::io::Error),
    /// No ring could be made.
    #[error(transparent)]
    Ring(#[from] hal::ring::Error),
}

/// A device owner.
#[derive(Debug)]
pub struct Owner {
    device: Device,
    supervisor: Link,
    policy: policy::Owner,
    readers: Readers,
    media: Media,
    pipeline: Option<Pipeline>,
    /// Of the pipeline's thread.
    heartbeat: Heartbeat,
    /// The supervisor was asked for a node and has not answered.
    awaiting_node: bool,
    /// The device is in use, and the supervisor was asked by whom and has not answered. Nobody is told before.
    busy: Option<String>,
    /// Hardware has run. From then on an automatic device that is unplugged is a lost one: nobody who watched a camera
    /// wants a test picture instead.
    had_hardware: bool,
    /// What the running device is, in plain words.
    description: String,
    /// What codes the pictures of the running camera.
    encoder: Option<Encoder>,
    /// The board's encoder, as this camera has found it.
    board: Board,
    /// Of the camera that runs or ran last.
    buffers: Option<DriverBuffers>,
    /// When what is being handled has happened.
    now: Instant,
}

#[derive(Debug)]
enum Happened {
    Supervisor(ToOwner, Vec<OwnedFd>),
    Reader(ReaderId, Result<FromReader, Ended>),
    Device(Event),
    Deadline,
    /// The device's thread must have turned by now.
    Pulse,
}

impl Owner {
    /// Says hello, reads the setup and makes the ring.
    pub async fn start(control: Socket) -> Result<Self, Error> {
        let mut supervisor = Link::new(control)?;
        supervisor.send(&FromOwner::Hello { version: VERSION }, &[])?;
        let (ToOwner::Setup, mut fds) = supervisor.receive().await? else { return Err(Error::NoSetup) };
        let body = hal::process::read_sealed(fds.pop().ok_or(Error::NoSetup)?, MAX_SETUP)
            .map_err(|e| Error::Setup(e.to_string()))?;
        let device: Device = postcard::from_bytes(&body).map_err(|e| Error::Setup(e.to_string()))?;
        let (ceiling, floor, keyframes) = match &device.kind {
            DeviceKind::Camera(c) => (c.bitrate, c.min_bitrate, true),
            DeviceKind::Microphone(m) => (m.bitrate, m.bitrate, false),
            // Nothing is encoded.
            DeviceKind::Speaker(_) => (0, 0, false),
        };
        let config = policy::Config { ceiling, floor, keyframes, warm: device.warm() };
        let now = Instant::now();
        Ok(Self {
            media: Media::of(&device)?,
            policy: policy::Owner::new(config, now),
            device,
            supervisor,
            readers: Readers::default(),
            pipeline: None,
            heartbeat: Heartbeat::new(now),
            awaiting_node: false,
            busy: None,
            had_hardware: false,
            description: String::new(),
            encoder: None,
            board: Board::default(),
            buffers: None,
            now,
        })
    }

    /// Serves until the supervisor closes its socket.
    pub async fn serve(&mut self) -> Result<(), Error> {
        loop {
            self.act_on_all();
            match self.happened().await {
                Ok(happened) => self.turn(happened, Instant::now()),
                Err(LinkError::Closed) => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Handles what has happened at `now`; what is to be done about it waits in the policy.
    fn turn(&mut self, happened: Happened, now: Instant) {
        self.now = now;
        match happened {
            Happened::Supervisor(message, fds) => self.supervised(message, fds),
            Happened::Reader(id, Ok(message)) => self.read(id, message),
            Happened::Reader(id, Err(why)) => self.let_go(id, &why),
            Happened::Device(event) => self.device_event(event),
            Happened::Deadline => self.handle(Input::Timeout),
            Happened::Pulse => self.look(),
        }
    }

    /// The process ends now: a command that a camera is read from must not be left behind.
    pub fn abandon(&self) {
        self.steer(Pipeline::abandon);
    }

    async fn happened(&mut self) -> Result<Happened, LinkError> {
        let due = until(self.policy.deadline());
        let pulse = until(self.pipeline.as_ref().map(|_| self.heartbeat.deadline()));
        tokio::select! {
            // The supervisor first: its end ends everything.
            biased;
            message = self.supervisor.receive() => message.map(|(message, fds)| Happened::Supervisor(message, fds)),
            event = next_event(&mut self.pipeline) => Ok(Happened::Device(event)),
            () = due => Ok(Happened::Deadline),
            () = pulse => Ok(Happened::Pulse),
            (id, message) = self.readers.next() => Ok(Happened::Reader(id, message)),
        }
    }

    fn supervised(&mut self, message: ToOwner, mut fds: Vec<OwnedFd>) {
        match message {
            ToOwner::Setup => tracing::warn!("a second setup is ignored"),
            ToOwner::Reader { job } => self.admit(job, fds.pop()),
            ToOwner::Node => self.nodes(fds),
            ToOwner::NoNode { why } => self.no_node(why),
            ToOwner::Holder { who } => {
                if let Some(device) = self.busy.take() {
                    self.lost(&format!("{device}: {who}"));
                }
            }
            ToOwner::Rescan => self.rescan(),
            ToOwner::Ping { id } => {
                self.report(&FromOwner::Facts(self.facts()));
                self.report(&FromOwner::Pong { id, stats: self.stats() });
                // More often than its deadline, so that a thread that hangs is found soon after its limit.
                self.look();
            }
        }
    }

    fn admit(&mut self, job: String, socket: Option<OwnedFd>) {
        let Some(socket) = socket else { return tracing::warn!(job, "a reader without a socket is ignored") };
        if let Some(earlier) = self.readers.of(&job) {
            self.let_go(earlier, &Ended::Replaced);
        }
        let added = Socket::from_fd(socket)
            .map_err(|source| Ended::System { call: "take a reader's socket", source })
            .and_then(|socket| self.readers.add(job.clone(), socket.with_foreign_peer()));
        if let Err(why) = added {
            tracing::warn!(job, %why, "reader refused");
        }
    }

    fn read(&mut self, id: ReaderId, message: FromReader) {
        let Some(reader) = self.readers.get(id) else { return };
        let attached = reader.is_attached();
        match message {
            FromReader::Attach { version } => {
                let (job, done) = (reader.job.clone(), reader.attach(version, &self.media));
                match done.and_then(|()| self.tell_state(id)) {
                    Ok(()) => tracing::debug!(job, "reader attached"),
                    Err(why) => self.let_go(id, &why),
                }
            }
            _ if !attached => self.let_go(id, &Ended::Violation("spoke before it attached".into())),
            FromReader::Demand(demand) => {
                match demand {
                    Demand::Live => self.media.wake(id, reader.bell()),
                    Demand::Armed | Demand::Off => self.media.hush(id),
                }
                self.handle(Input::Demand(id, wish(demand)));
            }
            FromReader::Keyframe => self.handle(Input::Keyframe(id)),
            FromReader::Rate { bps } => self.handle(Input::Rate(id, bps)),
            FromReader::Detach => self.let_go(id, &Ended::Detached),
        }
    }

    /// What a reader that has just attached must know.
    fn tell_state(&mut self, id: ReaderId) -> Result<(), Ended> {
        let message = match self.policy.state() {
            State::Closed => return Ok(()),
            State::Running { epoch } => ToReader::Running { epoch },
            State::Lost { why } => ToReader::Lost { why: bounded(why) },
        };
        self.readers.get(id).map_or(Ok(()), |reader| reader.tell(&message))
    }

    fn let_go(&mut self, id: ReaderId, why: &Ended) {
        self.media.detach(id);
        let Some(reader) = self.readers.remove(id) else { return };
        match why {
            Ended::Detached | Ended::Link(LinkError::Closed) => tracing::debug!(job = reader.job, "reader left"),
            Ended::Violation(_) | Ended::Link(LinkError::Malformed(_) | LinkError::Flooded) => {
                tracing::warn!(job = reader.job, %why, "reader detached");
                self.report(&FromOwner::Violated { job: reader.job.clone(), why: bounded(&why.to_string()) });
            }
            _ => tracing::warn!(job = reader.job, %why, "reader detached"),
        }
        self.handle(Input::Detached(id));
    }

    fn device_event(&mut self, event: Event) {
        match event {
            Event::Running { description, hardware, encoder, keying } => {
                self.had_hardware |= hardware;
                self.description = description;
                (self.encoder, self.buffers) = (encoder, None);
                self.heartbeat.opened(self.now);
                if encoder == Some(Encoder::Hardware) {
                    self.board.chosen();
                }
                self.handle(Input::Opened(keying));
            }
            Event::Described { description, encoder } => {
                (self.description, self.encoder) = (description, Some(encoder));
                self.report(&FromOwner::State(OwnerState::Running(self.description.clone())));
            }
            Event::GaveWay(why) => self.board.given_up(why, self.now),
            Event::Mapped(buffers) => self.buffers = Some(buffers),
            Event::Key => {
                // The first unit is one.
                if self.encoder == Some(Encoder::Hardware) {
                    self.board.coded(self.now);
                }
                self.handle(Input::KeyframeWritten);
            }
            Event::Warned(what) => tracing::warn!("{what}"),
            Event::Violated(reader, why) => self.let_go(reader, &Ended::Violation(why.into())),
            Event::Lost(Failure::Lost(why)) => self.lost(&format!("{why}{}", self.advice())),
            Event::Lost(Failure::Busy(device)) => {
                let pipeline = self.pipeline.take();
                self.close(pipeline);
                self.report(&FromOwner::WhoHolds { device: bounded(&device) });
                self.busy = Some(device);
            }
        }
    }

    fn handle(&mut self, input: Input) {
        self.policy.handle(input, self.now);
    }

    fn act_on_all(&mut self) {
        while let Some(action) = self.policy.poll() {
            self.act(action);
        }
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Open => self.open(),
            Action::Close => {
                self.awaiting_node = false;
                self.busy = None;
                let pipeline = self.pipeline.take();
                self.close(pipeline);
                self.report(&FromOwner::State(OwnerState::Closed));
            }
            Action::StartEncoder(bps) => self.steer(|pipeline| {
                pipeline.set_bitrate(bps);
                pipeline.encode(true);
            }),
            Action::StopEncoder => self.steer(|pipeline| pipeline.encode(false)),
            Action::ForceKeyframe => self.steer(Pipeline::force_key),
            Action::SetBitrate(bps) => self.steer(|pipeline| pipeline.set_bitrate(bps)),
            Action::TellRunning(epoch) => {
                self.steer(|pipeline| pipeline.set_epoch(epoch));
                self.report(&FromOwner::State(OwnerState::Running(self.description.clone())));
                self.tell_all(&ToReader::Running { epoch });
            }
            Action::TellLost(why) => {
                self.report(&FromOwner::State(OwnerState::Lost(why.clone())));
                self.tell_all(&ToReader::Lost { why });
            }
        }
    }

    fn steer(&self, wish: impl FnOnce(&Pipeline)) {
        // Without one, its end is on the way as an event.
        if let Some(pipeline) = &self.pipeline {
            wish(pipeline);
        }
    }

    fn tell_all(&mut self, message: &ToReader) {
        for (id, why) in self.readers.tell_all(message) {
            self.let_go(id, &why);
        }
    }

    fn facts(&self) -> DeviceFacts {
        // Software needs none, but the next opening may try the board's encoder again.
        let encoder = |buffers: DriverBuffers| buffers.encoder.filter(|_| !self.board.rests());
        let buffers = self.buffers.map(|buffers| DriverBuffers { encoder: encoder(buffers), ..buffers });
        DeviceFacts { buffers, ..self.media.facts() }
    }

    fn stats(&self) -> OwnerStats {
        OwnerStats {
            readers: self.readers.len() as u32,
            encoder: self.encoder.filter(|_| self.pipeline.is_some()),
            ..self.media.stats()
        }
    }

    fn report(&self, message: &FromOwner) {
        // A supervisor that does not read will ping, hear nothing and act; its end is seen when receiving.
        if let Err(error) = self.supervisor.send(message, &[]) {
            tracing::warn!(%error, "a report was lost");
        }
    }
}

async fn next_event(pipeline: &mut Option<Pipeline>) -> Event {
    match pipeline {
        Some(pipeline) => pipeline.event().await.unwrap_or_else(Event::ended),
        None => std::future::pending().await,
    }
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}

fn wish(demand: Demand) -> policy::Demand {
    match demand {
        Demand::Off => policy::Demand::Off,
        Demand::Armed => policy::Demand::Armed,
        Demand::Live => policy::Demand::Live,
    }
}

fn bounded(why: &str) -> String {
    why.chars().take(MAX_WHY_CHARS).collect()
}

#[cfg(test)]
mod tests;
