//! A device that runs in this process, without supervisor and jobs, as its owner would run it: for the commands
//! `snapshot` and `bench`.

use super::outlet::Outlet;
use super::pipeline::{Event, Failure, Pipeline};
use super::{camera, microphone};
use crate::config::{CameraDevice, Device, DeviceKind};
use crate::control::{Latency, OwnerStage};
use hal::doorbell::Doorbell;
use hal::process::Program;
use hal::ring::{Meta, Next, Reader};
use protocol::device::ReaderId;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

/// How often the device is looked after while it gives nothing.
const CHECK: Duration = Duration::from_millis(100);

/// A running device and its one reader.
#[derive(Debug)]
pub struct Trial {
    pipeline: Pipeline,
    outlet: Arc<Outlet>,
    reader: Reader,
    bell: UnixStream,
    description: String,
    unit: Vec<u8>,
}

impl Trial {
    /// Starts to open the device. `node` opens its V4L2 node, if it has one, and encoders.
    pub fn open(device: &Device, node: impl FnOnce(&Device) -> Result<Vec<OwnedFd>, String>) -> Result<Self, Failure> {
        let failed =
            |call: &str, error: &dyn std::fmt::Display| Failure::Lost(format!("{}: {call}: {error}", device.name));
        let layout = match &device.kind {
            DeviceKind::Camera(config) => camera::layout(config),
            DeviceKind::Microphone(_) => microphone::LAYOUT,
            DeviceKind::Speaker(_) => return Err(format!("{}: a speaker gives nothing to read", device.name).into()),
        };
        let outlet = Arc::new(Outlet::create(&device.name, layout).map_err(|e| failed("ring", &e))?);
        let reader = outlet.ring().and_then(|ring| Reader::map(ring).map_err(io::Error::other));
        let reader = reader.map_err(|e| failed("ring", &e))?;
        let (bell, listener) = Doorbell::new().map_err(|e| failed("doorbell", &e))?;
        let listener = UnixStream::from(listener);
        let waits = listener.set_nonblocking(false).and_then(|()| listener.set_read_timeout(Some(CHECK)));
        waits.map_err(|e| failed("doorbell", &e))?;
        outlet.wake(ReaderId(0), &Arc::new(bell));
        let (started, bitrate) = match &device.kind {
            DeviceKind::Camera(config) => {
                (camera::start(config, source(device, &config.device, node)?, outlet.clone()), config.bitrate)
            }
            DeviceKind::Microphone(config) => (microphone::start(config, true, outlet.clone()), config.bitrate),
            DeviceKind::Speaker(_) => unreachable!("refused above"),
        };
        let pipeline = started.map_err(|e| failed("start a thread", &e))?;
        pipeline.set_bitrate(bitrate);
        pipeline.encode(true);
        Ok(Self { pipeline, outlet, reader, bell: listener, description: String::new(), unit: Vec::new() })
    }

    /// The next unit, which [`Trial::unit`] gives; nothing if none comes for `patience`.
    pub fn next(&mut self, patience: Duration) -> Result<Option<Meta>, Failure> {
        let until = Instant::now() + patience;
        loop {
            while let Some(event) = self.pipeline.try_event() {
                match event {
                    Event::Running { description, .. } | Event::Described { description, .. } => {
                        self.description = description;
                    }
                    Event::GaveWay(_) | Event::Key | Event::Mapped(_) => {}
                    Event::Violated(..) | Event::Warned(_) => {}
                    Event::Lost(failure) => return Err(failure),
                }
            }
            match self.reader.next(&mut self.unit) {
                Next::Unit(meta) => return Ok(Some(meta)),
                Next::Lapped(_) => continue,
                Next::Empty if Instant::now() >= until => return Ok(None),
                Next::Empty => {}
            }
            // A timeout is no error here; the bell's other end is ours.
            let _ = self.bell.read(&mut [0; 64]);
        }
    }

    /// What [`Trial::next`] found.
    pub fn unit(&self) -> &[u8] {
        &self.unit
    }

    /// Makes the next picture a keyframe.
    pub fn force_key(&self) {
        self.pipeline.force_key();
    }

    /// What runs, in plain words; empty before it does.
    pub fn description(&self) -> &str {
        &self.description
    }

    /// Frames or periods that reached no ring.
    pub fn dropped(&self) -> u64 {
        self.outlet.counters.dropped.load(Relaxed)
    }

    /// How long the stages took, as [`OwnerStage`].
    pub fn stages(&self) -> [Latency; OwnerStage::NAMES.len()] {
        self.outlet.counters.stages.latencies()
    }
}

/// As an owner does it: an automatic camera without a node is the test pattern.
fn source(
    device: &Device,
    wanted: &CameraDevice,
    node: impl FnOnce(&Device) -> Result<Vec<OwnedFd>, String>,
) -> Result<camera::Source, Failure> {
    let nodes = |nodes| camera::Source::nodes(nodes, Ok(()));
    match (wanted, node) {
        (CameraDevice::TestPattern, _) => Ok(camera::Source::Pattern),
        // With the rights of whoever has typed it.
        (CameraDevice::Pipe { command, .. }, _) => {
            let name = command.first().map_or("", String::as_str);
            let program = Program::start(command).map_err(|e| format!("pipe: start {name:?}: {e}"))?;
            Ok(camera::Source::Pipe(Box::new(program)))
        }
        (CameraDevice::Auto, node) => Ok(node(device).ok().and_then(nodes).unwrap_or(camera::Source::Pattern)),
        (
            CameraDevice::Path(_) | CameraDevice::Card(_) | CameraDevice::Usb { .. } | CameraDevice::UsbPort { .. },
            node,
        ) => nodes(node(device)?).ok_or_else(|| "no node".to_owned().into()),
    }
}
