//! Cameras that give pictures, and none that can be used.

use super::*;
use crate::config::EncoderWish;
use hal::ring::{Meta, Stamped};
use std::sync::atomic::AtomicBool;
use std::time::Instant;

/// Three times what a camera may take to be lost.
const LONG: Duration = Duration::from_secs(30);

async fn lost(pipeline: &mut Pipeline) -> String {
    loop {
        match timeout(LONG, pipeline.event()).await.expect("it is lost in time") {
            Some(Event::Lost(Failure::Lost(why))) => return why,
            Some(Event::Lost(Failure::Busy(_))) | None => panic!("it ended without a word"),
            Some(_) => {}
        }
    }
}

/// Pictures with these stamps, 100 times a second.
fn stamped(stamp: fn(u32) -> Stamp) -> Device {
    jpegs(move |number| Frame::Picture { bytes: Some(BARS.to_vec()), stamp: stamp(number), lost: 0, damaged: false })
}

#[tokio::test]
async fn a_camera_that_falls_silent_is_lost_after_three_seconds_and_starts_again() {
    let silent = Arc::new(AtomicBool::new(false));
    let falls = silent.clone();
    let device = jpegs(move |_| if falls.load(Relaxed) { Frame::Silence } else { Frame::of(BARS.to_vec()) });
    for _ in 0..2 {
        silent.store(false, Relaxed);
        let (mut pipeline, _outlet, mut reader) = start(&device, &Camera { fps: 100, ..config() });
        running(&mut pipeline).await;
        units(&mut reader, 1).await;
        let last = Instant::now();
        silent.store(true, Relaxed);
        assert_eq!(lost(&mut pipeline).await, "/dev/video7: no picture for 3 s");
        // The last one may have come a moment before.
        assert!(last.elapsed() >= Duration::from_millis(2_900), "{:?}", last.elapsed());
        drop(pipeline);
        assert_eq!(device.in_use(), (0, 0));
    }
}

#[tokio::test]
async fn a_camera_whose_pictures_cannot_be_decoded_is_lost_with_the_reason() {
    let device = jpegs(|_| Frame::of(BARS[..BARS.len() / 2].to_vec()));
    let (mut pipeline, ..) = start(&device, &config());
    running(&mut pipeline).await;
    let why = lost(&mut pipeline).await;
    let expected = "/dev/video7: no usable picture for 3 s, but those that cannot be decoded (jpeg: incomplete picture";
    assert!(why.starts_with(expected), "{why}");
}

#[tokio::test]
async fn a_camera_whose_driver_marks_every_picture_as_damaged_is_lost() {
    let bad = || Frame::Picture { bytes: Some(BARS.to_vec()), stamp: Stamp::Now, lost: 0, damaged: true };
    let device = jpegs(move |number| if number < 3 { Frame::of(BARS.to_vec()) } else { bad() });
    let (mut pipeline, ..) = start(&device, &config());
    running(&mut pipeline).await;
    let why = lost(&mut pipeline).await;
    assert_eq!(why, "/dev/video7: no usable picture for 3 s, but those that are damaged or cut off");
}

#[tokio::test]
async fn a_camera_that_has_changed_its_size_without_a_word_is_lost_and_may_be_negotiated_anew() {
    let modes = vec![Mode { format: PixelFormat::Mjpeg, width: 64, height: 48, milli_fps: 100_000 }];
    let frames = Box::new(|_| Frame::of(BARS.to_vec()));
    let device = fake::Camera::device(Script { modes, paced: true, frames, ..Script::default() });
    let (mut pipeline, ..) = start(&device, &config());
    running(&mut pipeline).await;
    let why = lost(&mut pipeline).await;
    let expected = "another size than it was set to (jpeg: a picture of 32x16)";
    assert!(why.ends_with(expected), "{why}");
    drop(pipeline);
    assert_eq!(device.in_use(), (0, 0));
}

#[tokio::test]
async fn a_camera_that_never_gives_a_keyframe_is_asked_for_one_and_lost_after_ten_seconds() {
    let modes = vec![Mode { format: PixelFormat::H264, width: 32, height: 16, milli_fps: 100_000 }];
    let delta = || Frame::of(b"\0\0\0\x01\x41\x9a\x00\x00".to_vec());
    let script = Script { modes, knobs: vec![Knob::force_key_frame()], paced: true, ..Script::default() };
    let asked = script.keyframes.clone();
    let device = fake::Camera::device(Script { frames: Box::new(move |_| delta()), ..script });
    let config = Camera { encoder: EncoderWish::Passthrough, ..config() };
    let (mut pipeline, ..) = start(&device, &config);
    running(&mut pipeline).await;
    let why = lost(&mut pipeline).await;
    assert_eq!(why, "/dev/video7: no usable picture for 10 s, but those that need a keyframe");
    assert!(asked.load(Relaxed) >= 1);
}

#[tokio::test]
async fn time_in_which_nobody_looked_is_no_time_without_a_usable_picture() {
    let device = jpegs(|_| Frame::of(Vec::new()));
    let (mut pipeline, outlet, _reader) = start(&device, &config());
    running(&mut pipeline).await;
    pipeline.encode(false);
    // Four seconds.
    captured(&outlet, 400).await;
    pipeline.encode(true);
    captured(&outlet, 420).await;
    while let Some(event) = pipeline.try_event() {
        assert!(!matches!(event, Event::Lost(_)), "{event:?}");
    }
}

#[tokio::test]
async fn pictures_whose_stamps_stand_still_or_run_back_are_stamped_on_arrival_and_flow() {
    let still = |_| Stamp::At(1_000_000_000);
    let back = |number| Stamp::At(60_000_000_000 - u64::from(number) * 10_000_000);
    for stamp in [still, back] {
        let device = stamped(stamp);
        let config = Camera { fps: 100, ..config() };
        let (mut pipeline, outlet, mut reader) = start(&device, &config);
        running(&mut pipeline).await;
        let (mut payload, mut metas) = (Vec::<u8>::new(), Vec::<Meta>::new());
        let flow = async {
            while metas.len() < 60 {
                match reader.next(&mut payload) {
                    Next::Unit(meta) => metas.push(meta),
                    // This thread had no processor for a second.
                    Next::Lapped(_) => {}
                    Next::Empty => tokio::time::sleep(Duration::from_millis(1)).await,
                }
            }
        };
        timeout(PATIENCE, flow).await.expect("pictures flow");
        let last = &metas[20..];
        assert!(last.iter().all(|meta| meta.stamped == Some(Stamped::Arrival)), "{last:?}");
        assert!(last.is_sorted_by(|a, b| a.captured_ns < b.captured_ns), "{last:?}");
        // All but the first, until they were given up.
        let facts = outlet.counters.facts();
        assert_eq!((facts.stamps_behind, facts.stamped()), (10, Some(Stamped::Arrival)));
        let told = std::iter::from_fn(|| pipeline.try_event());
        let described = told.filter_map(|event| match event {
            Event::Described { description, .. } => Some(description),
            _ => None,
        });
        let described: Vec<_> = described.take_while(|d| !d.contains("thread")).collect();
        assert!(described.last().is_some_and(|d| d.ends_with("stamped on arrival")), "{described:?}");
    }
}

#[tokio::test]
async fn stamps_that_run_back_or_lie_ahead_now_and_then_are_counted_each_for_itself() {
    let stamp = |number| match number % 10 {
        3 => Stamp::At(1_000_000_000),
        6 | 7 => Stamp::At(u64::from(u32::MAX) * 1_000_000_000),
        _ => Stamp::Now,
    };
    let device = at_once(move |number| match number {
        0..30 => Frame::Picture { bytes: Some(BARS.to_vec()), stamp: stamp(number), lost: 0, damaged: false },
        _ => Frame::Spurious,
    });
    let (pipeline, outlet, _reader) = start(&device, &config());
    captured(&outlet, 30).await;
    drop(pipeline);
    let facts = outlet.counters.facts();
    assert_eq!((facts.stamps_behind, facts.stamps_ahead), (3, 6));
    assert_eq!(facts.stamped(), Some(Stamped::ExposureStart), "they are not given up for that");
}
