//! A made-up camera that follows a script.

use super::knobs::Knobs;
use super::script::{Frame, Script, Stamp};
use super::{Device, Driver, Ready};
use crate::process::{create_memfd, monotonic_ns};
use crate::video::keyframe::FORCE_KEY_FRAME;
use crate::video::sys::{self, Buffer, Format, Plane, PlaneFormat, Queue, fourcc};
use crate::video::{Mode, PixelFormat};
use std::any::Any;
use std::collections::VecDeque;
use std::fs::File;
use std::io::Write;
use std::os::fd::IntoRawFd;
use std::os::unix::fs::FileExt;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

/// Bytes that a compressed picture may have.
const LARGEST: u32 = 512 * 1024;

/// A made-up camera.
#[derive(Debug)]
pub struct Camera {
    script: Script,
    knobs: Knobs,
    set: Mode,
    memory: Vec<Vec<File>>,
    queued: VecDeque<u32>,
    filled: VecDeque<Buffer>,
    streaming: Option<Instant>,
    /// Frames that have come due since the stream began.
    number: u32,
    sequence: u32,
    stopped: bool,
    changed: bool,
    /// Says that there is something, once.
    spurious: bool,
}

impl Camera {
    /// The device that follows `script`.
    pub fn device(script: Script) -> Device {
        let set = script.modes[0];
        Device::new(Self {
            knobs: Knobs::new(script.knobs.clone()),
            script,
            set,
            memory: Vec::new(),
            queued: VecDeque::new(),
            filled: VecDeque::new(),
            streaming: None,
            number: 0,
            sequence: 0,
            stopped: false,
            changed: false,
            spurious: false,
        })
    }

    fn queue(&self) -> Queue {
        if self.script.multi_planar { Queue::CapturePlanes } else { Queue::Capture }
    }

    fn code(&self, format: PixelFormat) -> u32 {
        fourcc(match (format, self.script.apart) {
            (PixelFormat::Yuyv, _) => b"YUYV",
            (PixelFormat::Uyvy, _) => b"UYVY",
            (PixelFormat::Nv12, false) => b"NV12",
            (PixelFormat::Nv12, true) => b"NM12",
            (PixelFormat::Nv16, false) => b"NV16",
            (PixelFormat::Nv16, true) => b"NM16",
            (PixelFormat::Yu12, false) => b"YU12",
            (PixelFormat::Yu12, true) => b"YM12",
            (PixelFormat::Mjpeg, _) => b"MJPG",
            (PixelFormat::H264, _) => b"H264",
        })
    }

    fn formats(&self) -> Vec<PixelFormat> {
        let mut formats = Vec::new();
        for mode in &self.script.modes {
            if !formats.contains(&mode.format) {
                formats.push(mode.format);
            }
        }
        formats
    }

    /// Sizes of the pieces of memory of one buffer, and their lines.
    fn planes(&self) -> Vec<PlaneFormat> {
        let Mode { format, width, height, .. } = self.set;
        let line = |bytes: u32, lines: u32| {
            let stride = bytes + self.script.padding;
            PlaneFormat { stride, size: stride * lines }
        };
        let planes = match format {
            PixelFormat::Yuyv | PixelFormat::Uyvy => vec![line(width * 2, height)],
            PixelFormat::Nv12 => vec![line(width, height), line(width, height / 2)],
            PixelFormat::Nv16 => vec![line(width, height), line(width, height)],
            PixelFormat::Yu12 if self.script.apart => {
                vec![line(width, height), line(width / 2, height / 2), line(width / 2, height / 2)]
            }
            PixelFormat::Yu12 => vec![line(width, height), line(width, height / 2)],
            PixelFormat::Mjpeg | PixelFormat::H264 => vec![PlaneFormat { stride: 0, size: LARGEST }],
        };
        if self.script.apart {
            return planes;
        }
        vec![PlaneFormat { stride: planes[0].stride, size: planes.iter().map(|plane| plane.size).sum() }]
    }

    fn set_format(&mut self, format: &mut Format) -> Result<(), i32> {
        if !self.memory.is_empty() {
            return Err(libc::EBUSY);
        }
        let wanted = (format.pixelformat, format.width, format.height);
        let offered = |mode: &&Mode| (self.code(mode.format), mode.width, mode.height) == wanted;
        self.set = *self.script.modes.iter().find(offered).unwrap_or(&self.script.modes[0]);
        let mut answer = Format { width: self.set.width, height: self.set.height, ..Format::of(format.queue) };
        (answer.pixelformat, answer.field) = (self.code(self.set.format), sys::FIELD_NONE);
        let planes = self.planes();
        answer.count = planes.len();
        answer.planes[..planes.len()].copy_from_slice(&planes);
        *format = answer;
        Ok(())
    }

    /// The rate that is set, which is one that it offers.
    fn set_rate(&mut self, parameters: &mut sys::StreamParameters) {
        let sys::Fraction { numerator, denominator } = parameters.time_per_frame;
        let milli_fps = (u64::from(denominator) * 1000).checked_div(u64::from(numerator));
        let wanted = |mode: &&Mode| {
            milli_fps == Some(mode.milli_fps.into()) && Mode { milli_fps: mode.milli_fps, ..self.set } == **mode
        };
        self.set = self.script.modes.iter().find(wanted).copied().unwrap_or(self.set);
    }

    fn start(&mut self) -> Result<(), i32> {
        if self.script.no_room.contains(&self.set) {
            return Err(libc::ENOSPC);
        }
        if self.script.too_fast.contains(&self.set) {
            return Err(libc::EIO);
        }
        self.streaming = Some(Instant::now());
        Ok(())
    }

    fn allocate(&mut self, request: &sys::RequestBuffers) -> Result<(), i32> {
        let planes = self.planes();
        self.queued.clear();
        let piece = |plane: &PlaneFormat| {
            let file = File::from(create_memfd("fake-buffer").ok()?);
            file.set_len(plane.size.into()).ok()?;
            Some(file)
        };
        let buffer = |_| planes.iter().map(piece).collect::<Option<Vec<_>>>();
        self.memory = (0..request.count).map(buffer).collect::<Option<_>>().ok_or(libc::ENOMEM)?;
        Ok(())
    }

    /// Tells where a buffer's planes are.
    fn describe(&self, buffer: &mut Buffer) -> Result<(), i32> {
        let memory = self.memory.get(buffer.index as usize).ok_or(libc::EINVAL)?;
        buffer.count = memory.len();
        for (index, plane) in self.planes().iter().enumerate() {
            let place = (buffer.index << 8) | index as u32;
            buffer.planes[index] = Plane { length: plane.size, place, ..Plane::default() };
        }
        Ok(())
    }

    fn export(&self, export: &mut sys::ExportBuffer) -> Result<(), i32> {
        let memory = self.memory.get(export.index as usize).and_then(|planes| planes.get(export.plane as usize));
        let descriptor = memory.and_then(|file| file.try_clone().ok()).ok_or(libc::EINVAL)?;
        export.fd = descriptor.into_raw_fd();
        Ok(())
    }

    /// Lets the frames come that are due.
    fn advance(&mut self, now: Instant) {
        let period = Duration::from_nanos(1_000_000_000_000 / u64::from(self.set.milli_fps.max(1)));
        while let Some(due) = self.due(period).filter(|due| *due <= now) {
            let has_something = self.spurious || !self.filled.is_empty();
            if self.stopped || self.changed || (!self.script.paced && has_something) {
                return;
            }
            if self.queued.is_empty() && !self.script.paced {
                return;
            }
            self.frame(due);
        }
    }

    fn due(&self, period: Duration) -> Option<Instant> {
        let paced = if self.script.paced { period * self.number } else { Duration::ZERO };
        self.streaming.map(|start| start + self.script.delay + paced)
    }

    fn frame(&mut self, due: Instant) {
        let frame = (self.script.frames)(self.number);
        match frame {
            Frame::Silence => self.streaming = None,
            Frame::Stopped => self.stopped = true,
            Frame::Changed => self.changed = true,
            Frame::Spurious => self.spurious = true,
            Frame::Picture { bytes, stamp, lost, damaged } => {
                let sequence = self.sequence.wrapping_add(lost);
                self.sequence = sequence.wrapping_add(1);
                // Without a free buffer a real driver drops, too.
                if let Some(index) = self.queued.pop_front() {
                    self.fill(index, bytes, stamp, damaged, sequence, due);
                }
            }
        }
        self.number += 1;
    }

    fn fill(&mut self, index: u32, bytes: Option<Vec<u8>>, stamp: Stamp, damaged: bool, sequence: u32, due: Instant) {
        let mut buffer = Buffer { sequence, ..Buffer::of(self.queue(), index) };
        if self.describe(&mut buffer).is_err() {
            return;
        }
        let mut rest = bytes.as_deref();
        for (file, plane) in self.memory[index as usize].iter_mut().zip(&mut buffer.planes) {
            let length = plane.length as usize;
            let grey;
            let part = match &mut rest {
                Some(bytes) => bytes.split_off(..length.min(bytes.len())).unwrap_or_default(),
                None => {
                    grey = vec![128; length];
                    &grey[..]
                }
            };
            // What does not fit a memfd of our own making is a test that is wrong.
            file.write_all_at(part, 0).and_then(|()| file.flush()).expect("the buffer's memory takes its bytes");
            plane.used = part.len() as u32;
        }
        let late = Instant::now().saturating_duration_since(due).as_nanos() as u64;
        let now = if self.script.paced { monotonic_ns() - late } else { monotonic_ns() };
        let (clock, ns) = match stamp {
            Stamp::Now => (sys::BUF_FLAG_TIMESTAMP_MONOTONIC | sys::BUF_FLAG_TSTAMP_SRC_SOE, now),
            Stamp::FromNow(ns) => (sys::BUF_FLAG_TIMESTAMP_MONOTONIC, now.saturating_add_signed(ns)),
            Stamp::At(ns) => (sys::BUF_FLAG_TIMESTAMP_MONOTONIC, ns),
            Stamp::Unknown => (0, 0),
        };
        buffer.flags = clock | if damaged { sys::BUF_FLAG_ERROR } else { 0 };
        buffer.seconds = (ns / 1_000_000_000) as i64;
        buffer.microseconds = (ns % 1_000_000_000 / 1000) as i64;
        self.filled.push_back(buffer);
    }

    fn stop(&mut self) {
        self.streaming = None;
        self.queued.clear();
        self.filled.clear();
        (self.number, self.sequence) = (0, 0);
    }

    fn enumerate(&self, entry: &mut sys::FormatDescription) -> Result<(), i32> {
        let format = *self.formats().get(entry.index as usize).ok_or(libc::EINVAL)?;
        entry.pixelformat = self.code(format);
        Ok(())
    }

    fn size(&self, entry: &mut sys::FrameSize) -> Result<(), i32> {
        let mut sizes: Vec<_> = self.script.modes.iter().filter(|m| self.code(m.format) == entry.pixelformat).collect();
        sizes.dedup_by_key(|mode| (mode.width, mode.height));
        let mode = sizes.get(entry.index as usize).ok_or(libc::EINVAL)?;
        entry.kind = sys::FRAME_DISCRETE;
        (entry.stepwise.min_width, entry.stepwise.max_width) = (mode.width, mode.height);
        Ok(())
    }

    fn interval(&self, entry: &mut sys::FrameInterval) -> Result<(), i32> {
        let wanted = (entry.pixelformat, entry.width, entry.height);
        let mut modes = self.script.modes.iter().filter(|m| (self.code(m.format), m.width, m.height) == wanted);
        let mode = modes.nth(entry.index as usize).ok_or(libc::EINVAL)?;
        entry.kind = sys::FRAME_DISCRETE;
        entry.min = sys::Fraction { numerator: 1000, denominator: mode.milli_fps };
        Ok(())
    }

    /// The picture type of the H.264 extension unit, and nothing else of it.
    fn extension(&mut self, query: &mut sys::ExtensionQuery) -> Result<(), i32> {
        match (query.selector, query.query) {
            (9, sys::GET_LEN) => query.data = vec![4, 0],
            (9, sys::GET_INFO) => query.data = vec![3],
            (9, sys::SET_CUR) if query.data == [0, 0, 2, 0] => {
                self.script.keyframes.fetch_add(1, Relaxed);
            }
            _ => return Err(libc::ENOENT),
        }
        Ok(())
    }

    fn dequeue(&mut self, buffer: &mut Buffer) -> Result<(), i32> {
        // A frame that is there whenever it is asked for is asked for by poll, else there would be no newest.
        if self.script.paced {
            self.advance(Instant::now());
        }
        self.spurious = false;
        *buffer = self.filled.pop_front().ok_or(libc::EAGAIN)?;
        Ok(())
    }
}

/// What the request of that name takes.
pub(super) fn take<T: Any>(argument: &mut dyn Any) -> &mut T {
    argument.downcast_mut().expect("a request ties its name to its argument")
}

impl Driver for Camera {
    fn ioctl(&mut self, name: &'static str, argument: &mut dyn Any) -> Result<(), i32> {
        match name {
            "VIDIOC_QUERYCAP" => {
                let capability: &mut sys::Capability = take(argument);
                capability.driver[..4].copy_from_slice(b"fake");
                capability.card[..11].copy_from_slice(b"Fake Camera");
                capability.capabilities = sys::CAP_DEVICE_CAPS;
                let queue =
                    if self.script.multi_planar { sys::CAP_VIDEO_CAPTURE_MPLANE } else { sys::CAP_VIDEO_CAPTURE };
                capability.device_caps = queue | sys::CAP_STREAMING;
            }
            "VIDIOC_ENUM_FMT" => self.enumerate(take(argument))?,
            "VIDIOC_ENUM_FRAMESIZES" => self.size(take(argument))?,
            "VIDIOC_ENUM_FRAMEINTERVALS" => self.interval(take(argument))?,
            "VIDIOC_S_FMT" => self.set_format(take(argument))?,
            "VIDIOC_G_PARM" | "VIDIOC_S_PARM" => {
                let parameters: &mut sys::StreamParameters = take(argument);
                if name == "VIDIOC_S_PARM" {
                    self.set_rate(parameters);
                }
                parameters.capability = sys::CAP_TIME_PER_FRAME;
                parameters.time_per_frame = sys::Fraction { numerator: 1000, denominator: self.set.milli_fps };
            }
            "VIDIOC_REQBUFS" => self.allocate(take(argument))?,
            "VIDIOC_QUERYBUF" => self.describe(take(argument))?,
            "VIDIOC_EXPBUF" => self.export(take(argument))?,
            "VIDIOC_QBUF" => self.queued.push_back(take::<Buffer>(argument).index),
            "VIDIOC_DQBUF" => self.dequeue(take(argument))?,
            "VIDIOC_STREAMON" => self.start()?,
            "VIDIOC_STREAMOFF" => self.stop(),
            "VIDIOC_SUBSCRIBE_EVENT" => {}
            "VIDIOC_QUERY_EXT_CTRL" => self.knobs.describe(take(argument))?,
            "VIDIOC_QUERYMENU" => self.knobs.item(take(argument))?,
            "VIDIOC_G_EXT_CTRLS" => self.knobs.get(take(argument))?,
            "VIDIOC_S_EXT_CTRLS" => {
                let controls = take::<sys::Controls>(argument);
                self.knobs.set(controls)?;
                let keys = controls.list.iter().filter(|control| control.id == FORCE_KEY_FRAME).count();
                self.script.keyframes.fetch_add(keys as u32, Relaxed);
            }
            "UVCIOC_CTRL_QUERY" if !self.script.descriptors.is_empty() => self.extension(take(argument))?,
            "VIDIOC_DQEVENT" if self.changed => {
                self.changed = false;
                take::<sys::Event>(argument).kind = sys::EVENT_SOURCE_CHANGE;
            }
            "VIDIOC_DQEVENT" => return Err(libc::ENOENT),
            _ => return Err(libc::ENOTTY),
        }
        Ok(())
    }

    fn poll(&mut self, now: Instant) -> Ready {
        self.advance(now);
        if self.stopped {
            return Ready::Now(libc::POLLERR);
        }
        let filled = if self.filled.is_empty() && !self.spurious { 0 } else { libc::POLLIN };
        let changed = if self.changed { libc::POLLPRI } else { 0 };
        match filled | changed {
            0 => {
                let period = Duration::from_nanos(1_000_000_000_000 / u64::from(self.set.milli_fps.max(1)));
                self.due(period).filter(|due| *due > now).map_or(Ready::Never, Ready::At)
            }
            events => Ready::Now(events),
        }
    }

    fn memory(&mut self, place: u32) -> Option<File> {
        self.memory.get((place >> 8) as usize)?.get((place & 0xff) as usize)?.try_clone().ok()
    }

    fn knobs(&self) -> Vec<(String, i64)> {
        self.knobs.set.clone()
    }

    fn usb_descriptors(&self) -> Option<Vec<u8>> {
        (!self.script.descriptors.is_empty()).then(|| self.script.descriptors.clone())
    }

    fn close(&mut self) {
        self.stop();
        self.memory.clear();
        (self.stopped, self.changed, self.spurious) = (false, false, false);
    }
}
