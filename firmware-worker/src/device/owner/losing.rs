//! How a device is given up: because it failed, because another one takes its place, or because its driver hangs.

use super::{Owner, bounded};
use crate::config::{CameraDevice, DeviceKind};
use crate::device::pipeline::{Event, Pipeline};
use protocol::device::Input;
use std::time::Instant;

impl Owner {
    /// The device is gone.
    pub(super) fn lost(&mut self, why: &str) {
        let pipeline = self.pipeline.take();
        self.handle(Input::Lost(bounded(why)));
        self.act_on_all();
        // Not before all are told: where its thread sits in a driver for ever, this loop falls silent now, and the
        // supervisor ends the process.
        self.close(pipeline);
    }

    /// Joins the device's thread, which looks for this at least every 100 ms, but may sit in a driver for seconds. What is
    /// opened next has begun after that, and knows what the thread has found out until its end.
    pub(super) fn close(&mut self, pipeline: Option<Pipeline>) {
        let began = Instant::now();
        if let Some(mut pipeline) = pipeline {
            pipeline.end();
            self.hear_out(pipeline);
            self.board.closed(self.now);
        }
        self.now += began.elapsed();
    }

    /// Handles what outlives the device, of all that its thread has told and nobody has heard.
    fn hear_out(&mut self, mut pipeline: Pipeline) {
        while let Some(event) = pipeline.try_event() {
            match event {
                Event::GaveWay(_) | Event::Mapped(_) | Event::Warned(_) => self.device_event(event),
                // Its last word.
                Event::Lost(_) => return,
                Event::Running { .. } | Event::Described { .. } | Event::Key | Event::Violated(..) => {}
            }
        }
    }

    /// Opens the device anew, in a new epoch.
    pub(super) fn replace(&mut self, why: &str) {
        self.lost(why);
        self.handle(Input::Rescan);
    }

    /// Whether the device's thread has turned.
    pub(super) fn look(&mut self) {
        let Some(pipeline) = &self.pipeline else { return };
        let Some(phase) = self.heartbeat.look(pipeline.turns(), self.now) else { return };
        let subject = Some(pipeline.subject()).filter(|subject| !subject.is_empty());
        let subject = subject.unwrap_or_else(|| self.device.name.clone());
        self.lost(&format!("{subject}: its driver hangs ({phase}): unplug the device, or restart the board"));
    }

    /// A camera that is there and does not work is never replaced by a picture that looks as if all were well.
    pub(super) fn advice(&self) -> String {
        match &self.device.kind {
            DeviceKind::Camera(config) if config.device == CameraDevice::Auto => format!(
                "; trying again: check its cable and power, or set `device` of camera {:?} to another one",
                self.device.name
            ),
            DeviceKind::Camera(_) | DeviceKind::Microphone(_) | DeviceKind::Speaker(_) => String::new(),
        }
    }
}
