//! The encoder's protocol on vicodec, the kernel's own encoder made of software.

use super::*;
use hal::video::m2m::{Codec, Encoder, Settings, Taken};
use hal::video::{self, Capture, PixelFormat, Plane};
use std::fs::OpenOptions;
use std::os::fd::OwnedFd;
use std::process::Command;

const SETTINGS: Settings = Settings { width: 640, height: 360, milli_fps: 30_000, bitrate: 1_000_000, level: 30 };

/// `struct fwht_cframe_hdr` starts with this.
const MAGIC: [u8; 8] = [0x4f, 0x4f, 0x4f, 0x4f, 0xff, 0xff, 0xff, 0xff];

/// Its third byte of flags has that of pictures that need none before them.
const FLAGS: usize = 22;
const KEY: u8 = 4;

/// Loads vicodec with one of both APIs, and unloads it when dropped.
struct Loaded;

impl Loaded {
    fn with(multi_planar: bool) -> Self {
        run("modprobe", &["vicodec", if multi_planar { "multiplanar=1" } else { "multiplanar=0" }]);
        Self
    }
}

impl Drop for Loaded {
    fn drop(&mut self) {
        run("rmmod", &["vicodec"]);
    }
}

fn run(command: &str, arguments: &[&str]) {
    let done = Command::new(command).args(arguments).status();
    assert!(done.is_ok_and(|status| status.success()) || std::thread::panicking(), "{command} {arguments:?}");
}

fn encoder() -> Encoder {
    let fwht = |encoder: &video::Encoder| encoder.driver == "vicodec" && encoder.outputs == ["FWHT"];
    let path = until("vicodec is listed", || video::encoders().into_iter().find(fwht)).path;
    let node: OwnedFd = OpenOptions::new().read(true).write(true).open(&path).unwrap().into();
    Encoder::new(node, path.to_str().unwrap(), Codec::Fwht).unwrap()
}

/// vivid's first or second device: of the single-planar or the multi-planar API.
fn capture(multi_planar: bool, format: PixelFormat) -> Capture {
    let bus = if multi_planar { "platform:vivid-001" } else { "platform:vivid-000" };
    let camera = until("vivid is listed", || video::list().into_iter().find(|camera| camera.bus == bus));
    start(&camera.path, (640, 360), 30, Some(format)).unwrap()
}

/// The capture time of the next unit, which starts as one of FWHT, and whether it needs none before it.
fn unit(encoder: &mut Encoder) -> (u64, bool) {
    let mut bytes = Vec::new();
    match encoder.take(PATIENCE, &mut bytes).unwrap() {
        Taken::Unit { captured_ns } => {
            assert_eq!(bytes[..8], MAGIC);
            assert!(bytes.len() > 1000, "only {} bytes", bytes.len());
            (captured_ns, bytes[FLAGS] & KEY != 0)
        }
        other => panic!("{other:?}"),
    }
}

#[test]
#[ignore = "needs vivid and vicodec"]
fn pictures_of_a_camera_come_out_encoded_with_their_capture_times() {
    for (multi_planar, format) in
        [(false, PixelFormat::Yu12), (false, PixelFormat::Nv12), (true, PixelFormat::Nv12), (true, PixelFormat::Yuyv)]
    {
        let _loaded = Loaded::with(multi_planar);
        let (mut encoder, mut capture) = (encoder(), capture(multi_planar, format));
        assert!(!encoder.start(&SETTINGS, format, None).unwrap());
        for number in 0..20 {
            let picture = capture.next(PATIENCE).unwrap().unwrap();
            assert!(encoder.put(picture.planes(), picture.captured_ns, false).unwrap());
            let (captured_ns, key) = unit(&mut encoder);
            assert_eq!(captured_ns, picture.captured_ns, "{format} {number}");
            // Its groups have 16 pictures at most.
            assert!(key || number % 16 != 0, "{format} {number}");
        }
    }
}

#[test]
#[ignore = "needs vivid and vicodec"]
fn a_cameras_buffers_go_into_the_encoder_without_a_copy() {
    for multi_planar in [false, true] {
        let _loaded = Loaded::with(multi_planar);
        let (mut encoder, mut capture) = (encoder(), capture(multi_planar, PixelFormat::Yuyv));
        let before = footprint().0;
        assert!(encoder.start(&SETTINGS, PixelFormat::Yuyv, Some(&capture)).unwrap(), "both drivers can");
        for _ in 0..30 {
            let picture = capture.next(PATIENCE).unwrap().unwrap();
            let captured_ns = picture.captured_ns;
            assert!(encoder.lend(picture.hold(), captured_ns, false).unwrap());
            assert_eq!(unit(&mut encoder).0, captured_ns);
            assert_eq!(encoder.freed().map(|held| capture.release(held)).count(), 1);
        }
        encoder.stop();
        assert_eq!(footprint().0, before, "descriptors are left");
    }
}

/// Noise of 640x360 in YU12.
fn put(encoder: &mut Encoder, captured_ns: u64, key: bool) -> bool {
    let noise: Vec<u8> = (0..640 * 360_u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let plane = |stride: usize, lines: usize| Plane { data: &noise[..stride * lines], stride };
    encoder.put(&[plane(640, 360), plane(320, 180), plane(320, 180)], captured_ns, key).unwrap()
}

#[test]
#[ignore = "needs vicodec"]
fn a_drained_encoder_gives_all_that_is_inside_and_starts_again() {
    let _loaded = Loaded::with(false);
    let mut encoder = encoder();
    for round in 0..10 {
        encoder.start(&SETTINGS, PixelFormat::Yu12, None).unwrap();
        assert!(put(&mut encoder, 1_000_000, false) && put(&mut encoder, 2_000_000, false));
        encoder.drain().unwrap();
        assert!(!put(&mut encoder, 3_000_000, false), "round {round}: it takes no more");
        assert_eq!((unit(&mut encoder), unit(&mut encoder)), ((1_000_000, true), (2_000_000, false)), "round {round}");
        assert_eq!(encoder.take(PATIENCE, &mut Vec::new()).unwrap(), Taken::Drained, "round {round}");
    }
}

#[test]
#[ignore = "needs vicodec"]
fn an_encoder_that_cannot_force_keyframes_makes_one_by_starting_again() {
    let _loaded = Loaded::with(false);
    let mut encoder = encoder();
    encoder.start(&SETTINGS, PixelFormat::Yu12, None).unwrap();
    put(&mut encoder, 1_000_000, false);
    assert_eq!(unit(&mut encoder), (1_000_000, true));
    put(&mut encoder, 2_000_000, false);
    assert!(!put(&mut encoder, 3_000_000, true), "it drains");
    assert_eq!(unit(&mut encoder), (2_000_000, false));
    assert_eq!(encoder.take(PATIENCE, &mut Vec::new()).unwrap(), Taken::Nothing);
    assert!(put(&mut encoder, 4_000_000, true));
    assert_eq!(unit(&mut encoder), (4_000_000, true));
}

#[test]
#[ignore = "needs vicodec"]
fn encoders_started_again_and_again_leave_nothing() {
    let _loaded = Loaded::with(false);
    let mut before = None;
    for cycle in 0..50 {
        let mut encoder = encoder();
        encoder.start(&SETTINGS, PixelFormat::Yu12, None).unwrap();
        put(&mut encoder, 1_000_000, false);
        unit(&mut encoder);
        drop(encoder);
        let now = footprint();
        let (fds, memory) = *before.get_or_insert(now);
        assert!(now.0 == fds && now.1 <= memory + 256, "cycle {cycle}: {now:?} after {fds} and {memory}");
    }
}
