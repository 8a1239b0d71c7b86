//! The camera's thread: capture, convert, encode, publish. The driver's buffers are the only queue of raw pictures, so
//! that a slow encoder makes the kernel drop and nothing grows.
//!
//! ```text
//! pattern \ picture                      / software    \
//! node    /---------\ frames --> coder -- -  hardware   -- unit --> frames (parameter sets) --> ring
//! node, pipe -------/ unit                \ passthrough /
//! ```

mod coder;
mod frames;
mod hardware;
mod node;
mod opening;
mod pattern;
mod pipe;
mod saving;
mod units;
mod worth;

use super::outlet::Outlet;
use super::pipeline::{Failure, Pipeline, Stage};
use crate::config::{self, CameraDevice, EncoderWish};
use crate::media::h264::Settings;
use hal::process::Program;
use hal::ring::{Layout, MAX_ARENA, MAX_SLOTS};
use hal::video::Handle;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

/// Descriptors of the ring: four seconds at 30 frames a second.
const SLOTS: u32 = 128;
/// Seconds at the ceiling bitrate that the ring holds, so that a job may stall that long.
const ARENA_SECONDS: u32 = 2;
/// The same where no keyframe can be forced: a reader starts at the last one, so the longest group of pictures that
/// cameras are set to must fit. With a longer one, a reader waits for the next keyframe.
const PERIODIC_SECONDS: u32 = 10;
/// Largest units that the ring holds at least.
const ARENA_UNITS: usize = 3;
/// How often a thread without pictures looks whether it is to stop; bounds how long closing takes.
const STOP_CHECK: Duration = Duration::from_millis(100);
/// A camera that gives nothing for this long is taken as lost: some hang after a USB error instead of failing.
const SILENCE_LIMIT: Duration = Duration::from_secs(3);

/// Until the owner has noted that the first picture has come, so that it is not lost for those who wait for it.
const SETTLE: Duration = Duration::from_millis(200);

/// Where pictures come from.
#[derive(Debug)]
pub enum Source {
    /// The test picture.
    Pattern,
    /// An opened V4L2 node.
    Node {
        /// The camera.
        camera: Handle,
        /// Its path, for messages.
        path: String,
        /// Encoders of the board that may be tried, with their paths, or why none is.
        encoders: Result<Vec<(Handle, String)>, String>,
    },
    /// The camera's command, which runs.
    Pipe(Box<Program>),
}

impl Source {
    /// Opened nodes, whose paths the kernel knows: the camera, then encoders, which may not be on `trial` for a reason.
    /// Nothing without a camera.
    pub fn nodes(nodes: Vec<OwnedFd>, trial: Result<(), String>) -> Option<Self> {
        let named = |node: OwnedFd| {
            let path = std::fs::read_link(format!("/proc/self/fd/{}", node.as_raw_fd()));
            (Handle::from(node), path.map_or_else(|_| "camera".into(), |path| path.to_string_lossy().into_owned()))
        };
        let mut nodes = nodes.into_iter().map(named);
        let (camera, path) = nodes.next()?;
        Some(Self::Node { camera, path, encoders: trial.map(|()| nodes.collect()) })
    }
}

/// The ring for this camera.
pub fn layout(camera: &config::Camera) -> Layout {
    let settings = settings(camera, camera.width, camera.height, camera.fps * 1000);
    let periodic = may_pass(camera);
    let seconds = if periodic { PERIODIC_SECONDS } else { ARENA_SECONDS };
    let arena = (camera.bitrate as usize / 8 * seconds as usize).max(settings.largest_unit() * ARENA_UNITS);
    // A rate beyond all sense gets the largest ring there is, and units that do not fit it are dropped and counted.
    let arena = u32::try_from(arena.next_multiple_of(8)).unwrap_or(MAX_ARENA).min(MAX_ARENA);
    let slots = if periodic { (seconds * camera.fps).next_power_of_two().clamp(SLOTS, MAX_SLOTS) } else { SLOTS };
    Layout { slots, arena }
}

/// Whether the pictures may come encoded already, which is known only when the device is open.
fn may_pass(camera: &config::Camera) -> bool {
    match (&camera.device, camera.encoder) {
        (CameraDevice::Pipe { .. }, _) | (_, EncoderWish::Passthrough) => true,
        (CameraDevice::TestPattern, _) | (_, EncoderWish::Hardware | EncoderWish::Software) => false,
        (_, EncoderWish::Auto) => camera.format.is_none(),
    }
}

/// Opens the source on a thread of its own; what happens comes as events.
pub fn start(camera: &config::Camera, source: Source, outlet: Arc<Outlet>) -> io::Result<Pipeline> {
    let camera = camera.clone();
    Pipeline::spawn("camera", outlet, move |stage| run(stage, &camera, source))
}

/// The same on the calling thread, until it is to stop or the camera is lost.
pub fn run(stage: &Stage, camera: &config::Camera, source: Source) -> Result<(), Failure> {
    match source {
        Source::Pattern => pattern::run(stage, camera),
        Source::Node { camera: node, path, encoders } => node::run(stage, camera, node, &path, encoders),
        Source::Pipe(program) => pipe::run(stage, camera, *program),
    }
}

fn settings(camera: &config::Camera, width: u32, height: u32, milli_fps: u32) -> Settings {
    Settings { width: width & !1, height: height & !1, milli_fps, ceiling: camera.bitrate, bitrate: camera.bitrate }
}
