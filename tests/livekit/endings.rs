//! How jobs end: what the dispatch shows, and that nobody else notices.

use crate::SOON;
use rustix::process::Signal;
use std::collections::BTreeSet;
use std::time::{Duration, Instant};
use tests::worker::{AGENT, NO_RESTART, Setup};
use tests::{Judge, Server, poll, process, procfs};

#[test]
fn a_killed_job_is_shown_failed_with_its_signal_and_two_others_go_on() {
    let server = Server::start();
    let worker = Setup::new(&server).toml(NO_RESTART).start();
    let rooms = ["first", "second", "third"];
    let judges = rooms.map(|room| Judge::join(&server, room, "judge"));
    let mut jobs = Vec::new();
    for (room, judge) in rooms.iter().zip(&judges) {
        server.api().dispatch(room, AGENT, "");
        judge.sees_and_hears(0, 13.0, SOON);
        jobs.push(worker.started(room).1);
    }
    let marks = judges.each_ref().map(Judge::mark);
    let killed = poll::monotonic();
    process::kill(jobs[1], Signal::KILL);
    let left = judges[1].event("participant_left", Duration::from_secs(10)).at() - killed;
    eprintln!("participant gone {:.0} ms after kill -9", left * 1000.0);
    assert!(left < 2.0, "the participant stayed for {left:.2} s");
    let end = server.job_end("second", SOON);
    assert!(end.status == "JS_FAILED" && end.error.contains("SIGKILL"), "{end:?}");
    let shown = server.api().offered("second");
    assert_eq!(shown, ["JS_RUNNING"], "a server that shows the end there is to be asked, in place of its log");
    for survivor in [0, 2] {
        let second = judges[survivor].sees_and_hears(marks[survivor], 13.0, SOON);
        let gap = second.number("audio", "max_gap_ms");
        assert!(gap < 500.0, "room {} lost sound for {gap} ms", rooms[survivor]);
    }
    assert_eq!(worker.metric("lk_agents_active_job_count"), 2.0);
}

#[test]
fn a_killed_bridge_is_started_again_and_is_seen_again_as_the_same_participant() {
    let server = Server::start();
    let worker = Setup::new(&server).start();
    server.api().dispatch("studio", AGENT, "");
    let judge = Judge::join(&server, "studio", "judge");
    judge.sees_and_hears(0, 13.0, SOON);
    let (_, job) = worker.started("studio");
    let identities = || server.api().identities("studio").into_iter().collect::<BTreeSet<_>>();
    let before = identities();
    for _ in 0..2 {
        let mark = judge.mark();
        let killed = poll::monotonic();
        process::kill(worker.started("studio").1, Signal::KILL);
        let again = judge.wait_from(mark, "video again", SOON, |event| event.name() == "first_video");
        eprintln!("video again {:.0} ms after kill -9 of the job", (again.at() - killed) * 1000.0);
        judge.sees_and_hears(judge.mark(), 13.0, SOON);
    }
    assert_ne!(worker.started("studio").1, job);
    assert_eq!(identities(), before);
    assert_eq!(worker.metric("lk_agents_active_job_count"), 1.0);
    // The server took the ends of its dead participants for those of the job; that must not end it later either.
    assert_eq!(worker.metric("firmware_worker_jobs_failed_total"), 0.0);
}

#[test]
fn a_second_sigterm_ends_jobs_with_success_before_they_leave() {
    let server = Server::start();
    let mut worker = Setup::new(&server).start();
    server.api().dispatch("studio", AGENT, "");
    let judge = Judge::join(&server, "studio", "judge");
    judge.sees_and_hears(0, 13.0, SOON);
    worker.signal(Signal::TERM);
    worker.wait_log("drain", SOON);
    worker.signal(Signal::TERM);
    worker.wait(SOON);
    judge.event("participant_left", SOON);
    let end = server.job_end("studio", SOON);
    assert_eq!((end.status.as_str(), end.error.as_str()), ("JS_SUCCESS", ""));
}

#[test]
fn a_draining_worker_takes_nothing_new_and_exits_when_its_last_job_ends() {
    let server = Server::start();
    let mut worker = Setup::new(&server).start();
    server.api().dispatch("studio", AGENT, "");
    let judge = Judge::join(&server, "studio", "judge");
    judge.sees_and_hears(0, 13.0, SOON);
    worker.signal(Signal::TERM);
    worker.wait_log("drain", SOON);
    let mark = judge.mark();
    server.api().dispatch("late", AGENT, "");
    judge.sees_and_hears(mark, 13.0, SOON);
    assert!(server.api().identities("late").is_empty());
    server.api().delete_room("studio");
    assert!(worker.wait(SOON).success(), "{}", worker.log());
}

#[test]
fn a_deleted_dispatch_ends_its_job_and_the_worker_takes_the_next() {
    let server = Server::start();
    let worker = Setup::new(&server).start();
    let dispatch = server.api().dispatch("studio", AGENT, "");
    let judge = Judge::join(&server, "studio", "judge");
    judge.sees_and_hears(0, 13.0, SOON);
    let (_, job) = worker.started("studio");
    server.api().delete_dispatch("studio", &dispatch);
    judge.event("participant_left", SOON);
    poll::until("the job's process has ended", SOON, || (!procfs::alive(job)).then_some(()));
    let mark = judge.mark();
    server.api().dispatch("studio", AGENT, "");
    judge.sees_and_hears(mark, 13.0, SOON);
}

#[test]
fn a_removed_participant_ends_its_job_and_does_not_come_back() {
    let server = Server::start();
    let worker = Setup::new(&server).start();
    server.api().dispatch("studio", AGENT, "");
    let judge = Judge::join(&server, "studio", "judge");
    let board = judge.event("participant_joined", SOON).text("identity").to_owned();
    judge.sees_and_hears(0, 13.0, SOON);
    server.api().remove("studio", &board);
    judge.event("participant_left", SOON);
    poll::until("the worker is idle", SOON, || (worker.metric("lk_agents_active_job_count") == 0.0).then_some(()));
    assert_eq!(server.api().identities("studio"), ["judge"]);
    assert_eq!(worker.metric("firmware_worker_jobs_succeeded_total"), 1.0);
}

#[test]
fn a_deleted_room_is_not_made_again_by_its_job() {
    let server = Server::start();
    let worker = Setup::new(&server).start();
    server.api().dispatch("studio", AGENT, "");
    let judge = Judge::join(&server, "studio", "judge");
    judge.sees_and_hears(0, 13.0, SOON);
    server.api().delete_room("studio");
    poll::until("the worker is idle", SOON, || (worker.metric("lk_agents_active_job_count") == 0.0).then_some(()));
    assert!(server.api().rooms().is_empty());
    assert_eq!(worker.metric("firmware_worker_jobs_succeeded_total"), 1.0);
}

#[test]
fn a_killed_supervisor_leaves_no_process_and_no_participant() {
    let server = Server::start();
    let mut worker = Setup::new(&server).start();
    server.api().dispatch("studio", AGENT, "");
    let judge = Judge::join(&server, "studio", "judge");
    judge.sees_and_hears(0, 13.0, SOON);
    let children = procfs::descendants(worker.pid());
    let killed = (Instant::now(), poll::monotonic());
    worker.signal(Signal::KILL);
    worker.wait(SOON);
    poll::until("all children are gone", SOON, || (!children.iter().any(|&pid| procfs::alive(pid))).then_some(()));
    let gone = killed.0.elapsed();
    let left = judge.event("participant_left", SOON).at() - killed.1;
    eprintln!("children gone {gone:.0?}, participant {:.0} ms after kill -9 of the supervisor", left * 1000.0);
    assert!(gone < Duration::from_secs(2), "children lived for {gone:?}");
    assert!(left < 3.0, "the participant stayed for {left:.2} s");
}

#[test]
fn a_worker_that_was_killed_resumes_its_job_when_it_is_started_again() {
    let server = Server::start();
    let setup = Setup::new(&server);
    let mut worker = setup.clone().start();
    server.api().dispatch("studio", AGENT, "");
    let judge = Judge::join(&server, "studio", "judge");
    judge.sees_and_hears(0, 13.0, SOON);
    let board = judge.event("participant_joined", SOON).text("identity").to_owned();
    let mark = judge.mark();
    let killed = poll::monotonic();
    worker.signal(Signal::KILL);
    worker.wait(SOON);
    judge.event("participant_left", SOON);
    worker.again(&setup);
    let again = judge.wait_from(mark, "video again", SOON, |event| event.name() == "first_video");
    eprintln!("video again {:.0} ms after kill -9 of the supervisor", (again.at() - killed) * 1000.0);
    assert_eq!(again.text("identity"), board);
    worker.wait_ready();
    judge.sees_and_hears(judge.mark(), 13.0, SOON);
    assert_eq!(worker.state()["active_jobs"], 1);
    server.api().delete_room("studio");
    poll::until("the worker is idle", SOON, || (worker.metric("lk_agents_active_job_count") == 0.0).then_some(()));
}

#[test]
fn an_orderly_end_leaves_nothing_to_resume() {
    let server = Server::start();
    let setup = Setup::new(&server);
    let mut worker = setup.clone().start();
    server.api().dispatch("studio", AGENT, "");
    let judge = Judge::join(&server, "studio", "judge");
    judge.sees_and_hears(0, 13.0, SOON);
    worker.signal(Signal::TERM);
    worker.wait_log("drain", SOON);
    worker.signal(Signal::TERM);
    worker.wait(SOON);
    worker.again(&setup);
    worker.wait_ready();
    assert_eq!(worker.state()["active_jobs"], 0);
    assert_eq!(worker.metric("firmware_worker_jobs_started_total"), 0.0);
}

#[test]
fn a_job_whose_identity_joins_elsewhere_fails_and_does_not_fight_for_it() {
    let server = Server::start();
    let worker = Setup::new(&server).start();
    server.api().dispatch("studio", AGENT, "");
    let judge = Judge::join(&server, "studio", "judge");
    let board = judge.event("participant_joined", SOON).text("identity").to_owned();
    judge.sees_and_hears(0, 13.0, SOON);
    let rival = Judge::join(&server, "studio", &board);
    poll::until("the worker is idle", SOON, || (worker.metric("lk_agents_active_job_count") == 0.0).then_some(()));
    worker.wait_log("identity", SOON);
    assert_eq!(server.api().identities("studio").len(), 2);
    assert!(!rival.events().iter().any(|event| event.name() == "disconnected"));
}
