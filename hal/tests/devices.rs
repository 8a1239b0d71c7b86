//! Real drivers without hardware: vivid as camera, snd-aloop as sound card, as the arm64 guest has them. One at a time:
//! `devices --ignored --test-threads=1`, as root.

use hal::audio::{self, Period};
use hal::hotplug::Listener;
use hal::process::monotonic_ns;
use hal::video::{self, Capture, Encoded, Error, Wanted};
use std::fs::{self, OpenOptions};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::{Duration, Instant};

const SECOND: Duration = Duration::from_secs(1);

/// Under emulation, beside a busy build.
const PATIENCE: Duration = Duration::from_secs(20);

/// Of 30 pictures a second.
const FRAME_NS: u64 = 33_333_333;

/// Between two looks at a condition.
const LOOK: Duration = Duration::from_millis(5);

/// vivid, unless its node is on its way back after an earlier test.
fn camera() -> video::Camera {
    until("vivid is listed", || video::list().into_iter().find(|camera| camera.driver == "vivid"))
}

fn open(path: &Path) -> OwnedFd {
    OpenOptions::new().read(true).write(true).open(path).unwrap().into()
}

fn stream(width: u32, height: u32, fps: u32) -> Result<Capture, Error> {
    let path = camera().path;
    let wanted = Wanted { width, height, fps, encoded: Encoded::Never };
    Capture::start(open(&path), path.to_str().unwrap(), &wanted)
}

fn card() -> audio::Card {
    until("snd-aloop is listed", || audio::list().into_iter().find(|card| card.name == "hw:CARD=Loopback,DEV=1"))
}

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

#[test]
#[ignore = "needs snd-aloop"]
fn a_card_gives_periods_of_ten_milliseconds_with_stamps() {
    let mut capture = audio::Capture::start(&card().name, 2).unwrap();
    assert_eq!((capture.channels(), capture.period()), (2, 480));
    let mut buffer = vec![0; 960];
    let (mut periods, mut first, mut last) = (0, 0, 0);
    let deadline = Instant::now() + PATIENCE;
    while periods < 200 && Instant::now() < deadline {
        match capture.read(&mut buffer, SECOND) {
            Period::Samples { captured_ns } => {
                first = if periods == 0 { captured_ns } else { first };
                (last, periods) = (captured_ns, periods + 1);
            }
            // Under emulation the thread may not get to run for 40 ms; then the count starts again.
            Period::Xrun => periods = 0,
            other => panic!("{other:?} after {periods} periods"),
        }
    }
    // snd-aloop counts timer ticks, and loses some where the whole machine is late: never faster, a little slower.
    let expected = 199 * 10_000_000;
    assert!((expected - 30_000_000..expected * 3 / 2).contains(&(last - first)), "{} ns", last - first);
}

#[test]
#[ignore = "needs snd-aloop"]
fn an_overrun_is_told_and_capture_goes_on() {
    let mut capture = audio::Capture::start(&card().name, 1).unwrap();
    let mut buffer = vec![0; capture.period() * usize::from(capture.channels())];
    assert!(matches!(capture.read(&mut buffer, SECOND), Period::Samples { .. }));
    // The stimulus: longer than the card's buffer.
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(capture.read(&mut buffer, SECOND), Period::Xrun);
    until("samples", || matches!(capture.read(&mut buffer, SECOND), Period::Samples { .. }).then_some(()));
}

#[test]
#[ignore = "needs snd-aloop"]
fn a_card_in_use_is_busy() {
    let name = card().name;
    let _first = audio::Capture::start(&name, 1).unwrap();
    let _others: Vec<_> = std::iter::from_fn(|| match audio::Capture::start(&name, 1) {
        Ok(capture) => Some(capture),
        Err(audio::Error::Busy(_)) => None,
        Err(other) => panic!("{other}"),
    })
    .take(16)
    .collect();
    assert!(matches!(audio::Capture::start(&name, 1), Err(audio::Error::Busy(_))), "eight subdevices are taken");
}

#[test]
#[ignore = "needs snd-aloop"]
fn a_card_that_is_unplugged_is_gone_and_comes_back() {
    let mut capture = audio::Capture::start(&card().name, 1).unwrap();
    let mut buffer = vec![0; capture.period() * usize::from(capture.channels())];
    assert!(matches!(capture.read(&mut buffer, SECOND), Period::Samples { .. }));
    // Unbinding waits until the card is closed, so it needs a thread of its own.
    let unbinding = std::thread::spawn(|| bind("snd_aloop", "snd_aloop.0", "unbind"));
    until("the loss is seen", || (capture.read(&mut buffer, SECOND) == Period::Gone).then_some(()));
    assert_eq!(capture.read(&mut buffer, SECOND), Period::Gone, "it stays gone");
    drop(capture);
    unbinding.join().unwrap();
    bind("snd_aloop", "snd_aloop.0", "bind");
    assert!(audio::Capture::start(&card().name, 1).is_ok());
}
