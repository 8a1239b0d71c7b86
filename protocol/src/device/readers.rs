//! The readers of a device, and what they want together.

use super::{Config, Demand, ReaderId};
use std::collections::BTreeMap;
use std::time::Instant;

#[derive(Debug)]
pub(super) struct Readers {
    readers: BTreeMap<ReaderId, Reader>,
    /// What the device is wanted for without any reader.
    standing: Demand,
    /// Since when none is Live; `None` while any is.
    unwatched_since: Option<Instant>,
    /// Since when none is Armed or Live; `None` while any is.
    unwanted_since: Option<Instant>,
}

#[derive(Debug, Default)]
struct Reader {
    demand: Demand,
    /// Bit/s that it can carry, if it has said so.
    rate: Option<u32>,
}

impl Readers {
    pub(super) fn new(warm: bool, now: Instant) -> Self {
        let standing = if warm { Demand::Armed } else { Demand::Off };
        let mut new = Self { readers: BTreeMap::new(), standing, unwatched_since: None, unwanted_since: None };
        new.note(now);
        new
    }

    /// Says what the reader wanted before.
    pub(super) fn demand(&mut self, id: ReaderId, demand: Demand, now: Instant) -> Demand {
        let reader = self.readers.entry(id).or_default();
        let before = std::mem::replace(&mut reader.demand, demand);
        self.note(now);
        before
    }

    pub(super) fn rate(&mut self, id: ReaderId, bps: u32) {
        self.readers.entry(id).or_default().rate = Some(bps);
    }

    pub(super) fn remove(&mut self, id: ReaderId, now: Instant) {
        self.readers.remove(&id);
        self.note(now);
    }

    pub(super) fn is_live(&self, id: ReaderId) -> bool {
        self.readers.get(&id).is_some_and(|reader| reader.demand == Demand::Live)
    }

    pub(super) fn watched(&self) -> bool {
        self.unwatched_since.is_none()
    }

    pub(super) fn wanted(&self) -> bool {
        self.unwanted_since.is_none()
    }

    pub(super) fn unwatched_since(&self) -> Option<Instant> {
        self.unwatched_since
    }

    pub(super) fn unwanted_since(&self) -> Option<Instant> {
        self.unwanted_since
    }

    /// What the slowest Live reader can carry, within the limits of the stream.
    pub(super) fn bitrate(&self, config: &Config) -> u32 {
        let live = self.readers.values().filter(|reader| reader.demand == Demand::Live);
        let slowest = live.filter_map(|reader| reader.rate).min().unwrap_or(config.ceiling);
        slowest.max(config.floor).min(config.ceiling)
    }

    fn note(&mut self, now: Instant) {
        let strongest = self.readers.values().map(|reader| reader.demand).fold(self.standing, Demand::max);
        note(&mut self.unwatched_since, strongest < Demand::Live, now);
        note(&mut self.unwanted_since, strongest < Demand::Armed, now);
    }
}

fn note(since: &mut Option<Instant>, idle: bool, now: Instant) {
    if idle {
        since.get_or_insert(now);
    } else {
        *since = None;
    }
}
