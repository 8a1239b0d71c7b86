//! Whether sound and picture of one board stay together. Their owners are two processes; only the clock of their stamps,
//! carried by RTP times and sender reports, brings them together.

use crate::SOON;
use std::time::Duration;
use tests::worker::{AGENT, Setup};
use tests::{Judge, Server};

/// Of flash and beep at a subscriber on the official SDK, whose jitter buffers are its own affair.
const SEEN_MS: f64 = 80.0;
/// Of their capture times as a receiver has them from packets and sender reports.
const CAPTURED_MS: f64 = 20.0;
/// What clocks that are one may drift apart in ten minutes.
const DRIFT_MS: f64 = 5.0;

fn soaks() -> bool {
    std::env::var_os("SOAK").is_some()
}

/// Seconds of flashes and beeps.
fn seconds() -> usize {
    if soaks() { 600 } else { 15 }
}

#[test]
fn the_flash_and_the_beep_of_each_second_are_seen_and_heard_together() {
    let server = Server::start();
    let _worker = Setup::new(&server).start();
    server.api().dispatch("studio", AGENT, "");
    let judge = Judge::join(&server, "studio", "judge");
    judge.sees_and_hears(0, 13.0, SOON);
    let mut offsets: Vec<f64> = Vec::new();
    for _ in 0..seconds() {
        let second = judge.wait_from(judge.mark(), "a second", SOON, |e| e.name() == "second");
        let (flash, beep) = (second.number("video", "mark"), second.number("audio", "mark"));
        // The summary may fall between the two; they are half a second apart at most.
        if flash > 0.0 && (beep - flash).abs() < 0.5 {
            offsets.push((beep - flash) * 1000.0);
        }
    }
    // Half of the bound, as whatever a jitter buffer does it may do at either end; three seconds of a busy machine are no end.
    assert_together(&offsets, SEEN_MS, if soaks() { SEEN_MS / 2.0 } else { SEEN_MS });
}

#[test]
fn capture_times_of_flash_and_beep_agree_by_rtp_times_and_sender_reports() {
    let server = Server::start();
    let _board = Setup::new(&server).start();
    let _watcher = Setup::new(&server).agent("watcher").binary(env!("CARGO_BIN_EXE_participant").into()).start();
    let judge = Judge::join(&server, "studio", "judge");
    server.api().dispatch("studio", AGENT, "");
    // The first sender reports come after some seconds.
    let watched = seconds() as u64 + 5;
    server.api().dispatch("studio", "watcher", &format!("watch {watched}"));
    let told = judge.event("data", SOON + Duration::from_secs(watched));
    let offsets: Vec<f64> = serde_json::from_str(told.text("text")).unwrap();
    assert_together(&offsets, CAPTURED_MS, DRIFT_MS);
}

/// `offsets` are those of each second in which both were perceived, in ms.
#[track_caller]
fn assert_together(offsets: &[f64], limit_ms: f64, drift_ms: f64) {
    assert!(offsets.len() > seconds() / 2, "only {} flashes had a beep", offsets.len());
    let quarter = offsets.len() / 4;
    let (all, first, last) =
        (median(offsets), median(&offsets[..quarter]), median(&offsets[offsets.len() - quarter..]));
    println!("{} beeps come {all:.1} ms after their flash, first {first:.1}, last {last:.1}", offsets.len());
    assert!(all.abs() <= limit_ms, "{all} ms between flash and beep: {offsets:?}");
    assert!((first - last).abs() <= drift_ms, "from {first} to {last} ms: {offsets:?}");
}

fn median(part: &[f64]) -> f64 {
    let mut part = part.to_vec();
    part.sort_by(f64::total_cmp);
    part[part.len() / 2]
}
