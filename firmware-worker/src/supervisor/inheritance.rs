//! What an earlier life of this worker has left, should it have died: jobs that go on, and participants to sign off.
//!
//! Its children have left their rooms by themselves when their sockets ended; only those that could not have a ghost.

use super::actions::SigningOff;
use super::brain::Brain;
use super::credentials::wall_clock;
use super::ledger::{self, Entry, Error, Ledger, Line};
use super::restarts::board_seconds;
use super::run::Supervisor;
use super::signoff::Ghost;
use crate::control::runtime_directory;
use futures_util::future::join_all;
use protocol::token;
use protocol::worker::{Input, RestartPolicy};
use std::time::Duration;
use tokio::time::timeout;
use tracing::{info, warn};

/// How long ghosts may hold up the registration, so that none is in a room when its successor is dispatched. The rest are
/// signed off beside it.
const SIGN_OFF_FIRST: Duration = Duration::from_secs(2);

impl Supervisor {
    /// Takes up the ledger, and what stands in it.
    pub(super) async fn inherit(&mut self) {
        let Brain::Worker(_) = self.brain else { return };
        let Some(directory) = runtime_directory(|name| std::env::var(name).ok()) else {
            return info!("no runtime directory: should the worker die, its jobs are not resumed");
        };
        let worker = &self.config.worker;
        let key = ledger::key(&[&self.config.server.url, &worker.agent_name, &worker.deployment]);
        match Ledger::open(&directory, &key) {
            Ok((ledger, left)) => {
                self.ledger = Some(ledger);
                self.take_over(left).await;
            }
            Err(error @ (Error::File { .. } | Error::Crowded { .. } | Error::Damaged { .. })) => {
                warn!("{error}; should the worker die, its jobs are not resumed");
            }
        }
    }

    async fn take_over(&mut self, left: Vec<Entry>) {
        let slots = usize::try_from(self.config.worker.max_jobs).unwrap_or(usize::MAX);
        let (policy, now) = (self.config.worker.restart, board_seconds());
        for entry in left {
            let (job, room) = (entry.spec.job.id.clone(), entry.spec.job.room.name.clone());
            let ages: Vec<_> = entry.restarted.iter().map(|at| Duration::from_secs(now.saturating_sub(*at))).collect();
            let (resumes, often) = (policy == RestartPolicy::OnFailure && !entry.over, !policy.allows(&ages));
            if resumes && often {
                warn!("job {} room {room:?}: not resumed: it was started again {} times lately", job.0, ages.len());
            }
            let stale = token::inspect(&entry.spec.token).map(|claims| claims.unfit_for_room(wall_clock()));
            if let Ok(Some(unfit)) = stale {
                info!("job {} room {room:?}: of an earlier life of this worker, too old to go on: {unfit}", job.0);
            } else if resumes && !often && self.inputs.len() < slots {
                info!("job {} room {room:?}: resumed after an earlier life of this worker", job.0);
                self.jobs.inherit(job, entry.restarted);
                self.inputs.push_back(Input::Adopt(Box::new(entry.spec), ages));
            } else if let Some(ghost) = Ghost::of(&entry, &self.config.server.url) {
                self.start_sign_off(job, ghost, entry);
            }
        }
        let ghosts = self.signoffs.values_mut().map(|SigningOff { task, .. }| task);
        let _ = timeout(SIGN_OFF_FIRST, join_all(ghosts)).await;
        // All tell their end as an event, and a handle is waited for once.
        self.signoffs.retain(|_, ghost| !ghost.task.is_finished());
    }

    /// Nothing is written where nothing has changed.
    pub(super) fn write_ledger(&mut self) {
        let Some(ledger) = &mut self.ledger else { return };
        let jobs = self.jobs.records.values().filter(|record| !record.left);
        let jobs = jobs.map(|record| {
            let (sid, restarted) = (record.sid.as_deref(), record.restarted.as_slice());
            Line { spec: &record.spec, sid, over: false, restarted }
        });
        let ghosts = self.signoffs.values().map(|ghost| ghost.entry.line());
        ledger.keep(jobs.chain(ghosts));
    }
}
