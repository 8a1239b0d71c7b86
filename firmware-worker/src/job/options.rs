//! What a program built on this library hands to [`run`](crate::run): its entrypoint and hooks.

use super::{BoxError, JobContext};
use crate::config::{JobCheck, Outline};
use protocol::worker::{Answer, JobInfo, Limits, RestartPolicy};
use std::any::Any;
use std::fmt;
use std::future::Future;
use std::pin::Pin;

pub(super) type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;
pub(super) type Userdata = Box<dyn Any + Send + Sync>;
pub(super) type Entrypoint = Box<dyn FnOnce(JobContext) -> BoxFuture<Result<(), BoxError>> + Send>;
pub(super) type Prewarm = Box<dyn FnOnce() -> Result<Userdata, BoxError> + Send>;
pub(super) type OnRequest = Box<dyn Fn(JobInfo) -> BoxFuture<Answer> + Send>;

/// The user's code. All of it runs in job processes, on a thread of its own with a tokio runtime of that one thread (so
/// `spawn_blocking` works and `block_in_place` does not); nothing runs in the supervisor.
pub struct WorkerOptions {
    pub(super) entrypoint: Entrypoint,
    pub(super) prewarm: Option<Prewarm>,
    pub(super) on_request: Option<OnRequest>,
    outline: Outline,
}

impl WorkerOptions {
    /// A worker that runs `entrypoint` once per job.
    ///
    /// Returning `Ok` does not end the job: it goes on until [`JobContext::shutdown`], the server or the operator ends
    /// it. Returning an error ends it as FAILED with the error's text.
    pub fn new<E, F>(entrypoint: E) -> Self
    where
        E: FnOnce(JobContext) -> F + Send + 'static,
        F: Future<Output = Result<(), BoxError>> + Send + 'static,
    {
        Self {
            entrypoint: Box::new(move |context| Box::pin(entrypoint(context))),
            prewarm: None,
            on_request: None,
            outline: Outline { restart: RestartPolicy::Never, ..Outline::default() },
        }
    }

    /// Runs `prewarm` in each job process before it has a job; [`JobContext::prewarmed`] gives its value. It
    /// has `initialize_timeout_s` of the configuration, and may block, on a runtime of its own too.
    pub fn prewarm<P, T>(mut self, prewarm: P) -> Self
    where
        P: FnOnce() -> Result<T, BoxError> + Send + 'static,
        T: Any + Send + Sync,
    {
        self.prewarm = Some(Box::new(move || Ok(Box::new(prewarm()?) as Userdata)));
        self
    }

    /// Asks `on_request` before a job is accepted. No answer within 1.5 s, or a panic, leaves the job to another worker.
    /// Without it every job that fits is accepted. An acceptance declines too, with an error in the log, where identity or
    /// name are longer than 256 bytes, or all of it longer than about 4 KiB: set large metadata from the entrypoint.
    pub fn on_request<R, F>(mut self, on_request: R) -> Self
    where
        R: Fn(JobInfo) -> F + Send + 'static,
        F: Future<Output = Answer> + Send + 'static,
    {
        self.on_request = Some(Box::new(move |job| Box::pin(on_request(job))));
        self
    }

    /// What becomes of jobs that fail, unless the configuration says otherwise (`restart` under `[job]`). Without this call
    /// nothing is started again: what an entrypoint has done in its room it may not want to do twice.
    pub fn restart(mut self, policy: RestartPolicy) -> Self {
        self.outline.restart = policy;
        self
    }

    /// What a job may use, unless the configuration says otherwise (`[limits]`): bytes of memory, threads and processes together,
    /// CPU time in percent of one core. `None` leaves 64 MiB, 32 threads and any CPU time. Numbers that the configuration would not
    /// take are refused at the start and by `firmware-worker check`.
    ///
    /// One worker is one agent, with one entrypoint: a job that needs more than the others asks for it by the metadata of its
    /// dispatch, or is another worker's.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.outline.limits = limits;
        self
    }

    /// Has `check` look at the configuration before the worker starts, at each reload and for `firmware-worker check`: a
    /// table `[job]` that jobs can do nothing with is a mistake to be told then, not by each job. It says in a few words what
    /// jobs will do. At a reload it runs in a process of its own, 5 s at most, which may read what the worker may and has no
    /// other right.
    pub fn check(mut self, check: JobCheck) -> Self {
        self.outline.check = Some(check);
        self
    }

    /// What is known of the code before a job runs.
    pub(crate) fn outline(&self) -> Outline {
        self.outline
    }

    /// Whether offers must be asked for.
    pub fn asks(&self) -> bool {
        self.on_request.is_some()
    }
}

impl fmt::Debug for WorkerOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WorkerOptions")
            .field("prewarm", &self.prewarm.is_some())
            .field("on_request", &self.on_request.is_some())
            .finish_non_exhaustive()
    }
}
