//! One stream through an encoder: from S_FMT to STREAMOFF.

mod units;

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
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};
use units::Part;

/// Pictures that may be inside, unless the driver needs more: one that is being encoded, one that waits. More would only add
/// delay, and a camera whose buffers are lent has four.
pub const PICTURES: u32 = 2;
/// Coded buffers: one being filled, one to fill next, one that we read.
pub const UNITS: u32 = 3;
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

    /// Bytes of the driver's own buffers, of both queues.
    pub(super) fn buffer_bytes(&self) -> u64 {
        self.pictures.bytes() + self.units.bytes()
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
