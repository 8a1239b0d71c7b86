//! Which jobs come, and what they carry.

use crate::SOON;
use rustix::process::Signal;
use serde_json::json;
use tests::worker::{AGENT, Setup};
use tests::{Judge, Server, poll};

#[test]
fn a_dispatched_job_carries_its_agent_name_and_joins_as_an_agent() {
    let server = Server::start();
    let _worker = Setup::new(&server).start();
    let request = json!({"room": "studio", "agentName": AGENT, "metadata": "{\"lens\":2}", "attributes": {"a": "b"}});
    server.api().dispatch_with("studio", request);
    let judge = Judge::join(&server, "studio", "judge");
    let board = judge.event("participant_joined", SOON);
    assert_eq!(board.text("kind"), "PARTICIPANT_KIND_AGENT");
    assert_eq!(board.field("attributes")["lk.agent_name"], AGENT);
    assert!(board.text("identity").starts_with("agent-AJ_"), "{board:?}");
}

#[test]
fn connect_joins_a_room_without_dispatch_by_a_token_that_it_makes_itself() {
    let server = Server::start();
    let judge = Judge::join(&server, "studio", "judge");
    let mut worker = Setup::new(&server).connect("studio");
    let board = judge.event("participant_joined", SOON);
    assert!(board.text("identity").starts_with("firmware-worker"), "{board:?}");
    judge.sees_and_hears(0, 13.0, SOON);
    worker.signal(Signal::TERM);
    judge.event("participant_left", SOON);
    assert!(worker.wait(SOON).success(), "{}", worker.log());
}

#[test]
fn a_dispatch_for_another_name_is_not_ours() {
    let server = Server::start();
    let worker = Setup::new(&server).start();
    server.api().dispatch("studio", "somebody-else", "");
    server.api().dispatch("marker", AGENT, "");
    Judge::join(&server, "marker", "judge").sees_and_hears(0, 13.0, SOON);
    assert!(server.api().identities("studio").is_empty());
    assert_eq!(worker.metric("lk_agents_active_job_count"), 1.0);
}

#[test]
fn a_worker_without_a_name_joins_every_new_room_once() {
    let server = Server::start();
    let worker = Setup::new(&server).agent("").start();
    let judge = Judge::join(&server, "studio", "judge");
    judge.sees_and_hears(0, 13.0, SOON);
    let _second = Judge::join(&server, "studio", "second");
    assert_eq!(server.api().identities("studio").len(), 3);
    assert_eq!(worker.metric("lk_agents_active_job_count"), 1.0);
}

#[test]
fn a_publisher_worker_gets_one_job_for_each_participant_that_publishes() {
    let server = Server::start();
    let worker = Setup::new(&server).agent("").toml("[worker]\njob_type = \"publisher\"\n").start();
    let mut judge = Judge::join(&server, "studio", "judge");
    let _silent = Judge::join(&server, "studio", "silent");
    judge.command("publish_tone", json!({"hz": 500}));
    judge.sees_and_hears(0, 13.0, SOON);
    judge.command("unpublish", json!({}));
    judge.command("publish_tone", json!({"hz": 600}));
    judge.wait_from(judge.mark(), "the second tone is out", SOON, |event| event.name() == "did");
    let mark = judge.mark();
    judge.sees_and_hears(mark, 13.0, SOON);
    assert_eq!(worker.metric("lk_agents_active_job_count"), 1.0);
}

#[test]
fn a_participant_worker_gets_one_job_for_each_participant() {
    let server = Server::start();
    let worker = Setup::new(&server).agent("").toml("[worker]\njob_type = \"participant\"\n").start();
    let first = Judge::join(&server, "studio", "first");
    first.sees_and_hears(0, 13.0, SOON);
    let second = Judge::join(&server, "studio", "second");
    second.sees_and_hears(0, 13.0, SOON);
    let active = || worker.metric("lk_agents_active_job_count");
    poll::until("two jobs run", SOON, || (active() == 2.0).then_some(()));
    let mark = second.mark();
    second.sees_and_hears(mark, 13.0, SOON);
    assert_eq!(active(), 2.0);
}

#[test]
fn a_full_worker_leaves_the_job_to_another() {
    let server = Server::start();
    let small = Setup::new(&server).toml("[worker]\nmax_jobs = 1\n").start();
    server.api().dispatch("first", AGENT, "");
    Judge::join(&server, "first", "judge").sees_and_hears(0, 13.0, SOON);
    let other = Setup::new(&server).start();
    server.api().dispatch("second", AGENT, "");
    Judge::join(&server, "second", "judge").sees_and_hears(0, 13.0, SOON);
    assert_eq!(small.metric("lk_agents_active_job_count"), 1.0);
    assert_eq!(other.metric("lk_agents_active_job_count"), 1.0);
    small.signal(Signal::KILL);
}
