//! Offers and answers: one outstanding offer, increasing ids, changes that come meanwhile wait for the answer.

use super::peer::{Changes, Section};
use super::signal::lk;
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// An answer takes milliseconds; a server that is silent this long has lost the offer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// Sections one requirement may ask for. The server asks for one per track; a broken one must not blow up the SDP.
const MAX_SECTIONS: u32 = 50;

/// State of the negotiation of one peer connection.
#[derive(Debug, Default)]
pub(super) struct Negotiation {
    last_id: u32,
    outstanding: Option<Outstanding>,
    /// Something changed: another offer is due.
    due: bool,
    audio: u32,
    video: u32,
    ice_restart: bool,
    /// The last offer that was answered, and its answer: for SyncState.
    settled: Option<(String, String)>,
}

#[derive(Debug)]
struct Outstanding {
    id: u32,
    sdp: String,
    deadline: Instant,
}

impl Negotiation {
    /// An offer shall be made when possible.
    pub(super) fn request(&mut self) {
        self.due = true;
    }

    /// The server needs further sections; zero of both means "offer again".
    pub(super) fn require(&mut self, audio: u32, video: u32) {
        self.audio = self.audio.saturating_add(audio).min(MAX_SECTIONS);
        self.video = self.video.saturating_add(video).min(MAX_SECTIONS);
        self.due = true;
    }

    /// The next offer restarts ICE.
    pub(super) fn restart_ice(&mut self) {
        self.ice_restart = true;
        self.due = true;
    }

    /// Whether an offer can and should be made now.
    pub(super) fn ready(&self) -> bool {
        self.due && self.outstanding.is_none()
    }

    /// Takes what the next offer must contain besides the tracks.
    pub(super) fn take<'a>(&mut self, send: Vec<(super::Kind, &'a str)>, stop: Vec<Section>) -> Changes<'a> {
        self.due = false;
        Changes {
            send,
            stop,
            receive_audio: std::mem::take(&mut self.audio),
            receive_video: std::mem::take(&mut self.video),
            ice_restart: std::mem::take(&mut self.ice_restart),
        }
    }

    /// An offer goes out; returns its id.
    pub(super) fn offered(&mut self, sdp: String, now: Instant) -> lk::SessionDescription {
        self.last_id += 1;
        self.outstanding = Some(Outstanding { id: self.last_id, sdp: sdp.clone(), deadline: now + ANSWER_TIMEOUT });
        super::signal::offer(sdp, self.last_id)
    }

    /// After a resume: the same offer again under a new id. The server may have taken it, or never have seen it.
    pub(super) fn offer_again(&mut self, now: Instant) -> Option<lk::SessionDescription> {
        let sdp = self.outstanding.take()?.sdp;
        Some(self.offered(sdp, now))
    }

    /// Whether this answer is the awaited one. Old servers send id 0.
    pub(super) fn answered(&mut self, answer: &lk::SessionDescription) -> bool {
        match self.outstanding.take_if(|o| answer.id == o.id || answer.id == 0) {
            Some(o) => {
                self.settled = Some((o.sdp, answer.sdp.clone()));
                true
            }
            None => false,
        }
    }

    /// No answer is awaited and no offer is due.
    pub(super) fn idle(&self) -> bool {
        self.outstanding.is_none() && !self.due
    }

    /// When the awaited answer is overdue.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.outstanding.as_ref().map(|o| o.deadline)
    }

    /// Last settled offer and answer.
    pub(super) fn settled(&self) -> Option<(lk::SessionDescription, lk::SessionDescription)> {
        let (offer, answer) = self.settled.as_ref()?;
        let of = |r#type: &str, sdp: &str| lk::SessionDescription {
            r#type: r#type.to_owned(),
            sdp: sdp.to_owned(),
            id: 0,
            mid_to_track_id: HashMap::new(),
        };
        Some((of("offer", offer), of("answer", answer)))
    }
}
