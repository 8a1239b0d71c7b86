//! Writer and reader of a ring in shared memory.

use super::mapping::Mapping;
use super::protocol::{Consumer, Producer, Taken};
use super::record::{decode, encode};
use super::{Error, KEY, Layout, Meta, Next, PERIODIC};
use std::os::fd::{BorrowedFd, OwnedFd};

/// The one writer.
#[derive(Debug)]
pub struct Writer {
    mapping: Mapping,
    producer: Producer,
}

impl Writer {
    /// Makes, pre-faults and seals a ring.
    pub fn create(name: &str, layout: Layout) -> Result<Self, Error> {
        Ok(Self { mapping: Mapping::create(name, layout)?, producer: Producer::new(layout) })
    }

    /// To pass to readers, who can only read from it.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.mapping.fd()
    }

    /// Writes one unit over the oldest ones and returns its sequence number. Never waits and allocates nothing.
    pub fn push(&mut self, meta: Meta, payload: &[u8]) -> Result<u64, Error> {
        let (size, limit) = (payload.len(), self.mapping.layout().arena as usize);
        if size > limit {
            return Err(Error::TooLarge { size, limit });
        }
        Ok(self.producer.push(self.mapping.words(), &encode(&meta), payload))
    }
}

/// A reader with its own position, started at the newest unit.
#[derive(Debug)]
pub struct Reader {
    mapping: Mapping,
    consumer: Consumer,
}

impl Reader {
    /// Maps a ring read-only, after checking seals and size.
    pub fn map(fd: OwnedFd) -> Result<Self, Error> {
        let mapping = Mapping::open(fd)?;
        let consumer = Consumer::new(mapping.layout(), mapping.words());
        Ok(Self { mapping, consumer })
    }

    /// Its size. Who reads until [`Next::Empty`] stops after `slots` turns: a hostile writer always has one more.
    pub fn layout(&self) -> Layout {
        self.mapping.layout()
    }

    /// Copies the next unit into `buffer` (cleared first).
    pub fn next(&mut self, buffer: &mut Vec<u8>) -> Next {
        match self.consumer.next(self.mapping.words(), buffer) {
            Taken::Unit(record) => Next::Unit(decode(&record)),
            Taken::Empty => Next::Empty,
            Taken::Lapped(units) => Next::Lapped(units),
        }
    }

    /// Goes to the newest unit that has been written.
    pub fn skip_to_newest(&mut self) {
        self.consumer.skip_to_newest(self.mapping.words());
    }

    /// Goes back to the newest [`KEY`] unit of a [`PERIODIC`] stream, if the ring still holds one. The capture time of the
    /// newest unit then, ns.
    pub fn seek_keyframe(&mut self) -> Option<u64> {
        let newest = std::cell::Cell::new(None);
        let found = self.consumer.seek_back(self.mapping.words(), |record| {
            let meta = decode(record);
            newest.set(newest.get().or(Some(meta.captured_ns)));
            meta.flags & (KEY | PERIODIC) == KEY | PERIODIC
        });
        newest.get().filter(|_| found)
    }
}
