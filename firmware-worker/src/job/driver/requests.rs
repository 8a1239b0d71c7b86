//! What the user's code asks for.

use super::session::Session;
use super::{Driver, random};
use crate::control::{Format, FromJob, Granted, LinkError, TOO_OFTEN};
use crate::job::Error;
use crate::job::request::{Own, Reply, Request, TrackWatch};
use crate::net::Tls;
use protocol::room::{Command, Config, Kind};
use protocol::worker::{Accept, Answer};
use std::os::fd::OwnedFd;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Bytes of an identity or a display name that a server takes by default (`max_participant_identity_length`). It finds out when
/// the participant joins, so that a job with a longer one could only fail.
const MAX_NAME: usize = 256;

/// Sources and speakers that user code may ask the supervisor for in a second: fewer than it gives, which leaves some for those
/// that are asked for again by themselves, and far below the number of messages that would end the job.
pub(super) const MAX_OPENINGS: u32 = 40;

impl Driver {
    pub(super) fn request(&mut self, request: Request, now: Instant) {
        match request {
            Request::Prewarmed(result) => self.prewarmed(result, now),
            Request::Answer(answer) => self.answer_offer(answer),
            Request::HooksDone => self.hooks_done(now),
            Request::Connect { reply } => self.connect(reply),
            Request::PublishSource { name, reply } => self.publish_source(&name, reply, now),
            Request::PublishOwn { track, reply } => self.tracks.add_own(track, reply, self.session.as_mut()),
            Request::Keyframe { name, reply } => self.take_keyframe(name, reply, now),
            Request::OpenSpeaker { name, reply } => self.open_speaker(name, reply, now),
            Request::Unpublish(id) => self.tracks.unpublish(&id, self.session.as_mut()),
            Request::Mute(id, muted) => self.tracks.mute(&id, muted, self.session.as_mut()),
            Request::Write(frame) => {
                if let Some(session) = &mut self.session {
                    self.tracks.write(&frame, session);
                }
            }
            Request::SubscribeAudio { sid, reply } => {
                let fit = self.roster.borrow().fit(&sid, Kind::Audio);
                let joined = self.session.as_mut().ok_or(Error::NotJoined("subscribe"));
                answer(reply, fit.and(joined).map(|session| self.subscriptions.audio(sid, session)));
            }
            Request::SubscribeVideo { sid, reply } => {
                let fit = self.roster.borrow().fit(&sid, Kind::Video);
                let joined = self.session.as_mut().ok_or(Error::NotJoined("subscribe"));
                answer(reply, fit.and(joined).map(|session| self.subscriptions.video(sid, session)));
            }
            Request::WantKeyframe(sid) => self.command(Command::RequestKeyframe(sid)),
            Request::Send { data, reply } => {
                let joined = self.session.is_some().then_some(()).ok_or(Error::NotJoined("send"));
                self.command(Command::Send(data));
                answer(reply, joined);
            }
            Request::Update(change) => match &mut self.session {
                Some(session) => session.command(update(change)),
                None => self.own.then(change),
            },
        }
    }

    /// An answer that does not fit a control message, or that the server would refuse, is the user's mistake, and must not
    /// look like silence.
    fn answer_offer(&mut self, answer: Answer) {
        if let Answer::Accept(accept) = &answer
            && let Some((what, bytes)) = too_long(accept)
        {
            tracing::error!(
                "on_request: the {what} has {bytes} bytes, and servers take {MAX_NAME}: shorten it; the job is declined"
            );
            return self.tell(&FromJob::Answer(Answer::Reject { terminate: false }));
        }
        if let Err(error @ LinkError::TooLong(_)) = self.link.send(&FromJob::Answer(answer), &[]) {
            tracing::error!(%error, "on_request: name, metadata and attributes are too long; the job is declined");
            self.tell(&FromJob::Answer(Answer::Reject { terminate: false }));
        }
    }

    fn command(&mut self, command: Command) {
        match &mut self.session {
            Some(session) => session.command(command),
            None => tracing::debug!(?command, "dropped: not in the room"),
        }
    }

    fn publish_source(&mut self, name: &str, reply: Reply<TrackWatch>, now: Instant) {
        let granted = self.setup.as_ref().and_then(|setup| setup.sources.iter().find(|s| s.name == name));
        let Some(granted) = granted else {
            let why = "no source of this name is configured".into();
            return answer(reply, Err(Error::Denied { name: name.to_owned(), why }));
        };
        if self.tracks.add_source(granted, reply, self.session.as_mut(), now) {
            self.open(name.to_owned(), now);
        }
    }

    fn take_keyframe(&mut self, name: String, reply: Reply<Vec<u8>>, now: Instant) {
        let is_it = |granted: &&Granted| granted.name == name && matches!(granted.format, Format::H264 { .. });
        let Some(camera) = self.setup.as_ref().and_then(|setup| setup.sources.iter().find(is_it)) else {
            return answer(reply, Err(Error::NoCamera(name)));
        };
        if self.tracks.take_keyframe(camera, reply, self.session.as_mut(), now) {
            self.open(name, now);
        }
    }

    /// Asks the supervisor for what has just been taken note of.
    fn open(&mut self, name: String, now: Instant) {
        if self.openings.is_exceeded(now) {
            self.denied(name, TOO_OFTEN.into(), now);
        } else {
            self.tell(&FromJob::OpenSource { name });
        }
    }

    fn open_speaker(&mut self, name: String, reply: Reply<OwnedFd>, now: Instant) {
        if !self.setup.as_ref().is_some_and(|setup| setup.speakers.contains(&name)) {
            let why = "no speaker of this name is configured".into();
            return answer(reply, Err(Error::Denied { name, why }));
        }
        self.speakers.insert(name.clone(), reply);
        self.open(name, now);
    }

    fn connect(&mut self, reply: Reply<()>) {
        if self.session.is_some() {
            return answer(reply, Err(Error::JoinedAlready));
        }
        let (Some(setup), Some(spec)) = (&self.setup, &self.job) else {
            return answer(reply, Err(Error::Join("there is no job yet".into())));
        };
        let tls = match Tls::new(&setup.ca_pem) {
            Ok(tls) => tls,
            Err(why) => return answer(reply, Err(Error::Join(why))),
        };
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let config = Config {
            url: spec.url.clone().filter(|url| !url.is_empty()).unwrap_or_else(|| setup.url.clone()),
            token: spec.token.clone(),
            version: env!("CARGO_PKG_VERSION").into(),
            auto_subscribe: false,
            tracks: self.tracks.for_join(),
            seed: random(),
            wall_anchor: (Instant::now(), since_1970),
        };
        self.joining = Some(reply);
        let mut session = Session::new(config, tls);
        session.command(update(std::mem::take(&mut self.own)));
        self.session = Some(session);
    }
}

fn too_long(accept: &Accept) -> Option<(&'static str, usize)> {
    let lengths = [("identity", accept.identity.len()), ("name", accept.name.len())];
    lengths.into_iter().find(|(_, bytes)| *bytes > MAX_NAME)
}

fn update(Own { name, metadata, attributes }: Own) -> Command {
    Command::Update { name, metadata, attributes }
}

fn answer<T>(reply: Reply<T>, result: Result<T, Error>) {
    // A caller that no longer waits needs no answer.
    let _ = reply.send(result);
}
