//! Capture on made-up cameras: what drivers deliver, and a failure at every call.

use super::fake::{Camera, Device, Fault, Frame, Knob, Script, Stamp};
use super::{Capture, Error, Handle, Idle, Mode, PixelFormat, Setting, flip, set_controls};
use crate::process::monotonic_ns;
use crate::ring::Stamped;
use std::time::Duration;

/// A camera that has something gives it at once; one that has nothing gives nothing however long one waits.
const PATIENCE: Duration = Duration::from_millis(20);

fn start(device: &Device) -> Result<Capture, Error> {
    start_first(device.open(), "/dev/video7")
}

/// In the first mode that the camera offers.
pub(super) fn start_first(handle: impl Into<Handle>, path: &str) -> Result<Capture, Error> {
    let idle = Idle::new(handle, path, (64, 48));
    let first = idle.modes().next();
    match first {
        Some(mode) => idle.start(0, mode.milli_fps).map_err(|failed| failed.error),
        None => Err(idle.no_mode()),
    }
}

fn camera(frames: impl FnMut(u32) -> Frame + Send + 'static) -> Device {
    Camera::device(Script { frames: Box::new(frames), ..Script::default() })
}

fn mode(format: PixelFormat) -> Mode {
    Mode { format, width: 64, height: 48, milli_fps: 30_000 }
}

fn picture(stamp: Stamp, lost: u32, damaged: bool) -> Frame {
    Frame::Picture { bytes: None, stamp, lost, damaged }
}

#[test]
fn pictures_come_with_stamps_and_numbers_and_go_back() {
    let device = camera(|_| Frame::default());
    let mut capture = start(&device).unwrap();
    assert_eq!(capture.mode(), mode(PixelFormat::Yuyv));
    for number in 0..20 {
        let before = monotonic_ns();
        let taken = capture.next(PATIENCE).unwrap().unwrap();
        assert!(!taken.damaged && taken.stamped == Stamped::ExposureStart);
        assert_eq!((taken.sequence, taken.planes().len()), (number, 1));
        assert_eq!((taken.data().len(), taken.planes()[0].stride), (64 * 48 * 2, 128));
        // Stamps are cut to microseconds.
        assert!((before - 1000..=monotonic_ns()).contains(&taken.captured_ns));
    }
    drop(capture);
    assert_eq!(device.in_use(), (0, 0));
}

#[test]
fn every_format_of_both_apis_gives_its_planes() {
    let formats = [
        (PixelFormat::Yuyv, vec![128 * 48]),
        (PixelFormat::Uyvy, vec![128 * 48]),
        (PixelFormat::Nv12, vec![64 * 48, 64 * 24]),
        (PixelFormat::Nv16, vec![64 * 48, 64 * 48]),
        (PixelFormat::Yu12, vec![64 * 48, 32 * 24, 32 * 24]),
    ];
    for (format, sizes) in formats {
        for (multi_planar, apart) in [(false, false), (true, false), (true, true)] {
            // Each byte tells its place in the whole picture.
            let whole: usize = sizes.iter().sum();
            let bytes: Vec<u8> = (0..whole).map(|place| (place / 61) as u8).collect();
            let sent = bytes.clone();
            let frames = Box::new(move |_| Frame::of(sent.clone()));
            let device =
                Camera::device(Script { multi_planar, apart, modes: vec![mode(format)], frames, ..Script::default() });
            let mut capture = start(&device).unwrap();
            let taken = capture.next(PATIENCE).unwrap().unwrap();
            assert!(!taken.damaged, "{format} {multi_planar} {apart}");
            let planes: Vec<usize> = taken.planes().iter().map(|plane| plane.data.len()).collect();
            assert_eq!(planes, sizes, "{format} {multi_planar} {apart}");
            let joined: Vec<u8> = taken.planes().iter().flat_map(|plane| plane.data).copied().collect();
            assert_eq!(joined, bytes, "{format} {multi_planar} {apart}");
        }
    }
}

#[test]
fn short_empty_and_marked_pictures_are_damaged_and_the_next_one_is_not() {
    let device = camera(|number| match number {
        0 => Frame::of(vec![1; 64 * 48 * 2 - 1]),
        1 => Frame::of(Vec::new()),
        2 => picture(Stamp::Now, 0, true),
        _ => Frame::default(),
    });
    let mut capture = start(&device).unwrap();
    let damaged: Vec<bool> = (0..4).map(|_| capture.next(PATIENCE).unwrap().unwrap().damaged).collect();
    assert_eq!(damaged, [true, true, true, false]);
}

#[test]
fn truncated_compressed_data_is_passed_on_and_empty_data_is_damaged() {
    let frames = Box::new(|number| Frame::of(if number == 0 { vec![0xFF, 0xD8, 0xFF] } else { Vec::new() }));
    let device = Camera::device(Script { modes: vec![mode(PixelFormat::Mjpeg)], frames, ..Script::default() });
    let mut capture = start(&device).unwrap();
    let taken = capture.next(PATIENCE).unwrap().unwrap();
    assert_eq!((taken.data(), taken.damaged), (&[0xFF, 0xD8, 0xFF][..], false));
    drop(taken);
    assert!(capture.next(PATIENCE).unwrap().unwrap().damaged);
}

#[test]
fn stamps_are_handed_on_as_the_driver_gives_them_and_made_where_it_names_no_clock() {
    let device = camera(|number| match number {
        0 => picture(Stamp::At(5_000_000), 0, false),
        1 => picture(Stamp::At(0), 0, false),
        2 => picture(Stamp::FromNow(28_000_000), 0, false),
        _ => picture(Stamp::Unknown, 0, false),
    });
    let mut capture = start(&device).unwrap();
    let mut next = |stamped| {
        let taken = capture.next(PATIENCE).unwrap().unwrap();
        assert_eq!(taken.stamped, stamped);
        taken.captured_ns
    };
    assert_eq!((next(Stamped::FrameEnd), next(Stamped::FrameEnd)), (5_000_000, 0));
    let before = monotonic_ns();
    assert!(next(Stamped::FrameEnd) > before + 20_000_000, "in the future");
    let (made, now) = (next(Stamped::Arrival), monotonic_ns());
    assert!((before..=now).contains(&made), "of no clock");
}

#[test]
fn frames_that_the_driver_lost_show_in_the_numbers() {
    let device = camera(|number| picture(Stamp::Now, if number == 1 { 5 } else { 0 }, false));
    let mut capture = start(&device).unwrap();
    let numbers: Vec<u32> = (0..3).map(|_| capture.next(PATIENCE).unwrap().unwrap().sequence).collect();
    assert_eq!(numbers, [0, 6, 7]);
}

#[test]
fn a_driver_that_delivers_nothing_more_is_silent_and_one_that_stops_is_gone() {
    let after_two = |then: Frame| {
        let device = camera(move |number| if number < 2 { Frame::default() } else { then.clone() });
        let mut capture = start(&device).unwrap();
        assert!(capture.next(PATIENCE).unwrap().is_some() && capture.next(PATIENCE).unwrap().is_some());
        capture.next(PATIENCE).map(|taken| taken.is_some())
    };
    assert!(matches!(after_two(Frame::Silence), Ok(false)));
    assert!(matches!(after_two(Frame::Spurious), Ok(false)));
    assert!(matches!(after_two(Frame::Stopped), Err(Error::Gone { .. })));
    assert!(matches!(after_two(Frame::Changed), Err(Error::Changed(path)) if path == "/dev/video7"));
}

#[test]
fn a_camera_at_its_rate_is_waited_for() {
    let device = Camera::device(Script { paced: true, delay: Duration::from_millis(30), ..Script::default() });
    let mut capture = start(&device).unwrap();
    assert!(capture.next(Duration::from_millis(1)).unwrap().is_none(), "it needs 30 ms to start");
    let mut stamps = [0; 3];
    for stamp in &mut stamps {
        *stamp = capture.next(Duration::from_secs(5)).unwrap().unwrap().captured_ns;
    }
    // Two periods at 30 a second; more where this thread had to wait and frames were passed over.
    assert!(stamps[2] - stamps[0] >= 66_000_000, "{stamps:?}");
}

#[test]
fn a_camera_that_was_not_started_in_one_mode_is_started_in_another() {
    let modes = [(64, 48), (32, 24)].map(|(width, height)| Mode { width, height, ..mode(PixelFormat::Mjpeg) });
    let script = Script { modes: modes.to_vec(), no_room: vec![modes[0]], ..Script::default() };
    let device = Camera::device(script);
    let idle = Idle::new(device.open(), "/dev/video7", (64, 48));
    assert_eq!(idle.modes().collect::<Vec<_>>(), modes);
    let failed = idle.start(0, 30_000).unwrap_err();
    let why = failed.error.to_string();
    assert!(why.contains("no USB bandwidth left for MJPEG 64x48@30; lower"), "{why}");
    assert_eq!(device.in_use(), (1, 0), "it is open, and no buffer is left");
    let mut capture = failed.idle.start(1, 30_000).unwrap();
    assert_eq!(capture.mode(), modes[1]);
    assert!(capture.next(PATIENCE).unwrap().is_some());
    drop(capture);
    assert_eq!(device.in_use(), (0, 0));
}

#[test]
fn units_of_an_encoding_camera_are_given_in_their_order() {
    let frames = Box::new(|number| Frame::of(vec![number as u8; 100]));
    let modes = vec![mode(PixelFormat::H264), mode(PixelFormat::Yuyv)];
    let device = Camera::device(Script { modes, frames, paced: true, ..Script::default() });
    let mut capture = start(&device).unwrap();
    assert_eq!(capture.mode().format, PixelFormat::H264);
    // The stimulus: several wait.
    std::thread::sleep(Duration::from_millis(110));
    for number in 0..3 {
        assert_eq!(capture.next(Duration::from_secs(5)).unwrap().unwrap().data(), [number; 100]);
    }
}

/// What drivers have been seen to answer with.
const ERRNOS: [i32; 9] = [
    libc::EIO,
    libc::EPIPE,
    libc::ESTRPIPE,
    libc::ENODEV,
    libc::EBUSY,
    libc::ENOSPC,
    libc::ENOMEM,
    libc::EINVAL,
    libc::EAGAIN,
];

/// Sets controls, opens, takes six pictures, sees the source change and closes; the first failure.
fn session(device: &Device) -> Result<(), Error> {
    let handle = device.open();
    // What is refused is told, and no failure.
    let _ = set_controls(&handle, &[("gain".into(), Setting::Number(3)), ("mode".into(), Setting::Text("b".into()))]);
    let _ = flip(&handle, true, false);
    let mut capture = start_first(handle, "/dev/video7")?;
    for _ in 0..6 {
        // Nothing there is no failure.
        let _ = capture.next(PATIENCE)?;
    }
    match capture.next(PATIENCE) {
        Ok(_) | Err(Error::Changed(_)) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Takes pictures of a camera that encodes, asks for a keyframe and sets its rate; the first failure.
fn encoded_session(device: &Device) -> Result<(), Error> {
    let mut capture = start(device)?;
    for bps in [200_000, 300_000] {
        let _ = capture.next(PATIENCE)?;
        capture.force_keyframe()?;
        capture.set_bitrate(bps)?;
    }
    capture.next(PATIENCE).map(|_| ())
}

/// A failure of each kind at each call: told as `check` says, nothing is left, and the next session is without one.
fn fail_at_each_call(
    device: &Device,
    session: fn(&Device) -> Result<(), Error>,
    check: impl Fn(&Fault, &str, &Result<(), Error>),
) {
    device.heal();
    session(device).unwrap();
    let calls = device.counts();
    assert!(calls.values().sum::<u32>() > 40, "{calls:?}");
    for (call, nth) in calls.iter().flat_map(|(call, count)| (1..=*count).map(|nth| (*call, nth))) {
        for errno in ERRNOS {
            let fault = Fault { call, nth, errno };
            device.fail(fault.clone());
            let told = session(device);
            check(&fault, &format!("{fault:?}: {told:?}"), &told);
            assert_eq!(device.in_use(), (0, 0), "{fault:?}: something is left");
            device.heal();
            session(device).unwrap_or_else(|e| panic!("after {fault:?}: {e}"));
        }
    }
}

#[test]
fn each_failure_at_each_call_is_told_and_leaves_nothing_and_the_next_start_works() {
    for multi_planar in [false, true] {
        let knobs = vec![Knob::number("Gain", 0, 9, 1), Knob::menu("Mode", &["a", "b"]), Knob::flip(false)];
        let frames = Box::new(|number| if number < 6 { Frame::default() } else { Frame::Changed });
        let device = Camera::device(Script { multi_planar, knobs, frames, ..Script::default() });
        fail_at_each_call(&device, session, check);
    }
}

/// Whether a failure was told as what it is.
fn check(fault: &Fault, what: &str, told: &Result<(), Error>) {
    match fault.call {
        // Enumerations end with an error anyway, rates, events and controls are optional, and closing goes on regardless.
        "VIDIOC_QUERYCAP" | "VIDIOC_ENUM_FMT" | "VIDIOC_ENUM_FRAMESIZES" | "VIDIOC_ENUM_FRAMEINTERVALS" => {
            assert!(matches!(told, Ok(()) | Err(Error::NoMode(..))), "{what}");
        }
        "VIDIOC_G_PARM" | "VIDIOC_S_PARM" | "VIDIOC_SUBSCRIBE_EVENT" | "VIDIOC_DQEVENT" | "VIDIOC_STREAMOFF" => {
            assert!(told.is_ok(), "{what}");
        }
        "VIDIOC_QUERY_EXT_CTRL" | "VIDIOC_QUERYMENU" | "VIDIOC_G_EXT_CTRLS" | "VIDIOC_S_EXT_CTRLS" => {
            assert!(told.is_ok(), "{what}");
        }
        "VIDIOC_DQBUF" if fault.errno == libc::EAGAIN => assert!(told.is_ok(), "{what}"),
        "VIDIOC_DQBUF" | "poll" => assert!(matches!(told, Err(Error::Gone { .. })), "{what}"),
        "VIDIOC_QBUF" if fault.nth > 4 => assert!(matches!(told, Err(Error::Gone { .. })), "{what}"),
        _ => match fault.errno {
            libc::EBUSY => assert!(matches!(told, Err(Error::Busy(_))), "{what}"),
            libc::ENOSPC => assert!(matches!(told, Err(Error::NoBandwidth { .. })), "{what}"),
            libc::ENOMEM => assert!(matches!(told, Err(Error::NoMemory { .. })), "{what}"),
            libc::ENODEV => assert!(matches!(told, Err(Error::Gone { .. })), "{what}"),
            // It may be the mode, not the device.
            libc::EIO if fault.call == "VIDIOC_STREAMON" => {
                assert!(matches!(told, Err(Error::NotStarted { .. })), "{what}");
            }
            _ => assert!(matches!(told, Err(Error::Call { .. })), "{what}"),
        },
    }
}

#[test]
fn each_failure_at_each_call_to_a_camera_that_encodes_is_told_and_leaves_nothing() {
    const BITRATE: u32 = 0x0099_09cf;
    let rate = Knob::number("Video Bitrate", 64_000, 4_000_000, 1_000).numbered(BITRATE);
    let by_control = (vec![rate.clone(), Knob::force_key_frame()], Vec::new());
    for (knobs, descriptors) in [by_control, (vec![rate], H264_UNIT.to_vec())] {
        let frames = Box::new(|_| Frame::of(vec![1; 100]));
        let modes = vec![mode(PixelFormat::H264)];
        let device = Camera::device(Script { modes, knobs, descriptors, frames, ..Script::default() });
        fail_at_each_call(&device, encoded_session, |fault, what, told| match fault.call {
            // Without an answer at the start there is no way to ask; later, that one request has failed.
            "VIDIOC_QUERY_EXT_CTRL" => assert!(told.is_ok(), "{what}"),
            "UVCIOC_CTRL_QUERY" if fault.nth <= 2 => assert!(told.is_ok(), "{what}"),
            "UVCIOC_CTRL_QUERY" | "VIDIOC_S_EXT_CTRLS" => assert!(matches!(told, Err(Error::Call { .. })), "{what}"),
            "VIDIOC_QBUF" => assert!(told.is_err() || fault.nth > 10, "{what}"),
            _ => check(fault, what, told),
        });
    }
}

/// An interface with the H.264 extension unit as its unit 12.
const H264_UNIT: [u8; 33] = [
    9, 4, 0, 0, 0, 14, 1, 0, 0, 24, 0x24, 6, 12, 0x41, 0x76, 0x9e, 0xa2, 0x04, 0xde, 0xe3, 0x47, 0x8b, 0x2b, 0xf4,
    0x34, 0x1a, 0xff, 0x00, 0x3b, 1, 0, 0, 0,
];
