//! The speaker of the board, played into its own microphone over the loopback card, and back to who spoke.

use super::board::{self, SLOW};
use serde_json::json;
use std::time::Duration;
use tests::guest::Guest;
use tests::worker::AGENT;
use tests::{Judge, Server};

/// Seconds for which each wrong clock is watched; `tools/test soak clock` takes two minutes.
const WATCH: u32 = 30;
const WATCH_SOAK: u32 = 120;

/// What the level is kept at, and how far it may be from it.
const TARGET_US: f64 = 40_000.0;
const TOLERANCE_US: f64 = 10_000.0;

/// Readings of which the middle one is judged. A burst over the emulated network shows in one or two of them, as half a
/// percent takes it back within seconds; a clock that is not followed would have moved all of the last by 20 ms and more.
const JUDGED: usize = 5;

/// A supervisor asks its owners every 2.5 s.
const FRESH_S: u32 = 3;

/// Packets that come more than a level late over the emulated network, a minute: each runs the ring dry once, as nothing
/// conceals it yet. A clock that is not followed shows in the level within the watch.
const LATE_A_MINUTE: f64 = 9.0;

/// Readings until what waited while the card opened has been played: half a percent faster than it came.
const SETTLE: usize = 10;

#[test]
fn what_a_participant_says_comes_out_of_the_card_and_again_after_a_replug() {
    let server = Server::start_for_guest();
    let mut guest = board::boot_playing("speaker", &server, "");
    let judge = speak(&server, "guest-speaker");
    hears_itself(&judge, 0);
    guest.type_line("echo snd_aloop.0 > /sys/bus/platform/drivers/snd_aloop/unbind");
    guest.wait_console("device speaker: lost", SLOW);
    guest.wait_console("device microphone: lost", SLOW);
    let mark = judge.mark();
    judge.wait_from(mark, "silence", SLOW, |e| e.name() == "second" && e.number("audio", "pitch_hz") == 0.0);
    let mark = judge.mark();
    guest.type_line("echo snd_aloop.0 > /sys/bus/platform/drivers/snd_aloop/bind");
    hears_itself(&judge, mark);
}

#[test]
fn a_card_clock_that_is_1000_ppm_off_runs_the_speaker_neither_dry_nor_full() {
    let server = Server::start_for_guest();
    let seconds = if std::env::var_os("SOAK").is_some() { WATCH_SOAK } else { WATCH };
    // More is slower.
    for shift in [100_100, 99_900] {
        let name = format!("clock-{shift}");
        let mut guest = board::boot_playing(&name, &server, &shift_clock(shift));
        let judge = speak(&server, &name);
        hears_itself(&judge, 0);
        let first = Reading::settled(&mut guest);
        let readings: Vec<_> = (0..seconds.div_ceil(FRESH_S)).map(|_| Reading::take(&mut guest)).collect();
        let last = readings[readings.len() - 1];
        let levels: Vec<_> = readings.iter().map(|reading| reading.buffer_us).collect();
        println!("{shift}: {seconds} s, means of a second, us: {levels:?}");
        assert!(last.played > first.played + 50.0 * f64::from(seconds), "{first:?} {last:?}");
        assert!(last.dry - first.dry <= LATE_A_MINUTE * f64::from(seconds) / 60.0, "{first:?} {last:?}");
        assert_eq!(last.skipped, first.skipped, "{first:?} {last:?}");
        for judged in levels.rchunks_exact(JUDGED) {
            let middle = median(judged);
            assert!((middle - TARGET_US).abs() < TOLERANCE_US, "a median of {middle} in {levels:?}");
        }
    }
}

fn median(levels: &[f64]) -> f64 {
    let mut sorted = levels.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}

/// Somebody whose tone the board plays, and who hears what the board hears.
fn speak(server: &Server, room: &str) -> Judge {
    let mut judge = Judge::join(server, room, "judge");
    judge.command("publish_tone", json!({"hz": 660}));
    server.api().dispatch(room, AGENT, "");
    judge
}

fn hears_itself(judge: &Judge, mark: usize) {
    judge.wait_from(mark, "its own tone from the card", SLOW, |e| {
        e.name() == "second" && (e.number("audio", "pitch_hz") - 660.0).abs() < 3.0
    });
}

/// Both ends of the first subdevice: the card goes on at the pace of its faster one.
fn shift_clock(shift: u32) -> String {
    let set = |device| {
        format!(
            "amixer -q -c Loopback cset iface=PCM,name='PCM Rate Shift 100000',device={device},subdevice=0 {shift}\n"
        )
    };
    [0, 1].map(set).concat()
}

/// What the worker says of its speaker.
#[derive(Clone, Copy, Debug)]
struct Reading {
    played: f64,
    dry: f64,
    skipped: f64,
    buffer_us: f64,
}

impl Reading {
    /// The first one from which the level is kept.
    fn settled(guest: &mut Guest) -> Self {
        let kept = |reading: &Self| (reading.buffer_us - TARGET_US).abs() < TOLERANCE_US;
        let mut readings = (0..SETTLE).map(|_| Self::take(guest));
        readings.find(kept).unwrap_or_else(|| panic!("not settled after {SETTLE} readings"))
    }

    /// Asks after a while, so that each answer is a new one.
    fn take(guest: &mut Guest) -> Self {
        static TURN: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let turn = TURN.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        // In two parts, as the console shows what is typed, too.
        guest.type_line(&format!(
            "sleep {FRESH_S}; echo 'rea''ding{turn}:' $(wget -qO- http://127.0.0.1:8081/metrics | \
             sed -n 's/^firmware_worker_\\(device_captured_total\\|speaker_[a-z_]*\\){{device=\"speaker\"}} //p')"
        ));
        let text = guest.wait_console(&format!("reading{turn}: "), SLOW + Duration::from_secs(FRESH_S.into()));
        let numbers: Vec<f64> = text.trim().split(' ').filter_map(|word| word.parse().ok()).collect();
        let [played, dry, skipped, buffer_us] = numbers[..] else { panic!("four numbers in {text:?}") };
        Self { played, dry, skipped, buffer_us }
    }
}
