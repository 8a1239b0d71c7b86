//! Proves the rig itself: server, judge, API and proxy, without a worker.

use crate::SOON;
use serde_json::json;
use tests::{Judge, Server};

#[test]
fn a_judge_hears_the_tone_and_the_data_of_another() {
    let server = Server::start();
    let listener = Judge::join(&server, "rig", "listener");
    let mut speaker = Judge::join(&server, "rig", "speaker");
    speaker.command("publish_tone", json!({"hz": 660}));
    let second = listener.wait("a second of tone", SOON, |event| event.number("audio", "seconds") > 0.9);
    let (pitch, level) = (second.number("audio", "pitch_hz"), second.number("audio", "level_dbfs"));
    assert!((pitch - 660.0).abs() < 3.0, "{pitch} Hz");
    assert!((level + 20.0).abs() < 2.0, "{level} dBFS");
    speaker.command("send", json!({"text": "hello", "topic": "greeting"}));
    let data = listener.event("data", SOON);
    assert_eq!((data.text("text"), data.text("topic"), data.text("identity")), ("hello", "greeting", "speaker"));
    let (_, content) = speaker.leave();
    assert!(content);
    listener.event("participant_left", SOON);
}

#[test]
fn the_api_shows_and_removes_participants_and_rooms() {
    let mut server = Server::start();
    let judge = Judge::join(&server, "rig", "guest");
    assert_eq!(server.api().identities("rig"), ["guest"]);
    server.api().remove("rig", "guest");
    assert_eq!(judge.event("disconnected", SOON).text("reason"), "PARTICIPANT_REMOVED");
    server.api().delete_room("rig");
    assert!(server.api().rooms().is_empty());
    server.restart();
    assert!(server.api().participants("rig").is_empty());
}
