//! One track of ours: announced, muted, fed.

use super::super::session::Session;
use super::super::timeline::Anchor;
use super::{Feed, Local};
use crate::control::Demand;
use crate::job::Event as UserEvent;
use protocol::room::{Command, LocalTrack};
use std::ops::ControlFlow;

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
        let demand = self.demand(connected);
        if let Feed::Source(source) = &mut self.feed {
            source.demand(demand);
        }
    }

    /// How much its device is wanted.
    fn demand(&self, connected: bool) -> Demand {
        match (self.held.user || self.held.server || self.rests(), connected) {
            _ if self.viewers.any() => Demand::Live,
            _ if !self.shown => Demand::Off,
            (true, _) => Demand::Off,
            (false, true) => Demand::Live,
            (false, false) => Demand::Armed,
        }
    }

    /// Nobody watches it, so that its device may rest. The room sees nothing of that: a muted track would have no viewers to
    /// come. One whose device is gone is muted, and of muted tracks the server does not say who waits: the device is wanted
    /// back whoever watches.
    pub(super) fn rests(&self) -> bool {
        self.track.rests && !self.held.device && !self.state.borrow().wanted
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
            let Some(session) = session.as_deref_mut().filter(|_| self.shown) else { return ControlFlow::Continue(()) };
            session.write(&self.track.id, frame);
            if session.turn_is_over() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        if keyframe {
            source.keyframe();
        }
        let stamped = source.stamped;
        self.state.send_if_modified(|state| std::mem::replace(&mut state.stamped, stamped) != stamped);
        let returned = flows && self.held.device;
        let back = if returned { self.held.find(&source.name) } else { None };
        if returned || seen {
            self.settle(connected, session);
        }
        back
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::source::tests::Owner;
    use super::super::Tracks;
    use super::*;
    use crate::control::{Format, Granted};
    use std::future::poll_fn;
    use std::time::Instant;
    use tokio::sync::oneshot;

    fn door() -> Granted {
        let format = Format::H264 { width: 320, height: 180, milli_fps: 30_000, bitrate: 500_000 };
        Granted { name: "door".into(), format }
    }

    fn published() -> Tracks {
        let now = Instant::now();
        let mut tracks = Tracks::new(Anchor::new(now, hal::process::monotonic_ns()));
        assert!(tracks.add_source(&door(), oneshot::channel().0, None, now));
        tracks
    }

    fn local(tracks: &mut Tracks) -> &mut Local {
        tracks.locals.values_mut().next().expect("the camera")
    }

    #[tokio::test]
    async fn a_source_that_always_has_something_leaves_the_others_their_turn() {
        let now = Instant::now();
        let mut tracks = published();
        let sound = Format::Opus { channels: 1, frame_ms: 20, dtx: false, fec: true, bitrate: 48_000 };
        let microphone = Granted { name: "microphone".into(), format: sound };
        assert!(tracks.add_source(&microphone, oneshot::channel().0, None, now));
        let mut owners = Vec::new();
        for local in tracks.locals.values_mut() {
            let Feed::Source(source) = &mut local.feed else { panic!("an own track") };
            owners.push(Owner::attach(source, if local.track.name == "door" { door().format } else { sound }).await);
        }
        // Nobody reads what they have.
        let mut heard = Vec::new();
        for _ in 0..4 {
            heard.push(poll_fn(|context| tracks.poll(context)).await.0);
        }
        assert!(heard[0] != heard[1] && heard[..2] == heard[2..], "{heard:?}");
    }

    #[test]
    fn a_device_is_wanted_by_viewers_of_its_track_and_by_nobody_else() {
        let mut tracks = published();
        let local = local(&mut tracks);
        assert_eq!([false, true].map(|connected| local.demand(connected)), [Demand::Armed, Demand::Live]);
        local.state.send_modify(|state| state.wanted = false);
        assert_eq!(local.demand(true), Demand::Off);
        assert!(!local.held.any(), "the room sees no difference, or no viewer would come");
        local.state.send_modify(|state| state.wanted = true);
        assert_eq!(local.demand(true), Demand::Live);
        local.held.user = true;
        assert_eq!(local.demand(true), Demand::Off);
    }

    /// A muted track gets no word of viewers: without this the device, and the track with it, would never come back.
    #[test]
    fn a_lost_device_is_wanted_back_whoever_watches() {
        let mut tracks = published();
        let local = local(&mut tracks);
        local.state.send_modify(|state| state.wanted = false);
        local.held.device = true;
        assert_eq!(local.demand(true), Demand::Live);
        local.held.user = true;
        assert_eq!(local.demand(true), Demand::Off);
    }

    #[test]
    fn a_picture_is_taken_whoever_watches() {
        let mut tracks = published();
        local(&mut tracks).state.send_modify(|state| state.wanted = false);
        let (reply, picture) = oneshot::channel();
        assert!(!tracks.take_keyframe(&door(), reply, None, Instant::now()));
        assert_eq!(local(&mut tracks).demand(true), Demand::Live);
        drop(picture);
    }
}
