//! Stateful encoders by the kernel's memory-to-memory interface: pictures go into one queue, coded units come out of the
//! other (Documentation/userspace-api/media/v4l/dev-encoder.rst).
//!
//! ```text
//! Idle --start--> Streaming --drain, or a wish that takes a new start--> Draining --last unit--> Idle | Streaming
//!   ^---------------- stop, or any failure ----------------------------------'
//! ```
//!
//! No call waits for the driver but [`Encoder::take`], and that one no longer than it is told to.

mod bank;
mod controls;
mod copy;
mod error;
mod formats;
mod quirks;
mod session;
#[cfg(test)]
mod tests;

pub(super) use controls::set_bitrate;
pub use error::Error;
pub use quirks::known as known_quirks;
pub use session::{PICTURES, UNITS};

use super::modes::format_of;
use super::sys::{self, Capability, EncoderCommand, Queue};
use super::{Capture, Handle, Held, PixelFormat, Plane, list};
use error::Place;
use session::{Next, Session};
use std::io;
use std::time::{Duration, Instant};

/// What comes out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Codec {
    /// H.264 in Annex B.
    H264,
    /// The code of vicodec, the kernel's encoder without hardware.
    Fwht,
}

/// What is to be encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Pixels.
    pub width: u32,
    /// Pixels.
    pub height: u32,
    /// Frames a second times 1000.
    pub milli_fps: u32,
    /// Bit/s.
    pub bitrate: u32,
    /// The smallest `level_idc` that covers all these; for H.264.
    pub level: u8,
}

/// What [`Encoder::take`] has found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// A coded unit.
    Unit {
        /// Of its picture, exactly as it was put in.
        captured_ns: u64,
    },
    /// Nothing yet.
    Nothing,
    /// All that was put in before [`Encoder::drain`] has come out.
    Drained,
}

/// No unit for this long, with pictures waiting, is a stall. The slowest of these encoders takes 50 ms for a picture.
const STALL: Duration = Duration::from_secs(1);

/// Controls, as failures name them.
const BITRATE: &str = "V4L2_CID_MPEG_VIDEO_BITRATE";
const FORCE_KEY: &str = "V4L2_CID_MPEG_VIDEO_FORCE_KEY_FRAME";

/// An encoder's node.
#[derive(Debug)]
pub struct Encoder {
    handle: Handle,
    path: String,
    driver: String,
    codec: Codec,
    /// Pictures, coded units.
    queues: (Queue, Queue),
    /// What it takes: ours, and the driver's name of it.
    inputs: Vec<(PixelFormat, u32)>,
    state: State,
    freed: Vec<Held>,
}

#[derive(Debug)]
enum State {
    Idle,
    Streaming(Box<Session>),
    /// Takes nothing more.
    Draining(Box<Session>, Drain),
}

#[derive(Clone, Copy, Debug)]
struct Drain {
    since: Instant,
    /// To start with again when it is empty.
    then: Option<Settings>,
}

impl Encoder {
    /// Takes an open node that has two queues and gives `codec`. Nothing is allocated before [`Encoder::start`].
    pub fn new(handle: impl Into<Handle>, path: &str, codec: Codec) -> Result<Self, Error> {
        let (handle, path) = (handle.into(), path.to_owned());
        let mut capability = Capability::default();
        let asked = handle.ioctl(&sys::QUERYCAP, &mut capability);
        let queues = asked.ok().and_then(|()| list::encoder_queues(&capability));
        let Some(queues) = queues else { return Err(Error::NoEncoder(path)) };
        let gives = list::codes(&handle, queues.1).any(|(code, _)| code == formats::code(codec));
        let inputs = list::codes(&handle, queues.0).filter_map(|(code, _)| Some((format_of(code)?, code))).collect();
        let set = handle.set_nonblocking();
        let driver = list::text(&capability.driver);
        let encoder = Self { handle, path, driver, codec, queues, inputs, state: State::Idle, freed: Vec::new() };
        set.map_err(|source| encoder.place((0, 0)).failed("F_SETFL", source))?;
        if gives && !encoder.inputs.is_empty() { Ok(encoder) } else { Err(Error::NoEncoder(encoder.path.clone())) }
    }

    /// `/dev/videoN`, for messages.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// As QUERYCAP names it.
    pub fn driver(&self) -> &str {
        &self.driver
    }

    /// The format to start it with for pictures of `format`: the same, or one that they can be written as.
    pub fn input_for(&self, format: PixelFormat) -> Option<PixelFormat> {
        let takes = |wanted: PixelFormat| self.inputs.iter().any(|(input, _)| *input == wanted);
        let converted = [PixelFormat::Yu12, PixelFormat::Nv12].into_iter().filter(|to| copy::converts(format, *to));
        [format].into_iter().chain(converted).find(|input| takes(*input))
    }

    /// Starts it for pictures of `format`. `camera` is where they come from: its buffers are taken without a copy where
    /// both drivers' memory and layout allow that. Whether they are.
    pub fn start(&mut self, settings: &Settings, format: PixelFormat, camera: Option<&Capture>) -> Result<bool, Error> {
        self.stop();
        let place = self.place((settings.width, settings.height));
        let refused =
            || Error::Refused { path: self.path.clone(), format, width: settings.width, height: settings.height };
        let input = self.input_for(format).ok_or_else(refused)?;
        let code = self.inputs.iter().find(|(taken, _)| *taken == input).map(|(_, code)| *code).ok_or_else(refused)?;
        let macroblocks = settings.width.div_ceil(16) * settings.height.div_ceil(16);
        let needed = u64::from(macroblocks) * u64::from(settings.milli_fps) / 1000;
        if let Some(most) = quirks::at_most(&self.driver).filter(|most| needed > u64::from(*most)) {
            let needed = u32::try_from(needed).unwrap_or(u32::MAX);
            return Err(Error::TooFast { path: self.path.clone(), needed, most });
        }
        let order = session::Order { settings: *settings, format, input, code, codec: self.codec, queues: self.queues };
        let session = Session::start(&self.handle, place, &order, camera)?;
        let shares = session.shares();
        self.state = State::Streaming(Box::new(session));
        Ok(shares)
    }

    /// Bytes of the driver's buffers, which no cgroup counts. Those of a camera that are taken as they are, are the camera's.
    pub fn buffer_bytes(&self) -> u64 {
        match &self.state {
            State::Idle => 0,
            State::Streaming(session) | State::Draining(session, _) => session.buffer_bytes(),
        }
    }

    /// Stops it: what is inside is lost, and its memory is free.
    pub fn stop(&mut self) {
        match std::mem::replace(&mut self.state, State::Idle) {
            State::Idle => {}
            State::Streaming(session) | State::Draining(session, _) => session.stop(&self.handle, &mut self.freed),
        }
    }

    /// Buffers of the camera that it has done with.
    pub fn freed(&mut self) -> impl Iterator<Item = Held> + '_ {
        self.freed.drain(..)
    }

    /// Puts a picture of the format that it was started for in; `key` asks for a keyframe. Whether it was taken: it is
    /// not while all buffers are full, or while it drains.
    pub fn put(&mut self, planes: &[Plane<'_>], captured_ns: u64, key: bool) -> Result<bool, Error> {
        let done = self.with_session(key, |session, handle, place| session.put(handle, place, planes, captured_ns));
        self.settle(done)
    }

    /// The same for a buffer of the camera, which comes back by [`Encoder::freed`], at once if it was not taken.
    pub fn lend(&mut self, held: Held, captured_ns: u64, key: bool) -> Result<bool, Error> {
        let mut held = Some(held);
        let taken =
            self.with_session(key, |session, handle, place| session.lend(handle, place, &mut held, captured_ns));
        self.freed.extend(held);
        self.settle(taken)
    }

    /// After a failure nothing runs.
    fn settle<T>(&mut self, done: Result<T, Error>) -> Result<T, Error> {
        if done.is_err() {
            self.stop();
        }
        done
    }

    fn with_session(
        &mut self,
        key: bool,
        put: impl FnOnce(&mut Session, &Handle, Place<'_>) -> Result<bool, Error>,
    ) -> Result<bool, Error> {
        let Self { handle, path, driver, state, .. } = self;
        let State::Streaming(session) = state else { return Ok(false) };
        let place = Place { path, driver, size: session.size() };
        if key && !session.fresh() {
            if !session.forces_keys() {
                // The first unit after a start is a keyframe.
                let settings = *session.settings();
                return self.drain_into(Some(settings)).map(|()| false);
            }
            controls::force_key(handle).map_err(|source| place.failed(FORCE_KEY, source))?;
        }
        put(session, handle, place)
    }

    /// The next coded unit into `unit`, which is cleared; waits for one until `timeout`.
    pub fn take(&mut self, timeout: Duration, unit: &mut Vec<u8>) -> Result<Taken, Error> {
        unit.clear();
        let deadline = Instant::now() + timeout;
        loop {
            let found = self.look(unit);
            match self.settle(found)? {
                Some(taken) => return Ok(taken),
                None if Instant::now() >= deadline => return Ok(Taken::Nothing),
                None => {}
            }
            let waited = self.wait(deadline);
            self.settle(waited)?;
        }
    }

    /// What has come out by now.
    fn look(&mut self, unit: &mut Vec<u8>) -> Result<Option<Taken>, Error> {
        let Self { handle, path, driver, state, freed, .. } = self;
        let (session, drain) = match state {
            State::Idle => return Ok(Some(Taken::Nothing)),
            State::Streaming(session) => (session, None),
            State::Draining(session, drain) => (session, Some(*drain)),
        };
        let place = Place { path, driver, size: session.size() };
        session.reclaim(handle, place, freed)?;
        match session.next(handle, place, unit)? {
            Next::Unit { captured_ns } => return Ok(Some(Taken::Unit { captured_ns })),
            Next::Nothing => return session.check(place, drain.map(|drain| drain.since), STALL).map(|()| None),
            Next::Last => {}
        }
        let Some(settings) = drain.and_then(|drain| drain.then) else {
            self.stop();
            return Ok(Some(Taken::Drained));
        };
        session.restart(handle, place, settings, freed)?;
        let session = self.leave();
        self.state = State::Streaming(session);
        Ok(Some(Taken::Nothing))
    }

    fn wait(&self, deadline: Instant) -> Result<(), Error> {
        let left = deadline.saturating_duration_since(Instant::now()).min(STALL);
        let place = self.place((0, 0));
        let ready = self.handle.poll(libc::POLLIN, left).map_err(|source| place.failed("poll", source))?;
        if ready & libc::POLLIN == 0 && ready & (libc::POLLERR | libc::POLLHUP) != 0 {
            return Err(place.failed("poll", io::Error::from_raw_os_error(libc::EIO)));
        }
        Ok(())
    }

    /// Bit/s from the next picture on. Where the driver changes it only between streams, what is inside comes out first,
    /// and a keyframe follows.
    pub fn set_bitrate(&mut self, bps: u32) -> Result<(), Error> {
        let done = self.change_bitrate(bps);
        self.settle(done)
    }

    fn change_bitrate(&mut self, bps: u32) -> Result<(), Error> {
        let Self { handle, path, driver, state, .. } = self;
        let State::Streaming(session) = state else { return Ok(()) };
        let before = session.settings().bitrate;
        if before == bps || controls::same_bitrate(handle, before, bps) {
            return Ok(());
        }
        session.note_bitrate(bps);
        match controls::set_bitrate(handle, bps) {
            Ok(()) => Ok(()),
            Err(e) if e.raw_os_error() == Some(libc::EBUSY) => {
                let settings = *session.settings();
                self.drain_into(Some(settings))
            }
            Err(source) => Err(Place { path, driver, size: session.size() }.failed(BITRATE, source)),
        }
    }

    /// Takes no more pictures: what is inside comes out, and then [`Taken::Drained`].
    pub fn drain(&mut self) -> Result<(), Error> {
        let done = self.drain_into(None);
        self.settle(done)
    }

    fn drain_into(&mut self, then: Option<Settings>) -> Result<(), Error> {
        if !matches!(self.state, State::Streaming(_)) {
            return Ok(());
        }
        let session = self.leave();
        let size = session.size();
        self.state = State::Draining(session, Drain { since: Instant::now(), then });
        let mut command = EncoderCommand { command: sys::ENC_CMD_STOP, ..Default::default() };
        let done = self.handle.ioctl(&sys::ENCODER_CMD, &mut command);
        done.map_err(|source| self.place(size).failed(sys::ENCODER_CMD.name, source))
    }

    fn leave(&mut self) -> Box<Session> {
        match std::mem::replace(&mut self.state, State::Idle) {
            State::Streaming(session) | State::Draining(session, _) => session,
            State::Idle => unreachable!("only a running session is left"),
        }
    }

    fn place(&self, size: (u32, u32)) -> Place<'_> {
        Place { path: &self.path, driver: &self.driver, size }
    }
}

impl Drop for Encoder {
    fn drop(&mut self) {
        self.stop();
    }
}
