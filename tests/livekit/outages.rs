//! Connections that break and servers that go away.

use crate::SOON;
use rustix::process::Signal;
use serde_json::json;
use std::time::{Duration, Instant};
use tests::worker::{AGENT, Setup};
use tests::{Judge, Proxy, Server, poll, process, procfs};

/// From a server's start until all jobs are back; it takes a fraction of it.
const BACK: Duration = Duration::from_secs(3);

/// Longer than a job's room waits for a packet of its server, and shorter than the supervisor for a pong.
const STOOD: Duration = Duration::from_secs(6);

/// Full reconnects in a row, at each of which the server may take the job for ended (livekit#4887);
/// `tools/test soak full_reconnects` makes a hundred.
const REJOINS: usize = 10;
const REJOINS_SOAK: usize = 100;

#[test]
fn a_cut_signal_connection_is_resumed_without_a_gap() {
    let server = Server::start();
    let proxy = Proxy::start(server.address());
    let _worker = Setup::with_url(&proxy.url()).start();
    server.api().dispatch("studio", AGENT, "");
    let judge = Judge::join(&server, "studio", "judge");
    judge.sees_and_hears(0, 13.0, SOON);
    for _ in 0..3 {
        let before = proxy.accepted();
        let mark = judge.mark();
        assert_eq!(proxy.cut("/rtc"), 1);
        poll::until("the job is back", SOON, || (proxy.accepted() > before).then_some(()));
        let second = judge.sees_and_hears(mark + 2, 13.0, SOON);
        let (sound, picture) = (second.number("audio", "max_gap_ms"), second.number("video", "max_gap_ms"));
        assert!(sound < 500.0 && picture < 1000.0, "gaps: {sound} ms of sound, {picture} ms of picture");
    }
    assert!(!judge.events().iter().any(|event| event.name() == "participant_left"));
}

/// The server may remove the participant before it can be resumed, and then says that the job is over (livekit#4887).
#[test]
fn a_job_whose_signal_connection_is_away_rejoins_for_its_worker_until_it_is_resumed() {
    let server = Server::start();
    let proxy = Proxy::start(server.address());
    let worker = Setup::with_url(&proxy.url()).start();
    server.api().dispatch("studio", AGENT, "");
    let judge = Judge::join(&server, "studio", "judge");
    judge.sees_and_hears(0, 13.0, SOON);
    let is = |state| (worker.state()["jobs"][0]["state"] == state).then_some(());
    proxy.refuse(true);
    assert_eq!(proxy.cut("/rtc"), 1);
    poll::until("the job rejoins", SOON, || is("rejoining"));
    proxy.refuse(false);
    poll::until("the job is back", SOON, || is("running"));
    assert_eq!(worker.metric("firmware_worker_job_rejoins_total"), 0.0, "it was resumed");
    assert!(!judge.events().iter().any(|event| event.name() == "participant_left"));
}

#[test]
fn a_job_that_stood_still_as_its_board_may_does_not_take_its_server_for_gone() {
    let server = Server::start();
    let worker = Setup::new(&server).start();
    server.api().dispatch("studio", AGENT, "");
    let judge = Judge::join(&server, "studio", "judge");
    judge.sees_and_hears(0, 13.0, SOON);
    let job = worker.started("studio").1;
    // Who wakes it first when it goes on is left to chance.
    for _ in 0..3 {
        process::kill(job, Signal::STOP);
        let stopped = poll::monotonic();
        poll::until("its time", 2 * STOOD, || (poll::monotonic() - stopped > STOOD.as_secs_f64()).then_some(()));
        process::kill(job, Signal::CONT);
        let mark = judge.mark();
        judge.sees_and_hears(mark, 13.0, SOON);
    }
    assert_eq!(worker.metric("firmware_worker_job_resumes_total"), 0.0, "the server's packets waited to be read");
    assert!(!judge.events().iter().any(|event| event.name() == "participant_left"));
}

#[test]
fn jobs_go_on_while_the_worker_reconnects() {
    let server = Server::start();
    let proxy = Proxy::start(server.address());
    let mut worker = Setup::with_url(&proxy.url()).start();
    server.api().dispatch("studio", AGENT, "");
    let judge = Judge::join(&server, "studio", "judge");
    judge.sees_and_hears(0, 13.0, SOON);
    let mark = judge.mark();
    assert_eq!(proxy.cut("/agent"), 1);
    poll::until("the worker saw the cut", SOON, || (!worker.ready() || proxy.accepted() > 2).then_some(()));
    worker.wait_ready();
    judge.sees_and_hears(mark + 2, 13.0, SOON);
    server.api().dispatch("other", AGENT, "");
    Judge::join(&server, "other", "judge").sees_and_hears(0, 13.0, SOON);
    assert!(!judge.events().iter().any(|event| event.name() == "participant_left"));
}

#[test]
fn jobs_are_back_in_their_rooms_after_a_server_restart() {
    let mut server = Server::start();
    let mut worker = Setup::new(&server).start();
    let rooms = ["first", "second"];
    for room in rooms {
        server.api().dispatch(room, AGENT, "");
        poll::until("the board is in", SOON, || (server.api().identities(room).len() == 1).then_some(()));
    }
    server.restart();
    let listens = Instant::now();
    for room in rooms {
        poll::until("the board is back", SOON, || (server.api().identities(room).len() == 1).then_some(()));
    }
    let back = listens.elapsed();
    eprintln!("jobs back {back:.1?} after the server listened");
    assert!(back < BACK, "{back:?}");
    worker.wait_ready();
    for room in rooms {
        Judge::join(&server, room, "judge").sees_and_hears(0, 13.0, SOON);
        assert_eq!(server.api().identities(room).len(), 2, "one board and the judge");
    }
}

#[test]
fn an_automatic_job_is_back_once_after_a_server_restart() {
    let mut server = Server::start();
    let mut worker = Setup::new(&server).agent("").start();
    let rooms = ["first", "second"];
    let identities = rooms.map(|room| {
        server.api().create_room(room, json!({}));
        poll::until("the board is in", SOON, || server.api().identities(room).first().cloned())
    });
    server.restart();
    let listens = Instant::now();
    for (room, identity) in rooms.iter().zip(&identities) {
        poll::until("the same job is back", SOON, || (server.api().identities(room) == [&**identity]).then_some(()));
    }
    let back = listens.elapsed();
    eprintln!("automatic jobs back {back:.1?} after the server listened");
    assert!(back < BACK, "{back:?}");
    worker.wait_ready();
    // The room that the rejoin made again was offered, and a second job would be in by now.
    Judge::join(&server, "first", "judge").sees_and_hears(0, 13.0, SOON);
    assert_eq!(server.api().identities("second"), identities[1..]);
    assert_eq!(server.api().identities("first").len(), 2, "one board and the judge");
    assert_eq!(worker.metric("lk_agents_active_job_count"), 2.0);
}

#[test]
fn full_reconnects_never_end_a_job() {
    let server = Server::start();
    let proxy = Proxy::start(server.address());
    let worker = Setup::with_url(&proxy.url()).start();
    server.api().dispatch("studio", AGENT, "");
    // Alone, and with media: before that a lost connection is not resumed.
    let session = || match &server.api().participants("studio")[..] {
        [board] if board["state"] == "ACTIVE" => Some(board["sid"].as_str()?.to_owned()),
        _ => None,
    };
    let mut sid = poll::until("the board is in", SOON, session);
    let (_, job) = worker.started("studio");
    let times = if std::env::var_os("SOAK").is_some() { REJOINS_SOAK } else { REJOINS };
    for round in 1..=times {
        worker.wait_log(&format!("media connected as {sid}"), SOON);
        proxy.deny_next("/rtc");
        assert_eq!(proxy.cut("/rtc"), 1);
        sid = poll::until(&format!("the job is back, round {round}"), SOON, || session().filter(|new| *new != sid));
    }
    assert!(procfs::alive(job), "{}", worker.log());
    assert_eq!(worker.metric("lk_agents_active_job_count"), 1.0);
    poll::until("all were full reconnects", SOON, || {
        (worker.metric("firmware_worker_job_rejoins_total") >= times as f64).then_some(())
    });
    Judge::join(&server, "studio", "judge").sees_and_hears(0, 13.0, SOON);
}

#[test]
fn a_worker_without_a_server_waits_for_it() {
    let mut server = Server::start();
    server.kill();
    let mut worker = Setup::new(&server).launch();
    worker.wait_log("refused", SOON);
    server.restart();
    worker.wait_ready();
}
