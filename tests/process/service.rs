//! What the service manager is told, and what becomes of a worker that it starts again and again.

use super::agents::{Agents, SOON, refuse};
use super::job_pid;
use firmware_worker::supervisor::{BOUNDING_SET, SIGN};
use livekit_protocol as lk;
use rustix::process::Signal;
use std::fs::File;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener};
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;
use tests::worker::Setup;
use tests::{namespace, paths, poll, process};

/// Several of the supervisor's ticks of 2.5 s; the unit's WatchdogSec is three times this.
const WATCHDOG: Duration = Duration::from_secs(10);

#[test]
fn doctor_says_whether_the_server_takes_our_credentials_and_registers_nobody() {
    let server = |url: &str| {
        let output = Setup::with_url(url).run(&["doctor"]);
        let text = String::from_utf8(output.stdout).expect("text");
        let line = text.lines().find(|line| line.split_whitespace().nth(1) == Some("server"));
        line.unwrap_or_else(|| panic!("no server in {text}")).to_owned()
    };
    let agents = Agents::listen();
    let said = server(&agents.url());
    assert!(said.starts_with("good ") && said.ends_with("takes our credentials"), "{said}");
    let heard = agents.connection().next();
    assert!(matches!(heard, Some(Err(_))), "its end, and before that no message: {heard:?}");
    let said = server(&refuse(""));
    assert!(said.starts_with("WRONG") && said.contains("refused our credentials (HTTP 401)"), "{said}");
    let said = server("ws://127.0.0.1:9");
    assert!(said.starts_with("WRONG") && said.contains("cannot connect: "), "{said}");
}

/// As a proxy does that speaks no TLS and has had enough: what the client says next goes to a socket that was reset.
#[test]
fn doctor_finds_a_server_that_hangs_up_on_it_and_ends_itself_where_its_own_reader_does() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback");
    let port = listener.local_addr().expect("bound").port();
    let mut command = Command::new(paths::worker());
    command.arg("doctor").env_clear().env("LIVEKIT_URL", format!("wss://127.0.0.1:{port}")).stdout(Stdio::piped());
    command.env("LIVEKIT_API_KEY", "key").env("LIVEKIT_API_SECRET", "secret");
    let mut doctor = command.spawn().expect("the built program starts");
    let (mut stream, _) = listener.accept().expect("it connects");
    stream.peek(&mut [0]).expect("it speaks first");
    process::kill(doctor.id(), Signal::STOP);
    stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").expect("it is there");
    stream.shutdown(Shutdown::Write).expect("it is there");
    // With what it has said still unread this is a reset.
    drop(stream);
    process::kill(doctor.id(), Signal::CONT);
    let mut said = String::new();
    doctor.stdout.take().expect("piped").read_to_string(&mut said).expect("text");
    assert_eq!(doctor.wait().expect("a child of ours").code(), Some(1), "{said}");
    assert!(said.lines().any(|line| line.split_whitespace().take(2).eq(["WRONG", "server"])), "{said}");

    command.env("LIVEKIT_URL", "wss://127.0.0.1:9").stderr(Stdio::piped());
    let mut doctor = command.spawn().expect("the built program starts");
    drop(doctor.stdout.take());
    let output = doctor.wait_with_output().expect("a child of ours");
    assert_eq!((output.status.signal(), output.stderr.len()), (Some(Signal::PIPE.as_raw()), 0), "{output:?}");
}

#[test]
fn connect_tells_what_is_hardly_meant_so() {
    let limits = "[limits]\njob_memory_mib = 0\nmax_job_memory_mib = 100\n";
    let worker = Setup::with_url("ws://127.0.0.1:9").toml(limits).connect("studio");
    worker.wait_log("limits max_job_memory_mib: ", SOON);
}

#[test]
fn a_worker_without_a_server_has_started_for_the_service_manager_and_feeds_its_watchdog() {
    let path = std::env::temp_dir().join(format!("notify-{}", std::process::id()));
    let socket = UnixDatagram::bind(&path).expect("the temporary directory is writable");
    let _worker = Setup::with_url("ws://127.0.0.1:9").env("NOTIFY_SOCKET", path.to_str().expect("UTF-8")).launch();
    wait_notified(&socket, SOON, "READY=1");
    wait_notified(&socket, WATCHDOG, "WATCHDOG=1");
    wait_notified(&socket, WATCHDOG, "WATCHDOG=1");
    // A leftover in the temporary directory is no failure.
    let _ = std::fs::remove_file(&path);
}

#[track_caller]
fn wait_notified(socket: &UnixDatagram, limit: Duration, wanted: &str) {
    socket.set_read_timeout(Some(limit)).expect("a limit above zero");
    let mut text = [0; 1024];
    loop {
        let length = socket.recv(&mut text).unwrap_or_else(|error| panic!("no {wanted}: {error}"));
        if String::from_utf8_lossy(&text[..length]).lines().any(|line| line == wanted) {
            return;
        }
    }
}

/// A drain would last an hour.
#[test]
fn a_worker_whose_system_goes_down_leaves_its_rooms_at_once_also_in_a_drain_that_it_was_told_before() {
    let name =
        "service::a_worker_whose_system_goes_down_leaves_its_rooms_at_once_also_in_a_drain_that_it_was_told_before";
    let gone = "the system goes down, as its sign says: all rooms are left now";
    namespace::on_an_empty_run(name, || {
        for drains_before in [false, true] {
            let take_down = || std::fs::remove_dir(SIGN).expect("a /run of ours");
            std::fs::create_dir(SIGN).expect("a /run of ours");
            let agents = Agents::listen();
            let mut worker = Setup::with_url(&agents.url()).launch();
            let (mut connection, _) = agents.registered();
            connection.run_job("AJ_1", "studio");
            if drains_before {
                worker.signal(Signal::TERM);
                worker.wait_log("draining", SOON);
                assert!(!connection.offer("AJ_2", "other").available);
                assert!(!worker.log().contains(gone), "only the worker was told to end: {}", worker.log());
                take_down();
            } else {
                take_down();
                worker.signal(Signal::TERM);
            }
            worker.wait_log(gone, SOON);
            assert_eq!(connection.status("AJ_1").status(), lk::JobStatus::JsSuccess);
            assert_eq!(worker.wait(SOON).code(), Some(0));
        }
    });
}

#[test]
fn a_sign_that_comes_after_the_worker_is_known_after_its_next_ticks() {
    let name = "service::a_sign_that_comes_after_the_worker_is_known_after_its_next_ticks";
    namespace::on_an_empty_run(name, || {
        let socket = UnixDatagram::bind("/run/notify").expect("a /run of ours");
        let agents = Agents::listen();
        let mut worker = Setup::with_url(&agents.url()).env("NOTIFY_SOCKET", "/run/notify").launch();
        let _registered = agents.registered();
        wait_notified(&socket, SOON, "READY=1");
        std::fs::create_dir(SIGN).expect("a /run of ours");
        // What was told before says nothing.
        socket.set_nonblocking(true).expect("a socket of ours");
        while socket.recv(&mut [0; 1024]).is_ok() {}
        socket.set_nonblocking(false).expect("a socket of ours");
        // A tick tells, and then looks: at the second the first has looked.
        (0..2).for_each(|_| wait_notified(&socket, WATCHDOG, "WATCHDOG=1"));
        std::fs::remove_dir(SIGN).expect("a /run of ours");
        worker.signal(Signal::TERM);
        worker.wait_log("as its sign says", SOON);
        assert_eq!(worker.wait(SOON).code(), Some(0));
    });
}

#[test]
fn a_worker_that_cannot_start_waits_longer_each_time_until_an_orderly_end() {
    // Nobody listens there, and nobody has to.
    let setup = Setup::with_url("ws://127.0.0.1:9").env("NOTIFY_SOCKET", "/nonexistent/notify");
    // No test has a subtree of a service manager's.
    let failing = setup.clone().toml("[isolation]\nmode = \"strict\"\n");
    let mut worker = failing.clone().launch();
    for _ in 1..4 {
        assert_eq!(worker.wait(SOON).code(), Some(1));
        assert!(!worker.log().contains("waits"), "{}", worker.log());
        worker.again(&failing);
    }
    worker.wait(SOON);
    worker.again(&failing);
    worker.wait_log("started again 4 times in ten minutes: waits 1 s first", SOON);
    worker.wait(SOON);
    worker.reconfigure(&setup);
    worker.again(&setup);
    worker.wait_log("waits 2 s first", SOON);
    worker.wait_log("not registered", SOON);
    assert_eq!(worker.state()["restarts"], 5);
    worker.signal(Signal::TERM);
    assert_eq!(worker.wait(SOON).code(), Some(0));
    worker.again(&setup);
    worker.wait_log("not registered", SOON);
    assert_eq!(worker.state()["restarts"], 0);
}

#[test]
fn a_job_that_brings_its_worker_down_again_and_again_is_not_resumed_for_ever() {
    let agents = Agents::listen();
    let setup = Setup::with_url(&agents.url());
    let mut worker = setup.clone().launch();
    let (mut connection, _) = agents.registered();
    connection.run_job("AJ_1", "studio");
    for resumed in ["resumed", "resumed", "resumed", "not resumed: it was started again 3 times"] {
        job_pid(&worker, "AJ_1");
        worker.signal(Signal::KILL);
        worker.wait(SOON);
        worker.again(&setup);
        let _registered = agents.registered();
        worker.wait_log(&format!("job AJ_1 room \"studio\": {resumed}"), SOON);
    }
    assert_eq!(worker.state()["active_jobs"], 0);
}

/// As for a camera that a desktop's program has open.
#[test]
fn with_the_capabilities_of_the_unit_it_is_seen_what_another_users_process_has_open() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let held = std::env::temp_dir().join(format!("held-{}", std::process::id()));
    let file = File::create(&held).expect("the temporary directory is writable");
    let mut holder = Command::new("setpriv");
    holder.args(["--reuid", "65534", "--clear-groups", "sleep", "60"]).stdin(Stdio::from(file));
    let mut holder = holder.spawn().expect("setpriv, of util-linux, starts");
    let place = Path::new("/proc").join(holder.id().to_string());
    let runs = || (std::fs::read(place.join("comm")).ok()? == b"sleep\n").then_some(());
    poll::until("it is another user's", SOON, runs);
    let left: Vec<_> = BOUNDING_SET.iter().map(|name| name.replace("CAP_", "+").to_lowercase()).collect();
    let bounding = format!("--bounding-set=-all,{}", left.join(","));
    let listed = Command::new("setpriv").args([&bounding, "ls", "-l"]).arg(place.join("fd")).output();
    let listed = listed.expect("setpriv starts");
    holder.kill().expect("it runs");
    holder.wait().expect("it is ours");
    std::fs::remove_file(&held).expect("it is ours");
    let (seen, why) = (String::from_utf8_lossy(&listed.stdout), String::from_utf8_lossy(&listed.stderr));
    assert!(seen.contains(&*held.to_string_lossy()), "{seen}{why}");
}
