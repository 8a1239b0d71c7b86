//! Who watches our tracks, as the server says it.

use super::world::{World, camera, microphone};
use crate::room::signal::lk::{self, signal_response::Message};
use crate::room::*;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

/// The server's word that a track is wanted by somebody, or by nobody.
pub fn wanted(sid: &str, enabled: bool) -> Message {
    let qualities = [lk::VideoQuality::Low, lk::VideoQuality::Medium, lk::VideoQuality::High];
    let quality = |quality: lk::VideoQuality| lk::SubscribedQuality { quality: quality.into(), enabled };
    let codec = lk::SubscribedCodec { codec: "h264".to_owned(), qualities: qualities.map(quality).to_vec() };
    Message::SubscribedQualityUpdate(lk::SubscribedQualityUpdate {
        track_sid: sid.to_owned(),
        subscribed_codecs: vec![codec],
        ..Default::default()
    })
}

fn told(world: &World) -> Option<bool> {
    world.events.iter().rev().find_map(|event| match event {
        Event::Wanted(_, wanted) => Some(*wanted),
        _ => None,
    })
}

/// A call whose camera nobody watches.
fn unwatched() -> World {
    let mut world = World::live(vec![microphone(), camera()]);
    assert_eq!(told(&world), None, "wanted until the server says otherwise");
    world.sfu.say(wanted("TR_2", false));
    world.run(SECOND);
    assert_eq!(told(&world), Some(false));
    world
}

#[test]
fn a_session_that_goes_on_or_begins_anew_has_viewers_until_the_server_says_otherwise() {
    for full in [false, true] {
        let mut world = unwatched();
        world.down = true;
        world.command(Command::Reconnect { full });
        world.run(Duration::from_millis(100));
        assert_eq!(told(&world), Some(false), "nobody came while the server is away");
        world.down = false;
        world.run(SECOND * 5);
        assert_eq!(told(&world), Some(true), "full: {full}");
        world.sfu.say(wanted(if full { "TR_4" } else { "TR_2" }, false));
        world.run(SECOND);
        assert_eq!(told(&world), Some(false), "full: {full}");
    }
}

/// Of a muted track the server says nothing.
#[test]
fn a_track_that_is_unmuted_has_viewers_until_the_server_says_otherwise() {
    let mut world = unwatched();
    world.command(Command::Mute(camera().id, true));
    assert_eq!(told(&world), Some(false));
    world.command(Command::Mute(camera().id, false));
    assert_eq!(told(&world), Some(true));
    world.sfu.say(wanted("TR_2", false));
    for muted in [true, false] {
        world.sfu.say(Message::Mute(lk::MuteTrackRequest { sid: "TR_2".to_owned(), muted }));
        world.run(SECOND);
        assert_eq!(told(&world), Some(!muted));
    }
}

#[test]
fn a_camera_that_rests_leaves_the_path_to_the_others() {
    let second = LocalTrack { id: TrackId("second".to_owned()), rests: true, ..camera() };
    let mut world = World::live(vec![camera(), second]);
    for wanted_by_any in [false, true] {
        world.events.clear();
        world.sfu.say(wanted("TR_2", wanted_by_any));
        world.run(SECOND);
        let told = world.events.iter().any(|e| matches!(e, Event::Bandwidth(_)));
        assert!(told, "others' shares change with it");
    }
}

/// Once there was video, str0m's pacer asks for a turn every 3 ms to pad, even at no rate.
#[test]
fn estimation_wakes_hardly_anybody_while_the_only_camera_rests() {
    let mut world = World::live(vec![microphone(), LocalTrack { rests: true, ..camera() }]);
    world.sfu.say(wanted("TR_2", false));
    world.run(SECOND);
    let before = world.wakes;
    world.run(SECOND * 10);
    let wakes = world.wakes - before;
    println!("{wakes} wake-ups in 10 s");
    assert!(wakes < 250, "{wakes} in 10 s");
}
