//! The supervisor with its real child processes against an agents server of the test's own.

mod agents;
mod boards;
mod cgroups;
mod complaints;
mod cycles;
mod desk;
mod isolation;
mod names;
mod operators;
mod portal;
mod reload;
mod service;
mod silence;
mod strange;
mod upgrades;

use agents::{Agents, SOON};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD as BASE64URL};
use livekit_protocol as lk;
use lk::server_message::Message as ToWorker;
use lk::worker_message::Message as FromWorker;
use rustix::process::Signal;
use serde_json::Value;
use std::time::{Duration, Instant};
use tests::worker::{AGENT, NO_RESTART, Setup, Worker};
use tests::{poll, process, procfs};

/// All of the worker's processes but the supervisor.
fn children(worker: &Worker) -> Vec<u32> {
    procfs::children(worker.pid()).into_iter().filter(|pid| procfs::alive(*pid)).collect()
}

/// Process of a job, once the supervisor shows it.
#[track_caller]
fn job_pid(worker: &Worker, id: &str) -> u32 {
    poll::until("the job has a process", SOON, || {
        let state = worker.state();
        let job = state["jobs"].as_array()?.iter().find(|job| job["id"] == id)?.clone();
        u32::try_from(job["pid"].as_u64()?).ok()
    })
}

/// Waits until camera and microphone have told of one reader each.
#[track_caller]
fn wait_readers(worker: &Worker) {
    let both = || (worker.metric("firmware_worker_device_readers") == 2.0).then_some(());
    poll::until("both devices have a reader", SOON, both);
}

#[test]
fn a_worker_registers_with_its_name_and_grants_and_a_minted_token() {
    let agents = Agents::listen();
    let worker = Setup::with_url(&agents.url()).launch();
    let (connection, request) = agents.registered();
    assert_eq!(request.agent_name, AGENT);
    assert_eq!(request.r#type(), lk::JobType::JtRoom);
    let allowed = request.allowed_permissions.expect("grants are asked for");
    assert!(allowed.can_publish && allowed.can_subscribe && allowed.can_publish_data);
    let token = connection.authorization.strip_prefix("Bearer ").expect("a bearer token");
    let claims = BASE64URL.decode(token.split('.').nth(1).expect("a JWT")).expect("base64url");
    assert_eq!(serde_json::from_slice::<Value>(&claims).expect("claims")["video"]["agent"], true);
    poll::until("the worker is ready", SOON, || worker.ready().then_some(()));
    assert!(!worker.log().contains(token));
}

#[test]
fn a_refusal_with_a_date_says_how_far_the_boards_clock_is_off_and_one_without_keeps_to_guesses() {
    let worker = Setup::with_url(&agents::refuse("Date: Wed, 25 Nov 2299 16:23:03 GMT\r\n")).launch();
    let line = worker.wait_log("HTTP 401", SOON).text;
    assert!(line.contains("years behind the server's (2299-11-25 16:23:03 UTC): set it or wait for NTP"), "{line}");
    let worker = Setup::with_url(&agents::refuse("")).launch();
    let line = worker.wait_log("HTTP 401", SOON).text;
    assert!(line.contains("or a wrong clock on this board"), "{line}");
}

#[test]
fn an_assigned_job_runs_in_a_process_of_its_own_and_is_given_its_sources() {
    let agents = Agents::listen();
    let worker = Setup::with_url(&agents.url()).launch();
    let (mut connection, _) = agents.registered();
    let answer = connection.offer("AJ_1", "studio");
    assert!(answer.available);
    assert_eq!(answer.participant_identity, "agent-AJ_1");
    connection.assign("AJ_1", "studio");
    assert_eq!(connection.status("AJ_1").status(), lk::JobStatus::JsRunning);
    let pid = job_pid(&worker, "AJ_1");
    assert!(procfs::command_line(pid).contains("__job"));
    assert!(!procfs::environment(pid).contains("LIVEKIT"), "{}", procfs::environment(pid));
    wait_readers(&worker);
    assert_eq!(worker.owner_pids().len(), 2);
}

#[test]
fn every_child_has_a_watchdog_against_code_and_drivers_that_hang() {
    let agents = Agents::listen();
    let worker = Setup::with_url(&agents.url()).launch();
    let (mut connection, _) = agents.registered();
    connection.run_job("AJ_1", "studio");
    wait_readers(&worker);
    for child in children(&worker) {
        let guarded = || procfs::threads(child).iter().any(|name| name == "watchdog").then_some(());
        poll::until("the child has a watchdog", SOON, guarded);
    }
}

#[test]
fn a_killed_job_is_reported_failed_with_its_signal_and_another_goes_on() {
    let agents = Agents::listen();
    let worker = Setup::with_url(&agents.url()).toml("[worker]\nmax_jobs = 2\n").toml(NO_RESTART).launch();
    let (mut connection, _) = agents.registered();
    connection.run_job("AJ_1", "first");
    connection.run_job("AJ_2", "second");
    let (victim, other) = (job_pid(&worker, "AJ_1"), job_pid(&worker, "AJ_2"));
    process::kill(victim, Signal::KILL);
    let status = connection.status("AJ_1");
    assert_eq!(status.status(), lk::JobStatus::JsFailed);
    assert_eq!(status.error, "killed by signal 9 (SIGKILL)");
    assert!(procfs::alive(other));
    assert_eq!(worker.state()["active_jobs"], 1);
}

#[test]
fn a_killed_job_is_started_again_and_only_its_last_failure_is_told() {
    let agents = Agents::listen();
    let worker = Setup::with_url(&agents.url()).launch();
    let (mut connection, _) = agents.registered();
    connection.run_job("AJ_1", "studio");
    for restart in 1..=3 {
        let killed = job_pid(&worker, "AJ_1");
        process::kill(killed, Signal::KILL);
        poll::until("it runs in another process", SOON, || {
            let job = &worker.state()["jobs"][0];
            let other = job["pid"].as_u64().is_some_and(|pid| pid != u64::from(killed));
            (other && job["restarts"] == restart).then_some(())
        });
        assert_eq!(worker.state()["jobs"][0]["last_failure"], "killed by signal 9 (SIGKILL)");
    }
    assert_eq!(worker.metric("firmware_worker_job_restarts_total"), 3.0);
    process::kill(job_pid(&worker, "AJ_1"), Signal::KILL);
    let status = connection.status("AJ_1");
    assert_eq!((status.status(), status.error.as_str()), (lk::JobStatus::JsFailed, "killed by signal 9 (SIGKILL)"));
}

#[test]
fn a_configuration_that_is_read_again_counts_for_new_jobs_and_a_wrong_one_changes_nothing() {
    let agents = Agents::listen();
    let setup = Setup::with_url(&agents.url()).toml("[worker]\nmax_jobs = 1\n");
    let worker = setup.clone().launch();
    let (mut connection, _) = agents.registered();
    connection.run_job("AJ_1", "first");
    assert!(!connection.offer("AJ_2", "second").available);
    worker.reconfigure(&setup.clone().toml("agent_nam = \"x\"\n"));
    worker.signal(Signal::HUP);
    let line = worker.wait_log("the one before stays", SOON).text;
    assert!(line.contains("unknown key `agent_nam`"), "{line}");
    assert!(!connection.offer("AJ_3", "second").available);
    let more = Setup::with_url(&agents.url()).toml("[worker]\nmax_jobs = 2\n");
    let later = "[isolation]\nmode = \"strict\"\n[[camera]]\nname = \"yard\"\ndevice = \"test-pattern\"\n";
    worker.reconfigure(&more.toml(&format!("{later}{NO_RESTART}publish = [\"yard\"]\n")));
    worker.signal(Signal::HUP);
    worker.wait_log("configuration read again", SOON);
    worker.wait_log("taken only by a restart: devices, [job], as devices change with it, [isolation]", SOON);
    connection.run_job("AJ_4", "second");
    process::kill(job_pid(&worker, "AJ_4"), Signal::KILL);
    let status = connection.status("AJ_4");
    assert_eq!(status.status(), lk::JobStatus::JsFailed, "it has the new policy");
    assert!(status.error.contains("SIGKILL"), "{}", status.error);
    let first = job_pid(&worker, "AJ_1");
    process::kill(first, Signal::KILL);
    poll::until("the first job keeps the old one", SOON, || (job_pid(&worker, "AJ_1") != first).then_some(()));
}

#[test]
fn a_terminated_job_ends_with_success_and_leaves_no_process() {
    let agents = Agents::listen();
    let worker = Setup::with_url(&agents.url()).launch();
    let (mut connection, _) = agents.registered();
    connection.run_job("AJ_1", "studio");
    let pid = job_pid(&worker, "AJ_1");
    connection.send(ToWorker::Termination(lk::JobTermination { job_id: "AJ_1".into() }));
    assert_eq!(connection.status("AJ_1").status(), lk::JobStatus::JsSuccess);
    poll::until("its process is gone", SOON, || (!procfs::alive(pid)).then_some(()));
}

#[test]
fn a_well_behaved_job_is_gone_at_once_and_a_stuck_one_when_its_time_is_over() {
    let agents = Agents::listen();
    let worker = Setup::with_url(&agents.url()).toml("[worker]\nmax_jobs = 2\nshutdown_timeout_s = 1\n").launch();
    let (mut connection, _) = agents.registered();
    connection.run_job("AJ_good", "first");
    connection.run_job("AJ_stuck", "second");
    let (good, stuck) = (job_pid(&worker, "AJ_good"), job_pid(&worker, "AJ_stuck"));
    process::kill(stuck, Signal::STOP);
    let mut gone_after = |job: &str, pid: u32| {
        let asked = Instant::now();
        connection.send(ToWorker::Termination(lk::JobTermination { job_id: job.into() }));
        poll::until("its process is gone", SOON, || (!procfs::alive(pid)).then_some(()));
        let took = asked.elapsed();
        eprintln!("{job} gone {} ms after its termination", took.as_millis());
        (took, connection.status(job))
    };
    let (took, status) = gone_after("AJ_good", good);
    assert!(status.status() == lk::JobStatus::JsSuccess && took < Duration::from_secs(2), "{took:?} {status:?}");
    let (took, status) = gone_after("AJ_stuck", stuck);
    assert!(took > Duration::from_millis(900) && took < Duration::from_secs(3), "{took:?}");
    assert!(status.status() == lk::JobStatus::JsFailed && status.error.contains("did not end within 1s"), "{status:?}");
}

#[test]
fn a_prewarmed_process_that_dies_is_replaced_and_the_next_job_runs() {
    let agents = Agents::listen();
    let worker = Setup::with_url(&agents.url()).launch();
    let (mut connection, _) = agents.registered();
    let reserve = |but: u32| {
        poll::until("a process is in reserve", SOON, || worker.job_pids().into_iter().find(|pid| *pid != but))
    };
    let first = reserve(0);
    process::kill(first, Signal::KILL);
    worker.wait_log("without a job ended: killed by signal 9 (SIGKILL)", SOON);
    connection.run_job("AJ_1", "studio");
    assert_ne!(job_pid(&worker, "AJ_1"), first);
    reserve(job_pid(&worker, "AJ_1"));
}

#[test]
fn a_drain_declines_offers_and_ends_with_code_0_when_the_last_job_has_ended() {
    let agents = Agents::listen();
    let mut worker = Setup::with_url(&agents.url()).launch();
    let (mut connection, _) = agents.registered();
    connection.run_job("AJ_1", "studio");
    worker.signal(Signal::TERM);
    connection.wait("FULL", |message| match message {
        FromWorker::UpdateWorker(update) => {
            (update.status == Some(lk::WorkerStatus::WsFull.into()) && update.draining).then_some(())
        }
        _ => None,
    });
    assert!(!connection.offer("AJ_2", "other").available);
    connection.send(ToWorker::Termination(lk::JobTermination { job_id: "AJ_1".into() }));
    assert_eq!(connection.status("AJ_1").status(), lk::JobStatus::JsSuccess);
    assert_eq!(connection.closed(), Some(1000));
    assert_eq!(worker.wait(SOON).code(), Some(0));
}

#[test]
fn a_second_signal_ends_running_jobs_and_the_exit_code_says_so() {
    let agents = Agents::listen();
    let mut worker = Setup::with_url(&agents.url()).launch();
    let (mut connection, _) = agents.registered();
    connection.run_job("AJ_1", "studio");
    let children = children(&worker);
    worker.signal(Signal::TERM);
    worker.wait_log("draining", SOON);
    worker.signal(Signal::INT);
    assert_eq!(connection.status("AJ_1").status(), lk::JobStatus::JsSuccess);
    assert_eq!(worker.wait(SOON).code(), Some(3));
    assert!(children.iter().all(|pid| !procfs::alive(*pid)));
}

#[test]
fn nothing_outlives_a_killed_supervisor() {
    let agents = Agents::listen();
    let mut worker = Setup::with_url(&agents.url()).launch();
    let (mut connection, _) = agents.registered();
    connection.run_job("AJ_1", "studio");
    poll::until("job, owners and a prewarmed process run", SOON, || (children(&worker).len() >= 4).then_some(()));
    let children = children(&worker);
    let killed = Instant::now();
    worker.signal(Signal::KILL);
    poll::until("all children are gone", SOON, || children.iter().all(|pid| !procfs::alive(*pid)).then_some(()));
    let took = killed.elapsed();
    eprintln!("children gone {} ms after kill -9", took.as_millis());
    // The promise is 300 ms on an idle machine.
    assert!(took < Duration::from_secs(2), "{took:?}");
    worker.wait(SOON);
}

#[test]
fn a_job_survives_the_loss_of_the_server_and_is_named_after_the_next_registration() {
    let agents = Agents::listen();
    let worker = Setup::with_url(&agents.url()).launch();
    let (mut connection, _) = agents.registered();
    connection.run_job("AJ_1", "studio");
    let pid = job_pid(&worker, "AJ_1");
    drop(connection);
    let (mut connection, _) = agents.registered();
    let migrated = connection.wait("migrate_job", |message| match message {
        FromWorker::MigrateJob(request) => Some(request),
        _ => None,
    });
    #[allow(deprecated, reason = "the released servers know no other field")]
    let jobs = migrated.job_ids;
    assert_eq!(jobs, ["AJ_1"]);
    assert!(procfs::alive(pid));
}

#[test]
fn whatever_signal_kills_a_job_is_named() {
    let agents = Agents::listen();
    let worker = Setup::with_url(&agents.url()).toml(NO_RESTART).launch();
    let (mut connection, _) = agents.registered();
    let signals = [
        (Signal::ILL, "4 (SIGILL)"),
        (Signal::ABORT, "6 (SIGABRT)"),
        (Signal::TERM, "15 (SIGTERM)"),
        (Signal::USR1, "10 (SIGUSR1)"),
        (Signal::SYS, "31 (SIGSYS)"),
    ];
    for (signal, name) in signals {
        let id = format!("AJ_{name}");
        connection.run_job(&id, "studio");
        process::kill(job_pid(&worker, &id), signal);
        let status = connection.status(&id);
        assert_eq!(status.status(), lk::JobStatus::JsFailed);
        assert_eq!(status.error, format!("killed by signal {name}"));
    }
}

#[test]
fn a_dead_device_owner_is_started_again_for_its_readers() {
    let agents = Agents::listen();
    let worker = Setup::with_url(&agents.url()).launch();
    let (mut connection, _) = agents.registered();
    connection.run_job("AJ_1", "studio");
    let job = job_pid(&worker, "AJ_1");
    wait_readers(&worker);
    let owners = worker.owner_pids();
    process::kill(owners[0], Signal::KILL);
    let replaced = || {
        let now = worker.owner_pids();
        (now.len() == 2 && !now.contains(&owners[0])).then_some(())
    };
    poll::until("the owner is replaced", SOON, replaced);
    wait_readers(&worker);
    assert!(procfs::alive(job) && procfs::alive(owners[1]));
}

#[test]
fn a_warm_device_runs_without_a_job_and_again_after_its_owner_has_died() {
    let agents = Agents::listen();
    let warm = "[[camera]]\ndevice = \"test-pattern\"\nwidth = 320\nheight = 180\nwarm = true\n";
    let worker = Setup::with_url(&agents.url()).toml(warm).launch();
    let _registered = agents.registered();
    let running = |but: Option<u32>| {
        let device = worker.state()["devices"][0].clone();
        let pid = u32::try_from(device["pid"].as_u64()?).ok()?;
        (device["state"] == "running" && Some(pid) != but).then_some(pid)
    };
    let first = poll::until("the camera runs", SOON, || running(None));
    process::kill(first, Signal::KILL);
    poll::until("the camera runs again", SOON, || running(Some(first)));
    assert_eq!(worker.state()["active_jobs"], 0);
}

#[test]
fn jobs_one_after_the_other_leave_no_process_and_no_descriptor_behind() {
    let agents = Agents::listen();
    let worker = Setup::with_url(&agents.url()).toml(NO_RESTART).launch();
    let (mut connection, _) = agents.registered();
    let mut steady = usize::MAX;
    for round in 0..8 {
        let id = format!("AJ_{round}");
        connection.run_job(&id, "studio");
        // So that owners run before what is open is counted.
        wait_readers(&worker);
        process::kill(job_pid(&worker, &id), Signal::KILL);
        connection.status(&id);
        let descriptors = || {
            let idle = worker.job_pids().len() == 1 && worker.state()["active_jobs"] == 0;
            let open = procfs::descriptors(worker.pid()).len();
            // One connection of an operator, which is this test, comes and goes.
            (idle && open <= steady.saturating_add(1)).then_some(open)
        };
        let open = poll::until("one prewarmed process is left, and no more descriptors than before", SOON, descriptors);
        // The first rounds start the owners and the prewarmed process that stay.
        if round == 2 {
            steady = open;
        }
    }
}
