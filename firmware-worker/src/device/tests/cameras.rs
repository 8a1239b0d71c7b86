//! The camera's thread on made-up cameras.

mod bandwidth;
mod encoded;
mod saving;
mod useless;

use super::log::Log;
use super::{PATIENCE, camera as configured};
use crate::config::{Camera, CameraDevice, ControlValue, DeviceKind};
use crate::control::OwnerStage;
use crate::device::camera;
use crate::device::outlet::Outlet;
use crate::device::pipeline::{Event, Failure, Pipeline, Stage};
use hal::ring::{Next, Reader};
use hal::video::fake::{self, Device, Frame, Knob, Script, Stamp};
use hal::video::{Mode, PixelFormat};
use openh264::decoder::Decoder;
use openh264::formats::YUVSource;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use tokio::time::timeout;

/// 32x16, left half white, right half red.
const BARS: &[u8] = include_bytes!("../../media/testdata/bars.jpg");

fn config() -> Camera {
    let DeviceKind::Camera(camera) = configured(CameraDevice::Auto).kind else { unreachable!() };
    Camera { width: 32, height: 16, ..camera }
}

/// A camera that sends JPEG, 100 times a second.
fn jpegs(frames: impl FnMut(u32) -> Frame + Send + 'static) -> Device {
    let modes = vec![Mode { format: PixelFormat::Mjpeg, width: 32, height: 16, milli_fps: 100_000 }];
    let knobs = vec![Knob::number("Gain", 0, 100, 1), Knob::flip(false)];
    fake::Camera::device(Script { modes, knobs, paced: true, frames: Box::new(frames), ..Script::default() })
}

fn start(device: &Device, config: &Camera) -> (Pipeline, Arc<Outlet>, Reader) {
    let (outlet, reader) = outlet(config);
    (camera::start(config, source(device), outlet.clone()).unwrap(), outlet, reader)
}

/// The same; what its thread logs goes to `log`.
fn start_with_log(device: &Device, config: &Camera, log: &Log) -> (Pipeline, Arc<Outlet>, Reader) {
    let (outlet, reader) = outlet(config);
    let (source, config, log) = (source(device), config.clone(), log.clone());
    let body = move |stage: &Stage| log.of(|| camera::run(stage, &config, source));
    (Pipeline::spawn("camera", outlet.clone(), body).unwrap(), outlet, reader)
}

fn outlet(config: &Camera) -> (Arc<Outlet>, Reader) {
    let outlet = Arc::new(Outlet::create("camera", camera::layout(config)).unwrap());
    let reader = Reader::map(outlet.ring().unwrap()).unwrap();
    (outlet, reader)
}

fn source(device: &Device) -> camera::Source {
    camera::Source::Node { camera: device.open(), path: "/dev/video7".into(), encoders: Ok(Vec::new()) }
}

async fn running(pipeline: &mut Pipeline) -> String {
    let description = match timeout(PATIENCE, pipeline.event()).await.unwrap() {
        Some(Event::Running { description, hardware: true, .. }) => description,
        other => panic!("{other:?}"),
    };
    pipeline.set_epoch(1);
    pipeline.set_bitrate(400_000);
    pipeline.encode(true);
    description
}

/// Waits for that many units.
async fn units(reader: &mut Reader, count: usize) {
    let (mut found, mut payload) = (0, Vec::new());
    let collect = async {
        while found < count {
            match reader.next(&mut payload) {
                Next::Unit(_) => found += 1,
                Next::Lapped(lost) => panic!("{lost} lost"),
                Next::Empty => tokio::time::sleep(Duration::from_millis(1)).await,
            }
        }
    };
    timeout(PATIENCE, collect).await.unwrap();
}

#[tokio::test]
async fn damaged_pictures_are_dropped_and_counted_and_the_others_go_on() {
    let device = jpegs(|number| match number % 4 {
        1 => Frame::of(BARS[..BARS.len() / 2].to_vec()),
        2 => Frame::of(Vec::new()),
        _ => Frame::of(BARS.to_vec()),
    });
    let config = Camera { fps: 100, ..config() };
    let (mut pipeline, outlet, mut reader) = start(&device, &config);
    running(&mut pipeline).await;
    units(&mut reader, 10).await;
    drop(pipeline);
    let counters = &outlet.counters;
    let (captured, written, dropped) =
        (counters.captured.load(Relaxed), counters.written.load(Relaxed), counters.dropped.load(Relaxed));
    assert!(written >= 10 && dropped >= 8, "{captured} captured, {written} written, {dropped} dropped");
    let timed = |stage| counters.stages.latencies()[stage as usize].counts.iter().sum::<u64>();
    assert_eq!(timed(OwnerStage::Capture), captured);
    assert!((written..=captured).contains(&timed(OwnerStage::Convert)));
    assert_eq!(device.in_use(), (0, 0));
}

/// The same, as fast as they are taken: a late thread loses none.
fn at_once(frames: impl FnMut(u32) -> Frame + Send + 'static) -> Device {
    let modes = vec![Mode { format: PixelFormat::Mjpeg, width: 32, height: 16, milli_fps: 100_000 }];
    fake::Camera::device(Script { modes, frames: Box::new(frames), ..Script::default() })
}

/// Waits until so many pictures were captured.
async fn captured(outlet: &Outlet, count: u64) {
    let come = async {
        while outlet.counters.captured.load(Relaxed) < count {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(PATIENCE, come).await.unwrap();
}

#[tokio::test]
async fn numbers_that_are_left_out_are_told_as_missing_pictures_and_those_that_it_repeats_or_restarts_are_not() {
    let lost = |number| match number {
        3 => 5,
        // The same number again, then ten back.
        5 => u32::MAX,
        7 => u32::MAX - 10,
        _ => 0,
    };
    let device = at_once(move |number| {
        let (bytes, lost) = (Some(BARS.to_vec()), lost(number));
        Frame::Picture { bytes, stamp: Stamp::Now, lost, damaged: false }
    });
    // Nobody reads: no picture is lost in encoding.
    let log = Log::default();
    let (pipeline, outlet, _reader) = start_with_log(&device, &config(), &log);
    captured(&outlet, 12).await;
    drop(pipeline);
    assert_eq!(outlet.counters.dropped.load(Relaxed), 5);
    assert_eq!(missing(&log), [5]);
}

/// How many pictures were told as missing, each time.
fn missing(log: &Log) -> Vec<u64> {
    let lines = log.lines("WARN");
    let told =
        lines.iter().filter_map(|line| line.split_once("/dev/video7: pictures that are missing, by their numbers ("));
    let counts = told.map(|(_, rest)| rest.split_once("); ").expect("a count").1.split(' ').next().expect("a number"));
    counts.map(|count| count.parse().expect("a number")).collect()
}

#[tokio::test]
async fn pictures_that_are_missed_while_an_encoder_starts_are_counted_and_not_told() {
    let (go, going) = std::sync::mpsc::channel();
    let device = at_once(move |number| {
        if number == 0 {
            // Somebody reads from the first picture on.
            going.recv().expect("the test goes on");
        }
        let (bytes, lost) = (Some(BARS.to_vec()), [0, 7, 0, 5].get(number as usize).copied().unwrap_or(0));
        Frame::Picture { bytes, stamp: Stamp::Now, lost, damaged: false }
    });
    let log = Log::default();
    let (pipeline, outlet, _reader) = start_with_log(&device, &config(), &log);
    pipeline.set_bitrate(400_000);
    pipeline.encode(true);
    go.send(()).unwrap();
    captured(&outlet, 6).await;
    drop(pipeline);
    assert!(outlet.counters.dropped.load(Relaxed) >= 12);
    assert_eq!(missing(&log), [5]);
}

#[tokio::test]
async fn a_driver_that_wakes_for_nothing_is_not_taken_as_silent() {
    let device = at_once(|number| if number < 100 { Frame::Spurious } else { Frame::of(BARS.to_vec()) });
    let (mut pipeline, outlet, _reader) = start(&device, &config());
    running(&mut pipeline).await;
    captured(&outlet, 1).await;
}

#[tokio::test]
async fn a_camera_that_fails_is_lost_with_its_reason_and_starts_again() {
    let device = jpegs(|number| if number < 5 { Frame::of(BARS.to_vec()) } else { Frame::Stopped });
    for _ in 0..3 {
        let (mut pipeline, ..) = start(&device, &config());
        running(&mut pipeline).await;
        let lost = loop {
            match timeout(PATIENCE, pipeline.event()).await.unwrap() {
                Some(Event::Lost(Failure::Lost(why))) => break why,
                Some(_) => {}
                None => panic!("it ended without a word"),
            }
        };
        assert!(lost.starts_with("/dev/video7: the camera is gone"), "{lost}");
        drop(pipeline);
        assert_eq!(device.in_use(), (0, 0));
    }
}

#[tokio::test]
async fn controls_and_flips_are_set_at_each_start_and_what_came_instead_is_said() {
    let device = jpegs(|_| Frame::of(BARS.to_vec()));
    let controls = vec![("gain".to_owned(), ControlValue::Number(7)), ("focus".to_owned(), ControlValue::Number(1))];
    let config = Camera { hflip: true, width: 640, height: 360, controls, ..config() };
    for start_number in 1..=2 {
        let (mut pipeline, ..) = start(&device, &config);
        let description = running(&mut pipeline).await;
        assert!(description.contains("640x360@30 was asked for, the camera gives MJPEG 32x16@100"), "{description}");
        assert!(matches!(timeout(PATIENCE, pipeline.event()).await.unwrap(), Some(Event::Mapped(_))));
        let Some(Event::Described { description, .. }) = timeout(PATIENCE, pipeline.event()).await.unwrap() else {
            panic!("no picture comes");
        };
        assert!(description.ends_with(", stamped at the start of exposure"), "{description}");
        let set = device.knobs();
        let set: Vec<_> = set.iter().map(|(name, value)| (name.as_str(), *value)).collect();
        assert_eq!(set, [("Gain", 7), ("Horizontal Flip", 1)].repeat(start_number));
    }
}

/// Luma in the middle of the left and of the right half, as the first unit shows them.
async fn halves(device: &Device, hflip: bool) -> [u8; 2] {
    let (mut pipeline, _outlet, mut reader) = start(device, &Camera { hflip, ..config() });
    running(&mut pipeline).await;
    let mut unit = Vec::new();
    let first = async {
        while !matches!(reader.next(&mut unit), Next::Unit(_)) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(PATIENCE, first).await.unwrap();
    let mut decoder = Decoder::new().unwrap();
    let picture = decoder.decode(&unit).unwrap().expect("the first unit is a keyframe");
    assert_eq!(picture.dimensions(), (32, 16));
    let stride = picture.strides().0;
    [8, 24].map(|column| picture.y()[8 * stride + column])
}

#[tokio::test]
async fn pictures_are_mirrored_here_where_the_driver_cannot_and_only_there() {
    let (plain, flips) = (at_once(|_| Frame::of(BARS.to_vec())), jpegs(|_| Frame::of(BARS.to_vec())));
    for (device, hflip, mirrored) in [(&plain, false, false), (&plain, true, true), (&flips, true, false)] {
        let [left, right] = halves(device, hflip).await;
        let (white, red) = if mirrored { (right, left) } else { (left, right) };
        assert!(white > 200 && (50..130).contains(&red), "{left} and {right}, mirrored: {mirrored}");
    }
}
