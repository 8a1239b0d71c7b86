//! How the worker takes work in: offers, their answers, assignments.

use super::job::{FILING_TIME, Job};
use super::limits::Unfit;
use super::machine::Worker;
use super::offer::{self, Offer};
use super::restart::Restarts;
use super::{Accept, Action, Answer, JobId, JobInfo, JobResult, JobSpec, JobType, wire};
use crate::secret::Secret;
use std::time::{Duration, Instant};

/// An assignment that is not taken.
#[derive(Debug)]
pub(super) struct Refusal {
    /// When the server has filed the job, and can be told.
    pub at: Instant,
    why: String,
}

/// Refused assignments that wait to be reported; when there are more the first is reported at once.
const REFUSED_LIMIT: usize = 128;

impl Worker {
    pub(super) fn offered(&mut self, job: Box<JobInfo>, now: Instant) {
        if let Some(offer) = self.offers.get(&job.id) {
            // Asked twice: the answer that is out is repeated, one that is not will come.
            if let Some(accept) = offer.accepted() {
                let frame = wire::available(&job.id, accept);
                self.send(frame);
            }
        } else if self.is_served(&job) {
            self.decline(&job.id, true);
        } else if self.is_full() || self.refused.contains_key(&job.id) {
            self.decline(&job.id, false);
        } else if let Some(why) = self.too_much(&job) {
            tracing::warn!(job = job.id.0, "declined: {why}");
            self.decline(&job.id, false);
        } else if self.options.ask {
            self.offers.insert(job.id.clone(), Offer::ask((*job).clone(), now));
            self.act(Action::Ask(job));
        } else {
            let accept = offer::complete(Accept::default(), &self.options, &job);
            self.send(wire::available(&job.id, &accept));
            self.offers.insert(job.id.clone(), Offer::reserve(*job, accept, now));
        }
    }

    /// Why another worker should have the job. One that asks for nonsense is taken, so that whoever dispatched it is told.
    fn too_much(&self, job: &JobInfo) -> Option<String> {
        match self.limits_of(job) {
            Ok(limits) if self.fits(limits) => None,
            Ok(_) => Some("the memory that it may use is not there".to_owned()),
            Err(unfit @ Unfit::TooMuch(_)) => Some(unfit.to_string()),
            Err(Unfit::Senseless(_)) => None,
        }
    }

    /// A job of ours does this already, and a second participant for it, of ours or of another worker, would be one too
    /// many: the same job offered again, or a room dispatched to automatically anew because it was created again, by
    /// our own rejoin for example. A drain changes nothing: its jobs go on.
    fn is_served(&self, job: &JobInfo) -> bool {
        let automatic = job.agent_name.is_empty() && job.kind == JobType::Room;
        let same_room = |ours: &Job| automatic && ours.runs() && ours.info.room.name == job.room.name;
        self.jobs.contains_key(&job.id) || self.jobs.values().any(same_room)
    }

    pub(super) fn answer(&mut self, id: &JobId, answer: Answer, now: Instant) {
        let Some(offer) = self.offers.get_mut(id).filter(|offer| offer.accepted().is_none()) else {
            return;
        };
        match answer {
            Answer::Accept(accept) => {
                let accept = offer::complete(accept, &self.options, &offer.info);
                let frame = wire::available(id, &accept);
                offer.accept(accept, now);
                self.send(frame);
            }
            Answer::Reject { terminate } => self.refuse(id, terminate),
            Answer::Silent => self.refuse(id, false),
        }
    }

    pub(super) fn assigned(&mut self, id: JobId, url: Option<String>, token: Secret, now: Instant) {
        let reserved = self.offers.get(&id).is_some_and(|offer| offer.accepted().is_some());
        if !reserved {
            let why = "assigned without a reservation: it came too late, or the worker is stopping";
            return self.refuse_assignment(id, why.to_owned(), now);
        }
        let Some(offer) = self.offers.remove(&id) else { return };
        self.statuses.assigned(&id);
        let accept = offer.accepted().cloned().unwrap_or_default();
        let job = offer.info;
        let limits = match self.limits_of(&job) {
            Ok(limits) => limits,
            Err(unfit) => {
                if offer.asked {
                    self.act(Action::Forget(id.clone()));
                }
                return self.refuse_assignment(id, unfit.to_string(), now);
            }
        };
        self.jobs.insert(id, Job::new(job.clone(), self.options.timeouts, self.options.restart, now));
        let worker_id = self.link_worker_id();
        self.act(Action::Start(Box::new(JobSpec { job, accept, url, token, worker_id, limits })));
    }

    /// One that does not fit is for the shell to sign off: it knows how many do.
    pub(super) fn adopt(&mut self, spec: Box<JobSpec>, restarts: &[Duration], now: Instant) {
        let id = spec.job.id.clone();
        let known = self.was_ours(&id) || self.offers.contains_key(&id) || self.refused.contains_key(&id);
        if self.is_full() || known {
            self.counters.ignored += 1;
            return;
        }
        self.statuses.assigned(&id);
        let (timeouts, policy) = (self.options.timeouts, self.options.restart);
        self.jobs.insert(id, Job::adopted(spec.job.clone(), timeouts, Restarts::resume(policy, restarts, now), now));
        self.act(Action::Start(spec));
    }

    /// The server now believes that we run it, so it must hear that we do not, once it has filed the job.
    fn refuse_assignment(&mut self, id: JobId, why: String, now: Instant) {
        if self.was_ours(&id) || self.refused.contains_key(&id) {
            self.counters.ignored += 1;
            return;
        }
        self.forget_offer(&id);
        self.refused.insert(id, Refusal { at: now + FILING_TIME, why });
        if self.refused.len() > REFUSED_LIMIT
            && let Some((first, refusal)) = self.refused.pop_first()
        {
            self.report_refusal(first, refusal);
        }
    }

    pub(super) fn report_refusals(&mut self, now: Instant) {
        let due: Vec<_> =
            self.refused.iter().filter(|(_, refusal)| refusal.at <= now).map(|(id, _)| id.clone()).collect();
        for id in due {
            if let Some(refusal) = self.refused.remove(&id) {
                self.report_refusal(id, refusal);
            }
        }
    }

    fn report_refusal(&mut self, id: JobId, refusal: Refusal) {
        self.conclude(&id, &JobResult::Failed { error: refusal.why });
        self.remember_ended(id);
    }

    pub(super) fn decline(&mut self, id: &JobId, terminate: bool) {
        let frame = wire::unavailable(id, terminate);
        self.send(frame);
    }

    /// Declines an offer that is held.
    fn refuse(&mut self, id: &JobId, terminate: bool) {
        self.decline(id, terminate);
        self.forget_offer(id);
    }

    /// Frees the slot of an offer, and the process that was asked.
    pub(super) fn forget_offer(&mut self, id: &JobId) {
        if self.offers.remove(id).is_some_and(|offer| offer.asked) {
            self.act(Action::Forget(id.clone()));
        }
    }

    /// Takes nothing new; what was promised is kept.
    pub(super) fn decline_asked(&mut self) {
        for id in self.ids_where(|offer| offer.accepted().is_none()) {
            self.refuse(&id, false);
        }
    }

    /// Offers do not outlive the registration they came by.
    pub(super) fn drop_offers(&mut self) {
        for id in self.ids_where(|_| true) {
            self.forget_offer(&id);
        }
    }

    pub(super) fn expire_offers(&mut self, now: Instant) {
        for id in self.ids_where(|offer| offer.deadline().0 <= now) {
            let answered = self.offers.get(&id).is_some_and(|offer| offer.accepted().is_some());
            if answered { self.forget_offer(&id) } else { self.refuse(&id, false) }
        }
    }

    fn ids_where(&self, which: impl Fn(&Offer) -> bool) -> Vec<JobId> {
        self.offers.iter().filter(|(_, offer)| which(offer)).map(|(id, _)| id.clone()).collect()
    }
}
