//! What the service manager is told.

use super::agents::{Agents, SOON, refuse};
use std::os::unix::net::UnixDatagram;
use std::time::Duration;
use tests::worker::Setup;

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

#[test]
fn a_worker_without_a_server_has_started_for_the_service_manager_and_feeds_its_watchdog() {
    let path = std::env::temp_dir().join(format!("notify-{}", std::process::id()));
    let socket = UnixDatagram::bind(&path).expect("the temporary directory is writable");
    let _worker = Setup::with_url("ws://127.0.0.1:9").env("NOTIFY_SOCKET", path.to_str().expect("UTF-8")).launch();
    let messages = |limit, wanted: &str| {
        socket.set_read_timeout(Some(limit)).expect("a limit above zero");
        let mut text = [0; 1024];
        loop {
            let length = socket.recv(&mut text).unwrap_or_else(|error| panic!("no {wanted}: {error}"));
            if String::from_utf8_lossy(&text[..length]).lines().any(|line| line == wanted) {
                return;
            }
        }
    };
    messages(SOON, "READY=1");
    messages(WATCHDOG, "WATCHDOG=1");
    messages(WATCHDOG, "WATCHDOG=1");
    // A leftover in the temporary directory is no failure.
    let _ = std::fs::remove_file(&path);
}
