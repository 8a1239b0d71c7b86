//! One stream through an encoder: from S_FMT to STREAMOFF.

use super::bank::{Bank, release, stream};
use super::error::{Error, Place};
use super::formats::set_formats;
use super::quirks::{self, Quirk};
use super::{BITRATE, Codec, Settings, controls, copy};
use crate::video::handle::Access;
use crate::video::layout::Layout;
use crate::video::sys::{self, Buffer, Memory, Queue};
use crate::video::{Capture, Handle, Held, PixelFormat, Plane};
use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

/// Pictures that may be inside, unless the driver needs more: one that is being encoded, one that waits. More would only add
/// delay, and a camera whose buffers are lent has four.
const PICTURES: u32 = 2;
/// Coded buffers: one being filled, one to fill next, one that we read.
const UNITS: u32 = 3;
/// Bytes of a unit: more than a megabyte a picture is no live stream.
const LARGEST_UNIT: usize = 4 << 20;
const MICROSECONDS: u64 = 1_000_000;

/// What a session is started for.
pub(super) struct Order {
    pub settings: Settings,
    /// Of the pictures that come.
    pub format: PixelFormat,
    /// What they are written as.
    pub input: PixelFormat,
    /// The driver's name of that.
    pub code: u32,
    pub codec: Codec,
    pub queues: (Queue, Queue),
}

/// A picture inside.
#[derive(Debug)]
struct Flying {
    /// As the driver copies it.
    stamp: (i64, i64),
    captured_ns: u64,
    since: Instant,
}

/// A unit that is not given yet. A driver whose buffer is too small for a unit fills it to its last byte and goes on in the next
/// one, with the same stamp: a full buffer is a whole unit only if what follows has another.
#[derive(Debug)]
struct Part {
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

/// Both queues, streaming.
#[derive(Debug)]
pub(super) struct Session {
    settings: Settings,
    format: PixelFormat,
    input: PixelFormat,
    layout: Layout,
    pictures: Bank,
    units: Bank,
    flying: VecDeque<Flying>,
    /// Pictures that may be inside.
    most: usize,
    /// Of the camera, where its buffers are taken as they are.
    shared: Option<Vec<Vec<(OwnedFd, u32)>>>,
    lent: Vec<(u32, Held)>,
    forces_keys: bool,
    /// Nothing was put in yet.
    fresh: bool,
    /// The first buffer is to come that holds the parameter sets alone.
    headers_due: bool,
    headers_apart: bool,
    headers: Vec<u8>,
    part: Option<Part>,
}

/// What the coded queue has.
pub(super) enum Next {
    Unit { captured_ns: u64 },
    Nothing,
    Last,
}

impl Session {
    pub(super) fn start(
        handle: &Handle,
        place: Place<'_>,
        order: &Order,
        camera: Option<&Capture>,
    ) -> Result<Self, Error> {
        let camera = camera.filter(|_| order.format == order.input);
        let set = set_formats(handle, place, order, camera)?;
        controls::prepare(handle, place.driver);
        controls::set_bitrate(handle, order.settings.bitrate).map_err(|source| place.failed(BITRATE, source))?;
        if order.codec == Codec::H264 {
            let needed = order.settings.level;
            controls::set_level(handle, needed).map_err(|most| Error::Level {
                path: place.path.to_owned(),
                needed,
                most,
            })?;
        }
        let layout = Layout::of(order.input, &set);
        let shared = camera.and_then(|camera| {
            let needed: Vec<_> = set.planes().iter().map(|plane| plane.size).collect();
            camera.share(&layout, &needed)
        });
        let started = Self::stream(handle, place, order, layout, shared);
        if started.is_err() {
            abandon(handle, order.queues);
        }
        started
    }

    fn stream(
        handle: &Handle,
        place: Place<'_>,
        order: &Order,
        layout: Layout,
        shared: Option<Vec<Vec<(OwnedFd, u32)>>>,
    ) -> Result<Self, Error> {
        let (input, output) = order.queues;
        let (least_units, least_pictures) = controls::least_buffers(handle);
        let most = PICTURES.max(least_pictures);
        let imported = shared.filter(|_| most == PICTURES).and_then(|shared| {
            let kind = (input, Memory::Dmabuf, Access::Write);
            let bank = Bank::request(handle, place, kind, shared.len() as u32).ok()?;
            (bank.count as usize >= shared.len()).then_some((bank, shared))
        });
        let (pictures, shared) = match imported {
            Some((bank, shared)) => (bank, Some(shared)),
            None => {
                let kind = (input, Memory::Mmap, Access::Write);
                (Bank::request(handle, place, kind, most)?, None)
            }
        };
        let wanted = UNITS.max(least_units + 1).max(quirks::coded_buffers(place.driver));
        let units = Bank::request(handle, place, (output, Memory::Mmap, Access::Read), wanted)?;
        let headers_apart =
            order.codec == Codec::H264 && quirks::of(place.driver).any(|quirk| quirk == Quirk::HeadersApart);
        let mut session = Self {
            settings: order.settings,
            format: order.format,
            input: order.input,
            layout,
            pictures,
            units,
            flying: VecDeque::new(),
            most: most as usize,
            shared,
            lent: Vec::new(),
            forces_keys: controls::forces_keys(handle),
            fresh: true,
            headers_due: headers_apart,
            headers_apart,
            headers: Vec::new(),
            part: None,
        };
        session.run(handle, place)?;
        Ok(session)
    }

    /// Gives all coded buffers and starts both queues.
    fn run(&mut self, handle: &Handle, place: Place<'_>) -> Result<(), Error> {
        for index in self.units.free.clone() {
            self.give_unit(handle, index).map_err(|source| place.failed(sys::QBUF.name, source))?;
        }
        for queue in [self.pictures.queue, self.units.queue] {
            stream(handle, queue, true).map_err(|source| place.failed(sys::STREAMON.name, source))?;
        }
        Ok(())
    }

    pub(super) fn settings(&self) -> &Settings {
        &self.settings
    }

    pub(super) fn note_bitrate(&mut self, bps: u32) {
        self.settings.bitrate = bps;
    }

    pub(super) fn size(&self) -> (u32, u32) {
        (self.settings.width, self.settings.height)
    }

    /// Whether the camera's buffers are taken as they are.
    pub(super) fn shares(&self) -> bool {
        self.shared.is_some()
    }

    pub(super) fn forces_keys(&self) -> bool {
        self.forces_keys
    }

    pub(super) fn fresh(&self) -> bool {
        self.fresh
    }

    /// Writes a picture into a buffer of the driver. Where buffers are the camera's, there is none to write into.
    pub(super) fn put(
        &mut self,
        handle: &Handle,
        place: Place<'_>,
        planes: &[Plane<'_>],
        captured_ns: u64,
    ) -> Result<bool, Error> {
        if self.flying.len() >= self.most {
            return Ok(false);
        }
        let Some(index) = self.pictures.free.last().copied() else { return Ok(false) };
        let Some(memory) = self.pictures.planes.get_mut(index as usize) else { return Ok(false) };
        copy::write(
            (self.format, planes),
            (self.settings.width, self.settings.height),
            (self.input, &self.layout),
            memory,
        );
        let mut buffer = Buffer { count: memory.len(), ..Buffer::of(self.pictures.queue, index) };
        for (index, plane) in memory.iter().enumerate() {
            let parts = self.layout.parts().iter().filter(|part| part.memory == index);
            let used = parts.map(|part| part.start + part.size).max().unwrap_or(0).min(plane.len());
            (buffer.planes[index].used, buffer.planes[index].length) = (used as u32, plane.len() as u32);
        }
        self.fly(handle, place, buffer, captured_ns).map(|()| true)
    }

    /// Hands a buffer of the camera over; takes it out of `held` if it does.
    pub(super) fn lend(
        &mut self,
        handle: &Handle,
        place: Place<'_>,
        held: &mut Option<Held>,
        captured_ns: u64,
    ) -> Result<bool, Error> {
        let Some(index) = held.as_ref().map(Held::index) else { return Ok(false) };
        let Some(planes) = self.shared.as_ref().and_then(|shared| shared.get(index as usize)) else { return Ok(false) };
        if self.flying.len() >= self.most || !self.pictures.free.contains(&index) {
            return Ok(false);
        }
        let mut buffer = Buffer { count: planes.len(), ..Buffer::of(self.pictures.queue, index) };
        buffer.memory = Memory::Dmabuf;
        for (index, (fd, length)) in planes.iter().enumerate() {
            let parts = self.layout.parts().iter().filter(|part| part.memory == index);
            let used = parts.map(|part| part.start + part.size).max().unwrap_or(0) as u32;
            let (place, length) = (fd.as_raw_fd() as u32, *length);
            buffer.planes[index] = sys::Plane { used, length, place, data_offset: 0 };
        }
        self.fly(handle, place, buffer, captured_ns)?;
        self.lent.extend(held.take().map(|held| (index, held)));
        Ok(true)
    }

    fn fly(&mut self, handle: &Handle, place: Place<'_>, mut buffer: Buffer, captured_ns: u64) -> Result<(), Error> {
        let us = captured_ns / 1000;
        let stamp = ((us / MICROSECONDS) as i64, (us % MICROSECONDS) as i64);
        (buffer.seconds, buffer.microseconds) = stamp;
        buffer.field = sys::FIELD_NONE;
        self.pictures.give(handle, &mut buffer).map_err(|source| place.failed(sys::QBUF.name, source))?;
        self.fresh = false;
        self.flying.push_back(Flying { stamp, captured_ns, since: Instant::now() });
        Ok(())
    }

    /// Takes back pictures that have been read.
    pub(super) fn reclaim(&mut self, handle: &Handle, place: Place<'_>, freed: &mut Vec<Held>) -> Result<(), Error> {
        let failed = |source| place.failed(sys::DQBUF.name, source);
        while let Some(buffer) = self.pictures.take_back(handle).map_err(failed)? {
            let of = self.lent.iter().position(|(index, _)| *index == buffer.index);
            freed.extend(of.map(|of| self.lent.swap_remove(of).1));
        }
        Ok(())
    }

    /// The next coded unit, into `unit`.
    pub(super) fn next(&mut self, handle: &Handle, place: Place<'_>, unit: &mut Vec<u8>) -> Result<Next, Error> {
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

    fn give_unit(&mut self, handle: &Handle, index: u32) -> io::Result<()> {
        let planes = self.units.planes.get(index as usize).map_or(&[][..], Vec::as_slice);
        let mut buffer = Buffer { count: planes.len(), ..Buffer::of(self.units.queue, index) };
        for (told, plane) in buffer.planes.iter_mut().zip(planes) {
            told.length = plane.len() as u32;
        }
        self.units.give(handle, &mut buffer)
    }

    /// Fails when a picture has been inside, or the last unit awaited, for longer than `limit`.
    pub(super) fn check(&self, place: Place<'_>, drained: Option<Instant>, limit: Duration) -> Result<(), Error> {
        let oldest = self.flying.front().map(|flying| flying.since);
        let waited = oldest.or(drained).map_or(Duration::ZERO, |since| since.elapsed());
        if waited < limit {
            return Ok(());
        }
        Err(Error::Stalled { path: place.path.to_owned(), ms: waited.as_millis(), hint: quirks::stall(place.driver) })
    }

    /// Both queues anew, with the same buffers.
    pub(super) fn restart(
        &mut self,
        handle: &Handle,
        place: Place<'_>,
        settings: Settings,
        freed: &mut Vec<Held>,
    ) -> Result<(), Error> {
        self.halt(handle, freed);
        controls::set_bitrate(handle, settings.bitrate).map_err(|source| place.failed(BITRATE, source))?;
        (self.settings, self.fresh, self.headers_due) = (settings, true, self.headers_apart);
        self.run(handle, place)
    }

    fn halt(&mut self, handle: &Handle, freed: &mut Vec<Held>) {
        for bank in [&mut self.pictures, &mut self.units] {
            let _ = stream(handle, bank.queue, false);
            bank.free = (0..bank.count).collect();
        }
        freed.extend(self.lent.drain(..).map(|(_, held)| held));
        self.flying.clear();
        self.headers.clear();
        self.part = None;
    }

    /// Ends it and frees its buffers.
    pub(super) fn stop(mut self, handle: &Handle, freed: &mut Vec<Held>) {
        self.halt(handle, freed);
        let banks = [(self.pictures.queue, self.pictures.memory), (self.units.queue, self.units.memory)];
        // Memory that is mapped cannot be freed.
        drop(self);
        banks.into_iter().for_each(|(queue, memory)| release(handle, queue, memory));
    }
}

fn abandon(handle: &Handle, (input, output): (Queue, Queue)) {
    for queue in [input, output] {
        let _ = stream(handle, queue, false);
        release(handle, queue, Memory::Mmap);
    }
}
