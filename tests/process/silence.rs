//! Children that leave pings unanswered, and a job that will not end.

use super::agents::{Agents, SOON};
use super::job_pid;
use livekit_protocol as lk;
use lk::server_message::Message as ToWorker;
use rustix::process::Signal;
use std::time::{Duration, Instant};
use tests::worker::{NO_RESTART, Setup};
use tests::{poll, process, procfs};

/// Ten seconds of silence, from one ping to the next before them, and as much again on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// No signal, as `/proc/PID/status` has it.
const NONE: &str = "0000000000000000";

#[test]
fn a_job_and_an_owner_that_are_silent_for_ten_seconds_are_killed_and_the_rest_goes_on() {
    let agents = Agents::listen();
    let worker = Setup::with_url(&agents.url()).toml("[worker]\nmax_jobs = 2\n").toml(NO_RESTART).launch();
    let (mut connection, _) = agents.registered();
    connection.run_job("AJ_silent", "first");
    connection.run_job("AJ_other", "second");
    let readers = |device| worker.metric(&format!("firmware_worker_device_readers{{device=\"{device}\"}}"));
    let each_has = |count: f64| (readers("camera") == count && readers("microphone") == count).then_some(());
    poll::until("both jobs read both devices", SOON, || each_has(2.0));
    let (job, other) = (job_pid(&worker, "AJ_silent"), job_pid(&worker, "AJ_other"));
    let owners = worker.owner_pids();
    let stopped = Instant::now();
    process::kill(job, Signal::STOP);
    process::kill(owners[0], Signal::STOP);
    worker.wait_log(&format!("job process {job} killed: room driver silent"), PATIENCE);
    worker.wait_log(&format!("owner process {} is silent, killed", owners[0]), PATIENCE);
    // Less the time for which the last ping was on its way.
    assert!(stopped.elapsed() > Duration::from_secs(9), "{:?}", stopped.elapsed());
    let status = connection.status("AJ_silent");
    assert_eq!((status.status(), status.error.as_str()), (lk::JobStatus::JsFailed, "room driver silent"));
    poll::until("both are gone", SOON, || (!procfs::alive(job) && !procfs::alive(owners[0])).then_some(()));
    poll::until("the other job reads both devices", SOON, || each_has(1.0));
    let now = worker.owner_pids();
    assert!(now.len() == 2 && now.contains(&owners[1]) && !now.contains(&owners[0]), "{owners:?} then {now:?}");
    assert!(procfs::alive(other));
}

#[test]
fn a_job_that_ignores_sigterm_and_the_request_to_end_is_killed_when_its_time_is_over() {
    let agents = Agents::listen();
    let setup = Setup::with_url(&agents.url()).binary(env!("CARGO_BIN_EXE_participant").into());
    let worker = setup.toml("[worker]\nshutdown_timeout_s = 1\n").launch();
    let (mut connection, _) = agents.registered();
    connection.run_job_with("AJ_1", "studio", "defy");
    worker.wait_log("job AJ_1: it ends when it likes", SOON);
    let job = job_pid(&worker, "AJ_1");
    process::kill(job, Signal::TERM);
    let taken = || (procfs::status(job, "SigPnd") == NONE && procfs::status(job, "ShdPnd") == NONE).then_some(());
    poll::until("the signal is delivered", SOON, taken);
    assert!(procfs::alive(job), "it ignores the signal");
    let asked = Instant::now();
    connection.send(ToWorker::Termination(lk::JobTermination { job_id: "AJ_1".into() }));
    poll::until("its process is gone", SOON, || (!procfs::alive(job)).then_some(()));
    let took = asked.elapsed();
    let end = connection.status("AJ_1");
    assert_eq!(end.status(), lk::JobStatus::JsFailed);
    assert_eq!(end.error, "did not end within 1s when asked to (terminated by the server)");
    // The promise is 1.5 s on an idle machine.
    assert!(took > Duration::from_millis(900) && took < Duration::from_secs(3), "{took:?}");
}
