//! Participants of jobs that died: taken out of the room, and nobody else with them.

use crate::SOON;
use rustix::process::Signal;
use std::time::{Duration, Instant};
use tests::server::{KEY, SECRET};
use tests::token::Token;
use tests::worker::{AGENT, Setup, Worker};
use tests::{Judge, Proxy, Server, poll, process, procfs};

/// The server's own timeout for a participant that fell silent is about 20 s; a sign-off takes a fraction of this.
const SIGNED_OFF: Duration = Duration::from_secs(5);

/// The identity that the test participant takes when its dispatch says `named`.
const NAMED: &str = "front-door";

#[test]
fn a_job_killed_after_its_first_token_expired_is_signed_off_with_a_newer_one() {
    let server = Server::start();
    // The server forgives a minute.
    let token = Token::join("studio", "board").valid(-600, -50).sign(KEY, SECRET);
    let expires = Instant::now() + Duration::from_secs(11);
    let setup = || {
        let keyless = Setup::new(&server).env("LIVEKIT_API_KEY", "").env("LIVEKIT_API_SECRET", "");
        keyless.env("LIVEKIT_TOKEN", &token)
    };
    let mut worker = setup().connect("studio");
    let (_, job) = worker.started("studio");
    poll::until("the board is in", SOON, || (server.api().identities("studio") == ["board"]).then_some(()));
    poll::until("the token has expired", SOON, || (Instant::now() > expires).then_some(()));
    let output = setup().run(&["connect", "--room", "studio"]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("expired"), "the first token is of no use any more");
    process::kill(job, Signal::KILL);
    poll::until("the participant is gone", SIGNED_OFF, || server.api().identities("studio").is_empty().then_some(()));
    assert_eq!(worker.wait(SOON).code(), Some(1), "the job failed");
}

#[test]
fn a_successor_elsewhere_with_the_same_identity_is_not_touched() {
    let server = Server::start();
    let (worker, job) = named(&server, "studio");
    die_unseen(&worker, job);
    let successor = Judge::join(&server, "studio", NAMED);
    let before = sid(&server, "studio");
    worker.signal(Signal::CONT);
    worker.wait_log("participant was gone already", SOON);
    assert_eq!(sid(&server, "studio"), before);
    assert!(!successor.events().iter().any(|event| event.name() == "disconnected"), "{:?}", successor.events());
}

#[test]
fn a_successor_on_the_same_board_is_not_touched() {
    let server = Server::start();
    let (worker, first) = named(&server, "studio");
    let before = sid(&server, "studio");
    // It must not notice that it was replaced: it would leave by itself.
    process::kill(first, Signal::STOP);
    server.api().dispatch("studio", AGENT, "named");
    poll::until("the second job has taken its place", SOON, || {
        (server.api().identities("studio") == [NAMED] && sid(&server, "studio") != before).then_some(())
    });
    let successor = sid(&server, "studio");
    process::kill(first, Signal::KILL);
    worker.wait_log("SIGKILL", SOON);
    assert!(!worker.log().contains("participant signed off"), "{}", worker.log());
    assert_eq!(sid(&server, "studio"), successor);
    assert_eq!(worker.metric("lk_agents_active_job_count"), 1.0);
}

/// As of a room that is deleted while its job is alive the server tells the worker.
#[test]
fn a_room_that_is_deleted_before_its_job_dies_is_not_made_again_to_sign_it_off() {
    let server = Server::start();
    let (worker, job) = named(&server, "studio");
    // It knows whose participant it is then.
    poll::until("the server has filed the job", SOON, || (!server.api().offered("studio").is_empty()).then_some(()));
    // It must not leave by itself.
    process::kill(job, Signal::STOP);
    worker.signal(Signal::STOP);
    server.api().delete_room("studio");
    assert_eq!(
        server.job_end("studio", SOON).error,
        "agent worker left the room",
        "that is what it has told the worker"
    );
    die_unseen(&worker, job);
    worker.signal(Signal::CONT);
    poll::until("the job is over", SOON, || (worker.metric("lk_agents_active_job_count") == 0.0).then_some(()));
    // By then a sign-off would have made it.
    server.api().dispatch("other", AGENT, "named");
    wait_active(&server, "other", NAMED);
    assert_eq!(server.api().rooms(), ["other"], "{}", worker.log());
}

#[test]
fn a_worker_that_is_started_again_signs_off_whom_a_dead_job_has_left_before_it_registers() {
    let server = Server::start();
    let (mut worker, job) = named(&server, "studio");
    // It must not see the end of its socket: it would leave by itself.
    process::kill(job, Signal::STOP);
    worker.signal(Signal::KILL);
    process::kill(job, Signal::KILL);
    worker.wait(SOON);
    assert_eq!(server.api().identities("studio"), [NAMED], "the server has not noticed yet");
    worker.again(&setup(&server));
    worker.wait_log("registered as", SOON);
    let log = worker.log();
    let (gone, registered) = (log.find("participant signed off"), log.find("registered as"));
    assert!(gone.is_some() && gone < registered, "{log}");
    assert!(server.api().identities("studio").is_empty());
}

#[test]
fn a_job_that_is_stopped_while_its_signal_connection_is_away_is_signed_off_and_ends_as_it_should() {
    let server = Server::start();
    let proxy = Proxy::start(server.address());
    let worker = Setup::with_url(&proxy.url()).binary(env!("CARGO_BIN_EXE_participant").into()).start();
    server.api().dispatch("studio", AGENT, "named");
    wait_active(&server, "studio", NAMED);
    let (_, job) = worker.started("studio");
    worker.wait_log("media connected as", SOON);
    proxy.refuse(true);
    assert_eq!(proxy.cut("/rtc"), 1);
    worker.wait_log("signalling lost, resuming", SOON);
    let id = worker.state()["jobs"][0]["id"].as_str().expect("there is one").to_owned();
    assert!(worker.operator(&["jobs", "stop", &id]).status.success());
    assert!(!procfs::alive(job));
    assert_eq!(server.api().identities("studio"), [NAMED], "the server has not noticed yet");
    proxy.refuse(false);
    poll::until("the participant is gone", SIGNED_OFF, || server.api().identities("studio").is_empty().then_some(()));
    let end = server.job_end("studio", SOON);
    assert_eq!((end.status.as_str(), end.error.as_str()), ("JS_SUCCESS", "stopped by an operator"));
}

/// Whose jobs are not started again.
fn setup(server: &Server) -> Setup {
    Setup::new(server).binary(env!("CARGO_BIN_EXE_participant").into())
}

/// A worker with one job in `room` as `NAMED`; the job's process.
fn named(server: &Server, room: &str) -> (Worker, u32) {
    let worker = setup(server).start();
    server.api().dispatch(room, AGENT, "named");
    wait_active(server, room, NAMED);
    let (_, job) = worker.started(room);
    (worker, job)
}

/// Waits until `identity` is in with media, alone. A participant without media is not kept when its connection breaks.
#[track_caller]
fn wait_active(server: &Server, room: &str, identity: &str) {
    let alone = || match &server.api().participants(room)[..] {
        [one] if one["identity"] == identity && one["state"] == "ACTIVE" => Some(()),
        _ => None,
    };
    poll::until("the board is in", SOON, alone);
}

/// Kills a job while its supervisor is stopped, so that something can come between the death and the sign-off.
fn die_unseen(worker: &Worker, job: u32) {
    worker.signal(Signal::STOP);
    process::kill(job, Signal::KILL);
    poll::until("the job is dead", SOON, || (!procfs::alive(job)).then_some(()));
}

/// Session of whoever is alone in the room.
#[track_caller]
fn sid(server: &Server, room: &str) -> String {
    let participants = server.api().participants(room);
    participants.first().and_then(|one| one["sid"].as_str()).unwrap_or_default().to_owned()
}
