//! What the supervisor says, and what it is told of the room.

use super::session::{Lookup, Session};
use super::{Driver, Phase, random};
use crate::control::{FromJob, JobSetup, JobStats, ToJob};
use crate::job::context::Shared;
use crate::job::request::AudioPacket;
use crate::job::request::VideoFrame;
use crate::job::speaker::Leases;
use crate::job::user::ToUser;
use crate::job::{Error, Event, events::Roster};
use protocol::room;
use protocol::worker::{JobInfo, JobResult, JobSpec};
use serde::de::DeserializeOwned;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// Bytes of a message that comes in a memfd: metadata of a room and a dispatch may be 64 KiB each, and more.
const MAX_BODY: usize = 4 * 1024 * 1024;

/// Name lookups that may be open; the room asks one at a time.
const MAX_LOOKUPS: usize = 4;

impl Driver {
    pub(super) fn control(&mut self, message: ToJob, fds: Vec<OwnedFd>, now: Instant) {
        match message {
            ToJob::Setup => self.with_body(fds, now, Self::set_up),
            ToJob::Offer => self.with_body(fds, now, Self::offer),
            ToJob::Spec => self.with_body(fds, now, Self::assigned),
            ToJob::SourceFd { name } => {
                let Some(socket) = fds.into_iter().next() else { return };
                if let Some(reply) = self.speakers.remove(&name) {
                    // A caller that no longer waits has dropped its speaker.
                    let _ = reply.send(Ok(socket));
                } else {
                    self.tracks.granted(&name, socket, self.session.as_mut(), now, random());
                }
            }
            ToJob::Denied { name, why } => self.denied(name, why, now),
            ToJob::Terminate { reason, grace_ms } => {
                self.terminate(reason, Duration::from_millis(grace_ms.into()), now);
            }
            ToJob::Ack => self.acknowledged(now),
            ToJob::Addresses { id, addresses, error } => self.addresses(id, addresses, error),
            ToJob::Ping { id } => self.pong(id, now),
        }
    }

    /// A source or a speaker cannot be had.
    pub(super) fn denied(&mut self, name: String, why: String, now: Instant) {
        match self.speakers.remove(&name) {
            // A caller that no longer waits needs no answer.
            Some(reply) => drop(reply.send(Err(Error::Denied { name, why }))),
            None => self.tracks.denied(&name, why, now, random()),
        }
    }

    fn with_body<T: DeserializeOwned>(&mut self, fds: Vec<OwnedFd>, now: Instant, then: fn(&mut Self, T, Instant)) {
        let body = match fds.into_iter().next() {
            Some(fd) => hal::process::read_sealed(fd, MAX_BODY).map_err(|e| e.to_string()),
            None => Err("no memfd beside it".into()),
        };
        match body.and_then(|bytes| postcard::from_bytes(&bytes).map_err(|e| e.to_string())) {
            Ok(body) => then(self, body, now),
            Err(why) => self.end(JobResult::Failed { error: format!("message of the supervisor: {why}") }, now),
        }
    }

    fn set_up(&mut self, setup: JobSetup, now: Instant) {
        self.setup = Some(setup);
        room::warm_up(now);
        self.hand_over(ToUser::Prewarm, now);
    }

    fn offer(&mut self, job: JobInfo, now: Instant) {
        self.hand_over(ToUser::Offer(Box::new(job)), now);
    }

    fn assigned(&mut self, spec: JobSpec, now: Instant) {
        self.spec = Some(Box::new(spec));
        self.start_if_ready(now);
    }

    pub(super) fn prewarmed(&mut self, result: Result<(), String>, now: Instant) {
        match result {
            Ok(()) => {
                self.prewarmed = true;
                self.tell(&FromJob::Prewarmed);
                self.start_if_ready(now);
            }
            Err(error) => self.end(JobResult::Failed { error }, now),
        }
    }

    fn start_if_ready(&mut self, now: Instant) {
        if !self.prewarmed || !matches!(self.phase, Phase::Idle) {
            return;
        }
        let (Some(setup), Some(spec)) = (&self.setup, self.spec.take()) else { return };
        let identity = match spec.accept.identity.as_str() {
            "" => format!("agent-{}", spec.job.id.0),
            identity => identity.to_owned(),
        };
        let shared = Shared {
            job: spec.job.clone(),
            identity,
            worker_id: spec.worker_id.clone(),
            options: setup.options.clone(),
            sources: setup.sources.clone(),
            speakers: setup.speakers.clone(),
            leases: Leases::default(),
            requests: self.user.requests.0.clone(),
            ends: self.ends.0.clone(),
            roster: self.roster.subscribe(),
            events: self.events.clone(),
            closing: self.closing.subscribe(),
            prewarmed: None,
            hooks: Mutex::new(Vec::new()),
        };
        self.roster.send_modify(|roster| roster.room = spec.job.room.clone());
        self.job = Some(*spec);
        self.phase = Phase::Running;
        self.tell(&FromJob::Ready);
        self.hand_over(ToUser::Run(Box::new(shared)), now);
    }

    fn hand_over(&mut self, message: ToUser, now: Instant) {
        if self.user.inbox.try_send(message).is_err() {
            self.end(JobResult::Failed { error: "the user's thread takes no messages".into() }, now);
        }
    }

    fn pong(&mut self, id: u32, now: Instant) {
        if let Some(session) = &mut self.session {
            self.tracks.sweep(session);
        }
        // The answer to this poke is seen at the next ping; until then a thread that owed none is well.
        if self.user.pulse.poke() {
            self.silent_since = Some(now);
        }
        let silent = self.silent_since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since));
        let stats = self.stats();
        self.tell(&FromJob::Pong { id, driver_ms: 0, user_ms: silent.as_millis() as u32, stats });
    }

    fn stats(&self) -> JobStats {
        let room = self.session.as_ref().map(Session::stats).unwrap_or_default();
        JobStats {
            packets_out: room.packets_out,
            bytes_out: room.bytes_out,
            lapped: self.tracks.lapped(),
            rejoins: room.rejoins,
            resumes: room.resumes,
            stamps_clamped: room.stamps_clamped,
            stages: self.tracks.stages(self.session.as_ref()),
        }
    }

    pub(super) fn resolve(&mut self, lookup: Lookup) {
        self.lookup_count = self.lookup_count.wrapping_add(1);
        while self.lookups.len() >= MAX_LOOKUPS {
            self.lookups.pop_first();
        }
        self.lookups.insert(self.lookup_count, lookup.reply);
        self.tell(&FromJob::Resolve { id: self.lookup_count, host: lookup.host, port: lookup.port });
    }

    fn addresses(&mut self, id: u32, addresses: Vec<SocketAddr>, error: String) {
        let Some(reply) = self.lookups.remove(&id) else { return };
        let answer = if addresses.is_empty() { Err(error) } else { Ok(addresses) };
        // A connection attempt that has been given up no longer listens.
        let _ = reply.send(answer);
    }

    /// Something happened in the room.
    pub(super) fn room_event(&mut self, event: room::Event) {
        let Some(session) = &mut self.session else { return };
        self.tracks.event(&event, session);
        match event {
            room::Event::Joined { sid, identity, participants } => self.joined(sid, identity, participants),
            room::Event::Room { sid, metadata } => self.change(|roster| roster.room(sid, metadata)),
            room::Event::Token(token) => self.renewed(token, Instant::now()),
            room::Event::Rejoining(why) => {
                tracing::warn!(why, "rejoining the room");
                self.rejoining = true;
                self.tell(&FromJob::Rejoining);
                self.publish([Event::Reconnecting(why)]);
            }
            room::Event::Resuming(why) => {
                tracing::warn!(why, "signalling lost, resuming");
                // A server that removes the participant before it can be resumed says that the job is over.
                self.tell(&FromJob::Rejoining);
                self.publish([Event::Reconnecting(why)]);
            }
            room::Event::Resumed => {
                self.tell(&FromJob::Rejoined);
                self.publish([Event::Reconnected]);
            }
            room::Event::ParticipantChanged(participant) => self.change(|roster| roster.changed(participant)),
            room::Event::ParticipantLeft(participant) => self.change(|roster| roster.left(&participant)),
            room::Event::Audio { track, sequence, timestamp, payload, arrived, captured } => {
                let packet = AudioPacket { sequence, timestamp, payload, arrived, captured };
                self.subscriptions.packet(&track, packet, session);
            }
            room::Event::Video { track, timestamp, captured, data, keyframe } => {
                self.subscriptions.frame(&track, VideoFrame { timestamp, captured, data, keyframe }, session);
            }
            room::Event::SubscribeFailed(sid, why) => {
                self.subscriptions.end(&sid);
                self.publish([Event::SubscribeFailed { sid, why }]);
            }
            room::Event::Data(data) => self.publish([Event::Data(data)]),
            room::Event::DataRefused(topic, why) => self.publish([Event::DataRefused { topic, why }]),
            room::Event::UpdateRefused(why) => self.publish([Event::UpdateRefused(why)]),
            room::Event::Speakers(speakers) => self.publish([Event::Speakers(speakers)]),
            room::Event::Quality(quality) => self.publish([Event::Quality(quality)]),
            room::Event::Ended(end) => self.room_ended(end, Instant::now()),
            room::Event::Connected => tracing::info!("media connected as {}", self.roster.borrow().sid),
            room::Event::Published(..)
            | room::Event::Unpublished(..)
            | room::Event::Muted(..)
            | room::Event::KeyframeNeeded(_)
            | room::Event::Bandwidth(_)
            | room::Event::Wanted(..)
            // Streams outlive a full reconnect, which unsubscribes and subscribes again; they end with their track.
            | room::Event::Subscribed { .. }
            | room::Event::Unsubscribed(_) => {}
        }
    }

    fn joined(&mut self, sid: String, identity: String, participants: Vec<room::Participant>) {
        self.tell(&FromJob::Joined { sid: sid.clone() });
        self.change(|roster| roster.joined(sid, identity, participants));
        if std::mem::take(&mut self.rejoining) {
            self.tell(&FromJob::Rejoined);
            self.publish([Event::Reconnected]);
        }
        if let Some(joining) = self.joining.take() {
            // A caller that no longer waits needs no answer.
            let _ = joining.send(Ok(()));
        }
    }

    fn change(&mut self, change: impl FnOnce(&mut Roster) -> Vec<Event>) {
        let mut events = Vec::new();
        self.roster.send_modify(|roster| events = change(roster));
        for event in &events {
            if let Event::TrackUnpublished { track, .. } = event {
                self.subscriptions.end(&track.sid);
            }
        }
        self.publish(events);
    }

    pub(super) fn publish(&self, events: impl IntoIterator<Item = Event>) {
        for event in events {
            // Nobody has to listen.
            let _ = self.events.send(event);
        }
    }
}
