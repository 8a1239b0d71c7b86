//! The camera's thread: capture, convert, encode, publish. The driver's buffers are the only queue of raw pictures, so
//! that a slow encoder makes the kernel drop and nothing grows.

use super::outlet::Outlet;
use super::pace::Pace;
use super::pipeline::{Event, Pipeline, Stage};
use crate::config;
use crate::media::h264::{self, Coded, Encoder, Settings};
use crate::media::pattern::Pattern;
use crate::media::{I420, convert, jpeg};
use hal::process::monotonic_ns;
use hal::ring::{DISCONTINUITY, KEY, Layout, MAX_ARENA, Meta};
use hal::video::{Capture, Encoded, Handle, Mode, Picture, PixelFormat, Setting, Wanted};
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Descriptors of the ring: four seconds at 30 frames a second.
const SLOTS: u32 = 128;
/// Seconds at the ceiling bitrate that the ring holds, so that a job may stall that long.
const ARENA_SECONDS: usize = 2;
/// Largest units that the ring holds at least.
const ARENA_UNITS: usize = 3;
/// How often a thread without pictures looks whether it is to stop; bounds how long closing takes.
const STOP_CHECK: Duration = Duration::from_millis(100);
/// A camera that gives nothing for this long is taken as lost: some hang after a USB error instead of failing.
const SILENCE_LIMIT: Duration = Duration::from_secs(3);
const SECOND_NS: u64 = 1_000_000_000;

/// Where pictures come from.
#[derive(Debug)]
pub enum Source {
    /// The test picture.
    Pattern,
    /// An opened V4L2 node and its path, for messages.
    Node(Handle, String),
}

/// The ring for this camera.
pub fn layout(camera: &config::Camera) -> Layout {
    let settings = settings(camera, camera.width, camera.height, camera.fps * 1000);
    let arena = (camera.bitrate as usize / 8 * ARENA_SECONDS).max(settings.largest_unit() * ARENA_UNITS);
    // A rate beyond all sense gets the largest ring there is, and units that do not fit it are dropped and counted.
    let arena = u32::try_from(arena.next_multiple_of(8)).unwrap_or(MAX_ARENA).min(MAX_ARENA);
    Layout { slots: SLOTS, arena }
}

/// Opens the source on a thread of its own; what happens comes as events.
pub fn start(camera: &config::Camera, source: Source, outlet: Arc<Outlet>) -> io::Result<Pipeline> {
    let camera = camera.clone();
    Pipeline::spawn("camera", outlet, move |stage| match source {
        Source::Pattern => pattern(stage, &camera),
        Source::Node(node, path) => node_loop(stage, &camera, node, &path),
    })
}

fn settings(camera: &config::Camera, width: u32, height: u32, milli_fps: u32) -> Settings {
    Settings { width: width & !1, height: height & !1, milli_fps, ceiling: camera.bitrate, bitrate: camera.bitrate }
}

/// Draws and encodes at an even pace by the monotonic clock; frames it has no time for are left out.
fn pattern(stage: &Stage, camera: &config::Camera) -> Result<(), String> {
    let (width, height, milli_fps) = (camera.width & !1, camera.height & !1, camera.fps.max(1) * 1000);
    let period = 1000 * SECOND_NS / u64::from(milli_fps);
    let mut picture = Pattern::new(width, height);
    let mut frames = Frames::new(stage, camera, Mode { format: PixelFormat::Yu12, width, height, milli_fps });
    stage.tell(Event::Running { description: format!("test pattern {}", frames.describe()), hardware: false });
    let mut due = monotonic_ns();
    while !stage.wanted.stop() {
        let now = monotonic_ns();
        if now < due {
            std::thread::park_timeout(Duration::from_nanos(due - now));
            continue;
        }
        let late = (now - due) / period;
        frames.missed(late);
        due += late * period;
        let number = frames.arrived();
        if stage.wanted.encode() {
            frames.encode(picture.draw(number, unix_ms()), due)?;
        } else {
            frames.rest();
        }
        due += period;
    }
    Ok(())
}

fn unix_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |t| t.as_millis() as u64)
}

fn node_loop(stage: &Stage, camera: &config::Camera, handle: Handle, path: &str) -> Result<(), String> {
    let (width, height, fps) = (camera.width, camera.height, camera.fps);
    let wanted = Wanted { width, height, fps, format: camera.format.map(pixels), encoded: Encoded::Never };
    set_controls(&handle, path, &camera.controls);
    let flipped = hal::video::flip(&handle, camera.hflip, camera.vflip);
    let mut capture = Capture::start(handle, path, &wanted).map_err(|e| e.to_string())?;
    let mode = capture.mode();
    let mut frames = Frames::new(stage, camera, mode);
    let mut raw = RawPictures::new(mode, (camera.hflip && !flipped.0, camera.vflip && !flipped.1));
    let mut pace = Pace::new(camera.fps.saturating_mul(1000));
    let mut sequence = None;
    let mut silent = Duration::ZERO;
    stage.tell(Event::Running {
        description: format!("{path} {} {}{}", mode.format, frames.describe(), asked(&wanted, mode)),
        hardware: true,
    });
    while !stage.wanted.stop() {
        let Some(taken) = capture.next(STOP_CHECK).map_err(|e| e.to_string())? else {
            silent += STOP_CHECK;
            if silent >= SILENCE_LIMIT {
                return Err(format!("{path}: no picture for {} s", SILENCE_LIMIT.as_secs()));
            }
            continue;
        };
        silent = Duration::ZERO;
        if sequence.is_none() {
            let moment = if taken.exposed { "start of exposure" } else { "end of the frame" };
            tracing::info!("{path}: stamps are of the {moment}");
        }
        let gap = sequence.replace(taken.sequence).map_or(0, |last: u32| taken.sequence.wrapping_sub(last) - 1);
        // A driver that restarts its counter has not lost a billion frames.
        frames.missed(u64::from(if gap > u32::from(u16::MAX) { 0 } else { gap }));
        frames.arrived();
        if !stage.wanted.encode() {
            frames.rest();
            continue;
        }
        let captured_ns = taken.captured_ns;
        if !pace.take(captured_ns) {
            continue;
        }
        if raw.decode(taken) {
            frames.encode(&raw.picture, captured_ns)?;
        } else {
            frames.dropped();
        }
    }
    Ok(())
}

fn pixels(format: config::CameraFormat) -> PixelFormat {
    match format {
        config::CameraFormat::Yuyv => PixelFormat::Yuyv,
        config::CameraFormat::Uyvy => PixelFormat::Uyvy,
        config::CameraFormat::Nv12 => PixelFormat::Nv12,
        config::CameraFormat::Nv16 => PixelFormat::Nv16,
        config::CameraFormat::Yu12 => PixelFormat::Yu12,
        config::CameraFormat::Mjpeg => PixelFormat::Mjpeg,
    }
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

/// What was asked for, where something else came.
fn asked(wanted: &Wanted, mode: Mode) -> String {
    let Wanted { width, height, fps, .. } = wanted;
    let near = |milli_fps: u32| milli_fps.abs_diff(fps.saturating_mul(1000)) < 1000;
    if (mode.width, mode.height) == (*width, *height) && near(mode.milli_fps) {
        return String::new();
    }
    format!(" ({width}x{height}@{fps} was asked for, the camera gives {mode})")
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

    /// Whether the picture could be taken. Its buffer goes back to the driver at the end, before the encoder runs.
    fn decode(&mut self, taken: Picture<'_>) -> bool {
        if taken.damaged {
            return false;
        }
        let decoded = match self.format {
            PixelFormat::Mjpeg => self.jpeg.decode(taken.data(), &mut self.picture).map_err(|e| e.to_string()),
            raw => convert::to_i420(raw, taken.planes(), &mut self.picture).map_err(|e| e.to_string()),
        };
        match &decoded {
            Ok(()) => self.picture.flip(self.flip.0, self.flip.1),
            Err(why) => tracing::trace!(why, "picture dropped"),
        }
        decoded.is_ok()
    }
}

/// Counts frames and carries the wanted ones through the encoder into the ring.
struct Frames<'a> {
    stage: &'a Stage,
    settings: Settings,
    encoder: Option<Encoder>,
    unit: Vec<u8>,
    next: u64,
    discontinuity: bool,
}

impl<'a> Frames<'a> {
    fn new(stage: &'a Stage, camera: &config::Camera, mode: Mode) -> Self {
        // Some drivers do not tell their rate.
        let wanted = camera.fps.saturating_mul(1000);
        let milli_fps = if mode.milli_fps == 0 { wanted } else { mode.milli_fps.min(wanted) };
        let settings = settings(camera, mode.width, mode.height, milli_fps);
        let next = stage.outlet.last().map_or(0, |last| last.position + 1);
        Self { stage, settings, encoder: None, unit: Vec::new(), next, discontinuity: true }
    }

    fn describe(&self) -> String {
        let s = &self.settings;
        format!("{}x{}@{} openh264 {} kbit/s", s.width, s.height, f64::from(s.milli_fps) / 1000.0, s.ceiling / 1000)
    }

    /// One frame has come; its number.
    fn arrived(&mut self) -> u64 {
        self.stage.outlet.counters.captured.fetch_add(1, Relaxed);
        self.next += 1;
        self.next - 1
    }

    /// Frames that never came: the number goes on over them.
    fn missed(&mut self, frames: u64) {
        self.next += frames;
        self.stage.outlet.counters.dropped.fetch_add(frames, Relaxed);
    }

    /// The frame that has just arrived is lost.
    fn dropped(&mut self) {
        self.stage.outlet.counters.dropped.fetch_add(1, Relaxed);
    }

    /// Nobody reads: the encoder's memory is given back.
    fn rest(&mut self) {
        if self.encoder.take().is_some() {
            self.stage.outlet.counters.encoders.store(0, Relaxed);
            self.discontinuity = true;
        }
    }

    /// Encodes and publishes the frame that has just arrived.
    fn encode(&mut self, picture: &I420, captured_ns: u64) -> Result<(), String> {
        match self.code(picture, captured_ns).map_err(|e| e.to_string())? {
            Coded::Skipped => self.dropped(),
            coded => self.publish(coded, captured_ns),
        }
        Ok(())
    }

    fn code(&mut self, picture: &I420, captured_ns: u64) -> Result<Coded, h264::Error> {
        let wanted = &self.stage.wanted;
        let bitrate = wanted.bitrate();
        let encoder = match &mut self.encoder {
            Some(encoder) => encoder,
            none => {
                let encoder = Encoder::new(Settings { bitrate, ..self.settings })?;
                self.stage.outlet.counters.encoders.store(1, Relaxed);
                none.insert(encoder)
            }
        };
        encoder.set_bitrate(bitrate)?;
        let key = wanted.take_key();
        let coded = encoder.encode(picture, captured_ns, key, &mut self.unit)?;
        if key && coded != Coded::Key {
            wanted.want_key();
        }
        Ok(coded)
    }

    fn publish(&mut self, coded: Coded, captured_ns: u64) {
        let key = if coded == Coded::Key { KEY } else { 0 };
        let meta = Meta {
            captured_ns,
            position: self.next - 1,
            flags: key | if self.discontinuity { DISCONTINUITY } else { 0 },
            width: self.settings.width as u16,
            height: self.settings.height as u16,
            epoch: self.stage.wanted.epoch(),
            ..Meta::default()
        };
        if let Err(error) = self.stage.outlet.publish(meta, &self.unit) {
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
