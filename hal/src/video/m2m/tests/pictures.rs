//! How pictures get into an encoder: written, or taken where the camera has put them.

use super::*;
use crate::video::fake::Frame;
use crate::video::tests::start_first;
use crate::video::{Capture, Mode};
use std::sync::{Arc, Mutex};

/// What an encoder was given.
fn watching(coding: Coding) -> (Device, Arc<Mutex<Vec<u8>>>) {
    let seen: Arc<Mutex<Vec<u8>>> = Arc::default();
    let noted = seen.clone();
    let units = move |picture: &Pictured<'_>| {
        *noted.lock().unwrap() = picture.bytes.to_vec();
        fake::coded(picture)
    };
    (fake::Encoder::device(Coding { units: Box::new(units), ..coding }), seen)
}

#[test]
fn pictures_are_written_as_the_encoder_wants_them() {
    let (y, u, v) = ([1; 64 * 48], [2; 32 * 24], [3; 32 * 24]);
    let planes = [(&y[..], 64), (&u[..], 32), (&v[..], 32)].map(|(data, stride)| Plane { data, stride });
    let after = |coding: Coding, input: &'static [u8; 4]| {
        let (device, seen) = watching(Coding { inputs: vec![input], ..coding });
        let mut encoder = open(&device);
        encoder.start(&SETTINGS, PixelFormat::Yu12, None).unwrap();
        assert!(encoder.put(&planes, 1_000, false).unwrap());
        unit(&mut encoder);
        let seen = seen.lock().unwrap();
        seen.clone()
    };
    let interleaved: Vec<u8> = [2, 3].repeat(32 * 24);
    assert_eq!(after(Coding::default(), b"YU12"), [&y[..], &u, &v].concat());
    assert_eq!(after(Coding::default(), b"NV12"), [&y[..], &interleaved].concat());
    assert_eq!(after(Coding { multi_planar: true, ..Coding::default() }, b"NM12"), [&y[..], &interleaved].concat());
    // Whole macroblocks: lines of 80 bytes, 64 of luma, then 32 of chroma.
    let padded = after(Coding { align: 80, ..Coding::default() }, b"NV12");
    assert_eq!(padded.len(), 80 * 80 * 3 / 2);
    assert_eq!((padded[80 * 47 + 63], padded[80 * 47 + 64], padded[80 * 48]), (1, 0, 0));
    assert_eq!(padded[80 * 80..][80 * 23..][..66], [&interleaved[..64], &[0, 0]].concat());
}

/// A camera whose frames are all of one value, another for each.
fn camera(format: PixelFormat, padding: u32) -> (Device, Capture) {
    let modes = vec![Mode { format, width: 64, height: 48, milli_fps: 30_000 }];
    let frames = Box::new(move |number| Frame::of(vec![number as u8 + 1; (64 + padding as usize) * 72]));
    let device = Camera::device(Script { modes, padding, frames, ..Script::default() });
    let capture = start_first(device.open(), "/dev/video0").unwrap();
    (device, capture)
}

#[test]
fn a_cameras_buffers_are_taken_as_they_are_and_come_back() {
    let (camera, mut capture) = camera(PixelFormat::Nv12, 32);
    let (device, seen) = watching(Coding::default());
    let mut encoder = open(&device);
    assert!(encoder.start(&SETTINGS, PixelFormat::Nv12, Some(&capture)).unwrap(), "shared");
    for number in 0..20 {
        let picture = capture.next(PATIENCE).unwrap().expect("no buffer is missing");
        let captured_ns = picture.captured_ns;
        assert!(encoder.lend(picture.hold(), captured_ns, false).unwrap());
        assert_eq!(unit(&mut encoder), (captured_ns, number == 0));
        assert_eq!(*seen.lock().unwrap(), vec![number + 1; 96 * 72]);
        encoder.freed().for_each(|held| capture.release(held));
    }
    drop((encoder, capture));
    assert_eq!((device.in_use(), camera.in_use()), ((0, 0), (0, 0)));
}

#[test]
fn buffers_that_are_inside_when_it_stops_come_back_too() {
    let (_camera, mut capture) = camera(PixelFormat::Nv12, 0);
    let device = fake::Encoder::device(Coding { depth: 4, ..Coding::default() });
    let mut encoder = open(&device);
    for _ in 0..5 {
        assert!(encoder.start(&SETTINGS, PixelFormat::Nv12, Some(&capture)).unwrap());
        for taken in [true, true, false] {
            let held = capture.next(PATIENCE).unwrap().expect("a buffer").hold();
            assert_eq!(encoder.lend(held, 1_000, false).unwrap(), taken);
        }
        encoder.stop();
        assert_eq!(encoder.freed().map(|held| capture.release(held)).count(), 3);
    }
}

#[test]
fn where_memory_or_layout_do_not_fit_pictures_are_copied() {
    let shares = |format, padding, coding: Coding| {
        let (_camera, capture) = camera(format, padding);
        let device = fake::Encoder::device(coding);
        let mut encoder = open(&device);
        let shares = encoder.start(&SETTINGS, format, Some(&capture)).unwrap();
        let grey = [128; 96 * 48];
        let plane = Plane { data: &grey, stride: 64 };
        assert_eq!(encoder.put(&[plane, plane, plane], 1_000, false).unwrap(), !shares, "buffers to write into");
        shares
    };
    assert!(shares(PixelFormat::Nv12, 0, Coding::default()));
    assert!(!shares(PixelFormat::Nv12, 0, Coding { imports: false, ..Coding::default() }), "no foreign memory");
    let own_lines = Coding { own_lines: true, ..Coding::default() };
    assert!(!shares(PixelFormat::Nv12, 32, own_lines), "lines of another length");
    assert!(!shares(PixelFormat::Nv12, 0, Coding { align: 80, ..Coding::default() }), "too small a buffer");
    assert!(!shares(PixelFormat::Yu12, 0, Coding { inputs: vec![b"NV12"], ..Coding::default() }), "another format");
}

/// Encodes four pictures where the camera has put them, or copies of them; how many came out, or the first failure.
fn lending_session(camera: &Device, board: &Device) -> Result<u32, String> {
    let text = |error: &dyn std::error::Error| error.to_string();
    let mut capture = start_first(camera.open(), "/dev/video0").map_err(|e| text(&e))?;
    let mut encoder = Encoder::new(board.open(), "/dev/video11", Codec::H264).map_err(|e| text(&e))?;
    let shared = encoder.start(&SETTINGS, PixelFormat::Nv12, Some(&capture)).map_err(|e| text(&e))?;
    let mut units = 0;
    for _ in 0..4 {
        let Some(picture) = capture.next(PATIENCE).map_err(|e| text(&e))? else { continue };
        let captured_ns = picture.captured_ns;
        let put = if shared {
            encoder.lend(picture.hold(), captured_ns, false)
        } else {
            let copied = encoder.put(picture.planes(), captured_ns, false);
            drop(picture);
            copied
        };
        put.map_err(|e| text(&e))?;
        units += u32::from(matches!(taken(&mut encoder).map_err(|e| text(&e))?, Taken::Unit { .. }));
        encoder.freed().for_each(|held| capture.release(held));
    }
    Ok(units)
}

#[test]
fn each_failure_at_each_call_while_buffers_are_lent_leaves_nothing_and_the_next_start_works() {
    let modes = vec![Mode { format: PixelFormat::Nv12, width: 64, height: 48, milli_fps: 30_000 }];
    let camera = Camera::device(Script { modes, ..Script::default() });
    let board = fake::Encoder::device(Coding::default());
    for failing in [&camera, &board] {
        failing.heal();
        assert_eq!(lending_session(&camera, &board), Ok(4));
        let calls = failing.counts();
        for (call, nth) in calls.iter().flat_map(|(call, count)| (1..=*count).map(|nth| (*call, nth))) {
            for errno in ERRNOS {
                let fault = Fault { call, nth, errno };
                failing.fail(fault.clone());
                let told = lending_session(&camera, &board);
                if call == "VIDIOC_EXPBUF" {
                    assert_eq!(told, Ok(4), "{fault:?}: it is copied");
                }
                assert_eq!((camera.in_use(), board.in_use()), ((0, 0), (0, 0)), "{fault:?}: something is left");
                failing.heal();
                assert_eq!(lending_session(&camera, &board), Ok(4), "after {fault:?}");
            }
        }
    }
}
