//! A command for pipe cameras, as `rpicam-vid` would be: the test pattern as H.264 to standard output, in real time, with a
//! keyframe each second.
//!
//! `writer WIDTH HEIGHT FPS`

use firmware_worker::media::h264::{Encoder, Settings};
use firmware_worker::media::pattern::Pattern;
use std::io::{self, Write};
use std::time::{Duration, Instant};

fn main() -> io::Result<()> {
    let numbers: Vec<u32> = std::env::args().skip(1).filter_map(|number| number.parse().ok()).collect();
    let [width, height, fps] = numbers[..] else { return Err(io::Error::other("usage: writer WIDTH HEIGHT FPS")) };
    let settings = Settings { width, height, milli_fps: fps * 1000, ceiling: 500_000, bitrate: 500_000 };
    let mut encoder = Encoder::new(settings).map_err(io::Error::other)?;
    let (mut pattern, mut unit) = (Pattern::new(width, height), Vec::new());
    let (start, interval) = (Instant::now(), Duration::from_secs(1) / fps);
    let mut out = io::stdout().lock();
    for number in 0u32.. {
        let captured = interval * number;
        std::thread::sleep(captured.saturating_sub(start.elapsed()));
        let picture = pattern.draw(number.into(), captured.as_millis() as u64);
        let key = number.is_multiple_of(fps);
        encoder.encode(picture, captured.as_nanos() as u64, key, &mut unit).map_err(io::Error::other)?;
        out.write_all(&unit)?;
        out.flush()?;
    }
    Ok(())
}
