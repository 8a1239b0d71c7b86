//! Memory of an idle worker and of each job.

use crate::Repeats;
use crate::table::{Bench, Row};
use std::process::Command;
use std::time::Duration;
use tests::worker::{AGENT, Setup, Worker};
use tests::{Judge, Server, procfs};

const IDLE: &str = "supervisor idle, registered, PSS; with one prewarmed job process, sum";
const JOB: &str = "each further running job (Opus + 720p30 from a shared owner), private memory";

/// A camera as the shipped defaults have it, without a device.
const CAMERA: &str = r#"
[[camera]]
name = "camera"
device = "test-pattern"
width = 1280
height = 720
fps = 30
bitrate = 2000000

[[microphone]]
name = "microphone"
device = "tone"
"#;

/// Jobs of which the ones after the first are looked at.
const JOBS: usize = 3;

/// Buffers and caches of a job have their size after this.
const SETTLE: Duration = Duration::from_secs(10);

pub fn benches() -> Vec<Bench> {
    vec![Bench { rows: &[IDLE], measure: idle }, Bench { rows: &[JOB], measure: job }]
}

fn idle(_: Repeats) -> Vec<Row> {
    let [alone, with_reserve] = [0, 1].map(|prewarm| {
        let server = Server::start();
        let worker = quiet(&server).toml(&format!("[worker]\nprewarm = {prewarm}\n")).start();
        tests::poll::until("the reserve is there", SETTLE, || (worker.job_pids().len() == prewarm).then_some(()));
        settle();
        let processes = procfs::descendants(worker.pid()).into_iter().chain([worker.pid()]);
        processes.map(|pid| procfs::memory(pid).pss).sum::<u64>() as f64 / 1024.0
    });
    vec![Row::new(IDLE, "MB", "115; 476 / 500").must("", alone, 6.0).must("", with_reserve, 10.0)]
}

fn job(_: Repeats) -> Vec<Row> {
    let server = Server::start();
    let worker = quiet(&server).toml("[worker]\nmax_jobs = 4\n").start();
    let mut judges = Vec::new();
    let mut jobs = Vec::new();
    for number in 0..JOBS {
        let room = format!("room-{number}");
        judges.push(Judge::join(&server, &room, "judge"));
        server.api().dispatch(&room, AGENT, "");
        judges[number].event("first_video", SETTLE);
        jobs.push(worker.started(&room).1);
    }
    settle();
    let largest = jobs.iter().skip(1).map(|&pid| procfs::memory(pid).private).max().unwrap_or(u64::MAX);
    vec![Row::new(JOB, "MB", "23-31 / 67 as a plain script").must("", largest as f64 / 1024.0, 5.0)]
}

/// A worker at the default log level, with the full-size camera.
pub fn quiet(server: &Server) -> Setup {
    Setup::new(server).toml(CAMERA).env("LIVEKIT_LOG_LEVEL", "info")
}

/// Text pages of a binary just written count as private until they are on disk.
pub fn settle() {
    std::thread::sleep(SETTLE);
    let synced = Command::new("sync").status();
    assert!(synced.is_ok_and(|status| status.success()), "sync writes everything to disk");
}

/// Processes of a worker that are not its device owners.
pub fn without_owners(worker: &Worker) -> Vec<u32> {
    let owners = worker.owner_pids();
    let all = procfs::descendants(worker.pid()).into_iter().chain([worker.pid()]);
    all.filter(|pid| !owners.contains(pid)).collect()
}
