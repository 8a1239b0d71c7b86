//! How a process ended, in plain words.

use super::Exit;
use std::fmt;

impl Exit {
    /// With the last that it wrote to its standard error, if it failed and there is any.
    pub fn with_stderr(self, stderr: String) -> Self {
        match self {
            Self::Code(0) => self,
            _ if stderr.is_empty() => self,
            _ => Self::Complained { exit: Box::new(self), stderr },
        }
    }
}

/// A failure together with the last that its process wrote to its standard error.
pub fn complaint(failure: &str, stderr: &str) -> String {
    if stderr.is_empty() { failure.to_owned() } else { format!("{failure}; standard error: {stderr}") }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exit code {code}"),
            Self::Signal(signal) => match signal_name(*signal) {
                Some(name) => write!(f, "killed by signal {signal} ({name})"),
                None => write!(f, "killed by signal {signal}"),
            },
            Self::OutOfMemory(limit) => limit.fmt(f),
            Self::OutOfProcesses { limit, exit } => write!(f, "process limit {limit} reached; {exit}"),
            Self::Complained { exit, stderr } => f.write_str(&complaint(&exit.to_string(), stderr)),
            Self::NotStarted(why) => write!(f, "process could not be started: {why}"),
        }
    }
}

/// Linux numbers, the same on every architecture we run on.
fn signal_name(signal: i32) -> Option<&'static str> {
    Some(match signal {
        1 => "SIGHUP",
        2 => "SIGINT",
        3 => "SIGQUIT",
        4 => "SIGILL",
        5 => "SIGTRAP",
        6 => "SIGABRT",
        7 => "SIGBUS",
        8 => "SIGFPE",
        9 => "SIGKILL",
        10 => "SIGUSR1",
        11 => "SIGSEGV",
        12 => "SIGUSR2",
        13 => "SIGPIPE",
        14 => "SIGALRM",
        15 => "SIGTERM",
        16 => "SIGSTKFLT",
        24 => "SIGXCPU",
        25 => "SIGXFSZ",
        26 => "SIGVTALRM",
        27 => "SIGPROF",
        29 => "SIGIO",
        30 => "SIGPWR",
        31 => "SIGSYS",
        _ => return None,
    })
}
