//! Join, resume, rejoin, leave: how phases change.

use super::link::{
    Attempt, Backlog, JOIN_WINDOW, MEDIA_TIMEOUT, OPEN_TIMEOUT, Phase, REJOIN_WINDOW, RESUME_WINDOW, SYNC_TIMEOUT,
};
use super::machine::Room;
use super::negotiate::Negotiation;
use super::path::MediaPath;
use super::peer::Peer;
use super::publish::Publication;
use super::signal::{self, Request, lk};
use super::sound::announce;
use super::{End, Event, Output};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// First bandwidth estimate: it doubles in a second where the path allows, and no path of a board is far below.
pub(super) const FIRST_ESTIMATE: u32 = 1_000_000;
/// A Leave that cannot be sent because the signal connection is away waits this long for it.
const LEAVE_WAIT: Duration = Duration::from_secs(2);

/// A Leave that waits.
#[derive(Clone, Copy, Debug)]
pub(super) struct Leaving {
    /// Until then for the data sent before it.
    data: Instant,
    /// Until then for the signal connection, should it be away.
    signal: Instant,
}

impl Leaving {
    pub(super) fn deadline(self, phase: Phase) -> Instant {
        if phase.signalling() { self.data } else { self.signal }
    }
}

/// What the job changed about its own participant, kept because a new session starts from the token again.
#[derive(Debug, Default)]
pub(super) struct Own {
    pub(super) name: Option<String>,
    pub(super) metadata: Option<String>,
    pub(super) attributes: BTreeMap<String, String>,
    /// When the job changed something last, or the server was told so.
    pub(super) changed_at: Option<Instant>,
    /// The token allows it.
    pub(super) may_change: bool,
}

impl Own {
    /// The request that makes it so.
    pub(super) fn request(&self) -> Option<Request> {
        let changed = self.name.is_some() || self.metadata.is_some() || !self.attributes.is_empty();
        changed.then(|| {
            Request::UpdateMetadata(lk::UpdateParticipantMetadata {
                name: self.name.clone().unwrap_or_default(),
                metadata: self.metadata.clone().unwrap_or_default(),
                attributes: self.attributes.clone().into_iter().collect(),
                request_id: 1,
            })
        })
    }
}

impl Room {
    /// Opens a new session with a new peer connection.
    pub(super) fn join(&mut self, now: Instant) {
        let attempt = if self.roster.me.is_empty() { Attempt::Join } else { Attempt::Rejoin };
        self.peer = Peer::new(&self.addresses, FIRST_ESTIMATE, now);
        self.media = MediaPath::new(now);
        self.bandwidth.reset(now);
        self.wanted_bitrate = None;
        self.negotiation = Negotiation::default();
        let random = &mut self.random;
        self.publications.restart(|| random.next());
        self.data.rejoin();
        // What waited is part of the join: tracks, mutes, subscriptions, own attributes.
        self.backlog = Backlog::default();
        if self.config.auto_subscribe {
            // A spare section saves the first subscription a round trip.
            self.negotiation.require(1, 0);
        }
        let tracks = self.publications.requests();
        let offer = self.make_offer(now);
        let request = signal::join_request(&self.config.version, self.config.auto_subscribe, tracks, offer);
        self.open(&request, attempt, now);
    }

    fn open(&mut self, request: &lk::JoinRequest, attempt: Attempt, now: Instant) {
        let url = signal::join_url(&self.config.url, request);
        self.phase = Phase::Opening { until: now + OPEN_TIMEOUT, attempt };
        self.out.push_back(Output::Connect { url, token: self.token.clone() });
    }

    fn open_resume(&mut self, now: Instant) {
        let request = signal::resume_request(&self.config.version, self.config.auto_subscribe, &self.roster.me);
        self.open(&request, Attempt::Resume, now);
    }

    /// The signal connection is gone or must be replaced; the session shall go on.
    pub(super) fn resume(&mut self, why: &str, now: Instant) {
        if matches!(self.phase, Phase::Connecting { .. } | Phase::Syncing { .. }) || !self.media.up {
            // The server drops a participant without connected media at once.
            return self.rejoin(why, now);
        }
        tracing::info!(why, "resuming");
        self.out.push_back(Output::CloseSignal);
        self.event(Event::Resuming(why.to_owned()));
        let delay = self.retries.lost(self.random.next(), now);
        if delay.is_zero() {
            return self.open_resume(now);
        }
        self.phase = Phase::Waiting { until: now + delay, attempt: Attempt::Resume };
    }

    /// Starts a new session: at once where the last one had media, or after a delay.
    pub(super) fn rejoin(&mut self, why: &str, now: Instant) {
        if matches!(self.phase.attempt(), Some(Attempt::Join | Attempt::Rejoin)) {
            self.media.closed = None;
            return self.attempt_failed(why.to_owned(), now);
        }
        tracing::info!(why, "rejoining");
        let delay = match self.phase {
            Phase::Live => Some(self.retries.lost(self.random.next(), now)),
            Phase::Connecting { .. } => self.retries.fail(self.window(Attempt::Rejoin), self.random.next(), now),
            Phase::Waiting { .. } | Phase::Opening { .. } | Phase::Syncing { .. } | Phase::Ended => {
                Some(Duration::ZERO)
            }
        };
        let Some(delay) = delay else { return self.end(End::Unreachable(why.to_owned()), now) };
        self.out.push_back(Output::CloseSignal);
        self.retire_peer();
        self.media = MediaPath::new(now);
        let gone = self.subscriptions.clear();
        self.out.extend(gone.into_iter().map(Output::Event));
        self.stats.rejoins += 1;
        self.event(Event::Rejoining(why.to_owned()));
        if delay.is_zero() {
            return self.join(now);
        }
        self.phase = Phase::Waiting { until: now + delay, attempt: Attempt::Rejoin };
    }

    /// How long attempts of this kind may fail.
    fn window(&self, attempt: Attempt) -> Duration {
        match attempt {
            Attempt::Resume => RESUME_WINDOW,
            Attempt::Rejoin if self.retries.worked => REJOIN_WINDOW,
            Attempt::Join | Attempt::Rejoin => JOIN_WINDOW,
        }
    }

    /// The old connection says goodbye as far as it can.
    fn retire_peer(&mut self) {
        self.peer.close();
        while let Some(event) = self.peer.poll() {
            if let super::peer::PeerEvent::Transmit { proto, source, destination, payload } = event {
                self.out.push_back(Output::Transmit { proto, source, destination, payload });
            }
        }
    }

    /// An attempt failed: try again later, or otherwise.
    pub(super) fn attempt_failed(&mut self, why: String, now: Instant) {
        let Some(attempt) = self.phase.attempt() else { return };
        if self.retries.fresh() {
            tracing::warn!(why, "cannot connect to the room; trying again");
        }
        match self.retries.fail(self.window(attempt), self.random.next(), now) {
            Some(delay) => {
                tracing::debug!(why, ?attempt, ?delay, "room connection attempt failed");
                self.out.push_back(Output::CloseSignal);
                self.phase = Phase::Waiting { until: now + delay, attempt };
            }
            None if attempt == Attempt::Resume => self.rejoin(&why, now),
            None => self.end(End::Unreachable(why), now),
        }
    }

    /// The phase has taken too long.
    pub(super) fn phase_overdue(&mut self, now: Instant) {
        match self.phase {
            Phase::Waiting { attempt: Attempt::Resume, .. } => self.open_resume(now),
            Phase::Waiting { attempt: Attempt::Join | Attempt::Rejoin, .. } => self.join(now),
            Phase::Opening { .. } => self.attempt_failed("the server does not answer".to_owned(), now),
            Phase::Connecting { .. } => self.rejoin("media could not be connected in 15 s", now),
            Phase::Syncing { .. } => self.rejoin("media did not come back after the resume", now),
            Phase::Live | Phase::Ended => {}
        }
    }

    /// `join` came: a session exists.
    pub(super) fn joined(&mut self, join: lk::JoinResponse, now: Instant) {
        let Phase::Opening { attempt: Attempt::Join | Attempt::Rejoin, .. } = self.phase else { return };
        if !join.alternative_url.is_empty() {
            tracing::info!("the server names another one for this room");
            self.config.url = join.alternative_url;
            return self.attempt_failed("moved to another server".to_owned(), now);
        }
        let Some(me) = join.participant else {
            return self.attempt_failed("join without a participant".to_owned(), now);
        };
        self.keep_alive = super::link::KeepAlive::new(join.ping_interval, join.ping_timeout, now);
        self.phase = Phase::Connecting { until: now + MEDIA_TIMEOUT };
        self.silence();
        let participants = self.roster.join(&me, &join.other_participants);
        self.subscriptions.forget_exceptions(&self.roster);
        self.leave_when_delivered(now);
        if self.phase == Phase::Ended {
            return;
        }
        self.own.may_change = me.permission.is_some_and(|p| p.can_update_metadata);
        self.event(Event::Joined { sid: me.sid, identity: me.identity, participants });
        self.room(join.room);
        self.assume_wanted();
        if let Some(request) = self.own.request() {
            self.own.changed_at = Some(now);
            self.request_now(request);
        }
        // By the join, or by what waited for it.
        self.publications.iter_mut().for_each(|p| p.announced_at = Some(now));
        self.flush_backlog();
        self.resubscribe();
    }

    /// Who has fallen silent meanwhile is not told; who still speaks is, with the next change of level.
    fn silence(&mut self) {
        if self.roster.silence() {
            self.event(Event::Speakers(Vec::new()));
        }
    }

    /// Subscriptions that differ from auto_subscribe are not part of a join.
    fn resubscribe(&mut self) {
        if !self.subscriptions.exceptions.is_empty() {
            let request = Request::Subscription(self.subscription_exceptions());
            self.request_now(request);
        }
    }

    fn subscription_exceptions(&self) -> lk::UpdateSubscription {
        lk::UpdateSubscription {
            track_sids: self.subscriptions.exceptions.iter().map(|s| s.0.clone()).collect(),
            subscribe: !self.config.auto_subscribe,
            participant_tracks: Vec::new(),
        }
    }

    /// `reconnect` came: the old session goes on.
    pub(super) fn reconnected(&mut self, response: &lk::ReconnectResponse, now: Instant) {
        let Phase::Opening { attempt: Attempt::Resume, .. } = self.phase else { return };
        self.phase = Phase::Syncing { until: now + SYNC_TIMEOUT };
        self.leave_when_delivered(now);
        if self.phase == Phase::Ended {
            return;
        }
        if self.leaving.is_none() && self.publications.iter().any(|p| self.may_be_unknown(p)) {
            return self.rejoin("the announcement of a track may be lost", now);
        }
        self.roster.expect_complete_list();
        self.silence();
        self.assume_wanted();
        let state = self.sync_state();
        self.request_now(Request::SyncState(state));
        self.out.extend(self.backlog.take_tracks().map(Output::Signal));
        self.data.replay(response.last_message_seq);
        // A track that appeared meanwhile is only told in an answer.
        self.negotiation.request();
        if self.media.dead(now) {
            self.negotiation.restart_ice();
        }
        if let Some(offer) = self.negotiation.offer_again(now) {
            self.request_now(Request::Offer(offer));
        }
    }

    /// Whether the announcement of this track, or the answer to it, may have been lost. One that the server had, and has not
    /// answered, it would not answer in another session either.
    fn may_be_unknown(&self, p: &Publication) -> bool {
        let waits = || self.backlog.has(|r| matches!(r, Request::AddTrack(track) if track.cid == p.cid));
        p.info.is_none() && p.announced_at.is_none_or(|at| self.keep_alive.may_have_lost(at)) && !waits()
    }

    fn sync_state(&mut self) -> lk::SyncState {
        let (offer, answer) = self.negotiation.settled().unzip();
        let published =
            |p: &Publication| Some(lk::TrackPublishedResponse { cid: p.cid.clone(), track: Some(p.info.clone()?) });
        let channel = |(label, id): (&str, u32)| lk::DataChannelInfo {
            label: label.to_owned(),
            id,
            target: lk::SignalTarget::Publisher.into(),
        };
        lk::SyncState {
            offer,
            answer,
            subscription: Some(self.subscription_exceptions()),
            publish_tracks: self.publications.iter().filter_map(published).collect(),
            data_channels: self.peer.channel_ids().into_iter().map(channel).collect(),
            datachannel_receive_states: self.data.receive_states(),
            ..Default::default()
        }
    }

    /// Resumed when all offers are answered and packets come.
    pub(super) fn finish_resume(&mut self, now: Instant) {
        let Phase::Syncing { .. } = self.phase else { return };
        if !self.negotiation.idle() || self.media.dead(now) {
            return;
        }
        self.phase = Phase::Live;
        self.retries.live(now);
        self.stats.resumes += 1;
        if std::mem::take(&mut self.media.restarted) {
            self.peer.reset_bandwidth(FIRST_ESTIMATE);
            self.bandwidth.reset(now);
            self.wanted_bitrate = None;
        }
        self.event(Event::Resumed);
        if self.own.changed_at.is_some_and(|at| self.keep_alive.may_have_lost(at)) {
            self.own.changed_at = Some(now);
            self.out.extend(self.own.request().map(|request| Output::Signal(signal::encode(request))));
        }
        self.mute_again(now);
        self.flush_backlog();
    }

    fn flush_backlog(&mut self) {
        self.out.extend(self.backlog.take().map(Output::Signal));
    }

    /// ICE and DTLS stand.
    pub(super) fn media_connected(&mut self, now: Instant) {
        self.media.connected(now);
        for p in self.publications.iter_mut() {
            p.await_keyframe();
        }
        if let Phase::Connecting { .. } = self.phase {
            self.phase = Phase::Live;
            self.retries.live(now);
            if self.own.may_change && self.publications.iter().next().is_none() {
                self.request_now(signal::announcement());
            }
            self.event(Event::Connected);
        }
    }

    /// Makes and sends the offer that is due.
    pub(super) fn offer(&mut self, now: Instant) {
        let offer = self.make_offer(now);
        self.request_now(Request::Offer(offer));
    }

    fn make_offer(&mut self, now: Instant) -> lk::SessionDescription {
        let stop = self.publications.take_stopped();
        let changes = self.negotiation.take(self.publications.to_offer(), stop);
        if changes.ice_restart {
            self.media.forget_candidates();
        }
        let offer = self.peer.offer(&changes);
        self.publications.offered(&offer.sections);
        self.negotiation.offered(announce(&offer.sdp, &self.publications.sounds()), now)
    }

    /// The job wants to leave.
    pub(super) fn leave(&mut self, within: Duration, now: Instant) {
        if !self.phase.signalling() && self.roster.me.is_empty() {
            return self.end(End::Left, now);
        }
        let wish = Leaving { data: now + within, signal: now + LEAVE_WAIT };
        let first = self.leaving.unwrap_or(wish);
        self.leaving = Some(Leaving { data: first.data.min(wish.data), signal: first.signal });
    }

    /// Leaves, if that is wanted, when nothing stands against it any more.
    pub(super) fn leave_when_delivered(&mut self, now: Instant) {
        let Some(leaving) = self.leaving.filter(|_| self.phase != Phase::Ended) else { return };
        let due = leaving.deadline(self.phase) <= now;
        if !self.phase.signalling() {
            if due {
                self.end(End::Unreachable("left while the server could not be reached".to_owned()), now);
            }
        } else if due || !self.data.waiting() && self.peer.undelivered() == 0 {
            self.request_now(signal::leave());
            self.end(End::Left, now);
        }
    }

    /// The end: nothing but goodbyes follow.
    pub(super) fn end(&mut self, end: End, now: Instant) {
        tracing::info!(?end, "room ended");
        self.peer.close();
        self.phase = Phase::Ended;
        self.settle(now);
        self.out.push_back(Output::CloseSignal);
        self.event(Event::Ended(end));
    }
}
