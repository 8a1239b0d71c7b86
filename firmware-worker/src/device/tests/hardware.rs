//! The camera's thread with a made-up encoder of the board.

use super::{PATIENCE, camera as configured, is_fit};
use crate::config::{Camera, CameraDevice, DeviceKind, EncoderWish};
use crate::control::{DriverBuffers, Encoder};
use crate::device::camera;
use crate::device::outlet::Outlet;
use crate::device::pipeline::{Event, Failure, Pipeline};
use hal::ring::{KEY, Meta, Next, Reader, Stamped};
use hal::video::fake::{self, Coded, Coding, Device, Fault, Frame, Pictured, Script, Stamp, coded};
use hal::video::{Mode, PixelFormat};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;
use tokio::time::timeout;

/// 32x16, left half white, right half red.
const BARS: &[u8] = include_bytes!("../../media/testdata/bars.jpg");
const PERIOD_NS: u64 = 10_000_000;

fn config(encoder: EncoderWish) -> Camera {
    let DeviceKind::Camera(camera) = configured(CameraDevice::Auto).kind else { unreachable!() };
    Camera { width: 32, height: 16, fps: 100, encoder, ..camera }
}

/// A camera of 100 pictures a second, each stamped with its number.
fn source(format: PixelFormat) -> Device {
    let frame = move |number: u32| Frame::Picture {
        bytes: (format == PixelFormat::Mjpeg).then(|| BARS.to_vec()),
        stamp: Stamp::At(u64::from(number + 1) * PERIOD_NS),
        lost: 0,
        damaged: false,
    };
    let modes = vec![Mode { format, width: 32, height: 16, milli_fps: 100_000 }];
    fake::Camera::device(Script { modes, paced: true, frames: Box::new(frame), ..Script::default() })
}

struct Run {
    pipeline: Pipeline,
    outlet: Arc<Outlet>,
    reader: Reader,
    /// As the camera's thread has told last.
    buffers: Option<DriverBuffers>,
}

impl Run {
    fn start(config: &Camera, source: &Device, board: &Device) -> Self {
        let outlet = Arc::new(Outlet::create("camera", camera::layout(config)).unwrap());
        let reader = Reader::map(outlet.ring().unwrap()).unwrap();
        let encoders = Ok(vec![(board.open(), "/dev/video11".into())]);
        let source = camera::Source::Node { camera: source.open(), path: "/dev/video7".into(), encoders };
        Self { pipeline: camera::start(config, source, outlet.clone()).unwrap(), outlet, reader, buffers: None }
    }

    async fn event(&mut self) -> Event {
        loop {
            match timeout(PATIENCE, self.pipeline.event()).await.unwrap() {
                Some(Event::Key) => {}
                Some(Event::Mapped(buffers)) => self.buffers = Some(buffers),
                Some(event) => return event,
                None => panic!("it ended without a word"),
            }
        }
    }

    async fn running(&mut self) -> (String, Option<Encoder>) {
        let Event::Running { description, encoder, .. } = self.event().await else { panic!("it does not run") };
        self.pipeline.set_epoch(1);
        self.pipeline.set_bitrate(400_000);
        self.pipeline.encode(true);
        let Event::Described { description: with_stamps, .. } = self.event().await else { panic!("no picture comes") };
        assert_eq!(with_stamps, format!("{description}, stamped at the end of the frame"));
        (description, encoder)
    }

    /// That many; whoever codes them, each keyframe has a parameter set for real time.
    async fn units(&mut self, count: usize) -> Vec<Meta> {
        let (mut units, mut payload) = (Vec::new(), Vec::new());
        let collect = async {
            while units.len() < count {
                match self.reader.next(&mut payload) {
                    Next::Unit(meta) => {
                        assert!(meta.flags & KEY == 0 || is_fit(&payload), "{meta:?}: {payload:x?}");
                        units.push(meta);
                    }
                    Next::Lapped(lost) => panic!("{lost} lost"),
                    Next::Empty => tokio::time::sleep(Duration::from_millis(1)).await,
                }
            }
        };
        timeout(PATIENCE, collect).await.unwrap();
        units
    }

    /// While it runs.
    fn buffers(&mut self) -> DriverBuffers {
        while let Some(event) = self.pipeline.try_event() {
            if let Event::Mapped(buffers) = event {
                self.buffers = Some(buffers);
            }
        }
        self.buffers.expect("told at the start")
    }

    fn dropped(&self) -> u64 {
        self.outlet.counters.dropped.load(Relaxed)
    }
}

/// Each unit has its own picture's time, what that is of, and number; the first is a keyframe.
fn check(units: &[Meta]) {
    assert_ne!(units[0].flags & KEY, 0, "{units:?}");
    for unit in units {
        assert_eq!(unit.captured_ns, (unit.position + 1) * PERIOD_NS, "{unit:?}");
        assert_eq!(unit.stamped, Some(Stamped::FrameEnd), "{unit:?}");
    }
    assert!(units.is_sorted_by_key(|unit| unit.position), "{units:?}");
}

#[tokio::test]
async fn the_boards_encoder_codes_what_every_camera_gives_with_the_times_of_its_pictures() {
    let own = coded(&Pictured { number: 0, key: true, bytes: &[] });
    assert!(matches!(own, Coded::Unit(unit) if !is_fit(&unit)), "the encoder itself does not write it so");
    // It takes NV12 and YU12.
    for format in [PixelFormat::Nv12, PixelFormat::Yuyv, PixelFormat::Mjpeg] {
        let (source, board) = (source(format), fake::Encoder::device(Coding::default()));
        let mut run = Run::start(&config(EncoderWish::Auto), &source, &board);
        let (description, encoder) = run.running().await;
        assert!(description.ends_with("kbit/s, hardware (/dev/video11, fake)"), "{description}");
        assert_eq!(encoder, Some(Encoder::Hardware));
        check(&run.units(20).await);
        run.pipeline.force_key();
        let units = run.units(10).await;
        assert_eq!(units.iter().filter(|unit| unit.flags & KEY != 0).count(), 1, "{format} {units:?}");
        let imported = board.counts()["mmap"] < 5;
        assert_eq!(imported, format == PixelFormat::Nv12, "only what it takes as it is needs no copy");
        drop(run);
        assert_eq!((source.in_use(), board.in_use()), ((0, 0), (0, 0)));
    }
}

#[tokio::test]
async fn an_encoder_that_is_slower_than_the_camera_loses_pictures_but_no_times() {
    let board = fake::Encoder::device(Coding { delay: Duration::from_millis(25), ..Coding::default() });
    let mut run = Run::start(&config(EncoderWish::Hardware), &source(PixelFormat::Nv12), &board);
    run.running().await;
    check(&run.units(20).await);
    assert!(run.dropped() > 0);
}

#[tokio::test]
async fn what_drivers_have_mapped_is_told_and_stays_so_while_nobody_reads() {
    // Of 32x16 pixels. A camera has four buffers; those of NV12 the encoder takes as they are, for YUYV it has two of its own.
    const NV12: u64 = 32 * 16 * 3 / 2;
    let mut encoders = Vec::new();
    for (format, picture) in [(PixelFormat::Nv12, NV12), (PixelFormat::Yuyv, 32 * 16 * 2)] {
        let (source, board) = (source(format), fake::Encoder::device(Coding::default()));
        let mut run = Run::start(&config(EncoderWish::Auto), &source, &board);
        run.running().await;
        assert_eq!(run.buffers.expect("told").camera, 4 * picture, "{format}");
        run.units(5).await;
        let buffers = run.buffers();
        encoders.push(buffers.encoder.expect("it runs"));
        run.pipeline.encode(false);
        let rests = async {
            while board.in_use().1 > 0 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        timeout(PATIENCE, rests).await.expect("its memory is free");
        assert_eq!(run.buffers(), buffers, "what it takes, not what it has");
    }
    assert!(encoders[0] > 0 && encoders[1] == encoders[0] + 2 * NV12, "{encoders:?}");
    let board = fake::Encoder::device(Coding { codec: b"JPEG", ..Coding::default() });
    let mut run = Run::start(&config(EncoderWish::Auto), &source(PixelFormat::Nv12), &board);
    run.running().await;
    assert_eq!(run.buffers(), DriverBuffers { camera: 4 * NV12, encoder: Some(0) }, "software needs none");
}

#[tokio::test]
async fn nobody_reading_costs_no_encoder_and_the_camera_keeps_its_buffers() {
    let (source, board) = (source(PixelFormat::Nv12), fake::Encoder::device(Coding { depth: 1, ..Coding::default() }));
    let mut run = Run::start(&config(EncoderWish::Auto), &source, &board);
    run.running().await;
    for _ in 0..5 {
        check(&run.units(5).await);
        run.pipeline.encode(false);
        let captured = run.outlet.counters.captured.load(Relaxed);
        let idle = async {
            let all = || source.given() == 4;
            while board.in_use().1 > 0 || run.outlet.counters.captured.load(Relaxed) < captured + 10 || !all() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        timeout(PATIENCE, idle).await.expect("its buffers are free, and pictures come");
        while matches!(run.reader.next(&mut Vec::new()), Next::Unit(_)) {}
        run.pipeline.encode(true);
    }
}

#[tokio::test]
async fn without_an_encoder_auto_encodes_in_software_and_says_why_and_hardware_does_not() {
    let board = fake::Encoder::device(Coding { codec: b"JPEG", ..Coding::default() });
    let mut run = Run::start(&config(EncoderWish::Auto), &source(PixelFormat::Nv12), &board);
    let (description, encoder) = run.running().await;
    assert!(description.ends_with("software (/dev/video11: no encoder for this coding)"), "{description}");
    assert_eq!(encoder, Some(Encoder::Software));
    run.units(5).await;
    let mut run = Run::start(&config(EncoderWish::Hardware), &source(PixelFormat::Nv12), &board);
    let Event::Lost(Failure::Lost(why)) = run.event().await else { panic!("it runs") };
    assert!(why.starts_with("/dev/video7: encoder = \"hardware\", but /dev/video11: no encoder"), "{why}");
}

#[tokio::test]
async fn an_encoder_that_cannot_be_started_is_replaced_with_its_reason_or_told() {
    let busy = Fault { call: "VIDIOC_STREAMON", nth: 1, errno: libc::EBUSY };
    let small = Fault { call: "VIDIOC_REQBUFS", nth: 1, errno: libc::ENOMEM };
    for (fault, words) in [(busy, "the encoder is in use"), (small, "CMA is too small")] {
        let (source, board) = (source(PixelFormat::Mjpeg), fake::Encoder::device(Coding::default()));
        board.fail(fault.clone());
        let mut run = Run::start(&config(EncoderWish::Auto), &source, &board);
        run.running().await;
        let Event::Described { description, encoder } = run.event().await else { panic!("it was not replaced") };
        assert!(description.contains("software (/dev/video11: ") && description.contains(words), "{description}");
        assert!(description.ends_with(", stamped at the end of the frame"), "{description}");
        assert_eq!((encoder, board.in_use()), (Encoder::Software, (0, 0)));
        let Event::GaveWay(why) = run.event().await else { panic!("its owner is not told") };
        assert!(why.starts_with("/dev/video11: ") && why.contains(words), "{why}");
        check(&run.units(5).await);
        drop(run);
        board.fail(fault);
        let mut run = Run::start(&config(EncoderWish::Hardware), &source, &board);
        run.running().await;
        let Event::Lost(failure) = run.event().await else { panic!("it goes on") };
        match failure {
            // Who holds it is found by its node.
            Failure::Busy(node) => assert_eq!((node.as_str(), words), ("/dev/video11", "the encoder is in use")),
            Failure::Lost(why) => assert!(why.contains(words) && words.contains("CMA"), "{why}"),
        }
    }
}

#[tokio::test]
async fn an_encoder_that_fails_now_and_then_starts_again_and_one_that_always_fails_is_replaced() {
    let damaged_after = |good: u32| {
        let all = AtomicU32::new(0);
        let units = move |picture: &Pictured<'_>| match all.fetch_add(1, Relaxed) {
            number if number % (good + 1) == good => Coded::Damaged,
            _ => coded(picture),
        };
        fake::Encoder::device(Coding { units: Box::new(units), ..Coding::default() })
    };
    let board = damaged_after(5);
    let mut run = Run::start(&config(EncoderWish::Hardware), &source(PixelFormat::Nv12), &board);
    run.running().await;
    let units = run.units(20).await;
    check(&units);
    assert!(units.iter().filter(|unit| unit.flags & KEY != 0).count() >= 3, "a keyframe after each start: {units:?}");
    let mut run = Run::start(&config(EncoderWish::Auto), &source(PixelFormat::Nv12), &damaged_after(0));
    run.running().await;
    let Event::Described { description, .. } = run.event().await else { panic!("it was not replaced") };
    assert!(description.contains("software (/dev/video11: a picture could not be encoded)"), "{description}");
    check(&run.units(5).await);
}

#[tokio::test]
async fn buffers_that_the_encoder_refuses_after_all_are_copied() {
    let (source, board) = (source(PixelFormat::Nv12), fake::Encoder::device(Coding::default()));
    // The first are the three coded ones.
    board.fail(Fault { call: "VIDIOC_QBUF", nth: 4, errno: libc::EINVAL });
    let mut run = Run::start(&config(EncoderWish::Auto), &source, &board);
    run.running().await;
    check(&run.units(30).await);
    assert!(board.counts()["mmap"] >= 8, "coded ones twice, and pictures");
    // The one that was refused, and what a busy machine is late for.
    assert!((1..=4).contains(&run.dropped()), "{}", run.dropped());
}
