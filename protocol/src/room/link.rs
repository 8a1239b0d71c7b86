//! The signal connection: its phase, keep-alive, retries, and what waits while it is away.

use super::signal::{self, Request, lk};
use crate::backoff::Backoff;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// First delay between attempts.
const FIRST_DELAY: Duration = Duration::from_millis(200);
/// Largest delay between attempts: after a server restart a job must be back within three seconds.
const LARGEST_DELAY: Duration = Duration::from_secs(2);
/// The shell opens a socket in 5 s or reports that it cannot; longer means that it forgot.
pub(super) const OPEN_TIMEOUT: Duration = Duration::from_secs(10);
/// From the open socket to the first message.
pub(super) const FIRST_MESSAGE_TIMEOUT: Duration = Duration::from_secs(5);
/// From the join to connected media.
pub(super) const MEDIA_TIMEOUT: Duration = Duration::from_secs(15);
/// From a resumed signal connection to an answered offer and living media.
pub(super) const SYNC_TIMEOUT: Duration = Duration::from_secs(8);
/// The server forgets a participant about 20 s after its media died: later resumes are refused.
pub(super) const RESUME_WINDOW: Duration = Duration::from_secs(20);
/// The worker ends a job that did not join in 60 s; this leaves it the true reason. Nor is a room tried for longer whose media
/// never stood.
pub(super) const JOIN_WINDOW: Duration = Duration::from_secs(55);
/// How long a room that worked is tried again: a server update with a slow start.
pub(super) const REJOIN_WINDOW: Duration = Duration::from_secs(180);
/// A proxy answers 404 too, for as long as the server behind it is away. A room of which nothing else is heard for this long
/// is gone.
pub(super) const ROOM_GONE: Duration = Duration::from_secs(30);
/// Media that stood for so long were well: their loss begins another outage.
const STOOD: Duration = Duration::from_secs(5);

/// Requests kept while the signal connection is away; further ones are dropped, and the log says so.
const MAX_QUEUED: usize = 256;
/// Limits for what the server announces, so that a broken value neither floods nor starves.
const PING_INTERVAL: std::ops::RangeInclusive<i32> = 1..=60;
const PING_TIMEOUT: std::ops::RangeInclusive<i32> = 3..=120;

/// What an attempt wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Attempt {
    /// The first join.
    Join,
    /// The old session goes on.
    Resume,
    /// A new session.
    Rejoin,
}

/// Where the room stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Waits before the next attempt.
    Waiting { until: Instant, attempt: Attempt },
    /// The socket is asked for, or open without a first message yet.
    Opening { until: Instant, attempt: Attempt },
    /// Joined; media is being connected.
    Connecting { until: Instant },
    /// Resumed; the re-offer must be answered, and dead media come back.
    Syncing { until: Instant },
    /// All is well.
    Live,
    /// Over.
    Ended,
}

impl Phase {
    /// When it has taken too long.
    pub(super) fn deadline(self) -> Option<Instant> {
        match self {
            Self::Waiting { until, .. }
            | Self::Opening { until, .. }
            | Self::Connecting { until }
            | Self::Syncing { until } => Some(until),
            Self::Live | Self::Ended => None,
        }
    }

    /// A session exists on the signal socket.
    pub(super) fn signalling(self) -> bool {
        matches!(self, Self::Connecting { .. } | Self::Syncing { .. } | Self::Live)
    }

    /// The last session is over and no other begun: what its peer connection still says is of no interest.
    pub(super) fn without_session(self) -> bool {
        matches!(self, Self::Ended | Self::Waiting { attempt: Attempt::Join | Attempt::Rejoin, .. })
    }

    /// The attempt under way.
    pub(super) fn attempt(self) -> Option<Attempt> {
        match self {
            Self::Waiting { attempt, .. } | Self::Opening { attempt, .. } => Some(attempt),
            Self::Connecting { .. } | Self::Syncing { .. } | Self::Live | Self::Ended => None,
        }
    }
}

/// Retries of one outage. What ends as soon as it began belongs to it: a server that is about to go takes joins and ends
/// them, and one whose media nobody reaches would do so for ever.
#[derive(Debug)]
pub(super) struct Retries {
    backoff: Backoff,
    since: Instant,
    /// Since when media stand.
    live: Option<Instant>,
    /// Media have stood before.
    pub(super) worked: bool,
    /// How often they were lost without having stood for long.
    losses: u32,
    /// Since when every answer is that there is no such room.
    pub(super) missing: Option<Instant>,
}

impl Retries {
    pub(super) fn new(now: Instant) -> Self {
        let backoff = Backoff::new(FIRST_DELAY, LARGEST_DELAY);
        Self { backoff, since: now, live: None, worked: false, losses: 0, missing: None }
    }

    /// Nothing has failed yet: the first failure is news, the others are details.
    pub(super) fn fresh(&self) -> bool {
        self.backoff.failures() == 0
    }

    /// The delay before the next attempt, or `None` when `window` is over.
    pub(super) fn fail(&mut self, window: Duration, random: u64, now: Instant) -> Option<Duration> {
        self.missing = None;
        (now.saturating_duration_since(self.since) < window).then(|| self.backoff.fail(random))
    }

    /// Media stand.
    pub(super) fn live(&mut self, now: Instant) {
        (self.live, self.worked, self.missing) = (Some(now), true, None);
    }

    /// They are lost, or their signal connection is: the delay before the first attempt, none unless that is usual. That
    /// they stood, however shortly, is reason enough to try for as long as ever.
    pub(super) fn lost(&mut self, random: u64, now: Instant) -> Duration {
        if self.live.take().is_some_and(|since| now >= since + STOOD) {
            self.forgive();
        }
        self.since = now;
        self.losses = self.losses.saturating_add(1);
        if self.losses == 1 { Duration::ZERO } else { self.backoff.fail(random) }
    }

    /// What has failed so far does not count.
    pub(super) fn forgive(&mut self) {
        self.backoff.reset();
        self.losses = 0;
    }
}

/// Keep-alive of the signal socket.
#[derive(Debug)]
pub(super) struct KeepAlive {
    interval: Duration,
    timeout: Duration,
    next_ping: Instant,
    heard: Instant,
    rtt_ms: i64,
    /// The last ping: the time in it, and when it was sent.
    pinged: (i64, Instant),
    /// What was sent before has come to the server, which reads in order.
    delivered: Instant,
}

impl KeepAlive {
    pub(super) fn new(interval_s: i32, timeout_s: i32, now: Instant) -> Self {
        let seconds = |value: i32, limits: std::ops::RangeInclusive<i32>| {
            Duration::from_secs(value.clamp(*limits.start(), *limits.end()).unsigned_abs().into())
        };
        let interval = seconds(interval_s, PING_INTERVAL);
        let timeout = seconds(timeout_s, PING_TIMEOUT);
        let next_ping = now + interval;
        Self { interval, timeout, next_ping, heard: now, rtt_ms: 0, pinged: (0, now), delivered: now }
    }

    /// Any message came.
    pub(super) fn heard(&mut self, now: Instant) {
        self.heard = now;
    }

    /// The socket is new: silence counts from here.
    pub(super) fn reopened(&mut self, now: Instant) {
        self.heard = now;
        self.next_ping = now + self.interval;
    }

    /// A pong for the ping sent at `sent_ms`.
    pub(super) fn pong(&mut self, sent_ms: i64, wall_ms: i64) {
        self.rtt_ms = wall_ms.saturating_sub(sent_ms).clamp(0, 60_000);
        if sent_ms == self.pinged.0 {
            self.delivered = self.pinged.1;
        }
    }

    /// Whether a request that was sent at that time may have been lost with the socket of then.
    pub(super) fn may_have_lost(&self, sent: Instant) -> bool {
        sent >= self.delivered
    }

    /// Nothing was heard for too long.
    pub(super) fn silent(&self, now: Instant) -> bool {
        now >= self.heard + self.timeout
    }

    /// The ping that is due. `all_sent`: no request waits for the end of a resume, so that its answer stands for all of them.
    pub(super) fn ping(&mut self, all_sent: bool, wall_ms: i64, now: Instant) -> Option<Request> {
        if now < self.next_ping {
            return None;
        }
        self.next_ping = now + self.interval;
        if all_sent {
            self.pinged = (wall_ms, now);
        }
        Some(Request::PingReq(lk::Ping { timestamp: wall_ms, rtt: self.rtt_ms }))
    }

    pub(super) fn deadline(&self) -> Instant {
        self.next_ping.min(self.heard + self.timeout)
    }
}

/// Requests that wait for the signal connection to come back.
#[derive(Debug, Default)]
pub(super) struct Backlog(VecDeque<Request>);

impl Backlog {
    pub(super) fn push(&mut self, request: Request) {
        if self.0.len() < MAX_QUEUED {
            self.0.push_back(request);
        } else {
            tracing::warn!("signal request dropped: {MAX_QUEUED} wait for the connection already");
        }
    }

    /// Tracks to be announced, which may not wait for the end of a resume: their offer does not, and of two tracks of one kind
    /// that it offers unannounced the server may take one for the other.
    pub(super) fn take_tracks(&mut self) -> impl Iterator<Item = Vec<u8>> {
        let (tracks, rest) = std::mem::take(&mut self.0).into_iter().partition(|r| matches!(r, Request::AddTrack(_)));
        self.0 = rest;
        VecDeque::into_iter(tracks).map(signal::encode)
    }

    /// Whether that is among them.
    pub(super) fn has(&self, wanted: impl Fn(&Request) -> bool) -> bool {
        self.0.iter().any(wanted)
    }

    pub(super) fn take(&mut self) -> impl Iterator<Item = Vec<u8>> {
        std::mem::take(&mut self.0).into_iter().map(signal::encode)
    }
}
