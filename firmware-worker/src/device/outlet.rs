//! Where units leave an owner: the ring and the doorbells of those who read it now.
//!
//! The one lock of an owner is here, between its control loop and its encode thread. It is held for a copy into the
//! ring and a byte per reader; nothing under it depends on what a reader does.

use super::level::Meter;
use super::stages::Stages;
use crate::control::{DeviceFacts, OwnerStage, OwnerStats};
use hal::doorbell::Doorbell;
use hal::ring::{self, Layout, Meta, Writer};
use protocol::device::ReaderId;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Counters that threads add to and the control loop reads.
#[derive(Debug, Default)]
pub struct Counters {
    /// Frames or periods that the device gave.
    pub captured: AtomicU64,
    /// Units in the ring.
    pub written: AtomicU64,
    /// Frames or periods that reached no ring though they were wanted.
    pub dropped: AtomicU64,
    /// Keyframes made.
    pub keyframes: AtomicU64,
    /// Encoders that exist now.
    pub encoders: AtomicU32,
    /// How long things take.
    pub stages: Stages,
    /// What an encoder in software leaves out, as a place in `protocol::device::STEPS`.
    pub saving: AtomicU32,
    /// Pictures whose stamps were not after those before them.
    pub stamps_behind: AtomicU64,
    /// Pictures whose stamps lay ahead of the clock.
    pub stamps_ahead: AtomicU64,
    /// What the time of the last picture is of, as `hal::ring::Stamped` codes it.
    pub stamped: AtomicU32,
}

impl Counters {
    /// As they are reported.
    pub fn stats(&self) -> OwnerStats {
        OwnerStats {
            captured: self.captured.load(Relaxed),
            written: self.written.load(Relaxed),
            dropped: self.dropped.load(Relaxed),
            keyframes: self.keyframes.load(Relaxed),
            encoders: self.encoders.load(Relaxed),
            stages: Box::new(self.stages.latencies()),
            saving: self.saving.load(Relaxed),
            ..OwnerStats::default()
        }
    }

    /// What is reported beside them.
    pub fn facts(&self) -> DeviceFacts {
        DeviceFacts {
            stamps_behind: self.stamps_behind.load(Relaxed),
            stamps_ahead: self.stamps_ahead.load(Relaxed),
            stamped: self.stamped.load(Relaxed),
            ..DeviceFacts::default()
        }
    }
}

/// The ring, its listeners and its counters.
#[derive(Debug)]
pub struct Outlet {
    shared: Mutex<Shared>,
    /// See [`Counters`].
    pub counters: Counters,
    /// How loud a microphone is.
    pub meter: Meter,
}

#[derive(Debug)]
struct Shared {
    writer: Writer,
    last: Option<Meta>,
    bells: Vec<(ReaderId, Arc<Doorbell>)>,
}

impl Outlet {
    /// Makes the ring; it lives as long as the owner, whatever becomes of the device.
    pub fn create(name: &str, layout: Layout) -> Result<Self, ring::Error> {
        let shared = Shared { writer: Writer::create(name, layout)?, last: None, bells: Vec::new() };
        Ok(Self { shared: Mutex::new(shared), counters: Counters::default(), meter: Meter::default() })
    }

    /// The ring, to pass to a reader.
    pub fn ring(&self) -> std::io::Result<OwnedFd> {
        self.shared().writer.fd().try_clone_to_owned()
    }

    /// Rings `bell` with each unit from now on.
    pub fn wake(&self, reader: ReaderId, bell: &Arc<Doorbell>) {
        let mut shared = self.shared();
        shared.bells.retain(|(id, _)| *id != reader);
        shared.bells.push((reader, bell.clone()));
    }

    /// Leaves `reader` in peace.
    pub fn hush(&self, reader: ReaderId) {
        self.shared().bells.retain(|(id, _)| *id != reader);
    }

    /// What was written last, over all epochs: positions go on from there.
    pub fn last(&self) -> Option<Meta> {
        self.shared().last
    }

    /// Writes one unit and wakes its readers.
    pub fn publish(&self, meta: Meta, unit: &[u8]) -> Result<(), ring::Error> {
        let written_ns = hal::process::monotonic_ns();
        let mut shared = self.shared();
        shared.writer.push(Meta { written_ns, ..meta }, unit)?;
        shared.last = Some(meta);
        // A bell whose listener has closed stays until its reader is detached by its control socket.
        for (_, bell) in &shared.bells {
            bell.ring();
        }
        drop(shared);
        self.counters.stages.since(OwnerStage::Publish, written_ns);
        self.counters.written.fetch_add(1, Relaxed);
        Ok(())
    }

    fn shared(&self) -> MutexGuard<'_, Shared> {
        // A panic under the lock ends the process; in tests, what it guards is consistent at every step.
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
