//! The judge: a subscriber on the official SDK, in a process of its own, read line by line.

use crate::process::{Process, clean_command};
use crate::{Server, paths, poll};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::process::{ChildStdin, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

/// Python and the SDK load in a second; a busy machine needs more.
const CONNECT: Duration = Duration::from_secs(30);

/// One line of the judge.
#[derive(Clone, Debug)]
pub struct Event(Value);

impl Event {
    /// What happened.
    pub fn name(&self) -> &str {
        self.text("event")
    }

    /// When, seconds on CLOCK_MONOTONIC.
    pub fn at(&self) -> f64 {
        self.0["t"].as_f64().unwrap_or_default()
    }

    /// A text field; empty when it is missing.
    pub fn text(&self, field: &str) -> &str {
        self.0[field].as_str().unwrap_or_default()
    }

    /// Any field.
    pub fn field(&self, field: &str) -> &Value {
        &self.0[field]
    }

    /// The summary of a track of this kind in a `second` or `end` line.
    pub fn track(&self, kind: &str) -> Option<&Value> {
        self.0["tracks"].as_array()?.iter().find(|track| track["kind"] == kind)
    }

    /// A number of that summary; 0 when there is no such track.
    pub fn number(&self, kind: &str, field: &str) -> f64 {
        self.track(kind).and_then(|track| track[field].as_f64()).unwrap_or_default()
    }
}

/// A judge in a room.
#[derive(Debug)]
pub struct Judge {
    process: Process,
    stdin: Option<ChildStdin>,
    events: Arc<Mutex<Vec<Event>>>,
}

impl Judge {
    /// Joins `room` as `identity` and waits until it is in.
    pub fn join(server: &Server, room: &str, identity: &str) -> Self {
        Self::join_with(server, &server.join_token(room, identity), &[])
    }

    /// The same with a given token and more options of `judge.py`.
    pub fn join_with(server: &Server, token: &str, options: &[&str]) -> Self {
        let judge = Self::start(&server.url(), token, options);
        judge.wait("is connected", CONNECT, |event| event.name() == "connected");
        judge
    }

    /// Starts it without waiting.
    pub fn start(url: &str, token: &str, options: &[&str]) -> Self {
        let mut command = clean_command(paths::python());
        command.arg(paths::root().join("tests/judge/judge.py")).args(["--commands", "--url", url]).args(options);
        command.env("JUDGE_TOKEN", token).env("PYTHONDONTWRITEBYTECODE", "1").stdin(Stdio::piped());
        let mut process = Process::start_piped("judge", &mut command);
        let (stdin, stdout) = (process.take_stdin(), process.take_stdout());
        let events = Arc::new(Mutex::new(Vec::new()));
        let sink = events.clone();
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if let Ok(value) = serde_json::from_str(&line) {
                    sink.lock().unwrap_or_else(PoisonError::into_inner).push(Event(value));
                }
            }
        });
        Self { process, stdin: Some(stdin), events }
    }

    /// Everything it has said.
    pub fn events(&self) -> Vec<Event> {
        self.lock().clone()
    }

    /// The first event that fits, past or to come.
    #[track_caller]
    pub fn wait(&self, what: &str, limit: Duration, fits: impl Fn(&Event) -> bool) -> Event {
        self.wait_from(0, what, limit, fits)
    }

    /// The first event that fits and is newer than [`Judge::mark`] was.
    #[track_caller]
    pub fn wait_from(&self, mark: usize, what: &str, limit: Duration, fits: impl Fn(&Event) -> bool) -> Event {
        poll::until(&format!("judge: {what}"), limit, || {
            self.lock().iter().skip(mark).find(|event| fits(event)).cloned()
        })
    }

    /// The first event of this name.
    #[track_caller]
    pub fn event(&self, name: &str, limit: Duration) -> Event {
        self.wait(name, limit, |event| event.name() == name)
    }

    /// A place in the stream of events, for [`Judge::wait_from`].
    pub fn mark(&self) -> usize {
        self.lock().len()
    }

    /// Waits for a whole second in which video came at this rate and a tone was heard.
    #[track_caller]
    pub fn sees_and_hears(&self, mark: usize, fps: f64, limit: Duration) -> Event {
        self.wait_from(mark, &format!("a second of {fps} fps and a tone"), limit, |event| {
            event.name() == "second" && event.number("video", "fps") >= fps && event.number("audio", "pitch_hz") > 0.0
        })
    }

    /// Gives it a command: `publish_tone`, `publish_picture`, `unpublish`, `subscribe`, `send`, `leave`.
    #[track_caller]
    pub fn command(&mut self, name: &str, mut fields: Value) {
        fields["do"] = json!(name);
        let stdin = self.stdin.as_mut().expect("commands come before leave");
        writeln!(stdin, "{fields}").expect("the judge reads its commands");
    }

    /// Lets it leave; returns its last summary and whether it was content.
    #[track_caller]
    pub fn leave(mut self) -> (Event, bool) {
        self.stdin = None;
        let content = self.process.wait(CONNECT).success();
        (self.event("end", CONNECT), content)
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Event>> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Judge {
    fn drop(&mut self) {
        if thread::panicking() {
            let events = self.lock();
            let last = events.iter().rev().take(30).rev().map(|event| event.0.to_string());
            eprintln!("---- judge's last lines ----\n{}", last.collect::<Vec<_>>().join("\n"));
        }
    }
}
