//! Operators on the board: a socket in the runtime directory that root and our own user may speak through, and what they
//! may ask.
//!
//! A task takes connections and reads one question from each; the loop answers it. Nothing waits for an operator: every
//! message fits its socket at once or ends the connection.

use super::run::Supervisor;
use super::{Event, Events};
use crate::config::{CameraDevice, DeviceKind};
use crate::control::{
    FromOperator, Link, LinkError, OPERATOR_VERSION, Owned, OwnerState, ToOperator, operator_socket, runtime_directory,
    watch,
};
use hal::process::{Listener, Peer, Socket, sealed_memfd, user};
use protocol::worker::{Input, JobId, JobResult};
use std::collections::BTreeMap;
use std::fs::DirBuilder;
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::unix::AsyncFd;
use tokio::sync::{Semaphore, oneshot};
use tokio::time::timeout;
use tracing::{debug, info, warn};

/// Connections at a time; more wait in the kernel's backlog.
const CONNECTIONS: usize = 8;

/// For a question, which our own commands ask with their first packets, so that one who is silent cannot keep a place.
const PATIENCE: Duration = Duration::from_secs(1);

/// For whom, and how long, a connection is kept.
#[derive(Clone, Copy, Debug)]
struct Rules {
    /// Our user, who may ask as root may.
    own: u32,
    patience: Duration,
}

/// What an operator is told, and a descriptor beside it.
#[derive(Debug)]
pub(super) struct Answer {
    message: ToOperator,
    beside: Option<OwnedFd>,
}

impl From<ToOperator> for Answer {
    fn from(message: ToOperator) -> Self {
        Self { message, beside: None }
    }
}

/// Where the loop's answer goes.
pub(super) type Reply = oneshot::Sender<Answer>;

/// Operators who wait for the end of a job.
#[derive(Debug, Default)]
pub(super) struct Operators {
    stops: BTreeMap<JobId, Vec<Reply>>,
}

/// Serves for as long as the runtime lives. A worker without such a socket still works.
pub(super) fn serve(events: Events) {
    let Some(directory) = runtime_directory(|name| std::env::var(name).ok()) else {
        return info!("no socket for operators: neither root nor a session (XDG_RUNTIME_DIR)");
    };
    match listen(&directory) {
        Ok(listener) => {
            info!("operators' commands come through {}", listener.get_ref().0.path().display());
            tokio::spawn(accept(listener, Rules { own: user(), patience: PATIENCE }, events));
        }
        Err(e) => warn!("no socket for operators: {}: {e}", directory.display()),
    }
}

fn listen(directory: &Path) -> io::Result<AsyncFd<Owned<Listener>>> {
    DirBuilder::new().recursive(true).mode(0o755).create(directory)?;
    sweep(directory)?;
    watch(Listener::bind(&operator_socket(directory, std::process::id()))?)
}

/// Removes what workers that were killed have left.
fn sweep(directory: &Path) -> io::Result<()> {
    for entry in directory.read_dir()? {
        let path = entry?.path();
        if path.extension().is_some_and(|ending| ending == "sock")
            && Socket::connect(&path).is_err_and(|e| e.kind() == ErrorKind::ConnectionRefused)
        {
            std::fs::remove_file(path)?;
        }
    }
    Ok(())
}

async fn accept(listener: AsyncFd<Owned<Listener>>, rules: Rules, events: Events) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok(place) = places.clone().acquire_owned().await else { return };
        let (socket, peer) = match next(&listener).await {
            Ok(connection) => connection,
            // Out of descriptors, most likely: give others the time to close some.
            Err(e) => {
                warn!("operators: accept: {e}");
                tokio::time::sleep(Duration::from_secs(1)).await;
                continue;
            }
        };
        let events = events.clone();
        tokio::spawn(async move {
            if let Err(e) = converse(socket, peer, rules, &events).await {
                debug!("operator (pid {}): {e}", peer.pid);
            }
            drop(place);
        });
    }
}

async fn next(listener: &AsyncFd<Owned<Listener>>) -> io::Result<(Socket, Peer)> {
    loop {
        let mut ready = listener.readable().await?;
        match ready.get_inner().0.accept() {
            Err(e) if e.kind() == ErrorKind::WouldBlock => ready.clear_ready(),
            accepted => return accepted,
        }
    }
}

/// One question and its answer.
async fn converse(socket: Socket, peer: Peer, rules: Rules, events: &Events) -> Result<(), LinkError> {
    let mut link = Link::new(socket.with_foreign_peer())?;
    let question = match timeout(rules.patience, question(&mut link, peer, rules.own)).await {
        Ok(question) => question?,
        Err(_) => Err(format!("no question within {:?}", rules.patience)),
    };
    let answer = match question {
        Ok(question) => {
            let (reply, answer) = oneshot::channel();
            // A loop that is gone drops the reply.
            let _ = events.send(Event::Operator { peer, question, reply }).await;
            tokio::select! {
                answer = answer => answer.unwrap_or_else(|_| refused("the worker is shutting down")),
                // Nothing more is to be said: it has hung up, or breaks the rules.
                ended = link.receive::<FromOperator>() => return ended.map(drop),
            }
        }
        Err(why) => refused(why),
    };
    let beside: Vec<_> = answer.beside.iter().map(AsFd::as_fd).collect();
    link.send(&answer.message, &beside)
}

/// The question, or why it is not taken.
async fn question(link: &mut Link, peer: Peer, own: u32) -> Result<Result<FromOperator, String>, LinkError> {
    if peer.uid != 0 && peer.uid != own {
        return Ok(Err(format!("only root and user {own} may ask, and you are user {}", peer.uid)));
    }
    match link.receive::<FromOperator>().await? {
        (FromOperator::Hello { version: OPERATOR_VERSION }, _) => {}
        (FromOperator::Hello { version }, _) => {
            let why =
                format!("this worker speaks version {OPERATOR_VERSION} of the operators' protocol, you {version}");
            return Ok(Err(format!("{why}: use the program that it was started from, or restart it")));
        }
        _ => return Ok(Err("no greeting came first".into())),
    }
    Ok(Ok(link.receive::<FromOperator>().await?.0))
}

fn refused(why: impl Into<String>) -> Answer {
    ToOperator::Refused { why: why.into() }.into()
}

impl Supervisor {
    pub(super) fn answer_operator(&mut self, peer: Peer, question: FromOperator, reply: Reply) {
        let answer = match question {
            FromOperator::Hello { .. } => refused("greeted twice"),
            FromOperator::Jobs => self.tell_jobs(),
            FromOperator::Stop { job } => return self.stop_job(peer, JobId(job), reply),
            FromOperator::Read { camera, device } => self.give_reader(peer, &camera, &device),
            FromOperator::Registration => self.tell_registration(),
        };
        // Whoever asked may be gone.
        let _ = reply.send(answer);
    }

    fn tell_jobs(&self) -> Answer {
        match sealed_memfd("jobs", self.jobs_json().as_bytes()) {
            Ok(memfd) => Answer { message: ToOperator::Jobs, beside: Some(memfd) },
            Err(e) => refused(format!("memfd: {e}")),
        }
    }

    fn tell_registration(&self) -> Answer {
        let problem = self.problem().map(|why| why.chars().take(900).collect());
        let ago_s = self.registered.map(|last| last.elapsed().as_secs());
        ToOperator::Registration { problem, ago_s }.into()
    }

    /// The answer comes when it has ended.
    fn stop_job(&mut self, peer: Peer, job: JobId, reply: Reply) {
        if self.brain.job_state(&job).is_none() {
            let _ = reply.send(ToOperator::Unknown.into());
            return;
        }
        info!("job {}: an operator (user {}, pid {}) stops it", job.0, peer.uid, peer.pid);
        self.inputs.push_back(Input::End(job.clone()));
        let waiting = self.operators.stops.entry(job).or_default();
        waiting.retain(|reply| !reply.is_closed());
        waiting.push(reply);
    }

    /// A job has ended: whoever has stopped it may go on.
    pub(super) fn tell_stopped(&mut self, job: &JobId, result: &JobResult) {
        let result = match result {
            JobResult::Success { reason } | JobResult::Stopped { reason } => reason.clone(),
            JobResult::Failed { error } => format!("failed: {error}"),
        };
        for reply in self.operators.stops.remove(job).unwrap_or_default() {
            let _ = reply.send(ToOperator::Stopped { result: result.chars().take(900).collect() }.into());
        }
    }

    fn give_reader(&mut self, peer: Peer, camera: &str, device: &CameraDevice) -> Answer {
        let is_it = |kind: &DeviceKind| matches!(kind, DeviceKind::Camera(config) if config.device == *device);
        if !self.owners.table.get(camera).is_some_and(|owner| is_it(&owner.device.kind)) {
            return ToOperator::Unknown.into();
        }
        match self.reader(camera, format!("operator {}", peer.pid), Instant::now()) {
            Ok(Some(socket)) => Answer { message: ToOperator::Source, beside: Some(socket.into_fd()) },
            Ok(None) => {
                let state = self.owners.table.get(camera).map(|owner| &owner.state);
                let Some(OwnerState::Lost(why)) = state else { return refused("its owner process is being restarted") };
                refused(why.chars().take(900).collect::<String>())
            }
            Err(why) => refused(why),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::mpsc;

    const RULES: Rules = Rules { own: 7, patience: Duration::from_millis(50) };

    /// An operator of this user, as the server sees it, and the questions that reach the loop.
    async fn ask(uid: u32, messages: &[FromOperator]) -> (ToOperator, Option<FromOperator>) {
        let (ours, theirs) = Socket::pair().unwrap();
        let (events, mut queue) = mpsc::channel(1);
        let mut operator = Link::new(theirs).unwrap();
        messages.iter().for_each(|message| operator.send(message, &[]).unwrap());
        let serving = tokio::spawn(async move { converse(ours, Peer { pid: 1, uid }, RULES, &events).await });
        let mut asked = None;
        if let Some(Event::Operator { question, reply, .. }) = queue.recv().await {
            asked = Some(question);
            reply.send(ToOperator::Unknown.into()).unwrap();
        }
        let answer = operator.receive::<ToOperator>().await.unwrap().0;
        serving.await.unwrap().unwrap();
        (answer, asked)
    }

    const HELLO: FromOperator = FromOperator::Hello { version: OPERATOR_VERSION };

    #[tokio::test]
    async fn root_and_the_workers_user_are_heard_and_nobody_else() {
        for uid in [0, 7] {
            let (answer, asked) = ask(uid, &[HELLO, FromOperator::Jobs]).await;
            assert!(matches!((answer, asked), (ToOperator::Unknown, Some(FromOperator::Jobs))), "{uid}");
        }
        let (answer, asked) = ask(8, &[HELLO, FromOperator::Jobs]).await;
        assert!(asked.is_none());
        let ToOperator::Refused { why } = answer else { panic!("{answer:?}") };
        assert_eq!(why, "only root and user 7 may ask, and you are user 8");
    }

    #[tokio::test]
    async fn another_version_and_no_greeting_are_refused_in_words() {
        let (answer, _) = ask(0, &[FromOperator::Hello { version: 9 }, FromOperator::Jobs]).await;
        assert!(matches!(answer, ToOperator::Refused { why } if why.contains("version 1") && why.contains("you 9")));
        let (answer, asked) = ask(0, &[FromOperator::Jobs]).await;
        assert!(matches!((answer, asked), (ToOperator::Refused { .. }, None)));
    }

    #[tokio::test]
    async fn who_says_nothing_loses_his_place() {
        let (answer, asked) = ask(0, &[HELLO]).await;
        assert!(matches!((answer, asked), (ToOperator::Refused { why }, None) if why.contains("within 50ms")));
    }

    #[tokio::test]
    async fn who_hangs_up_is_no_longer_waited_for() {
        let (ours, theirs) = Socket::pair().unwrap();
        let (events, mut queue) = mpsc::channel(1);
        let operator = Link::new(theirs).unwrap();
        [HELLO, FromOperator::Jobs].iter().for_each(|message| operator.send(message, &[]).unwrap());
        let serving = tokio::spawn(async move { converse(ours, Peer { pid: 1, uid: 0 }, RULES, &events).await });
        let Some(Event::Operator { reply, .. }) = queue.recv().await else { panic!("no question") };
        drop(operator);
        assert!(matches!(serving.await.unwrap(), Err(LinkError::Closed)));
        assert!(reply.is_closed());
    }
}
