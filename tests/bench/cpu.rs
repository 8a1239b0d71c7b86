//! CPU time of an idle worker and of a job.

use crate::Repeats;
use crate::memory::{quiet, without_owners};
use crate::table::{Bench, Row};
use std::time::Duration;
use tests::worker::AGENT;
use tests::{Judge, Server, procfs};

const IDLE: &str = "worker idle, registered, no job, CPU per minute";
const JOB: &str = "job CPU, 720p30 at 2 Mbit/s + Opus, encoder not counted, per second";

const MINUTE: Duration = Duration::from_secs(60);
const WINDOW_S: u64 = 20;
const SOON: Duration = Duration::from_secs(20);

pub fn benches() -> Vec<Bench> {
    vec![Bench { rows: &[IDLE], measure: idle }, Bench { rows: &[JOB], measure: job }]
}

fn idle(_: Repeats) -> Vec<Row> {
    let server = Server::start();
    let worker = quiet(&server).start();
    std::thread::sleep(Duration::from_secs(5));
    let used = |worker| without_owners(worker).into_iter().map(procfs::cpu_ms).sum::<u64>();
    let before = used(&worker);
    std::thread::sleep(MINUTE);
    vec![Row::new(IDLE, "ms", "1000").must("", used(&worker).saturating_sub(before) as f64, 20.0)]
}

fn job(_: Repeats) -> Vec<Row> {
    let server = Server::start();
    let worker = quiet(&server).start();
    let judge = Judge::join(&server, "bench", "judge");
    server.api().dispatch("bench", AGENT, "");
    judge.sees_and_hears(0, 28.0, SOON);
    let (_, job) = worker.started("bench");
    let before = procfs::cpu_ms(job);
    std::thread::sleep(Duration::from_secs(WINDOW_S));
    let used = procfs::cpu_ms(job) - before;
    let rate =
        judge.wait_from(judge.mark(), "a second", SOON, |event| event.name() == "second").number("video", "kbit_s");
    let row = Row::new(JOB, "ms", "116-120, already encoded").must("", used as f64 / WINDOW_S as f64, 20.0);
    vec![row.report("at kbit/s", rate)]
}
