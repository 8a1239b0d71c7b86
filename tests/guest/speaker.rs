//! The speaker of the board, played into its own microphone over the loopback card, and back to who spoke.

use super::board::{self, SLOW};
use super::limits::{NAME_LEAF, leaf_of, shared};
use hal::ring::pcm;
use serde_json::{Value, json};
use std::time::Duration;
use tests::worker::AGENT;
use tests::{Guest, Judge, Server};

/// Seconds for which each wrong clock is watched; `tools/test soak clock` takes two minutes.
const WATCH: u32 = 30;
const WATCH_SOAK: u32 = 120;

/// What the lead is kept at, and how far the mean of a second may be from it.
const TARGET_MS: f64 = 40.0;
const TOLERANCE_MS: f64 = 10.0;

#[test]
fn what_a_participant_says_comes_out_of_the_card_and_again_after_a_replug() {
    let server = Server::start_for_guest();
    let mut guest = board::boot_playing("speaker", &server);
    let judge = speak(&server, "guest-speaker");
    hears_itself(&judge, 0);
    the_ring_is_its_owners(&mut guest);
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
    let seconds = if std::env::var_os("SOAK").is_some() { WATCH_SOAK } else { WATCH };
    // More is slower.
    for shift in [100_100, 99_900] {
        let script = format!("{}{}", shift_clock(shift), bench("speaker", seconds));
        let mut guest = board::boot_alone(&format!("clock-{shift}"), &script);
        guest.wait_off(SLOW + Duration::from_secs(seconds.into()));
        let measured = measured(&guest, "lead_ms");
        println!("{shift}: {measured}");
        for failure in ["dry", "skipped", "xruns"] {
            assert_eq!(measured[failure].as_f64(), Some(0.0), "{failure} in {measured}");
        }
        let leads: Vec<f64> = serde_json::from_value(measured["lead_ms"].clone()).expect("numbers");
        assert!(leads.len() == seconds as usize, "{measured}");
        assert!(leads.iter().all(|lead| (lead - TARGET_MS).abs() < TOLERANCE_MS), "{measured}");
    }
}

/// The loopback card hands over at once and unchanged what is played to it, as it moves on: by a tick of the kernel's timer
/// of 4 ms, which in the emulation comes late.
#[test]
fn what_the_speaker_plays_is_heard_by_the_microphone_when_its_reference_says_so_and_as_loud() {
    let mut guest = board::boot_alone("echo", &bench("echo", 10));
    guest.wait_off(SLOW + Duration::from_secs(30));
    let measured = measured(&guest, "delay_ms");
    println!("{measured}");
    let numbers = |name: &str| -> Vec<f64> { serde_json::from_value(measured[name].clone()).expect("numbers") };
    let (delays, attenuations) = (numbers("delay_ms"), numbers("attenuation_db"));
    assert!(!delays.is_empty(), "{measured}");
    assert!(median(&delays).abs() < 6.0 && median(&attenuations).abs() < 1.0, "{measured}");
}

/// As one line: the console keeps a few hundred.
fn bench(what: &str, seconds: u32) -> String {
    format!("/firmware-worker bench {what} --config /worker.toml --seconds {seconds} --json | tr -d '\\n'\necho\n")
}

/// What it printed; there is a field of this name.
fn measured(guest: &Guest, field: &str) -> Value {
    let line = guest.console().find(&[field]).unwrap_or_else(|| panic!("{}", guest.console().text())).text;
    serde_json::from_str(line.trim()).unwrap_or_else(|error| panic!("{error}: {line}"))
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

/// The job has written to all of the PCM ring by now, and its cgroup pays for nothing of it.
fn the_ring_is_its_owners(guest: &mut Guest) {
    let ring = u64::from(pcm::FRAMES) * size_of::<pcm::Frame>() as u64;
    guest.type_line(NAME_LEAF);
    let (owner, job) = (shared(guest, &leaf_of("speaker")), shared(guest, "$leaf"));
    println!("shared memory: {owner} bytes of the owner, {job} of the job");
    // Linux 5.10 counts what a cgroup holds in lots of 32 pages for each processor.
    assert!(owner >= ring || board::is_oldest(), "{owner} bytes, of {ring} that its ring takes");
    assert!(job < ring, "{job} bytes of the ring, of {ring}, are charged to the job");
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
