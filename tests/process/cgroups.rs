//! Leaves on the cgroup v2 hierarchy that this machine has. Without controllers there (a hybrid host) they limit nothing,
//! but children are born in them, and end with them. A worker that may make no cgroup fails here: run as root, or in a
//! session that a service manager has delegated.

use super::agents::{Agents, Connection, SOON};
use super::job_pid;
use firmware_worker::supervisor::kill_one_by_one;
use livekit_protocol as lk;
use lk::server_message::Message as ToWorker;
use rustix::process::Signal;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::Instant;
use tests::worker::{NO_RESTART, Setup, Worker};
use tests::{poll, process, procfs};

/// A worker with a job that runs, in the room of its name.
fn with_job(agents: &Agents, job: &str) -> (Worker, Connection, PathBuf) {
    let worker = Setup::with_url(&agents.url()).toml(NO_RESTART).launch();
    let (mut connection, _) = agents.registered();
    connection.run_job(job, job);
    let leaf = procfs::leaf(job_pid(&worker, job)).expect("the child has a leaf of its own");
    (worker, connection, leaf)
}

/// A process that has left its job's session and has nothing to do with it any more but for its leaf.
fn stray(leaf: &Path) -> Child {
    let sleeper = Command::new("setsid").args(["sleep", "600"]).spawn().expect("part of the base system");
    std::fs::write(leaf.join("cgroup.procs"), sleeper.id().to_string()).expect("the leaf takes it");
    sleeper
}

/// A cgroup beside this leaf.
fn beside(leaf: &Path) -> PathBuf {
    let path = leaf.parent().expect("a leaf is below its worker's").join(format!("fw-test-{}", std::process::id()));
    std::fs::create_dir(&path).expect("who may make leaves may make this");
    path
}

#[track_caller]
fn wait_gone(leaf: &Path) {
    poll::until("the leaf is removed", SOON, || (!leaf.exists()).then_some(()));
}

#[test]
fn a_killed_job_takes_all_that_it_has_started_with_it_and_leaves_no_cgroup() {
    let agents = Agents::listen();
    let (worker, mut connection, leaf) = with_job(&agents, "AJ_1");
    let mut stray = stray(&leaf);
    let killed = Instant::now();
    process::kill(job_pid(&worker, "AJ_1"), Signal::KILL);
    assert_eq!(connection.status("AJ_1").status(), lk::JobStatus::JsFailed);
    wait_gone(&leaf);
    println!("status sent and leaf removed {} ms after the kill", killed.elapsed().as_millis());
    assert!(stray.wait().expect("our child").code().is_none(), "killed");
    assert_eq!(worker.state()["active_jobs"], 0);
}

/// The program that a job has forked twice for, if that is all it has started.
fn daemon_of(job: u32, leaf: &Path) -> Option<u32> {
    let members = std::fs::read_to_string(leaf.join("cgroup.procs")).ok()?;
    let mut others = members.lines().filter_map(|pid| pid.parse().ok()).filter(|pid| *pid != job);
    let (daemon, more) = (others.next()?, others.next());
    (more.is_none() && procfs::command_line(daemon) == "sleep 600").then_some(daemon)
}

#[test]
fn what_a_job_has_forked_twice_for_ends_with_it_however_it_ends() {
    let agents = Agents::listen();
    let setup = Setup::with_url(&agents.url()).binary(env!("CARGO_BIN_EXE_participant").into());
    let programs = "[isolation]\nsyscalls = [\"execve\", \"setsid\"]\n";
    let worker = setup.toml(&format!("{NO_RESTART}{programs}")).launch();
    let (mut connection, _) = agents.registered();
    for (job, status) in [("AJ_1", lk::JobStatus::JsFailed), ("AJ_2", lk::JobStatus::JsSuccess)] {
        connection.run_job_with(job, job, "daemon");
        let pid = job_pid(&worker, job);
        let leaf = procfs::leaf(pid).expect("the child has a leaf of its own");
        let daemon = poll::until("the daemon runs", SOON, || daemon_of(pid, &leaf));
        match status {
            lk::JobStatus::JsFailed => process::kill(pid, Signal::KILL),
            _ => connection.send(ToWorker::Termination(lk::JobTermination { job_id: job.into() })),
        }
        assert_eq!(connection.status(job).status(), status);
        poll::until("the daemon is gone", SOON, || (!procfs::alive(daemon)).then_some(()));
        wait_gone(&leaf);
    }
}

#[test]
fn a_second_worker_removes_what_a_killed_one_has_left_and_nothing_of_one_that_lives() {
    let agents = Agents::listen();
    let (killed, _dead, orphaned) = with_job(&agents, "AJ_1");
    let (other, _connection, kept) = with_job(&agents, "AJ_2");
    let mut stray = stray(&orphaned);
    process::kill(killed.pid(), Signal::KILL);
    let _third = Setup::with_url(&agents.url()).launch();
    agents.registered();
    wait_gone(&orphaned);
    assert!(stray.wait().expect("our child").code().is_none(), "killed");
    assert!(kept.exists() && procfs::alive(job_pid(&other, "AJ_2")));
}

/// As on kernels that have no `cgroup.kill`.
#[test]
fn what_starts_processes_all_the_time_is_killed_one_by_one_with_all_that_it_has_started() {
    let agents = Agents::listen();
    let (_worker, _connection, leaf) = with_job(&agents, "AJ_1");
    let cgroup = beside(&leaf);
    let members = || std::fs::read_to_string(cgroup.join("cgroup.procs")).expect("it is there").lines().count();
    // Were it not killed, it would end by itself.
    let script =
        format!("echo $$ >{}/cgroup.procs; for n in $(seq 999); do sleep 30 & sleep 0.01; done", cgroup.display());
    let mut forker = Command::new("sh").args(["-c", &script]).spawn().expect("part of the base system");
    poll::until("it has started some", SOON, || (members() > 5).then_some(()));
    kill_one_by_one(&cgroup);
    assert!(forker.wait().expect("our child").code().is_none(), "killed");
    poll::until("all are gone", SOON, || std::fs::remove_dir(&cgroup).ok());
    assert!(leaf.exists(), "of the job nothing was killed");
}
