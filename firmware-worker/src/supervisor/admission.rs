//! How much memory the jobs may have together, for the machine that admits them.

use super::commands;
use super::run::Supervisor;
use crate::config::{Camera, CameraDevice, Device, DeviceKind, EncoderWish};
use crate::control::{DriverBuffers, Encoder, OwnerState, OwnerStats};
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
        let command = self.config.limits.command.memory;
        let to_come = self.owners.table.values().map(|owner| match owner.state {
            OwnerState::Running(_) => encoder_to_come(&owner.device, owner.buffers, &owner.stats),
            OwnerState::Closed | OwnerState::Lost(_) => needs(&owner.device, owner.buffers, command),
        });
        // An owner's numbers may be anything.
        MemoryPlan { held: jobs.sum(), to_come: to_come.fold(0, u64::saturating_add) }
    }
}

/// What it takes to run a device: its owner, its driver's buffers, the command that it is read from.
fn needs(device: &Device, known: Option<DriverBuffers>, command: Option<u64>) -> u64 {
    let DeviceKind::Camera(camera) = &device.kind else { return CARD_OWNER };
    // Its limit is twice what such commands were seen to take.
    let command = commands::of(device).and(command).map_or(0, |limit| limit / 2);
    let buffers = match known {
        Some(known) => known.camera.saturating_add(known.encoder.unwrap_or_else(|| encoder_buffers(camera))),
        None => driver_buffers(camera),
    };
    CAMERA_OWNER.saturating_add(buffers).saturating_add(command)
}

/// What a device that runs will need still: the buffers of the board's encoder, where nobody watches now. What codes is known
/// with the first pong after the opening.
fn encoder_to_come(device: &Device, known: Option<DriverBuffers>, stats: &OwnerStats) -> u64 {
    let DeviceKind::Camera(camera) = &device.kind else { return 0 };
    match (stats.encoder, stats.encoders) {
        (Some(Encoder::Hardware), 0) => {}
        (None, 0) if may_use_board(camera) => {}
        _ => return 0,
    }
    known.and_then(|known| known.encoder).unwrap_or_else(|| encoder_buffers(camera))
}

/// Whether the board's encoder may code for it.
fn may_use_board(camera: &Camera) -> bool {
    let device = !matches!(camera.device, CameraDevice::TestPattern | CameraDevice::Pipe { .. });
    device && matches!(camera.encoder, EncoderWish::Auto | EncoderWish::Hardware)
}

fn picture(camera: &Camera) -> u64 {
    u64::from(camera.width) * u64::from(camera.height) * PIXEL_BYTES
}

/// Buffers of the board's encoder, at most.
fn encoder_buffers(camera: &Camera) -> u64 {
    let picture = picture(camera);
    let units = (u64::from(m2m::UNITS) + MORE_UNITS) * (picture / 2).max(LEAST_UNIT);
    u64::from(m2m::PICTURES) * picture + units
}

/// Buffers of a camera's driver, and of the board's encoder where that may code for it. No cgroup counts these. At most, as the
/// camera's mode and who encodes are known only once it runs: then its owner tells them.
fn driver_buffers(camera: &Camera) -> u64 {
    let picture = picture(camera);
    let (raw, encoded) = (u64::from(BUFFERS) * picture, u64::from(ENCODED_BUFFERS) * picture);
    let with_encoder = raw + encoder_buffers(camera);
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
            super::needs(&device_of(camera), None, Some(256 << 20)) - CAMERA_OWNER
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
        assert_eq!(super::needs(&microphone, None, None), CARD_OWNER);
    }

    fn device_of(camera: Camera) -> Device {
        Device { name: "camera".into(), kind: DeviceKind::Camera(camera) }
    }

    #[test]
    fn what_an_owner_has_told_of_buffers_counts_and_only_what_it_cannot_know_yet_is_guessed() {
        let device = device_of(Camera { width: 1920, height: 1080, ..Camera::default() });
        let guess = 2 * 1920 * 1080 * 2 + 4 * (1920 * 1080);
        let told = |encoder| Some(DriverBuffers { camera: 1000, encoder });
        let closed = |known| needs(&device, known, None) - CAMERA_OWNER;
        assert_eq!(closed(told(Some(70))), 1070);
        assert_eq!(closed(told(Some(0))), 1000);
        assert_eq!(closed(told(None)), 1000 + guess, "the encoder has not run yet");
        let most = DriverBuffers { camera: u64::MAX, encoder: Some(u64::MAX) };
        assert_eq!(needs(&device, Some(most), None), u64::MAX);
        let runs = |known, encoder, encoders| {
            encoder_to_come(&device, known, &OwnerStats { encoder, encoders, ..OwnerStats::default() })
        };
        assert_eq!(runs(told(Some(70)), Some(Encoder::Hardware), 0), 70, "nobody watches");
        assert_eq!(runs(told(Some(70)), Some(Encoder::Hardware), 1), 0);
        assert_eq!(runs(None, Some(Encoder::Hardware), 0), guess);
        assert_eq!(runs(told(Some(0)), Some(Encoder::Software), 0), 0);
    }

    #[test]
    fn before_a_camera_that_runs_has_told_what_codes_the_boards_encoder_is_reckoned_with_where_it_may() {
        let runs = |device, encoder, known| {
            let camera = Camera { device, width: 1920, height: 1080, encoder, ..Camera::default() };
            encoder_to_come(&device_of(camera), known, &OwnerStats::default())
        };
        let told = |encoder| Some(DriverBuffers { camera: 1000, encoder });
        let guess = 2 * 1920 * 1080 * 2 + 4 * (1920 * 1080);
        for wish in [EncoderWish::Auto, EncoderWish::Hardware] {
            assert_eq!(runs(CameraDevice::Auto, wish, None), guess);
            assert_eq!(runs(CameraDevice::Auto, wish, told(Some(70))), 70);
        }
        for wish in [EncoderWish::Software, EncoderWish::Passthrough] {
            assert_eq!(runs(CameraDevice::Auto, wish, None), 0);
        }
        assert_eq!(runs(CameraDevice::TestPattern, EncoderWish::Auto, None), 0);
        let pipe = CameraDevice::Pipe { command: vec!["writer".into()], latency_offset: Duration::ZERO };
        assert_eq!(runs(pipe, EncoderWish::Auto, None), 0);
        let microphone = DeviceKind::Microphone(Microphone::default());
        let microphone = Device { name: "microphone".into(), kind: microphone };
        assert_eq!(encoder_to_come(&microphone, None, &OwnerStats::default()), 0);
    }

    #[test]
    fn the_most_that_was_told_counts_and_another_encoder_is_no_word_on_the_boards() {
        let told = |camera, encoder| DriverBuffers { camera, encoder };
        let heavy = told(1000, Some(70));
        assert_eq!(heavy.most(told(10, Some(7))), heavy, "a lighter mode");
        assert_eq!(heavy.most(told(2000, Some(7))), told(2000, Some(70)));
        assert_eq!(heavy.most(told(10, None)), heavy, "it has run once");
        assert_eq!(told(10, Some(0)).most(told(10, None)), told(10, None), "it is chosen now");
        assert_eq!(told(10, None).most(told(10, Some(0))), told(10, Some(0)), "and is not any more");
    }
}
