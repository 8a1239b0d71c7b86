//! Rings, voices and mix in simulated time: the test is the jobs and the card.

use super::*;
use hal::audio::Card;
use hal::audio::playback::fake;
use hal::doorbell::Doorbell;
use hal::ring::pcm::{Frame, Writer};
use protocol::device::ReaderId;
use std::os::fd::OwnedFd;
use std::sync::atomic::Ordering::Relaxed;

const PERIOD: usize = 480;

/// Far above what anything here takes.
const PATIENCE: Duration = Duration::from_secs(10);

/// Frames: 40 ms.
const TARGET_US: u32 = 40_000;

struct Job {
    ring: Writer,
    /// Keeps the bell ringable.
    _listener: OwnedFd,
    /// Frames a period, more or less than 480 by its clock's error.
    rate: f64,
    owed: f64,
    /// Position in its tone.
    at: usize,
    periods: usize,
    /// Of its last packet.
    now_us: f64,
    hz: f64,
    amplitude: f64,
}

impl Job {
    fn attach(inlet: &Inlet, id: u64, ppm: f64, hz: f64) -> Self {
        let (bell, listener) = Doorbell::new().unwrap();
        let ring = Writer::map(inlet.attach(ReaderId(id), Arc::new(bell)).unwrap()).unwrap();
        let rate = PERIOD as f64 * (1.0 + ppm / 1e6);
        Self { ring, _listener: listener, rate, owed: 0.0, at: 0, periods: 0, now_us: 0.0, hz, amplitude: 8000.0 }
    }

    /// What its clock wants written in a period, in packets of 20 ms.
    fn tick(&mut self) {
        self.owed += self.rate;
        while self.owed >= 960.0 {
            self.owed -= 960.0;
            // Within the period that is over, not at its end.
            self.now_us = (self.periods + 1) as f64 * 10_000.0 - self.owed * 10_000.0 / self.rate;
            self.write(960);
        }
        self.periods += 1;
    }

    fn write(&mut self, count: usize) {
        let turn = |n: usize| n as f64 / 48_000.0 * self.hz * std::f64::consts::TAU;
        let frame = |n: usize| [(turn(n).sin() * self.amplitude) as i16, (turn(n).cos() * self.amplitude) as i16];
        let frames: Vec<Frame> = (self.at..self.at + count).map(frame).collect();
        self.at += self.ring.write(self.now_us as u32, &frames);
    }
}

/// Plays so many periods.
fn play(inlet: &Inlet, jobs: &mut [&mut Job], periods: usize) -> Vec<Frame> {
    let mut played = Vec::new();
    let mut frames = vec![[0; 2]; PERIOD];
    for _ in 0..periods {
        jobs.iter_mut().for_each(|job| job.tick());
        let now_us = jobs.first().map_or(0, |job| job.periods * 10_000);
        inlet.mix(now_us as u32, &mut frames, |reader, why| panic!("{reader:?}: {why}"));
        played.extend_from_slice(&frames);
    }
    played
}

/// The largest step from one sample to the next.
fn steepest(frames: &[Frame]) -> i32 {
    frames.windows(2).flat_map(|w| (0..2).map(|c| (i32::from(w[1][c]) - i32::from(w[0][c])).abs())).max().unwrap()
}

/// Amplitude of a frequency in the left channel, in a stretch so short that a speed of a little more or less is no matter.
fn amplitude(frames: &[Frame], hz: f64) -> f64 {
    let frames = &frames[..4800];
    let (mut re, mut im) = (0.0, 0.0);
    for (n, [left, _]) in frames.iter().enumerate() {
        let turn = n as f64 / 48_000.0 * hz * std::f64::consts::TAU;
        re += f64::from(*left) * turn.cos();
        im += f64::from(*left) * turn.sin();
    }
    2.0 * re.hypot(im) / frames.len() as f64
}

#[test]
fn a_card_clock_that_is_off_by_1000_ppm_runs_no_ring_dry_or_full_and_no_step_is_heard() {
    for ppm in [-1000.0, 1000.0] {
        let inlet = Inlet::create().unwrap();
        let mut job = Job::attach(&inlet, 0, ppm, 440.0);
        let mut worst = 0;
        for second in 0..180 {
            let played = play(&inlet, &mut [&mut job], 100);
            if second > 1 {
                // 440 Hz at this amplitude changes by 461 at most, by a little more when it is sped up.
                assert!(steepest(&played) < 475, "{} in second {second}", steepest(&played));
                worst = worst.max(inlet.counters.buffer_us.load(Relaxed).abs_diff(TARGET_US));
            }
        }
        let counters = &inlet.counters;
        assert_eq!((counters.dry.load(Relaxed), counters.skipped.load(Relaxed)), (0, 0));
        assert!(worst < 7_000, "{ppm} ppm: {worst} us from the target");
        println!("{ppm} ppm: the mean of a second is at most {worst} us from 40 ms");
    }
}

#[test]
fn a_card_of_another_rate_plays_the_same_pitch_with_the_same_lead() {
    for (rate, period, ppm) in [
        (44_100, 441, -1000.0),
        (44_100, 441, 1000.0),
        (16_000, 160, 300.0),
        (96_000, 960, -300.0),
        (44_100, 1024, 0.0),
    ] {
        let inlet = Inlet::create().unwrap();
        let mut job = Job::attach(&inlet, 0, ppm, 440.0);
        inlet.begin(Beat { period, rate });
        let (mut frames, mut played) = (vec![[0; 2]; period], Vec::new());
        // What the card's clock has seen pass, in periods of a job.
        let (mut passed, mut worst) = (0.0, 0);
        for n in 0..8 * rate as usize / period {
            passed += period as f64 / f64::from(rate) * 100.0;
            while (job.periods as f64) < passed {
                job.tick();
            }
            inlet.mix((passed * 10_000.0) as u32, &mut frames, |reader, why| panic!("{reader:?}: {why}"));
            let second = n * period / rate as usize;
            if second >= 2 {
                played.extend_from_slice(&frames);
                worst = worst.max(inlet.counters.buffer_us.load(Relaxed).abs_diff(TARGET_US));
            }
        }
        let counters = &inlet.counters;
        assert_eq!((counters.dry.load(Relaxed), counters.skipped.load(Relaxed)), (0, 0), "{rate} {period} {ppm}");
        // From the second second on, and seen once a period, which may be longer than a packet.
        assert!(worst < 10_000, "{rate} {period} {ppm}: {worst} us from the target");
        let edges = played.windows(2).filter(|w| w[0][0] < 0 && w[1][0] >= 0).count();
        let hz = edges as f64 * f64::from(rate) / played.len() as f64;
        // Its speed may be off by half a percent while it learns the clock.
        assert!((hz - 440.0).abs() < 2.7, "{rate}: {hz} Hz");
        let loudest = played.iter().map(|frame| frame[0]).max().unwrap();
        assert!((7_900..=8_100).contains(&loudest), "{rate}: {loudest}");
    }
}

#[test]
fn two_jobs_are_heard_together_and_loud_ones_are_cut_at_full_scale() {
    let inlet = Inlet::create().unwrap();
    let (mut low, mut high) = (Job::attach(&inlet, 0, 0.0, 400.0), Job::attach(&inlet, 1, 300.0, 1000.0));
    play(&inlet, &mut [&mut low, &mut high], 500);
    let played = play(&inlet, &mut [&mut low, &mut high], 100);
    for hz in [400.0, 1000.0] {
        let found = amplitude(&played, hz);
        assert!((7000.0..9000.0).contains(&found), "{found} at {hz} Hz");
    }
    (low.amplitude, high.amplitude) = (30_000.0, 30_000.0);
    let played = play(&inlet, &mut [&mut low, &mut high], 100);
    assert!(played.iter().any(|frame| frame[0] == i16::MAX) && played.iter().any(|frame| frame[0] == i16::MIN));
}

#[test]
fn a_job_that_breaks_its_ring_is_named_and_silent_and_the_other_plays_on() {
    let inlet = Inlet::create().unwrap();
    let mut good = Job::attach(&inlet, 0, 0.0, 440.0);
    let (bell, _listener) = Doorbell::new().unwrap();
    let ring = std::fs::File::from(inlet.attach(ReaderId(1), Arc::new(bell)).unwrap());
    play(&inlet, &mut [&mut good], 100);
    // Its count of written frames, at the start of the second cache line.
    std::os::unix::fs::FileExt::write_all_at(&ring, &u32::MAX.to_ne_bytes(), 64).unwrap();
    let mut named = Vec::new();
    let mut frames = vec![[0; 2]; PERIOD];
    for _ in 0..3 {
        good.tick();
        inlet.mix(0, &mut frames, |reader, _| named.push(reader));
    }
    assert_eq!(named, [ReaderId(1)]);
    let played = play(&inlet, &mut [&mut good], 100);
    assert!(amplitude(&played, 440.0) > 7000.0);
    assert_eq!(inlet.counters.dry.load(Relaxed), 0);
}

#[test]
fn a_sound_begins_and_ends_without_a_click_and_can_be_thrown_away() {
    let inlet = Inlet::create().unwrap();
    // Its right channel begins at full amplitude.
    let mut job = Job::attach(&inlet, 0, 0.0, 440.0);
    let mut played = play(&inlet, &mut [&mut job], 50);
    job.ring.clear();
    played.extend(play(&inlet, &mut [], 50));
    assert!(steepest(&played) < 520, "{}", steepest(&played));
    assert!(played[..PERIOD].iter().all(|frame| *frame == [0; 2]), "nothing before there is enough");
    assert!(played[51 * PERIOD..].iter().all(|frame| *frame == [0; 2]), "nothing after the clear");
    assert_eq!(inlet.counters.dry.load(Relaxed), 1);
    job.write(100);
    let short = play(&inlet, &mut [], 20);
    assert!(short.iter().any(|frame| *frame != [0; 2]), "a short sound is played");
}

#[test]
fn what_waited_while_there_was_no_card_is_not_played_late() {
    let inlet = Inlet::create().unwrap();
    let mut job = Job::attach(&inlet, 0, 0.0, 440.0);
    job.write(8000);
    inlet.begin(Beat::USUAL);
    let played = play(&inlet, &mut [&mut job], 300);
    assert!(inlet.counters.skipped.load(Relaxed) > 3000);
    assert!(inlet.counters.buffer_us.load(Relaxed) < 110_000);
    assert!(steepest(&played) < 700, "{}", steepest(&played));
}

#[test]
fn a_detached_job_is_not_heard() {
    let inlet = Inlet::create().unwrap();
    let mut job = Job::attach(&inlet, 7, 0.0, 440.0);
    play(&inlet, &mut [&mut job], 50);
    inlet.detach(ReaderId(7));
    assert!(play(&inlet, &mut [&mut job], 5).iter().all(|frame| *frame == [0; 2]));
}

#[test]
fn the_automatic_speaker_is_no_display_and_no_digital_connector_even_where_there_is_no_other() {
    let card = |name: &str, description: &str, playback| {
        let (name, description) = (name.to_owned(), description.to_owned());
        let (id, card) = (String::new(), String::new());
        Card { name, description, id, card, usb: None, number: 0, by_path: None, capture: true, playback }
    };
    let cards = || {
        vec![
            card("hw:CARD=Mic,DEV=0", "USB Mic", false),
            card("hw:CARD=vc4hdmi0,DEV=0", "vc4-hdmi-0, MAI PCM i2s-hifi-0", true),
            card("hw:CARD=PCH,DEV=1", "HDA Intel PCH, ALC887 Digital IEC958", true),
            card("hw:CARD=Box,DEV=0", "USB Box, TOSLINK Out", true),
            card("hw:CARD=Headphones,DEV=0", "bcm2835 Headphones", true),
        ]
    };
    let chosen = |cards: &[Card]| auto(cards, Use::Play).map(|card| card.name.clone()).map_err(|e| e.to_string());
    assert_eq!(chosen(&cards()).as_deref(), Ok("hw:CARD=Headphones,DEV=0"));
    let left_out = "no sound card plays but displays and digital connectors, which auto leaves out: \
                    hw:CARD=vc4hdmi0,DEV=0 (vc4-hdmi-0, MAI PCM i2s-hifi-0); hw:CARD=PCH,DEV=1 (HDA Intel PCH, ALC887 \
                    Digital IEC958); name one, as `device = \"hw:CARD=vc4hdmi0,DEV=0\"`";
    assert_eq!(chosen(&cards()[..3]), Err(left_out.into()));
    assert_eq!(chosen(&cards()[..1]), Err("no sound card plays".into()));
}

#[test]
fn the_meter_shows_what_is_played_and_not_what_one_job_writes() {
    let inlet = Inlet::create().unwrap();
    let (mut loud, mut louder) = (Job::attach(&inlet, 1, 0.0, 440.0), Job::attach(&inlet, 2, 0.0, 440.0));
    (loud.amplitude, louder.amplitude) = (30_000.0, 30_000.0);
    play(&inlet, &mut [&mut loud, &mut louder], 50);
    assert_eq!(inlet.meter.take().map(|level| level.peak), Some(0), "the sum is cut at full scale");
    inlet.detach(ReaderId(1));
    inlet.detach(ReaderId(2));
    play(&inlet, &mut [], 10);
    assert_eq!(inlet.meter.take().map(|level| level.peak), Some(-12_000), "silence");
}

#[test]
fn underruns_are_told_with_their_card_and_not_each_of_them() {
    let card = fake::Card::plug_in("told-underruns", 0.0);
    let inlet = Arc::new(Inlet::create().unwrap());
    let device = SpeakerDevice::Card("told-underruns".into());
    let speaker = config::Speaker { device, ..config::Speaker::default() };
    let mut pipeline = start(&speaker, inlet.clone()).unwrap();
    for underruns in 1..=3 {
        card.fail(fake::Call::Room, libc::EPIPE);
        let failed = Instant::now();
        while inlet.counters.xruns.load(Relaxed) < underruns {
            assert!(failed.elapsed() < PATIENCE, "{underruns} underruns");
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    pipeline.end();
    let events = std::iter::from_fn(|| pipeline.try_event()).take_while(|event| *event != Event::ended());
    let told: Vec<_> = events.filter(|event| matches!(event, Event::Warned(_))).collect();
    assert_eq!(told, [Event::Warned(underrun("told-underruns", 1))]);
    let first = underrun("hw:CARD=Box,DEV=0", 7);
    assert!(
        first.starts_with("hw:CARD=Box,DEV=0: gaps in what it plays")
            && first.ends_with("; 7 since this was told last")
    );
}
