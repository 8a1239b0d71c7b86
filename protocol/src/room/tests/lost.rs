//! Requests that went into a socket which was dead already, before anybody knew.

use super::super::signal::{Request, lk};
use super::super::*;
use super::world::{World, camera, microphone};
use lk::signal_response::Message as Response;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

/// Until the server has answered a ping: what came before has come.
const PINGED: Duration = Duration::from_secs(6);

/// The signal socket dies; some time later that is known, and the resume shows our microphone like this.
fn resumed_with(world: &mut World, muted: bool) {
    world.drop_signal();
    world.run(SECOND);
    let track = lk::TrackInfo { sid: "TR_1".to_owned(), muted, ..Default::default() };
    let me = lk::ParticipantInfo { sid: "PA_1".to_owned(), tracks: vec![track], ..Default::default() };
    world.sfu.say(Response::Update(lk::ParticipantUpdate { participants: vec![me] }));
    world.run(SECOND);
    assert_eq!(world.count(|e| matches!(e, Event::Resumed)), 1);
}

fn mutes(world: &World) -> Vec<bool> {
    let muted = |r: &Request| match r {
        Request::Mute(mute) => Some(mute.muted),
        _ => None,
    };
    world.sfu.requests.iter().filter_map(muted).collect()
}

#[test]
fn a_mute_that_was_lost_is_sent_again_after_the_resume() {
    let mut world = World::live(vec![microphone()]);
    world.mute_signal();
    world.command(Command::Mute(microphone().id, true));
    world.run(SECOND);
    resumed_with(&mut world, false);
    assert_eq!(mutes(&world), [true]);
    assert!(!world.saw(|e| matches!(e, Event::Muted(..))));
}

#[test]
fn a_mute_that_the_server_had_and_changed_meanwhile_is_the_servers() {
    let mut world = World::live(vec![microphone()]);
    world.command(Command::Mute(microphone().id, true));
    world.command(Command::Mute(microphone().id, false));
    world.run(PINGED);
    resumed_with(&mut world, true);
    assert_eq!(mutes(&world), [true, false], "nothing but what was asked for");
    assert_eq!(world.count(|e| matches!(e, Event::Muted(id, true) if *id == microphone().id)), 1);
}

#[test]
fn a_mute_that_was_lost_of_a_track_that_the_server_does_not_list_yet_is_sent_again() {
    let mut world = World::live(vec![LocalTrack { muted: true, ..microphone() }]);
    world.mute_signal();
    world.command(Command::Mute(microphone().id, false));
    world.run(SECOND);
    world.drop_signal();
    world.run(SECOND);
    assert_eq!((mutes(&world), world.count(|e| matches!(e, Event::Resumed))), (vec![false], 1));
}

/// Pings are answered as soon as the signal socket is back, and what waits for the media is not sent yet.
#[test]
fn a_name_that_is_set_during_a_long_resume_is_told_at_its_end() {
    let mut world = World::live(vec![microphone()]);
    world.cut = true;
    // The resume begins after 4 s.
    world.run(SECOND * 9 / 2);
    world.command(Command::Update { name: Some("door".to_owned()), metadata: None, attributes: [].into() });
    // A ping is answered 5 s after the socket is back; after 8 s without media this would be a rejoin.
    world.run(SECOND * 4);
    world.cut = false;
    world.run(SECOND * 4);
    assert_eq!(
        (world.count(|e| matches!(e, Event::Resumed)), world.count(|e| matches!(e, Event::Rejoining(_)))),
        (1, 0)
    );
    assert_eq!(world.sfu.sent(|r| matches!(r, Request::UpdateMetadata(u) if u.name == "door")), 1);
}

#[test]
fn a_track_whose_announcement_was_lost_is_published_by_a_rejoin() {
    let mut world = World::live(vec![microphone()]);
    world.mute_signal();
    world.command(Command::Publish(camera()));
    world.run(SECOND);
    world.drop_signal();
    world.run(SECOND * 4);
    let published = |e: &Event| matches!(e, Event::Published(id, _) if *id == camera().id);
    assert_eq!((world.count(published), world.count(|e| matches!(e, Event::Rejoining(_)))), (1, 1));
}

#[test]
fn a_track_that_the_server_never_answers_makes_no_rejoin_of_a_short_outage() {
    let mut world = World::live(vec![microphone()]);
    world.sfu.ignores_tracks = true;
    world.command(Command::Publish(camera()));
    world.run(PINGED);
    world.drop_signal();
    world.run(SECOND * 4);
    let counts = (world.count(|e| matches!(e, Event::Resumed)), world.count(|e| matches!(e, Event::Rejoining(_))));
    assert_eq!(counts, (1, 0));
}

#[test]
fn a_track_of_the_join_whose_answer_was_lost_is_published_by_a_rejoin() {
    let mut world = World::new(vec![microphone()]);
    world.sfu.ignores_tracks = true;
    world.run(SECOND * 3);
    world.drop_signal();
    world.run(SECOND * 4);
    let counts = (world.count(|e| matches!(e, Event::Resumed)), world.count(|e| matches!(e, Event::Rejoining(_))));
    assert_eq!(counts, (0, 1));
}

#[test]
fn what_the_job_said_before_its_session_stood_may_be_lost_with_it() {
    let mut world = World::new(vec![microphone()]);
    world.command(Command::Update { name: Some("door".to_owned()), metadata: None, attributes: [].into() });
    world.command(Command::Mute(microphone().id, true));
    world.run(SECOND * 3);
    let names = |world: &World| world.sfu.sent(|r| matches!(r, Request::UpdateMetadata(u) if u.name == "door"));
    assert_eq!((names(&world), mutes(&world)), (1, vec![true]));
    resumed_with(&mut world, false);
    assert_eq!((names(&world), mutes(&world)), (2, vec![true, true]), "no ping was answered since");
    assert!(!world.saw(|e| matches!(e, Event::Muted(..))));
    world.run(PINGED);
    world.drop_signal();
    world.run(SECOND);
    assert_eq!((names(&world), mutes(&world)), (2, vec![true, true]));
}

#[test]
fn a_name_that_was_lost_is_told_again_after_the_resume_and_one_that_was_not_is_not() {
    let name = |name: &str| Command::Update { name: Some(name.to_owned()), metadata: None, attributes: [].into() };
    let names = |world: &World| world.sfu.sent(|r| matches!(r, Request::UpdateMetadata(u) if u.name == "door"));
    let mut world = World::live(vec![microphone()]);
    world.mute_signal();
    world.command(name("door"));
    world.run(SECOND);
    resumed_with(&mut world, false);
    assert_eq!(names(&world), 1);

    let mut world = World::live(vec![microphone()]);
    world.command(name("door"));
    world.run(PINGED);
    resumed_with(&mut world, false);
    assert_eq!(names(&world), 1);
}

#[test]
fn a_name_set_before_the_join_is_told_once_and_no_session_more_where_it_is_refused() {
    let mut world = World::new(vec![microphone()]);
    world.command(Command::Update { name: Some("door".to_owned()), metadata: None, attributes: [].into() });
    world.run(SECOND * 3);
    let names = |world: &World| world.sfu.sent(|r| matches!(r, Request::UpdateMetadata(_)));
    assert_eq!(names(&world), 1);
    let refused = lk::request_response::Request::UpdateMetadata(lk::UpdateParticipantMetadata::default());
    let reason = lk::request_response::Reason::NotAllowed.into();
    world.sfu.say(Response::RequestResponse(lk::RequestResponse {
        reason,
        request: Some(refused),
        ..Default::default()
    }));
    world.run(SECOND);
    world.command(Command::Reconnect { full: true });
    world.run(SECOND * 3);
    assert_eq!(names(&world), 1);
}
