//! The board's encoder over several openings of a camera.

use super::*;
use crate::config::{Camera, CameraDevice};
use hal::video::fake::{self, Coding, Fault, Script};
use protocol::device::encoder::Wish;
use std::path::Path;
use tokio::time::timeout;

const CAMERA: &str = "/dev/video66";
const ENCODER: &str = "/dev/video67";
/// Of real time, far above what anything here takes.
const PATIENCE: Duration = Duration::from_secs(10);

fn owner_of_a_camera() -> Device {
    let device = CameraDevice::Path(CAMERA.into());
    let config = Camera { device, width: 64, height: 48, ..Camera::default() };
    Device { name: "camera".into(), kind: DeviceKind::Camera(config) }
}

/// Gives the owner its nodes and lets it do what it has to, until this event has been handled.
async fn open_until(owner: &mut Owner, is_it: fn(&Event) -> bool) {
    act(owner);
    owner.nodes([CAMERA, ENCODER].map(|path| hal::video::open(Path::new(path)).unwrap()).into());
    loop {
        let event = timeout(PATIENCE, next_event(&mut owner.pipeline)).await.expect("the event comes");
        let done = is_it(&event);
        owner.device_event(event);
        act(owner);
        if done {
            return;
        }
    }
}

/// What codes when it is open again, and what it is.
async fn opened_again(owner: &mut Owner, after: Duration) -> (Option<Encoder>, String) {
    owner.lost("unplugged");
    owner.now += after;
    owner.handle(Input::Rescan);
    open_until(owner, |event| matches!(event, Event::Running { .. })).await;
    (owner.encoder, owner.description.clone())
}

#[tokio::test]
async fn what_a_cameras_thread_told_before_its_end_is_heard_at_the_close() {
    const BUFFERS: DriverBuffers = DriverBuffers { camera: 4096, encoder: Some(0) };
    let (mut owner, _supervisor) = start_with(owner_of_a_camera()).await;
    owner.handle(Input::Demand(ReaderId(1), policy::Demand::Armed));
    let thread = Pipeline::launch("told", |_, events| {
        events.tell(Event::Mapped(BUFFERS));
        events.tell(Event::GaveWay("it stalled".into()));
        Ok::<(), String>(())
    });
    owner.started(thread);
    owner.lost("unplugged");
    assert_eq!(owner.buffers, Some(BUFFERS));
    let why = owner.board.trial(Wish::Auto, owner.now).unwrap_err();
    assert!(why.starts_with("it stalled; "), "{why}");
}

#[tokio::test]
async fn an_encoder_that_was_given_up_is_left_alone_by_openings_until_it_has_rested() {
    fake::Camera::device(Script { paced: true, ..Script::default() }).plug_in(CAMERA);
    let board = fake::Encoder::device(Coding::default());
    board.plug_in(ENCODER);
    board.fail(Fault { call: "VIDIOC_REQBUFS", nth: 1, errno: libc::ENOMEM });
    let (mut owner, _supervisor) = start_with(owner_of_a_camera()).await;
    owner.handle(Input::Demand(ReaderId(1), policy::Demand::Live));
    open_until(&mut owner, |event| matches!(event, Event::GaveWay(_))).await;
    assert_eq!(owner.encoder, Some(Encoder::Software));
    let (encoder, description) = opened_again(&mut owner, Duration::from_secs(2)).await;
    assert_eq!(encoder, Some(Encoder::Software));
    assert!(description.contains("software (") && description.contains("video67"), "{description}");
    assert!(description.contains("the board's encoder is not tried again for 1 min)"), "{description}");
    let (encoder, description) = opened_again(&mut owner, Duration::from_secs(60)).await;
    assert_eq!(encoder, Some(Encoder::Hardware), "{description}");
}
