//! The board's encoder over several openings of a camera.

use super::*;
use crate::config::{Camera, CameraDevice};
use hal::video::fake::{self, Coding, Fault, Script};
use protocol::device::encoder::Wish;
use std::path::Path;
use tokio::time::timeout;

/// A camera and an encoder.
const NODES: [&str; 2] = ["/dev/video66", "/dev/video67"];
/// Of a test that runs beside.
const OTHER: [&str; 2] = ["/dev/video68", "/dev/video69"];
/// Of real time, far above what anything here takes.
const PATIENCE: Duration = Duration::from_secs(10);

fn owner_of_a_camera(path: &str) -> Device {
    let device = CameraDevice::Path(path.into());
    let config = Camera { device, width: 64, height: 48, ..Camera::default() };
    Device { name: "camera".into(), kind: DeviceKind::Camera(config) }
}

/// Gives the owner its nodes and lets it do what it has to, until this event has been handled.
async fn open_until(owner: &mut Owner, nodes: [&str; 2], is_it: fn(&Event) -> bool) {
    act(owner);
    owner.nodes(nodes.map(|path| hal::video::open(Path::new(path)).unwrap()).into());
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
    open_until(owner, NODES, is_running).await;
    (owner.encoder, owner.description.clone())
}

#[tokio::test]
async fn what_a_cameras_thread_told_before_its_end_is_heard_at_the_close() {
    const BUFFERS: DriverBuffers = DriverBuffers { camera: 4096, encoder: Some(0) };
    let (mut owner, _supervisor) = start_with(owner_of_a_camera(NODES[0])).await;
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
    fake::Camera::device(Script { paced: true, ..Script::default() }).plug_in(NODES[0]);
    let board = fake::Encoder::device(Coding::default());
    board.plug_in(NODES[1]);
    board.fail(Fault { call: "VIDIOC_REQBUFS", nth: 1, errno: libc::ENOMEM });
    let (mut owner, _supervisor) = start_with(owner_of_a_camera(NODES[0])).await;
    owner.handle(Input::Demand(ReaderId(1), policy::Demand::Live));
    open_until(&mut owner, NODES, |event| matches!(event, Event::GaveWay(_))).await;
    assert_eq!(owner.encoder, Some(Encoder::Software));
    let (encoder, description) = opened_again(&mut owner, Duration::from_secs(2)).await;
    assert_eq!(encoder, Some(Encoder::Software));
    let told = |owner: &Owner| owner.facts().buffers.map(|buffers| buffers.encoder);
    owner.lost("unplugged");
    assert_eq!((owner.buffers.unwrap().encoder, told(&owner)), (Some(0), Some(None)), "the next opening may take it");
    assert!(description.contains("software (") && description.contains("video67"), "{description}");
    assert!(description.contains("is tried at an opening 1 min after this one)"), "{description}");
    let (encoder, description) = opened_again(&mut owner, Duration::from_secs(60)).await;
    assert_eq!(encoder, Some(Encoder::Hardware), "{description}");
}

#[tokio::test]
async fn an_encoder_that_has_coded_for_a_minute_of_an_earlier_opening_rests_the_shortest_time() {
    fake::Camera::device(Script { paced: true, ..Script::default() }).plug_in(OTHER[0]);
    fake::Encoder::device(Coding::default()).plug_in(OTHER[1]);
    let (mut owner, _supervisor) = start_with(owner_of_a_camera(OTHER[0])).await;
    owner.handle(Input::Demand(ReaderId(1), policy::Demand::Live));
    let mut rests = Vec::new();
    // Nothing, a minute in which nobody hears of a unit, and one with units.
    for (of, worked) in [(is_running as fn(&Event) -> bool, 0), (is_running, 60), (is_key, 60)] {
        open_until(&mut owner, OTHER, of).await;
        owner.now += Duration::from_secs(worked);
        owner.lost("unplugged");
        owner.now += Duration::from_secs(30);
        owner.handle(Input::Rescan);
        open_until(&mut owner, OTHER, is_running).await;
        assert_eq!(owner.encoder, Some(Encoder::Hardware));
        owner.device_event(Event::GaveWay("it stalled".into()));
        rests.push(owner.board.trial(Wish::Auto, owner.now).unwrap_err());
        owner.lost("unplugged");
        owner.now += Duration::from_secs(3600);
        owner.handle(Input::Rescan);
    }
    for (rest, minutes) in rests.iter().zip([1, 2, 1]) {
        assert!(rest.contains(&format!("at an opening {minutes} min")), "{rests:?}");
    }
}

fn is_running(event: &Event) -> bool {
    matches!(event, Event::Running { .. })
}

fn is_key(event: &Event) -> bool {
    matches!(event, Event::Key)
}
