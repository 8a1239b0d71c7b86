//! Who muted a track, and whether its user knows that the device is the reason.

use crate::job::Event;

/// A track flows when nobody holds it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Held {
    /// Its user muted it.
    pub user: bool,
    /// The server did.
    pub server: bool,
    /// Its device is not there.
    pub device: bool,
    /// The user was told so.
    told: bool,
}

impl Held {
    /// Whether anybody does.
    pub fn any(self) -> bool {
        self.user || self.server || self.device
    }

    /// The device of this source is not there: what to tell the user, once until it is back.
    pub fn lose(&mut self, source: &str, why: String) -> Option<Event> {
        self.device = true;
        if std::mem::replace(&mut self.told, true) {
            tracing::debug!(source, why, "still lost");
            return None;
        }
        tracing::warn!(source, why, "source lost: its track is muted until it is back");
        Some(Event::SourceLost { name: source.to_owned(), why })
    }

    /// The device is there.
    pub fn find(&mut self, source: &str) -> Option<Event> {
        self.device = false;
        std::mem::take(&mut self.told).then(|| {
            tracing::info!(source, "source back");
            Event::SourceBack { name: source.to_owned() }
        })
    }
}
