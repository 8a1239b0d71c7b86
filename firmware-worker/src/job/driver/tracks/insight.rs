//! What a job's user and its operator see of the sources: pictures and times.

use super::{Feed, Local, Tracks, refuse};
use crate::control::{Granted, Latency, MAX_STAGES, SourceStages};
use crate::job::Error;
use crate::job::driver::session::Session;
use crate::job::request::Reply;
use protocol::room::rtp::h264;
use std::time::Instant;

/// Pictures of one camera that may be waited for; more are refused. One keyframe serves all.
const MAX_VIEWERS: usize = 16;

/// Who waits for a camera's next keyframe.
#[derive(Debug, Default)]
pub(super) struct Viewers(Vec<Reply<Vec<u8>>>);

impl Viewers {
    /// Somebody waits, as far as is known.
    pub(super) fn any(&self) -> bool {
        !self.0.is_empty()
    }

    /// Forgets those that have given up; whether there were any.
    pub(super) fn forget_gone(&mut self) -> bool {
        let before = self.0.len();
        self.0.retain(|viewer| !viewer.is_closed());
        self.0.len() != before
    }

    /// There will be no picture for any.
    pub(super) fn refuse(&mut self, name: &str, why: &str) {
        for viewer in self.0.drain(..) {
            refuse(viewer, Error::NoPicture { name: name.to_owned(), why: why.to_owned() });
        }
    }

    /// Gives an access unit to all, if they can start with it; whether they did.
    pub(super) fn show(&mut self, unit: &[u8]) -> bool {
        let shown = self.any() && h264::is_keyframe(unit);
        if shown {
            for viewer in self.0.drain(..) {
                // One that has given up is no loss.
                let _ = viewer.send(Ok(unit.to_vec()));
            }
        }
        shown
    }
}

impl Tracks {
    /// Gives the next keyframe of a granted camera to `reply`; until then the camera is live, whoever muted it. `true`
    /// when the supervisor must be asked for it, as it is not published.
    pub fn take_keyframe(
        &mut self,
        camera: &Granted,
        reply: Reply<Vec<u8>>,
        session: Option<&mut Session>,
        now: Instant,
    ) -> bool {
        let (connected, name) = (self.connected, &camera.name);
        let read = |local: &&Local| local.track.name == *name && matches!(local.feed, Feed::Source(_));
        let known = self.locals.values().find(read).map(|local| local.track.id.clone());
        let opened = known.is_none();
        let id = known.unwrap_or_else(|| self.open(camera, now, None));
        let local = self.locals.get_mut(&id).expect("found or opened");
        local.viewers.forget_gone();
        if local.viewers.0.len() >= MAX_VIEWERS {
            let why = format!("{MAX_VIEWERS} pictures are waited for already");
            refuse(reply, Error::NoPicture { name: name.clone(), why });
            return opened;
        }
        local.viewers.0.push(reply);
        local.settle(connected, session);
        if let Feed::Source(source) = &mut local.feed {
            source.keyframe();
        }
        opened
    }

    /// How long media of the sources take in this job.
    pub fn stages(&self, session: Option<&Session>) -> Vec<SourceStages> {
        let stages = |local: &Local| match &local.feed {
            Feed::Source(source) => {
                let sent = session.map_or_else(Latency::default, |session| session.sent(&local.track.id));
                Some(SourceStages { name: source.name.clone(), latency: [source.waited, sent] })
            }
            Feed::Own => None,
        };
        self.locals.values().filter_map(stages).take(MAX_STAGES).collect()
    }
}
