//! Sound cards, on snd-aloop.

use super::*;
use hal::audio::{self, Period, SampleFormat, mixer};
use std::io::Write as _;

fn card() -> audio::Card {
    until("snd-aloop is listed", || audio::list().into_iter().find(|card| card.name == "hw:CARD=Loopback,DEV=1"))
}

/// The end of the loopback that records; `channels` are wanted.
fn recorder(channels: u32) -> (audio::Capture, Vec<f32>) {
    let capture = audio::Capture::start(&card().name, channels).unwrap();
    let setup = capture.setup();
    (capture, vec![0.0; setup.period * setup.channels as usize])
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
        let silent = |frame: &[f32]| frame.iter().all(|sample| *sample == 0.0);
        let deadline = Instant::now() + PATIENCE;
        while right < 20_000 && Instant::now() < deadline {
            let Period::Samples { .. } = capture.read(&mut buffer, SECOND) else { continue };
            let frames: Vec<&[f32]> = buffer.chunks_exact(channels as usize).collect();
            for pair in frames.windows(2) {
                // The ramp wraps at full scale.
                let step = (pair[1][0] - pair[0][0] + 2.0) % 2.0;
                let alike = pair[1].iter().all(|sample| *sample == pair[1][0]);
                if alike && step == STEP as f32 / 2_147_483_648.0 {
                    right += 1;
                } else if !silent(pair[0]) && !silent(pair[1]) {
                    wrong += 1;
                }
            }
        }
        // A player that is late under emulation leaves holes of silence, and goes on elsewhere.
        assert!(
            right >= 20_000 && wrong * 10 < right,
            "{format:?} {rate} Hz {channels} ch: {right} right, {wrong} wrong"
        );
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

#[test]
#[ignore = "needs snd-aloop"]
fn a_card_that_is_unplugged_is_gone_and_comes_back_every_time_and_leaves_nothing_behind() {
    let descriptors = || fs::read_dir("/proc/self/fd").unwrap().count();
    let (before, cycles, mut slowest) = (descriptors(), cycles(), Duration::ZERO);
    for cycle in 0..cycles {
        let started = Instant::now();
        let (mut capture, mut buffer) = recorder(1);
        // A thread that does not get to run for 40 ms under emulation has an overrun before its first samples.
        until("samples of a card that is back", || match capture.read(&mut buffer, SECOND) {
            Period::Samples { .. } => Some(()),
            Period::Gone(failed) => panic!("cycle {cycle}: {failed:?}"),
            Period::Xrun | Period::Silent => None,
        });
        slowest = slowest.max(started.elapsed());
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
    assert!(slowest <= BACK, "the slowest of {cycles} came back after {slowest:?}");
    println!("{cycles} cycles, the slowest came back after {slowest:?}");
}
