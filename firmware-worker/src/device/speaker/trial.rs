//! A speaker that runs in this process, without supervisor and jobs, as its owner would run it: for the command `bench`.

use super::{Inlet, start};
use crate::config;
use crate::device::pipeline::{Event, Failure, Pipeline};
use hal::doorbell::Doorbell;
use hal::ring::Reader;
use hal::ring::pcm::{Frame, Writer, now_us};
use protocol::device::ReaderId;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

/// The one voice.
const VOICE: ReaderId = ReaderId(0);

/// A running speaker and its one writer.
#[derive(Debug)]
pub struct SpeakerTrial {
    pipeline: Pipeline,
    inlet: Arc<Inlet>,
    ring: Writer,
    description: Option<String>,
    _listener: OwnedFd,
}

/// What has happened so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Heard {
    /// Periods in which the voice was heard.
    pub periods: u64,
    /// Times that the ring ran dry while it was played.
    pub dry: u64,
    /// Frames thrown away because a backlog had built up.
    pub skipped: u64,
    /// Times that the card ran dry.
    pub xruns: u64,
    /// Mean over the last second of the writer's lead over the card, in µs.
    pub lead_us: u32,
}

impl Heard {
    /// What has happened after `before`.
    pub fn since(self, before: Self) -> Self {
        Self {
            periods: self.periods - before.periods,
            dry: self.dry - before.dry,
            skipped: self.skipped - before.skipped,
            xruns: self.xruns - before.xruns,
            lead_us: self.lead_us,
        }
    }
}

impl SpeakerTrial {
    /// Starts to open the card.
    pub fn open(name: &str, speaker: &config::Speaker) -> Result<Self, Failure> {
        let failed = |what: &str, error: &dyn std::fmt::Display| Failure::Lost(format!("{name}: {what}: {error}"));
        let inlet = Arc::new(Inlet::create().map_err(|e| failed("ring", &e))?);
        let (bell, listener) = Doorbell::new().map_err(|e| failed("doorbell", &e))?;
        let ring = inlet.attach(VOICE, Arc::new(bell)).and_then(Writer::map).map_err(|e| failed("ring", &e))?;
        let pipeline = start(speaker, inlet.clone()).map_err(|e| failed("start a thread", &e))?;
        Ok(Self { pipeline, inlet, ring, description: None, _listener: listener })
    }

    /// What runs, in plain words; nothing before the card is open.
    pub fn description(&mut self) -> Result<Option<&str>, Failure> {
        while let Some(event) = self.pipeline.try_event() {
            match event {
                Event::Running { description, .. } => self.description = Some(description),
                Event::Violated(_, why) => return Err(why.into()),
                Event::Lost(failure) => return Err(failure),
                Event::Key | Event::Described { .. } | Event::GaveWay(_) | Event::Mapped(_) => {}
                // As [`SpeakerTrial::heard`] has them.
                Event::Warned(_) => {}
            }
        }
        Ok(self.description.as_deref())
    }

    /// Plays these frames after those before. How many found room.
    pub fn write(&mut self, frames: &[Frame]) -> usize {
        self.ring.write(now_us(), frames)
    }

    /// What is played, with its time.
    pub fn reference(&self) -> Result<Reader, Failure> {
        let reader = self.inlet.reference().and_then(Reader::map);
        reader.map_err(|e| Failure::Lost(format!("reference: {e}")))
    }

    /// See [`Heard`].
    pub fn heard(&self) -> Heard {
        let counters = &self.inlet.counters;
        Heard {
            periods: counters.heard.load(Relaxed),
            dry: counters.dry.load(Relaxed),
            skipped: counters.skipped.load(Relaxed),
            xruns: counters.xruns.load(Relaxed),
            lead_us: counters.buffer_us.load(Relaxed),
        }
    }
}
