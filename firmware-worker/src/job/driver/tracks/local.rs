//! One track of ours: announced, muted, fed.

use super::super::session::Session;
use super::super::timeline::Anchor;
use super::{Feed, Local};
use crate::control::Demand;
use crate::job::Event as UserEvent;
use protocol::room::{Command, LocalTrack};

impl Local {
    /// The track as the room must know it.
    pub(super) fn announce(&mut self) -> LocalTrack {
        let muted = self.held.any();
        self.told = Some(muted);
        LocalTrack { muted, ..self.track.clone() }
    }

    /// The caller's track is there.
    pub(super) fn introduce(&mut self, connected: bool, mut session: Option<&mut Session>) {
        if let Some(session) = session.as_deref_mut().filter(|_| self.shown && self.told.is_none()) {
            self.publish(session);
        }
        self.settle(connected, session);
        if let Some(reply) = self.reply.take() {
            // The track stays published even if its caller no longer waits.
            let _ = reply.send(Ok((self.track.id.clone(), self.state.subscribe())));
        }
    }

    pub(super) fn publish(&mut self, session: &mut Session) {
        let track = self.announce();
        session.command(Command::Publish(track));
    }

    /// Tells everybody who must know whether the track flows.
    pub(super) fn settle(&mut self, connected: bool, session: Option<&mut Session>) {
        let muted = self.held.any();
        if let (Some(session), Some(told)) = (session, self.told)
            && told != muted
        {
            self.told = Some(muted);
            session.command(Command::Mute(self.track.id.clone(), muted));
        }
        self.state.send_if_modified(|state| std::mem::replace(&mut state.muted, muted) != muted);
        if let Feed::Source(source) = &mut self.feed {
            source.demand(match (self.held.user || self.held.server, connected) {
                _ if self.viewers.any() => Demand::Live,
                _ if !self.shown => Demand::Off,
                (true, _) => Demand::Off,
                (false, true) => Demand::Live,
                (false, false) => Demand::Armed,
            });
        }
    }

    /// Units tell that a device is back.
    pub(super) fn forward(
        &mut self,
        anchor: &Anchor,
        buffer: &mut Vec<u8>,
        connected: bool,
        mut session: Option<&mut Session>,
    ) -> Option<UserEvent> {
        let Feed::Source(source) = &mut self.feed else { return None };
        let (mut flows, mut seen) = (false, false);
        let keyframe = source.read(anchor, buffer, |frame| {
            flows = true;
            seen |= self.viewers.show(frame.data);
            if let Some(session) = session.as_deref_mut().filter(|_| self.shown) {
                session.write(&self.track.id, frame);
            }
        });
        if keyframe {
            source.keyframe();
        }
        let returned = flows && self.held.device;
        let back = if returned { self.held.find(&source.name) } else { None };
        if returned || seen {
            self.settle(connected, session);
        }
        back
    }
}
