//! How fast what died is gone, and how large the binary is.

use crate::Repeats;
use crate::memory::quiet;
use crate::table::{Bench, Row, percentile};
use rustix::process::Signal;
use std::time::Duration;
use tests::worker::{AGENT, NO_RESTART};
use tests::{Judge, Server, paths, poll, process, procfs};

const JOB: &str = "kill -9 of a job -> its participant gone from the room, p95";
const RESTART: &str = "kill -9 of a job of the bridge, restarted -> video again at the subscriber, largest";
const SLOT: &str = "kill -9 of a job -> slot free, status at the server, leaf removed, p95";
const TERMINATION: &str = "termination of a job, by the end of its dispatch -> its process gone, p95";
const STUCK: &str = "stop of a job that stands still -> its process gone, beyond the shutdown timeout, largest";
const SUPERVISOR: &str = "kill -9 of the supervisor -> children gone; participants gone";
const BINARY: &str = "aarch64 binary, stripped";

const SOON: Duration = Duration::from_secs(40);

pub fn benches() -> Vec<Bench> {
    vec![
        Bench { rows: &[JOB, SLOT], measure: job },
        Bench { rows: &[RESTART], measure: restart },
        Bench { rows: &[TERMINATION], measure: termination },
        Bench { rows: &[STUCK], measure: stuck },
        Bench { rows: &[SUPERVISOR], measure: supervisor },
        Bench { rows: &[BINARY], measure: binary },
    ]
}

fn job(repeats: Repeats) -> Vec<Row> {
    let server = Server::start();
    let worker = quiet(&server).toml(NO_RESTART).start();
    let (left, over): (Vec<_>, Vec<_>) = (0..repeats.kills)
        .map(|number| {
            let room = format!("kill-{number}");
            let judge = Judge::join(&server, &room, "judge");
            server.api().dispatch(&room, AGENT, "");
            judge.event("first_video", SOON);
            let (_, pid) = worker.started(&room);
            let leaf = procfs::leaf(pid).expect("a cgroup v2 hierarchy in which we may make leaves");
            let killed = poll::monotonic();
            process::kill(pid, Signal::KILL);
            assert_eq!(server.job_end(&room, SOON).error, "killed by signal 9 (SIGKILL)");
            poll::until("the leaf is removed", SOON, || (!leaf.exists()).then_some(()));
            poll::until("the slot is free", SOON, || (worker.state()["active_jobs"] == 0).then_some(()));
            let over = poll::monotonic() - killed;
            ((judge.event("participant_left", SOON).at() - killed) * 1000.0, over * 1000.0)
        })
        .unzip();
    let row = |title, peers, limit, times: &[f64]| {
        Row::new(title, "ms", peers).must("", percentile(times, 95), limit).report("p50", percentile(times, 50))
    };
    vec![row(JOB, "21900", 500.0, &left), row(SLOT, "-", 100.0, &over)]
}

fn restart(repeats: Repeats) -> Vec<Row> {
    let server = Server::start();
    let worker = quiet(&server).start();
    let times: Vec<_> = (0..repeats.kills)
        .map(|number| {
            let room = format!("again-{number}");
            let judge = Judge::join(&server, &room, "judge");
            server.api().dispatch(&room, AGENT, "");
            judge.event("first_video", SOON);
            let (mark, killed) = (judge.mark(), poll::monotonic());
            process::kill(worker.started(&room).1, Signal::KILL);
            let again = judge.wait_from(mark, "video again", SOON, |event| event.name() == "first_video");
            server.api().delete_room(&room);
            (again.at() - killed) * 1000.0
        })
        .collect();
    let largest = times.iter().copied().fold(0.0, f64::max);
    vec![Row::new(RESTART, "ms", "never").must("", largest, 1500.0).report("p50", percentile(&times, 50))]
}

fn termination(repeats: Repeats) -> Vec<Row> {
    let server = Server::start();
    let worker = quiet(&server).start();
    let times: Vec<_> = (0..repeats.kills)
        .map(|number| {
            let room = format!("over-{number}");
            let judge = Judge::join(&server, &room, "judge");
            let dispatch = server.api().dispatch(&room, AGENT, "");
            judge.event("first_video", SOON);
            let (_, pid) = worker.started(&room);
            let asked = poll::monotonic();
            server.api().delete_dispatch(&room, &dispatch);
            poll::until("the process is gone", SOON, || (!procfs::alive(pid)).then_some(()));
            (poll::monotonic() - asked) * 1000.0
        })
        .collect();
    vec![Row::new(TERMINATION, "ms", "-").must("", percentile(&times, 95), 300.0).report("p50", percentile(&times, 50))]
}

fn stuck(repeats: Repeats) -> Vec<Row> {
    const TIMEOUT_S: u32 = 1;
    let server = Server::start();
    let worker = quiet(&server).toml(&format!("[worker]\nshutdown_timeout_s = {TIMEOUT_S}\n")).start();
    let times = (0..repeats.kills).map(|number| {
        let room = format!("stuck-{number}");
        let judge = Judge::join(&server, &room, "judge");
        server.api().dispatch(&room, AGENT, "");
        judge.event("first_video", SOON);
        let (_, pid) = worker.started(&room);
        let state = worker.state();
        let job = state["jobs"][0]["id"].as_str().expect("a job");
        process::kill(pid, Signal::STOP);
        let asked = poll::monotonic();
        // Not by the server, which thinks for seconds about the dispatch of a participant that stands still.
        assert!(worker.operator(&["jobs", "stop", job]).status.success());
        poll::until("the process is gone", SOON, || (!procfs::alive(pid)).then_some(()));
        let took = poll::monotonic() - asked;
        assert!(server.job_end(&room, SOON).error.starts_with("did not end within 1s"));
        (took - f64::from(TIMEOUT_S)) * 1000.0
    });
    vec![Row::new(STUCK, "ms", "-").must("", times.fold(0.0, f64::max), 500.0)]
}

fn supervisor(repeats: Repeats) -> Vec<Row> {
    let times: Vec<_> = (0..repeats.cold_starts).map(|_| kill_supervisor()).collect();
    let largest = |pick: fn(&(f64, f64)) -> f64| times.iter().map(pick).fold(0.0, f64::max);
    let row = Row::new(SUPERVISOR, "ms", "250 / 14000; 21900 / 14000");
    vec![row.must("", largest(|t| t.0), 300.0).must("", largest(|t| t.1), 1000.0)]
}

fn kill_supervisor() -> (f64, f64) {
    let server = Server::start();
    let mut worker = quiet(&server).start();
    let judge = Judge::join(&server, "bench", "judge");
    server.api().dispatch("bench", AGENT, "");
    judge.event("first_video", SOON);
    let children = procfs::descendants(worker.pid());
    let killed = poll::monotonic();
    worker.signal(Signal::KILL);
    worker.wait(SOON);
    poll::until("all children are gone", SOON, || (!children.iter().any(|&pid| procfs::alive(pid))).then_some(()));
    let gone = poll::monotonic() - killed;
    (gone * 1000.0, (judge.event("participant_left", SOON).at() - killed) * 1000.0)
}

fn binary(_: Repeats) -> Vec<Row> {
    let size = std::fs::metadata(paths::guest_worker()).map_or(f64::INFINITY, |file| file.len() as f64);
    vec![Row::new(BINARY, "MB", "290-394 installed").must("", size / 1e6, 8.0)]
}
