//! The connection to the server: when to open it, whether it is alive, when to try again.
//!
//! ```text
//! Waiting{until} --due--> Connecting --up--> Registering --register response--> Registered
//!     ^----------------- down, silent, go_away, no response (from any) ------------'
//! ```
//!
//! Retries never end. The backoff starts afresh only after a register response: a server that accepts and closes
//! would otherwise be hammered.

use super::{LinkError, Reason, wire};
use crate::backoff::Backoff;
use crate::clock::Clocks;
use crate::random::Random;
use std::time::{Duration, Instant};

/// First and largest delay between attempts: a restarted server is found again soon, an absent one costs nothing.
const FIRST_RETRY: Duration = Duration::from_millis(500);
const LAST_RETRY: Duration = Duration::from_secs(30);
/// Wrong credentials rarely become right by themselves.
const CREDENTIALS_RETRY: Duration = Duration::from_secs(30);
/// A clock that is not set yet heals within seconds of booting. A certificate is refused mostly because of it.
const CLOCK_RETRY: Duration = Duration::from_secs(5);
/// Retry-After above this is not believed: a board that waits for hours looks dead.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(300);
/// The server waits as long for our register.
const REGISTER_LIMIT: Duration = Duration::from_secs(10);
/// WorkerPing: the server answers each, which tells a live link from a half-open one.
const PING_INTERVAL: Duration = Duration::from_secs(10);
/// Without any frame for three pings and some, the server is gone.
const SILENCE_LIMIT: Duration = Duration::from_secs(35);
/// The interval of the official workers; some servers drop a worker that is quiet for longer.
const STATUS_INTERVAL: Duration = Duration::from_millis(2500);

/// A network for guests answers in the server's name until somebody has filled in its page, which a board cannot.
pub const UNLESS_LOGIN: &str =
    "unless this network wants a login on a page of its own first: have it let this board in, or use another";

/// What became due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    Connect,
    Ping,
    Status,
    /// The link was given up: close it. Its loss is already accounted for.
    Lost,
}

#[derive(Debug)]
pub(super) struct Link {
    phase: Phase,
    backoff: Backoff,
    random: Random,
    worker_id: String,
    problem: String,
}

#[derive(Debug)]
enum Phase {
    Waiting { until: Instant },
    Connecting,
    Registering { until: Instant },
    Registered(Session),
    Closed,
}

#[derive(Debug)]
struct Session {
    ping_at: Instant,
    silent_at: Instant,
    status_at: Instant,
    /// `UpdateWorkerStatus` messages sent.
    statuses: u64,
    reported: Option<wire::Status>,
}

impl Link {
    /// Wants to connect at `now`.
    pub fn new(now: Instant, seed: u64) -> Self {
        Self {
            phase: Phase::Waiting { until: now },
            backoff: Backoff::new(FIRST_RETRY, LAST_RETRY),
            random: Random(seed),
            worker_id: String::new(),
            problem: "not connected yet".to_owned(),
        }
    }

    pub fn is_registered(&self) -> bool {
        matches!(self.phase, Phase::Registered(_))
    }

    pub fn is_registering(&self) -> bool {
        matches!(self.phase, Phase::Registering { .. })
    }

    /// There is a socket, or one is being opened.
    pub fn is_open(&self) -> bool {
        match self.phase {
            Phase::Connecting | Phase::Registering { .. } | Phase::Registered(_) => true,
            Phase::Waiting { .. } | Phase::Closed => false,
        }
    }

    pub fn worker_id(&self) -> &str {
        &self.worker_id
    }

    pub fn problem(&self) -> &str {
        &self.problem
    }

    /// The socket is open: true if the register message must follow now.
    pub fn up(&mut self, now: Instant) -> bool {
        let expected = matches!(self.phase, Phase::Connecting);
        if expected {
            self.phase = Phase::Registering { until: now + REGISTER_LIMIT };
        }
        expected
    }

    /// The socket is gone: true if that is news.
    pub fn down(&mut self, error: &LinkError, now: Instant) -> bool {
        let news = self.is_open();
        if news {
            self.problem = self.explain(error);
            let delay = self.delay_after(error);
            self.phase = Phase::Waiting { until: now + delay };
        }
        news
    }

    /// Gives the link up, as when it broke.
    pub fn abandon(&mut self, why: &str, now: Instant) {
        self.down(&LinkError::Broken(why.to_owned()), now);
    }

    /// No further attempt.
    pub fn close(&mut self) {
        self.phase = Phase::Closed;
        self.problem = "stopped".to_owned();
    }

    pub fn registered(&mut self, worker_id: String, now: Instant) {
        self.worker_id = worker_id;
        self.problem.clear();
        self.backoff.reset();
        self.phase = Phase::Registered(Session {
            ping_at: now + PING_INTERVAL,
            silent_at: now + SILENCE_LIMIT,
            status_at: now + STATUS_INTERVAL,
            statuses: 0,
            reported: None,
        });
    }

    /// A frame came: the server lives.
    pub fn heard(&mut self, now: Instant) {
        if let Phase::Registered(session) = &mut self.phase {
            session.silent_at = now + SILENCE_LIMIT;
        }
    }

    /// The status message to send, if registered: `now_due` or because what the server selects by has changed.
    pub fn report(&mut self, status: wire::Status, now_due: bool, now: Instant) -> Option<Vec<u8>> {
        let Phase::Registered(session) = &mut self.phase else {
            return None;
        };
        let same = |was: wire::Status| was.full == status.full && was.draining == status.draining;
        if !now_due && session.reported.is_some_and(same) {
            return None;
        }
        session.reported = Some(status);
        session.statuses += 1;
        session.status_at = now + STATUS_INTERVAL;
        Some(wire::worker_status(status, session.statuses))
    }

    pub fn deadline(&self) -> Option<(Instant, Reason)> {
        match &self.phase {
            Phase::Waiting { until } => Some((*until, Reason::Reconnect)),
            Phase::Registering { until } => Some((*until, Reason::RegisterTimeout)),
            Phase::Registered(session) => {
                let ping = (session.ping_at.min(session.silent_at), Reason::Ping);
                Some(if session.status_at < ping.0 { (session.status_at, Reason::Status) } else { ping })
            }
            Phase::Connecting | Phase::Closed => None,
        }
    }

    /// Acts on the next deadline that has passed; call until `None`.
    pub fn due(&mut self, now: Instant) -> Option<Due> {
        match &mut self.phase {
            Phase::Waiting { until } if *until <= now => {
                self.phase = Phase::Connecting;
                Some(Due::Connect)
            }
            Phase::Registering { until } if *until <= now => {
                let why = format!("the server did not answer the registration in {} s", REGISTER_LIMIT.as_secs());
                self.abandon(&why, now);
                Some(Due::Lost)
            }
            Phase::Registered(session) if session.silent_at <= now => {
                let why = format!("the server was silent for {} s", SILENCE_LIMIT.as_secs());
                self.abandon(&why, now);
                Some(Due::Lost)
            }
            Phase::Registered(session) if session.ping_at <= now => {
                session.ping_at = now + PING_INTERVAL;
                Some(Due::Ping)
            }
            Phase::Registered(session) if session.status_at <= now => {
                session.status_at = now + STATUS_INTERVAL;
                Some(Due::Status)
            }
            Phase::Waiting { .. }
            | Phase::Connecting
            | Phase::Registering { .. }
            | Phase::Registered(_)
            | Phase::Closed => None,
        }
    }

    fn explain(&self, error: &LinkError) -> String {
        match error {
            LinkError::Broken(why) if !matches!(self.phase, Phase::Connecting) => format!("connection lost: {why}"),
            LinkError::Broken(_)
            | LinkError::Refused { .. }
            | LinkError::Tls(_)
            | LinkError::Credentials(_)
            | LinkError::Clock(_) => error.in_words(),
        }
    }

    fn delay_after(&mut self, error: &LinkError) -> Duration {
        let usual = self.backoff.fail(self.random.next());
        match error {
            LinkError::Refused { status: 401 | 403, retry_after, clocks } => {
                let wait = if complaint(clocks).is_some() { CLOCK_RETRY } else { CREDENTIALS_RETRY };
                wait.max(believed(*retry_after))
            }
            LinkError::Refused { retry_after, .. } => usual.max(believed(*retry_after)),
            LinkError::Credentials(_) => CREDENTIALS_RETRY,
            LinkError::Tls(_) | LinkError::Clock(_) => CLOCK_RETRY,
            LinkError::Broken(_) => usual,
        }
    }
}

impl LinkError {
    /// Why there is no connection: one line with the object and, where there is one, the remedy.
    pub fn in_words(&self) -> String {
        match self {
            LinkError::Refused { status: status @ (401 | 403), clocks, .. } => match complaint(clocks) {
                Some(clock) => format!(
                    "the server refused our credentials (HTTP {status}), and {clock}; if that is not it: wrong API key \
                     or secret, or a token without `video.agent`"
                ),
                None => format!(
                    "the server refused our credentials (HTTP {status}): wrong API key or secret, an expired token or \
                     one without `video.agent`, or a wrong clock on this board"
                ),
            },
            LinkError::Refused { status: 404, .. } => {
                "no agents endpoint at this URL (HTTP 404): is it a LiveKit server, and is the path right?".to_owned()
            }
            LinkError::Refused { status: status @ 300..=399, .. } => {
                format!("the server redirects (HTTP {status}): configure the URL it leads to, {UNLESS_LOGIN}")
            }
            LinkError::Refused { status: status @ 200..=299, .. } => {
                format!("what answers is no LiveKit server (HTTP {status}): correct the URL, {UNLESS_LOGIN}")
            }
            LinkError::Refused { status: 511, .. } => {
                "this network wants a login on a page of its own first (HTTP 511): have it let this board in, or use another"
                    .to_owned()
            }
            LinkError::Refused { status, .. } => format!("the server refused the connection (HTTP {status})"),
            LinkError::Tls(why) | LinkError::Credentials(why) | LinkError::Clock(why) => why.clone(),
            LinkError::Broken(why) => {
                format!("cannot connect: {why}; is this board in a network, is the URL right, and does the server run?")
            }
        }
    }
}

/// What is wrong with our clock.
fn complaint(clocks: &Option<Clocks>) -> Option<String> {
    clocks.as_ref().and_then(Clocks::complaint)
}

fn believed(retry_after: Option<Duration>) -> Duration {
    retry_after.unwrap_or_default().min(LONGEST_RETRY_AFTER)
}
