//! The shipped program on a board whose cameras and sound card follow scripts: YUYV of 1280x720 at 30 frames a second, the
//! test pattern with the noise of a sensor; one picture of the same over and over, whose making takes no memory; a small grey
//! one of a camera that is slow to open; and a sound in periods of 10 ms.
//!
//! They show what the generators do not have: a driver's buffers and its time, the conversion, a card's clock.

use firmware_worker::media::pattern::Pattern;
use firmware_worker::{WorkerOptions, bridge, run};
use hal::audio::fake as sound;
use hal::video::fake::{self, Camera, Frame, Script};
use hal::video::{Mode, PixelFormat};
use std::f32::consts::TAU;
use std::process::ExitCode;
use std::time::Duration;

/// As in the configurations that `bench` and tests write.
const CAMERA: &str = "/dev/video90";
const SLOW: &str = "/dev/video91";
const STILL: &str = "/dev/video92";
const CARD: &str = "hw:CARD=Fake,DEV=0";

const MODE: Mode = Mode { format: PixelFormat::Yuyv, width: 1280, height: 720, milli_fps: 30_000 };
/// Small enough for a debug build to encode in real time.
const SMALL: Mode = Mode { format: PixelFormat::Yuyv, width: 320, height: 240, milli_fps: 30_000 };
/// What a sensor may take to wake.
const OPENING: Duration = Duration::from_millis(800);
/// Different pictures, one second: their making must not count as time that the worker takes.
const PICTURES: u64 = 30;
/// Steps of luma that a sensor's noise spans, in a well-lit room.
const NOISE: u8 = 5;

fn main() -> ExitCode {
    Camera::device(script(MODE, film(PICTURES))).plug_in(CAMERA);
    Camera::device(script(MODE, film(1))).plug_in(STILL);
    Camera::device(script(SMALL, |_| Frame::default())).plug_in(SLOW);
    fake::delay(SLOW, OPENING);
    sound::plug_in(CARD, sound::Script { time: sound::Time::Real, sound: hum, ..sound::Script::default() });
    run(WorkerOptions::new(bridge))
}

fn script(mode: Mode, frames: impl FnMut(u32) -> Frame + Send + 'static) -> Script {
    Script { modes: vec![mode], paced: true, frames: Box::new(frames), ..Script::default() }
}

/// So many pictures, again and again; made by the process that asks for the first one.
fn film(count: u64) -> impl FnMut(u32) -> Frame + Send {
    let mut pictures = Vec::new();
    move |number| {
        if pictures.is_empty() {
            pictures = filmed(count);
        }
        Frame::of(pictures[number as usize % pictures.len()].clone())
    }
}

/// A tone and two of its overtones, so that Opus has something to do.
fn hum(frame: u64, _: usize) -> f32 {
    let turn = (frame % 48_000) as f32 / 48_000.0 * TAU;
    [(220.0, 0.1), (440.0, 0.05), (660.0, 0.02)].iter().map(|(hz, loud)| (turn * hz).sin() * loud).sum()
}

fn filmed(count: u64) -> Vec<Vec<u8>> {
    let mut pattern = Pattern::new(MODE.width, MODE.height);
    let mut seed = 1;
    (0..count).map(|number| yuyv(&mut pattern, number, &mut seed)).collect()
}

fn yuyv(pattern: &mut Pattern, number: u64, seed: &mut u32) -> Vec<u8> {
    let picture = pattern.draw(number, number * 1000 / PICTURES);
    let (width, (y, u, v)) = (picture.width(), picture.planes());
    let mut packed = Vec::with_capacity(y.len() * 2);
    for (row, line) in y.chunks_exact(width).enumerate() {
        for (column, luma) in line.iter().enumerate() {
            let at = row / 2 * (width / 2) + column / 2;
            let chroma = if column % 2 == 0 { u[at] } else { v[at] };
            packed.extend([luma.saturating_add(noise(seed)), chroma]);
        }
    }
    packed
}

/// Numerical Recipes' generator; its upper bits are the good ones.
fn noise(seed: &mut u32) -> u8 {
    *seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
    (*seed >> 24) as u8 % NOISE
}
