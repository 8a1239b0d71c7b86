//! Log lines on stderr, one per event, in the same shape from all processes.

use std::fmt;
use std::io;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::format::{Compact, Format, Writer};
use tracing_subscriber::fmt::time::SystemTime;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;

/// Tells a child process its log level.
const LEVEL_VARIABLE: &str = "FW_LOG";

/// Tells a child process that the supervisor reads its log, stamps it, and wants to know the level of each line.
const READ_VARIABLE: &str = "FW_LOG_IS_READ";

/// Set by systemd where stderr goes to the journal, which has its own clock and reads levels from a prefix.
const JOURNAL_VARIABLE: &str = "JOURNAL_STREAM";

/// Libraries of ours that tell at `info` and `debug` what nobody wants to know of every packet. Whatever else logs here is
/// user code, or what its author chose.
const LOUD: [&str; 7] = ["str0m", "is::", "dimpl", "sctp_proto", "rustls", "tungstenite", "tokio_tungstenite"];

/// Logs at `level` from now on. Libraries of ours are heard at `warn`, and at `trace` in full.
pub fn start(level: Level) {
    start_as(level, std::env::var_os(JOURNAL_VARIABLE).map(|_| Journal(line().without_time())));
}

fn start_as(level: Level, journal: Option<Journal>) {
    let layer = tracing_subscriber::fmt::layer().with_writer(io::stderr).with_ansi(false);
    let targets = targets(level);
    let registry = tracing_subscriber::registry();
    // The second call in a process changes nothing: the first one's log goes on.
    let _ = match journal {
        Some(format) => registry.with(layer.event_format(format)).with(targets).try_init(),
        None => registry.with(layer.event_format(line())).with(targets).try_init(),
    };
}

/// The same in a child process, at the level that its environment says.
pub fn start_child() {
    let level = std::env::var(LEVEL_VARIABLE).ok().and_then(|level| level.parse().ok());
    let level = level.unwrap_or(Level::INFO);
    match std::env::var_os(READ_VARIABLE) {
        // The supervisor's own line has the level in words.
        Some(_) => start_as(level, Some(Journal(line().without_time().with_level(false)))),
        None => start(level),
    }
}

/// The same for a child whose standard error the supervisor reads.
pub fn read_child_environment(level: Level) -> Vec<(&'static str, String)> {
    vec![(LEVEL_VARIABLE, level.to_string()), (READ_VARIABLE, "1".into())]
}

/// What a child process must find in its environment to log as this one does.
pub fn child_environment(level: Level) -> Vec<(&'static str, String)> {
    let journal = std::env::var(JOURNAL_VARIABLE).ok().map(|stream| (JOURNAL_VARIABLE, stream));
    [(LEVEL_VARIABLE, level.to_string())].into_iter().chain(journal).collect()
}

fn targets(level: Level) -> Targets {
    let libraries = if level == Level::TRACE { LevelFilter::TRACE } else { LevelFilter::WARN };
    let level = LevelFilter::from_level(level);
    Targets::new().with_default(level).with_targets(LOUD.map(|name| (name, libraries.min(level))))
}

fn line() -> Format<Compact, SystemTime> {
    Format::default().compact().with_target(false).with_ansi(false)
}

/// Lines with the level as sd-daemon(3) writes it.
struct Journal(Format<Compact, ()>);

impl<S, N> FormatEvent<S, N> for Journal
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut out: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        write!(out, "<{}>", priority(*event.metadata().level()))?;
        self.0.format_event(context, out, event)
    }
}

fn priority(level: Level) -> u8 {
    match level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO => 6,
        Level::DEBUG | Level::TRACE => 7,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_quiet_unless_everything_is_asked_for() {
        let debug = targets(Level::DEBUG);
        assert!(debug.would_enable("firmware_worker::job", &Level::DEBUG));
        assert!(!debug.would_enable("str0m::dtls", &Level::INFO));
        assert!(debug.would_enable("rustls", &Level::WARN));
        assert!(targets(Level::TRACE).would_enable("str0m::dtls", &Level::TRACE));
        assert!(!targets(Level::ERROR).would_enable("rustls", &Level::WARN));
    }

    #[test]
    fn an_own_entrypoint_is_heard_as_the_worker_is() {
        for level in [Level::INFO, Level::DEBUG] {
            assert!(targets(level).would_enable("doorman::visitors", &level));
        }
        assert!(!targets(Level::INFO).would_enable("doorman", &Level::DEBUG));
    }
}
