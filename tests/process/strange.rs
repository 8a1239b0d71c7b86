//! A server that says what the worker does not understand.

use super::agents::{Agents, SOON};
use tests::poll;
use tests::worker::Setup;

/// `ServerMessage` with field 1000 alone.
const UNKNOWN: [u8; 4] = [0xc2, 0x3e, 0x01, 0x00];

#[test]
fn messages_that_are_not_understood_are_told_once_a_connection_and_counted() {
    let agents = Agents::listen();
    let worker = Setup::with_url(&agents.url()).launch();
    for round in 1..=2 {
        let (mut connection, _) = agents.registered();
        for _ in 0..3 {
            connection.send_bytes(vec![0xff; 9]);
            connection.send_bytes(UNKNOWN.to_vec());
        }
        let wanted = f64::from(3 * round);
        poll::until("all are counted", SOON, || {
            let counted = |name| worker.metric(name) == wanted;
            (counted("firmware_worker_malformed_messages_total") && counted("firmware_worker_ignored_messages_total"))
                .then_some(())
        });
    }
    let log = worker.log();
    let told = |text: &str| log.lines().filter(|line| line.contains("WARN") && line.contains(text)).count();
    assert_eq!((told("frame is no ServerMessage"), told("does not know its kind")), (2, 2), "{log}");
}
