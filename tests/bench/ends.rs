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
const TERMINATION: &str = "termination of a job, by the end of its dispatch -> its process gone, p95";
const SUPERVISOR: &str = "kill -9 of the supervisor -> children gone; participants gone";
const BINARY: &str = "aarch64 binary, stripped";

const SOON: Duration = Duration::from_secs(40);

pub fn benches() -> Vec<Bench> {
    vec![
        Bench { rows: &[JOB], measure: job },
        Bench { rows: &[RESTART], measure: restart },
        Bench { rows: &[TERMINATION], measure: termination },
        Bench { rows: &[SUPERVISOR], measure: supervisor },
        Bench { rows: &[BINARY], measure: binary },
    ]
}

fn job(repeats: Repeats) -> Vec<Row> {
    let server = Server::start();
    let worker = quiet(&server).toml(NO_RESTART).start();
    let times: Vec<_> = (0..repeats.kills)
        .map(|number| {
            let room = format!("kill-{number}");
            let judge = Judge::join(&server, &room, "judge");
            server.api().dispatch(&room, AGENT, "");
            judge.event("first_video", SOON);
            let (_, pid) = worker.started(&room);
            let killed = poll::monotonic();
            process::kill(pid, Signal::KILL);
            (judge.event("participant_left", SOON).at() - killed) * 1000.0
        })
        .collect();
    vec![Row::new(JOB, "ms", "21900").must("", percentile(&times, 95), 500.0).report("p50", percentile(&times, 50))]
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
