//! The test picture as a camera.

use super::coder::Input;
use super::frames::Frames;
use super::settings;
use crate::config;
use crate::device::pipeline::{Failure, Stage};
use crate::media::pattern::Pattern;
use crate::media::tone;
use hal::process::monotonic_ns;
use protocol::device::encoder;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const SECOND_NS: u64 = 1_000_000_000;

/// Draws and encodes at an even pace by the monotonic clock; frames it has no time for are left out.
pub fn run(stage: &Stage, camera: &config::Camera) -> Result<(), Failure> {
    let choice = encoder::for_pictures(camera.encoder, Err("the test picture is for software".into()))
        .map_err(|why| format!("test pattern: {why}"))?;
    let (width, height, fps) = (camera.width & !1, camera.height & !1, u64::from(camera.fps.max(1)));
    let milli_fps = camera.fps.max(1) * 1000;
    let mut picture = Pattern::new(width, height);
    let mut frames = Frames::new(stage, settings(camera, width, height, milli_fps), milli_fps, choice, None);
    frames.running("test pattern", false);
    let start = monotonic_ns();
    let origin = start - start % SECOND_NS;
    let mut tick = (start - origin) * fps / SECOND_NS + 1;
    while !stage.wanted.stop() {
        stage.wanted.turned();
        let (now, due) = (monotonic_ns(), origin + due_ns(tick, fps));
        if now < due {
            std::thread::park_timeout(Duration::from_nanos(due - now));
            continue;
        }
        let late = (now - due) * fps / SECOND_NS;
        frames.missed(late);
        let due = origin + due_ns(tick + late, fps);
        let number = frames.arrived();
        if !stage.wanted.encode() {
            frames.rest();
        } else if frames.take(due) {
            picture.flash(tone::beeps(due));
            frames.encode(Input::Picture(picture.draw(number, unix_ms())), due)?;
        }
        tick += late + 1;
    }
    Ok(())
}

/// When picture `tick` is due after a whole second. One lies exactly on each second, so that the flash is as exact as the beep
/// of the tone.
fn due_ns(tick: u64, fps: u64) -> u64 {
    tick / fps * SECOND_NS + tick % fps * SECOND_NS / fps
}

fn unix_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |t| t.as_millis() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_lies_on_each_whole_second_for_ever_and_none_leaves_its_pace() {
        for fps in [1, 7, 15, 30, 60, 120] {
            for second in [0, 1, 86_400 * 365] {
                assert_eq!(due_ns(second * fps, fps), second * SECOND_NS, "{fps} a second");
            }
            let steps = (0..2 * fps).map(|tick| due_ns(tick + 1, fps) - due_ns(tick, fps));
            assert!(steps.into_iter().all(|step| (SECOND_NS / fps..=SECOND_NS / fps + 1).contains(&step)));
        }
    }
}
