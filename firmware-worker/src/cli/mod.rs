//! What a person types.

mod arguments;
mod bench;
mod board;
mod check;
mod devices;
mod doctor;
pub mod exit;
mod jobs;
pub mod log;
#[cfg(test)]
mod manual;
mod operator;
mod snapshot;
mod token;
mod trial;
mod update;
mod view;

use crate::board::SETTINGS;
use crate::config::{self, Config, Credentials, Defaults, Outline, read_secret};
use crate::control::{confinement, panic};
use crate::job::{self, WorkerOptions};
use crate::{device, supervisor};
use arguments::{Arguments, Bench, BoardCommand, Command, Jobs, Settings};
use clap::Parser;
use hal::board::Board;
use hal::process::{Inheritance, Socket, end_with_the_reader, inherited_control};
use protocol::secret::Secret;
use protocol::worker::RestartPolicy;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Once;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The subcommand of a worker.
const START: &str = "start";

/// First argument of a job process.
pub const JOB: &str = "__job";
/// First argument of a device owner process.
pub const OWNER: &str = "__owner";

/// First argument of a process that is confined as others are, and ends.
pub const TRIAL: &str = "__trial";

/// First argument of the process that keeps a camera's command.
pub const KEEPER: &str = "__keeper";

/// First argument of a process that opens a camera's node for its owner.
pub const OPENER: &str = "__opener";

/// Read without being asked to where it exists, but for flashed boards.
pub(crate) const CONFIG_FILE: &str = "/etc/firmware-worker/config.toml";

/// Runs what the arguments say; with `options` in job processes.
pub fn run(arguments: Vec<OsString>, options: WorkerOptions) -> ExitCode {
    match arguments.get(1).and_then(|argument| argument.to_str()) {
        Some(JOB) => child(confined(|control| job::main(control, options))),
        Some(OWNER) => child(confined(device::main)),
        Some(TRIAL) => child(confined(silent(|_| ExitCode::SUCCESS))),
        Some(KEEPER) => child(silent(device::keep_command)),
        Some(OPENER) => child(silent(supervisor::open_for_owner)),
        Some(START) => started(arguments, &options),
        _ => match Arguments::try_parse_from(arguments) {
            Ok(parsed) => command(parsed.command, &options, None),
            Err(refusal) => refuse(&refusal),
        },
    }
}

/// The one subcommand that may find itself in another program's place. Dropped, the inheritance goes back to that one: so
/// does whatever ends here before the worker is up.
fn started(arguments: Vec<OsString>, options: &WorkerOptions) -> ExitCode {
    let inheritance = match Inheritance::take().transpose() {
        Ok(inheritance) => inheritance,
        Err(error) => {
            eprintln!("firmware-worker: {error}");
            return exit::USAGE.into();
        }
    };
    match Arguments::try_parse_from(arguments) {
        Ok(parsed) => command(parsed.command, options, inheritance),
        Err(refusal) => refuse(&refusal),
    }
}

/// A process started by the supervisor: its control socket is inherited, its log level is in the environment.
fn child(main: impl FnOnce(Socket) -> ExitCode) -> ExitCode {
    log::start_child();
    match inherited_control() {
        Ok(control) => main(control),
        Err(error) => {
            tracing::error!("this subcommand is for the supervisor's own use: no control socket ({error})");
            exit::USAGE.into()
        }
    }
}

/// The same, with everything taken from the process that it need not have, before it has a thread.
fn confined(main: impl FnOnce(Socket) -> ExitCode) -> impl FnOnce(Socket) -> ExitCode {
    |control| match confinement::enter(&control) {
        Ok(()) => main(control),
        Err(error) => {
            tracing::error!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// The same for one that tells no panics by its socket.
fn silent(main: impl FnOnce(Socket) -> ExitCode) -> impl FnOnce(Socket) -> ExitCode {
    |control| {
        if let Err(error) = panic::install(panic::Kind::Silent, None) {
            tracing::error!("panic hook: {error}");
        }
        main(control)
    }
}

/// Help and version are refusals too, and go to stdout with code 0.
fn refuse(refusal: &clap::Error) -> ExitCode {
    // A closed stdout or stderr leaves nobody to tell.
    let _ = refusal.print();
    if refusal.use_stderr() { exit::USAGE.into() } else { ExitCode::SUCCESS }
}

fn command(command: Command, options: &WorkerOptions, inheritance: Option<Inheritance>) -> ExitCode {
    use Command::{Check, Devices, Jobs as ShowJobs, Snapshot, Token};
    // What somebody reads and does nothing else.
    if matches!(command, Check { .. } | Devices { .. } | ShowJobs { .. } | Snapshot { .. } | Token { .. }) {
        end_with_the_reader();
    }
    match command {
        Command::Start(settings) => start(settings, false, options, inheritance),
        Command::Dev(settings) => start(settings, true, options, inheritance),
        Command::Connect { room, identity, settings } => connect(settings, room, identity, options.outline()),
        Command::Devices { json, config } => devices::print(json, config.as_deref()),
        Command::Bench(Bench::Camera(options)) => bench::print(bench::Kind::Camera, &options),
        Command::Bench(Bench::Microphone(options)) => bench::print(bench::Kind::Microphone, &options),
        Command::Bench(Bench::Speaker(options)) => bench::speaker::print(&options),
        Command::Bench(Bench::Echo { speaker, microphone, seconds, json, config }) => {
            bench::echo::print(config.as_deref(), &speaker, &microphone, seconds, json)
        }
        Command::Snapshot { camera, config } => snapshot::print(config.as_deref(), &camera),
        Command::Jobs { json, command: None } => jobs::print(json),
        Command::Jobs { command: Some(Jobs::Stop { id }), .. } => jobs::stop(&id),
        Command::Doctor { fix, settings } => doctor::print(settings, fix, options.outline()),
        Command::Check { job: Some(command), settings, .. } => {
            check::judge(settings, command == "dev", options.outline())
        }
        Command::Check { file, handover, settings, .. } => check::print(settings, file, handover, options.outline()),
        Command::Board(BoardCommand::Apply) => board::apply(options.outline()),
        Command::Update(options) => update::run(&options),
        Command::Token { ttl, output, settings } => token::print(settings, ttl, output.as_deref()),
    }
}

fn start(settings: Settings, development: bool, options: &WorkerOptions, inheritance: Option<Inheritance>) -> ExitCode {
    let entrypoint = options.outline();
    let config = match load(settings.clone(), development, entrypoint) {
        Ok(config) => config,
        Err(error) => match inheritance {
            Some(inheritance) => inheritance.go_back(&error.to_string()),
            None => return configuration_error(&error),
        },
    };
    begin_log(&config);
    let judged = entrypoint.check.is_some();
    let again = move || load(settings.clone(), development, Outline { check: None, ..entrypoint });
    let reload = supervisor::Reload { load: Box::new(again), judged };
    supervisor::start(config, supervisor::Mode { drain: !development, ask: options.asks() }, reload, inheritance)
}

fn begin_log(config: &Config) {
    log::start(config.log_level);
    config.doubts.iter().for_each(|doubt| tracing::warn!("{doubt}"));
}

fn connect(settings: Settings, room: String, identity: Option<String>, entrypoint: Outline) -> ExitCode {
    let loaded = load(settings, true, Outline { restart: RestartPolicy::Never, ..entrypoint })
        .and_then(|config| Ok((join_token(&config)?, config)));
    let (token, config) = match loaded {
        Ok(loaded) => loaded,
        Err(error) => return configuration_error(&error),
    };
    begin_log(&config);
    let identity = identity.unwrap_or_else(default_identity);
    supervisor::connect(config, room, identity, token)
}

/// The ready token to join with, if the credentials are no key and secret that could mint one.
fn join_token(config: &Config) -> Result<Option<Secret>, config::Error> {
    let token = match &config.server.credentials {
        Credentials::Key { .. } => return Ok(None),
        Credentials::Token(token) => token.clone(),
        Credentials::TokenFile(path) => read_secret(path)?,
    };
    let why = match protocol::token::inspect(&token).map(|claims| claims.unfit_for_room(since_1970())) {
        Ok(None) => return Ok(Some(token)),
        Ok(Some(unfit)) => format!("{unfit}; give a join token, or API key and secret to mint one"),
        Err(error) => error.to_string(),
    };
    Err(config::Error::Value { key: "connect".into(), why })
}

/// The wall clock, for tokens and display only.
fn since_1970() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// Distinct for each board: two participants with one identity throw each other out.
fn default_identity() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    match host.trim() {
        "" => "firmware-worker".into(),
        host => format!("firmware-worker-{host}"),
    }
}

fn load(settings: Settings, development: bool, entrypoint: Outline) -> Result<Config, config::Error> {
    let file = config_file(settings.config.as_deref());
    load_with(settings, &variables(file.as_deref()), development, entrypoint)
}

fn load_with(
    settings: Settings,
    environment: config::Environment<'_>,
    development: bool,
    entrypoint: Outline,
) -> Result<Config, config::Error> {
    let file = config_file(settings.config.as_deref());
    let memory = Board::default().memory().map(|memory| memory.total);
    let defaults = Defaults { memory, development, entrypoint };
    // What somebody types is judged as the service would be.
    let usual = |path: &Path| path == Path::new(SETTINGS) || path == Path::new(CONFIG_FILE);
    let of_the_service =
        || file.as_deref().filter(|path| usual(path)).and_then(|_| crate::board::below(Path::new("/")));
    let below = settings.defaults.clone().or_else(of_the_service);
    let config = config::load_over(settings.written(), environment, file.as_deref(), below.as_deref(), defaults)?;
    if config.server.ca_file.is_some() {
        let wrong = |why| config::Error::Value { key: "server ca_file".into(), why };
        supervisor::trust(&config.server).map_err(wrong)?;
    }
    Ok(config)
}

fn config_file(given: Option<&Path>) -> Option<PathBuf> {
    given.map(Path::to_owned).or_else(|| {
        usual_file(
            |path| path.try_exists(),
            |path| {
                static ONCE: Once = Once::new();
                let path = path.display();
                ONCE.call_once(|| {
                    eprintln!("firmware-worker: {path} is left out: this user may not read it; use sudo")
                });
            },
        )
    })
}

/// The first that is there. One that may not be looked at counts as not there, as for trying things by hand, but is told.
fn usual_file(exists: impl Fn(&Path) -> io::Result<bool>, forbidden: impl Fn(&Path)) -> Option<PathBuf> {
    let there = |path: &PathBuf| {
        exists(path).unwrap_or_else(|_| {
            forbidden(path);
            false
        })
    };
    [SETTINGS, CONFIG_FILE].map(PathBuf::from).into_iter().find(there)
}

/// Whether this is the file of the flashed board that we run on.
fn is_boards_own(file: Option<&Path>) -> bool {
    file == Some(Path::new(SETTINGS))
}

/// The environment, and with a board's own file the secrets that it keeps beside that.
fn variables(file: Option<&Path>) -> impl Fn(&str) -> Option<String> {
    let own = is_boards_own(file);
    move |name| environment(name).or_else(|| if own { crate::board::secret(name) } else { None })
}

fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

fn configuration_error(error: &config::Error) -> ExitCode {
    eprintln!("firmware-worker: {error}");
    exit::CONFIGURATION.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;

    #[test]
    fn a_configuration_that_this_user_may_not_see_is_not_silently_taken_for_absent() {
        let told = RefCell::new(Vec::new());
        let found = |forbidden: &str| {
            told.borrow_mut().clear();
            let exists = |path: &Path| match path.to_str() {
                Some(path) if path == forbidden => Err(io::ErrorKind::PermissionDenied.into()),
                path => Ok(path == Some(CONFIG_FILE)),
            };
            usual_file(exists, |path| told.borrow_mut().push(path.to_owned()))
        };
        assert_eq!(found(""), Some(PathBuf::from(CONFIG_FILE)));
        assert!(told.borrow().is_empty());
        assert_eq!(found(CONFIG_FILE), None);
        assert_eq!(*told.borrow(), [PathBuf::from(CONFIG_FILE)]);
    }
}
