//! What the server says of the room itself.

use super::super::signal::{Response, lk};
use super::super::*;
use super::world::World;
use std::time::Duration;

#[test]
fn the_room_is_told_as_the_server_has_it() {
    let mut world = World::live(vec![]);
    let room = lk::Room { sid: "RM_1".to_owned(), metadata: "lit".to_owned(), ..Default::default() };
    world.sfu.say(Response::RoomUpdate(lk::RoomUpdate { room: Some(room) }));
    world.run(Duration::from_millis(100));
    assert_eq!(world.count(|e| matches!(e, Event::Room { sid, metadata } if sid == "RM_1" && metadata == "lit")), 1);
}

#[test]
fn what_is_no_message_or_of_an_unknown_kind_changes_nothing() {
    let mut world = World::live(vec![]);
    world.events.clear();
    // Field 1000 alone is nobody's yet.
    for frame in [&[0xff; 9][..], &[0xc2, 0x3e, 0x01, 0x00]] {
        world.room.signal_message(frame, world.now);
        world.run(Duration::from_millis(100));
    }
    assert!(world.end().is_none() && !world.saw(|e| matches!(e, Event::Rejoining(_) | Event::Resuming(_))));
}
