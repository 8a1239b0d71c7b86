//! A made-up encoder that follows a script.

use super::camera::take;
use super::coding::{Coded, Coding, HEADERS, Pictured};
use super::knobs::Knobs;
use super::{Device, Driver, Ready};
use crate::process::create_memfd;
use crate::video::sys::{self, Buffer, Controls, Format, Memory, Plane, PlaneFormat, Queue, fourcc};
use std::any::Any;
use std::collections::VecDeque;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::time::Instant;

/// Bytes of a coded buffer. A larger unit takes several.
const LARGEST: u32 = 256 * 1024;
const FORCE_KEY: u32 = 0x0099_0900 + 229;
const BITRATE: u32 = 0x0099_0900 + 207;
const LEVEL: u32 = 0x0099_0900 + 359;

/// A made-up encoder.
#[derive(Debug)]
pub struct Encoder {
    coding: Coding,
    knobs: Knobs,
    pictures: Side,
    units: Side,
    /// Since the stream began.
    number: u32,
    key: bool,
    headers_given: bool,
    draining: bool,
    /// The last unit of a drained stream: on its way, and taken.
    last: (bool, bool),
    /// What is left of a unit that is larger than a buffer.
    rest: VecDeque<(Vec<u8>, (i64, i64))>,
}

/// One queue.
#[derive(Debug, Default)]
struct Side {
    planes: Vec<PlaneFormat>,
    pixelformat: u32,
    memory: Vec<Vec<File>>,
    queued: VecDeque<Waiting>,
    done: VecDeque<Buffer>,
    streaming: bool,
}

#[derive(Debug)]
struct Waiting {
    buffer: Buffer,
    /// Of another driver.
    imported: Vec<File>,
    since: Instant,
}

impl Encoder {
    /// The device that follows `coding`.
    pub fn device(coding: Coding) -> Device {
        Device::new(Self {
            knobs: Knobs::new(coding.knobs.clone()),
            coding,
            pictures: Side::default(),
            units: Side::default(),
            number: 0,
            key: false,
            headers_given: false,
            draining: false,
            last: (false, false),
            rest: VecDeque::new(),
        })
    }

    fn queues(&self) -> (Queue, Queue) {
        if self.coding.multi_planar {
            (Queue::OutputPlanes, Queue::CapturePlanes)
        } else {
            (Queue::Output, Queue::Capture)
        }
    }

    fn side(&mut self, kind: u32) -> Result<&mut Side, i32> {
        let (input, output) = self.queues();
        match kind {
            kind if kind == input.kind() => Ok(&mut self.pictures),
            kind if kind == output.kind() => Ok(&mut self.units),
            _ => Err(libc::EINVAL),
        }
    }

    fn enumerate(&self, entry: &mut sys::FormatDescription) -> Result<(), i32> {
        let codes: &[&[u8; 4]] =
            if entry.kind == self.queues().0.kind() { &self.coding.inputs } else { &[self.coding.codec] };
        entry.pixelformat = fourcc(codes.get(entry.index as usize).ok_or(libc::EINVAL)?);
        entry.flags = if entry.kind == self.queues().1.kind() { sys::FMT_FLAG_COMPRESSED } else { 0 };
        Ok(())
    }

    fn set_format(&mut self, format: &mut Format) -> Result<(), i32> {
        let (align, input) = (self.coding.align, self.queues().0);
        if !self.pictures.memory.is_empty() || !self.units.memory.is_empty() {
            return Err(libc::EBUSY);
        }
        let codes: &[&[u8; 4]] = if format.queue == input { &self.coding.inputs } else { &[self.coding.codec] };
        if !codes.iter().any(|code| fourcc(code) == format.pixelformat) {
            format.pixelformat = fourcc(codes[0]);
        }
        (format.width, format.height) = (format.width.next_multiple_of(align), format.height.next_multiple_of(align));
        let asked = if self.coding.own_lines { 0 } else { format.planes[0].stride };
        let stride = asked.max(format.width);
        let planes = match &format.pixelformat.to_le_bytes() {
            b"NV12" | b"YU12" => vec![PlaneFormat { stride, size: stride * format.height * 3 / 2 }],
            b"NM12" => [1, 2].map(|part| PlaneFormat { stride, size: stride * format.height / part }).to_vec(),
            b"YUYV" => {
                let stride = asked.max(format.width * 2);
                vec![PlaneFormat { stride, size: stride * format.height }]
            }
            _ => vec![PlaneFormat { stride: 0, size: LARGEST }],
        };
        format.count = planes.len();
        format.planes[..planes.len()].copy_from_slice(&planes);
        let side = self.side(format.queue.kind())?;
        (side.planes, side.pixelformat) = (planes, format.pixelformat);
        Ok(())
    }

    fn allocate(&mut self, request: &mut sys::RequestBuffers) -> Result<(), i32> {
        let (imports, raises) = (self.coding.imports, self.coding.raises);
        let side = self.side(request.kind)?;
        side.queued.clear();
        side.done.clear();
        side.memory.clear();
        if request.memory == Memory::Dmabuf as u32 {
            return if imports { Ok(()) } else { Err(libc::EINVAL) };
        }
        let piece = |plane: &PlaneFormat| {
            let file = File::from(create_memfd("fake-buffer").ok()?);
            file.set_len(plane.size.into()).ok()?;
            Some(file)
        };
        let buffer = |_| side.planes.iter().map(piece).collect::<Option<Vec<_>>>();
        request.count = if request.count == 0 { 0 } else { request.count.max(raises) };
        side.memory = (0..request.count).map(buffer).collect::<Option<_>>().ok_or(libc::ENOMEM)?;
        Ok(())
    }

    fn describe(&mut self, buffer: &mut Buffer) -> Result<(), i32> {
        let coded = u32::from(buffer.queue == self.queues().1);
        let side = self.side(buffer.queue.kind())?;
        buffer.count = side.memory.get(buffer.index as usize).ok_or(libc::EINVAL)?.len();
        for (index, plane) in side.planes.iter().enumerate() {
            let place = coded << 16 | buffer.index << 8 | index as u32;
            buffer.planes[index] = Plane { length: plane.size, place, ..Plane::default() };
        }
        Ok(())
    }

    fn queue(&mut self, buffer: &Buffer) -> Result<(), i32> {
        let file = |plane: &Plane| File::open(format!("/proc/self/fd/{}", plane.place)).map_err(|_| libc::EBADF);
        // As vb2 checks it.
        if buffer.memory == Memory::Dmabuf && buffer.planes().iter().any(|plane| plane.used > plane.length) {
            return Err(libc::EINVAL);
        }
        let imported = match buffer.memory {
            Memory::Mmap => Vec::new(),
            Memory::Dmabuf => buffer.planes().iter().map(file).collect::<Result<_, _>>()?,
        };
        let waiting = Waiting { buffer: *buffer, imported, since: Instant::now() };
        self.side(buffer.queue.kind())?.queued.push_back(waiting);
        Ok(())
    }

    fn dequeue(&mut self, buffer: &mut Buffer) -> Result<(), i32> {
        self.advance(Instant::now());
        let coded = buffer.queue == self.queues().1;
        if coded && self.last.1 {
            return Err(libc::EPIPE);
        }
        let done = self.side(buffer.queue.kind())?.done.pop_front();
        *buffer = done.ok_or(libc::EAGAIN)?;
        self.last.1 = coded && buffer.flags & sys::BUF_FLAG_LAST != 0;
        Ok(())
    }

    fn stalled(&self) -> bool {
        self.number > 0 && self.knobs.value(LEVEL).is_some_and(|level| level < self.coding.needs_level)
    }

    /// When the next picture is done.
    fn due(&self) -> Option<Instant> {
        let full = self.pictures.queued.len() > self.coding.depth || self.draining;
        let running = self.pictures.streaming && self.units.streaming && full && !self.stalled();
        self.pictures.queued.front().filter(|_| running).map(|waiting| waiting.since + self.coding.delay)
    }

    fn advance(&mut self, now: Instant) {
        self.give_rest();
        while self.rest.is_empty() && self.due().is_some_and(|due| due <= now) {
            let needed = if self.coding.headers_apart && !self.headers_given { 2 } else { 1 };
            if self.units.queued.len() < needed {
                return;
            }
            self.encode();
        }
        let empty = self.draining && self.pictures.queued.is_empty() && self.rest.is_empty() && !self.last.0;
        if empty && !self.units.queued.is_empty() {
            self.last.0 = true;
            self.give(&[], sys::BUF_FLAG_LAST, (0, 0));
        }
    }

    fn encode(&mut self) {
        let Some(waiting) = self.pictures.queued.pop_front() else { return };
        let bytes = self.read(&waiting);
        let stamp = (waiting.buffer.seconds, waiting.buffer.microseconds);
        let key = std::mem::take(&mut self.key) || self.number == 0;
        self.pictures.done.push_back(waiting.buffer);
        if self.coding.headers_apart && !std::mem::replace(&mut self.headers_given, true) {
            self.give(HEADERS, 0, stamp);
        }
        let coded = (self.coding.units)(&Pictured { number: self.number, key, bytes: &bytes });
        self.number += 1;
        match coded {
            Coded::Unit(unit) => {
                self.rest.extend(unit.chunks(LARGEST as usize).map(|part| (part.to_vec(), stamp)));
                self.give_rest();
            }
            Coded::Damaged => self.give(&[], sys::BUF_FLAG_ERROR, stamp),
            Coded::Nothing => {}
        }
    }

    fn give_rest(&mut self) {
        while !self.units.queued.is_empty()
            && let Some((part, stamp)) = self.rest.pop_front()
        {
            self.give(&part, 0, stamp);
        }
    }

    /// What is in the planes.
    fn read(&self, waiting: &Waiting) -> Vec<u8> {
        let own = self.pictures.memory.get(waiting.buffer.index as usize);
        let files = if waiting.imported.is_empty() { own.map_or(&[][..], Vec::as_slice) } else { &waiting.imported };
        let mut all = Vec::new();
        for (file, plane) in files.iter().zip(waiting.buffer.planes()) {
            let mut bytes = vec![0; plane.used as usize];
            file.read_exact_at(&mut bytes, 0).expect("a buffer holds what is said to be used");
            all.extend(bytes);
        }
        all
    }

    fn give(&mut self, unit: &[u8], flags: u32, stamp: (i64, i64)) {
        let Some(Waiting { mut buffer, .. }) = self.units.queued.pop_front() else { return };
        self.units.memory[buffer.index as usize][0].write_all_at(unit, 0).expect("a unit fits its buffer");
        let copied = if self.coding.unstamped { 0 } else { sys::BUF_FLAG_TIMESTAMP_COPY };
        buffer.flags = flags | copied;
        (buffer.seconds, buffer.microseconds) = if self.coding.unstamped { (0, 0) } else { stamp };
        buffer.planes[0] = Plane { used: unit.len() as u32, length: LARGEST, ..Plane::default() };
        self.units.done.push_back(buffer);
    }

    fn stream(&mut self, kind: u32, on: bool) -> Result<(), i32> {
        let input = kind == self.queues().0.kind();
        let side = self.side(kind)?;
        side.streaming = on;
        if !on {
            side.queued.clear();
            side.done.clear();
        }
        if !on || input {
            (self.number, self.key, self.headers_given, self.draining) = (0, false, false, false);
            self.last = (false, false);
            self.rest.clear();
        }
        Ok(())
    }

    fn set(&mut self, controls: &Controls) -> Result<(), i32> {
        let sets = |id| controls.list.iter().any(|control| control.id == id);
        if self.coding.fixed_rate && self.pictures.streaming && sets(BITRATE) {
            return Err(libc::EBUSY);
        }
        self.knobs.set(controls)?;
        self.key |= sets(FORCE_KEY);
        Ok(())
    }
}

impl Driver for Encoder {
    fn ioctl(&mut self, name: &'static str, argument: &mut dyn Any) -> Result<(), i32> {
        match name {
            "VIDIOC_QUERYCAP" => {
                let capability: &mut sys::Capability = take(argument);
                let driver = self.coding.driver.as_bytes();
                capability.driver[..driver.len()].copy_from_slice(driver);
                capability.capabilities = sys::CAP_DEVICE_CAPS;
                let api = if self.coding.multi_planar { sys::CAP_VIDEO_M2M_MPLANE } else { sys::CAP_VIDEO_M2M };
                capability.device_caps = api | sys::CAP_STREAMING;
            }
            "VIDIOC_ENUM_FMT" => self.enumerate(take(argument))?,
            "VIDIOC_S_FMT" => self.set_format(take(argument))?,
            "VIDIOC_S_PARM" | "VIDIOC_S_SELECTION" => {}
            "VIDIOC_REQBUFS" => self.allocate(take(argument))?,
            "VIDIOC_QUERYBUF" => self.describe(take(argument))?,
            "VIDIOC_QBUF" => self.queue(take(argument))?,
            "VIDIOC_DQBUF" => self.dequeue(take(argument))?,
            "VIDIOC_STREAMON" => self.stream(*take::<libc::c_int>(argument) as u32, true)?,
            "VIDIOC_STREAMOFF" => self.stream(*take::<libc::c_int>(argument) as u32, false)?,
            "VIDIOC_ENCODER_CMD" => self.draining = true,
            "VIDIOC_QUERY_EXT_CTRL" => self.knobs.describe(take(argument))?,
            "VIDIOC_QUERYMENU" => self.knobs.item(take(argument))?,
            "VIDIOC_G_EXT_CTRLS" => self.knobs.get(take(argument))?,
            "VIDIOC_S_EXT_CTRLS" => self.set(take(argument))?,
            _ => return Err(libc::ENOTTY),
        }
        Ok(())
    }

    fn poll(&mut self, now: Instant) -> Ready {
        self.advance(now);
        let coded = if self.units.done.is_empty() && !self.last.1 { 0 } else { libc::POLLIN };
        let read = if self.pictures.done.is_empty() { 0 } else { libc::POLLOUT };
        match coded | read {
            0 => self.due().filter(|due| *due > now).map_or(Ready::Never, Ready::At),
            events => Ready::Now(events),
        }
    }

    fn memory(&mut self, place: u32) -> Option<File> {
        let side = if place >> 16 == 0 { &self.pictures } else { &self.units };
        side.memory.get((place >> 8 & 0xff) as usize)?.get((place & 0xff) as usize)?.try_clone().ok()
    }

    fn knobs(&self) -> Vec<(String, i64)> {
        self.knobs.set.clone()
    }

    fn usb_descriptors(&self) -> Option<Vec<u8>> {
        None
    }

    fn close(&mut self) {
        (self.pictures, self.units) = (Side::default(), Side::default());
    }
}
