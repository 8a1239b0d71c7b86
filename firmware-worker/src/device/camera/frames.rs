//! Counts a camera's frames and carries the wanted ones through the coder into the ring.

use super::choice::Choice;
use super::coder::{Coder, Input, Unit};
use super::settings;
use crate::config;
use crate::device::pipeline::{Event, Stage};
use crate::media::h264::{Coded, Settings};
use hal::ring::{DISCONTINUITY, KEY, Meta};
use hal::video::Mode;
use std::sync::atomic::Ordering::Relaxed;

/// The frames of one running camera.
pub struct Frames<'a> {
    stage: &'a Stage,
    choice: Choice,
    settings: Settings,
    coder: Option<Coder>,
    unit: Unit,
    next: u64,
    discontinuity: bool,
}

impl<'a> Frames<'a> {
    /// For a camera that delivers in `mode`.
    pub fn new(stage: &'a Stage, camera: &config::Camera, mode: Mode, choice: Choice) -> Self {
        // Some drivers do not tell their rate.
        let wanted = camera.fps.saturating_mul(1000);
        let milli_fps = if mode.milli_fps == 0 { wanted } else { mode.milli_fps.min(wanted) };
        let settings = settings(camera, mode.width, mode.height, milli_fps);
        let next = stage.outlet.last().map_or(0, |last| last.position + 1);
        Self { stage, choice, settings, coder: None, unit: Unit::default(), next, discontinuity: true }
    }

    /// Says that the camera delivers, from `source`.
    pub fn running(&self, source: &str, hardware: bool) {
        let (s, Choice { encoder, why }) = (&self.settings, self.choice);
        let (width, height, fps) = (s.width, s.height, f64::from(s.milli_fps) / 1000.0);
        let description = format!("{source} {width}x{height}@{fps} {} kbit/s, {encoder} ({why})", s.ceiling / 1000);
        self.stage.tell(Event::Running { description, hardware, encoder: Some(encoder) });
    }

    /// One frame has come; its number.
    pub fn arrived(&mut self) -> u64 {
        self.stage.outlet.counters.captured.fetch_add(1, Relaxed);
        self.next += 1;
        self.next - 1
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
            coded => self.publish(coded),
        }
        Ok(())
    }

    fn code(&mut self, input: Input<'_>, captured_ns: u64) -> Result<Coded, String> {
        let wanted = &self.stage.wanted;
        let bitrate = wanted.bitrate();
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
        let coded = coder.encode(input, captured_ns, key, &mut self.unit).map_err(|e| e.to_string())?;
        if key && coded != Coded::Key {
            wanted.want_key();
        }
        Ok(coded)
    }

    fn publish(&mut self, coded: Coded) {
        let key = if coded == Coded::Key { KEY } else { 0 };
        let meta = Meta {
            captured_ns: self.unit.captured_ns,
            position: self.next - 1,
            flags: key | if self.discontinuity { DISCONTINUITY } else { 0 },
            width: self.unit.width as u16,
            height: self.unit.height as u16,
            epoch: self.stage.wanted.epoch(),
            ..Meta::default()
        };
        if let Err(error) = self.stage.outlet.publish(meta, &self.unit.bytes) {
            tracing::warn!(%error, "unit dropped");
            self.dropped();
            self.stage.wanted.want_key();
            return;
        }
        self.discontinuity = false;
        if key != 0 {
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
