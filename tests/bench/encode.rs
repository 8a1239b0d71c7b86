//! What a frame costs a device owner.

use crate::Repeats;
use crate::table::{Bench, Row, percentile};
use firmware_worker::media::h264::{Encoder, Settings};
use firmware_worker::media::pattern::Pattern;
use std::time::Instant;

const SOFTWARE: &str = "software H.264, one thread, 720p30 at 2 Mbit/s, a frame, p50";

const FRAMES: u64 = 600;

/// Frames in which the rate control finds its place.
const SETTLING: u64 = 60;

pub fn benches() -> Vec<Bench> {
    vec![Bench { rows: &[SOFTWARE], measure: software }]
}

fn software(_: Repeats) -> Vec<Row> {
    let (width, height, bitrate) = (1280, 720, 2_000_000);
    let settings = Settings { width, height, milli_fps: 30_000, ceiling: bitrate, bitrate };
    let mut encoder = Encoder::new(settings).expect("openh264 takes these settings");
    let (mut pattern, mut unit) = (Pattern::new(width, height), Vec::new());
    let (mut took, mut bytes) = (Vec::new(), 0);
    for number in 0..FRAMES {
        let picture = pattern.draw(number, number * 33);
        let start = Instant::now();
        encoder.encode(picture, number * 33_333_333, false, &mut unit).expect("openh264 takes every picture");
        if number >= SETTLING {
            took.push(start.elapsed().as_secs_f64() * 1000.0);
            bytes += unit.len();
        }
    }
    let kbps = (bytes * 8 * 30) as f64 / (FRAMES - SETTLING) as f64 / 1000.0;
    let row = Row::new(SOFTWARE, "ms", "").must("", percentile(&took, 50), 9.0);
    vec![row.report("p95", percentile(&took, 95)).report("at kbit/s", kbps)]
}
