//! The encode thread: packets are gathered, encoded while someone listens, and published.

use super::assembler::{Assembler, Block, Packet};
use super::timeline::Timeline;
use crate::config;
use crate::control::OwnerStage;
use crate::device::pipeline::Stage;
use crate::media::opus;
use hal::process::monotonic_ns;
use hal::ring::{DISCONTINUITY, KEY, Meta};
use std::sync::atomic::Ordering;

/// From blocks to the ring.
pub struct Packets<'a> {
    assembler: Assembler,
    press: Press<'a>,
}

/// Encodes and publishes one packet after the other.
struct Press<'a> {
    stage: &'a Stage,
    settings: opus::Settings,
    encoder: Option<opus::Encoder>,
    timeline: Timeline,
    /// Samples are missing since the last unit.
    gap: bool,
    unit: Vec<u8>,
}

impl<'a> Packets<'a> {
    pub fn new(stage: &'a Stage, microphone: &config::Microphone) -> Self {
        let settings = opus::Settings::from(microphone);
        let samples = settings.packet_samples();
        let timeline = Timeline::after(stage.outlet.last(), samples as u64);
        let press = Press { stage, settings, encoder: None, timeline, gap: false, unit: Vec::new() };
        Self { assembler: Assembler::new(microphone.channels(), samples), press }
    }

    /// Takes a block; what it completes is published.
    pub fn push(&mut self, block: &Block) -> Result<(), String> {
        if self.press.stage.wanted.encode() {
            return self.assembler.push(block, |packet| self.press.publish(&packet));
        }
        self.press.rest();
        self.assembler.restart();
        Ok(())
    }
}

impl Press<'_> {
    fn publish(&mut self, packet: &Packet<'_>) -> Result<(), String> {
        let outlet = &self.stage.outlet;
        let encoder = match &mut self.encoder {
            Some(encoder) => encoder,
            none => {
                let encoder = opus::Encoder::new(&self.settings).map_err(|e| e.to_string())?;
                outlet.counters.encoders.store(1, Ordering::Relaxed);
                none.insert(encoder)
            }
        };
        let position = self.timeline.place(packet.captured_ns, packet.gap);
        self.gap |= packet.gap;
        let start_ns = monotonic_ns();
        if !encoder.encode(packet.pcm, &mut self.unit).map_err(|e| e.to_string())? {
            return Ok(());
        }
        outlet.counters.stages.since(OwnerStage::Encode, start_ns);
        let gap = std::mem::take(&mut self.gap);
        let meta = Meta {
            captured_ns: packet.captured_ns,
            position,
            flags: KEY | if gap { DISCONTINUITY } else { 0 },
            epoch: self.stage.wanted.epoch(),
            level: opus::level(packet.pcm),
            ..Meta::default()
        };
        outlet.publish(meta, &self.unit).map_err(|e| e.to_string())
    }

    /// Nobody listens: the encoder's memory is given back.
    fn rest(&mut self) {
        if self.encoder.take().is_some() {
            self.stage.outlet.counters.encoders.store(0, Ordering::Relaxed);
        }
    }
}

impl Drop for Press<'_> {
    fn drop(&mut self) {
        self.rest();
    }
}
