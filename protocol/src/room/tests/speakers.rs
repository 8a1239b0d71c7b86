//! Who speaks: the server tells changes, the job is told the whole.

use super::super::signal::lk;
use super::super::*;
use super::media::guest;
use super::world::World;
use lk::signal_response::Message;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

fn person(name: &str) -> lk::ParticipantInfo {
    lk::ParticipantInfo { sid: format!("PA_{name}"), identity: name.to_owned(), ..guest(&format!("TR_{name}")) }
}

/// A room with ada and ben.
fn room() -> World {
    let mut world = World::new(vec![]);
    world.sfu.others = vec![person("ada"), person("ben")];
    world.run(SECOND * 3);
    world
}

impl World {
    /// The server tells these changes; what the job is told then, if anything.
    fn change(&mut self, levels: &[(&str, f32)]) -> Vec<Vec<(String, f32)>> {
        let info = |(sid, level): &(&str, f32)| lk::SpeakerInfo {
            sid: (*sid).to_owned(),
            level: *level,
            active: *level > 0.0,
        };
        self.events.clear();
        self.sfu.say(Message::SpeakersChanged(lk::SpeakersChanged { speakers: levels.iter().map(info).collect() }));
        self.run(SECOND / 10);
        self.speakers()
    }

    fn speakers(&self) -> Vec<Vec<(String, f32)>> {
        let speakers = |e: &Event| match e {
            Event::Speakers(speakers) => Some(speakers.clone()),
            _ => None,
        };
        self.events.iter().filter_map(speakers).collect()
    }
}

fn whole(levels: &[(&str, f32)]) -> Vec<Vec<(String, f32)>> {
    vec![levels.iter().map(|(name, level)| ((*name).to_owned(), *level)).collect()]
}

#[test]
fn changes_are_told_as_the_whole_loudest_first() {
    let mut world = room();
    assert_eq!(world.change(&[("PA_ada", 0.2)]), whole(&[("ada", 0.2)]));
    assert_eq!(world.change(&[("PA_ben", 0.5)]), whole(&[("ben", 0.5), ("ada", 0.2)]));
    assert_eq!(world.change(&[("PA_ada", 0.7)]), whole(&[("ada", 0.7), ("ben", 0.5)]));
    assert_eq!(world.change(&[("PA_ada", 0.0)]), whole(&[("ben", 0.5)]));
    assert_eq!(world.change(&[("PA_ben", 0.0)]), whole(&[]));
}

#[test]
fn our_own_voice_and_strangers_change_nothing() {
    let mut world = room();
    world.change(&[("PA_ada", 0.2)]);
    assert!(world.change(&[("PA_1", 0.9)]).is_empty());
    assert!(world.change(&[("PA_1", 0.0), ("PA_nobody", 0.5)]).is_empty());
    assert_eq!(world.change(&[("PA_ben", 0.1)]), whole(&[("ada", 0.2), ("ben", 0.1)]));
}

#[test]
fn who_leaves_speaks_no_more() {
    let mut world = room();
    world.change(&[("PA_ada", 0.2), ("PA_ben", 0.5)]);
    world.events.clear();
    let gone = lk::ParticipantInfo { state: lk::participant_info::State::Disconnected.into(), ..person("ben") };
    world.sfu.say(Message::Update(lk::ParticipantUpdate { participants: vec![gone] }));
    world.run(SECOND / 10);
    assert_eq!(world.speakers(), whole(&[("ada", 0.2)]));
}

#[test]
fn who_spoke_before_an_outage_is_not_thought_to_speak_for_ever() {
    for full in [false, true] {
        let mut world = room();
        world.change(&[("PA_ada", 0.2)]);
        world.events.clear();
        world.command(Command::Reconnect { full });
        world.run(SECOND * 3);
        assert_eq!(world.speakers(), whole(&[]), "full: {full}");
        assert_eq!(world.change(&[("PA_ben", 0.5)]), whole(&[("ben", 0.5)]), "full: {full}");
    }
}
