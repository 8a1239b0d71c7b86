//! What a camera's picture costs before it is encoded.

use crate::Repeats;
use crate::table::{Bench, Row, percentile};
use firmware_worker::media::{I420, jpeg};
use std::time::Instant;

const MJPEG: &str = "MJPEG 720p decode and conversion to I420, one thread";

const WIDTH: usize = 1280;
const HEIGHT: usize = 720;

/// Bits a pixel of a webcam's 720p are about one: 115 kB a picture.
const QUALITY: i32 = 80;

/// Pictures for each timing that is wanted.
const PICTURES: usize = 20;

pub fn benches() -> Vec<Bench> {
    vec![Bench { rows: &[MJPEG], measure: mjpeg }]
}

fn mjpeg(repeats: Repeats) -> Vec<Row> {
    let data = picture();
    let mut decoder = jpeg::Decoder::default();
    let mut decoded = I420::new(WIDTH as u32, HEIGHT as u32);
    let mut once = || {
        let start = Instant::now();
        decoder.decode(&data, &mut decoded).expect("libjpeg-turbo reads what it wrote");
        start.elapsed().as_secs_f64() * 1000.0
    };
    // The first makes the buffers.
    once();
    let times: Vec<f64> = (0..repeats.timings * PICTURES).map(|_| once()).collect();
    let row = Row::new(MJPEG, "ms", "").must("p50", percentile(&times, 50), 3.0);
    vec![row.report("p99", percentile(&times, 99)).report("kB", data.len() as f64 / 1000.0)]
}

/// Shapes, texture and some noise in 4:2:2, as webcams code it.
fn picture() -> Vec<u8> {
    let mut seed = 1u32;
    let mut pixels = Vec::with_capacity(3 * WIDTH * HEIGHT);
    for (y, x) in (0..HEIGHT).flat_map(|y| (0..WIDTH).map(move |x| (y, x))) {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let noise = (f64::from(seed >> 24) - 128.0) * 0.05;
        let (across, down) = (x as f64 / WIDTH as f64, y as f64 / HEIGHT as f64);
        let texture = (across * 37.0).sin() * (down * 23.0).cos() * 40.0 + (across * down * 300.0).sin() * 15.0;
        let colour = |c: u8| 110.0 + 60.0 * (across * f64::from(2 + c)).sin() + texture + noise;
        pixels.extend([0, 1, 2].map(|c| colour(c) as u8));
    }
    let format = turbojpeg::PixelFormat::RGB;
    let image = turbojpeg::Image { pixels: &pixels[..], width: WIDTH, pitch: 3 * WIDTH, height: HEIGHT, format };
    turbojpeg::compress(image, QUALITY, turbojpeg::Subsamp::Sub2x1).expect("a plain picture").to_vec()
}
