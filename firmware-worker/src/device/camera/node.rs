//! A V4L2 node as a camera.

use super::coder::Input;
use super::frames::Frames;
use super::{SILENCE_LIMIT, STOP_CHECK, choice, settings};
use crate::config;
use crate::device::pipeline::Stage;
use crate::media::{I420, convert, jpeg};
use hal::video::{Capture, Mode, Picture, PixelFormat};
use std::os::fd::OwnedFd;
use std::time::Duration;

/// Captures from `node` until the pipeline is to stop or the camera is lost.
pub fn run(stage: &Stage, camera: &config::Camera, node: OwnedFd, path: &str) -> Result<(), String> {
    let choice = choice::for_pictures(camera.encoder).map_err(|why| format!("{path}: {why}"))?;
    let mut capture = Capture::start(node, path, camera.width, camera.height, camera.fps).map_err(|e| e.to_string())?;
    let mode = capture.mode();
    // Some drivers do not tell their rate.
    let wanted = camera.fps.saturating_mul(1000);
    let milli_fps = if mode.milli_fps == 0 { wanted } else { mode.milli_fps.min(wanted) };
    let mut frames = Frames::new(stage, settings(camera, mode.width, mode.height, milli_fps), wanted, choice);
    let mut raw = RawPictures::new(mode);
    let mut sequence = None;
    let mut silent = Duration::ZERO;
    frames.running(&format!("{path} {:?}", mode.format), true);
    while !stage.wanted.stop() {
        let Some(taken) = capture.next(STOP_CHECK).map_err(|e| e.to_string())? else {
            silent += STOP_CHECK;
            if silent >= SILENCE_LIMIT {
                return Err(format!("{path}: no picture for {} s", SILENCE_LIMIT.as_secs()));
            }
            continue;
        };
        silent = Duration::ZERO;
        let gap = sequence.replace(taken.sequence).map_or(0, |last: u32| taken.sequence.wrapping_sub(last) - 1);
        // A driver that restarts its counter has not lost a billion frames.
        frames.missed(u64::from(if gap > u32::from(u16::MAX) { 0 } else { gap }));
        frames.arrived();
        if !stage.wanted.encode() {
            frames.rest();
            continue;
        }
        let captured_ns = taken.captured_ns;
        if !frames.take(captured_ns) {
            continue;
        }
        if raw.decode(taken) {
            frames.encode(Input::Picture(&raw.picture), captured_ns)?;
        } else {
            frames.dropped();
        }
    }
    Ok(())
}

/// Pictures of a camera's format, made into what the encoder takes.
struct RawPictures {
    format: PixelFormat,
    picture: I420,
    jpeg: jpeg::Decoder,
}

impl RawPictures {
    fn new(mode: Mode) -> Self {
        Self { format: mode.format, picture: I420::new(mode.width, mode.height), jpeg: jpeg::Decoder::default() }
    }

    /// Whether the picture could be taken. Its buffer goes back to the driver at the end, before the encoder runs.
    fn decode(&mut self, taken: Picture<'_>) -> bool {
        if taken.damaged {
            return false;
        }
        let decoded = match self.format {
            PixelFormat::Mjpeg => self.jpeg.decode(taken.data, &mut self.picture).map_err(|e| e.to_string()),
            raw => convert::to_i420(raw, taken.data, taken.stride, &mut self.picture).map_err(|e| e.to_string()),
        };
        if let Err(why) = &decoded {
            tracing::trace!(why, "picture dropped");
        }
        decoded.is_ok()
    }
}
