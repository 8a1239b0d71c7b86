//! The board's encoder. It works beside this thread: a picture goes in, and its unit comes out when it is done.

use super::coder::{Frame, Input, Outcome, Unit};
use crate::device::pipeline::Failure;
use crate::media::h264::Settings;
use hal::process::monotonic_ns;
use hal::video::m2m::{self, Codec, Encoder, Taken};
use hal::video::{Capture, Handle, Held, Picture, PixelFormat, Plane};
use protocol::device::encoder::{Attempts, Verdict};
use protocol::room::rtp::h264::{Load, is_keyframe, smallest_level};
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// `profile_idc` of constrained baseline.
const BASELINE: u8 = 66;
/// Part, in hundredths, by which a rate must move to be written: drivers have steps, and each write goes to firmware.
pub(super) const RATE_STEP: u64 = 5;
/// Units that may come between the wish for a keyframe and the keyframe: those that were inside already, and one more.
const KEY_LAG: u32 = 4;

/// An encoder of the board for one camera.
#[derive(Debug)]
pub struct Hardware {
    encoder: Encoder,
    /// Of the pictures that are put in.
    format: PixelFormat,
    running: bool,
    /// Buffers of the camera are taken as they are; not tried again after it has failed.
    lends: Option<bool>,
    inside: VecDeque<Inside>,
    attempts: Attempts,
    /// A keyframe was asked for, and this many units may still come before it.
    key_within: Option<u32>,
    applied: u32,
}

/// A picture that is being encoded.
#[derive(Clone, Copy, Debug)]
struct Inside {
    frame: Frame,
    since_ns: u64,
}

impl Hardware {
    /// The first of these nodes that gives H.264 of a camera's pictures: as they are, if they need no change, else of what
    /// is made of them for an encoder in software.
    pub fn find(nodes: Vec<(Handle, String)>, camera: PixelFormat, changed: bool) -> Result<Self, String> {
        let mut why = "no hardware encoder for H.264 is here".to_owned();
        for (handle, path) in nodes {
            let encoder = match Encoder::new(handle, &path, Codec::H264) {
                Ok(encoder) => encoder,
                Err(error) => {
                    why = error.to_string();
                    continue;
                }
            };
            let wanted = [camera, PixelFormat::Yu12].into_iter().filter(|format| !changed || *format != camera);
            if let Some(format) = wanted.into_iter().find(|format| encoder.input_for(*format).is_some()) {
                return Ok(Self::new(encoder, format));
            }
            why = format!("{path}: takes neither {camera} nor what can be made of it");
        }
        Err(why)
    }

    fn new(encoder: Encoder, format: PixelFormat) -> Self {
        let inside = VecDeque::new();
        Self {
            encoder,
            format,
            running: false,
            lends: None,
            inside,
            attempts: Attempts::default(),
            key_within: None,
            applied: 0,
        }
    }

    /// Its node and driver.
    pub fn name(&self) -> String {
        format!("{}, {}", self.encoder.path(), self.encoder.driver())
    }

    /// Whether it takes pictures of `format` as they are.
    pub fn takes(&self, format: PixelFormat) -> bool {
        self.format == format
    }

    /// Buffers of the camera that it has done with.
    pub fn freed(&mut self) -> impl Iterator<Item = Held> + '_ {
        self.encoder.freed()
    }

    /// Gives its memory back, until the next picture.
    pub fn rest(&mut self) {
        self.encoder.stop();
        self.inside.clear();
        (self.running, self.key_within) = (false, None);
    }

    /// Bytes of its driver's buffers.
    pub fn buffer_bytes(&self) -> u64 {
        self.encoder.buffer_bytes()
    }

    /// Whether pictures are inside.
    pub fn busy(&self) -> bool {
        !self.inside.is_empty()
    }

    /// Puts a picture in. A failure that may pass costs the picture; one that lasts is told.
    pub fn put(&mut self, input: Input<'_>, frame: Frame, settings: &Settings) -> Result<Outcome, Failure> {
        let done = self.try_put(input, frame, settings);
        match self.survive(done)? {
            Some(true) => {
                self.inside.push_back(Inside { frame, since_ns: monotonic_ns() });
                if frame.key {
                    self.key_within = Some(KEY_LAG);
                }
                Ok(Outcome::Inside)
            }
            Some(false) | None => Ok(Outcome::Skipped),
        }
    }

    fn try_put(&mut self, input: Input<'_>, frame: Frame, settings: &Settings) -> Result<bool, m2m::Error> {
        let Frame { captured_ns, key, .. } = frame;
        if !self.running {
            let camera = if let Input::Taken(picture) = &input { Some(picture.camera()) } else { None };
            self.start(settings, camera)?;
        } else if u64::from(self.applied.abs_diff(settings.bitrate)) * 100 > u64::from(self.applied) * RATE_STEP {
            self.encoder.set_bitrate(settings.bitrate)?;
            self.applied = settings.bitrate;
        }
        match input {
            Input::Taken(picture) if self.lends == Some(true) => self.lend(picture, captured_ns, key),
            Input::Taken(picture) => self.encoder.put(picture.planes(), captured_ns, key),
            Input::Picture(picture) => {
                let (y, u, v) = picture.planes();
                let (width, half) = (picture.width(), picture.width() / 2);
                let planes = [(y, width), (u, half), (v, half)].map(|(data, stride)| Plane { data, stride });
                self.encoder.put(&planes, captured_ns, key)
            }
            Input::Unit(_) => unreachable!("the coder was chosen for what the source gives"),
        }
    }

    fn start(&mut self, settings: &Settings, camera: Option<&Capture>) -> Result<(), m2m::Error> {
        let Settings { width, height, milli_fps, bitrate, ceiling } = *settings;
        let level = smallest_level(BASELINE, Load::of(width, height, milli_fps, ceiling), 0);
        let wanted = m2m::Settings { width, height, milli_fps, bitrate, level };
        let shares = self.encoder.start(&wanted, self.format, camera.filter(|_| self.lends != Some(false)))?;
        let how = if shares { "taken from the camera's memory (DMABUF)" } else { "copied to the encoder" };
        tracing::info!("{}: level {}.{}, pictures are {how}", self.encoder.path(), level / 10, level % 10);
        (self.lends, self.running, self.applied) = (Some(shares), true, bitrate);
        Ok(())
    }

    fn lend(&mut self, picture: Picture<'_>, captured_ns: u64, key: bool) -> Result<bool, m2m::Error> {
        let done = self.encoder.lend(picture.hold(), captured_ns, key);
        if done.is_err() {
            self.lends = Some(false);
        }
        done
    }

    /// No more pictures come: those inside are to come out.
    pub fn drain(&mut self) {
        if self.busy() && self.encoder.drain().is_err() {
            self.rest();
        }
    }

    /// The next unit, if one comes until `deadline`.
    pub fn take(&mut self, deadline: Instant, unit: &mut Unit) -> Result<Option<Outcome>, Failure> {
        let taken = self.encoder.take(deadline.saturating_duration_since(Instant::now()), &mut unit.bytes);
        let Some(Taken::Unit { captured_ns }) = self.survive(taken)? else { return Ok(None) };
        self.attempts.coded();
        let of = self.inside.iter().position(|inside| inside.frame.captured_ns == captured_ns);
        let Some(Inside { frame, since_ns }) = of.and_then(|of| self.inside.drain(..=of).next_back()) else {
            return Ok(None);
        };
        unit.of(frame);
        unit.took = Duration::from_nanos(monotonic_ns().saturating_sub(since_ns));
        if is_keyframe(&unit.bytes) {
            self.key_within = None;
            return Ok(Some(Outcome::Key));
        }
        self.key_within = self.key_within.map(|left| left.saturating_sub(1));
        Ok(Some(Outcome::Delta))
    }

    /// A keyframe that was asked for has not come.
    pub fn key_is_missing(&mut self) -> bool {
        self.key_within.take_if(|left| *left == 0).is_some()
    }

    /// Nothing, where it may work after a new start.
    fn survive<T>(&mut self, done: Result<T, m2m::Error>) -> Result<Option<T>, Failure> {
        let error = match done {
            Ok(value) => return Ok(Some(value)),
            Err(error) => error,
        };
        self.rest();
        let passes = match error {
            m2m::Error::Call { .. } | m2m::Error::Stalled { .. } => true,
            m2m::Error::Damaged(_) | m2m::Error::Nonsense { .. } => true,
            m2m::Error::Busy(_) | m2m::Error::NoEncoder(_) | m2m::Error::Refused { .. } => false,
            m2m::Error::NoMemory { .. } | m2m::Error::Level { .. } | m2m::Error::TooFast { .. } => false,
        };
        if self.attempts.failed(passes) == Verdict::GiveUp {
            return Err(match error {
                m2m::Error::Busy(path) => Failure::Busy(path),
                other => Failure::Lost(other.to_string()),
            });
        }
        tracing::warn!("{error}; the encoder starts again");
        Ok(None)
    }
}
