//! Data packets over a network that loses some.

use super::super::signal::{Request, lk};
use super::super::*;
use super::world::{Loss, World};
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

/// Bytes of the largest message: about sixty datagrams.
const LARGEST: usize = 60_000;

fn data(reliable: bool, number: u8, bytes: usize) -> Data {
    Data { payload: vec![number; bytes], topic: String::new(), reliable, to: Vec::new(), from: String::new() }
}

impl World {
    fn send(&mut self, reliable: bool, number: u8, bytes: usize) {
        self.command(Command::Send(data(reliable, number, bytes)));
    }

    /// First bytes of what the SFU got.
    fn arrived(&self) -> Vec<u8> {
        let number = |p: &lk::DataPacket| match &p.value {
            Some(lk::data_packet::Value::User(user)) => user.payload[0],
            _ => panic!("no user data: {p:?}"),
        };
        self.sfu.data.iter().map(number).collect()
    }

    /// First bytes of what the job got.
    fn told(&self) -> Vec<u8> {
        let number = |e: &Event| match e {
            Event::Data(data) => Some(data.payload[0]),
            _ => None,
        };
        self.events.iter().filter_map(number).collect()
    }
}

#[test]
fn a_burst_of_lossy_data_goes_out_to_its_last_packet() {
    let mut world = World::live(vec![]);
    for number in 0..60 {
        world.send(false, number, 1000);
    }
    world.run(SECOND);
    assert_eq!(world.arrived(), (0..60).collect::<Vec<_>>());
}

#[test]
fn a_lost_datagram_does_not_stall_lossy_data() {
    for lost in [0, 1, 30, 54, 55, 56] {
        let mut world = World::live(vec![]);
        world.up_loss = Loss::of(&[lost]);
        for number in 1..=4 {
            world.send(false, number, LARGEST);
            world.run(SECOND / 5);
        }
        assert!(world.arrived().ends_with(&[3, 4]), "{lost}: {:?}", world.arrived());
    }
}

#[test]
fn a_lost_datagram_does_not_stall_received_lossy_data() {
    for lost in [0, 1, 30, 54, 55, 56] {
        let mut world = World::live(vec![]);
        world.down_loss = Loss::of(&[lost]);
        for number in 1..=4 {
            world.sfu.send_data("_lossy", vec![number; LARGEST]);
            world.run(SECOND / 5);
        }
        assert!(world.told().ends_with(&[3, 4]), "{lost}: {:?}", world.told());
    }
}

#[test]
fn lossy_data_pass_again_after_heavy_loss() {
    // What a lost datagram held differs from run to run.
    for _ in 0..5 {
        let mut world = World::live(vec![]);
        world.up_loss = Loss::of(&(0..400).step_by(3).collect::<Vec<_>>());
        for number in 0..100 {
            world.send(false, number, 3000);
            world.run(SECOND / 20);
        }
        world.up_loss = Loss::default();
        world.run(SECOND * 10);
        for number in 200..203 {
            world.send(false, number, LARGEST);
            world.run(SECOND);
        }
        assert!(world.arrived().ends_with(&[200, 201, 202]), "{:?}", world.arrived());
        assert_eq!(world.room.peer.undelivered(), 0, "bytes that are never acknowledged would fill the channel");
    }
}

#[test]
fn a_packet_that_its_receivers_make_too_large_is_refused_and_holds_up_nothing() {
    let mut world = World::live(vec![]);
    let to = vec!["x".repeat(1000); 5];
    world.command(Command::Send(Data { to, ..data(true, 1, LARGEST) }));
    world.send(true, 2, 1);
    world.run(SECOND);
    assert!(world.saw(|e| matches!(e, Event::DataRefused(_, why) if why.contains("64000"))), "{:?}", world.events);
    assert_eq!(world.arrived(), [2]);
}

fn left_at(world: &mut World, within: Duration) -> Duration {
    let asked = world.now;
    world.command(Command::Leave { within });
    while world.end().is_none() {
        assert!(world.now < asked + SECOND * 30, "it never leaves");
        world.run(Duration::from_millis(1));
    }
    assert_eq!(world.end(), Some(&End::Left));
    assert_eq!(world.sfu.sent(|r| matches!(r, Request::Leave(_))), 1);
    world.now - asked
}

#[test]
fn a_leave_waits_for_the_data_before_it() {
    let mut world = World::live(vec![]);
    for number in 0..4 {
        world.send(true, number, LARGEST);
    }
    world.send(false, 4, 1000);
    let took = left_at(&mut world, SECOND);
    assert!(took < SECOND, "{took:?}");
    let mut arrived = world.arrived();
    arrived.sort_unstable();
    assert_eq!(arrived, [0, 1, 2, 3, 4]);
}

#[test]
fn a_leave_waits_for_a_repeat_of_lost_data() {
    let mut world = World::live(vec![]);
    world.up_loss = Loss::of(&[0]);
    world.send(true, 1, 1000);
    let took = left_at(&mut world, SECOND * 4);
    assert_eq!(world.arrived(), [1], "after {took:?}");
}

#[test]
fn a_leave_does_not_wait_longer_than_it_may() {
    let mut world = World::live(vec![]);
    world.cut = true;
    world.send(true, 1, 1000);
    let took = left_at(&mut world, SECOND);
    assert!((SECOND..SECOND + Duration::from_millis(5)).contains(&took), "{took:?}");
}

#[test]
fn a_leave_without_data_waits_for_nothing() {
    let mut world = World::live(vec![]);
    world.send(true, 1, 1000);
    world.run(SECOND);
    world.room.command(Command::Leave { within: SECOND }, world.now);
    let outputs: Vec<_> = std::iter::from_fn(|| world.room.poll()).collect();
    assert!(outputs.iter().any(|o| matches!(o, Output::Event(Event::Ended(End::Left)))), "{outputs:?}");
}

#[test]
fn a_second_leave_that_may_not_wait_leaves_at_once_and_later_data_are_refused() {
    let mut world = World::live(vec![]);
    world.cut = true;
    world.send(true, 1, 1000);
    world.command(Command::Leave { within: SECOND });
    world.send(true, 2, 1000);
    assert!(world.saw(|e| matches!(e, Event::DataRefused(_, why) if why.contains("left"))), "{:?}", world.events);
    assert_eq!(world.end(), None);
    assert_eq!(left_at(&mut world, Duration::ZERO), Duration::ZERO);
}

#[test]
fn a_change_of_ourselves_that_the_server_does_not_take_is_told() {
    use lk::request_response::{Reason, Request};
    let mut world = World::live(vec![]);
    let change = lk::UpdateParticipantMetadata { metadata: "m".into(), ..Default::default() };
    for (reason, request) in [(Reason::Ok, None), (Reason::NotAllowed, Some(Request::UpdateMetadata(change)))] {
        let response = lk::RequestResponse { reason: reason.into(), request, ..Default::default() };
        world.sfu.say(lk::signal_response::Message::RequestResponse(response));
    }
    world.run(Duration::from_secs(1));
    assert_eq!(world.count(|e| matches!(e, Event::UpdateRefused(why) if why.contains("NOT_ALLOWED"))), 1);
}
