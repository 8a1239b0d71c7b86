//! As written to as meant: defaults filled in, values checked.

use super::board::board;
use super::isolation::{self, isolation};
use super::written::{PermissionsWritten, ServerWritten, WorkerWritten, Written};
use super::{Config, Credentials, Defaults, Error, Server, Worker, limits, read_secret, sources};
use protocol::worker::{Permissions, RestartPolicy};
use std::net::{Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::time::Duration;

const MIB: u64 = 1 << 20;

/// What the system, the supervisor and one camera owner take; the rest of the memory is for jobs.
const RESERVED_MEMORY: u64 = 192 * MIB;
/// Memory that one job is planned with.
const JOB_SHARE: u64 = 64 * MIB;
/// More jobs than this by default would share one uplink badly.
const DEFAULT_JOBS: RangeInclusive<u64> = 1..=8;

/// Where operators are served unless said otherwise: on the board itself only.
const HTTP: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 8081);

/// The server's own default of `agents.target_load`.
const TARGET_LOAD: f32 = 0.7;
const DRAIN_TIMEOUT_S: u64 = 3600;
const INITIALIZE_TIMEOUT_S: u64 = 10;
const SHUTDOWN_TIMEOUT_S: u64 = 10;
const UNRESPONSIVE_TIMEOUT_S: u64 = 60;

pub(super) fn mean(written: Written, defaults: Defaults) -> Result<Config, Error> {
    let mut job = written.job.unwrap_or_default();
    let stop = stop_timeout(written.worker.stop_timeout_s)?;
    let restart = restart(job.remove("restart"), defaults)?;
    let mut config = Config {
        server: server(written.server)?,
        worker: worker(written.worker, restart, defaults)?,
        devices: sources::devices(written.camera, written.microphone, written.speaker)?,
        limits: limits::mean(&written.limits, defaults.entrypoint.limits)?,
        isolation: isolation(written.isolation)?,
        http: http(written.http.listen, defaults)?,
        board: board(&written.board.unwrap_or_default(), written.wifi.as_ref())?,
        job_options: sources::job_options(job),
        job_outline: String::new(),
        doubts: Vec::new(),
        log_level: log_level(written.log.level, defaults)?,
    };
    config.doubts = limits::doubts(&config.limits);
    config.doubts.extend(isolation::suffice(&config.isolation, &mut config.worker, config.devices.len()));
    config.doubts.extend(stop.filter(|_| !defaults.development).and_then(|stop| too_late(&config.worker, stop)));
    if let Some(check) = defaults.entrypoint.check {
        config.job_outline = check(&config).map_err(|why| wrong("job", why.to_string()))?;
    }
    Ok(config)
}

pub(super) fn wrong(key: impl Into<String>, why: impl Into<String>) -> Error {
    Error::Value { key: key.into(), why: why.into() }
}

/// `value` if it is within `range`, `default` if there is none.
pub(super) fn within<T: PartialOrd + std::fmt::Display>(
    key: impl Into<String>,
    value: Option<T>,
    default: T,
    range: RangeInclusive<T>,
) -> Result<T, Error> {
    match value {
        None => Ok(default),
        Some(value) if range.contains(&value) => Ok(value),
        Some(value) => Err(wrong(key, format!("{value} is not within {} to {}", range.start(), range.end()))),
    }
}

fn server(written: ServerWritten) -> Result<Server, Error> {
    let credentials = credentials(&written)?;
    let url = written.url.ok_or(Error::NoUrl)?;
    crate::net::host_and_port(&url).map_err(|why| wrong("server url", why))?;
    Ok(Server { url, credentials, ca_file: written.ca_file })
}

pub(super) fn credentials(written: &ServerWritten) -> Result<Credentials, Error> {
    if written.has_token() && written.has_key() {
        return Err(wrong(
            "server credentials",
            "both a token and an API key are given in one place; keep one of them",
        ));
    }
    if let Some(path) = &written.token_file {
        read_secret(path)?;
        return Ok(Credentials::TokenFile(path.clone()));
    }
    if let Some(token) = &written.token {
        return Ok(Credentials::Token(token.clone()));
    }
    let secret = match (&written.api_secret, &written.api_secret_file) {
        (Some(secret), _) => Some(secret.clone()),
        (None, Some(path)) => Some(read_secret(path)?),
        (None, None) => None,
    };
    match (written.api_key.clone(), secret) {
        (Some(key), Some(secret)) => Ok(Credentials::Key { key, secret }),
        (Some(_), None) => Err(Error::NoCredentials(
            "there is an API key but no secret: set LIVEKIT_API_SECRET, or `api_secret_file` under [server]",
        )),
        (None, Some(_)) => Err(Error::NoCredentials(
            "there is an API secret but no key: set LIVEKIT_API_KEY, or `api_key` under [server]",
        )),
        (None, None) => Err(Error::NoCredentials(
            "set LIVEKIT_TOKEN or `token_file` under [server] to a token made by `firmware-worker token` (on the boot partition \
             of a flashed board: `token` under [board]), or set LIVEKIT_API_KEY and LIVEKIT_API_SECRET",
        )),
    }
}

/// The one key under `[job]` that is not the entrypoint's.
fn restart(written: Option<toml::Value>, defaults: Defaults) -> Result<RestartPolicy, Error> {
    let Some(value) = written else { return Ok(defaults.entrypoint.restart) };
    value.try_into().map_err(|_| wrong("job restart", "is not \"never\" or \"on-failure\""))
}

fn worker(written: WorkerWritten, restart: RestartPolicy, defaults: Defaults) -> Result<Worker, Error> {
    let target_load = written.target_load.unwrap_or(TARGET_LOAD);
    if !(target_load > 0.0 && target_load <= 1.0) {
        return Err(wrong("worker target_load", format!("{target_load} is not above 0 and at most 1")));
    }
    let seconds = |key, value, default| within(key, value, default, 1..=86_400).map(Duration::from_secs);
    Ok(Worker {
        agent_name: agent_name(written.agent_name)?,
        deployment: deployment(written.deployment)?,
        job_type: written.job_type.unwrap_or_default(),
        permissions: permissions(written.permissions),
        max_jobs: within("worker max_jobs", written.max_jobs, default_jobs(defaults.memory), 1..=256)?,
        target_load,
        drain_timeout: seconds("worker drain_timeout_s", written.drain_timeout_s, DRAIN_TIMEOUT_S)?,
        initialize_timeout: seconds("worker initialize_timeout_s", written.initialize_timeout_s, INITIALIZE_TIMEOUT_S)?,
        shutdown_timeout: seconds("worker shutdown_timeout_s", written.shutdown_timeout_s, SHUTDOWN_TIMEOUT_S)?,
        unresponsive_timeout: seconds(
            "worker unresponsive_timeout_s",
            written.unresponsive_timeout_s,
            UNRESPONSIVE_TIMEOUT_S,
        )?,
        restart,
        prewarm: within("worker prewarm", written.prewarm, 1, 0..=1)?,
    })
}

/// What a stop of the worker may take, if it is limited at all.
fn stop_timeout(written: Option<u64>) -> Result<Option<Duration>, Error> {
    match written {
        None | Some(0) => Ok(None),
        given => within("worker stop_timeout_s", given, 0, 1..=86_400).map(|s| Some(Duration::from_secs(s))),
    }
}

/// Jobs that are still there when a service manager loses its patience are killed with the supervisor, so that nobody signs
/// them off.
fn too_late(worker: &Worker, stop: Duration) -> Option<String> {
    let (drain, shutdown, stop) = (worker.drain_timeout.as_secs(), worker.shutdown_timeout.as_secs(), stop.as_secs());
    (drain + shutdown >= stop).then(|| {
        format!(
            "worker drain_timeout_s: {drain} and shutdown_timeout_s of {shutdown} are not over when a stop may last \
             {stop} s: what runs then is killed, and its participants stay in their rooms; lower them, or raise \
             TimeoutStopSec of the unit, and stop_timeout_s with it"
        )
    })
}

/// As many as memory allows. Where it is unknown, one.
fn default_jobs(memory: Option<u64>) -> u32 {
    let fit = memory.unwrap_or(0).saturating_sub(RESERVED_MEMORY) / JOB_SHARE;
    fit.clamp(*DEFAULT_JOBS.start(), *DEFAULT_JOBS.end()) as u32
}

fn agent_name(written: Option<String>) -> Result<String, Error> {
    let Some(name) = written else { return Ok(String::new()) };
    if name.trim().is_empty() {
        return Err(wrong(
            "worker agent_name",
            "is empty; give a name for explicit dispatch, or leave it out to be dispatched into every new room",
        ));
    }
    if name.len() > 256 || name.contains(char::is_control) {
        return Err(wrong("worker agent_name", "is longer than 256 bytes or holds control characters"));
    }
    Ok(name)
}

fn deployment(written: Option<String>) -> Result<String, Error> {
    let label = written.unwrap_or_default();
    // The server refuses '_', which separates labels in its own names, without a word.
    let plain = label.chars().all(|c| c.is_ascii_alphanumeric() || "-.".contains(c));
    if label.len() > 64 || !plain {
        return Err(wrong("worker deployment", format!("{label:?} is not up to 64 letters, digits, '-' and '.'")));
    }
    Ok(label)
}

fn permissions(written: PermissionsWritten) -> Permissions {
    let default = Permissions::default();
    Permissions {
        subscribe: written.subscribe.unwrap_or(default.subscribe),
        publish: written.publish.unwrap_or(default.publish),
        sources: written.sources.unwrap_or_default(),
        publish_data: written.publish_data.unwrap_or(default.publish_data),
        update_metadata: written.update_metadata.unwrap_or(default.update_metadata),
        hidden: written.hidden.unwrap_or(default.hidden),
    }
}

fn http(written: Option<String>, defaults: Defaults) -> Result<Option<SocketAddr>, Error> {
    match written.as_deref() {
        None => Ok((!defaults.development).then_some(HTTP)),
        Some("off") => Ok(None),
        Some(address) => match address.parse() {
            Ok(address) => Ok(Some(address)),
            Err(_) => {
                Err(wrong("http listen", format!("{address:?} is not an address and port (127.0.0.1:8081) or \"off\"")))
            }
        },
    }
}

fn log_level(written: Option<String>, defaults: Defaults) -> Result<tracing::Level, Error> {
    let default = if defaults.development { tracing::Level::DEBUG } else { tracing::Level::INFO };
    let Some(level) = written else { return Ok(default) };
    level.parse().map_err(|_| wrong("log level", format!("{level:?} is not error, warn, info, debug or trace")))
}
