//! What operators and the service manager are told without asking.

use super::run::Supervisor;
use crate::net::shown;
use std::time::Instant;
use tracing::{info, warn};

impl Supervisor {
    /// Tells operators what has changed about the registration.
    pub(super) fn announce(&mut self) {
        let Some(now) = self.brain.snapshot() else { return };
        if now.registered {
            self.registered = Some(Instant::now());
        }
        let before = self.seen.replace(now.clone());
        let was_registered = before.as_ref().is_some_and(|b| b.registered);
        if now.registered && (!was_registered || before.as_ref().is_some_and(|b| b.worker_id != now.worker_id)) {
            let worker = &self.config.worker;
            let server = shown(&self.config.server.url);
            info!("registered as {} with {server} agent_name {:?}", now.worker_id, worker.agent_name);
            notify(&[sd_notify::NotifyState::Status("registered")]);
            self.totals.registrations += 1;
        } else if !now.registered && !now.draining && before.is_some_and(|b| b.problem != now.problem) {
            warn!("not registered: {}", now.problem);
            notify(&[sd_notify::NotifyState::Status(&now.problem)]);
        }
    }
}

/// The worker runs, registered or not: a board without a network is no service that failed to start.
pub(super) fn started() {
    notify(&[sd_notify::NotifyState::Ready, sd_notify::NotifyState::Status("not registered yet")]);
}

/// The loop turns. Said at each tick; the unit's WatchdogSec is several of them.
pub(super) fn alive() {
    notify(&[sd_notify::NotifyState::Watchdog]);
}

/// For systemd, where it listens; elsewhere nothing happens.
pub(super) fn notify(state: &[sd_notify::NotifyState<'_>]) {
    if let Err(e) = sd_notify::notify(state) {
        tracing::debug!("service manager: {e}");
    }
}
