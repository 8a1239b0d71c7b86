//! Boards on which something is wrong or late: no room on the disk, two workers alike, a resolver after the worker.

use super::agents::{Agents, SOON};
use super::job_pid;
use livekit_protocol as lk;
use lk::server_message::Message as ToWorker;
use rustix::process::Signal;
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::Path;
use tests::worker::{Setup, Worker};
use tests::{namespace, poll, procfs};

/// What the worker's successor would resume.
fn ledger(worker: &Worker) -> String {
    let files = fs::read_dir(worker.runtime()).expect("a directory of ours").flatten().map(|entry| entry.path());
    files.filter(|path| path.extension().is_some_and(|ending| ending == "jobs")).map(read).collect()
}

fn read(path: impl AsRef<Path>) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

/// Takes all the room that is left.
fn fill(path: &Path) {
    let mut file = File::create(path).expect("there is room for a name");
    loop {
        match file.write_all(&[1; 64]) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::StorageFull => return,
            Err(error) => panic!("{}: {error}", path.display()),
        }
    }
}

#[test]
fn a_full_disk_ends_no_job_resumes_none_that_has_ended_and_is_named_once() {
    let name = "boards::a_full_disk_ends_no_job_resumes_none_that_has_ended_and_is_named_once";
    namespace::on_a_small_disk(name, |disk| {
        let agents = Agents::listen();
        let setup = Setup::with_url(&agents.url()).toml("[worker]\nmax_jobs = 2\n");
        let mut worker = setup.clone().launch();
        let (mut connection, _) = agents.registered();
        let ballast = disk.join("ballast");
        fill(&ballast);
        connection.run_job("AJ_1", "first");
        connection.run_job("AJ_2", "second");
        let line = worker.wait_log("its jobs are not resumed", SOON).text;
        assert!(line.contains("WARN write ") && line.contains("No space left on device"), "{line}");
        assert!(procfs::alive(job_pid(&worker, "AJ_1")) && procfs::alive(job_pid(&worker, "AJ_2")));
        assert_eq!(worker.log().matches("its jobs are not resumed").count(), 1, "{}", worker.log());
        worker.signal(Signal::KILL);
        worker.wait(SOON);
        worker.again(&setup);
        let (mut connection, _) = agents.registered();
        assert_eq!(worker.state()["active_jobs"], 0);
        fs::remove_file(&ballast).expect("it is ours");
        connection.run_job("AJ_3", "third");
        poll::until("the ledger is kept again", SOON, || ledger(&worker).contains("AJ_3").then_some(()));
        // Now the file that is there has the last of the room.
        fill(&ballast);
        connection.send(ToWorker::Termination(lk::JobTermination { job_id: "AJ_3".into() }));
        connection.status("AJ_3");
        poll::until("a job that has ended is not kept", SOON, || (!ledger(&worker).contains("AJ_3")).then_some(()));
    });
}

#[test]
fn two_workers_with_one_configuration_share_a_board_and_each_resumes_its_own_jobs() {
    let agents = Agents::listen();
    let setup = Setup::with_url(&agents.url());
    let mut first = setup.clone().launch();
    let (mut of_first, _) = agents.registered();
    let twin = first.twin(&setup);
    let (mut of_twin, _) = agents.registered();
    of_first.run_job("AJ_1", "first");
    of_twin.run_job("AJ_2", "second");
    poll::until("the twin does without HTTP", SOON, || twin.log.find(&["no HTTP for operators", "in use"]));
    if rustix::process::geteuid().is_root() {
        // A process may signal any other of its user. One that has just been started has ours yet.
        let own = procfs::status(std::process::id(), "Uid");
        let users = |worker| procfs::children(worker).into_iter().map(|child| procfs::status(child, "Uid"));
        let users = |worker| users(worker).filter(|user| *user != own && !user.is_empty()).collect::<BTreeSet<_>>();
        let (ours, its) = (users(first.pid()), users(twin.pid()));
        assert!(!ours.is_empty() && !its.is_empty() && ours.is_disjoint(&its), "{ours:?} and {its:?}");
    }
    let list = first.operator(&["jobs"]);
    let list = String::from_utf8_lossy(&list.stdout);
    assert!(list.contains("AJ_1") && list.contains("AJ_2"), "{list}");
    first.signal(Signal::KILL);
    first.wait(SOON);
    first.again(&setup);
    let (_of_first, _) = agents.registered();
    poll::until("its job, and no other, goes on", SOON, || {
        let jobs = first.state()["jobs"].as_array()?.iter().map(|job| job["id"].clone()).collect::<Vec<_>>();
        (jobs == ["AJ_1"]).then_some(())
    });
    assert_eq!(twin.log.find(&["AJ_2", "failed"]), None, "the other goes on");
}

#[test]
fn a_job_finds_names_where_the_system_keeps_them_though_that_came_after_the_worker() {
    let name = "boards::a_job_finds_names_where_the_system_keeps_them_though_that_came_after_the_worker";
    namespace::on_an_empty_run(name, || {
        let agents = Agents::listen();
        let worker = Setup::with_url(&agents.url()).launch();
        let (mut connection, _) = agents.registered();
        let prewarmed = poll::until("a process in reserve", SOON, || worker.job_pids().first().copied());
        let place = Path::new("/run/systemd/resolve");
        fs::create_dir_all(place).expect("a /run of ours");
        fs::write(place.join("resolv.conf"), "nameserver 192.0.2.1").expect("a /run of ours");
        connection.run_job("AJ_1", "studio");
        let job = job_pid(&worker, "AJ_1");
        assert_ne!(job, prewarmed, "it was started before there was any");
        worker.wait_log(&format!("prewarmed process {prewarmed} is replaced"), SOON);
        let seen = Path::new("/proc").join(job.to_string()).join("root/run/systemd/resolve/resolv.conf");
        assert_eq!(read(seen), "nameserver 192.0.2.1");
    });
}
