//! Cameras that encode themselves.

use super::*;
use crate::config::EncoderWish;
use crate::media::h264::{self, Settings};
use crate::media::pattern::Pattern;
use hal::ring::{DISCONTINUITY, KEY, Meta, PERIODIC};
use hal::video::fake::Stamp;
use protocol::room::rtp::h264::{Rate, nals, rewrite};
use std::sync::atomic::AtomicU32;

/// Pictures from one keyframe to the next.
const GROUP: u32 = 10;

/// Place of `level_idc` in a unit that starts with its parameter set.
const LEVEL: usize = 7;

const WIDTH: u32 = 320;
const HEIGHT: u32 = 180;

/// Two groups of pictures; the second keyframe comes without parameter sets, which all cameras may leave out.
fn stream() -> Vec<Vec<u8>> {
    let settings = Settings { width: WIDTH, height: HEIGHT, milli_fps: 30_000, ceiling: 500_000, bitrate: 500_000 };
    let mut encoder = h264::Encoder::new(settings).unwrap();
    let mut pattern = Pattern::new(WIDTH, HEIGHT);
    let unit = |n: u32| {
        let mut unit = Vec::new();
        let picture = pattern.draw(n.into(), u64::from(n) * 33);
        encoder.encode(picture, u64::from(n) * 33_000_000, n.is_multiple_of(GROUP), &mut unit).unwrap();
        if n == 0 {
            // As hardware encoders do, it claims the highest level there is.
            unit[LEVEL] = 51;
        } else if n == GROUP {
            let slices = nals(&unit).filter(|nal| nal.kind() == 5);
            unit = slices.flat_map(|nal| [b"\0\0\0\x01", nal.0].concat()).collect();
        }
        unit
    };
    (0..2 * GROUP).map(unit).collect()
}

fn mode(format: PixelFormat, width: u32, height: u32) -> Mode {
    Mode { format, width, height, milli_fps: 100_000 }
}

/// A camera of these modes, 100 pictures a second.
fn device(modes: Vec<Mode>, frames: impl FnMut(u32) -> Frame + Send + 'static) -> Device {
    fake::Camera::device(Script { modes, paced: true, frames: Box::new(frames), ..Script::default() })
}

fn encoding(frames: impl FnMut(u32) -> Frame + Send + 'static) -> Device {
    device(vec![mode(PixelFormat::Yuyv, WIDTH, HEIGHT), mode(PixelFormat::H264, WIDTH, HEIGHT)], frames)
}

/// The stream, again and again.
fn endless() -> impl FnMut(u32) -> Frame + Send + 'static {
    let stream = stream();
    move |number| Frame::of(stream[(number % (2 * GROUP)) as usize].clone())
}

fn sized() -> Camera {
    Camera { width: WIDTH, height: HEIGHT, fps: 30, bitrate: 500_000, ..config() }
}

async fn read(reader: &mut Reader, count: usize) -> Vec<(Meta, Vec<u8>)> {
    let (mut found, mut payload) = (Vec::new(), Vec::new());
    let collect = async {
        while found.len() < count {
            match reader.next(&mut payload) {
                Next::Unit(meta) => found.push((meta, payload.clone())),
                Next::Lapped(lost) => panic!("{lost} lost"),
                Next::Empty => tokio::time::sleep(Duration::from_millis(1)).await,
            }
        }
    };
    timeout(PATIENCE, collect).await.unwrap();
    found
}

fn decoded(units: &[(Meta, Vec<u8>)]) -> usize {
    let mut decoder = openh264::decoder::Decoder::new().unwrap();
    units.iter().filter(|(_, unit)| decoder.decode(unit).is_ok_and(|picture| picture.is_some())).count()
}

/// Whether a keyframe's parameter set is what a rewrite for the camera's true rate makes of it.
fn is_fit(keyframe: &[u8]) -> bool {
    let sps = nals(keyframe).find(|nal| nal.is_sps()).expect("a keyframe has a parameter set").0;
    rewrite(sps, Rate { milli_fps: 100_000, bitrate: 500_000 }).is_some_and(|rewritten| rewritten.unit == sps)
}

async fn lost(pipeline: &mut Pipeline) -> String {
    match timeout(PATIENCE, pipeline.event()).await.unwrap() {
        Some(Event::Lost(Failure::Lost(why))) => why,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn what_a_camera_encodes_reaches_the_ring_with_parameter_sets_at_every_keyframe() {
    let device = encoding(endless());
    let (mut pipeline, outlet, mut reader) = start(&device, &sized());
    let description = running(&mut pipeline).await;
    assert!(description.starts_with("/dev/video7 H264 (320x180@30 was asked for"), "{description}");
    assert!(description.ends_with("passthrough (the camera gives H.264 as wanted)"), "{description}");
    let units = read(&mut reader, 3 * GROUP as usize).await;
    assert_eq!(units[0].0.flags, KEY | DISCONTINUITY | PERIODIC);
    let keys: Vec<_> = units.iter().enumerate().filter(|(_, (m, _))| m.flags & KEY != 0).map(|(n, _)| n).collect();
    assert_eq!(keys, [0, GROUP as usize, 2 * GROUP as usize]);
    assert!(keys.iter().all(|key| is_fit(&units[*key].1)));
    assert!(units.iter().all(|(m, _)| (m.width, m.height) == (WIDTH as u16, HEIGHT as u16)));
    assert!(decoded(&units) >= units.len() - 2, "{} decoded", decoded(&units));
    // A late reader starts at the last keyframe.
    assert!(reader.seek_keyframe().is_some());
    drop(pipeline);
    assert_eq!((device.in_use(), outlet.counters.dropped.load(Relaxed)), ((0, 0), 0));
}

#[tokio::test]
async fn after_damage_nothing_reaches_the_ring_before_the_next_keyframe() {
    let stream = stream();
    let device = encoding(move |number| {
        let unit = stream[(number % (2 * GROUP)) as usize].clone();
        let picture = |bytes, lost, damaged| Frame::Picture { bytes: Some(bytes), stamp: Stamp::Now, lost, damaged };
        match number {
            3 => picture(Vec::new(), 0, false),
            13 => picture(unit[..4].to_vec(), 0, false),
            23 => picture(unit, 0, true),
            33 => picture(unit, 2, false),
            43 => picture(b"no Annex B".to_vec(), 0, false),
            _ => Frame::of(unit),
        }
    });
    let (mut pipeline, outlet, mut reader) = start(&device, &sized());
    running(&mut pipeline).await;
    let units = read(&mut reader, 16).await;
    drop(pipeline);
    let numbers: Vec<_> = units.iter().map(|(meta, _)| meta.position).collect();
    // Two that the driver has lost move what follows.
    assert_eq!(numbers, [0, 1, 2, 10, 11, 12, 20, 21, 22, 30, 31, 32, 42, 43, 44, 52]);
    let whole = units.chunks(3).all(|group| decoded(group) + 1 >= group.len());
    assert!(whole && units.iter().step_by(3).all(|(meta, _)| meta.flags & KEY != 0));
    assert!(outlet.counters.dropped.load(Relaxed) >= 5 * 7 + 2, "{:?}", outlet.counters.dropped);
}

#[tokio::test]
async fn pictures_are_taken_where_h264_does_not_fit_or_must_be_mirrored() {
    let elsewhere = || {
        device(vec![mode(PixelFormat::Yuyv, WIDTH, HEIGHT), mode(PixelFormat::H264, 640, 360)], |_| Frame::default())
    };
    let both = || encoding(|_| Frame::default());
    let mirrored = Camera { hflip: true, ..sized() };
    let software = Camera { encoder: EncoderWish::Software, ..sized() };
    for (device, config) in [(elsewhere(), sized()), (both(), mirrored), (both(), software)] {
        let (mut pipeline, ..) = start(&device, &config);
        let description = running(&mut pipeline).await;
        assert!(description.contains("YUYV") && description.contains("software"), "{description}");
    }
}

#[tokio::test]
async fn passthrough_that_cannot_be_had_is_one_error_with_its_remedy() {
    let passthrough = Camera { encoder: EncoderWish::Passthrough, ..sized() };
    let pictures = || device(vec![mode(PixelFormat::Yuyv, WIDTH, HEIGHT)], |_| Frame::default());
    let (mut pipeline, ..) = start(&pictures(), &passthrough);
    let why = lost(&mut pipeline).await;
    assert!(why.starts_with("/dev/video7: encoder = \"passthrough\", but it gives no H.264; `auto`"), "{why}");
    let mirrored = Camera { vflip: true, ..passthrough.clone() };
    let (mut pipeline, ..) = start(&encoding(endless()), &mirrored);
    let why = lost(&mut pipeline).await;
    assert!(why.contains("its driver cannot mirror pictures") && why.contains("vflip"), "{why}");
    // It takes the nearest size, not only the wanted one.
    let small = Camera { width: 64, height: 48, ..passthrough };
    let (mut pipeline, ..) = start(&encoding(endless()), &small);
    let description = running(&mut pipeline).await;
    assert!(description.contains("64x48@30 was asked for") && description.contains("320x180"), "{description}");
    assert!(description.ends_with("passthrough (as configured)"), "{description}");
}

/// An interface with the H.264 extension unit as its unit 12.
const DESCRIPTORS: [u8; 33] = [
    9, 4, 0, 0, 0, 14, 1, 0, 0, 24, 0x24, 6, 12, 0x41, 0x76, 0x9e, 0xa2, 0x04, 0xde, 0xe3, 0x47, 0x8b, 0x2b, 0xf4,
    0x34, 0x1a, 0xff, 0x00, 0x3b, 1, 0, 0, 0,
];

/// A camera that makes keyframes when asked, and by itself none after its first.
fn on_request(knobs: Vec<Knob>, descriptors: Vec<u8>) -> (Device, Arc<AtomicU32>) {
    let (stream, keyframes) = (stream(), Arc::new(AtomicU32::new(0)));
    let (asked, mut seen, mut at) = (keyframes.clone(), 0, 0);
    let frames = move |number| {
        let asked = asked.load(Relaxed);
        at = if number == 0 || std::mem::replace(&mut seen, asked) != asked { 0 } else { at + 1 };
        Frame::of(stream[if at == 0 { 0 } else { 1 + (at - 1) % (GROUP as usize - 1) }].clone())
    };
    let modes = vec![mode(PixelFormat::H264, WIDTH, HEIGHT)];
    let script = Script { modes, knobs, descriptors, keyframes: keyframes.clone(), paced: true, ..Script::default() };
    (fake::Camera::device(Script { frames: Box::new(frames), ..script }), keyframes)
}

#[tokio::test]
async fn a_camera_that_makes_keyframes_is_asked_by_its_control_or_its_extension_unit() {
    for (knobs, descriptors) in [(vec![Knob::force_key_frame()], Vec::new()), (Vec::new(), DESCRIPTORS.to_vec())] {
        let (device, asked) = on_request(knobs, descriptors);
        let (mut pipeline, outlet, mut reader) = start(&device, &sized());
        running(&mut pipeline).await;
        let first = read(&mut reader, 30).await;
        assert_eq!(first[0].0.flags, KEY | DISCONTINUITY, "a ring that nobody has to search for a keyframe");
        let before = asked.load(Relaxed);
        assert!(first.iter().skip(5).all(|(meta, _)| meta.flags & KEY == 0));
        pipeline.force_key();
        let next = read(&mut reader, 30).await;
        assert_eq!(next.iter().filter(|(meta, _)| meta.flags & KEY != 0).count(), 1);
        assert_eq!(asked.load(Relaxed), before + 1);
        // Nobody looks for a while, and then somebody does.
        pipeline.encode(false);
        let rests = async {
            while outlet.counters.encoders.load(Relaxed) != 0 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        timeout(PATIENCE, rests).await.unwrap();
        while !matches!(reader.next(&mut Vec::new()), Next::Empty) {}
        pipeline.encode(true);
        let again = read(&mut reader, 5).await;
        assert_eq!(again[0].0.flags, KEY | DISCONTINUITY);
    }
}

#[tokio::test]
async fn a_camera_whose_extension_unit_does_not_answer_keeps_its_own_keyframes() {
    let (device, asked) = on_request(Vec::new(), Vec::new());
    let (mut pipeline, _, mut reader) = start(&device, &sized());
    running(&mut pipeline).await;
    assert_eq!(read(&mut reader, 1).await[0].0.flags, KEY | DISCONTINUITY | PERIODIC);
    pipeline.force_key();
    read(&mut reader, 10).await;
    assert_eq!(asked.load(Relaxed), 0);
}

#[tokio::test]
async fn a_camera_that_encodes_is_told_the_rate_of_its_readers_where_it_has_one() {
    const BITRATE: u32 = 0x0099_09cf;
    let rate = Knob::number("Video Bitrate", 64_000, 4_000_000, 1_000).numbered(BITRATE);
    let modes = vec![mode(PixelFormat::H264, WIDTH, HEIGHT)];
    let script = Script { modes, knobs: vec![rate], paced: true, frames: Box::new(endless()), ..Script::default() };
    let device = fake::Camera::device(script);
    let (mut pipeline, _, mut reader) = start(&device, &sized());
    running(&mut pipeline).await;
    read(&mut reader, 5).await;
    // The second one is less than a twentieth away.
    for bps in [200_000, 205_000, 100_500, 1] {
        pipeline.set_bitrate(bps);
        while !matches!(reader.next(&mut Vec::new()), Next::Empty) {}
        read(&mut reader, 5).await;
    }
    let set: Vec<_> =
        device.knobs().into_iter().filter(|(name, _)| name == "Video Bitrate").map(|(_, bps)| bps).collect();
    assert_eq!(set, [400_000, 200_000, 100_000, 64_000]);
}
