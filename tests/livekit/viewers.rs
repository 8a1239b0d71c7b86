//! A camera works for those who watch it, not for the job that has it.

use crate::SOON;
use serde_json::json;
use std::time::Duration;
use tests::worker::{AGENT, Setup, Worker};
use tests::{Judge, Proxy, Server, poll};

/// From the last viewer, or a begin without any, until an encoder rests: the server waits 5 s, or 10, the owner 5 more, and
/// the number comes with a pong, up to 2.5 s later.
const RESTS: Duration = Duration::from_secs(25);
/// The device closes 30 s after the server's word.
const CLOSES: Duration = Duration::from_secs(55);
/// From a viewer's wish to its first picture, on a machine that builds.
const PICTURE_S: f64 = 2.0;

fn encoders(worker: &Worker, count: f64, limit: Duration) {
    let found = || (worker.metric("firmware_worker_device_encoders") == count).then_some(());
    poll::until(&format!("{count} encoders"), limit, found);
}

fn camera(worker: &Worker, state: &str, limit: Duration) {
    poll::until(&format!("the camera is {state}"), limit, || {
        (worker.state()["devices"][0]["state"] == state).then_some(())
    });
}

#[test]
fn a_camera_that_nobody_watches_rests_and_shows_a_picture_as_soon_as_somebody_does() {
    let server = Server::start();
    let worker = Setup::new(&server).start();
    server.api().dispatch("studio", AGENT, "");
    encoders(&worker, 2.0, SOON);
    encoders(&worker, 1.0, RESTS);
    camera(&worker, "closed", CLOSES);
    let mut judge = Judge::join(&server, "studio", "judge");
    let video = judge.wait("its track", SOON, |e| e.name() == "track_subscribed" && e.text("kind") == "video");
    let opened = judge.event("first_video", SOON).at() - video.at();
    judge.sees_and_hears(0, 13.0, SOON);
    encoders(&worker, 2.0, SOON);
    let left = poll::monotonic();
    judge.command("subscribe", json!({"pictures": false}));
    encoders(&worker, 1.0, RESTS);
    let rested = poll::monotonic() - left;
    camera(&worker, "running", SOON);
    let (mark, asked) = (judge.mark(), poll::monotonic());
    judge.command("subscribe", json!({"pictures": true}));
    let again = judge.wait_from(mark, "a picture again", SOON, |e| e.name() == "first_video").at() - asked;
    eprintln!("first picture {opened:.2} s after the subscription, {again:.2} s again; rested after {rested:.1} s");
    assert!(opened < PICTURE_S && again < PICTURE_S, "{opened:.2} s, {again:.2} s");
    assert!(rested > 5.0, "a viewer who comes back at once meets it running: {rested:.1} s");
    judge.sees_and_hears(judge.mark() + 1, 13.0, SOON);
    assert!(!judge.events().iter().any(|e| e.name() == "track_muted"), "the room sees nothing of it");
}

/// While the signal connection was away, somebody may have come.
#[test]
fn a_job_that_is_resumed_asks_its_camera_back_until_it_hears_again_that_nobody_watches() {
    let server = Server::start();
    let proxy = Proxy::start(server.address());
    let worker = Setup::with_url(&proxy.url()).start();
    server.api().dispatch("studio", AGENT, "");
    encoders(&worker, 2.0, SOON);
    encoders(&worker, 1.0, RESTS);
    assert_eq!(proxy.cut("/rtc"), 1);
    encoders(&worker, 2.0, SOON);
    encoders(&worker, 1.0, RESTS);
    assert_eq!(worker.metric("firmware_worker_job_rejoins_total"), 0.0, "it was resumed");
}
