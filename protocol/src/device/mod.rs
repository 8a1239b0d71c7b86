//! The device owner's policy: when the device is open, when the encoder runs, keyframe coalescing, bitrate.
//!
//! ```text
//! Closed  --a reader is Armed or Live--> Opening (Open)
//! Opening --Opened--> Running (TellRunning, with a new epoch)
//! Opening, Running --Lost--> Lost (TellLost)       --retry due, Rescan--> Opening (Open)
//! Opening, Running --no demand for 30 s--> Closed (Close)      Lost --no demand--> Closed
//!
//! In Running: encoder off --a reader is Live--> on (StartEncoder) --none Live for 5 s--> off (StopEncoder)
//!             without forced keyframes: on (StartEncoder) from the start to the end
//! ```
//!
//! A warm device is wanted from the start and for ever, as if one more reader were Armed.
//!
//! Driving rule: after every [`Owner::handle`], act on [`Owner::poll`] until it returns `None`, then wait for the next
//! input or until [`Owner::deadline`], then handle [`Input::Timeout`]. Once `Close` has been acted on, nothing may be
//! reported of what was open before.

mod budget;
pub mod encoder;
mod heartbeat;
mod keyframes;
pub mod mode;
pub mod playout;
mod readers;

use crate::backoff::Backoff;
pub use budget::{Budget, STEPS, Step};
pub use heartbeat::{Heartbeat, OPEN_LIMIT, Phase, STILL_LIMIT};
use keyframes::Keyframes;
use readers::Readers;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// The encoder runs on for this long after the last viewer: a viewer that reloads a page meets it running.
pub const ENCODER_LINGER: Duration = Duration::from_secs(5);

/// The device stays open for this long after the last demand: opening again costs up to a second and blinks its light.
pub const DEVICE_LINGER: Duration = Duration::from_secs(30);

/// First and longest wait before a lost device is tried again. A hotplug event cuts the wait short.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// A device comes one node after the other, and the first event is of the first of them: for this long after an event, a
/// try that fails is repeated after that short a wait. Such tries make no later wait longer.
const NEWS: (Duration, Duration) = (Duration::from_secs(2), Duration::from_millis(500));

/// A device that fails sooner than this after it was opened has not recovered: the waits go on growing.
const STABLE: Duration = Duration::from_secs(10);

/// Bitrate changes below one part in this many are not worth telling the encoder.
const BITRATE_STEP: u32 = 20;

/// Names a reader; chosen by the shell, never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReaderId(pub u64);

/// How much a reader wants the device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Demand {
    /// Nothing.
    #[default]
    Off,
    /// Open the device, encode later.
    Armed,
    /// Encode.
    Live,
}

/// What the owner must know of its stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// Bit/s at most, and as long as no reader has said what it can carry.
    pub ceiling: u32,
    /// Bit/s at least, however slow the slowest reader.
    pub floor: u32,
    /// The stream has keyframes: video. Without, keyframe requests do nothing.
    pub keyframes: bool,
    /// The device stays open without readers.
    pub warm: bool,
}

/// Who decides where a keyframe is, in a stream that has any. Known when the device is open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Keying {
    /// We: the encoder makes one when asked.
    #[default]
    Forced,
    /// The device alone, now and then. A reader starts at the last one in the ring, so the stream must always be there
    /// from it on, whether anybody reads or not.
    Periodic,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// A reader said how much it wants. A reader becomes known by its first input.
    Demand(ReaderId, Demand),
    /// A reader cannot go on without a keyframe.
    Keyframe(ReaderId),
    /// A reader can carry this many bit/s.
    Rate(ReaderId, u32),
    /// A reader is gone.
    Detached(ReaderId),
    /// The device runs: answer to [`Action::Open`].
    Opened(Keying),
    /// The device could not be opened, or failed while running; in plain words.
    Lost(String),
    /// A device appeared or vanished somewhere: a lost one is tried at once.
    Rescan,
    /// The encoder gave a keyframe.
    KeyframeWritten,
    /// The deadline passed.
    Timeout,
}

/// What the shell must do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Open the device; answer with [`Input::Opened`] or [`Input::Lost`].
    Open,
    /// Close it, or give up opening it. It needs no answer.
    Close,
    /// Start to encode at this many bit/s, with a keyframe first.
    StartEncoder(u32),
    /// Stop to encode.
    StopEncoder,
    /// Make the next picture a keyframe.
    ForceKeyframe,
    /// Encode at this many bit/s from now on.
    SetBitrate(u32),
    /// Tell all readers that the device runs; counts restarts from 1.
    TellRunning(u32),
    /// Tell all readers that the device is gone, in plain words. What is left of it is closed after this, as that may take
    /// for ever. The encoder is stopped before.
    TellLost(String),
}

/// What the device is doing, for readers that attach and for operators.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State<'a> {
    /// Nobody wants it, or it is being opened for the first time.
    Closed,
    /// It runs for the `epoch`th time.
    Running {
        /// Counts restarts from 1.
        epoch: u32,
    },
    /// It is gone and will be retried.
    Lost {
        /// In plain words.
        why: &'a str,
    },
}

/// The policy of one device.
#[derive(Debug)]
pub struct Owner {
    config: Config,
    readers: Readers,
    device: Device,
    epoch: u32,
    backoff: Backoff,
    /// The last [`Input::Rescan`].
    rescanned: Option<Instant>,
    actions: VecDeque<Action>,
}

#[derive(Debug)]
enum Device {
    Closed,
    Opening {
        /// Why it was lost before this attempt, if it was.
        lost: Option<String>,
    },
    Running {
        since: Instant,
        keying: Keying,
        encoder: Option<Encoder>,
    },
    Lost {
        why: String,
        retry_at: Instant,
    },
}

#[derive(Debug)]
struct Encoder {
    bitrate: u32,
    keyframes: Keyframes,
}

impl Owner {
    /// Without readers; closed, unless it is to be warm: then there is something to poll at once.
    pub fn new(config: Config, now: Instant) -> Self {
        let (readers, backoff) = (Readers::new(config.warm, now), Backoff::new(RETRY.0, RETRY.1));
        let (device, actions) = (Device::Closed, VecDeque::new());
        let mut owner = Self { config, readers, device, epoch: 0, backoff, rescanned: None, actions };
        owner.settle(now);
        owner
    }

    /// Takes one input.
    pub fn handle(&mut self, input: Input, now: Instant) {
        match input {
            Input::Demand(reader, demand) => self.demand(reader, demand, now),
            Input::Keyframe(reader) => self.keyframe(reader),
            Input::Rate(reader, bps) => self.readers.rate(reader, bps),
            Input::Detached(reader) => self.readers.remove(reader, now),
            Input::Opened(keying) => self.opened(keying, now),
            Input::Lost(why) => self.lost(why, now),
            Input::Rescan => self.rescan(now),
            Input::KeyframeWritten => {
                if let Some(encoder) = self.encoder() {
                    encoder.keyframes.written(now);
                }
            }
            Input::Timeout => {}
        }
        self.settle(now);
    }

    /// The next action.
    pub fn poll(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// When to handle [`Input::Timeout`].
    pub fn deadline(&self) -> Option<Instant> {
        let close = self.readers.unwanted_since().map(|since| since + DEVICE_LINGER);
        match &self.device {
            Device::Closed => None,
            Device::Opening { .. } => close,
            Device::Lost { retry_at, .. } => Some(*retry_at),
            Device::Running { encoder: None, .. } => close,
            Device::Running { encoder: Some(encoder), keying, .. } => {
                let unwatched = self.readers.unwatched_since().filter(|_| *keying == Keying::Forced);
                let stop = unwatched.map(|since| since + ENCODER_LINGER);
                [stop, close, encoder.keyframes.deadline()].into_iter().flatten().min()
            }
        }
    }

    /// What the device is doing.
    pub fn state(&self) -> State<'_> {
        match &self.device {
            Device::Closed | Device::Opening { lost: None } => State::Closed,
            Device::Running { .. } => State::Running { epoch: self.epoch },
            Device::Lost { why, .. } | Device::Opening { lost: Some(why) } => State::Lost { why },
        }
    }

    fn demand(&mut self, reader: ReaderId, demand: Demand, now: Instant) {
        let before = self.readers.demand(reader, demand, now);
        // It starts reading at the newest unit, so keyframes of the past do not help it.
        if demand == Demand::Live && before != Demand::Live {
            self.keyframe(reader);
        }
    }

    fn keyframe(&mut self, reader: ReaderId) {
        let wanted = self.config.keyframes && self.readers.is_live(reader);
        if let Device::Running { encoder: Some(encoder), keying: Keying::Forced, .. } = &mut self.device
            && wanted
        {
            encoder.keyframes.want();
        }
    }

    fn encoder(&mut self) -> Option<&mut Encoder> {
        match &mut self.device {
            Device::Running { encoder, .. } => encoder.as_mut(),
            _ => None,
        }
    }

    fn opened(&mut self, keying: Keying, now: Instant) {
        if let Device::Opening { .. } = self.device {
            self.epoch += 1;
            self.device = Device::Running { since: now, keying, encoder: None };
            self.actions.push_back(Action::TellRunning(self.epoch));
        }
    }

    fn lost(&mut self, why: String, now: Instant) {
        let (told, news) = match &self.device {
            Device::Closed | Device::Lost { .. } => return,
            Device::Opening { lost } => {
                (lost.as_ref() == Some(&why), self.rescanned.is_some_and(|at| now < at + NEWS.0))
            }
            Device::Running { since, encoder, .. } => {
                if now.duration_since(*since) >= STABLE {
                    self.backoff.reset();
                }
                if encoder.is_some() {
                    self.actions.push_back(Action::StopEncoder);
                }
                (false, false)
            }
        };
        if !told {
            self.actions.push_back(Action::TellLost(why.clone()));
        }
        // One owner a device: there is no herd to spread by jitter.
        let retry_at = now + if news { NEWS.1 } else { self.backoff.fail(u64::MAX) };
        self.device = Device::Lost { why, retry_at };
    }

    fn rescan(&mut self, now: Instant) {
        self.rescanned = Some(now);
        if let Device::Lost { retry_at, .. } = &mut self.device {
            *retry_at = now;
        }
    }

    /// Brings the device to where demand and time want it.
    fn settle(&mut self, now: Instant) {
        match &mut self.device {
            Device::Closed if self.readers.wanted() => self.open(None),
            Device::Closed => {}
            Device::Lost { .. } if !self.readers.wanted() => self.device = Device::Closed,
            Device::Lost { why, retry_at } => {
                if *retry_at <= now {
                    let why = std::mem::take(why);
                    self.open(Some(why));
                }
            }
            Device::Opening { .. } => self.close_if_unwanted(now),
            Device::Running { encoder, keying, .. } => {
                settle_encoder(encoder, *keying, &self.config, &self.readers, &mut self.actions, now);
                self.close_if_unwanted(now);
            }
        }
    }

    fn open(&mut self, lost: Option<String>) {
        self.device = Device::Opening { lost };
        self.actions.push_back(Action::Open);
    }

    fn close_if_unwanted(&mut self, now: Instant) {
        if self.readers.unwanted_since().is_some_and(|since| now >= since + DEVICE_LINGER) {
            if self.encoder().is_some() {
                self.actions.push_back(Action::StopEncoder);
            }
            self.actions.push_back(Action::Close);
            self.device = Device::Closed;
        }
    }
}

fn settle_encoder(
    encoder: &mut Option<Encoder>,
    keying: Keying,
    config: &Config,
    readers: &Readers,
    actions: &mut VecDeque<Action>,
    now: Instant,
) {
    let Some(running) = encoder else {
        if readers.watched() || keying == Keying::Periodic {
            let bitrate = readers.bitrate(config);
            let any = config.keyframes && keying == Keying::Forced;
            *encoder = Some(Encoder { bitrate, keyframes: Keyframes::starting(now, any) });
            actions.push_back(Action::StartEncoder(bitrate));
        }
        return;
    };
    let unwatched = readers.unwatched_since().filter(|_| keying == Keying::Forced);
    if unwatched.is_some_and(|since| now >= since + ENCODER_LINGER) {
        *encoder = None;
        actions.push_back(Action::StopEncoder);
        return;
    }
    if readers.watched() {
        let bitrate = readers.bitrate(config);
        if bitrate.abs_diff(running.bitrate) > running.bitrate / BITRATE_STEP {
            running.bitrate = bitrate;
            actions.push_back(Action::SetBitrate(bitrate));
        }
    }
    if running.keyframes.due(now) {
        actions.push_back(Action::ForceKeyframe);
    }
}

#[cfg(test)]
mod tests;
