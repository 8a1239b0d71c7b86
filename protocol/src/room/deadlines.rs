//! What happens when something has taken too long.

use super::Output;
use super::link::Phase;
use super::machine::Room;
use std::time::{Duration, Instant};

/// UDP gets this head start before a TCP stream is opened.
const TCP_HEAD_START: Duration = Duration::from_millis(500);

impl Room {
    pub(super) fn check_deadlines(&mut self, now: Instant) {
        if self.phase == Phase::Ended {
            return;
        }
        self.leave_when_delivered(now);
        if self.phase == Phase::Ended {
            return;
        }
        if self.media.closed.is_some_and(|at| at <= now) {
            return self.rejoin("peer connection closed by the server", now);
        }
        if self.phase.deadline().is_some_and(|at| at <= now) {
            self.phase_overdue(now);
        }
        if self.phase.signalling() {
            self.check_signal(now);
        }
        if self.phase == Phase::Live && self.media.up && self.media.dead(now) {
            self.resume(self.media.cause(now), now);
        }
        if self.media.try_tcp.is_some_and(|at| at <= now) {
            self.try_tcp(now);
        }
        if self.bandwidth.deadline().is_some_and(|at| at <= now) {
            self.bandwidth.timeout(now);
        }
        let events = self.subscriptions.timeout(now, &mut self.peer);
        self.out.extend(events.into_iter().map(Output::Event));
    }

    fn check_signal(&mut self, now: Instant) {
        let (wall, syncing) = (self.wall_ms(now), matches!(self.phase, Phase::Syncing { .. }));
        if self.keep_alive.silent(now) {
            self.resume("signal connection silent", now);
        } else if self.negotiation.deadline().is_some_and(|at| at <= now) {
            self.rejoin("no answer to an offer", now);
        } else if let Some(ping) = self.keep_alive.ping(!syncing, wall, now) {
            self.request_now(ping);
        }
    }

    fn try_tcp(&mut self, now: Instant) {
        self.media.try_tcp = None;
        if self.peer.ice_up() {
            return;
        }
        if let Some(address) = self.media.tcp.pop_front() {
            self.media.try_tcp = (!self.media.tcp.is_empty()).then_some(now + TCP_HEAD_START * 4);
            self.out.push_back(Output::OpenTcp(address));
        }
    }

    /// When TCP may be tried: at once where the server gave nothing else.
    pub(super) fn schedule_tcp(&mut self, all_known: bool, now: Instant) {
        if self.media.tcp.is_empty() || self.peer.ice_up() {
            return;
        }
        let at = if all_known && !self.media.udp { now } else { now + TCP_HEAD_START };
        self.media.try_tcp = Some(self.media.try_tcp.map_or(at, |former| former.min(at)));
    }
}
