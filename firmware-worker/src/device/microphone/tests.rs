//! Microphones on cards by script, through all threads to the ring.

use super::*;
use crate::config::Microphone;
use crate::device::tests::log::Log;
use hal::allocations::{self, Counting};
use hal::audio::SampleFormat;
use hal::audio::fake::{Call, Fault, Script, Time};
use hal::ring::{DISCONTINUITY, Meta, Next, Reader as Ring};
use std::f64::consts::TAU;
use std::sync::atomic::Ordering::Relaxed;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Far above what anything here takes.
const PATIENCE: Duration = Duration::from_secs(10);

/// 440 Hz at 44.1 kHz on the left, nothing on the right.
fn sine_44100(frame: u64, channel: usize) -> f32 {
    let turn = frame as f64 / 44_100.0 * 440.0 * TAU;
    if channel == 0 { turn.sin() as f32 * 0.2 } else { 0.0 }
}

/// In real time, with a second of patience for a test's thread that does not get to run.
fn real(script: Script) -> Script {
    Script { time: Time::Real, buffer: 100, ..script }
}

/// A pipeline on a card, its outlet and its ring.
struct Rig {
    pipeline: Pipeline,
    outlet: Arc<Outlet>,
    ring: Ring,
}

impl Rig {
    fn start(script: Script, microphone: Microphone) -> Self {
        Self::with_log(script, microphone, "fake", &Log::default())
    }

    /// The same of a card of this name; what its thread logs goes to `log`.
    fn with_log(script: Script, microphone: Microphone, name: &'static str, log: &Log) -> Self {
        let log = log.clone();
        let outlet = Arc::new(Outlet::create("microphone", LAYOUT).unwrap());
        let ring = Ring::map(outlet.ring().unwrap()).unwrap();
        let body = move |stage: &Stage| {
            let wanted = mix::wanted(&microphone.input_channels, microphone.channels());
            let capture = Capture::start_fake(script, wanted).map_err(|e| e.to_string())?;
            let input = Input::Card(capture, name.into());
            log.of(|| run(stage, &microphone, input))
        };
        let pipeline = Pipeline::spawn("microphone", outlet.clone(), body).unwrap();
        pipeline.encode(true);
        Self { pipeline, outlet, ring }
    }

    fn packets(&mut self, count: usize) -> Vec<(Meta, Vec<u8>)> {
        let (mut packets, mut payload) = (Vec::new(), Vec::new());
        let asked = Instant::now();
        while packets.len() < count {
            assert!(asked.elapsed() < PATIENCE, "{} packets", packets.len());
            match self.ring.next(&mut payload) {
                Next::Unit(meta) => packets.push((meta, payload.clone())),
                Next::Lapped(_) => panic!("the test is too slow"),
                Next::Empty => thread::sleep(Duration::from_millis(2)),
            }
        }
        packets
    }

    fn event(&mut self) -> Event {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let event = async { tokio::time::timeout(PATIENCE, self.pipeline.event()).await };
        runtime.block_on(event).expect("an event in time").expect("a thread that runs")
    }
}

fn decoded(packets: &[(Meta, Vec<u8>)], samples: usize) -> Vec<i16> {
    let mut decoder = opusic_c::Decoder::new(opusic_c::Channels::Mono, opusic_c::SampleRate::Hz48000).unwrap();
    let (mut pcm, mut heard) = (vec![0u16; samples], Vec::new());
    for (_, packet) in packets {
        assert_eq!(decoder.decode_to_slice(packet, &mut pcm, false).unwrap(), samples);
        heard.extend(pcm.iter().map(|bits| bits.cast_signed()));
    }
    heard
}

#[test]
fn a_card_of_another_format_rate_and_more_channels_is_heard_at_its_pitch() {
    let script = Script {
        formats: vec![SampleFormat::S24Packed],
        rates: vec![44_100],
        channels: 2..=2,
        sound: sine_44100,
        ..Script::default()
    };
    let microphone = Microphone { input_channels: vec![1], ..Microphone::default() };
    let mut rig = Rig::start(real(script), microphone);
    let description = "fake S24_3LE 2 ch 44100 Hz, period 10.0 ms, buffer 1000 ms, opus 48 kbit/s".to_owned();
    assert_eq!(rig.event(), Event::Running { description, hardware: true, encoder: None, keying: Keying::default() });
    let packets = rig.packets(60);
    for pair in packets.windows(2) {
        let (first, next) = (pair[0].0, pair[1].0);
        assert_eq!(next.position - first.position, 960);
        assert!((next.captured_ns - first.captured_ns).abs_diff(20_000_000) < 2_000_000, "{first:?} {next:?}");
    }
    let heard = decoded(&packets[10..], 960);
    let edges = heard.windows(2).filter(|w| w[0] < 0 && w[1] >= 0).count();
    assert!((436..=444).contains(&edges), "{edges} Hz");
    let level = rig.outlet.meter.take().expect("samples came");
    // A sine at a fifth: -14 dB at its peak, 3 less on average.
    assert!((-1500..=-1300).contains(&level.peak) && (-1800..=-1600).contains(&level.rms), "{level:?}");
}

#[test]
fn packets_of_ten_milliseconds_come_at_twice_the_rate() {
    let microphone = Microphone { frame_ms: 10, ..Microphone::default() };
    let mut rig = Rig::start(real(Script::default()), microphone);
    let packets = rig.packets(20);
    assert!(packets.windows(2).all(|pair| pair[1].0.position - pair[0].0.position == 480));
    assert_eq!(decoded(&packets, 480).len(), 20 * 480);
}

/// The promise is of the 99th percentile on an idle machine; here, beside other tests, the median must keep it.
#[test]
fn a_packet_is_in_the_ring_soon_after_its_last_sample() {
    let mut rig = Rig::start(real(Script::default()), Microphone::default());
    let late = |meta: &Meta| meta.written_ns.saturating_sub(meta.captured_ns + 20_000_000);
    let mut late: Vec<_> = rig.packets(200).iter().map(|(meta, _)| late(meta)).collect();
    late.sort_unstable();
    let ms = |part: usize| late[late.len() * part / 100] as f64 / 1e6;
    println!("ms after the last sample of a packet: p50 {:.2}, p99 {:.2}", ms(50), ms(99));
    assert!(ms(50) <= 15.0, "{} ms", ms(50));
}

#[test]
fn an_overrun_is_one_gap_and_the_position_follows_the_time() {
    let faults = vec![(Call::Read, 50, Fault::Errno(libc::EPIPE))];
    let mut rig = Rig::start(real(Script { faults, ..Script::default() }), Microphone::default());
    let packets = rig.packets(60);
    let gaps: Vec<_> = packets.iter().skip(1).filter(|p| p.0.flags & DISCONTINUITY != 0).collect();
    assert_eq!(gaps.len(), 1);
    let (first, last) = (packets[0].0, packets[59].0);
    let samples = (last.captured_ns - first.captured_ns) * 48 / 1_000_000;
    assert!((last.position - first.position).abs_diff(samples) < 200, "{first:?} {last:?}");
}

#[test]
fn overruns_are_told_with_their_card_and_not_each_of_them() {
    for overruns in [1, 5] {
        let log = Log::default();
        let faults = (1..=overruns).map(|turn| (Call::Read, turn * 100, Fault::Errno(libc::EPIPE))).collect();
        let rig = Rig::with_log(Script { faults, ..Script::default() }, Microphone::default(), "fake", &log);
        let asked = Instant::now();
        while rig.outlet.counters.captured.load(Relaxed) < 1_000 {
            assert!(asked.elapsed() < PATIENCE, "{} periods", rig.outlet.counters.captured.load(Relaxed));
            thread::sleep(Duration::from_millis(2));
        }
        // What the capture thread has noted by its end is told, too.
        drop(rig);
        let lines = log.lines("fake: gaps in its sound, as the card was not read in time or slept (");
        assert!(lines.len() == 1 && lines[0].contains("WARN"), "{}", log.text());
        let count = lines[0].rsplit_once("; ").and_then(|(_, rest)| rest.split_once(" since this was told last"));
        // The thread that tells may have slept over some.
        assert!(count.is_some_and(|(count, _)| (1..=overruns).contains(&count.parse().unwrap())), "{lines:?}");
    }
}

#[test]
fn a_card_that_is_gone_or_stands_still_is_lost_by_name() {
    let lost = |fault| {
        let script = Script { faults: vec![(Call::Status, 30, fault)], ..Script::default() };
        let mut rig = Rig::start(script, Microphone::default());
        assert!(matches!(rig.event(), Event::Running { .. }));
        rig.event()
    };
    let gone = "fake: the sound card is gone (snd_pcm_status: No such device (os error 19))".to_owned();
    assert_eq!(lost(Fault::Errno(libc::ENODEV)), Event::Lost(Failure::Lost(gone)));
    let still = Fault::Stall(Duration::from_secs(60));
    assert_eq!(lost(still), Event::Lost(Failure::Lost("fake: no samples for 3 s".into())));
}

#[test]
fn a_channel_that_the_card_does_not_have_is_an_error_that_names_it() {
    let microphone = Microphone { input_channels: vec![6], ..Microphone::default() };
    let mut rig = Rig::start(Script::default(), microphone);
    assert_eq!(rig.event(), Event::Lost(Failure::Lost("fake: input_channels wants channel 6, the card has 2".into())));
}

#[test]
fn the_stamps_of_a_card_whose_clock_is_wrong_stay_true() {
    // 1 % fast, so that two seconds show it.
    let mut rig = Rig::start(real(Script { ppm: 10_000, ..Script::default() }), Microphone::default());
    let packets = rig.packets(100);
    let (first, last) = (packets[10].0, packets[99].0);
    let counted = (last.position - first.position) * 1_000_000 / 48;
    let real = last.captured_ns - first.captured_ns;
    assert!((counted as f64 / real as f64 - 1.01).abs() < 0.002, "{counted} {real}");
}

/// How often its capture thread allocates in `periods` periods, nobody taking the blocks after the first few.
fn allocated(microphone: Microphone, input: impl FnOnce() -> Input + Send + 'static, periods: u64) -> u64 {
    let outlet = Arc::new(Outlet::create("microphone", LAYOUT).unwrap());
    let (count, counted) = std::sync::mpsc::channel();
    let body = move |stage: &Stage| {
        let mut queue = Box::new(Queue::<Block, QUEUE>::new());
        let (producer, _consumer) = queue.split();
        let status = Status::default();
        let reader = Reader::new(stage, &microphone, producer, &status, input())?;
        let before = allocations::so_far();
        reader.run()?;
        count.send(allocations::so_far() - before).map_err(|e| e.to_string())
    };
    let pipeline = Pipeline::spawn("microphone", outlet.clone(), body).unwrap();
    let asked = Instant::now();
    while outlet.counters.captured.load(std::sync::atomic::Ordering::Relaxed) < periods {
        assert!(asked.elapsed() < PATIENCE, "no samples");
        thread::sleep(Duration::from_millis(1));
    }
    drop(pipeline);
    counted.recv_timeout(PATIENCE).expect("a thread that ends well")
}

#[test]
fn a_capture_thread_allocates_nothing_after_its_start() {
    let _something = vec![0; allocations::so_far() as usize + 1];
    assert!(allocations::so_far() > 0, "this program counts its allocations");
    for (format, rate, channels) in [(SampleFormat::S16, 48_000, 1), (SampleFormat::S24Packed, 44_100, 2)] {
        let card = move || {
            let faults =
                vec![(Call::Read, 50, Fault::Errno(libc::EPIPE)), (Call::Wait, 90, Fault::Errno(libc::ESTRPIPE))];
            let script = Script { formats: vec![format], rates: vec![rate], faults, ..Script::default() };
            Input::Card(Capture::start_fake(script, 2).unwrap(), "fake".into())
        };
        assert_eq!(allocated(Microphone { channels, ..Microphone::default() }, card, 1_000), 0, "{format:?}");
    }
    assert_eq!(allocated(Microphone::default(), || Input::Tone, 20), 0, "tone");
}

/// The one line that a card of this name, which gives nothing but zeros, is told in.
fn told_of_silence(name: &'static str) -> String {
    let log = Log::default();
    let silent = Script { sound: |_, _| 0.0, ..Script::default() };
    let rig = Rig::with_log(silent, Microphone::default(), name, &log);
    let asked = Instant::now();
    // Half a minute of the card's time.
    while !log.text().contains("digital silence") || rig.outlet.counters.captured.load(Relaxed) < 3_000 {
        assert!(asked.elapsed() < PATIENCE, "{} periods: {}", rig.outlet.counters.captured.load(Relaxed), log.text());
        thread::sleep(Duration::from_millis(2));
    }
    drop(rig);
    let lines = log.lines("silence");
    let [line] = &lines[..] else { panic!("{lines:?}") };
    assert!(line.contains("WARN") && line.contains("set `volume` of this [[microphone]]"), "{line}");
    line.clone()
}

#[test]
fn ten_seconds_of_exact_silence_are_told_once_with_what_the_mixer_says() {
    let volume = Some(mixer::Level { value: 0, range: (0, 40), decibel: None });
    let element = mixer::Element { name: "Mic".into(), index: 0, on: Some(false), volume };
    hal::audio::fake::mixer::Mixer::plug_in("fake-muted", vec![(hal::audio::Side::Capture, element)]);
    hal::audio::fake::mixer::Mixer::plug_in("fake-plain", Vec::new());
    for (name, says) in [
        ("fake", "its mixer cannot be read: "),
        ("fake-plain", "its mixer has nothing to set; "),
        ("fake-muted", r#"its mixer says "Mic" off 0%; "#),
    ] {
        let line = told_of_silence(name);
        assert!(line.contains(&format!("{name}: 10 s of exact digital silence; {says}")), "{line}");
    }
}
