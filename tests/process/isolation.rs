//! That every child is confined, and that what a hostile job tries is seen.

use super::agents::{Agents, SOON};
use super::{children, job_pid, wait_readers};
use firmware_worker::supervisor::BOUNDING_SET;
use livekit_protocol as lk;
use lk::server_message::Message as ToWorker;
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use tests::procfs::status;
use tests::worker::Setup;
use tests::{Installed, paths, poll, procfs};

/// Layers that a child of root has on any kernel that these tests run on.
const LAYERS: [&str; 8] = [
    "own user",
    "file view",
    "hidden processes",
    "no network",
    "no capabilities",
    "no new privileges",
    "resource limits",
    "seccomp",
];

fn root() -> bool {
    rustix::process::geteuid().is_root()
}

fn network(pid: u32) -> Option<std::path::PathBuf> {
    fs::read_link(format!("/proc/{pid}/ns/net")).ok()
}

#[test]
fn every_child_has_a_user_of_its_own_and_no_rights_and_owners_no_network() {
    let agents = Agents::listen();
    let worker = Setup::with_url(&agents.url()).launch();
    let (mut connection, _) = agents.registered();
    connection.run_job("AJ_1", "studio");
    wait_readers(&worker);
    let children = children(&worker);
    assert!(children.len() >= 3, "{children:?}");
    for &child in &children {
        let confined = || (status(child, "Seccomp") == "2").then_some(());
        poll::until("the child has a filter of system calls", SOON, confined);
        assert_eq!(status(child, "NoNewPrivs"), "1");
        for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
            assert_eq!(status(child, set), "0000000000000000", "{set}");
        }
    }
    let job = job_pid(&worker, "AJ_1");
    if root() {
        let users: BTreeSet<_> = children.iter().map(|child| status(*child, "Uid")).collect();
        assert_eq!(users.len(), children.len(), "{users:?}");
        assert!(users.iter().all(|user| user.starts_with('7')), "{users:?}");
        assert!(network(job).is_some() && network(job) == network(worker.pid()));
        assert!(worker.owner_pids().iter().all(|owner| network(*owner) != network(worker.pid())));
        assert!(children.iter().all(|child| status(*child, "CapBnd") == "0000000000000000"));
    }
    let state = worker.state();
    for sandbox in [&state["jobs"][0]["sandbox"], &state["devices"][0]["sandbox"], &state["devices"][1]["sandbox"]] {
        let layers = sandbox["layers"].as_array().expect("layers");
        let missing = LAYERS.iter().filter(|layer| !layers.iter().any(|has| has == *layer));
        let without_root = ["own user", "hidden processes"];
        assert!(missing.clone().all(|layer| !root() && without_root.contains(layer)), "{state}");
    }
}

#[test]
fn the_command_of_a_camera_can_gain_no_rights_and_its_keeper_may_only_signal_it() {
    if !root() {
        eprintln!("skipped: only root can give a command a user of its own");
        return;
    }
    let agents = Agents::listen();
    let camera = "[[camera]]\ndevice = \"pipe\"\nwarm = true\ncommand = [\"sleep\", \"600\"]\n";
    let worker = Setup::with_url(&agents.url()).toml(camera).launch();
    let sleeping = |pid: &u32| procfs::command_line(*pid) == "sleep 600";
    let running = || procfs::descendants(worker.pid()).into_iter().find(sleeping);
    let command = poll::until("the command runs", SOON, running);
    let sets = ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"];
    assert_eq!(sets.map(|set| status(command, set)), ["0000000000000000"; 5]);
    let limits = fs::read_to_string(format!("/proc/{command}/limits")).expect("limits");
    let files = limits.lines().find_map(|line| line.strip_prefix("Max open files")).expect("one of files");
    assert_eq!(files.split_whitespace().collect::<Vec<_>>(), ["1024", "1024", "files"]);
    let keeper = status(command, "PPid").parse().expect("a number");
    let kill = "0000000000000020";
    poll::until("the keeper has started it", SOON, || (status(keeper, "CapEff") == kill).then_some(()));
    let left = ["0000000000000000", kill, kill, "0000000000000000", "0000000000000000"];
    assert_eq!(sets.map(|set| status(keeper, set)), left);
    drop(worker);
    poll::until("the command has ended with its worker", SOON, || (!procfs::alive(command)).then_some(()));
}

#[test]
fn the_worker_says_at_start_which_layers_are_missing_and_strict_does_not_run_without_them() {
    let agents = Agents::listen();
    let strict = Setup::with_url(&agents.url()).toml("[isolation]\nmode = \"strict\"\n");
    let mut worker = strict.launch();
    // Neither a test's root nor another user has all: tests have no subtree of a service manager's.
    let line = worker.wait_log("isolation is strict, and ", SOON).text;
    let controller =
        worker.log().lines().find_map(|line| Some(line.split_once("WARN no memory limits for ")?.1.to_owned()));
    let remedy = controller.unwrap_or_else(|| "Delegate=yes".into());
    assert!(line.contains(&remedy) || line.contains("run the worker as root"), "no remedy, {remedy}: {line}");
    assert_eq!(worker.wait(SOON).code(), Some(1));
    let worker = Setup::with_url(&agents.url()).launch();
    let _registered = agents.registered();
    let state = worker.state();
    assert_eq!(state["isolation"]["mode"], "best-effort");
    let missing =
        state["isolation"]["missing"].as_array().expect("a list").iter().map(|one| one.as_str().expect("text"));
    let (controllers, layers): (Vec<_>, Vec<_>) = missing.partition(|missing| missing.contains(" for children: "));
    layers.iter().for_each(|missing| drop(worker.wait_log(&format!("isolation without {missing}"), SOON)));
    controllers.iter().for_each(|missing| drop(worker.wait_log(&format!("WARN {missing}"), SOON)));
    assert_eq!(layers.is_empty(), root() && landlock());
    let limited = controllers.iter().all(|missing| missing.contains(" weights "));
    assert_eq!(state["limits"], limited, "{controllers:?}");
}

#[test]
fn the_capabilities_of_the_unit_are_enough_for_every_layer_and_without_one_that_is_said() {
    if !root() {
        eprintln!("skipped: only root has capabilities to lose");
        return;
    }
    let missing = |capabilities: &[&str]| {
        let kept: Vec<_> = capabilities.iter().map(|name| name.replace("CAP_", "+").to_lowercase()).collect();
        let script = std::env::temp_dir().join(format!("fw-unit-{}-{}", std::process::id(), kept.len()));
        let kept = kept.join(",");
        let line = format!("#!/bin/sh\nexec setpriv --bounding-set=-all,{kept} {} \"$@\"\n", paths::worker().display());
        fs::write(&script, line)
            .and_then(|()| fs::set_permissions(&script, Permissions::from_mode(0o755)))
            .expect("a script");
        let agents = Agents::listen();
        let worker = Setup::with_url(&agents.url()).binary(script.clone()).launch();
        let _registered = agents.registered();
        fs::remove_file(&script).expect("it is ours");
        let missing = worker.state()["isolation"]["missing"].clone();
        let layers = missing.as_array().expect("a list").iter().map(|layer| layer.to_string());
        layers.filter(|layer| !layer.contains(" for children: ")).collect::<Vec<_>>()
    };
    let all = missing(&BOUNDING_SET);
    assert!(all.iter().all(|layer| layer.contains("landlock") && !landlock()), "{all:?}");
    let without = BOUNDING_SET.map(|name| if name == "CAP_SETPCAP" { "CAP_CHOWN" } else { name });
    let told = missing(&without);
    assert!(
        told.iter().any(|layer| layer.contains("no capabilities: ") && layer.contains("add CAP_SETPCAP")),
        "{told:?}"
    );
}

#[test]
fn a_worker_without_root_runs_jobs_with_what_layers_there_are_and_names_the_others() {
    // A copy, as nobody may look into the checkout of root.
    let installed = Installed::new(&paths::worker());
    let script = installed.path().with_extension("sh");
    let nobody = "setpriv --reuid=65534 --regid=65534 --clear-groups --inh-caps=-all --bounding-set=-all";
    let become_nobody = if root() { nobody } else { "" };
    let line = format!("#!/bin/sh\nexec {become_nobody} {} \"$@\"\n", installed.path().display());
    fs::write(&script, line).and_then(|()| fs::set_permissions(&script, Permissions::from_mode(0o755))).expect("ours");
    let agents = Agents::listen();
    let worker = Setup::with_url(&agents.url()).binary(script).launch();
    let (mut connection, _) = agents.registered();
    connection.run_job("AJ_1", "studio");
    wait_readers(&worker);
    let (job, state) = (job_pid(&worker, "AJ_1"), worker.state());
    assert_eq!(status(job, "Uid"), status(worker.pid(), "Uid"), "nobody can become somebody else");
    assert!(!status(job, "Uid").starts_with("0\t"));
    assert_eq!((status(job, "Seccomp"), status(job, "NoNewPrivs")), ("2".into(), "1".into()));
    let texts = |list: &Value| list.as_array().expect("a list").iter().map(|text| text.to_string()).collect::<Vec<_>>();
    let told = texts(&state["isolation"]["missing"]);
    let named = |layer: &str, remedy: &str| {
        told.iter().any(|line| line.starts_with(&format!("\"{layer}: ")) && line.contains(remedy))
    };
    assert!(named("own user", "run the worker as root"), "{told:?}");
    let has = texts(&state["jobs"][0]["sandbox"]["layers"]);
    for layer in ["no capabilities", "no new privileges", "resource limits", "seccomp"] {
        assert!(has.contains(&format!("\"{layer}\"")), "without {layer}: {has:?}");
    }
    // By a user namespace, where the system gives anybody one.
    assert!(has.contains(&"\"file view\"".into()) || named("file view", "allow user namespaces"), "{has:?} {told:?}");
    for layer in LAYERS.into_iter().chain(["landlock"]) {
        assert!(has.contains(&format!("\"{layer}\"")) || named(layer, " ("), "{layer}: {has:?} {told:?}");
    }
    for line in told.iter().filter(|line| !line.contains(" for children: ")) {
        worker.wait_log(&format!("isolation without {}", line.trim_matches('"').replace("\\\"", "\"")), SOON);
    }
}

fn landlock() -> bool {
    fs::read_to_string("/sys/kernel/security/lsm").map_or(true, |lsm| lsm.contains("landlock"))
}

#[test]
fn what_a_hostile_job_tries_fails_is_counted_by_name_and_harms_nobody() {
    let agents = Agents::listen();
    let file = std::env::temp_dir().join(format!("fw-trespass-{}", std::process::id()));
    fs::write(&file, "another's").expect("a temporary directory");
    let participant = env!("CARGO_BIN_EXE_participant").into();
    let setup = Setup::with_url(&agents.url()).binary(participant).toml("[worker]\nmax_jobs = 2\n");
    let worker = setup.launch();
    let (mut connection, _) = agents.registered();
    connection.run_job("AJ_1", "victim");
    let victim = job_pid(&worker, "AJ_1");
    let operators = worker.runtime().join(format!("{}.sock", worker.pid()));
    assert!(operators.exists(), "{operators:?}");
    let targets = [&file.display().to_string(), &worker.http().to_string(), &operators.display().to_string()];
    connection.run_job_with("AJ_2", "studio", &format!("trespass {victim} {}", targets.map(String::as_str).join(" ")));
    // It fails if anything works, and otherwise stays.
    let refused = poll::until("the job has tried everything", SOON, || {
        let state = worker.state();
        let job = state["jobs"].as_array()?.iter().find(|job| job["id"] == "AJ_2")?.clone();
        job["sandbox"]["refused"]["execve"].as_u64()?;
        Some(job["sandbox"]["refused"].clone())
    });
    fs::remove_file(&file).expect("it is ours");
    assert!(refused["chown"].as_u64().or(refused["fchownat"].as_u64()) == Some(1), "{refused}");
    connection.send(ToWorker::Termination(lk::JobTermination { job_id: "AJ_2".into() }));
    let end = connection.status("AJ_2");
    assert_eq!((end.status(), end.error.as_str()), (lk::JobStatus::JsSuccess, ""));
    assert!(procfs::alive(victim));
}

#[test]
fn a_job_has_the_directories_and_system_calls_that_the_configuration_gives_and_no_other_job_has_them() {
    let directory = paths::root().join("tests/judge");
    let file = directory.join("requirements.txt");
    let given = format!("[isolation]\npaths = [{directory:?}]\nsyscalls = [\"setpgid\"]\n");
    let paths = format!("[isolation]\npaths = [{directory:?}]\n");
    for (isolation, error) in [("", "read: "), (&paths, "setpgid: "), (&given, "")] {
        let agents = Agents::listen();
        let setup = Setup::with_url(&agents.url()).binary(env!("CARGO_BIN_EXE_participant").into());
        let worker = setup.toml(isolation).launch();
        let (mut connection, _) = agents.registered();
        connection.run_job_with("AJ_1", "studio", &format!("granted {}", file.display()));
        let end = connection.status("AJ_1");
        let as_expected = if error.is_empty() { end.error.is_empty() } else { end.error.contains(error) };
        assert!(as_expected, "{isolation}: {end:?}; {}", worker.log());
    }
}
