//! The thread that runs the user's code: prewarm, on_request, entrypoint, hooks.
//!
//! It may block, panic or never return; the driver waits for nothing here without a deadline.

use super::context::{JobContext, Shared};
use super::options::{Prewarm, Userdata, WorkerOptions};
use super::request::Request;
use protocol::worker::{Answer, JobInfo, JobResult};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::runtime;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinSet;

/// Messages that may wait for the user's thread. The driver sends each kind once per job, offers one at a time.
pub(super) const INBOX: usize = 8;

/// From the driver.
pub(super) enum ToUser {
    Prewarm,
    Offer(Box<JobInfo>),
    Run(Box<Shared>),
    Shutdown { reason: String },
}

/// How the driver learns whether the user's runtime still turns, without a timer: it pokes, the runtime answers when it
/// comes around.
#[derive(Debug, Default)]
pub(super) struct Pulse {
    poked: AtomicU64,
    seen: AtomicU64,
    wake: Notify,
}

impl Pulse {
    /// Asks for a sign of life, unless the last question is still open: `false`.
    pub fn poke(&self) -> bool {
        let poked = self.poked.load(Ordering::Relaxed);
        if self.seen.load(Ordering::Relaxed) != poked {
            return false;
        }
        self.poked.store(poked + 1, Ordering::Relaxed);
        self.wake.notify_one();
        true
    }

    async fn answer(&self) {
        loop {
            self.wake.notified().await;
            self.seen.store(self.poked.load(Ordering::Relaxed), Ordering::Relaxed);
        }
    }
}

/// Starts the thread. It ends when `inbox` closes and is never joined, because user code may not return.
pub(super) fn spawn(
    options: WorkerOptions,
    inbox: mpsc::Receiver<ToUser>,
    requests: mpsc::Sender<Request>,
    pulse: Arc<Pulse>,
) -> io::Result<()> {
    let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
    std::thread::Builder::new().name("user".into()).spawn(move || {
        let _inside = runtime.enter();
        tokio::spawn(async move { pulse.answer().await });
        let mut user = User { options: Some(options), requests, prewarmed: None, context: None };
        let mut inbox = inbox;
        // Outside of `block_on`, so that it may block on a runtime of its own, as clients of HTTP that are not async do.
        while let Some(prewarm) = runtime.block_on(user.serve(&mut inbox)) {
            let result = user.prewarm(prewarm);
            // Without a driver the next turn ends.
            let _ = runtime.block_on(user.requests.send(Request::Prewarmed(result)));
        }
    })?;
    Ok(())
}

struct User {
    /// Taken apart as its parts are used.
    options: Option<WorkerOptions>,
    requests: mpsc::Sender<Request>,
    prewarmed: Option<Userdata>,
    context: Option<JobContext>,
}

impl User {
    /// Until there is something to prewarm, or nobody is there any more.
    async fn serve(&mut self, inbox: &mut mpsc::Receiver<ToUser>) -> Option<Prewarm> {
        while let Some(message) = inbox.recv().await {
            let answer = match message {
                ToUser::Prewarm => match self.options.as_mut().and_then(|o| o.prewarm.take()) {
                    Some(prewarm) => return Some(prewarm),
                    None => Some(Request::Prewarmed(Ok(()))),
                },
                ToUser::Offer(job) => Some(Request::Answer(self.decide(*job).await)),
                ToUser::Run(shared) => {
                    self.start(*shared);
                    None
                }
                ToUser::Shutdown { reason } => {
                    self.shut_down(&reason).await;
                    Some(Request::HooksDone)
                }
            };
            if let Some(answer) = answer
                && self.requests.send(answer).await.is_err()
            {
                return None;
            }
        }
        None
    }

    fn prewarm(&mut self, prewarm: Prewarm) -> Result<(), String> {
        self.prewarmed = Some(prewarm().map_err(|e| format!("prewarm: {e}"))?);
        Ok(())
    }

    async fn decide(&self, job: JobInfo) -> Answer {
        match self.options.as_ref().and_then(|o| o.on_request.as_ref()) {
            Some(on_request) => on_request(job).await,
            None => Answer::Accept(protocol::worker::Accept::default()),
        }
    }

    fn start(&mut self, mut shared: Shared) {
        let Some(options) = self.options.take() else { return };
        shared.prewarmed = self.prewarmed.take();
        let ends = shared.ends.clone();
        let context = JobContext::new(shared);
        self.context = Some(context.clone());
        tokio::spawn(async move {
            if let Err(error) = (options.entrypoint)(context).await {
                // Full or closed: somebody ended the job before.
                let _ = ends.try_send(JobResult::Failed { error: error.to_string() });
            }
        });
    }

    async fn shut_down(&mut self, reason: &str) {
        let Some(context) = &self.context else { return };
        let mut running = JoinSet::new();
        for hook in context.take_hooks() {
            running.spawn(hook(reason.to_owned()));
        }
        while running.join_next().await.is_some() {}
    }
}
