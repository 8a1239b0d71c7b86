//! What an operator at a shell of the board sees and does.

use super::agents::{Agents, Connection, JOB_TOKEN, SOON};
use super::job_pid;
use firmware_worker::media::pattern::Pattern;
use firmware_worker::media::{I420, jpeg};
use hal::process::Socket;
use livekit_protocol as lk;
use rustix::process::Signal;
use serde_json::Value;
use std::path::PathBuf;
use std::process::Output;
use tests::server::{KEY, SECRET};
use tests::worker::{AGENT, Setup, Worker};
use tests::{http, poll, procfs};

/// A registered worker with two jobs.
fn two_jobs() -> (Worker, Connection) {
    let agents = Agents::listen();
    let worker = Setup::with_url(&agents.url()).toml("[worker]\nmax_jobs = 3\n").launch();
    let (mut connection, _) = agents.registered();
    connection.run_job("AJ_1", "studio");
    connection.run_job("AJ_2", "hall");
    (worker, connection)
}

#[track_caller]
fn stdout(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout.clone()).expect("text")
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn an_operator_lists_jobs_as_http_shows_them() {
    let (worker, _server) = two_jobs();
    let pid = job_pid(&worker, "AJ_2");
    let list = stdout(&worker.operator(&["jobs"]));
    let line = list.lines().find(|line| line.starts_with("AJ_2")).unwrap_or_else(|| panic!("{list}"));
    let words: Vec<_> = line.split_whitespace().collect();
    assert_eq!(&words[1..4], ["hall", AGENT, "joining"], "{list}");
    assert_eq!(words[5..], ["0".to_owned(), pid.to_string(), worker.pid().to_string()], "{list}");
    let mut told: Value = serde_json::from_str(&stdout(&worker.operator(&["jobs", "--json"]))).expect("JSON");
    let served = http::get(worker.http(), "/jobs").expect("the worker answers on loopback");
    let mut served: Value = serde_json::from_str(&served.body).expect("JSON");
    for job in [&mut told[0], &mut served].into_iter().flat_map(|all| all["jobs"].as_array_mut().expect("jobs")) {
        // What goes on between the two questions.
        job["seconds"] = 0.into();
        job["usage"] = Value::Null;
        job["sandbox"]["refused"] = Value::Null;
    }
    assert_eq!((told[0].clone(), served["jobs"][0]["id"].as_str()), (served.clone(), Some("AJ_1")));
    let joining = "firmware_worker_job_state{job=\"AJ_1\",state=\"joining\"} 1";
    assert!(http::get(worker.http(), "/metrics").expect("served").body.contains(joining));
}

#[test]
fn http_tells_no_key_no_secret_and_no_token() {
    let (worker, server) = two_jobs();
    let own = server.authorization.trim_start_matches("Bearer ");
    for path in ["/", "/ready", "/worker", "/jobs", "/metrics"] {
        let body = http::get(worker.http(), path).expect("the worker answers on loopback").body;
        for (what, secret) in [("key", KEY), ("secret", SECRET), ("worker's token", own), ("job's token", JOB_TOKEN)] {
            assert!(!secret.is_empty() && !body.contains(secret), "the {what} in {path}: {body}");
        }
        assert!(!body.contains("token"), "{path}: {body}");
    }
}

#[test]
fn a_job_that_an_operator_stops_ends_as_if_terminated_and_the_server_is_told_by_whom() {
    let (worker, mut server) = two_jobs();
    let (stopped, other) = (job_pid(&worker, "AJ_1"), job_pid(&worker, "AJ_2"));
    assert_eq!(stdout(&worker.operator(&["jobs", "stop", "AJ_1"])), "AJ_1: ended: stopped by an operator\n");
    let status = server.status("AJ_1");
    assert_eq!((status.status(), &*status.error), (lk::JobStatus::JsSuccess, "stopped by an operator"));
    assert!(!procfs::alive(stopped) && procfs::alive(other));
    let again = worker.operator(&["jobs", "stop", "AJ_1"]);
    assert_eq!(again.status.code(), Some(1));
    assert!(stderr(&again).contains("AJ_1: no worker on this board has such a job"), "{again:?}");
}

#[test]
fn a_picture_of_a_camera_that_a_job_has_open_comes_from_its_owner() {
    let (worker, _server) = two_jobs();
    let both = || (worker.metric("firmware_worker_device_readers") == 4.0).then_some(());
    poll::until("both jobs read both devices", SOON, both);
    let owners = worker.owner_pids();
    let taken = worker.snapshot("camera");
    assert!(stderr(&taken).contains("from the worker that has it"), "{taken:?}");
    let mut picture = I420::new(320, 240);
    jpeg::Decoder::default().decode(&taken.stdout, &mut picture).expect("a JPEG of the camera's size");
    let mut pattern = Pattern::new(320, 240);
    let (seen, shown) = (picture.planes(), pattern.draw(0, 0).planes());
    for (plane, width) in [((seen.0, shown.0), 320), ((seen.1, shown.1), 160), ((seen.2, shown.2), 160)] {
        let off = difference(plane, width);
        assert!(off < 8, "a plane of width {width} is off by {off}");
    }
    assert_eq!(worker.owner_pids(), owners);
    worker.wait_log("reader left job=\"operator", SOON);
}

/// Of samples in the bars above the text, which stand still; the corner at the right flashes.
fn difference((seen, shown): (&[u8], &[u8]), width: usize) -> u64 {
    let still =
        |plane: &[u8]| plane.chunks(width).take(20).flat_map(|line| line[..width * 7 / 8].to_vec()).collect::<Vec<_>>();
    let (seen, shown) = (still(seen), still(shown));
    let sum: u64 = seen.iter().zip(&shown).map(|(a, b)| u64::from(a.abs_diff(*b))).sum();
    sum / seen.len() as u64
}

#[test]
fn a_camera_that_no_worker_has_is_opened_by_the_command_itself() {
    let (worker, _server) = two_jobs();
    let other = std::env::temp_dir().join(format!("other-{}.toml", std::process::id()));
    std::fs::write(&other, "[[camera]]\nname = \"yard\"\ndevice = \"test-pattern\"\nwidth = 64\nheight = 64\n")
        .unwrap();
    let taken = worker.operator(&["snapshot", "yard", "--config", other.to_str().expect("text")]);
    std::fs::remove_file(&other).unwrap();
    assert!(taken.stdout.starts_with(&[0xff, 0xd8]) && !stderr(&taken).contains("from the worker"), "{taken:?}");
}

/// Sockets in a worker's runtime directory.
fn sockets(worker: &Worker) -> Vec<PathBuf> {
    let files = worker.runtime().read_dir().expect("a directory of ours").map(|entry| entry.expect("readable").path());
    files.filter(|path| path.extension().is_some_and(|ending| ending == "sock")).collect()
}

#[test]
fn two_workers_on_one_host_are_listed_together_and_what_a_killed_one_leaves_is_swept() {
    let (mut first, _server) = two_jobs();
    let agents = Agents::listen();
    let mut second = Setup::with_url(&agents.url()).beside(&first).launch();
    let (mut connection, _) = agents.registered();
    connection.run_job("AJ_3", "yard");
    let list = stdout(&second.operator(&["jobs"]));
    assert_eq!(list.lines().count(), 4, "{list}");
    first.signal(Signal::KILL);
    first.wait(SOON);
    assert_eq!(sockets(&second).len(), 2, "the killed one has left its file");
    assert_eq!(stdout(&second.operator(&["jobs"])).lines().count(), 2);
    let third = Setup::with_url(&agents.url()).beside(&second).launch();
    let swept = || (sockets(&second).len() == 2 && sockets(&second).contains(&socket_of(&third))).then_some(());
    poll::until("the new one has swept", SOON, swept);
    second.signal(Signal::TERM);
    second.wait_log("draining", SOON);
    second.signal(Signal::INT);
    second.wait(SOON);
    assert_eq!(sockets(&second), [socket_of(&third)], "an ended worker leaves nothing");
}

fn socket_of(worker: &Worker) -> PathBuf {
    worker.runtime().join(format!("{}.sock", worker.pid()))
}

#[test]
fn operators_that_say_nothing_or_nonsense_hold_up_neither_the_worker_nor_others() {
    let (worker, mut server) = two_jobs();
    let silent: Vec<_> = (0..12).map(|_| Socket::connect(&socket_of(&worker)).expect("room in the backlog")).collect();
    silent[0].send(&[0xff; 200], &[]).expect("room in the socket");
    assert_eq!(worker.state()["active_jobs"], 2, "HTTP is served meanwhile");
    server.run_job("AJ_3", "yard");
    assert_eq!(stdout(&worker.operator(&["jobs"])).lines().count(), 4);
}
