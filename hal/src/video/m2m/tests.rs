//! Encoding on made-up encoders: what drivers do, and a failure at every call.

mod drivers;
mod pictures;

use super::{Codec, Encoder, Error, Settings, Taken};
use crate::video::fake::{self, Camera, Coded, Coding, Device, Fault, Knob, Pictured, Script, pi_knobs};
use crate::video::{PixelFormat, Plane};
use std::time::Duration;

const SETTINGS: Settings = Settings { width: 64, height: 48, milli_fps: 30_000, bitrate: 500_000, level: 30 };
const PATIENCE: Duration = Duration::from_millis(20);
const PI: &str = "bcm2835-codec";
const FORCE_KEY: u32 = 0x0099_0900 + 229;
const MIN_PICTURES: u32 = 0x0098_0928;
const LEVEL: u32 = 0x0099_0900 + 359;

fn open(device: &Device) -> Encoder {
    Encoder::new(device.open(), "/dev/video11", Codec::H264).unwrap()
}

fn started(coding: Coding) -> (Device, Encoder) {
    let device = fake::Encoder::device(coding);
    let mut encoder = open(&device);
    encoder.start(&SETTINGS, PixelFormat::Yu12, None).unwrap();
    (device, encoder)
}

/// Puts a grey picture in.
fn put(encoder: &mut Encoder, captured_ns: u64, key: bool) -> Result<bool, Error> {
    let grey = [128; 64 * 48];
    let plane = |length: usize, stride| Plane { data: &grey[..length], stride };
    encoder.put(&[plane(64 * 48, 64), plane(32 * 24, 32), plane(32 * 24, 32)], captured_ns, key)
}

/// The capture time of the next unit, and whether it is a keyframe.
fn unit(encoder: &mut Encoder) -> (u64, bool) {
    let mut bytes = Vec::new();
    match encoder.take(PATIENCE, &mut bytes).unwrap() {
        Taken::Unit { captured_ns } => (captured_ns, bytes[4] == 0x67),
        other => panic!("{other:?}"),
    }
}

fn taken(encoder: &mut Encoder) -> Result<Taken, Error> {
    encoder.take(PATIENCE, &mut Vec::new())
}

#[test]
fn each_unit_has_the_exact_capture_time_of_its_picture_and_keyframes_come_when_asked_for() {
    for (multi_planar, unstamped) in [(false, false), (true, false), (false, true)] {
        let (device, mut encoder) = started(Coding { multi_planar, unstamped, ..Coding::default() });
        for number in 0..10 {
            let captured_ns = 7_000_000_123 + number * 33_333_333;
            assert!(put(&mut encoder, captured_ns, number == 5).unwrap());
            assert_eq!(unit(&mut encoder), (captured_ns, number == 0 || number == 5));
        }
        drop(encoder);
        assert_eq!(device.in_use(), (0, 0));
    }
}

#[test]
fn an_encoder_that_keeps_pictures_inside_is_fed_no_more_than_two_or_what_it_needs() {
    for needed in [1, 3] {
        let knobs = [pi_knobs(), vec![Knob::number("Minimum", needed, 32, 1).numbered(MIN_PICTURES)]].concat();
        let most = 2.max(needed as usize);
        let (_device, mut encoder) = started(Coding { knobs, depth: most - 1, raises: 5, ..Coding::default() });
        for number in 1..=most as u64 {
            assert_eq!(taken(&mut encoder).unwrap(), Taken::Nothing);
            assert!(put(&mut encoder, number * 1_000, false).unwrap());
        }
        assert!(!put(&mut encoder, 9_000, false).unwrap(), "no more find room");
        assert_eq!(unit(&mut encoder), (1_000, true));
        assert!(put(&mut encoder, 9_000, false).unwrap());
        assert_eq!(unit(&mut encoder), (2_000, false));
    }
}

#[test]
fn what_is_inside_comes_out_when_it_is_drained_and_then_it_can_be_started_again() {
    let (device, mut encoder) = started(Coding { depth: 4, ..Coding::default() });
    for _ in 0..3 {
        put(&mut encoder, 1_000, false).unwrap();
        put(&mut encoder, 2_000, false).unwrap();
        encoder.drain().unwrap();
        assert!(!put(&mut encoder, 3_000, false).unwrap(), "it takes no more");
        assert_eq!(unit(&mut encoder), (1_000, true));
        assert_eq!(unit(&mut encoder), (2_000, false));
        assert_eq!(taken(&mut encoder).unwrap(), Taken::Drained);
        assert_eq!(taken(&mut encoder).unwrap(), Taken::Nothing);
        assert_eq!(device.in_use().1, 0, "its buffers are free");
        encoder.start(&SETTINGS, PixelFormat::Yu12, None).unwrap();
    }
}

fn set(device: &Device, name: &str) -> Vec<i64> {
    device.knobs().into_iter().filter(|(knob, _)| knob == name).map(|(_, value)| value).collect()
}

#[test]
fn a_raspberry_pi_is_set_to_what_a_live_stream_needs() {
    let (device, mut encoder) = started(Coding { driver: PI, multi_planar: true, ..Coding::default() });
    assert_eq!(set(&device, "Video Bitrate"), [500_000]);
    assert_eq!(set(&device, "Video Bitrate Mode"), [0], "variable");
    assert_eq!(set(&device, "Repeat Sequence Header"), [1]);
    assert_eq!(set(&device, "H264 I-Frame Period"), [36_000]);
    assert_eq!(set(&device, "H264 Profile"), [1], "constrained baseline");
    assert_eq!(set(&device, "H264 Level"), [8], "3.0");
    // What finer pictures of a dark scene take, the first bright one lacks, and with too few bits the firmware gives none
    // (raspberrypi/rpicam-apps#664).
    assert_eq!(set(&device, "H264 Minimum QP Value"), [0; 0], "the driver's own 20 stays");
    assert_eq!(set(&device, "H264 Maximum QP Value"), [0; 0], "its 51 is the coarsest there is");
    encoder.set_bitrate(510_000).unwrap();
    assert_eq!(set(&device, "Video Bitrate"), [500_000], "less than a step");
    encoder.set_bitrate(330_000).unwrap();
    encoder.set_bitrate(1).unwrap();
    assert_eq!(set(&device, "Video Bitrate"), [500_000, 325_000, 25_000]);
    assert!(put(&mut encoder, 1_000, true).unwrap());
    assert_eq!(set(&device, "Force Key Frame"), [0; 0], "the first is a keyframe anyway");
}

#[test]
fn a_raspberry_pi_with_too_low_a_level_stalls_and_says_what_that_may_be() {
    let (device, mut encoder) = started(Coding { driver: PI, needs_level: 9, ..Coding::default() });
    put(&mut encoder, 1_000, false).unwrap();
    unit(&mut encoder);
    put(&mut encoder, 2_000, false).unwrap();
    let error = encoder.take(Duration::from_secs(5), &mut Vec::new()).unwrap_err().to_string();
    assert!(error.starts_with("/dev/video11: gives no unit for 1") && error.contains("level is too low"), "{error}");
    assert_eq!(device.in_use().1, 0, "it is stopped");
    encoder.start(&Settings { level: 31, ..SETTINGS }, PixelFormat::Yu12, None).unwrap();
    for captured_ns in [3_000, 4_000] {
        put(&mut encoder, captured_ns, false).unwrap();
        unit(&mut encoder);
    }
}

#[test]
fn more_than_a_raspberry_pi_can_encode_is_refused_with_the_numbers() {
    let device = fake::Encoder::device(Coding { driver: PI, ..Coding::default() });
    let start = |width, height, milli_fps| {
        let wanted = Settings { width, height, milli_fps, level: 51, ..SETTINGS };
        open(&device).start(&wanted, PixelFormat::Yu12, None).map_err(|e| e.to_string())
    };
    assert_eq!(start(1920, 1080, 30_000), Ok(false));
    let error = start(1920, 1080, 60_000).unwrap_err();
    assert!(error.contains("245760 macroblocks a second at most, these pictures have 489600"), "{error}");
}

#[test]
fn firmware_without_memory_and_queues_that_fail_are_told_and_overcome() {
    let device = fake::Encoder::device(Coding { driver: PI, ..Coding::default() });
    let mut encoder = open(&device);
    let mut start = |fault: Fault| {
        device.fail(fault);
        let error = encoder.start(&SETTINGS, PixelFormat::Yu12, None).unwrap_err().to_string();
        device.heal();
        error
    };
    assert!(start(Fault { call: "VIDIOC_REQBUFS", nth: 1, errno: libc::EINVAL }).contains("gpu_mem"));
    assert!(start(Fault { call: "VIDIOC_REQBUFS", nth: 2, errno: libc::ENOMEM }).contains("CMA is too small"));
    encoder.start(&SETTINGS, PixelFormat::Yu12, None).unwrap();
    device.fail(Fault { call: "VIDIOC_QBUF", nth: 1, errno: libc::EINVAL });
    assert!(put(&mut encoder, 1_000, false).is_err());
    assert!(!put(&mut encoder, 2_000, false).unwrap(), "it is stopped");
    device.heal();
    encoder.start(&SETTINGS, PixelFormat::Yu12, None).unwrap();
    assert!(put(&mut encoder, 3_000, false).unwrap());
    assert_eq!(unit(&mut encoder), (3_000, true));
}

#[test]
fn a_level_that_is_not_offered_gives_the_next_one_or_says_which_is_needed() {
    let with = |level: u8, items: &[&str]| {
        let mut knobs = pi_knobs();
        knobs.retain(|knob| knob.id != LEVEL);
        knobs.push(Knob::menu("H264 Level", items).numbered(LEVEL));
        let device = fake::Encoder::device(Coding { knobs, ..Coding::default() });
        let done = open(&device).start(&Settings { level, ..SETTINGS }, PixelFormat::Yu12, None);
        done.map(|_| set(&device, "H264 Level")).map_err(|e| e.to_string())
    };
    assert_eq!(with(30, &["1.0", "1b", "1.1", "", "", "2.0", "", "", "", "", "", "4.0"]), Ok(vec![11]));
    let error = with(31, &["1.0", "1b", "1.1", "1.2", "1.3", "2.0"]).unwrap_err();
    assert!(error.contains("level too low: these pictures need level 3.1, and it knows none above 2.0"), "{error}");
}

#[test]
fn a_rate_that_is_fixed_while_it_runs_is_changed_by_a_new_start_that_loses_nothing() {
    let (device, mut encoder) = started(Coding { fixed_rate: true, depth: 1, ..Coding::default() });
    put(&mut encoder, 1_000, false).unwrap();
    put(&mut encoder, 2_000, false).unwrap();
    encoder.set_bitrate(1_000_000).unwrap();
    assert_eq!((unit(&mut encoder), unit(&mut encoder)), ((1_000, true), (2_000, false)));
    assert_eq!(taken(&mut encoder).unwrap(), Taken::Nothing);
    assert_eq!(set(&device, "Video Bitrate"), [500_000, 1_000_000]);
    put(&mut encoder, 3_000, false).unwrap();
    put(&mut encoder, 4_000, false).unwrap();
    assert_eq!(unit(&mut encoder), (3_000, true));
}

#[test]
fn without_a_control_for_it_a_keyframe_is_made_by_a_new_start() {
    let knobs = pi_knobs().into_iter().filter(|knob| knob.id != FORCE_KEY).collect();
    let (_device, mut encoder) = started(Coding { knobs, ..Coding::default() });
    put(&mut encoder, 1_000, false).unwrap();
    assert_eq!(unit(&mut encoder), (1_000, true));
    put(&mut encoder, 2_000, false).unwrap();
    assert!(!put(&mut encoder, 3_000, true).unwrap(), "it drains");
    assert_eq!(unit(&mut encoder), (2_000, false));
    assert_eq!(taken(&mut encoder).unwrap(), Taken::Nothing);
    assert!(put(&mut encoder, 4_000, true).unwrap());
    assert_eq!(unit(&mut encoder), (4_000, true));
}

#[test]
fn parameter_sets_in_a_buffer_of_their_own_are_joined_with_the_first_unit() {
    let units = |picture: &Pictured<'_>| Coded::Unit(vec![0, 0, 0, 1, if picture.number == 0 { 0x65 } else { 0x41 }]);
    let coding = Coding { driver: "mtk-vcodec-enc", headers_apart: true, units: Box::new(units), ..Coding::default() };
    let (_device, mut encoder) = started(coding);
    let mut bytes = Vec::new();
    put(&mut encoder, 1_000, false).unwrap();
    assert_eq!(encoder.take(PATIENCE, &mut bytes).unwrap(), Taken::Unit { captured_ns: 1_000 });
    assert_eq!((bytes[4], bytes[bytes.len() - 1]), (0x67, 0x65), "{bytes:x?}");
    put(&mut encoder, 2_000, false).unwrap();
    assert_eq!(encoder.take(PATIENCE, &mut bytes).unwrap(), Taken::Unit { captured_ns: 2_000 });
    assert_eq!(bytes, [0, 0, 0, 1, 0x41]);
}

#[test]
fn a_picture_that_is_left_out_does_not_give_its_time_to_the_next() {
    let units = |picture: &Pictured<'_>| match picture.number {
        1 => Coded::Nothing,
        5 => Coded::Damaged,
        _ => fake::coded(picture),
    };
    let (_device, mut encoder) = started(Coding { units: Box::new(units), ..Coding::default() });
    put(&mut encoder, 1_000, false).unwrap();
    assert_eq!(unit(&mut encoder), (1_000, true));
    put(&mut encoder, 2_000, false).unwrap();
    assert_eq!(taken(&mut encoder).unwrap(), Taken::Nothing);
    put(&mut encoder, 3_000, false).unwrap();
    assert_eq!(unit(&mut encoder), (3_000, false));
    assert!(put(&mut encoder, 4_000, false).unwrap() && put(&mut encoder, 5_000, false).unwrap(), "it is out");
    assert_eq!((unit(&mut encoder), unit(&mut encoder)), ((4_000, false), (5_000, false)));
    put(&mut encoder, 6_000, false).unwrap();
    assert!(matches!(taken(&mut encoder), Err(Error::Damaged(path)) if path == "/dev/video11"));
}

#[test]
fn what_is_no_encoder_is_refused_and_one_for_other_formats_says_so() {
    let refused = |coding: Coding| {
        let device = fake::Encoder::device(coding);
        Encoder::new(device.open(), "/dev/video11", Codec::H264).map(|_| ()).map_err(|e| e.to_string())
    };
    let jpeg = Coding { codec: b"JPEG", ..Coding::default() };
    assert_eq!(refused(jpeg), Err("/dev/video11: no encoder for this coding".into()));
    assert!(refused(Coding { inputs: vec![b"RGB3"], ..Coding::default() }).is_err());
    let camera = Camera::device(Script::default());
    assert!(matches!(Encoder::new(camera.open(), "/dev/video0", Codec::H264), Err(Error::NoEncoder(_))));
    let (_device, mut encoder) = started(Coding::default());
    assert_eq!(encoder.input_for(PixelFormat::Yuyv), None);
    let error = encoder.start(&SETTINGS, PixelFormat::Yuyv, None).unwrap_err().to_string();
    assert_eq!(error, "/dev/video11: takes no YUYV of 64x48");
}

const ERRNOS: [i32; 8] =
    [libc::EIO, libc::EPIPE, libc::ESTRPIPE, libc::ENODEV, libc::EBUSY, libc::ENOMEM, libc::EINVAL, libc::EAGAIN];

/// Opens, encodes with all that can be wished for, drains and closes; the first failure.
fn session(device: &Device) -> Result<u32, Error> {
    let mut encoder = Encoder::new(device.open(), "/dev/video11", Codec::H264)?;
    encoder.start(&SETTINGS, PixelFormat::Yu12, None)?;
    let mut units = 0;
    for number in 0..4 {
        encoder.set_bitrate(500_000 + number * 100_000)?;
        put(&mut encoder, number.into(), number == 2)?;
        units += u32::from(matches!(encoder.take(Duration::ZERO, &mut Vec::new())?, Taken::Unit { .. }));
    }
    encoder.drain()?;
    for _ in 0..8 {
        match taken(&mut encoder)? {
            Taken::Unit { .. } => units += 1,
            Taken::Nothing => {}
            Taken::Drained => break,
        }
    }
    Ok(units)
}

#[test]
fn each_failure_at_each_call_is_told_and_leaves_nothing_and_the_next_start_works() {
    for multi_planar in [false, true] {
        let device = fake::Encoder::device(Coding { multi_planar, depth: 1, ..Coding::default() });
        device.heal();
        assert_eq!(session(&device).unwrap(), 4);
        let calls = device.counts();
        assert!(calls.values().sum::<u32>() > 60, "{calls:?}");
        for (call, nth) in calls.iter().flat_map(|(call, count)| (1..=*count).map(|nth| (*call, nth))) {
            for errno in ERRNOS {
                device.fail(Fault { call, nth, errno });
                let told = session(&device);
                check(call, nth, errno, &told);
                assert_eq!(device.in_use(), (0, 0), "{call} {nth} {errno}: something is left");
                device.heal();
                let units = session(&device).unwrap_or_else(|e| panic!("after {call} {nth} {errno}: {e}"));
                assert_eq!(units, 4, "after {call} {nth} {errno}");
            }
        }
    }
}

/// Whether a failure was told as what it is. Controls other than those for rate and keyframes are wishes.
fn check(call: &str, nth: u32, errno: i32, told: &Result<u32, Error>) {
    let what = format!("{call} {nth} with errno {errno}: {told:?}");
    match (call, errno) {
        ("VIDIOC_QUERYCAP", _) => assert!(matches!(told, Err(Error::NoEncoder(_))), "{what}"),
        ("VIDIOC_ENUM_FMT", _) => {
            assert!(matches!(told, Ok(_) | Err(Error::NoEncoder(_) | Error::Refused { .. })), "{what}")
        }
        ("VIDIOC_S_FMT" | "VIDIOC_REQBUFS" | "VIDIOC_STREAMON" | "VIDIOC_QUERYBUF" | "mmap", libc::EBUSY)
            if nth <= 2 =>
        {
            assert!(matches!(told, Err(Error::Busy(_))), "{what}");
        }
        ("VIDIOC_S_FMT" | "VIDIOC_REQBUFS" | "VIDIOC_STREAMON" | "VIDIOC_QUERYBUF" | "mmap", libc::ENOMEM)
            if nth <= 2 =>
        {
            assert!(matches!(told, Err(Error::NoMemory { .. })), "{what}");
        }
        ("VIDIOC_QBUF" | "VIDIOC_ENCODER_CMD" | "poll" | "fcntl", _) => assert!(told.is_err(), "{what}"),
        ("VIDIOC_DQBUF", libc::EAGAIN | libc::EPIPE) => {}
        ("VIDIOC_DQBUF", _) => assert!(told.is_err(), "{what}"),
        ("VIDIOC_QUERY_EXT_CTRL" | "VIDIOC_QUERYMENU" | "VIDIOC_S_EXT_CTRLS" | "VIDIOC_G_EXT_CTRLS", _)
        | ("VIDIOC_STREAMOFF" | "VIDIOC_S_PARM" | "VIDIOC_S_SELECTION", _) => {}
        ("VIDIOC_REQBUFS", _) if nth > 2 => assert!(told.is_ok(), "{what}"),
        _ => assert!(told.is_err(), "{what}"),
    }
}

/// A coded buffer of the made-up encoder.
const BUFFER: usize = 256 * 1024;

/// An encoder of units of these lengths, one picture each, that can be told apart.
fn of_lengths(lengths: &'static [usize], unstamped: bool) -> (Device, Encoder) {
    let filled = |picture: &Pictured<'_>| Coded::Unit(vec![picture.number as u8 + 1; lengths[picture.number as usize]]);
    started(Coding { driver: PI, unstamped, units: Box::new(filled), ..Coding::default() })
}

fn whole(encoder: &mut Encoder) -> (u64, usize, u8) {
    let mut bytes = Vec::new();
    match encoder.take(PATIENCE, &mut bytes).unwrap() {
        Taken::Unit { captured_ns } => {
            assert!(bytes.iter().all(|byte| *byte == bytes[0]), "parts of several units");
            (captured_ns, bytes.len(), bytes[0])
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_unit_that_is_larger_than_a_buffer_comes_in_one_piece() {
    for unstamped in [false, true] {
        let lengths = &[10, BUFFER + 1, 5 * BUFFER + 77, 20];
        let (_device, mut encoder) = of_lengths(lengths, unstamped);
        for (number, length) in lengths.iter().enumerate() {
            let captured_ns = 1_000_000 * (number as u64 + 1);
            assert!(put(&mut encoder, captured_ns, false).unwrap());
            assert_eq!(whole(&mut encoder), (captured_ns, *length, number as u8 + 1));
        }
    }
}

#[test]
fn a_unit_that_fills_its_buffer_is_known_to_be_whole_by_the_next_one_or_the_end() {
    let (_device, mut encoder) = of_lengths(&[BUFFER, 10, 2 * BUFFER], false);
    put(&mut encoder, 1_000_000, false).unwrap();
    assert_eq!(taken(&mut encoder).unwrap(), Taken::Nothing);
    put(&mut encoder, 2_000_000, false).unwrap();
    assert_eq!(whole(&mut encoder), (1_000_000, BUFFER, 1));
    assert_eq!(whole(&mut encoder), (2_000_000, 10, 2));
    put(&mut encoder, 3_000_000, false).unwrap();
    encoder.drain().unwrap();
    assert_eq!(whole(&mut encoder), (3_000_000, 2 * BUFFER, 3));
    assert_eq!(taken(&mut encoder).unwrap(), Taken::Drained);
}

#[test]
fn a_unit_without_end_is_refused() {
    let (device, mut encoder) = of_lengths(&[5 << 20], false);
    put(&mut encoder, 1_000_000, false).unwrap();
    let error = encoder.take(Duration::from_secs(5), &mut Vec::new()).unwrap_err().to_string();
    assert!(error.contains("a unit of more than 4 MiB"), "{error}");
    assert_eq!(device.in_use().1, 0, "it is stopped");
}
