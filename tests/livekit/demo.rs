//! What the README shows first.

use crate::SOON;
use rustix::process::Signal;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use tests::process::Process;
use tests::{paths, poll, procfs};

/// For setup to find that all is there, the server, the worker and the subscriber to start, and the end.
const DEMO: Duration = Duration::from_secs(120);

/// What a PNG begins with: signature, length and name of the header, width and height of the embedded camera.
const HEAD: [u8; 24] = *b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\x05\0\0\0\x02\xd0";

fn demo(options: &[&str], png: &Path) -> Process {
    // Its own build finds all in place.
    paths::worker();
    let mut command = Command::new(paths::root().join("tools/demo"));
    Process::start("demo", command.args(options).arg("--png").arg(png))
}

#[test]
fn the_demo_shows_picture_and_tone_of_a_fresh_checkout_and_leaves_a_png() {
    let png = std::env::temp_dir().join(format!("demo-{}.png", std::process::id()));
    let mut demo = demo(&["--seconds", "5"], &png);
    let code = demo.wait(DEMO).code();
    let head = fs::read(&png).unwrap_or_default();
    let _ = fs::remove_file(&png);
    assert_eq!(code, Some(0));
    assert!(head.starts_with(&HEAD), "a picture of 1280x720: {:?}", &head[..head.len().min(HEAD.len())]);
    for told in
        [&["video 1280x720", "fps", "kbit/s"][..], &["audio", "dBFS", "Hz"], &["watch:   https://"], &["token:   ey"]]
    {
        assert!(demo.log.find(told).is_some(), "{told:?}");
    }
    assert!(demo.log.find(&[&png.display().to_string()]).is_some(), "where the picture is");
    assert!(demo.log.find(&["decoded 0 frames"]).is_none());
}

#[test]
fn a_demo_that_is_interrupted_ends_all_that_it_has_started() {
    let png = std::env::temp_dir().join(format!("demo-{}-interrupted.png", std::process::id()));
    let mut demo = demo(&["--room", "interrupted"], &png);
    poll::until("the demo shows a picture", DEMO, || demo.log.find(&["video 1280x720"]));
    let started = procfs::descendants(demo.pid());
    assert!(started.len() >= 5, "server, worker with its children, subscriber: {started:?}");
    demo.signal(Signal::INT);
    // As a terminal does: to all of the group, of which the subscriber is.
    for pid in started.iter().filter(|pid| procfs::command_line(**pid).contains("demo.py")) {
        tests::process::kill(*pid, Signal::INT);
    }
    assert_eq!(demo.wait(SOON).code(), Some(0));
    poll::until("none of it is left", SOON, || started.iter().all(|pid| !procfs::alive(*pid)).then_some(()));
    let _ = fs::remove_file(&png);
    assert!(demo.log.find(&["decoded"]).is_some(), "it tells its totals");
}
