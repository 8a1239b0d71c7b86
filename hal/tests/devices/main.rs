//! Real drivers without hardware: vivid as camera, vicodec as encoder, snd-aloop and a USB speaker as sound cards, as the
//! arm64 guest has them. One at a time: `devices --ignored --test-threads=1`, as root.

mod camera;
mod encoder;
mod sound;
mod usb_sound;

use hal::video::{Capture, Error, Idle, PixelFormat};
use std::fs::{self, OpenOptions};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::{Duration, Instant};

const SECOND: Duration = Duration::from_secs(1);

/// Under emulation, beside a busy build.
const PATIENCE: Duration = Duration::from_secs(20);

/// Between two looks at a condition.
const LOOK: Duration = Duration::from_millis(5);

fn until<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match condition() {
            Some(value) => return value,
            None if Instant::now() > deadline => panic!("{what}: not within {PATIENCE:?}"),
            None => std::thread::sleep(LOOK),
        }
    }
}

fn bind(driver: &str, device: &str, what: &str) {
    fs::write(format!("/sys/bus/platform/drivers/{driver}/{what}"), device).unwrap();
}

/// Starts a camera in exactly that mode.
fn start(path: &Path, size: (u32, u32), fps: u32, format: Option<PixelFormat>) -> Result<Capture, Error> {
    let node: OwnedFd = OpenOptions::new().read(true).write(true).open(path).unwrap().into();
    let (idle, milli_fps) = (Idle::new(node, path.to_str().unwrap(), size), fps * 1000);
    let place = idle.modes().position(|mode| {
        (mode.width, mode.height, mode.milli_fps) == (size.0, size.1, milli_fps)
            && format.is_none_or(|format| mode.format == format)
    });
    idle.start(place.expect("it offers this mode"), milli_fps).map_err(|failed| failed.error)
}

/// From a device that is there to its first picture or samples.
const BACK: Duration = Duration::from_secs(2);

/// Unplugged and plugged in again, unless `CYCLES` says how often.
const CYCLES: u32 = 10;

/// How often a device is unplugged while it is open.
fn cycles() -> u32 {
    std::env::var("CYCLES").ok().and_then(|count| count.parse().ok()).unwrap_or(CYCLES)
}

/// Open descriptors and KiB of memory of our own.
fn footprint() -> (usize, u64) {
    let fds = fs::read_dir("/proc/self/fd").unwrap().count();
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let memory = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    (fds, memory.trim().strip_suffix(" kB").unwrap().parse().unwrap())
}
