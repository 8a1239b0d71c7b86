//! A V4L2 node as a camera.

use super::coder::Input;
use super::frames::Frames;
use super::hardware::Hardware;
use super::opening::{self, Opened};
use super::units::Units;
use super::worth::{Outcome, Trouble, Worth};
use super::{SETTLE, SILENCE_LIMIT, STOP_CHECK, layout, settings};
use crate::config;
use crate::control::OwnerStage;
use crate::device::pipeline::{Failure, Stage};
use crate::media::{I420, convert, jpeg};
use hal::process::monotonic_ns;
use hal::video::{Handle, Mode, Picture, PixelFormat, Setting};
use protocol::device::encoder::{self, Choice, Encoder};
use std::time::Instant;

/// Captures from `node` until the pipeline is to stop or the camera is lost. One of `encoders` may code its pictures.
pub fn run(
    stage: &Stage,
    camera: &config::Camera,
    handle: Handle,
    path: &str,
    encoders: Result<Vec<(Handle, String)>, String>,
) -> Result<(), Failure> {
    // All of it counts: of a camera that answers nothing each control takes seconds too.
    let began = Instant::now();
    stage.wanted.drives(path);
    set_controls(&handle, path, &camera.controls);
    let flipped = hal::video::flip(&handle, camera.hflip, camera.vflip);
    let flip = (camera.hflip && !flipped.0, camera.vflip && !flipped.1);
    let Opened { mut capture, asked } = opening::open(camera, handle, path, flip != (false, false), began)?;
    let mode = capture.mode();
    let most = camera.fps.saturating_mul(1000);
    let mut pictures = match mode.format {
        PixelFormat::H264 => Pictures::Encoded(Units::new(layout(camera).arena as usize)),
        _ => Pictures::Raw(RawPictures::new(mode, flip)),
    };
    let milli_fps = match (mode.milli_fps, &pictures) {
        // Some drivers do not tell their rate.
        (0, _) => most,
        // What is encoded already cannot be thinned.
        (own, Pictures::Encoded(_)) => own,
        (own, Pictures::Raw(_)) => own.min(most),
    };
    let (choice, hardware) = choose(camera, encoders, &pictures).map_err(|why| format!("{path}: {why}"))?;
    let settings = settings(camera, mode.width, mode.height, milli_fps);
    let mut frames = Frames::new(stage, settings, most, choice, hardware);
    let mut sequence = None;
    if capture.makes_keyframes() {
        frames.keyframes_on_request();
    }
    frames.running(&format!("{path} {}{asked}", mode.format), true);
    frames.mapped(capture.buffer_bytes());
    if matches!(pictures, Pictures::Encoded(_)) {
        stage.await_encode(SETTLE);
    }
    let mut seen = Instant::now();
    let mut worth = Worth::new(path, mode.format);
    while !stage.wanted.stop() {
        stage.wanted.turned();
        frames.freed().for_each(|held| capture.release(held));
        if let Pictures::Encoded(units) = &mut pictures {
            // A camera may take seconds to refuse a control, while its pictures go on.
            units.ask_for_keyframe(&capture, stage);
            stage.wanted.turned();
            units.follow_bitrate(&capture, stage);
            stage.wanted.turned();
        }
        let Some(mut taken) = capture.next(STOP_CHECK)? else {
            // By the clock: a driver may wake us again and again and have nothing.
            if seen.elapsed() >= SILENCE_LIMIT {
                return Err(format!("{path}: no picture for {} s", SILENCE_LIMIT.as_secs()).into());
            }
            continue;
        };
        seen = Instant::now();
        worth.stamp(&mut taken, &mut frames, seen);
        if sequence.is_none() {
            frames.describe();
        }
        stage.outlet.counters.stages.since(OwnerStage::Capture, taken.captured_ns);
        let step = sequence.replace(taken.sequence).map_or(1, |last: u32| taken.sequence.wrapping_sub(last));
        // A driver that repeats a number has lost nothing, one that restarts its counter not a billion frames.
        let gap = step.saturating_sub(1);
        let gap = u64::from(if gap > u32::from(u16::MAX) { 0 } else { gap });
        frames.missed(gap);
        if !frames.take_started() {
            worth.missed(gap, seen);
        }
        frames.arrived();
        pictures.missed(gap);
        let outcome = if stage.wanted.encode() {
            pictures.take(taken, &mut frames, stage)?
        } else {
            frames.rest();
            pictures.missed(1);
            Outcome::Used
        };
        worth.note_outcome(outcome, seen)?;
    }
    Ok(())
}

/// What makes H.264 of what the camera gives, and the board's encoder if that is it.
fn choose(
    camera: &config::Camera,
    encoders: Result<Vec<(Handle, String)>, String>,
    pictures: &Pictures,
) -> Result<(Choice, Option<Hardware>), String> {
    let Pictures::Raw(raw) = pictures else { return Ok((encoder::for_units(camera.encoder), None)) };
    let found = encoders.and_then(|nodes| Hardware::find(nodes, raw.format, !raw.is_plain()));
    let choice = encoder::for_pictures(camera.encoder, found.as_ref().map(Hardware::name).map_err(Clone::clone))?;
    let hardware = found.ok().filter(|_| choice.encoder == Encoder::Hardware);
    Ok((choice, hardware))
}

/// Each that the driver refuses is told; the camera runs without it.
fn set_controls(handle: &Handle, path: &str, controls: &[(String, config::ControlValue)]) {
    let setting = |value: &config::ControlValue| match value {
        config::ControlValue::Number(number) => Setting::Number(*number),
        config::ControlValue::Text(text) => Setting::Text(text.clone()),
    };
    let settings: Vec<_> = controls.iter().map(|(name, value)| (name.clone(), setting(value))).collect();
    for why in hal::video::set_controls(handle, &settings) {
        tracing::warn!("{path}: {why}");
    }
}

/// What the camera gives.
enum Pictures {
    /// To be encoded.
    Raw(RawPictures),
    /// Access units.
    Encoded(Units),
}

impl Pictures {
    /// That many did not come, or were not taken.
    fn missed(&mut self, count: u64) {
        match self {
            Self::Encoded(units) if count > 0 => units.missed(),
            Self::Encoded(_) | Self::Raw(_) => {}
        }
    }

    fn take(&mut self, taken: Picture<'_>, frames: &mut Frames<'_>, stage: &Stage) -> Result<Outcome, Failure> {
        match self {
            Self::Encoded(units) => units.take(&taken, frames),
            Self::Raw(raw) => raw.take(taken, frames, stage),
        }
    }
}

/// Pictures of a camera's format, made into what the encoder takes.
struct RawPictures {
    format: PixelFormat,
    /// To be mirrored, as the driver does not: horizontally, vertically.
    flip: (bool, bool),
    picture: I420,
    jpeg: jpeg::Decoder,
}

impl RawPictures {
    fn new(mode: Mode, flip: (bool, bool)) -> Self {
        let (picture, jpeg) = (I420::new(mode.width, mode.height), jpeg::Decoder::default());
        Self { format: mode.format, flip, picture, jpeg }
    }

    fn take(&mut self, taken: Picture<'_>, frames: &mut Frames<'_>, stage: &Stage) -> Result<Outcome, Failure> {
        let captured_ns = taken.captured_ns;
        if !frames.take(captured_ns) {
            return Ok(Outcome::Untried);
        }
        if self.is_plain() && !taken.damaged && frames.takes(self.format) {
            return frames.encode(Input::Taken(taken), captured_ns).map(|()| Outcome::Used);
        }
        let dequeued_ns = monotonic_ns();
        if let Err((trouble, why)) = self.decode(taken) {
            frames.dropped();
            return Ok(Outcome::Useless(trouble, why));
        }
        stage.outlet.counters.stages.since(OwnerStage::Convert, dequeued_ns);
        frames.encode(Input::Picture(&self.picture), captured_ns).map(|()| Outcome::Used)
    }

    /// Whether an encoder that knows the format could take the pictures as they come.
    fn is_plain(&self) -> bool {
        !matches!(self.format, PixelFormat::Mjpeg | PixelFormat::H264) && self.flip == (false, false)
    }

    /// Its buffer goes back to the driver at the end, before the encoder runs.
    fn decode(&mut self, taken: Picture<'_>) -> Result<(), (Trouble, String)> {
        if taken.damaged {
            return Err((Trouble::Damaged, String::new()));
        }
        match self.format {
            PixelFormat::Mjpeg => self.jpeg.decode(taken.data(), &mut self.picture).map_err(|error| match error {
                jpeg::Error::Size { .. } => (Trouble::Size, error.to_string()),
                other => (Trouble::Unreadable, other.to_string()),
            })?,
            raw => convert::to_i420(raw, taken.planes(), &mut self.picture)
                .map_err(|error| (Trouble::Unreadable, error.to_string()))?,
        }
        self.picture.flip(self.flip.0, self.flip.1);
        Ok(())
    }
}
