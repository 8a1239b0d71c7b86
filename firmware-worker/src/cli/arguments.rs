//! Subcommands and flags.

use super::exit;
use crate::config::{ServerWritten, WorkerWritten, Written};
use clap::builder::{PossibleValue, PossibleValuesParser};
use clap::{Args, Parser, Subcommand};
use std::path::PathBuf;
use std::time::Duration;

/// LiveKit agents worker for small boards: takes jobs and brings cameras and microphones into their rooms.
#[derive(Debug, Parser)]
#[command(name = "firmware-worker", version, after_help = exit::HELP)]
pub(super) struct Arguments {
    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Register with the server and take jobs until stopped; the first SIGTERM or SIGINT drains, the second stops
    Start(Settings),
    /// The same at a developer's desk: verbose, without HTTP port unless one is configured, and the first signal stops
    Dev(Settings),
    /// Join one room without registering and without dispatch
    Connect {
        /// Room to join
        #[arg(long)]
        room: String,
        /// Identity to join as, unless a token says it
        #[arg(long)]
        identity: Option<String>,
        #[command(flatten)]
        settings: Settings,
    },
    /// List the cameras and sound cards of this board
    Devices {
        /// As JSON
        #[arg(long)]
        json: bool,
        /// Configuration file, for cameras that are commands [default: the one that `start` would read]
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
    /// Measure a configured device: capture to last packet, opening, CPU and memory
    #[command(subcommand)]
    Bench(Bench),
    /// Take one picture with a configured camera: JPEG to stdout
    Snapshot {
        /// Name of the camera in the configuration
        camera: String,
        /// Configuration file [default: the one that `start` would read]
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
    /// List the jobs of the workers that run on this board
    #[command(args_conflicts_with_subcommands = true)]
    Jobs {
        /// As JSON
        #[arg(long)]
        json: bool,
        #[command(subcommand)]
        command: Option<Jobs>,
    },
    /// Check a configuration and say what the worker would do with it
    Check {
        /// Configuration file [default: the one that `start` would read]
        file: Option<PathBuf>,
        /// Say whether this program could take the place of a running one, which has written its state to this descriptor: an
        /// upgrade asks so
        #[arg(long, value_name = "FD", value_parser = clap::value_parser!(i32).range(0..))]
        handover: Option<i32>,
        /// Say only whether jobs could do something with what this command would read: a worker that reads it again asks so
        #[arg(long, value_name = "COMMAND", value_parser = ["start", "dev"], conflicts_with_all = ["file", "handover"])]
        job: Option<String>,
        #[command(flatten)]
        settings: Settings,
    },
    /// Say what on this board keeps the worker from working well, with the remedy; 1 if something is wrong
    Doctor {
        /// Switch the memory controller of a Raspberry Pi on, in cmdline.txt, after showing the change
        #[arg(long)]
        fix: bool,
        #[command(flatten)]
        settings: Settings,
    },
    /// Install an update of a flashed image in its other slot, drain the worker, and restart into it
    Update(UpdateOptions),
    /// On a flashed board: take over the settings on its boot partition
    #[command(subcommand)]
    Board(BoardCommand),
    /// Make a worker token from API key and secret, so that the secret stays off the board
    Token {
        /// How long it is valid: 90d, 12h, 30m
        #[arg(long, default_value = "90d", value_parser = duration)]
        ttl: Duration,
        /// Write it to this new file, readable by its owner alone, instead of to stdout
        #[arg(long)]
        output: Option<PathBuf>,
        #[command(flatten)]
        settings: Settings,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum BoardCommand {
    /// Read firmware-worker.toml there, keep it, and write what the system reads; mistakes go into a report beside it
    Apply,
}

#[derive(Debug, Args)]
pub(super) struct UpdateOptions {
    /// Update file (.fwu), or where a server has it: http:// or https://
    #[arg(value_name = "FILE|URL", required_unless_present_any = ["status", "watch"])]
    pub(super) source: Option<String>,
    /// Say which slot runs, what is on trial, and which updates were taken back
    #[arg(long, conflicts_with_all = ["source", "watch"])]
    pub(super) status: bool,
    /// The status as JSON
    #[arg(long, requires = "status")]
    pub(super) json: bool,
    /// Keep the slot that is on trial, or restart into the other one: what the service does after each start
    #[arg(long, conflicts_with = "source")]
    pub(super) watch: bool,
    /// Also a version that is older than the running one
    #[arg(long, conflicts_with_all = ["status", "watch"])]
    pub(super) allow_older: bool,
    /// Also a version that was taken back before
    #[arg(long, conflicts_with_all = ["status", "watch"])]
    pub(super) again: bool,
    /// PEM certificates to trust beside the built-in roots
    #[arg(long, value_name = "FILE", conflicts_with_all = ["status", "watch"])]
    pub(super) ca_file: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(super) enum Jobs {
    /// End a job, and wait until it has ended
    Stop {
        /// As `firmware-worker jobs` shows it
        id: String,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum Bench {
    /// A camera
    Camera(BenchOptions),
    /// A microphone
    Microphone(BenchOptions),
    /// A speaker: plays a tone
    Speaker(BenchOptions),
    /// How a speaker is heard by a microphone: plays noise
    Echo {
        /// Name of the speaker in the configuration
        #[arg(default_value = "speaker")]
        speaker: String,
        /// Name of the microphone in the configuration
        #[arg(default_value = "microphone")]
        microphone: String,
        /// How long to measure
        #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=3600))]
        seconds: u32,
        /// As JSON
        #[arg(long)]
        json: bool,
        /// Configuration file [default: the one that `start` would read]
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
}

#[derive(Debug, Args)]
pub(super) struct BenchOptions {
    /// Its name in the configuration [default: camera, microphone, speaker]
    pub(super) name: Option<String>,
    /// How long to measure
    #[arg(long, value_name = "N", default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=3600))]
    pub(super) seconds: u32,
    /// As JSON
    #[arg(long)]
    pub(super) json: bool,
    /// Configuration file [default: the one that `start` would read]
    #[arg(long, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
}

/// Flags over environment over file over defaults. Secrets are only ever named by file: arguments are public.
#[derive(Clone, Debug, Default, Args)]
pub(super) struct Settings {
    /// Configuration file [default: a flashed board's own, else /etc/firmware-worker/config.toml if it exists]
    #[arg(long, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
    /// One more, for what the configuration leaves out
    #[arg(long, value_name = "FILE")]
    pub(super) defaults: Option<PathBuf>,
    /// Server, ws:// or wss://
    #[arg(long)]
    pub(super) url: Option<String>,
    /// API key
    #[arg(long, value_name = "KEY")]
    pub(super) api_key: Option<String>,
    /// File with the API secret
    #[arg(long, value_name = "FILE")]
    pub(super) api_secret_file: Option<PathBuf>,
    /// File with a ready token: a worker token, for `connect` a join token
    #[arg(long, value_name = "FILE", alias = "token")]
    pub(super) token_file: Option<PathBuf>,
    /// Name for explicit dispatch
    #[arg(long, value_name = "NAME")]
    pub(super) agent_name: Option<String>,
    /// Jobs at a time
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=256))]
    pub(super) max_jobs: Option<u32>,
    /// Address and port for operators, or "off"
    #[arg(long, value_name = "ADDRESS")]
    pub(super) http: Option<String>,
    /// error, warn, info, debug or trace
    #[arg(long, value_name = "LEVEL", value_parser = log_levels(), ignore_case = true, hide_possible_values = true)]
    pub(super) log_level: Option<String>,
}

impl Settings {
    /// As the top layer of configuration.
    pub(super) fn written(self) -> Written {
        let mut written = Written {
            server: ServerWritten {
                url: self.url,
                api_key: self.api_key,
                api_secret_file: self.api_secret_file,
                token_file: self.token_file,
                ..ServerWritten::default()
            },
            worker: WorkerWritten { agent_name: self.agent_name, max_jobs: self.max_jobs, ..WorkerWritten::default() },
            ..Written::default()
        };
        written.http.listen = self.http;
        written.log.level = self.log_level;
        written
    }
}

/// As in the file, which takes numbers too.
fn log_levels() -> PossibleValuesParser {
    let names = ["error", "warn", "info", "debug", "trace"].into_iter().zip(["1", "2", "3", "4", "5"]);
    names.map(|(name, number)| PossibleValue::new(name).alias(number)).into()
}

/// A number and its unit.
fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is not a number with s, m, h or d behind it");
    let (number, unit) = text.split_at(text.len() - text.chars().next_back().map_or(0, char::len_utf8));
    let seconds: u64 = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => return Err(wrong()),
    };
    let number: u64 = number.parse().map_err(|_| wrong())?;
    number.checked_mul(seconds).filter(|&s| s > 0).map(Duration::from_secs).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory;
        Arguments::command().debug_assert();
    }

    #[test]
    fn durations_need_a_number_and_a_unit() {
        assert_eq!(duration("90d"), Ok(Duration::from_secs(90 * 86_400)));
        assert_eq!(duration("30m"), Ok(Duration::from_secs(1800)));
        for wrong in ["", "90", "d", "0h", "-1h", "1y", "99999999999999999999d", "9999999999999999999d", "1é"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn flags_that_would_change_nothing_and_values_out_of_range_are_wrong_arguments() {
        for line in [
            "update --status --again",
            "update --status --allow-older",
            "update --watch --ca-file x",
            "jobs --json stop AJ_1",
            "start --max-jobs 0",
            "start --log-level loud",
            "start --log-level 6",
        ] {
            let words = std::iter::once("firmware-worker").chain(line.split(' '));
            assert!(Arguments::try_parse_from(words).is_err(), "{line}");
        }
        for line in [
            "update --status --json",
            "update x.fwu --again",
            "jobs --json",
            "jobs stop AJ_1",
            "start --max-jobs 2 --log-level WARN",
        ] {
            let words = std::iter::once("firmware-worker").chain(line.split(' '));
            assert!(Arguments::try_parse_from(words).is_ok(), "{line}");
        }
    }

    #[test]
    fn no_flag_takes_a_secret_itself() {
        for flag in ["--api-secret", "--secret"] {
            assert!(Arguments::try_parse_from(["firmware-worker", "start", flag, "x"]).is_err());
        }
    }

    #[test]
    fn help_lists_the_exit_codes() {
        let help = Arguments::try_parse_from(["firmware-worker", "--help"]).unwrap_err().to_string();
        for code in [exit::FAILURE, exit::USAGE, exit::CUT_SHORT, exit::CONFIGURATION] {
            assert!(help.lines().any(|line| line.trim_start().starts_with(&format!("{code}  "))), "{code}\n{help}");
        }
    }
}
