//! What children are when tests start them: this binary, with an argument by which libtest finds one of these. They do
//! nothing but live until they are hung up on.

use crate::control::{Link, ToJob};
use crate::supervisor::opening;
use hal::process::{exit_now, inherited_control};
use hal::video::fake;

pub(super) const CAMERA: &str = "/dev/video980";
pub(super) const HANGS: &str = "/dev/video981";

#[tokio::test]
async fn __job() {
    live_as("firmware-worker-job").await;
}

#[tokio::test]
async fn __owner() {
    live_as("firmware-worker-owner").await;
}

/// This one does its work, on a board with a camera and another whose driver hangs.
#[test]
fn __opener() {
    if is("firmware-worker-opener") {
        fake::Camera::device(fake::Script::default()).plug_in(CAMERA);
        fake::hang(HANGS);
        opening::main(inherited_control().expect("given by the supervisor"));
    }
}

/// Returns at once in the test run itself, where the name is another.
async fn live_as(name: &str) {
    if is(name) {
        let socket = inherited_control().expect("given by the supervisor");
        let mut link = Link::new(socket).expect("a runtime");
        // What it is told does not matter, even if it is for others.
        while !matches!(link.receive::<ToJob>().await, Err(crate::control::LinkError::Closed)) {}
        exit_now(0);
    }
}

fn is(name: &str) -> bool {
    std::env::args().next().as_deref() == Some(name)
}
