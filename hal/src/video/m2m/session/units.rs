//! Units as they come out of an encoder, whole or in parts.

use super::{Next, Session};
use crate::video::Handle;
use crate::video::m2m::error::{Error, Place};
use crate::video::sys::{self, Buffer};
use std::io;

/// Bytes of a unit: more than a megabyte a picture is no live stream.
const LARGEST_UNIT: usize = 4 << 20;

/// A unit that is not given yet. A driver whose buffer is too small for a unit fills it to its last byte and goes on in the next
/// one, with the same stamp: a full buffer is a whole unit only if what follows has another.
#[derive(Debug)]
pub(super) struct Part {
    stamp: Option<Stamp>,
    bytes: Vec<u8>,
    whole: bool,
}

/// Seconds and microseconds, as the driver copies them from a picture to its unit.
type Stamp = (i64, i64);

/// What a coded buffer holds.
enum Found {
    Nothing,
    Unit(Option<Stamp>),
    Part(Part),
}

impl Session {
    /// The next coded unit, into `unit`.
    pub(in crate::video::m2m) fn next(
        &mut self,
        handle: &Handle,
        place: Place<'_>,
        unit: &mut Vec<u8>,
    ) -> Result<Next, Error> {
        let failed = |source| place.failed(sys::DQBUF.name, source);
        loop {
            if let Some(part) = self.part.take_if(|part| part.whole) {
                return self.give(place, part, unit);
            }
            let buffer = match self.units.take_back(handle) {
                Ok(Some(buffer)) => buffer,
                Ok(None) => return Ok(Next::Nothing),
                Err(e) if e.raw_os_error() == Some(libc::EPIPE) => return self.give_last(place, unit),
                Err(e) => return Err(failed(e)),
            };
            let last = buffer.flags & sys::BUF_FLAG_LAST != 0;
            if buffer.flags & sys::BUF_FLAG_ERROR != 0 && !last {
                return Err(Error::Damaged(place.path.to_owned()));
            }
            let found = self.found(&buffer, last, unit);
            // The last one stays with us: nothing is encoded before the next start.
            if !last {
                self.give_unit(handle, buffer.index).map_err(|source| place.failed(sys::QBUF.name, source))?;
            }
            let found = match found {
                Found::Nothing if last => return self.give_last(place, unit),
                Found::Nothing => continue,
                Found::Unit(stamp) => return self.landed(place, stamp),
                Found::Part(part) => part,
            };
            match &mut self.part {
                Some(part) if part.stamp == found.stamp => {
                    part.bytes.extend(found.bytes);
                    part.whole = found.whole;
                    if part.bytes.len() > LARGEST_UNIT {
                        let what = "a unit of more than 4 MiB";
                        return Err(Error::Nonsense { path: place.path.to_owned(), what });
                    }
                }
                part => {
                    if let Some(before) = part.replace(found) {
                        return self.give(place, before, unit);
                    }
                }
            }
        }
    }

    /// What a coded buffer holds: nothing, or parameter sets that belong to the next one; a unit, which is then in `unit`; or
    /// what may be a part of one.
    fn found(&mut self, buffer: &Buffer, last: bool, unit: &mut Vec<u8>) -> Found {
        let told = buffer.planes[0];
        let bytes = self.units.planes[buffer.index as usize].first().map_or(&[][..], |plane| plane.bytes());
        let end = (told.used as usize).min(bytes.len());
        let used = bytes.get(told.data_offset as usize..end).unwrap_or_default();
        if std::mem::take(&mut self.headers_due) && !last {
            self.headers = used.to_vec();
            return Found::Nothing;
        }
        if used.is_empty() {
            return Found::Nothing;
        }
        let copied = buffer.flags & sys::BUF_FLAG_TIMESTAMP_MASK == sys::BUF_FLAG_TIMESTAMP_COPY;
        let stamp = copied.then_some((buffer.seconds, buffer.microseconds));
        let whole = end < bytes.len() || last;
        if whole && self.part.is_none() {
            unit.append(&mut self.headers);
            unit.extend_from_slice(used);
            return Found::Unit(stamp);
        }
        let mut bytes = std::mem::take(&mut self.headers);
        bytes.extend_from_slice(used);
        Found::Part(Part { stamp, bytes, whole })
    }

    fn give(&mut self, place: Place<'_>, mut part: Part, unit: &mut Vec<u8>) -> Result<Next, Error> {
        unit.append(&mut part.bytes);
        self.landed(place, part.stamp)
    }

    fn landed(&mut self, place: Place<'_>, stamp: Option<Stamp>) -> Result<Next, Error> {
        match self.land(stamp) {
            Some(captured_ns) => Ok(Next::Unit { captured_ns }),
            None => Err(Error::Nonsense { path: place.path.to_owned(), what: "a unit with a stamp of no picture" }),
        }
    }

    /// Nothing more comes: what was not known to be whole is.
    fn give_last(&mut self, place: Place<'_>, unit: &mut Vec<u8>) -> Result<Next, Error> {
        match self.part.take() {
            Some(part) => self.give(place, part, unit),
            None => Ok(Next::Last),
        }
    }

    /// The picture with this stamp has come out, or, of a driver that copies none, the oldest. Those before it never will:
    /// the driver has left them out.
    fn land(&mut self, stamp: Option<(i64, i64)>) -> Option<u64> {
        let of = self.flying.iter().position(|flying| stamp.is_none_or(|stamp| flying.stamp == stamp))?;
        self.flying.drain(..=of).next_back().map(|flying| flying.captured_ns)
    }

    pub(super) fn give_unit(&mut self, handle: &Handle, index: u32) -> io::Result<()> {
        let planes = self.units.planes.get(index as usize).map_or(&[][..], Vec::as_slice);
        let mut buffer = Buffer { count: planes.len(), ..Buffer::of(self.units.queue, index) };
        for (told, plane) in buffer.planes.iter_mut().zip(planes) {
            told.length = plane.len() as u32;
        }
        self.units.give(handle, &mut buffer)
    }
}
