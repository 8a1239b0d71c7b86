//! The start of a V4L2 node's stream, in the mode that `protocol::device::mode` chooses.

use crate::config;
use crate::device::pipeline::Failure;
use hal::video::{Capture, Error, Handle, Idle, Mode, PixelFormat};
use protocol::device::encoder;
use protocol::device::mode::{self, Attempt, Choice, Encoded, Format, Refusal, Wanted};
use std::time::Instant;

/// A camera that streams.
pub struct Opened {
    pub capture: Capture,
    /// What was asked for, where something else came, for who reads what the camera is.
    pub asked: String,
}

/// Starts the stream of a camera whose opening `began` then. `mirrored`: pictures must be flipped, which the driver does not
/// do.
pub fn open(
    camera: &config::Camera,
    handle: Handle,
    path: &str,
    mirrored: bool,
    began: Instant,
) -> Result<Opened, Failure> {
    let told = |why: &str| Failure::Lost(format!("{path}: {why}"));
    let encoded = encoder::of_node(camera.encoder, mirrored).map_err(told)?;
    let (width, height, fps) = (camera.width, camera.height, camera.fps);
    let wanted = Wanted { width, height, fps, format: camera.format.map(wish), encoded };
    start(Idle::new(handle, path, (width, height)), wanted, began).map_err(|error| match error {
        Error::NoMode(..) if encoded == Encoded::Only => told(encoder::NO_UNITS),
        other => Failure::from(other),
    })
}

fn start(mut idle: Idle, wanted: Wanted, began: Instant) -> Result<Opened, Error> {
    let mut choice = Choice::new(idle.modes().map(plain), wanted, began);
    let mut refusal = None;
    while let Some(Attempt { offer, milli_fps }) = choice.attempt() {
        match idle.start(offer, milli_fps).map_err(|failed| *failed) {
            Ok(capture) => {
                let asked = asked(&wanted, capture.mode(), refusal.as_ref());
                return Ok(Opened { capture, asked });
            }
            Err(failed) => {
                let (mode, why) = match &failed.error {
                    Error::NoBandwidth { mode, .. } => (*mode, Refusal::NoRoom),
                    Error::NotStarted { mode, .. } => (*mode, Refusal::NotStarted),
                    _ => return Err(failed.error),
                };
                choice.refused(plain(mode), why, Instant::now());
                idle = failed.idle;
                refusal.get_or_insert(failed.error);
            }
        }
    }
    Err(refusal.unwrap_or_else(|| idle.no_mode()))
}

/// What was asked for, where something else came. `refusal` is of the first mode that was tried.
fn asked(wanted: &Wanted, mode: Mode, refusal: Option<&Error>) -> String {
    match refusal {
        Some(Error::NoBandwidth { mode: refused, .. }) => {
            return format!(" (the USB bus has no room for {refused}, the camera gives {mode})");
        }
        // It has started the same all the same.
        Some(Error::NotStarted { mode: refused, .. }) if *refused != mode => {
            return format!(
                " ({refused} was not started, perhaps for lack of USB bandwidth: lower width, height or fps of this \
                 camera or of one beside it; the camera gives {mode})"
            );
        }
        Some(_) | None => {}
    }
    let Wanted { width, height, fps, .. } = wanted;
    let near = |milli_fps: u32| milli_fps.abs_diff(fps.saturating_mul(1000)) < 1000;
    if (mode.width, mode.height) == (*width, *height) && near(mode.milli_fps) {
        return String::new();
    }
    format!(" ({width}x{height}@{fps} was asked for, the camera gives {mode})")
}

fn plain(mode: Mode) -> mode::Mode {
    let Mode { format, width, height, milli_fps } = mode;
    let format = match format {
        PixelFormat::Yuyv => Format::Yuyv,
        PixelFormat::Uyvy => Format::Uyvy,
        PixelFormat::Nv12 => Format::Nv12,
        PixelFormat::Nv16 => Format::Nv16,
        PixelFormat::Yu12 => Format::Yu12,
        PixelFormat::Mjpeg => Format::Mjpeg,
        PixelFormat::H264 => Format::H264,
    };
    mode::Mode { format, width, height, milli_fps }
}

fn wish(format: config::CameraFormat) -> Format {
    match format {
        config::CameraFormat::Yuyv => Format::Yuyv,
        config::CameraFormat::Uyvy => Format::Uyvy,
        config::CameraFormat::Nv12 => Format::Nv12,
        config::CameraFormat::Nv16 => Format::Nv16,
        config::CameraFormat::Yu12 => Format::Yu12,
        config::CameraFormat::Mjpeg => Format::Mjpeg,
    }
}
