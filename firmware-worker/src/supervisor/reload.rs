//! SIGHUP: the configuration is read again, for jobs that are started from then on.
//!
//! What user code says of `[job]` is asked of another process, this program's `check`: a panic or an endless loop there ends
//! no room.

use super::Event;
use super::run::Supervisor;
use super::upgrade::ask;
use crate::config::{self, Config};
use protocol::worker::{Allowance, Input, Tuning};
use std::ffi::OsString;
use std::fmt;
use std::future::pending;
use std::path::Path;
use std::process::Stdio;
use tokio::signal::unix::Signal;
use tracing::{error, info, warn};

/// The program that runs, wherever an update has put another one.
const OURSELVES: &str = "/proc/self/exe";

/// How the configuration is read again.
pub struct Reload {
    /// As at the start, but for what user code says of it.
    pub load: Box<dyn Fn() -> Result<Config, config::Error> + Send>,
    /// User code has something to say of it.
    pub judged: bool,
}

impl fmt::Debug for Reload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reload").field("judged", &self.judged).finish_non_exhaustive()
    }
}

/// A configuration that user code is asked about.
#[derive(Debug)]
pub(super) struct Judging {
    config: Box<Config>,
    /// Asked to read it again meanwhile.
    again: bool,
}

/// Waits for SIGHUP, for ever where nothing can be reloaded.
pub(super) async fn asked(hangup: &mut Option<Signal>) {
    match hangup {
        Some(hangup) => drop(hangup.recv().await),
        None => pending().await,
    }
}

impl Supervisor {
    /// One that is wrong changes nothing.
    pub(super) fn read_configuration(&mut self) {
        if let Some(judging) = &mut self.judging {
            judging.again = true;
            return;
        }
        let Some(reload) = &self.reload else { return };
        match (reload.load)() {
            Ok(config) if reload.judged => self.have_judged(config),
            Ok(config) => self.reconfigure(config),
            Err(why) => refuse(&why.to_string()),
        }
    }

    fn have_judged(&mut self, config: Config) {
        self.judging = Some(Judging { config: Box::new(config), again: false });
        let events = self.events.clone();
        tokio::spawn(async move {
            let ask = || ask(Path::new(OURSELVES), check_arguments(std::env::args_os()), Stdio::null());
            let result = tokio::task::spawn_blocking(ask).await.unwrap_or_else(|_| Err("shutting down".into()));
            let _ = events.send(Event::Judged(result)).await;
        });
    }

    pub(super) fn judged(&mut self, result: Result<String, String>) {
        match (self.judging.take(), result) {
            (Some(Judging { again: true, .. }), _) => self.read_configuration(),
            (Some(Judging { config, .. }), Ok(_)) => self.reconfigure(*config),
            // What it says itself of a mistake is enough.
            (Some(_), Err(why)) => refuse(why.split_once(": firmware-worker: ").map_or(&*why, |(_, said)| said)),
            (None, _) => {}
        }
    }

    pub(super) fn reconfigure(&mut self, mut new: Config) {
        let kept = kept(&self.config, &new);
        // Users and devices stay those of the start, whatever the new configuration counts on.
        let fewer = config::suffice(&self.config.isolation, &mut new.worker, self.config.devices.len());
        new.doubts.iter().chain(&fewer).for_each(|doubt| warn!("{doubt}"));
        if self.config.devices != new.devices {
            // It may name devices that are there after the restart only.
            new.job_options.clone_from(&self.config.job_options);
        }
        let worker = &new.worker;
        let tuning = Tuning {
            max_jobs: worker.max_jobs,
            limits: Allowance { default: new.limits.job, ceiling: new.limits.ceiling },
            drain_timeout: worker.drain_timeout,
            timeouts: worker.timeouts(),
            restart: worker.restart,
        };
        self.inputs.push_back(Input::Tune(tuning));
        self.jobs.reconfigure(new.job_options.clone(), worker.shutdown_timeout, new.limits.job);
        let (old, worker) = (&mut self.config.worker, new.worker);
        (old.max_jobs, old.drain_timeout) = (worker.max_jobs, worker.drain_timeout);
        (old.initialize_timeout, old.shutdown_timeout) = (worker.initialize_timeout, worker.shutdown_timeout);
        (old.restart, old.unresponsive_timeout, old.prewarm) =
            (worker.restart, worker.unresponsive_timeout, worker.prewarm);
        self.config.job_options = new.job_options;
        (self.config.limits.job, self.config.limits.ceiling) = (new.limits.job, new.limits.ceiling);
        self.config.limits.job_memory_warning = new.limits.job_memory_warning;
        info!("configuration read again: it counts for new jobs");
        if !kept.is_empty() {
            warn!("changed, but taken only by a restart: {}", kept.join(", "));
        }
    }
}

fn refuse(why: &str) {
    error!("the configuration is not taken, the one before stays: {why}");
}

/// As this program was started, with `check --job start` for `start`.
fn check_arguments(ours: impl Iterator<Item = OsString>) -> impl Iterator<Item = OsString> {
    ["check", "--job"].into_iter().map(OsString::from).chain(ours.skip(1))
}

/// What has changed and cannot be taken while the worker runs.
fn kept(old: &Config, new: &Config) -> Vec<&'static str> {
    let (before, after) = (&old.worker, &new.worker);
    let registration = before.agent_name != after.agent_name
        || before.deployment != after.deployment
        || before.job_type != after.job_type
        || before.permissions != after.permissions
        || before.target_load != after.target_load;
    let limits = old.limits.owner != new.limits.owner || old.limits.command != new.limits.command;
    let changes = [
        (old.server.url != new.server.url || old.server.ca_file != new.server.ca_file, "[server]"),
        (old.server.credentials != new.server.credentials, "credentials"),
        (registration, "the registration under [worker]"),
        (old.devices != new.devices, "devices"),
        (old.devices != new.devices && old.job_options != new.job_options, "[job], as devices change with it"),
        (limits, "limits of devices"),
        (old.isolation != new.isolation, "[isolation]"),
        (old.http != new.http, "[http]"),
        (old.log_level != new.log_level, "[log]"),
    ];
    changes.into_iter().filter_map(|(changed, name)| changed.then_some(name)).collect()
}
