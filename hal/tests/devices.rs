//! Real drivers without hardware: vivid as camera, snd-aloop as sound card, as the arm64 guest has them. One at a time:
//! `devices --ignored --test-threads=1`, as root.

use hal::audio::{self, Period, SampleFormat, mixer};
use hal::hotplug::Listener;
use hal::process::monotonic_ns;
use hal::video::{self, Capture, Encoded, Error, Handle, Picture, PixelFormat, Setting, Wanted};
use std::fs::{self, OpenOptions};
use std::io::Write as _;
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
    start(BUSES[0], &Wanted { width, height, fps, format: None, encoded: Encoded::Never })
}

fn start(bus: &str, wanted: &Wanted) -> Result<Capture, Error> {
    let path = camera_on(bus).path;
    Capture::start(open(&path), path.to_str().unwrap(), wanted)
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

/// The end of the loopback that records; `channels` are wanted.
fn recorder(channels: u32) -> (audio::Capture, Vec<f32>) {
    let capture = audio::Capture::start(&card().name, channels).unwrap();
    let setup = capture.setup();
    (capture, vec![0.0; setup.period * setup.channels as usize])
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
        let wanted = Wanted { width: 640, height: 360, fps: 30, format: Some(format), encoded: Encoded::Never };
        let mut capture = start(bus, &wanted).unwrap();
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

/// Presses a button of vivid.
fn press(bus: &str, name: &str) {
    let failed = video::set_controls(&Handle::from(open(&camera_on(bus).path)), &[(name.into(), Setting::Number(1))]);
    assert!(failed.is_empty(), "{failed:?}");
}

#[test]
#[ignore = "needs vivid"]
fn a_stream_that_fails_in_the_driver_is_gone_and_starts_again() {
    for bus in BUSES {
        let wanted = Wanted { width: 640, height: 360, fps: 30, format: None, encoded: Encoded::Never };
        let mut capture = start(bus, &wanted).unwrap();
        capture.next(PATIENCE).unwrap().unwrap();
        press(bus, "inject_fatal_streaming_error");
        let error = until("the failure is seen", || capture.next(SECOND).err());
        assert!(matches!(error, Error::Gone { .. }), "{error}");
        drop(capture);
        assert!(start(bus, &wanted).unwrap().next(PATIENCE).unwrap().is_some());
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

/// Unplugged and plugged in again, unless `CYCLES` says how often.
const CYCLES: u32 = 10;

/// From a node that is there to the first picture.
const BACK: Duration = Duration::from_secs(2);

/// KiB by which an allocator may grow over the cycles; one leaked buffer of one cycle has 345.
const GROWTH_KIB: u64 = 256;

#[test]
#[ignore = "needs vivid"]
fn a_camera_unplugged_again_and_again_while_streaming_comes_back_each_time_and_leaves_nothing() {
    let cycles = std::env::var("CYCLES").ok().and_then(|count| count.parse().ok()).unwrap_or(CYCLES);
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

/// Open descriptors and KiB of memory of our own.
fn footprint() -> (usize, u64) {
    let fds = fs::read_dir("/proc/self/fd").unwrap().count();
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let memory = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    (fds, memory.trim().strip_suffix(" kB").unwrap().parse().unwrap())
}

#[test]
#[ignore = "needs snd-aloop"]
fn a_card_gives_periods_of_ten_milliseconds_with_stamps() {
    let (mut capture, mut buffer) = recorder(2);
    let expected = audio::Setup { format: SampleFormat::S16, rate: 48_000, channels: 2, period: 480, buffer: 1920 };
    assert_eq!(capture.setup(), expected);
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
    let (mut capture, mut buffer) = recorder(1);
    assert!(matches!(capture.read(&mut buffer, SECOND), Period::Samples { .. }));
    // The stimulus: longer than the card's buffer.
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(capture.read(&mut buffer, SECOND), Period::Xrun);
    until("samples", || matches!(capture.read(&mut buffer, SECOND), Period::Samples { .. }).then_some(()));
}

/// The other end of the loopback: plays a ramp for ever, as this format.
struct Player {
    aplay: std::process::Child,
    writer: Option<std::thread::JoinHandle<()>>,
}

/// From one frame of the ramp to the next, of 32 bits: 8 steps of 16.
const STEP: i32 = 8 << 16;

impl Player {
    fn start(format: SampleFormat, rate: u32, channels: u32) -> Self {
        let (rate, count) = (rate.to_string(), channels.to_string());
        let mut aplay = std::process::Command::new("aplay");
        aplay.args(["-q", "-t", "raw", "-D", "hw:CARD=Loopback,DEV=0", "-f", format.name(), "-r", &rate, "-c", &count]);
        let mut aplay = aplay.stdin(std::process::Stdio::piped()).spawn().unwrap();
        let mut stdin = aplay.stdin.take().unwrap();
        let writer = std::thread::spawn(move || {
            let mut next = 0_i32;
            loop {
                let mut raw = Vec::new();
                for _ in 0..480 {
                    for _ in 0..channels {
                        raw.extend_from_slice(&encoded(format, next)[..format.bytes()]);
                    }
                    next = next.wrapping_add(STEP);
                }
                // Ends with aplay.
                if stdin.write_all(&raw).is_err() {
                    return;
                }
            }
        });
        // Who comes first sets the format for both ends.
        until("the player plays", || {
            let set = fs::read_to_string("/proc/asound/Loopback/pcm0p/sub0/hw_params").ok()?;
            set.contains("rate:").then_some(())
        });
        Self { aplay, writer: Some(writer) }
    }
}

fn encoded(format: SampleFormat, sample: i32) -> [u8; 4] {
    match format {
        SampleFormat::S16 => (sample >> 16).to_le_bytes(),
        SampleFormat::S24 | SampleFormat::S24Packed => (sample >> 8).to_le_bytes(),
        SampleFormat::S32 => sample.to_le_bytes(),
        SampleFormat::Float => (sample as f32 / 2_147_483_648.0).to_le_bytes(),
    }
}

impl Drop for Player {
    fn drop(&mut self) {
        self.aplay.kill().unwrap();
        self.aplay.wait().unwrap();
        self.writer.take().map(std::thread::JoinHandle::join);
    }
}

#[test]
#[ignore = "needs snd-aloop"]
fn what_the_other_end_plays_is_agreed_on_and_comes_bit_for_bit() {
    use SampleFormat::{Float, S16, S24, S24Packed, S32};
    let played = [(S16, 48_000, 1), (S24, 44_100, 2), (S24Packed, 48_000, 2), (S32, 96_000, 8), (Float, 16_000, 1)];
    for (format, rate, channels) in played {
        let _player = Player::start(format, rate, channels);
        let (mut capture, mut buffer) = until("the same format as the other end's", || {
            let (capture, buffer) = recorder(1);
            let setup = capture.setup();
            ((setup.format, setup.rate, setup.channels) == (format, rate, channels)).then_some((capture, buffer))
        });
        let (mut right, mut wrong) = (0, 0);
        let deadline = Instant::now() + PATIENCE;
        while right < 20_000 && Instant::now() < deadline {
            let Period::Samples { .. } = capture.read(&mut buffer, SECOND) else { continue };
            let frames: Vec<&[f32]> = buffer.chunks_exact(channels as usize).collect();
            for pair in frames.windows(2) {
                // The ramp wraps at full scale.
                let step = (pair[1][0] - pair[0][0] + 2.0) % 2.0;
                let alike = pair[1].iter().all(|sample| *sample == pair[1][0]);
                if alike && step == STEP as f32 / 2_147_483_648.0 { right += 1 } else { wrong += 1 }
            }
        }
        // A player that is late under emulation leaves holes.
        assert!(right >= 20_000 && wrong < right, "{format:?} {rate} Hz {channels} ch: {right} right, {wrong} wrong");
    }
}

#[test]
#[ignore = "needs snd-aloop"]
fn a_clock_that_is_a_thousandth_off_shows_in_the_stamps() {
    // The timer's ticks that a busy machine loses make every clock slow; the difference of the two is ours.
    let ppm = |shift: &str| {
        let control = "iface=PCM,name='PCM Rate Shift 100000',device=1";
        let set = std::process::Command::new("amixer").args(["-q", "-c", "Loopback", "cset", control, shift]).status();
        assert!(set.unwrap().success());
        let (mut capture, mut buffer) = recorder(1);
        let (mut first, mut last, mut frames) = (None, 0, 0_u64);
        while frames < 48_000 * 10 {
            match capture.read(&mut buffer, SECOND) {
                Period::Samples { captured_ns } => {
                    first.get_or_insert(captured_ns);
                    last = captured_ns;
                    frames += 480;
                }
                _ => (first, frames) = (None, 0),
            }
        }
        let real = (last - first.unwrap()) as f64;
        ((frames - 480) as f64 * 1e9 / 48_000.0 / real - 1.0) * 1e6
    };
    let (slow, fast) = (ppm("101000"), ppm("99000"));
    let _ = ppm("100000");
    // 2 % apart; a period of 10 ms is a thousandth of 10 s.
    assert!((15_000.0..=25_000.0).contains(&(fast - slow)), "{slow} and {fast} ppm");
}

#[test]
#[ignore = "needs snd-aloop"]
fn a_microphone_that_is_muted_and_at_zero_is_heard_and_set_as_configured() {
    // Controls of a user make the loopback a card with a microphone's mixer.
    let state = "state.Loopback {\n\
         control.1 { iface MIXER\n name 'Mic Capture Switch'\n value false\n \
         comment { access 'read write user'\n type BOOLEAN\n count 1 } }\n\
         control.2 { iface MIXER\n name 'Mic Capture Volume'\n value 0\n \
         comment { access 'read write user'\n type INTEGER\n count 1\n range '0 - 40'\n \
         tlv '0000000100000008fffffa2400000032' } } }\n";
    fs::write("/tmp/asound.state", state).unwrap();
    let restored = std::process::Command::new("alsactl").args(["-F", "-f", "/tmp/asound.state", "restore"]).status();
    println!("alsactl: {restored:?}");
    let name = card().name;
    let before = mixer::capture(&name).unwrap().expect("an element that captures");
    assert_eq!((before.name.as_str(), before.on, before.volume.unwrap().value), ("Mic", Some(false), 0));
    let set = |volume, mute| mixer::set_capture(&name, mixer::Wish { volume, mute }).unwrap().unwrap();
    let heard = set(None, false);
    assert_eq!((heard.on, heard.volume.unwrap().value), (Some(true), 30), "three quarters");
    assert_eq!(set(Some(mixer::Volume::Percent(50)), true).to_string(), "\"Mic\" off 50% (-5.0 dB)");
    assert_eq!(set(Some(mixer::Volume::Decibel(-1.0)), false).volume.unwrap().value, 28);
    assert_eq!(set(None, false).volume.unwrap().value, 28, "what is set stays");
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

/// Unplugged and plugged in again while it is open: 10 times, or as often as `CYCLES` says.
#[test]
#[ignore = "needs snd-aloop"]
fn a_card_that_is_unplugged_is_gone_and_comes_back_every_time_and_leaves_nothing_behind() {
    let cycles: u32 = std::env::var("CYCLES").map_or(10, |text| text.parse().unwrap());
    let descriptors = || fs::read_dir("/proc/self/fd").unwrap().count();
    let before = descriptors();
    for cycle in 0..cycles {
        let started = Instant::now();
        let (mut capture, mut buffer) = recorder(1);
        assert!(matches!(capture.read(&mut buffer, SECOND), Period::Samples { .. }), "cycle {cycle}");
        assert!(started.elapsed() < 2 * SECOND, "cycle {cycle}: back after {:?}", started.elapsed());
        // Unbinding waits until the card is closed, so it needs a thread of its own.
        let unbinding = std::thread::spawn(|| bind("snd_aloop", "snd_aloop.0", "unbind"));
        let gone = until("the loss is seen", || match capture.read(&mut buffer, SECOND) {
            Period::Gone(failed) => Some(failed),
            _ => None,
        });
        assert_eq!(capture.read(&mut buffer, SECOND), Period::Gone(gone), "it stays gone");
        drop(capture);
        unbinding.join().unwrap();
        bind("snd_aloop", "snd_aloop.0", "bind");
    }
    assert_eq!(descriptors(), before);
}
