//! Where configuration comes from: flags over environment over file over defaults.

use super::written::{LogWritten, ServerWritten, WorkerWritten};
use super::{Config, Credentials, Device, Error, Written, meaning, sources, syntax};
use crate::job::BoxError;
use protocol::secret::Secret;
use protocol::worker::{self, RestartPolicy};
use std::fs;
use std::path::{Path, PathBuf};

/// Looks up a variable; a parameter so that tests need not change the process.
pub type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

/// What defaults depend on.
#[derive(Clone, Copy, Debug)]
pub struct Defaults {
    /// Bytes of memory of the board, if known.
    pub memory: Option<u64>,
    /// At a developer's desk: verbose, and no HTTP port unless one is asked for.
    pub development: bool,
    /// The entrypoint's own.
    pub entrypoint: Outline,
}

/// What `[job]` means for the program's own code.
#[derive(Clone, Copy, Debug, Default)]
pub struct Outline {
    /// What becomes of jobs that fail, unless `[job]` says it.
    pub restart: RestartPolicy,
    /// Refuses what no job could do anything with.
    pub check: Option<JobCheck>,
    /// What a job may use, unless `[limits]` says it; `None` for what every worker's may.
    pub limits: worker::Limits,
}

/// What jobs will do with this configuration, in a few words, or why they can do nothing with it.
pub type JobCheck = fn(&Config) -> Result<String, BoxError>;

/// Reads and merges all layers. Without `file` there is no file layer.
pub fn load(
    flags: Written,
    environment: Environment<'_>,
    file: Option<&Path>,
    defaults: Defaults,
) -> Result<Config, Error> {
    load_over(flags, environment, file, None, defaults)
}

/// The same over one more file, which says what holds where nobody says anything: an image's, for example.
pub fn load_over(
    flags: Written,
    environment: Environment<'_>,
    file: Option<&Path>,
    below: Option<&Path>,
    defaults: Defaults,
) -> Result<Config, Error> {
    let read = |path: &Path| read(path).map(|written| (path.to_owned(), written));
    let files: Vec<_> = [file, below].into_iter().flatten().map(read).collect::<Result<_, _>>()?;
    let above = flags.over(from_environment(environment));
    let merged = files.iter().fold(above, |above, (_, written)| above.over(written.clone()));
    meaning::mean(merged, defaults).map_err(|error| placed(error, &files, defaults))
}

/// A wrong value with the file that it is in, if it is wrong in one by itself.
fn placed(error: Error, files: &[(PathBuf, Written)], defaults: Defaults) -> Error {
    let Error::Value { key, why } = error else { return error };
    let is_in = |(_, written): &&(PathBuf, Written)| {
        let mut alone = written.clone();
        if !key.starts_with("server") {
            let (url, token) = (Some("ws://localhost".into()), Some(Secret::new("token")));
            alone.server = ServerWritten { url, token, ..ServerWritten::default() };
        }
        matches!(meaning::mean(alone, defaults), Err(Error::Value { key: other, .. }) if other == key)
    };
    match files.iter().find(is_in) {
        Some((path, _)) => Error::Value { key: format!("{}: {key}", path.display()), why },
        None => Error::Value { key, why },
    }
}

/// The credentials alone, from all layers: what a command needs that does not connect.
pub fn credentials(flags: Written, environment: Environment<'_>, file: Option<&Path>) -> Result<Credentials, Error> {
    meaning::credentials(&merge(flags, environment, file)?.server)
}

/// The devices alone: what a command needs that uses them without a server.
pub fn devices(environment: Environment<'_>, file: Option<&Path>) -> Result<Vec<Device>, Error> {
    let written = merge(Written::default(), environment, file)?;
    sources::devices(written.camera, written.microphone, written.speaker)
}

/// A file's text that is not, or not yet, where it will be read; errors name `path`.
pub fn parse(text: &str, path: &Path) -> Result<Written, Error> {
    let mut written = syntax::parse(text, path)?;
    // A file for a flashed board carries its secrets; an empty one was moved away by the board.
    let given = |secret: &Option<Secret>| secret.clone().filter(|secret| !secret.expose().is_empty());
    if let Some(board) = &written.board {
        written.server.token = given(&board.token);
        written.server.api_secret = given(&board.api_secret);
    }
    Ok(written)
}

/// The variable that stands for the secret which a board has moved out of this file into itself, if one has.
pub fn moved_secret(file: &Path) -> Option<&'static str> {
    let written = syntax::parse(&fs::read_to_string(file).ok()?, file).ok()?;
    let board = written.board?;
    let (secret, variable) = match written.server.api_key {
        Some(_) => (board.api_secret, "LIVEKIT_API_SECRET"),
        None => (board.token, "LIVEKIT_TOKEN"),
    };
    secret.is_some_and(|secret| secret.expose().is_empty()).then_some(variable)
}

/// What the worker would do with it.
pub fn check(written: Written, environment: Environment<'_>, defaults: Defaults) -> Result<Config, Error> {
    meaning::mean(from_environment(environment).over(written), defaults)
}

fn merge(flags: Written, environment: Environment<'_>, file: Option<&Path>) -> Result<Written, Error> {
    let file = file.map(read).transpose()?.unwrap_or_default();
    Ok(flags.over(from_environment(environment)).over(file))
}

fn read(path: &Path) -> Result<Written, Error> {
    let text = fs::read_to_string(path).map_err(|source| Error::Read { path: path.to_owned(), source })?;
    let mut written = parse(&text, path)?;
    let beside = path.parent().unwrap_or(Path::new(""));
    let ServerWritten { api_secret_file, token_file, ca_file, .. } = &mut written.server;
    for file in [api_secret_file, token_file, ca_file].into_iter().flatten() {
        // A service starts in no directory of its own, so that a relative path can mean this alone.
        *file = beside.join(&*file);
    }
    Ok(written)
}

/// A variable that is set but empty counts as not set: that is how unit files and containers leave one out.
fn from_environment(environment: Environment<'_>) -> Written {
    let get = |name: &str| environment(name).filter(|value| !value.is_empty());
    Written {
        server: ServerWritten {
            url: get("LIVEKIT_URL"),
            api_key: get("LIVEKIT_API_KEY"),
            api_secret: get("LIVEKIT_API_SECRET").map(Secret::new),
            token: get("LIVEKIT_TOKEN").map(Secret::new),
            ..ServerWritten::default()
        },
        worker: WorkerWritten { agent_name: get("LIVEKIT_AGENT_NAME"), ..WorkerWritten::default() },
        log: LogWritten { level: get("LIVEKIT_LOG_LEVEL") },
        ..Written::default()
    }
}
