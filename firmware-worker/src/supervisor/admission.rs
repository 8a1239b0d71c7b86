//! How much memory the jobs may have together, for the machine that admits them.

use super::commands;
use super::run::Supervisor;
use crate::config::{Camera, CameraDevice, Device, DeviceKind, EncoderWish};
use crate::control::OwnerState;
use hal::video::{BUFFERS, ENCODED_BUFFERS, m2m};

/// Left to everything else on the board: a worker that takes the last page would be the first to wait for one.
const RESERVE: u64 = 32 << 20;

/// What an owner takes once its device runs (SPECIFICATION.md): a camera of 720p with its encoder, a sound card.
const CAMERA_OWNER: u64 = 24 << 20;
const CARD_OWNER: u64 = 6 << 20;

/// Bytes for each pixel of a picture in a driver's buffer: the most that an uncompressed format takes (YUYV), and what drivers
/// of USB cameras make room for where pictures are compressed.
const PIXEL_BYTES: u64 = 2;

/// Bytes of an encoder's coded buffer: half a picture, but this at least (a Raspberry Pi's has 512 KiB up to 720p, a `coda`
/// 1 MiB).
const LEAST_UNIT: u64 = 1 << 20;

/// Coded buffers that an encoder has more than we want: most that drivers were seen to need.
const MORE_UNITS: u64 = 1;

/// What the available memory says nothing of, in bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct MemoryPlan {
    /// Jobs hold already.
    held: u64,
    /// Devices will need when they run.
    to_come: u64,
}

impl MemoryPlan {
    /// What all jobs together may have when so much is available.
    pub(super) fn for_jobs(self, available: u64) -> u64 {
        available.saturating_add(self.held).saturating_sub(self.to_come).saturating_sub(RESERVE)
    }
}

impl Supervisor {
    pub(super) fn memory_plan(&self) -> MemoryPlan {
        let jobs = self.jobs.processes.values().filter_map(|process| process.process.usage().memory);
        let idle = self.owners.table.values().filter(|owner| !matches!(owner.state, OwnerState::Running(_)));
        let command = self.config.limits.command.memory;
        MemoryPlan { held: jobs.sum(), to_come: idle.map(|owner| needs(&owner.device, command)).sum() }
    }
}

/// What it takes to run a device: its owner, its driver's buffers, the command that it is read from.
fn needs(device: &Device, command: Option<u64>) -> u64 {
    let DeviceKind::Camera(camera) = &device.kind else { return CARD_OWNER };
    // Its limit is twice what such commands were seen to take.
    let command = commands::of(device).and(command).map_or(0, |limit| limit / 2);
    CAMERA_OWNER + driver_buffers(camera) + command
}

/// Buffers of a camera's driver, and of the board's encoder where that may code for it. No cgroup counts these. At most, as the
/// camera's mode and who encodes are known only once it runs.
fn driver_buffers(camera: &Camera) -> u64 {
    let picture = u64::from(camera.width) * u64::from(camera.height) * PIXEL_BYTES;
    let (raw, encoded) = (u64::from(BUFFERS) * picture, u64::from(ENCODED_BUFFERS) * picture);
    let units = (u64::from(m2m::UNITS) + MORE_UNITS) * (picture / 2).max(LEAST_UNIT);
    let with_encoder = raw + u64::from(m2m::PICTURES) * picture + units;
    match (&camera.device, camera.encoder) {
        (CameraDevice::TestPattern, _) => 0,
        // A command has its own, about as many.
        (CameraDevice::Pipe { .. }, _) | (_, EncoderWish::Software) => raw,
        (_, EncoderWish::Passthrough) => encoded,
        (_, EncoderWish::Auto) if camera.format.is_none() => encoded.max(with_encoder),
        (_, EncoderWish::Auto | EncoderWish::Hardware) => with_encoder,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{CameraFormat, Microphone};
    use std::time::Duration;

    #[test]
    fn what_jobs_hold_is_theirs_and_what_devices_will_need_is_not() {
        let plan = MemoryPlan { held: 100, to_come: 30 };
        assert_eq!(plan.for_jobs(RESERVE + 1000), 1070);
        assert_eq!(plan.for_jobs(RESERVE / 2), 0);
    }

    #[test]
    fn a_camera_needs_the_buffers_of_its_driver_and_of_the_encoder_that_may_be_taken() {
        const PICTURE: u64 = 1920 * 1080 * 2;
        let needs = |device, encoder, format| {
            let camera = Camera { device, width: 1920, height: 1080, encoder, format, ..Camera::default() };
            needs(&Device { name: "camera".into(), kind: DeviceKind::Camera(camera) }, Some(256 << 20)) - CAMERA_OWNER
        };
        let node = |encoder, format| needs(CameraDevice::Auto, encoder, format);
        assert_eq!(node(EncoderWish::Software, None), 4 * PICTURE);
        assert_eq!(node(EncoderWish::Passthrough, None), 8 * PICTURE);
        // Two pictures and four coded buffers, which here are as large as two more.
        assert_eq!(node(EncoderWish::Hardware, None), 8 * PICTURE);
        assert_eq!(node(EncoderWish::Auto, Some(CameraFormat::Yuyv)), 8 * PICTURE);
        assert_eq!(node(EncoderWish::Auto, None), 8 * PICTURE);
        assert_eq!(needs(CameraDevice::TestPattern, EncoderWish::Auto, None), 0);
        let pipe = CameraDevice::Pipe { command: vec!["writer".into()], latency_offset: Duration::ZERO };
        assert_eq!(needs(pipe, EncoderWish::Auto, None), 4 * PICTURE + (128 << 20));
        let small = Camera { width: 320, height: 240, encoder: EncoderWish::Hardware, ..Camera::default() };
        assert_eq!(driver_buffers(&small), 6 * 320 * 240 * 2 + 4 * (1 << 20));
        let microphone = DeviceKind::Microphone(Microphone::default());
        let microphone = Device { name: "microphone".into(), kind: microphone };
        assert_eq!(super::needs(&microphone, None), CARD_OWNER);
    }
}
