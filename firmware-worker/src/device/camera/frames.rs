//! Counts a camera's frames and carries the wanted ones through the coder into the ring.

use super::choice::Choice;
use super::coder::{Coder, Input, Unit};
use super::saving::Saving;
use crate::control::{Encoder, OwnerStage};
use crate::device::pace::Pace;
use crate::device::pipeline::{Event, Stage};
use crate::media::h264::{Coded, Settings};
use hal::process::monotonic_ns;
use hal::ring::{DISCONTINUITY, KEY, Meta, PERIODIC};
use protocol::device::Keying;
use protocol::room::rtp::h264::{ParameterSets, Rate};
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

/// The frames of one running camera.
pub struct Frames<'a> {
    stage: &'a Stage,
    choice: Choice,
    keying: Keying,
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
}

impl<'a> Frames<'a> {
    /// For a camera whose pictures are coded with `settings`, and no faster than `milli_fps`.
    pub fn new(stage: &'a Stage, settings: Settings, milli_fps: u32, choice: Choice) -> Self {
        let next = stage.outlet.last().map_or(0, |last| last.position + 1);
        stage.outlet.counters.saving.store(0, Relaxed);
        Self {
            stage,
            choice,
            keying: keying(choice.encoder),
            settings,
            pace: Pace::new(milli_fps),
            begun: Instant::now(),
            saving: (choice.encoder == Encoder::Software).then(|| Saving::new(settings)),
            coder: None,
            sets: parameter_sets(&settings),
            unit: Unit::default(),
            next,
            discontinuity: true,
        }
    }

    /// The camera encodes, and makes keyframes when asked.
    pub fn keyframes_on_request(&mut self) {
        self.keying = Keying::Forced;
    }

    /// Says that the camera delivers, from `source`.
    pub fn running(&self, source: &str, hardware: bool) {
        let (s, Choice { encoder, why }) = (&self.settings, self.choice);
        let (width, height, fps) = (s.width, s.height, f64::from(s.milli_fps) / 1000.0);
        let description = format!("{source} {width}x{height}@{fps} {} kbit/s, {encoder} ({why})", s.ceiling / 1000);
        let keying = self.keying;
        self.stage.tell(Event::Running { description, hardware, encoder: Some(encoder), keying });
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
        if self.coder.take().is_some() {
            self.stage.outlet.counters.encoders.store(0, Relaxed);
            self.discontinuity = true;
        }
    }

    /// Codes and publishes the frame that has just arrived.
    pub fn encode(&mut self, input: Input<'_>, captured_ns: u64) -> Result<(), String> {
        match self.code(input, captured_ns)? {
            Coded::Skipped => self.dropped(),
            Coded::Key | Coded::Delta => self.publish(),
        }
        let now = Instant::now();
        let changed = self.saving.as_mut().and_then(|saving| saving.encoded(now.duration_since(self.begun), now));
        if let Some(settings) = changed {
            self.adapt(settings);
        }
        Ok(())
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

    fn code(&mut self, input: Input<'_>, captured_ns: u64) -> Result<Coded, String> {
        let wanted = &self.stage.wanted;
        let bitrate = wanted.bitrate();
        let input = match (&mut self.saving, input) {
            (Some(saving), Input::Picture(picture)) => Input::Picture(saving.fit(picture)),
            (_, input) => input,
        };
        let coder = match &mut self.coder {
            Some(coder) => coder,
            none => {
                let coder = Coder::new(self.choice, Settings { bitrate, ..self.settings })?;
                self.stage.outlet.counters.encoders.store(1, Relaxed);
                none.insert(coder)
            }
        };
        coder.set_bitrate(bitrate).map_err(|e| e.to_string())?;
        let key = wanted.take_key();
        let start_ns = monotonic_ns();
        let coded = coder.encode(input, captured_ns, key, &mut self.unit).map_err(|e| e.to_string())?;
        self.stage.outlet.counters.stages.since(OwnerStage::Encode, start_ns);
        if key && coded != Coded::Key {
            wanted.want_key();
        }
        Ok(coded)
    }

    fn publish(&mut self) {
        let refused = self.sets.refused();
        let unit = self.sets.finish(&self.unit.bytes);
        let (width, height) = unit.size.map_or((self.settings.width, self.settings.height), |s| (s.width, s.height));
        let (key, periodic) = (unit.key, self.keying == Keying::Periodic);
        let flag = |set: bool, flag: u32| if set { flag } else { 0 };
        let meta = Meta {
            captured_ns: self.unit.captured_ns,
            position: self.next - 1,
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
        self.rest();
    }
}

fn parameter_sets(settings: &Settings) -> ParameterSets {
    ParameterSets::new(Rate { milli_fps: settings.milli_fps, bitrate: settings.ceiling })
}

fn keying(encoder: Encoder) -> Keying {
    match encoder {
        Encoder::Software => Keying::Forced,
        Encoder::Passthrough => Keying::Periodic,
    }
}
