//! Where media pass between the device's thread and the jobs: out of a camera or microphone, into a speaker.

use super::outlet::Outlet;
use super::readers::Ended;
use super::speaker::Inlet;
use super::{camera, microphone};
use crate::config::{Device, DeviceKind};
use crate::control::{DeviceFacts, Format, Granted, OwnerStats, ToReader};
use hal::doorbell::Doorbell;
use hal::ring;
use protocol::device::ReaderId;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

/// One way or the other.
#[derive(Debug)]
pub enum Media {
    /// One ring for all jobs.
    Out(Arc<Outlet>, Format),
    /// A ring for each job.
    In(Arc<Inlet>),
}

impl Media {
    /// What this device needs.
    pub fn of(device: &Device) -> Result<Self, ring::Error> {
        let layout = match &device.kind {
            DeviceKind::Camera(camera) => camera::layout(camera),
            DeviceKind::Microphone(_) => microphone::LAYOUT,
            DeviceKind::Speaker(_) => return Ok(Self::In(Arc::new(Inlet::create()?))),
        };
        let granted = Granted::of(device).expect("cameras and microphones are sources");
        Ok(Self::Out(Arc::new(Outlet::create(&device.name, layout)?), granted.format))
    }

    /// The answer to a reader's first message, and the ring beside it.
    pub fn attach(&self, reader: ReaderId, bell: &Arc<Doorbell>) -> Result<(ToReader, OwnedFd), Ended> {
        match self {
            Self::Out(outlet, format) => {
                let ring = outlet.ring().map_err(|source| Ended::System { call: "duplicate the ring", source })?;
                Ok((ToReader::Attached { format: *format }, ring))
            }
            Self::In(inlet) => Ok((ToReader::AttachedSpeaker, inlet.attach(reader, bell.clone())?)),
        }
    }

    /// Rings `bell` with each unit. A speaker's rings when its reader waits for room.
    pub fn wake(&self, reader: ReaderId, bell: &Arc<Doorbell>) {
        if let Self::Out(outlet, _) = self {
            outlet.wake(reader, bell);
        }
    }

    /// Leaves `reader` in peace.
    pub fn hush(&self, reader: ReaderId) {
        if let Self::Out(outlet, _) = self {
            outlet.hush(reader);
        }
    }

    /// Forgets `reader`.
    pub fn detach(&self, reader: ReaderId) {
        match self {
            Self::Out(outlet, _) => outlet.hush(reader),
            Self::In(inlet) => inlet.detach(reader),
        }
    }

    /// For the thread of a camera or microphone.
    pub fn outlet(&self) -> Arc<Outlet> {
        match self {
            Self::Out(outlet, _) => outlet.clone(),
            Self::In(_) => unreachable!("a camera or microphone was made with an outlet"),
        }
    }

    /// For the thread of a speaker.
    pub fn inlet(&self) -> Arc<Inlet> {
        match self {
            Self::In(inlet) => inlet.clone(),
            Self::Out(..) => unreachable!("a speaker was made with an inlet"),
        }
    }

    /// What is known of a camera beside what its threads have counted.
    pub fn facts(&self) -> DeviceFacts {
        match self {
            Self::Out(outlet, _) => outlet.counters.facts(),
            Self::In(_) => DeviceFacts::default(),
        }
    }

    /// What its threads have counted.
    pub fn stats(&self) -> OwnerStats {
        match self {
            Self::Out(outlet, _) => OwnerStats { level: outlet.meter.take(), ..outlet.counters.stats() },
            Self::In(inlet) => {
                let counters = &inlet.counters;
                OwnerStats {
                    captured: counters.played.load(Relaxed),
                    written: counters.heard.load(Relaxed),
                    dropped: counters.xruns.load(Relaxed),
                    dry: counters.dry.load(Relaxed),
                    skipped: counters.skipped.load(Relaxed),
                    buffer_us: counters.buffer_us.load(Relaxed),
                    level: inlet.meter.take(),
                    ..OwnerStats::default()
                }
            }
        }
    }
}
