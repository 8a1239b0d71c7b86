//! Between the tracks, the bandwidth policy and the peer connection.

use super::machine::Room;
use super::rtp::bandwidth::Action;
use super::{Event, Kind, TrackId};
use std::time::Instant;

impl Room {
    /// Tells the policy what the tracks want now, and does what it says.
    pub(super) fn allocate(&mut self, now: Instant) {
        if !self.media.up {
            return;
        }
        let wanted = (self.publications.bitrate(Kind::Video), self.publications.bitrate(Kind::Audio));
        if self.wanted_bitrate != Some(wanted) {
            self.wanted_bitrate = Some(wanted);
            self.bandwidth.wanted(wanted.0, wanted.1, now);
        }
        while let Some(action) = self.bandwidth.poll() {
            match action {
                Action::Ask { minimum, desired } => {
                    self.peer.set_bandwidth(minimum, desired);
                    self.drain(now);
                }
                Action::Restart(bps) => self.peer.reset_bandwidth(bps),
                Action::Video(bps) => self.event(Event::Bandwidth(bps)),
                Action::Keyframe => self.refresh_video(),
            }
        }
    }

    /// The next frame of each running video track should be a keyframe: receivers missed something.
    pub(super) fn refresh_video(&mut self) {
        let running = self.publications.iter().filter(|p| p.track.kind == Kind::Video && p.running());
        let ids: Vec<TrackId> = running.map(|p| p.track.id.clone()).collect();
        for id in ids {
            self.event(Event::KeyframeNeeded(id));
        }
    }
}
