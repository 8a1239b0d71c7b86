//! A network for guests: until somebody has logged in on its page, every name leads to it, and it answers for everybody.

use super::agents::{Agents, SOON};
use super::names::{replace, serve};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener};
use tests::namespace;
use tests::worker::Setup;

/// The server's name.
const HOST: &str = "media.example";

/// What such networks answer, in turn: they redirect, show the page at once, some in the HTTP of 1996, or know RFC 6585. What
/// the worker says to each.
static ANSWERS: [(&str, &str); 4] = [
    ("HTTP/1.1 302 Found\r\nLocation: http://login.example/\r\n", "the server redirects (HTTP 302)"),
    ("HTTP/1.1 200 OK\r\n", "what answers is no LiveKit server (HTTP 200)"),
    ("HTTP/1.0 200 OK\r\n", "what answers is no LiveKit server (not WebSocket"),
    ("HTTP/1.1 511 Network Authentication Required\r\n", "(HTTP 511)"),
];

/// Gives each connection the next of the answers, the last for good.
fn answer_for_everybody(listener: TcpListener) {
    std::thread::spawn(move || {
        let last = ANSWERS.last().into_iter().cycle();
        for (mut stream, (head, _)) in listener.incoming().flatten().zip(ANSWERS.iter().chain(last)) {
            // A worker that is gone already needs no answer.
            let _ = stream.read(&mut [0; 8192]);
            let _ = write!(stream, "{head}Content-Length: 0\r\n\r\n");
        }
    });
}

#[test]
fn a_network_that_wants_a_login_first_is_named_and_the_worker_registers_once_it_is_let_in() {
    let name = "portal::a_network_that_wants_a_login_first_is_named_and_the_worker_registers_once_it_is_let_in";
    namespace::with_names_of_its_own(name, || {
        let agents = Agents::listen();
        let port: u16 = agents.url().rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port");
        let portal = Ipv4Addr::new(127, 0, 0, 9);
        answer_for_everybody(TcpListener::bind((portal, port)).expect("a network of our own"));
        let [before, after] = [2, 3].map(|n| Ipv4Addr::new(127, 0, 0, n));
        serve(before, portal);
        serve(after, Ipv4Addr::LOCALHOST);
        replace("/etc/resolv.conf", before);
        let worker = Setup::with_url(&format!("ws://{HOST}:{port}")).launch();
        for (_, said) in ANSWERS {
            let line = worker.wait_log(said, SOON).text;
            assert!(
                line.contains("wants a login on a page of its own") && line.contains("let this board in"),
                "{line}"
            );
        }
        assert!(!worker.ready());
        replace("/etc/resolv.conf", after);
        let (_connection, _) = agents.registered();
        worker.wait_log("registered as", SOON);
    });
}
