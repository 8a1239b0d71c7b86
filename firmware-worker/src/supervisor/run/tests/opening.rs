//! Cameras whose drivers hang when they are opened; openers are real processes, and do their work on a made-up board.

use super::child::{CAMERA, HANGS};
use super::*;
use crate::config::{CameraDevice, DeviceKind};
use crate::control::Link;
use std::os::fd::OwnedFd;

/// The supervisor's loop, and the camera's owner as a test plays it.
struct Board {
    supervisor: Supervisor,
    queue: mpsc::Receiver<Event>,
    owner: Link,
    _alive: Option<Link>,
}

impl Board {
    fn start() -> Self {
        let now = Instant::now();
        let config = config("ws://127.0.0.1:1");
        let worker = Worker::new(super::super::super::options(&config, MODE), now, 1);
        let (events, queue) = mpsc::channel(1);
        let brain = Brain::Worker(Box::new(worker));
        let mut supervisor = Supervisor::new(config, MODE, brain, None, events, 1).expect("a valid setup");
        let Supervisor { owners, spawner, .. } = &mut supervisor;
        owners.demand("camera", spawner, now).expect("a process");
        let process = owners.table.get_mut("camera").and_then(|owner| owner.process.as_mut()).expect("just started");
        let (socket, alive) = process.play();
        Self { supervisor, queue, owner: Link::new(socket).expect("a runtime"), _alive: alive }
    }

    /// What the owner is told when the camera is at `node`, where a driver that does not come back for `limit` hangs.
    async fn ask(&mut self, node: &str, limit: Duration) -> (ToOwner, Vec<OwnedFd>) {
        let event = self.opened(node, limit).await;
        self.supervisor.take(Happening::Event(event));
        assert_eq!(self.supervisor.openings.under_way(), None, "an upgrade waits no longer");
        self.owner.try_receive().expect("the link stands").expect("an answer")
    }

    /// What becomes of it, of which the loop has not heard yet.
    async fn opened(&mut self, node: &str, limit: Duration) -> Event {
        self.supervisor.openings.limit = limit;
        let owner = self.supervisor.owners.table.get_mut("camera").expect("configured");
        let DeviceKind::Camera(camera) = &mut owner.device.kind else { panic!("a camera") };
        camera.device = CameraDevice::Path(node.into());
        self.supervisor.open_node("camera", node);
        assert_eq!(self.supervisor.openings.under_way(), Some("camera"));
        timeout(PATIENCE, self.queue.recv()).await.expect("in time").expect("the opener is heard")
    }

    /// The same for the one whose driver hangs.
    async fn ask_for_what_hangs(&mut self, limit: Duration) {
        match self.ask(HANGS, limit).await.0 {
            ToOwner::NoNode { why } => {
                assert_eq!(why, format!("{HANGS}: its driver hangs: unplug the camera, or restart the board"));
            }
            other => panic!("{other:?}"),
        }
    }
}

const SHORT: Duration = Duration::from_millis(100);
const LONG: Duration = Duration::from_secs(600);

#[tokio::test]
async fn a_camera_whose_driver_hangs_is_lost_by_name_and_another_one_is_opened() {
    let mut board = Board::start();
    board.ask_for_what_hangs(SHORT).await;
    let (answer, nodes) = board.ask(CAMERA, LONG).await;
    assert!(matches!(answer, ToOwner::Node) && nodes.len() == 1, "{answer:?}");
}

#[tokio::test]
async fn a_driver_that_hangs_is_not_called_again_until_a_device_comes_or_goes() {
    let mut board = Board::start();
    board.ask_for_what_hangs(SHORT).await;
    board.ask_for_what_hangs(LONG).await;
    let now = Instant::now();
    let started = Instant::now();
    while board.supervisor.openings.left().next().is_some() {
        assert!(started.elapsed() < PATIENCE, "a signal ends it");
        board.supervisor.try_hanging(now, false);
        std::thread::yield_now();
    }
    board.ask_for_what_hangs(LONG).await;
    board.supervisor.take(Happening::Devices);
    let told = board.owner.try_receive::<ToOwner>().expect("the link stands");
    assert!(matches!(told, Some((ToOwner::Rescan, _))), "{told:?}");
    board.ask_for_what_hangs(SHORT).await;
    assert!(board.supervisor.openings.left().next().is_some(), "it was called");
}

/// Its driver may hang in that.
#[tokio::test]
async fn an_opener_keeps_a_node_that_nobody_wants_any_more_so_that_the_last_close_is_not_ours() {
    let mut board = Board::start();
    let mut event = board.opened(CAMERA, LONG).await;
    let Event::Node { result: Ok(opened), opener, .. } = &mut event else { panic!("{event:?}") };
    let (said, opener) = (timeout(SHORT, opened.opener.receive::<ToOwner>()).await, *opener);
    assert!(said.is_err(), "it waits for us: {said:?}");
    board.supervisor.owners.table.clear();
    board.supervisor.take(Happening::Event(event));
    let place = std::path::Path::new("/proc").join(opener.to_string());
    let started = Instant::now();
    while let Some(due) = board.supervisor.spawner.sweep_at().filter(|_| place.exists()) {
        assert!(started.elapsed() < PATIENCE, "it is still there");
        board.supervisor.spawner.sweep(due);
        std::thread::yield_now();
    }
    assert!(!place.exists());
}
