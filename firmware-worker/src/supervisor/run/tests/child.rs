//! What children are when tests start them: this binary, with an argument by which libtest finds one of these. They do
//! nothing but live until they are hung up on.

use crate::control::{Link, ToJob};
use hal::process::{exit_now, inherited_control};

#[tokio::test]
async fn __job() {
    live_as("firmware-worker-job").await;
}

#[tokio::test]
async fn __owner() {
    live_as("firmware-worker-owner").await;
}

/// Returns at once in the test run itself, where the name is another.
async fn live_as(name: &str) {
    if std::env::args().next().as_deref() == Some(name) {
        let socket = inherited_control().expect("given by the supervisor");
        let mut link = Link::new(socket).expect("a runtime");
        // What it is told does not matter, even if it is for others.
        while !matches!(link.receive::<ToJob>().await, Err(crate::control::LinkError::Closed)) {}
        exit_now(0);
    }
}
