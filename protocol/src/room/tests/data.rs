//! Data packets over a network that loses some.

use super::super::signal::lk;
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
fn a_packet_that_its_receivers_make_too_large_is_refused_and_holds_up_nothing() {
    let mut world = World::live(vec![]);
    let to = vec!["x".repeat(1000); 5];
    world.command(Command::Send(Data { to, ..data(true, 1, LARGEST) }));
    world.send(true, 2, 1);
    world.run(SECOND);
    assert!(world.saw(|e| matches!(e, Event::DataRefused(_, why) if why.contains("64000"))), "{:?}", world.events);
    assert_eq!(world.arrived(), [2]);
}
