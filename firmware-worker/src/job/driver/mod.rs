//! The room driver: one loop that owns the room, its sockets, the rings and the control socket of a job.
//!
//! ```text
//! Idle --Spec--> Running --shutdown, fail, Terminate, the room's end--> Closing (hooks) --> Acking --Ack, 200 ms-->
//!      Delivering --last data acknowledged, 1.5 s--> Leaving --signal socket closed, 150 ms--> over
//! any --end of the control socket--> Leaving
//! ```
//!
//! Each turn takes one input, lets the room act on it, and acts on what the room tells. Nothing here waits for user
//! code, for the supervisor or for an owner. A turn lasts for milliseconds even where the processor cannot keep up with the
//! media, and what has come meanwhile is looked for: whatever is late then, who asks for a sign of life gets it.

mod control;
mod ending;
mod held;
mod remote;
mod requests;
mod sending;
mod session;
mod signal;
mod source;
mod tcp;
mod timeline;
mod token;
mod tracks;
mod udp;

pub(crate) use source::{Happening, Source};
pub(crate) use timeline::Anchor;

use super::events::{BACKLOG, Event, Roster};
use super::request::{Own, Reply, Request};
use super::user::{Pulse, ToUser};
use crate::control::{FromJob, JobSetup, Link, LinkError, Rate, ToJob, VERSION};
use ending::Phase;
use protocol::worker::{JobResult, JobSpec};
use remote::Subscriptions;
use session::{Ready, Session};
use std::collections::BTreeMap;
use std::future::{pending, poll_fn};
use std::hash::{BuildHasher, RandomState};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::pin::{Pin, pin};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};
use token::NewToken;
use tokio::sync::{broadcast, mpsc, oneshot, watch};
use tokio::time::Sleep;
use tracks::Tracks;

/// How long there may always be something else to do before the runtime looks at what has come on the sockets. Above it a
/// driver that is behind with its media would not hear of a ping, nor of the server's packets.
const UNSEEN: Duration = Duration::from_millis(10);

/// The user's side of a job, as the driver holds it.
pub(super) struct UserSide {
    /// What the user's thread is told.
    pub inbox: mpsc::Sender<ToUser>,
    /// Whether it still turns.
    pub pulse: Arc<Pulse>,
    /// Both ends, because contexts are made from here.
    pub requests: (mpsc::Sender<Request>, mpsc::Receiver<Request>),
}

/// See the module.
pub(super) struct Driver {
    link: Link,
    phase: Phase,
    setup: Option<JobSetup>,
    /// A spec that came before `prewarm` was through.
    spec: Option<Box<JobSpec>>,
    prewarmed: bool,
    user: UserSide,
    /// Since when the user's thread owes a sign of life.
    silent_since: Option<Instant>,
    ends: (mpsc::Sender<JobResult>, mpsc::Receiver<JobResult>),
    roster: watch::Sender<Roster>,
    events: broadcast::Sender<Event>,
    closing: watch::Sender<Option<String>>,
    /// Room of the job, once it has a spec.
    job: Option<JobSpec>,
    session: Option<Session>,
    joining: Option<Reply<()>>,
    /// What the user said of its own participant before the join.
    own: Own,
    rejoining: bool,
    token: NewToken,
    tracks: Tracks,
    subscriptions: Subscriptions,
    /// Who waits for the grant of a speaker.
    speakers: BTreeMap<String, Reply<OwnedFd>>,
    /// What user code asks the supervisor for.
    openings: Rate,
    lookups: BTreeMap<u32, oneshot::Sender<Result<Vec<SocketAddr>, String>>>,
    lookup_count: u32,
    /// The participant is gone from the room, or will be when what was sent arrives: no sign-off is needed.
    gone: bool,
    /// The server does not want this participant: another start would be refused, or throw out whoever took its place.
    barred: bool,
    timer: Pin<Box<Sleep>>,
}

/// Why the loop turns.
enum Wake {
    Control(Result<(ToJob, Vec<OwnedFd>), LinkError>),
    End(JobResult),
    Request(Request),
    Source(protocol::room::TrackId, Happening),
    Network(Ready),
    SignalClosed,
    Deadline,
}

impl Driver {
    /// Says Hello.
    pub fn new(link: Link, user: UserSide) -> Result<Self, LinkError> {
        link.send(&FromJob::Hello { version: VERSION }, &[])?;
        let now = Instant::now();
        Ok(Self {
            link,
            phase: Phase::Idle,
            setup: None,
            spec: None,
            prewarmed: false,
            user,
            silent_since: None,
            ends: mpsc::channel(1),
            roster: watch::Sender::default(),
            events: broadcast::channel(BACKLOG).0,
            closing: watch::Sender::default(),
            job: None,
            session: None,
            joining: None,
            own: Own::default(),
            rejoining: false,
            token: NewToken::default(),
            tracks: Tracks::new(Anchor::new(now, hal::process::monotonic_ns())),
            subscriptions: Subscriptions::default(),
            speakers: BTreeMap::new(),
            openings: Rate::new(requests::MAX_OPENINGS, now),
            lookups: BTreeMap::new(),
            lookup_count: 0,
            gone: false,
            barred: false,
            timer: Box::pin(tokio::time::sleep_until(now.into())),
        })
    }

    /// Turns until the job is over.
    pub async fn run(mut self) -> ExitCode {
        let mut looked = Instant::now();
        loop {
            if looked.elapsed() >= UNSEEN {
                tokio::task::yield_now().await;
                looked = Instant::now();
            }
            let (wake, waited) = self.wake().await;
            if waited {
                looked = Instant::now();
            }
            if self.session.as_ref().is_some_and(|session| session.is_late(Instant::now())) {
                // The wait may have been over for the clock alone, with nothing looked at since the board went on.
                tokio::task::yield_now().await;
            }
            self.act(wake);
            self.settle();
            if let Phase::Over(code) = self.phase {
                return code;
            }
        }
    }

    /// The next reason to turn, and whether it had to be waited for. Only then has the runtime looked at what else has come.
    async fn wake(&mut self) -> (Wake, bool) {
        let mut waited = false;
        let mut wait = pin!(self.wait());
        let wake = poll_fn(|context| {
            let poll = wait.as_mut().poll(context);
            waited |= poll.is_pending();
            poll
        });
        (wake.await, waited)
    }

    async fn wait(&mut self) -> Wake {
        let armed = self.arm();
        let leaving = matches!(self.phase, Phase::Leaving { .. });
        let running = matches!(self.phase, Phase::Running);
        let full = running && self.session.as_ref().is_some_and(Session::is_full);
        tokio::select! {
            message = self.link.receive(), if !leaving => Wake::Control(message),
            Some(result) = self.ends.1.recv() => Wake::End(result),
            Some(request) = self.user.requests.1.recv(), if !full => Wake::Request(request),
            (id, happening) = poll_fn(|context| self.tracks.poll(context)), if !full => Wake::Source(id, happening),
            wake = network(&mut self.session, leaving) => wake,
            () = &mut self.timer, if armed => Wake::Deadline,
        }
    }

    /// Moves the timer only where it has to move: each move costs a wake-up of the runtime. `false` if nothing is due
    /// ever, and a timer of the past must not wake anybody.
    fn arm(&mut self) -> bool {
        let session = self.session.as_ref().and_then(Session::deadline);
        let next =
            [session, self.tracks.deadline(), self.token.deadline(), self.phase.deadline()].into_iter().flatten().min();
        if let Some(deadline) = next
            && self.timer.deadline().into_std() != deadline
        {
            self.timer.as_mut().reset(deadline.into());
        }
        next.is_some()
    }

    fn act(&mut self, wake: Wake) {
        if let Some(session) = &mut self.session {
            session.begin_turn(Instant::now());
        }
        // After the packets that this has read: what is due by their time is due.
        let now = Instant::now();
        match wake {
            Wake::Control(Ok((message, fds))) => self.control(message, fds, now),
            Wake::Control(Err(error)) => self.orphaned(&error, now),
            Wake::End(result) => self.end(result, now),
            Wake::Request(request) => self.request(request, now),
            Wake::Source(id, happening) => {
                self.tracks.happened(&id, happening, self.session.as_mut(), now, random());
            }
            Wake::Network(ready) => {
                if let Some(session) = &mut self.session {
                    session.handle(ready);
                }
            }
            Wake::SignalClosed => self.left(),
            Wake::Deadline => {}
        }
        // Also without a Deadline wake: under load the timer might never be the branch that is taken.
        self.tick(now);
    }

    fn tick(&mut self, now: Instant) {
        if let Some(session) = &mut self.session {
            session.tick(now);
        }
        for name in self.tracks.due(now, self.session.as_mut()) {
            self.tell(&FromJob::OpenSource { name });
        }
        self.tell_token_if_due(now);
        if self.phase.deadline().is_some_and(|deadline| deadline <= now) {
            self.phase_due(now);
        }
    }

    /// Acts on everything the room told.
    fn settle(&mut self) {
        while let Some(event) = self.session.as_mut().and_then(Session::event) {
            self.room_event(event);
        }
        while let Some(news) = self.tracks.news() {
            self.publish([news]);
        }
        if let Some(lookup) = self.session.as_mut().and_then(Session::lookup) {
            self.resolve(lookup);
        }
    }

    /// A message that the supervisor can miss: it pings, and a full socket means that it is in worse trouble.
    fn tell(&self, message: &FromJob) {
        if let Err(error) = self.link.send(message, &[]) {
            tracing::warn!(%error, "message to the supervisor dropped");
        }
    }
}

async fn network(session: &mut Option<Session>, leaving: bool) -> Wake {
    match session {
        Some(session) if leaving => {
            // Media is over; only the last signal frames matter.
            session.signal_closed().await;
            Wake::SignalClosed
        }
        Some(session) => Wake::Network(session.ready().await),
        None => pending().await,
    }
}

/// For jitter, not for secrets.
fn random() -> u64 {
    RandomState::new().hash_one(0u8)
}
