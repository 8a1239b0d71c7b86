//! Cameras, on vivid.

use super::*;
use hal::hotplug::Listener;
use hal::process::monotonic_ns;
use hal::ring::Stamped;
use hal::video::{self, Capture, Error, Handle, Picture, PixelFormat, Setting};
use std::fs::OpenOptions;
use std::os::fd::OwnedFd;

/// Of 30 pictures a second.
const FRAME_NS: u64 = 33_333_333;

/// What vivid's two devices are on their bus: the first of the single-planar API, the second of the multi-planar one.
const BUSES: [&str; 2] = ["platform:vivid-000", "platform:vivid-001"];

/// The first vivid, unless its node is on its way back after an earlier test.
fn camera() -> video::Camera {
    camera_on(BUSES[0])
}

fn camera_on(bus: &str) -> video::Camera {
    until("vivid is listed", || video::list().into_iter().find(|camera| camera.bus == bus))
}

fn open(path: &Path) -> OwnedFd {
    OpenOptions::new().read(true).write(true).open(path).unwrap().into()
}

fn stream(width: u32, height: u32, fps: u32) -> Result<Capture, Error> {
    start(&camera_on(BUSES[0]).path, (width, height), fps, None)
}

#[test]
#[ignore = "needs vivid"]
fn a_camera_gives_pictures_at_its_rate_with_stamps_and_numbers() {
    let mut capture = stream(640, 360, 30).unwrap();
    let mode = capture.mode();
    assert_eq!((mode.width, mode.height, mode.milli_fps), (640, 360, 30_000));
    let mut next = || {
        let picture = capture.next(PATIENCE).unwrap().unwrap();
        assert!(!picture.damaged && picture.planes()[0].stride >= 640);
        assert!(picture.captured_ns.abs_diff(monotonic_ns()) < SECOND.as_nanos() as u64);
        (picture.captured_ns, picture.sequence)
    };
    let first = next();
    let last = (1..60).map(|_| next()).last().unwrap();
    let expected = u64::from(last.1 - first.1) * FRAME_NS;
    // Each stamp is late by what the driver's thread had to wait for the emulated processor.
    assert!((last.0 - first.0).abs_diff(expected) < 2 * FRAME_NS, "{first:?} {last:?}");
}

#[test]
#[ignore = "needs vivid"]
fn a_slow_user_gets_the_newest_picture_and_can_count_the_others() {
    let mut capture = stream(640, 360, 30).unwrap();
    let first = capture.next(PATIENCE).unwrap().unwrap().sequence;
    // The stimulus: longer than all four buffers last.
    std::thread::sleep(Duration::from_millis(500));
    let late = capture.next(PATIENCE).unwrap().unwrap();
    assert!(late.sequence >= first + 3, "{first} {}", late.sequence);
}

#[test]
#[ignore = "needs vivid"]
fn a_picture_holds_only_its_own_buffer() {
    let mut capture = stream(640, 360, 30).unwrap();
    for _ in 0..20 {
        let picture = capture.next(PATIENCE).unwrap().unwrap();
        assert!(picture.data().iter().any(|byte| *byte != picture.data()[0]), "a picture of one colour");
    }
}

#[test]
#[ignore = "needs vivid"]
fn a_camera_in_use_is_busy() {
    let _first = stream(640, 360, 30).unwrap();
    assert!(matches!(stream(640, 360, 30), Err(Error::Busy(_))));
}

#[test]
#[ignore = "needs vivid"]
fn a_camera_that_is_unplugged_is_gone_and_announced_and_comes_back() {
    let events = Listener::open().unwrap();
    let mut capture = stream(640, 360, 30).unwrap();
    capture.next(PATIENCE).unwrap().unwrap();
    bind("vivid", "vivid.0", "unbind");
    let error = until("the loss is seen", || capture.next(SECOND).err());
    assert!(matches!(error, Error::Gone { .. }), "{error}");
    let announced = |action| {
        until(action, || events.next().ok().filter(|e| e.action == action && e.subsystem == "video4linux"));
    };
    announced("remove");
    drop(capture);
    bind("vivid", "vivid.0", "bind");
    announced("add");
    assert!(stream(640, 360, 30).unwrap().next(PATIENCE).unwrap().is_some());
}

/// White, yellow, cyan, green, magenta, red, blue, black: vivid's bars of 75 %, as ITU-R BT.601 codes them.
const BARS: [[u8; 3]; 8] = [
    [180, 128, 128],
    [162, 44, 142],
    [131, 156, 44],
    [112, 72, 58],
    [84, 184, 198],
    [65, 100, 212],
    [35, 212, 114],
    [16, 128, 128],
];

/// Y, U and V of a pixel.
fn pixel(picture: &Picture<'_>, format: PixelFormat, x: usize, y: usize) -> [u8; 3] {
    let planes = picture.planes();
    let at = |plane: usize, byte: usize, line: usize| planes[plane].data[line * planes[plane].stride + byte];
    let pair = x / 2 * 4;
    match format {
        PixelFormat::Yuyv => [at(0, 2 * x, y), at(0, pair + 1, y), at(0, pair + 3, y)],
        PixelFormat::Uyvy => [at(0, 2 * x + 1, y), at(0, pair, y), at(0, pair + 2, y)],
        PixelFormat::Nv12 => [at(0, x, y), at(1, x & !1, y / 2), at(1, x | 1, y / 2)],
        PixelFormat::Nv16 => [at(0, x, y), at(1, x & !1, y), at(1, x | 1, y)],
        PixelFormat::Yu12 => [at(0, x, y), at(1, x / 2, y / 2), at(2, x / 2, y / 2)],
        PixelFormat::Mjpeg | PixelFormat::H264 => panic!("vivid compresses nothing"),
    }
}

#[test]
#[ignore = "needs vivid"]
fn every_raw_format_of_both_apis_shows_the_colour_bars() {
    let formats = [PixelFormat::Yuyv, PixelFormat::Uyvy, PixelFormat::Nv12, PixelFormat::Nv16, PixelFormat::Yu12];
    for (bus, format) in BUSES.into_iter().flat_map(|bus| formats.map(|format| (bus, format))) {
        let mut capture = start(&camera_on(bus).path, (640, 360), 30, Some(format)).unwrap();
        assert_eq!((capture.mode().format, capture.mode().width), (format, 640));
        let picture = capture.next(PATIENCE).unwrap().unwrap();
        assert!(!picture.damaged, "{bus} {format}");
        for (bar, expected) in BARS.iter().enumerate() {
            // In the middle of the bar, under the text.
            let found = pixel(&picture, format, bar * 80 + 40, 300);
            let near = found.iter().zip(expected).all(|(found, expected)| found.abs_diff(*expected) <= 6);
            assert!(near, "{bus} {format}: bar {bar} is {found:?}, not {expected:?}");
        }
    }
}

#[test]
#[ignore = "needs vivid"]
fn controls_are_set_and_read_back_and_a_wrong_value_is_refused_by_its_range() {
    let set = |settings: &[(&str, i64)]| {
        let settings: Vec<_> = settings.iter().map(|(name, value)| ((*name).into(), Setting::Number(*value))).collect();
        let failed = video::set_controls(&Handle::from(open(&camera().path)), &settings);
        failed.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    let value = |name: &str| camera().controls.into_iter().find(|control| control.name == name).unwrap().value;
    assert_eq!(set(&[("contrast", 77), ("hue", -5)]), [""; 0]);
    assert_eq!((value("contrast"), value("hue")), (Some(77), Some(-5)));
    assert_eq!(set(&[("contrast", 1000)]), ["control contrast = 1000: must be 0 to 255"]);
    assert!(set(&[("exposure_time", 1)])[0].starts_with("no control exposure_time; this camera has brightness, "));
    assert_eq!(set(&[("contrast", 128), ("hue", 0)]), [""; 0]);
}

#[test]
#[ignore = "needs vivid"]
fn a_driver_mirrors_the_picture_itself_where_it_can() {
    let handle = Handle::from(open(&camera().path));
    assert_eq!(video::flip(&handle, true, false), (true, true));
    let mut capture = stream(640, 360, 30).unwrap();
    let format = capture.mode().format;
    let luma = pixel(&capture.next(PATIENCE).unwrap().unwrap(), format, 40, 300)[0];
    assert!(luma < 40, "black is on the left: {luma}");
    video::flip(&handle, false, false);
}

/// Sets a control of vivid.
fn set(bus: &str, name: &str, to: Setting) {
    let failed = video::set_controls(&Handle::from(open(&camera_on(bus).path)), &[(name.into(), to)]);
    assert!(failed.is_empty(), "{failed:?}");
}

fn press(bus: &str, button: &str) {
    set(bus, button, Setting::Number(1));
}

#[test]
#[ignore = "needs vivid"]
fn a_picture_says_what_its_drivers_stamp_is_of() {
    let sources = [("Start of Exposure", Stamped::ExposureStart), ("End of Frame", Stamped::FrameEnd)];
    for (bus, (source, stamped)) in BUSES.into_iter().flat_map(|bus| sources.map(|source| (bus, source))) {
        set(bus, "timestamp_source", Setting::Text(source.into()));
        let mut capture = start(&camera_on(bus).path, (640, 360), 30, None).unwrap();
        assert_eq!(capture.next(PATIENCE).unwrap().unwrap().stamped, stamped, "{bus}");
    }
}

#[test]
#[ignore = "needs vivid"]
fn a_stream_that_fails_in_the_driver_is_gone_and_starts_again() {
    for bus in BUSES {
        let start = || start(&camera_on(bus).path, (640, 360), 30, None).unwrap();
        let mut capture = start();
        capture.next(PATIENCE).unwrap().unwrap();
        press(bus, "inject_fatal_streaming_error");
        let error = until("the failure is seen", || capture.next(SECOND).err());
        assert!(matches!(error, Error::Gone { .. }), "{error}");
        drop(capture);
        assert!(start().next(PATIENCE).unwrap().is_some());
    }
}

#[test]
#[ignore = "needs vivid"]
fn a_camera_that_disconnects_while_streaming_is_gone_until_it_is_bound_again() {
    let mut capture = stream(640, 360, 30).unwrap();
    capture.next(PATIENCE).unwrap().unwrap();
    press(BUSES[0], "disconnect");
    let error = until("the loss is seen", || capture.next(SECOND).err());
    assert!(matches!(error, Error::Gone { .. }), "{error}");
    drop(capture);
    bind("vivid", "vivid.0", "unbind");
    bind("vivid", "vivid.0", "bind");
    assert!(stream(640, 360, 30).unwrap().next(PATIENCE).unwrap().is_some());
}

/// KiB by which an allocator may grow over the cycles; one leaked buffer of one cycle has 345.
const GROWTH_KIB: u64 = 256;

#[test]
#[ignore = "needs vivid"]
fn a_camera_unplugged_again_and_again_while_streaming_comes_back_each_time_and_leaves_nothing() {
    let cycles = cycles();
    let mut capture = stream(640, 360, 30).unwrap();
    let mut before = None;
    let mut slowest = Duration::ZERO;
    for cycle in 0..cycles {
        capture.next(PATIENCE).unwrap().unwrap();
        bind("vivid", "vivid.0", "unbind");
        let error = until("the loss is seen", || capture.next(SECOND).err());
        assert!(matches!(error, Error::Gone { .. }), "{error}");
        drop(capture);
        // What the first cycle has left is what belongs to a running process.
        let (fds, memory) = *before.get_or_insert_with(footprint);
        let now = footprint();
        assert!(now.0 == fds && now.1 <= memory + GROWTH_KIB, "cycle {cycle}: {now:?} after {fds} and {memory}");
        bind("vivid", "vivid.0", "bind");
        let bound = Instant::now();
        capture = stream(640, 360, 30).unwrap();
        capture.next(PATIENCE).unwrap().unwrap();
        slowest = slowest.max(bound.elapsed());
    }
    assert!(slowest <= BACK, "the slowest of {cycles} came back after {slowest:?}");
    println!("{cycles} cycles, the slowest came back after {slowest:?}");
}
