//! SIGHUP: the configuration is read again, for jobs that are started from then on.

use super::run::Supervisor;
use crate::config::{self, Config};
use protocol::worker::{Allowance, Input, Tuning};
use std::fmt;
use std::future::pending;
use tokio::signal::unix::Signal;
use tracing::{error, info, warn};

/// Reads the configuration as it was read at the start.
pub(super) struct Reload(pub Box<dyn Fn() -> Result<Config, config::Error> + Send>);

impl fmt::Debug for Reload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Reload")
    }
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
        match self.reload.as_ref().map(|reload| (reload.0)()) {
            Some(Ok(config)) => self.reconfigure(config),
            Some(Err(why)) => error!("the configuration is not taken, the one before stays: {why}"),
            None => {}
        }
    }

    fn reconfigure(&mut self, mut new: Config) {
        let kept = kept(&self.config, &new);
        new.doubts.iter().for_each(|doubt| warn!("{doubt}"));
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
