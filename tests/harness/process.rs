//! A child process with its last log lines, killed on drop.

use crate::poll;
use rustix::process::{Pid, Signal, kill_process};
use std::collections::VecDeque;
use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

/// Lines kept of each process, the newest: enough to tell why a test failed, small enough to read.
const LOG_LINES: usize = 400;

/// A line and when it came.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    /// Seconds on CLOCK_MONOTONIC.
    pub at: f64,
    /// Without the line break.
    pub text: String,
}

/// The newest lines of a process.
#[derive(Clone, Debug, Default)]
pub struct Log(Arc<Mutex<VecDeque<Line>>>);

impl Log {
    fn lines(&self) -> MutexGuard<'_, VecDeque<Line>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, text: String) {
        let line = Line { at: poll::monotonic(), text };
        let mut lines = self.lines();
        if lines.len() == LOG_LINES {
            lines.pop_front();
        }
        lines.push_back(line);
    }

    /// The last line that contains all of `texts`.
    pub fn find(&self, texts: &[&str]) -> Option<Line> {
        self.lines().iter().rev().find(|line| texts.iter().all(|text| line.text.contains(text))).cloned()
    }

    /// Everything kept.
    pub fn text(&self) -> String {
        self.lines().iter().map(|line| line.text.as_str()).collect::<Vec<_>>().join("\n")
    }

    fn follow(&self, pipe: impl Read + Send + 'static) {
        let log = self.clone();
        thread::spawn(move || {
            // A serial line has noise, which is no text.
            for line in BufReader::new(pipe).split(b'\n').map_while(Result::ok) {
                log.push(String::from_utf8_lossy(&line).trim_end_matches('\r').to_owned());
            }
        });
    }
}

/// A running program.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    /// What it has written to stderr, and to stdout unless that was taken.
    pub log: Log,
}

impl Process {
    /// Starts it with both outputs captured in the log.
    pub fn start(name: &str, command: &mut Command) -> Self {
        Self::start_talking(name, command.stdin(Stdio::null()))
    }

    /// The same with stdin as the command has it.
    pub fn start_talking(name: &str, command: &mut Command) -> Self {
        let mut process = Self::start_piped(name, command);
        let stdout = process.take_stdout();
        process.log.follow(stdout);
        process
    }

    /// Starts it with stdout left to the caller ([`Process::take_stdout`]).
    pub fn start_piped(name: &str, command: &mut Command) -> Self {
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let mut child = child.unwrap_or_else(|error| panic!("{name}: cannot start {command:?}: {error}"));
        let log = Log::default();
        log.follow(child.stderr.take().expect("stderr is piped"));
        Self { name: name.into(), child, log }
    }

    /// Its stdout, once.
    pub fn take_stdout(&mut self) -> ChildStdout {
        self.child.stdout.take().expect("stdout is taken once")
    }

    /// Its stdin, once.
    pub fn take_stdin(&mut self) -> ChildStdin {
        self.child.stdin.take().expect("stdin is piped and taken once")
    }

    /// Process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        kill(self.pid(), signal);
    }

    /// Whether and how it has ended.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("the child is ours")
    }

    /// Waits for its end.
    #[track_caller]
    pub fn wait(&mut self, limit: Duration) -> ExitStatus {
        let what = format!("{} ends", self.name);
        poll::until(&what, limit, || self.ended())
    }

    /// Ends it now.
    pub fn kill(&mut self) {
        // An error says that it is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        if thread::panicking() {
            eprintln!("---- {} (pid {}) ----\n{}", self.name, self.pid(), self.log.text());
        }
    }
}

/// Signals a process that need not be a child of ours.
pub fn kill(pid: u32, signal: Signal) {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).expect("a pid is positive");
    // An error says that it is gone already, which is what a signal is for.
    let _ = kill_process(pid, signal);
}

/// A command that starts with an environment of its own, so that no `LIVEKIT_*` of the developer's shell gets in.
pub fn clean_command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("LIVEKIT_")) {
        command.env_remove(name);
    }
    command
}
