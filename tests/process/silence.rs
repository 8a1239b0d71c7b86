//! Children that leave pings unanswered.

use super::agents::{Agents, SOON};
use super::job_pid;
use livekit_protocol as lk;
use rustix::process::Signal;
use std::time::{Duration, Instant};
use tests::worker::{NO_RESTART, Setup};
use tests::{poll, process, procfs};

/// Ten seconds of silence, from one ping to the next before them, and as much again on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

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
