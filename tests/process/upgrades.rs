//! Programs that take a running worker's place, well and badly.

use super::agents::{Agents, Connection, SOON};
use super::job_pid;
use super::reload::assert_may_only_read;
use firmware_worker::supervisor::SIGN;
use livekit_protocol as lk;
use lk::worker_message::Message as FromWorker;
use rustix::process::Signal;
use serde_json::Value;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;
use tests::worker::{NO_RESTART, Setup, Worker};
use tests::{Installed, http, namespace, paths, poll, process, procfs};

/// A worker with a job, that was installed and can be replaced.
struct Rig {
    installed: Installed,
    agents: Agents,
    connection: Connection,
    worker: Worker,
}

impl Rig {
    fn start(configure: impl FnOnce(Setup) -> Setup) -> Self {
        let installed = Installed::new(&paths::worker());
        let agents = Agents::listen();
        let setup = Setup::with_url(&agents.url()).binary(installed.path().into());
        let worker = configure(setup).launch();
        let (mut connection, _) = agents.registered();
        connection.run_job("AJ_1", "studio");
        Self { installed, agents, connection, worker }
    }

    fn job(&self) -> Value {
        let state = self.worker.state();
        assert_eq!(state["active_jobs"], 1, "{state}");
        state["jobs"][0].clone()
    }

    /// Tells it to upgrade, and waits for the registration that follows.
    fn upgrade(&mut self) {
        self.worker.signal(Signal::USR2);
        self.connection = self.agents.registered().0;
        self.connection.wait("its jobs", |message| match message {
            FromWorker::MigrateJob(jobs) => {
                assert_eq!(jobs.job_ids, ["AJ_1"]);
                Some(())
            }
            _ => None,
        });
    }

    /// The job ends as it was asked to, and the server is told.
    fn stop_job(&mut self) {
        let stopped = self.worker.operator(&["jobs", "stop", "AJ_1"]);
        assert!(stopped.status.success(), "{stopped:?}");
        let end = self.connection.wait("the end of the job", |message| match message {
            FromWorker::UpdateJob(status) if status.status() != lk::JobStatus::JsRunning => Some(status),
            _ => None,
        });
        assert_eq!((end.job_id.as_str(), end.status()), ("AJ_1", lk::JobStatus::JsSuccess), "{end:?}");
    }
}

#[test]
fn a_job_goes_on_in_its_process_through_upgrades_and_is_stopped_after_them() {
    let mut rig = Rig::start(|setup| setup);
    let pid = rig.worker.pid();
    let job = rig.job();
    // That of the job, and one in reserve.
    let both = |worker: &Worker, earlier: &[u32]| {
        poll::until("a process is in reserve that was not there before", SOON, || {
            let now = worker.job_pids();
            let fresh = now.iter().filter(|pid| !earlier.contains(pid)).count();
            (now.len() == 2 && (earlier.is_empty() || fresh == 1)).then_some(now)
        })
    };
    for _ in 0..2 {
        let before = both(&rig.worker, &[]);
        let descriptors = procfs::descriptors(pid).len();
        rig.installed.update(&paths::worker());
        assert!(!rig.installed.is_run_by(pid));
        rig.upgrade();
        assert!(rig.installed.is_run_by(pid), "{}", rig.worker.log());
        let now = rig.job();
        assert_eq!((&now["id"], &now["pid"], &now["identity"]), (&job["id"], &job["pid"], &job["identity"]));
        both(&rig.worker, &before);
        poll::until("no zombie is left", SOON, || procfs::children(pid).into_iter().all(procfs::alive).then_some(()));
        let leak = poll::try_until(SOON, || (procfs::descriptors(pid).len() <= descriptors + 1).then_some(()));
        assert!(leak.is_some(), "{descriptors} before, now {:#?}", procfs::descriptors(pid));
    }
    rig.stop_job();
    rig.connection.run_job("AJ_2", "studio");
    rig.worker.signal(Signal::TERM);
    rig.worker.wait_log("draining", SOON);
    rig.worker.signal(Signal::TERM);
    rig.worker.wait(SOON);
}

/// A drain would last an hour.
#[test]
fn a_system_that_goes_down_after_an_upgrade_is_known_by_the_sign_that_the_program_before_has_seen() {
    let name =
        "upgrades::a_system_that_goes_down_after_an_upgrade_is_known_by_the_sign_that_the_program_before_has_seen";
    namespace::on_an_empty_run(name, || {
        std::fs::create_dir(SIGN).expect("a /run of ours");
        let mut rig = Rig::start(|setup| setup);
        // The new program never sees it.
        std::fs::remove_dir(SIGN).expect("a /run of ours");
        rig.upgrade();
        rig.worker.signal(Signal::TERM);
        rig.worker.wait_log("the system goes down, as its sign says", SOON);
        assert_eq!(rig.worker.wait(SOON).code(), Some(0));
    });
}

#[test]
fn operators_see_the_last_failures_and_counts_of_the_program_before() {
    let mut rig = Rig::start(|setup| setup.toml(NO_RESTART));
    rig.connection.run_job("AJ_2", "hall");
    process::kill(job_pid(&rig.worker, "AJ_2"), Signal::KILL);
    assert_eq!(rig.connection.status("AJ_2").status(), lk::JobStatus::JsFailed);
    let failed = |rig: &Rig| {
        let answer = http::get(rig.worker.http(), "/jobs").expect("the worker answers on loopback");
        let jobs: Value = serde_json::from_str(&answer.body).expect("/jobs is JSON");
        let job = &jobs["failed"][0];
        [job["id"].clone(), job["room"].clone(), job["error"].clone()]
    };
    let before = poll::until("the failure is told", SOON, || Some(failed(&rig)).filter(|job| job[0] == "AJ_2"));
    for _ in 0..2 {
        rig.installed.update(&paths::worker());
        rig.upgrade();
        assert_eq!(failed(&rig), before);
        let count = |name: &str| rig.worker.metric(&format!("firmware_worker_{name}_total"));
        assert_eq!((count("jobs_started"), count("jobs_failed")), (2.0, 1.0));
    }
}

#[test]
fn a_twin_that_starts_after_an_upgrade_takes_no_job_and_a_restart_resumes_it() {
    let mut setup = None;
    let mut rig = Rig::start(|given| setup.insert(given).clone());
    let setup = setup.expect("it was configured");
    rig.upgrade();
    let twin = rig.worker.twin(&setup);
    let (of_twin, _) = rig.agents.registered();
    poll::until("the twin is up", SOON, || twin.log.find(&["registered as"]));
    assert_eq!(twin.log.find(&["AJ_1"]), None, "the place of the first is taken");
    drop((twin, of_twin));
    rig.worker.signal(Signal::KILL);
    rig.worker.wait(SOON);
    rig.worker.again(&setup);
    rig.connection = rig.agents.registered().0;
    poll::until("its job goes on", SOON, || (rig.worker.state()["jobs"][0]["id"] == "AJ_1").then_some(()));
}

#[test]
fn a_new_program_that_refuses_or_says_nothing_changes_nothing() {
    let mut rig = Rig::start(|setup| setup);
    let job = rig.job();
    for (script, why) in [
        ("echo no such version >&2; exit 3", "its check ends with code 3: no such version"),
        ("exec sleep 60", "its check gives no answer in 5 s"),
    ] {
        rig.installed.update_with_script(script);
        rig.worker.signal(Signal::USR2);
        if let Some(("exec", asked)) = script.split_once(' ') {
            assert_may_only_read(&rig.worker, asked);
        }
        let line = rig.worker.wait_log(why, SOON);
        assert!(line.text.contains("ERROR") && line.text.contains("nothing has changed"), "{line:?}");
    }
    std::fs::remove_file(rig.installed.path()).expect("it was there");
    rig.worker.signal(Signal::USR2);
    rig.worker.wait_log("cannot be started: No such file", SOON);
    assert_eq!(rig.job()["pid"], job["pid"]);
    assert!(rig.worker.ready());
    children_are_the_program_that_runs(&rig.worker, &job);
    rig.installed.update(&paths::worker());
    rig.stop_job();
}

/// Wherever that lay: at its path there is nothing any more.
fn children_are_the_program_that_runs(worker: &Worker, job: &Value) {
    let in_reserve = |gone: u32| {
        let mut reserve = worker.job_pids().into_iter().filter(|pid| job["pid"] != *pid);
        reserve.find(|pid| *pid != gone)
    };
    let gone = poll::until("a process is in reserve", SOON, || in_reserve(0));
    process::kill(gone, Signal::KILL);
    let another = poll::until("another one is in its place", SOON, || in_reserve(gone));
    // What a child runs, which cannot be traced, root alone may know.
    if rustix::process::geteuid().is_root() {
        let file = |pid: u32| std::fs::metadata(format!("/proc/{pid}/exe")).map(|exe| (exe.dev(), exe.ino())).ok();
        let ours = file(worker.pid());
        assert!(ours.is_some() && file(another) == ours, "{ours:?}, {:?}", file(another));
    }
}

#[test]
fn a_new_program_that_hangs_or_crashes_gives_the_place_back_and_the_next_one_gets_it() {
    for (fault, why) in [
        ("hang", "it was not up in time"),
        ("crash", "it was aborted (SIGABRT)"),
        ("panic", "it was aborted (SIGABRT)"),
    ] {
        let mut rig = Rig::start(|setup| setup.env("FAULT", fault));
        let job = rig.job();
        rig.installed.update(Path::new(env!("CARGO_BIN_EXE_participant")));
        rig.upgrade();
        let line = rig.worker.wait_log("the program before goes on", SOON);
        assert!(line.text.contains("ERROR") && line.text.contains(why), "{line:?}");
        assert!(!rig.installed.is_run_by(rig.worker.pid()));
        assert_eq!(rig.job()["pid"], job["pid"]);
        rig.installed.update(&paths::worker());
        rig.upgrade();
        assert!(rig.installed.is_run_by(rig.worker.pid()));
        assert_eq!(rig.job()["pid"], job["pid"]);
        rig.stop_job();
    }
}

#[test]
fn an_upgrade_waits_for_an_offer_that_is_still_open() {
    let mut rig = Rig::start(|setup| setup);
    assert!(rig.connection.offer("AJ_2", "garden").available);
    rig.worker.signal(Signal::USR2);
    // The offer is never followed by an assignment; it is let go after 7.5 s.
    rig.connection = rig.agents.registered().0;
    rig.worker.wait_log("taking over", Duration::from_secs(1));
    assert_eq!(rig.job()["id"], "AJ_1");
}
