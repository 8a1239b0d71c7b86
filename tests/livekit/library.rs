//! Custom participants on the library, well-behaved and not.

use crate::SOON;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::time::Duration;
use tests::worker::{AGENT, Setup, Worker};
use tests::{Judge, Server, paths, poll};

#[test]
fn a_job_knows_its_metadata_attributes_and_what_was_prewarmed() {
    let (server, _worker) = start();
    let judge = Judge::join(&server, "studio", "judge");
    let request = json!({"room": "studio", "agentName": AGENT, "metadata": "tell me", "attributes": {"a": "b"}});
    server.api().dispatch_with("studio", request);
    let data = judge.event("data", SOON);
    assert_eq!(data.text("topic"), "facts");
    let facts: Value = serde_json::from_str(data.text("text")).unwrap();
    let wanted = json!({
        "metadata": "tell me", "attributes": {"a": "b"}, "agent_name": AGENT, "room": "studio", "listener": "judge",
        "prewarmed": "warm",
    });
    assert_eq!(facts, wanted);
}

/// A picture that this machine was too busy to show in time is not the entrypoint's doing, and does not come each time.
const WATCHES: usize = 3;

/// Longest gap of sound and of picture, ms.
const GAP: f64 = 200.0;

/// That of picture on a machine where an entrypoint that does nothing has one over [`GAP`] too.
const BUSY_GAP: f64 = 400.0;

#[test]
fn an_entrypoint_that_blocks_does_not_disturb_its_room() {
    let (server, _worker) = start();
    let watches = (0..WATCHES).map(|n| gaps(&server, &format!("studio-{n}"), "block 20"));
    let disturbed: Vec<_> = watches.take_while(|(sound, picture)| *sound >= GAP || *picture >= GAP).collect();
    eprintln!("gaps of sound and picture over {GAP} ms: {disturbed:?}");
    if disturbed.len() == WATCHES {
        let control = gaps(&server, "control", "block 0");
        let bearable = disturbed.iter().any(|(sound, picture)| *sound < GAP && *picture < BUSY_GAP);
        assert!(control.1 >= GAP && bearable, "gaps in ms each time: {disturbed:?}, and without blocking {control:?}");
    }
}

/// The longest of sound and of picture in 18 s beside an entrypoint, ms.
fn gaps(server: &Server, room: &str, entrypoint: &str) -> (f64, f64) {
    let judge = Judge::join(server, room, "judge");
    let dispatch = server.api().dispatch(room, AGENT, entrypoint);
    judge.sees_and_hears(0, 13.0, SOON);
    let blocked = judge.mark();
    let end = Duration::from_secs(30);
    let last = judge.wait_from(blocked, "18 s of sound", end, |event| event.number("audio", "heard_s") > 18.0);
    server.api().delete_dispatch(room, &dispatch);
    (last.number("audio", "max_gap_ms"), last.number("video", "max_gap_ms"))
}

#[test]
fn an_entrypoint_blocked_for_too_long_fails_its_job() {
    let server = Server::start();
    let setup = Setup::new(&server).binary(participant()).toml("[worker]\nunresponsive_timeout_s = 4\n");
    let _worker = setup.start();
    server.api().dispatch("studio", AGENT, "block 600");
    let end = server.job_end("studio", Duration::from_secs(30));
    assert!(end.status == "JS_FAILED" && end.error.contains("entrypoint blocked"), "{end:?}");
}

#[test]
fn a_panic_in_a_spawned_task_fails_the_job_with_text_and_place() {
    assert_fails("panic", &["the shutter broke", "tests/participant/main.rs:"]);
}

#[test]
fn an_error_of_the_entrypoint_fails_the_job_with_its_text() {
    assert_fails("fail", &["the lens cap is on"]);
}

#[test]
fn a_job_that_shuts_itself_down_is_shown_as_success() {
    let (server, _worker) = start();
    server.api().dispatch("studio", AGENT, "finish");
    assert_eq!(server.job_end("studio", SOON).status, "JS_SUCCESS");
}

#[test]
fn a_shutdown_hook_runs_while_the_job_is_still_in_its_room() {
    let (server, _worker) = start();
    let judge = Judge::join(&server, "studio", "judge");
    let dispatch = server.api().dispatch("studio", AGENT, "farewell");
    judge.sees_and_hears(0, 13.0, SOON);
    server.api().delete_dispatch("studio", &dispatch);
    let data = judge.event("data", SOON);
    assert_eq!(data.text("topic"), "farewell");
    judge.event("participant_left", SOON);
}

#[test]
fn pictures_and_sound_of_the_users_own_are_in_the_room_until_their_writers_are_dropped() {
    let (server, _worker) = start();
    let judge = Judge::join(&server, "studio", "judge");
    server.api().dispatch("studio", AGENT, "draw 8");
    judge.sees_and_hears(0, 13.0, SOON);
    let ended = || judge.events().iter().filter(|event| event.name() == "track_unsubscribed").count();
    poll::until("both tracks are taken back", SOON, || (ended() == 2).then_some(()));
    assert_eq!(server.api().identities("studio").len(), 2, "the job goes on without them");
}

#[test]
fn the_level_meter_of_the_examples_tells_how_loud_a_participant_is() {
    let server = Server::start();
    let _worker = Setup::new(&server).binary(paths::example("level_meter")).start();
    let mut judge = Judge::join(&server, "studio", "judge");
    // A sine at -20 dBFS.
    judge.command("publish_tone", json!({"hz": 500}));
    server.api().dispatch("studio", AGENT, "");
    let told = judge.wait("the level of its tone", SOON, |event| {
        let level: Value = serde_json::from_str(event.text("text")).unwrap_or_default();
        let is_right = level["dbfs"].as_f64().is_some_and(|dbfs| (dbfs + 20.0).abs() < 1.0);
        event.text("topic") == "level" && level["identity"] == "judge" && is_right
    });
    assert_eq!(told.field("reliable"), false);
}

#[test]
fn on_request_names_the_participant() {
    let (server, _worker) = start();
    let judge = Judge::join(&server, "studio", "judge");
    server.api().dispatch("studio", AGENT, "named");
    let board = judge.event("participant_joined", SOON);
    let told = ["identity", "name", "metadata"].map(|field| board.text(field));
    assert_eq!(told, ["front-door", "Front door", "porch"]);
    assert_eq!(board.field("attributes")["floor"], "0");
}

#[test]
fn an_offer_that_is_declined_or_never_answered_goes_to_another_worker() {
    let (server, _worker) = start();
    let judges = ["decline", "ponder", "stumble"].map(|act| (act, Judge::join(&server, act, "judge")));
    let _other = Setup::new(&server).start();
    for (act, judge) in &judges {
        server.api().dispatch(act, AGENT, act);
        judge.sees_and_hears(0, 13.0, SOON);
    }
}

#[test]
fn a_forbidden_job_is_over_for_the_server_too() {
    let (server, _worker) = start();
    server.api().dispatch("studio", AGENT, "forbid");
    poll::until("the offer is answered", SOON, || server.api().offered("studio").pop().filter(|s| s == "JS_SUCCESS"));
    assert!(server.api().identities("studio").is_empty());
}

fn assert_fails(act: &str, words: &[&str]) {
    let (server, _worker) = start();
    server.api().dispatch("studio", AGENT, act);
    let end = server.job_end("studio", SOON);
    assert!(end.status == "JS_FAILED" && words.iter().all(|word| end.error.contains(word)), "{end:?}");
}

fn start() -> (Server, Worker) {
    let server = Server::start();
    let worker = Setup::new(&server).binary(participant()).start();
    (server, worker)
}

fn participant() -> PathBuf {
    env!("CARGO_BIN_EXE_participant").into()
}
