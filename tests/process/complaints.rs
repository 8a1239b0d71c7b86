//! What jobs write to their standard output and error.

use super::agents::{Agents, SOON};
use super::job_pid;
use livekit_protocol as lk;
use serde_json::Value;
use std::time::{Duration, Instant};
use tests::worker::{NO_RESTART, Setup, Worker};
use tests::{http, poll, procfs};

/// How long a job may flood.
const FLOOD: Duration = Duration::from_secs(3);

fn launch(agents: &Agents) -> Worker {
    let setup = Setup::with_url(&agents.url()).binary(env!("CARGO_BIN_EXE_participant").into());
    setup.toml("[worker]\nmax_jobs = 2\n").toml(NO_RESTART).env("LIVEKIT_LOG_LEVEL", "info").launch()
}

#[test]
fn the_last_that_a_job_wrote_is_told_with_its_end_in_status_log_and_to_operators() {
    let agents = Agents::listen();
    let worker = launch(&agents);
    let (mut connection, _) = agents.registered();
    connection.run_job_with("AJ_1", "studio", "complain");
    let end = connection.status("AJ_1");
    assert_eq!(end.status(), lk::JobStatus::JsFailed);
    let words =
        end.error.strip_prefix("killed by signal 6 (SIGABRT); standard error: ").unwrap_or_else(|| panic!("{end:?}"));
    assert!(words.ends_with(" µm | GET /rtc?access_token=*** | the shutter is stuck"), "{words}");
    assert!((4095..=4096).contains(&words.len()) && !words.contains('\u{1b}'), "{} bytes: {words}", words.len());
    // Live, under its name.
    worker.wait_log("INFO job AJ_1: [31mframe 0 is fogged", SOON);
    worker.wait_log("INFO job AJ_1: the lens cap is on", SOON);
    let line = worker.wait_log("failed after", SOON).text;
    assert!(line.contains("job AJ_1 ") && line.ends_with(words), "{line}");
    let answer = http::get(worker.http(), "/jobs").expect("the worker answers on loopback");
    let jobs: Value = serde_json::from_str(&answer.body).expect("/jobs is JSON");
    assert_eq!((&jobs["failed"][0]["id"], &jobs["failed"][0]["error"]), (&"AJ_1".into(), &end.error.into()));
}

#[test]
fn a_job_that_floods_its_standard_error_fills_no_log_and_holds_nobody_up() {
    let agents = Agents::listen();
    let worker = launch(&agents);
    let (mut connection, _) = agents.registered();
    connection.run_job_with("AJ_1", "studio", "babble");
    worker.wait_log("job AJ_1: so much light", SOON);
    let (start, before) = (Instant::now(), procfs::cpu(worker.pid()));
    connection.run_job("AJ_2", "hall");
    assert!(procfs::alive(job_pid(&worker, "AJ_2")));
    poll::until("its time", SOON, || (start.elapsed() >= FLOOD).then_some(()));
    let took = procfs::cpu(worker.pid()) - before;
    assert!(took < start.elapsed() / 2, "{took:?} of CPU in {:?}", start.elapsed());
    let lines = worker.log().lines().filter(|line| line.contains("so much light")).count();
    let most = 200 + 20 * usize::try_from(start.elapsed().as_secs() + 2).expect("seconds");
    assert!(lines <= most, "{lines} lines in {:?}", start.elapsed());
    worker.wait_log("lines more on its standard error", SOON);
}
