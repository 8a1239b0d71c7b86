//! How the device is opened: by itself, by a node from the supervisor, or by the generator that stands in for it.

use super::Owner;
use crate::config::{CameraDevice, DeviceKind};
use crate::control::FromOwner;
use crate::device::pipeline::Pipeline;
use crate::device::{camera, microphone, speaker};
use hal::process::{Program, Socket};
use protocol::device::{Heartbeat, Input};
use std::io;
use std::os::fd::OwnedFd;

impl Owner {
    pub(super) fn open(&mut self) {
        let started = match &self.device.kind {
            DeviceKind::Speaker(config) => speaker::start(config, self.media.inlet()),
            DeviceKind::Microphone(config) => microphone::start(config, !self.had_hardware, self.media.outlet()),
            DeviceKind::Camera(config) => {
                let source = match &config.device {
                    CameraDevice::TestPattern => camera::Source::Pattern,
                    CameraDevice::Pipe { .. } => return self.ask_for_node("its command"),
                    CameraDevice::Auto => return self.ask_for_node("the first camera"),
                    named => return self.ask_for_node(&named.to_string()),
                };
                camera::start(config, source, self.media.outlet())
            }
        };
        self.started(started);
    }

    pub(super) fn ask_for_node(&mut self, path: &str) {
        self.awaiting_node = true;
        self.report(&FromOwner::NeedNode { path: path.to_owned() });
    }

    pub(super) fn started(&mut self, started: std::io::Result<Pipeline>) {
        match started {
            Ok(pipeline) => (self.pipeline, self.heartbeat) = (Some(pipeline), Heartbeat::new(self.now)),
            Err(error) => self.lost(&format!("{}: start a thread: {error}", self.device.name)),
        }
    }

    pub(super) fn nodes(&mut self, nodes: Vec<OwnedFd>) {
        if !std::mem::take(&mut self.awaiting_node) {
            return;
        }
        let DeviceKind::Camera(config) = &self.device.kind else { return };
        if matches!(config.device, CameraDevice::Pipe { .. }) {
            let kept = <[OwnedFd; 3]>::try_from(nodes).map_err(|_| io::ErrorKind::InvalidData.into());
            let program = kept.and_then(|[keeper, out, err]| Program::kept(Socket::from_fd(keeper)?, out, err));
            let started = program.and_then(|program| {
                camera::start(config, camera::Source::Pipe(Box::new(program)), self.media.outlet())
            });
            return self.started(started);
        }
        let trial = self.board.trial(config.encoder, self.now);
        let Some(source) = camera::Source::nodes(nodes, trial) else {
            return self.lost("the supervisor sent no descriptor");
        };
        if self.pipeline.is_some() {
            return self.replace("a camera has appeared");
        }
        let started = camera::start(config, source, self.media.outlet());
        self.started(started);
    }

    pub(super) fn no_node(&mut self, why: String) {
        if !std::mem::take(&mut self.awaiting_node) || self.pipeline.is_some() {
            return;
        }
        match &self.device.kind {
            DeviceKind::Camera(config) if config.device == CameraDevice::Auto && !self.had_hardware => {
                let started = camera::start(config, camera::Source::Pattern, self.media.outlet());
                self.started(started);
            }
            _ => self.lost(&why),
        }
    }

    /// Something was plugged in or out: a lost device is tried at once, and a generator that stands in for a device looks
    /// whether there is one now.
    pub(super) fn rescan(&mut self) {
        self.handle(Input::Rescan);
        if self.pipeline.is_none() || self.had_hardware || self.awaiting_node {
            return;
        }
        match &self.device.kind {
            DeviceKind::Camera(config) if config.device == CameraDevice::Auto => {
                self.ask_for_node("the first camera");
            }
            DeviceKind::Microphone(config) if microphone::appeared(config) => self.replace("a sound card has appeared"),
            _ => {}
        }
    }
}
