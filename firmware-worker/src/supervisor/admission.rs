//! How much memory the jobs may have together, for the machine that admits them.

use super::commands;
use super::run::Supervisor;
use crate::config::{CameraDevice, Device, DeviceKind};
use crate::control::OwnerState;

/// Left to everything else on the board: a worker that takes the last page would be the first to wait for one.
const RESERVE: u64 = 32 << 20;

/// What an owner takes once its device runs (SPECIFICATION.md): a camera of 720p with its encoder, a sound card.
const CAMERA_OWNER: u64 = 24 << 20;
const CARD_OWNER: u64 = 6 << 20;

/// Pictures that a camera's driver keeps buffers for; no cgroup counts these.
const DRIVER_BUFFERS: u64 = 4;

/// Bytes for each pixel of such a picture: the most that an uncompressed format takes (YUYV).
const PIXEL_BYTES: u64 = 2;

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
    let picture = u64::from(camera.width) * u64::from(camera.height) * PIXEL_BYTES;
    let driver = if camera.device == CameraDevice::TestPattern { 0 } else { DRIVER_BUFFERS * picture };
    // Its limit is twice what such commands were seen to take.
    let command = commands::of(device).and(command).map_or(0, |limit| limit / 2);
    CAMERA_OWNER + driver + command
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Camera, Microphone};

    #[test]
    fn what_jobs_hold_is_theirs_and_what_devices_will_need_is_not() {
        let plan = MemoryPlan { held: 100, to_come: 30 };
        assert_eq!(plan.for_jobs(RESERVE + 1000), 1070);
        assert_eq!(plan.for_jobs(RESERVE / 2), 0);
    }

    #[test]
    fn a_camera_needs_its_drivers_buffers_too_and_a_generator_has_none() {
        let camera = |device| {
            let camera = Camera { device, width: 1920, height: 1080, ..Camera::default() };
            needs(&Device { name: "camera".into(), kind: DeviceKind::Camera(camera) }, Some(256 << 20))
        };
        assert_eq!(camera(CameraDevice::Auto), CAMERA_OWNER + 4 * 1920 * 1080 * 2);
        assert_eq!(camera(CameraDevice::TestPattern), CAMERA_OWNER);
        let microphone = DeviceKind::Microphone(Microphone::default());
        assert_eq!(needs(&Device { name: "microphone".into(), kind: microphone }, None), CARD_OWNER);
    }
}
