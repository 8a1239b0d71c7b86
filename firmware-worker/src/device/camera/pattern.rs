//! The test picture as a camera.

use super::coder::Input;
use super::frames::Frames;
use super::{choice, settings};
use crate::config;
use crate::device::pipeline::Stage;
use crate::media::pattern::Pattern;
use crate::media::tone;
use hal::process::monotonic_ns;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const SECOND_NS: u64 = 1_000_000_000;

/// Draws and encodes at an even pace by the monotonic clock; frames it has no time for are left out.
pub fn run(stage: &Stage, camera: &config::Camera) -> Result<(), String> {
    let choice = choice::for_pictures(camera.encoder, Err("the test picture is for software".into()))
        .map_err(|why| format!("test pattern: {why}"))?;
    let (width, height, milli_fps) = (camera.width & !1, camera.height & !1, camera.fps.max(1) * 1000);
    let period = 1000 * SECOND_NS / u64::from(milli_fps);
    let mut picture = Pattern::new(width, height);
    let mut frames = Frames::new(stage, settings(camera, width, height, milli_fps), milli_fps, choice, None);
    frames.running("test pattern", false);
    // A picture lies on each whole second, so that the flash is as exact as the beep of the tone.
    let now = monotonic_ns();
    let second = now - now % SECOND_NS;
    let mut due = second + (now - second).next_multiple_of(period);
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
        if !stage.wanted.encode() {
            frames.rest();
        } else if frames.take(due) {
            picture.flash(tone::beeps(due));
            frames.encode(Input::Picture(picture.draw(number, unix_ms())), due)?;
        }
        due += period;
    }
    Ok(())
}

fn unix_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |t| t.as_millis() as u64)
}
