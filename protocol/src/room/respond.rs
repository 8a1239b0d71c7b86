//! What the server's messages and the job's commands lead to.

use super::link::{Attempt, Phase};
use super::machine::Room;
use super::peer::RemoteCandidate;
use super::publish::Publication;
use super::signal::{self, Request, Response, lk};
use super::{Command, End, Event, Output, TrackId, TrackSid};
use std::net::SocketAddr;
use std::time::Instant;

impl Room {
    /// One message of the server.
    pub(super) fn respond(&mut self, message: Response, now: Instant) {
        match message {
            Response::Join(join) => self.joined(join, now),
            Response::Reconnect(response) => self.reconnected(&response, now),
            Response::Leave(leave) => self.told_to_leave(&leave, now),
            Response::Answer(answer) => self.answered(&answer, now),
            Response::Trickle(trickle) => self.trickle(&trickle, now),
            Response::TrackPublished(published) => self.published(published, now),
            Response::TrackUnpublished(unpublished) => self.unpublished_by_server(&unpublished.track_sid),
            Response::MediaSectionsRequirement(r) => self.negotiation.require(r.num_audios, r.num_videos),
            Response::Update(update) => self.participants(&update.participants, now),
            Response::RoomUpdate(update) => self.room(update.room),
            Response::Mute(mute) => self.muted_by_server(&mute),
            Response::RefreshToken(token) => {
                self.token = crate::secret::Secret::new(token);
                self.event(Event::Token(self.token.clone()));
            }
            Response::PongResp(pong) => {
                let wall = self.wall_ms(now);
                self.keep_alive.pong(pong.last_ping_timestamp, wall);
            }
            Response::SubscribedQualityUpdate(update) => self.quality_wanted(&update),
            Response::SubscriptionResponse(response) => self.subscription_failed(&response),
            Response::RequestResponse(response) => self.request_refused(response),
            Response::SpeakersChanged(speakers) => self.speakers(&speakers.speakers),
            Response::ConnectionQuality(update) => self.quality(&update.updates),
            _ => {}
        }
    }

    pub(super) fn room(&mut self, room: Option<lk::Room>) {
        if let Some(lk::Room { sid, metadata, .. }) = room {
            self.event(Event::Room { sid, metadata });
        }
    }

    fn told_to_leave(&mut self, leave: &lk::LeaveRequest, now: Instant) {
        use lk::leave_request::Action;
        let reason = leave.reason();
        let why = format!("the server says {} ({})", leave.action().as_str_name(), reason.as_str_name());
        match leave.action() {
            Action::Disconnect => match ending(reason) {
                Some(end) => self.end(end, now),
                None => self.rejoin(&why, now),
            },
            Action::Resume if self.phase.attempt() == Some(Attempt::Resume) => self.attempt_failed(why, now),
            Action::Resume => self.resume(&why, now),
            Action::Reconnect => self.rejoin(&why, now),
        }
    }

    fn answered(&mut self, answer: &lk::SessionDescription, now: Instant) {
        if !self.negotiation.answered(answer) {
            return tracing::debug!(id = answer.id, "answer without an offer");
        }
        if let Err(error) = self.peer.answer(&answer.sdp) {
            tracing::warn!(%error, "answer refused");
            return self.rejoin("the server's SDP answer is not usable", now);
        }
        // An answer with new credentials takes ICE down, on which depends whether TCP is worth a try.
        self.drain(now);
        for section in self.publications.answered() {
            self.peer.prepare_video(section);
        }
        for line in answer.sdp.lines().filter_map(|l| l.trim().strip_prefix("a=candidate")) {
            self.candidate(&format!("candidate{line}"));
        }
        self.schedule_tcp(false, now);
        if self.publications.needs_offer() {
            self.negotiation.request();
        }
        let events = self.subscriptions.map(&answer.mid_to_track_id, &self.roster);
        self.out.extend(events.into_iter().map(Output::Event));
        self.finish_resume(now);
    }

    fn trickle(&mut self, trickle: &lk::TrickleRequest, now: Instant) {
        if let Some(line) = signal::candidate(trickle) {
            self.candidate(&line);
        }
        self.schedule_tcp(trickle.r#final, now);
    }

    fn candidate(&mut self, line: &str) {
        // Of TCP candidates only what our own addresses can reach.
        let reachable = |remote: &SocketAddr| self.addresses.iter().any(|a| a.ip.is_ipv4() == remote.is_ipv4());
        match self.peer.remote_candidate(line) {
            Some(RemoteCandidate::Udp) => self.media.udp = true,
            Some(RemoteCandidate::Tcp(address)) if reachable(&address) => self.media.tcp.push_back(address),
            Some(RemoteCandidate::Tcp(_)) | None => {}
        }
    }

    fn published(&mut self, published: lk::TrackPublishedResponse, now: Instant) {
        let Some(info) = published.track else { return };
        let Some(p) = self.publications.by_cid(&published.cid) else { return };
        let (id, sid, muted) = (p.track.id.clone(), info.sid.clone(), p.track.muted);
        let differs = info.muted != muted;
        p.info = Some(info);
        if differs {
            p.muted_at = Some(now);
            self.request(Request::Mute(lk::MuteTrackRequest { sid: sid.clone(), muted }));
        }
        self.event(Event::Published(id, TrackSid(sid)));
    }

    fn unpublished_by_server(&mut self, sid: &str) {
        if let Some(p) = self.publications.by_sid(sid) {
            let id = p.track.id.clone();
            self.unpublish(&id);
            self.event(Event::Unpublished(id, "unpublished by the server".to_owned()));
        }
    }

    fn unpublish(&mut self, id: &TrackId) {
        if self.publications.remove(id) {
            self.negotiation.request();
        }
    }

    fn participants(&mut self, infos: &[lk::ParticipantInfo], now: Instant) {
        if self.roster.replaced(infos) {
            return self.end(End::DuplicateIdentity, now);
        }
        if let Some(me) = self.roster.completed_by(infos) {
            self.compare_mutes(me);
        }
        let mut events = self.roster.update(infos);
        self.subscriptions.forget_exceptions(&self.roster);
        events.extend(self.subscriptions.announce(&self.roster));
        self.out.extend(events.into_iter().map(Output::Event));
    }

    /// After a resume: what the job has not changed lately is as the server says.
    fn compare_mutes(&mut self, me: &lk::ParticipantInfo) {
        for track in &me.tracks {
            let Some(p) = self.publications.by_sid(&track.sid) else { continue };
            if !p.muted_at.is_some_and(|at| self.keep_alive.may_have_lost(at)) {
                self.muted_by_server(&lk::MuteTrackRequest { sid: track.sid.clone(), muted: track.muted });
            }
        }
    }

    /// After a resume: what the job has changed since the server last answered, and may be lost. The list of tracks does not
    /// tell, as it lacks those without media yet.
    pub(super) fn mute_again(&mut self, now: Instant) {
        let lost = |p: &&mut Publication| p.muted_at.is_some_and(|at| self.keep_alive.may_have_lost(at));
        let mute = |p: &mut Publication| {
            p.muted_at = Some(now);
            Some(lk::MuteTrackRequest { sid: p.info.as_ref()?.sid.clone(), muted: p.track.muted })
        };
        let lost: Vec<_> = self.publications.iter_mut().filter(lost).filter_map(mute).collect();
        for mute in lost {
            if !self.backlog.has(|r| matches!(r, Request::Mute(waits) if waits.sid == mute.sid)) {
                self.request_now(Request::Mute(mute));
            }
        }
    }

    fn muted_by_server(&mut self, mute: &lk::MuteTrackRequest) {
        let Some(p) = self.publications.by_sid(&mute.sid) else { return };
        if p.track.muted == mute.muted {
            return;
        }
        p.track.muted = mute.muted;
        p.await_keyframe();
        let id = p.track.id.clone();
        self.event(Event::Muted(id.clone(), mute.muted));
        if !mute.muted {
            self.wanted(&id, true);
        }
    }

    fn quality_wanted(&mut self, update: &lk::SubscribedQualityUpdate) {
        let Some(p) = self.publications.by_sid(&update.track_sid) else { return };
        // A track without layers is asked for under any quality.
        let mut qualities = update.subscribed_codecs.iter().flat_map(|c| &c.qualities).peekable();
        if qualities.peek().is_none() {
            return;
        }
        let (id, wanted) = (p.track.id.clone(), qualities.any(|q| q.enabled));
        self.wanted(&id, wanted);
    }

    fn wanted(&mut self, id: &TrackId, wanted: bool) {
        let Some(p) = self.publications.get_mut(id) else { return };
        if std::mem::replace(&mut p.wanted, wanted) != wanted {
            self.event(Event::Wanted(id.clone(), wanted));
        }
    }

    /// A session begins or goes on: what was said of viewers is of another one, or was outdated unheard. The server says it
    /// again within 10 s; meanwhile a picture that nobody sees is better than a viewer who sees none.
    pub(super) fn assume_wanted(&mut self) {
        let ids: Vec<TrackId> = self.publications.iter().map(|p| p.track.id.clone()).collect();
        for id in ids {
            self.wanted(&id, true);
        }
    }

    fn subscription_failed(&mut self, response: &lk::SubscriptionResponse) {
        let why = match response.err() {
            lk::SubscriptionError::SeCodecUnsupported => "its codec is not H.264 or Opus",
            lk::SubscriptionError::SeTrackNotfound => "there is no such track",
            lk::SubscriptionError::SeUnknown => "the server does not say why",
        };
        let sid = TrackSid(response.track_sid.clone());
        // Nobody waits for it any more: the next session need not try again.
        self.subscriptions.exceptions.remove(&sid);
        self.event(Event::SubscribeFailed(sid, why.to_owned()));
    }

    fn request_refused(&mut self, response: lk::RequestResponse) {
        use lk::request_response::{Reason, Request as Of};
        let reason = response.reason();
        if matches!(reason, Reason::Ok | Reason::Queued) {
            return;
        }
        match response.request {
            Some(Of::AddTrack(add)) => {
                let Some(p) = self.publications.by_cid(&add.cid) else { return };
                let id = p.track.id.clone();
                self.unpublish(&id);
                let why = format!("refused by the server: {} {}", reason.as_str_name(), response.message);
                self.event(Event::Unpublished(id, why));
            }
            other => {
                tracing::warn!(reason = reason.as_str_name(), text = response.message, "request refused");
                if let Some(Of::UpdateMetadata(_)) = other {
                    if !self.own.may_change {
                        // Nor will another session take it.
                        self.own = super::reconnect::Own::default();
                    }
                    self.event(Event::UpdateRefused(format!("{} {}", reason.as_str_name(), response.message)));
                }
            }
        }
    }

    fn speakers(&mut self, changes: &[lk::SpeakerInfo]) {
        if self.roster.speak(changes) {
            self.event(Event::Speakers(self.roster.speakers()));
        }
    }

    fn quality(&mut self, updates: &[lk::ConnectionQualityInfo]) {
        if let Some(ours) = updates.iter().find(|u| u.participant_sid == self.roster.me) {
            self.event(Event::Quality(match ours.quality() {
                lk::ConnectionQuality::Excellent => "excellent",
                lk::ConnectionQuality::Good => "good",
                lk::ConnectionQuality::Poor => "poor",
                lk::ConnectionQuality::Lost => "lost",
            }));
        }
    }

    /// One command of the job.
    pub(super) fn obey(&mut self, command: Command, now: Instant) {
        match command {
            Command::Publish(track) => self.publish(track, now),
            Command::Unpublish(id) => self.unpublish(&id),
            Command::Mute(id, muted) => self.mute(&id, muted, now),
            Command::Subscribe(sid, wanted) => self.subscribe(sid, wanted),
            Command::RequestKeyframe(sid) => self.subscriptions.request_keyframe(&sid, &mut self.peer),
            Command::Send(data) => {
                let topic = data.topic.clone();
                let queued =
                    if self.leaving.is_some() { Err("the room is being left".into()) } else { self.data.push(data) };
                if let Err(why) = queued {
                    self.event(Event::DataRefused(topic, why));
                }
            }
            Command::Update { name, metadata, attributes } => {
                let change = super::reconnect::Own { name, metadata, attributes, ..Default::default() };
                if let Some(request) = change.request()
                    && matches!(self.phase, Phase::Connecting { .. } | Phase::Live)
                {
                    self.request_now(request);
                }
                // Else all that was changed is told when there is a session.
                self.own.changed_at = Some(now);
                self.own.name = change.name.or(self.own.name.take());
                self.own.metadata = change.metadata.or(self.own.metadata.take());
                self.own.attributes.extend(change.attributes);
            }
            Command::Leave { within } => self.leave(within, now),
            Command::Reconnect { full } => {
                self.retries.forgive();
                match full {
                    true => self.rejoin("asked for", now),
                    false if self.phase == Phase::Live => self.resume("asked for", now),
                    false => {}
                }
            }
        }
    }

    fn publish(&mut self, track: super::LocalTrack, now: Instant) {
        let id = track.id.clone();
        let random = self.random.next();
        if !self.publications.add(track, random) {
            return self.event(Event::Unpublished(id, "a track of this id is published already".to_owned()));
        }
        if let Some(p) = self.publications.get_mut(&id) {
            p.announced_at = Some(now);
            let request = signal::add_track(&p.track, &p.cid);
            // A join under way does not hold it; a rejoin will.
            self.request(Request::AddTrack(request));
            self.negotiation.request();
        }
    }

    fn mute(&mut self, id: &TrackId, muted: bool, now: Instant) {
        let Some(p) = self.publications.get_mut(id) else { return };
        if p.track.muted == muted {
            return;
        }
        p.track.muted = muted;
        p.muted_at = Some(now);
        p.await_keyframe();
        let video = p.track.kind == super::Kind::Video;
        if let Some(sid) = p.sid() {
            self.request(Request::Mute(lk::MuteTrackRequest { sid: sid.0, muted }));
        }
        if video && !muted {
            self.event(Event::KeyframeNeeded(id.clone()));
        }
        if !muted {
            // Of a muted track the server says nothing; what it knows comes with the unmuting.
            self.wanted(id, true);
        }
    }

    fn subscribe(&mut self, sid: TrackSid, wanted: bool) {
        if wanted == self.config.auto_subscribe {
            self.subscriptions.exceptions.remove(&sid);
        } else {
            self.subscriptions.exceptions.insert(sid.clone());
        }
        self.request(Request::Subscription(lk::UpdateSubscription {
            track_sids: vec![sid.0],
            subscribe: wanted,
            participant_tracks: Vec::new(),
        }));
    }
}

/// The end that a DISCONNECT means; `None` where the room goes on without this server process.
fn ending(reason: lk::DisconnectReason) -> Option<End> {
    use lk::DisconnectReason as Reason;
    match reason {
        Reason::ServerShutdown | Reason::Migration | Reason::SignalClose | Reason::StateMismatch => None,
        Reason::ConnectionTimeout | Reason::MediaFailure | Reason::JoinFailure => None,
        Reason::DuplicateIdentity => Some(End::DuplicateIdentity),
        Reason::ParticipantRemoved => Some(End::Removed),
        Reason::RoomDeleted | Reason::RoomClosed => Some(End::RoomClosed),
        other => Some(End::Other(other.as_str_name().to_owned())),
    }
}
