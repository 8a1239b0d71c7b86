//! How often, and for how long, a room is tried again.

use super::super::*;
use super::world::{World, microphone};
use crate::room::signal::lk::leave_request::Action;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn media_that_can_never_be_connected_end_the_room() {
    let mut world = World::new(vec![microphone()]);
    world.cut = true;
    world.run(SECOND * 300);
    assert!(matches!(world.end(), Some(End::Unreachable(why)) if why.contains("media")), "{:?}", world.end());
    assert!((3..=5).contains(&world.sfu.sessions), "{} sessions", world.sfu.sessions);
    assert_eq!(world.room.deadline(), None, "nothing is left to do");
}

#[test]
fn a_server_that_ends_each_session_before_its_media_is_asked_ever_less_often_and_given_up() {
    let mut world = World::new(vec![]);
    world.sfu.draining = true;
    world.run(SECOND * 10);
    assert!(world.sfu.sessions < 15, "{} sessions in 10 s", world.sfu.sessions);
    assert_eq!(world.end(), None);
    world.run(SECOND * 60);
    assert!(matches!(world.end(), Some(End::Unreachable(_))), "{:?}", world.end());

    let mut world = World::live(vec![]);
    world.run(SECOND * 10);
    world.sfu.draining = true;
    world.sfu.leave(Action::Reconnect, "SERVER_SHUTDOWN");
    world.run(SECOND * 170);
    assert!(world.sfu.sessions < 150, "{} sessions in 170 s", world.sfu.sessions);
    assert_eq!(world.end(), None, "a room that worked is tried for longer");
    world.sfu.draining = false;
    world.events.clear();
    world.run(SECOND * 5);
    assert!(world.saw(|e| matches!(e, Event::Connected)), "{:?}", world.events);
}

#[test]
fn sessions_that_are_lost_again_and_again_are_begun_ever_less_often_and_one_that_stood_at_once() {
    let mut world = World::live(vec![]);
    let mut waits = Vec::new();
    for stood in [10, 1, 1, 1, 1, 1, 10] {
        world.run(SECOND * stood);
        world.sfu.leave(Action::Reconnect, "UNKNOWN_REASON");
        let (asked, connects) = (world.now, world.connects);
        while world.connects == connects {
            world.run(Duration::from_millis(10));
        }
        waits.push((world.now - asked).as_millis() / 100);
        // Two str0m may need a second for it.
        world.events.clear();
        while !world.saw(|e| matches!(e, Event::Connected)) {
            world.run(Duration::from_millis(10));
        }
    }
    assert_eq!((waits[0], waits[6]), (0, 0), "{waits:?}");
    assert!(waits[1..5].windows(2).all(|w| w[0] <= w[1]) && waits[1] >= 1 && waits[5] >= 10, "{waits:?}");
}

#[test]
fn nothing_is_sent_to_a_peer_connection_that_is_over_while_the_next_waits() {
    let mut world = World::live(vec![microphone()]);
    world.sfu.draining = true;
    world.sfu.leave(Action::Reconnect, "SERVER_SHUTDOWN");
    world.run(Duration::from_millis(50));
    let wakes = world.wakes;
    world.audio(&[1, 2, 3]);
    assert_eq!(world.room.stats().packets_out, 0);
    world.command(Command::Send(Data {
        payload: vec![1],
        topic: String::new(),
        reliable: true,
        to: Vec::new(),
        from: String::new(),
    }));
    world.sfu.draining = false;
    world.run(SECOND * 5);
    assert_eq!(world.sfu.data.len(), 1, "data wait for the next connection");
    assert!(world.sfu.packets.is_empty());
    assert!(world.wakes - wakes < 1000, "{} wake-ups in 5 s", world.wakes - wakes);
}

#[test]
fn a_room_that_stays_gone_at_the_rejoin_was_closed_even_if_media_never_came_up() {
    let mut world = World::new(vec![microphone()]);
    world.cut = true;
    world.run(SECOND);
    assert!(world.saw(|e| matches!(e, Event::Joined { .. })) && !world.saw(|e| matches!(e, Event::Connected)));
    world.deleted = true;
    world.drop_signal();
    world.run(SECOND * 35);
    assert_eq!(world.end(), Some(&End::RoomClosed));

    let mut world = World::live(vec![microphone()]);
    world.deleted = true;
    world.drop_signal();
    world.run(SECOND * 35);
    assert_eq!(world.end(), Some(&End::RoomClosed), "nor does a resume find it");
}

#[test]
fn a_proxy_that_knows_no_room_while_the_server_restarts_ends_none() {
    let mut world = World::live(vec![microphone()]);
    world.sfu.refuse_resume = true;
    world.drop_signal();
    for (deleted, down) in [(true, false), (false, true), (true, false)] {
        (world.deleted, world.down, world.cut) = (deleted, down, true);
        world.run(SECOND * 20);
        assert_eq!(world.end(), None);
    }
    (world.deleted, world.down, world.cut) = (false, false, false);
    world.events.clear();
    world.run(SECOND * 4);
    assert!(world.saw(|e| matches!(e, Event::Connected)), "{:?}", world.events);

    world.run(SECOND * 10);
    world.deleted = true;
    world.drop_signal();
    world.run(SECOND * 20);
    assert_eq!(world.end(), None, "what was answered in an earlier outage does not count");
}
