//! Devices that go and come back on the same ring.

use super::{PATIENCE, camera, tone};
use crate::config::{CameraDevice, DeviceKind};
use crate::device::outlet::Outlet;
use crate::device::pipeline::{Event, Pipeline};
use crate::device::{camera as camera_device, microphone};
use hal::ring::{DISCONTINUITY, KEY, Meta, Next, Reader};
use std::sync::Arc;
use tokio::time::timeout;

/// Runs a device as its `epoch`th opening until it has given some units, and closes it.
async fn run(mut pipeline: Pipeline, epoch: u32, reader: &mut Reader) -> Vec<Meta> {
    let event = timeout(PATIENCE, pipeline.event()).await.unwrap();
    assert!(matches!(event, Some(Event::Running { hardware: false, .. })), "{event:?}");
    pipeline.set_epoch(epoch);
    pipeline.set_bitrate(400_000);
    pipeline.encode(true);
    let (mut units, mut payload) = (Vec::new(), Vec::new());
    let collect = async {
        while units.len() < 10 {
            match reader.next(&mut payload) {
                Next::Unit(meta) => units.push(meta),
                Next::Lapped(lost) => panic!("{lost} lost"),
                Next::Empty => tokio::task::yield_now().await,
            }
        }
    };
    timeout(PATIENCE, collect).await.unwrap();
    drop(pipeline);
    while let Next::Unit(meta) = reader.next(&mut payload) {
        units.push(meta);
    }
    units
}

fn check(before: &[Meta], after: &[Meta]) {
    assert!(before.iter().all(|meta| meta.epoch == 1) && after.iter().all(|meta| meta.epoch == 2));
    assert_eq!(before[0].flags, KEY | DISCONTINUITY);
    assert_eq!(after[0].flags, KEY | DISCONTINUITY);
    assert!(after[1..].iter().all(|meta| meta.flags & DISCONTINUITY == 0));
    assert!(after[0].captured_ns > before[before.len() - 1].captured_ns);
}

#[tokio::test]
async fn a_camera_that_comes_back_counts_frames_on_from_a_key_in_a_new_epoch() {
    let DeviceKind::Camera(config) = camera(CameraDevice::TestPattern).kind else { unreachable!() };
    let outlet = Arc::new(Outlet::create("camera", camera_device::layout(&config)).unwrap());
    let mut reader = Reader::map(outlet.ring().unwrap()).unwrap();
    let start = || camera_device::start(&config, camera_device::Source::Pattern, outlet.clone()).unwrap();
    let before = run(start(), 1, &mut reader).await;
    let after = run(start(), 2, &mut reader).await;
    check(&before, &after);
    assert!(after[0].position > before[before.len() - 1].position);
}

#[tokio::test]
async fn a_microphone_that_comes_back_goes_on_by_the_time_that_passed() {
    let DeviceKind::Microphone(config) = tone().kind else { unreachable!() };
    let outlet = Arc::new(Outlet::create("microphone", microphone::LAYOUT).unwrap());
    let mut reader = Reader::map(outlet.ring().unwrap()).unwrap();
    let before = run(microphone::start(&config, true, outlet.clone()).unwrap(), 1, &mut reader).await;
    let after = run(microphone::start(&config, true, outlet.clone()).unwrap(), 2, &mut reader).await;
    check(&before, &after);
    let last = before[before.len() - 1];
    let samples = after[0].position - last.position;
    let expected = (after[0].captured_ns - last.captured_ns) * 48 / 1_000_000;
    assert!(samples.abs_diff(expected) <= 1, "{samples} samples for {expected}");
}
