//! What the room says of our tracks.

use super::super::session::Session;
use super::{Feed, Local, Tracks};
use crate::job::publication::TrackState;
use protocol::room::{Event, Kind, TrackId};

impl Tracks {
    /// Acts on an event of the room about our tracks.
    pub fn event(&mut self, event: &Event, session: &mut Session) {
        match event {
            Event::Connected => self.connected(session),
            Event::Published(id, sid) => self.update(id, |state| state.sid = Some(sid.clone())),
            Event::Unpublished(id, why) => {
                self.update(id, |state| state.ended = Some(why.clone()));
                self.locals.remove(id);
            }
            Event::Muted(id, muted) => self.muted_by_server(id, *muted, session),
            Event::KeyframeNeeded(id) => self.keyframe(id),
            Event::Bandwidth(bps) => self.bandwidth(*bps),
            Event::Wanted(id, wanted) => self.wanted(id, *wanted, session),
            _ => {}
        }
    }

    fn connected(&mut self, session: &mut Session) {
        self.connected = true;
        for local in self.locals.values_mut() {
            local.settle(true, Some(session));
        }
    }

    fn muted_by_server(&mut self, id: &TrackId, muted: bool, session: &mut Session) {
        let connected = self.connected;
        let Some(local) = self.locals.get_mut(id) else { return };
        local.held.server = muted;
        local.told = Some(muted);
        local.settle(connected, Some(session));
    }

    fn keyframe(&mut self, id: &TrackId) {
        self.update(id, |state| state.keyframes += 1);
        if let Some(Local { feed: Feed::Source(source), .. }) = self.locals.get_mut(id) {
            source.keyframe();
        }
    }

    fn wanted(&mut self, id: &TrackId, wanted: bool, session: &mut Session) {
        let connected = self.connected;
        let Some(local) = self.locals.get_mut(id) else { return };
        tracing::debug!(track = local.track.name, wanted, "viewers");
        local.state.send_modify(|state| state.wanted = wanted);
        local.settle(connected, Some(session));
    }

    /// Shares the bandwidth by what the video tracks want at most.
    fn bandwidth(&mut self, bps: u32) {
        let video = |local: &Local| local.track.kind == Kind::Video && local.shown;
        let flows = |local: &Local| video(local) && !local.held.any() && !local.rests();
        let wanted: u64 = self.locals.values().filter(|l| flows(l)).map(|l| u64::from(l.track.bitrate)).sum();
        for local in self.locals.values_mut().filter(|l| flows(l)) {
            let ceiling = u64::from(local.track.bitrate);
            let share = (u64::from(bps) * ceiling / wanted.max(1)).min(ceiling) as u32;
            local.state.send_if_modified(|state| std::mem::replace(&mut state.bitrate, share) != share);
            if let Feed::Source(source) = &mut local.feed {
                source.rate(share);
            }
        }
    }

    fn update(&self, id: &TrackId, change: impl FnOnce(&mut TrackState)) {
        if let Some(local) = self.locals.get(id) {
            local.state.send_modify(change);
        }
    }
}
