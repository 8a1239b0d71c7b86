//! Signs off the participant of a job that died, so that no ghost stays in the room.
//!
//! It resumes the dead session and leaves it. It never joins: a join would throw out a successor with the same identity.
//! As the server resumes whoever has the identity, whatever the sid, the session's own words are waited for: only if they
//! name the dead participant is it left.

use super::signal::{self, Response, lk};
use crate::secret::Secret;

/// One sign-off. The shell opens the URL of [`SignOff::connect`] with the token, passes each frame to
/// [`SignOff::message`] and does what the [`Step`] says; it gives up after its own deadline.
#[derive(Debug)]
pub struct SignOff {
    url: String,
    token: Secret,
    sid: String,
    identity: String,
}

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Send this frame, then close: signed off.
    Leave(Vec<u8>),
    /// The participant is not in the room any more, or a successor has its identity: close.
    AlreadyGone,
    /// The server cannot do it now: close and connect again.
    Retry,
    /// Not decided yet: read on.
    Wait,
}

impl SignOff {
    /// `sid` and `identity` are the participant's; `token` the newest that its job had.
    pub fn new(url: impl Into<String>, token: Secret, sid: impl Into<String>, identity: impl Into<String>) -> Self {
        Self { url: url.into(), token, sid: sid.into(), identity: identity.into() }
    }

    /// WebSocket URL and bearer token.
    pub fn connect(&self) -> (String, Secret) {
        let request = signal::resume_request(env!("CARGO_PKG_VERSION"), false, &self.sid);
        (signal::join_url(&self.url, &request), self.token.clone())
    }

    /// A binary frame came.
    pub fn message(&self, frame: &[u8]) -> Step {
        match signal::decode(frame) {
            Ok(Some(Response::Update(update))) => self.who_is_there(&update.participants),
            Ok(Some(Response::Leave(leave))) => match leave.action() {
                lk::leave_request::Action::Resume => Step::Retry,
                lk::leave_request::Action::Reconnect | lk::leave_request::Action::Disconnect => Step::AlreadyGone,
            },
            // A server that joins instead of resuming would leave a second ghost: leave that one.
            Ok(Some(Response::Join(_))) => Step::Leave(signal::encode(signal::leave())),
            _ => Step::Wait,
        }
    }

    /// A resumed session is first told of everybody, itself included.
    fn who_is_there(&self, participants: &[lk::ParticipantInfo]) -> Step {
        let mut present = participants.iter().filter(|p| p.state() != lk::participant_info::State::Disconnected);
        match present.find(|p| p.sid == self.sid || p.identity == self.identity) {
            Some(p) if p.sid == self.sid => Step::Leave(signal::encode(signal::leave())),
            Some(_) => Step::AlreadyGone,
            None => Step::Wait,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use prost::Message;

    fn frame(message: Response) -> Vec<u8> {
        lk::SignalResponse { message: Some(message) }.encode_to_vec()
    }

    fn sign_off() -> SignOff {
        SignOff::new("http://host:7880", Secret::new("token"), "PA_x", "board")
    }

    #[test]
    fn it_resumes_the_dead_session_and_leaves_it() {
        let (url, token) = sign_off().connect();
        assert!(url.starts_with("ws://host:7880/rtc/v1?join_request="));
        assert_eq!(token.expose(), "token");
        assert_eq!(sign_off().message(&frame(Response::Reconnect(Default::default()))), Step::Wait);
        assert_eq!(sign_off().message(&update(&[("PA_y", "other")])), Step::Wait);
        let Step::Leave(bytes) = sign_off().message(&update(&[("PA_y", "other"), ("PA_x", "board")])) else {
            panic!("a resumed session must be left");
        };
        let sent = lk::SignalRequest::decode(&bytes[..]).expect("own encoding").message;
        assert_eq!(sent, Some(signal::leave()));
    }

    fn update(participants: &[(&str, &str)]) -> Vec<u8> {
        let info = |(sid, identity): &(&str, &str)| lk::ParticipantInfo {
            sid: (*sid).into(),
            identity: (*identity).into(),
            state: lk::participant_info::State::Active.into(),
            ..Default::default()
        };
        let participants = participants.iter().map(info).collect();
        frame(Response::Update(lk::ParticipantUpdate { participants }))
    }

    #[test]
    fn a_successor_whose_session_was_resumed_instead_is_not_left() {
        assert_eq!(sign_off().message(&update(&[("PA_z", "board")])), Step::AlreadyGone);
    }

    #[test]
    fn a_refused_resume_means_that_the_participant_is_gone() {
        let leave = lk::LeaveRequest {
            action: lk::leave_request::Action::Reconnect.into(),
            reason: lk::DisconnectReason::StateMismatch.into(),
            ..Default::default()
        };
        assert_eq!(sign_off().message(&frame(Response::Leave(leave))), Step::AlreadyGone);
    }

    #[test]
    fn other_messages_and_garbage_are_waited_over() {
        assert_eq!(sign_off().message(&frame(Response::Pong(1))), Step::Wait);
        assert_eq!(sign_off().message(&[0xff; 40]), Step::Wait);
    }
}
