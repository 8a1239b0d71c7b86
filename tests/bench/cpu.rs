//! CPU time of an idle worker and of a job.

use crate::Repeats;
use crate::memory::{quiet, without_owners};
use crate::table::{Bench, Row};
use std::process::Command;
use std::time::Duration;
use tests::worker::AGENT;
use tests::{Judge, Server, paths};

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
    let before = used_ms(&without_owners(&worker));
    std::thread::sleep(MINUTE);
    vec![Row::new(IDLE, "ms", "1000").must("", used_ms(&without_owners(&worker)) - before, 20.0)]
}

fn job(_: Repeats) -> Vec<Row> {
    let server = Server::start();
    let worker = quiet(&server).start();
    let judge = Judge::join(&server, "bench", "judge");
    server.api().dispatch("bench", AGENT, "");
    judge.sees_and_hears(0, 28.0, SOON);
    let (_, job) = worker.started("bench");
    let (before, mark) = (used_ms(&[job]), judge.mark());
    std::thread::sleep(Duration::from_secs(WINDOW_S));
    let used = used_ms(&[job]) - before;
    let rates: Vec<_> = judge.events()[mark..]
        .iter()
        .filter(|event| event.name() == "second")
        .map(|event| event.number("video", "kbit_s"))
        .collect();
    let row = Row::new(JOB, "ms", "116-120, already encoded").must("", used / WINDOW_S as f64, 20.0);
    vec![row.report("at kbit/s", rates.iter().sum::<f64>() / rates.len() as f64)]
}

/// CPU time that these processes have used so far, by their CPU clocks: `/proc` counts in steps of 10 ms, which is half of
/// what an idle worker may use in a minute.
fn used_ms(processes: &[u32]) -> f64 {
    const CLOCKS: &str = "import sys, time; print(sum(time.clock_gettime((~int(p) << 3) | 2) for p in sys.argv[1:]))";
    let output = Command::new(paths::python()).args(["-c", CLOCKS]).args(processes.iter().map(u32::to_string)).output();
    let output = output.expect("Python starts");
    let seconds = String::from_utf8_lossy(&output.stdout).trim().parse::<f64>();
    seconds.unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr))) * 1000.0
}
