//! Counts a camera's frames and carries the wanted ones through the coder into the ring.

use super::coder::{Coder, Frame, Input, Outcome, Unit};
use super::hardware::Hardware;
use super::saving::Saving;
use super::worth::Trouble;
use crate::control::{DriverBuffers, OwnerStage};
use crate::device::pace::Pace;
use crate::device::pipeline::{Event, Failure, Stage};
use crate::media::h264::Settings;
use hal::ring::{DISCONTINUITY, KEY, Meta, PERIODIC, Stamped};
use hal::video::{Held, PixelFormat};
use protocol::device::Keying;
use protocol::device::encoder::{Choice, Encoder};
use protocol::room::rtp::h264::{ParameterSets, Rate};
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

/// For the last pictures to come out of an encoder. Bounds how long closing takes.
const DRAIN: Duration = Duration::from_millis(100);

/// The frames of one running camera.
pub struct Frames<'a> {
    stage: &'a Stage,
    choice: Choice,
    keying: Keying,
    /// The board's encoder, while it does not run.
    hardware: Option<Box<Hardware>>,
    /// What the camera is, in plain words.
    source: String,
    /// The moment that the time of the picture is of which came last. Nothing where none has come, or no camera takes them.
    stamped: Option<Stamped>,
    /// Of the drivers; nothing where there is none.
    buffers: Option<DriverBuffers>,
    /// The same as was told last.
    told: Option<DriverBuffers>,
    settings: Settings,
    pace: Pace,
    /// When the work on the present frame began.
    begun: Instant,
    /// An encoder in software may have to do less.
    saving: Option<Saving>,
    coder: Option<Coder>,
    sets: ParameterSets,
    unit: Unit,
    next: u64,
    discontinuity: bool,
    /// An encoder has started, and nobody has asked.
    started: bool,
    freed: Vec<Held>,
}

impl<'a> Frames<'a> {
    /// For a camera whose pictures are coded with `settings`, and no faster than `milli_fps`. `hardware` is the board's
    /// encoder where that one was chosen.
    pub fn new(
        stage: &'a Stage,
        settings: Settings,
        milli_fps: u32,
        choice: Choice,
        hardware: Option<Hardware>,
    ) -> Self {
        let next = stage.outlet.last().map_or(0, |last| last.position + 1);
        stage.outlet.counters.saving.store(0, Relaxed);
        stage.outlet.counters.stamped.store(Stamped::code(None), Relaxed);
        Self {
            stage,
            keying: keying(choice.encoder),
            hardware: hardware.map(Box::new),
            source: String::new(),
            stamped: None,
            buffers: None,
            told: None,
            settings,
            pace: Pace::new(milli_fps),
            begun: Instant::now(),
            saving: (choice.encoder == Encoder::Software).then(|| Saving::new(settings)),
            choice,
            coder: None,
            sets: parameter_sets(&settings),
            unit: Unit::default(),
            next,
            discontinuity: true,
            started: false,
            freed: Vec::new(),
        }
    }

    /// The camera encodes, and makes keyframes when asked.
    pub fn keyframes_on_request(&mut self) {
        self.keying = Keying::Forced;
    }

    /// Says that the camera delivers, from `source`.
    pub fn running(&mut self, source: &str, hardware: bool) {
        source.clone_into(&mut self.source);
        let (description, encoder, keying) = (self.description(), Some(self.choice.encoder), self.keying);
        self.stage.tell(Event::Running { description, hardware, encoder, keying });
    }

    /// The camera's driver has buffers of so many bytes. What the board's encoder needs is known once it has begun.
    pub fn mapped(&mut self, camera: u64) {
        let encoder = if self.choice.encoder == Encoder::Hardware { None } else { Some(0) };
        self.tell_buffers(DriverBuffers { camera, encoder });
    }

    fn mapped_by_encoder(&mut self, bytes: u64) {
        if let Some(buffers) = self.buffers {
            self.tell_buffers(DriverBuffers { encoder: Some(bytes), ..buffers });
        }
    }

    fn tell_buffers(&mut self, buffers: DriverBuffers) {
        self.buffers = Some(buffers);
        if self.told != self.buffers && self.stage.tell(Event::Mapped(buffers)) {
            self.told = self.buffers;
        }
    }

    /// Of which moment the time of the next picture is.
    pub fn stamped(&mut self, stamped: Stamped) {
        self.stamped = Some(stamped);
        self.stage.outlet.counters.stamped.store(Stamped::code(self.stamped), Relaxed);
    }

    /// The next picture has this trouble with its stamp.
    pub fn misstamped(&self, trouble: Trouble) {
        let counters = &self.stage.outlet.counters;
        match trouble {
            Trouble::Behind => counters.stamps_behind.fetch_add(1, Relaxed),
            Trouble::Ahead => counters.stamps_ahead.fetch_add(1, Relaxed),
            Trouble::Damaged | Trouble::Unreadable | Trouble::Size | Trouble::Keyframe | Trouble::Missing => return,
        };
    }

    /// Says what runs, where more is known of it than before.
    pub fn describe(&self) {
        let (description, encoder) = (self.description(), self.choice.encoder);
        self.stage.tell(Event::Described { description, encoder });
    }

    fn description(&self) -> String {
        let (s, Choice { encoder, why, .. }) = (&self.settings, &self.choice);
        let (width, height, fps) = (s.width, s.height, f64::from(s.milli_fps) / 1000.0);
        let stamped = self.stamped.map_or_else(String::new, |stamped| format!(", stamped {stamped}"));
        format!("{} {width}x{height}@{fps} {} kbit/s, {encoder} ({why}){stamped}", self.source, s.ceiling / 1000)
    }

    /// Whether the encoder takes pictures of `format` as they are.
    pub fn takes(&self, format: PixelFormat) -> bool {
        let hardware = match &self.coder {
            Some(Coder::Hardware(hardware)) => Some(hardware),
            Some(Coder::Software(_) | Coder::Passthrough) | None => self.hardware.as_ref(),
        };
        hardware.is_some_and(|hardware| hardware.takes(format))
    }

    /// Buffers of the camera that the encoder has done with.
    pub fn freed(&mut self) -> impl Iterator<Item = Held> + '_ {
        if let Some(Coder::Hardware(hardware)) = &mut self.coder {
            self.freed.extend(hardware.freed());
        }
        self.freed.drain(..)
    }

    /// One frame has come; its number.
    pub fn arrived(&mut self) -> u64 {
        self.stage.outlet.counters.captured.fetch_add(1, Relaxed);
        self.next += 1;
        self.next - 1
    }

    /// Whether there is time for the frame captured at `captured_ns`, which has just arrived; the work on it begins now.
    pub fn take(&mut self, captured_ns: u64) -> bool {
        self.begun = Instant::now();
        self.pace.take(captured_ns)
    }

    /// Whether an encoder has started since this was asked last: that takes longer than a picture.
    pub fn take_started(&mut self) -> bool {
        std::mem::take(&mut self.started)
    }

    /// Frames that never came: the number goes on over them.
    pub fn missed(&mut self, frames: u64) {
        self.next += frames;
        self.stage.outlet.counters.dropped.fetch_add(frames, Relaxed);
    }

    /// The frame that has just arrived is lost.
    pub fn dropped(&mut self) {
        self.stage.outlet.counters.dropped.fetch_add(1, Relaxed);
    }

    /// Nobody reads: the encoder's memory is given back.
    pub fn rest(&mut self) {
        let Some(coder) = self.coder.take() else { return };
        if let Coder::Hardware(mut hardware) = coder {
            hardware.rest();
            self.freed.extend(hardware.freed());
            self.hardware = Some(hardware);
        }
        self.stage.outlet.counters.encoders.store(0, Relaxed);
        self.discontinuity = true;
    }

    /// Codes and publishes the frame that has just arrived, and what else has come out by now.
    pub fn encode(&mut self, input: Input<'_>, captured_ns: u64) -> Result<(), Failure> {
        match self.try_encode(input, captured_ns) {
            Err(failure) if self.choice.encoder == Encoder::Hardware && self.choice.replaceable => {
                self.fall_back(match failure {
                    Failure::Lost(why) => why,
                    Failure::Busy(encoder) => format!("{encoder}: the encoder is in use"),
                });
            }
            done => done?,
        }
        let now = Instant::now();
        let changed = self.saving.as_mut().and_then(|saving| saving.encoded(now.duration_since(self.begun), now));
        if let Some(settings) = changed {
            self.adapt(settings);
        }
        Ok(())
    }

    fn try_encode(&mut self, input: Input<'_>, captured_ns: u64) -> Result<(), Failure> {
        self.collect(self.begun)?;
        let outcome = self.code(input, captured_ns)?;
        self.came(outcome);
        // The next picture is not due before.
        self.collect(self.begun + Duration::from_secs_f64(1000.0 / f64::from(self.settings.milli_fps.max(1))))
    }

    /// Publishes the units of earlier pictures that come until `deadline`.
    fn collect(&mut self, deadline: Instant) -> Result<(), Failure> {
        while let Some(coder) = &mut self.coder
            && let Some(outcome) = coder.next(deadline, &mut self.unit)?
        {
            if coder.key_is_missing() {
                self.stage.wanted.want_key();
            }
            self.came(outcome);
        }
        Ok(())
    }

    fn came(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Skipped => self.dropped(),
            Outcome::Key | Outcome::Delta => {
                self.stage.outlet.counters.stages.took(OwnerStage::Encode, self.unit.took);
                self.publish();
            }
            Outcome::Inside => {}
        }
    }

    /// The board's encoder is of no use: the camera goes on without it.
    fn fall_back(&mut self, why: String) {
        tracing::warn!("{why}; encoding in software");
        self.rest();
        self.hardware = None;
        self.choice = Choice { encoder: Encoder::Software, why: why.clone(), replaceable: false };
        self.saving = Some(Saving::new(self.settings));
        self.describe();
        self.stage.tell(Event::GaveWay(why));
        // After that: no buffers where it only rests would be less than the next opening may need.
        self.mapped_by_encoder(0);
        self.dropped();
    }

    /// Goes on with an encoder of another rate or size; it starts with a keyframe.
    fn adapt(&mut self, settings: Settings) {
        self.coder = None;
        self.settings = settings;
        self.pace = Pace::new(settings.milli_fps);
        self.sets = parameter_sets(&settings);
        let step = self.saving.as_ref().map_or(0, Saving::step);
        self.stage.outlet.counters.saving.store(step, Relaxed);
    }

    fn code(&mut self, input: Input<'_>, captured_ns: u64) -> Result<Outcome, Failure> {
        let wanted = &self.stage.wanted;
        let settings = Settings { bitrate: wanted.bitrate(), ..self.settings };
        let input = match (&mut self.saving, input) {
            (Some(saving), Input::Picture(picture)) => Input::Picture(saving.fit(picture)),
            (_, input) => input,
        };
        let coder = match &mut self.coder {
            Some(coder) => coder,
            none => {
                let coder = match (self.choice.encoder, self.hardware.take()) {
                    (Encoder::Hardware, Some(hardware)) => Coder::Hardware(hardware),
                    (Encoder::Hardware, None) => unreachable!("it was chosen because it is there"),
                    (Encoder::Software, _) => Coder::software(settings)?,
                    (Encoder::Passthrough, _) => Coder::Passthrough,
                };
                self.stage.outlet.counters.encoders.store(1, Relaxed);
                self.started = true;
                none.insert(coder)
            }
        };
        let key = wanted.take_key();
        let frame = Frame { captured_ns, stamped: self.stamped, position: self.next - 1, key };
        let outcome = coder.encode(input, frame, &settings, &mut self.unit)?;
        let begun = Some(coder.buffer_bytes()).filter(|bytes| *bytes > 0);
        if key && matches!(outcome, Outcome::Delta | Outcome::Skipped) {
            wanted.want_key();
        }
        if let Some(bytes) = begun {
            self.mapped_by_encoder(bytes);
        }
        Ok(outcome)
    }

    fn publish(&mut self) {
        let refused = self.sets.refused();
        let unit = self.sets.finish(&self.unit.bytes);
        let (width, height) = unit.size.map_or((self.settings.width, self.settings.height), |s| (s.width, s.height));
        let (key, periodic) = (unit.key, self.keying == Keying::Periodic);
        let flag = |set: bool, flag: u32| if set { flag } else { 0 };
        let meta = Meta {
            captured_ns: self.unit.captured_ns,
            stamped: self.unit.stamped,
            position: self.unit.position,
            flags: flag(key, KEY) | flag(periodic, PERIODIC) | flag(self.discontinuity, DISCONTINUITY),
            width: width as u16,
            height: height as u16,
            epoch: self.stage.wanted.epoch(),
            ..Meta::default()
        };
        let published = self.stage.outlet.publish(meta, unit.data);
        if self.sets.refused() > refused {
            tracing::warn!("a parameter set that cannot be read is passed on as it is: receivers may show late");
        }
        if let Err(error) = published {
            tracing::warn!(%error, "unit dropped");
            self.dropped();
            self.stage.wanted.want_key();
            return;
        }
        self.discontinuity = false;
        if key {
            self.stage.outlet.counters.keyframes.fetch_add(1, Relaxed);
            self.stage.tell(Event::Key);
        }
    }
}

impl Drop for Frames<'_> {
    fn drop(&mut self) {
        // What is inside comes out, so that what was seen last before a loss is seen.
        if self.stage.wanted.encode()
            && let Some(coder) = &mut self.coder
        {
            coder.drain();
            let _ = self.collect(Instant::now() + DRAIN);
        }
        self.rest();
    }
}

fn parameter_sets(settings: &Settings) -> ParameterSets {
    ParameterSets::new(Rate { milli_fps: settings.milli_fps, bitrate: settings.ceiling })
}

fn keying(encoder: Encoder) -> Keying {
    match encoder {
        Encoder::Software | Encoder::Hardware => Keying::Forced,
        Encoder::Passthrough => Keying::Periodic,
    }
}
