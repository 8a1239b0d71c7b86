//! Wrong keys, tokens and configurations: one clear message that names the object and the remedy.

use crate::SOON;
use std::process::Output;
use tests::server::{KEY, SECRET};
use tests::token::Token;
use tests::worker::Setup;
use tests::{Server, Worker};

#[test]
fn a_wrong_secret_is_named_and_retried() {
    let server = Server::start();
    let worker = Setup::new(&server).env("LIVEKIT_API_SECRET", "another-secret-of-thirty-two-chars").launch();
    let line = worker.wait_log("401", SOON).text;
    assert!(line.contains("key") || line.contains("secret"), "{line}");
    assert!(!line.contains("this board's clock is"), "the server's Date agrees with ours: {line}");
    assert_keeps_secret(&worker, "another-secret-of-thirty-two-chars");
}

#[test]
fn a_room_that_refuses_a_token_is_told_and_a_clock_that_is_right_not_accused() {
    let server = Server::start();
    let token = Token::join("studio", "board").sign(KEY, "another-secret-of-thirty-two-chars");
    let mut worker = with_token(&server, &token).connect("studio");
    let line = worker.wait_log("HTTP 401", SOON).text;
    assert!(line.contains("the token is not valid") && !line.contains("this board's clock is"), "{line}");
    assert_eq!(worker.wait(SOON).code(), Some(1));
    assert_keeps_secret(&worker, &token);
}

#[test]
fn an_expired_token_is_named_without_asking_the_server() {
    let server = Server::start();
    let token = Token::worker().valid(-7200, -3600).sign(KEY, SECRET);
    let worker = with_token(&server, &token).launch();
    worker.wait_log("expired", SOON);
    assert_keeps_secret(&worker, &token);
}

#[test]
fn a_token_alone_is_enough_to_register() {
    let server = Server::start();
    let token = Token::worker().sign(KEY, SECRET);
    let worker = with_token(&server, &token).start();
    assert_keeps_secret(&worker, &token);
}

#[test]
fn an_unknown_key_is_refused_with_the_nearest_known_one() {
    let file = std::env::temp_dir().join(format!("unknown-key-{}.toml", std::process::id()));
    std::fs::write(&file, "[worker]\nmax_job = 3\n").unwrap();
    let output = Setup::with_url("ws://127.0.0.1:1").run(&["check", &file.to_string_lossy()]);
    std::fs::remove_file(&file).unwrap();
    let text = said(&output);
    assert!(!output.status.success(), "{text}");
    assert!(text.contains("max_job") && text.contains("max_jobs") && text.contains(&*file.to_string_lossy()), "{text}");
}

#[test]
fn no_url_and_no_credentials_are_said_at_once() {
    let output = Setup::with_url("").run(&["start"]);
    assert!(!output.status.success());
    assert!(said(&output).contains("LIVEKIT_URL"), "{}", said(&output));
    let bare = Setup::with_url("ws://127.0.0.1:1").env("LIVEKIT_API_KEY", "").env("LIVEKIT_API_SECRET", "");
    let output = bare.run(&["start"]);
    assert!(!output.status.success());
    assert!(said(&output).contains("LIVEKIT_API_KEY"), "{}", said(&output));
}

fn with_token(server: &Server, token: &str) -> Setup {
    Setup::new(server).env("LIVEKIT_API_KEY", "").env("LIVEKIT_API_SECRET", "").env("LIVEKIT_TOKEN", token)
}

/// Neither the log nor any child's arguments or environment holds it.
fn assert_keeps_secret(worker: &Worker, secret: &str) {
    assert!(!worker.log().contains(secret), "the log tells the secret");
    for pid in tests::procfs::descendants(worker.pid()) {
        let told = tests::procfs::command_line(pid) + &tests::procfs::environment(pid);
        assert!(!told.contains(secret), "process {pid} was started with the secret in sight");
    }
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}
