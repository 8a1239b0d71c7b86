#![expect(clippy::disallowed_methods, reason = "simulated time starts at any instant")]

use super::Action::*;
use super::*;
use proptest::prelude::*;

const VIDEO: u32 = 2_000_000;
const AUDIO: u32 = 50_000;
const TARGET: u32 = VIDEO + AUDIO;

/// A policy in simulated time.
struct Sim {
    policy: Bandwidth,
    now: Instant,
}

impl Sim {
    fn new() -> Self {
        let mut sim = Self { policy: Bandwidth::new(), now: Instant::now() };
        sim.policy.wanted(VIDEO, AUDIO, sim.now);
        sim
    }

    /// Past the first moments, with more than enough bandwidth.
    fn running() -> Self {
        let mut sim = Self::new();
        sim.estimate(3_000_000);
        sim.pass(2000);
        sim
    }

    fn actions(&mut self) -> Vec<Action> {
        std::iter::from_fn(|| self.policy.poll()).collect()
    }

    fn estimate(&mut self, bps: u32) -> Vec<Action> {
        self.policy.estimate(bps, self.now);
        self.actions()
    }

    fn pass(&mut self, ms: u64) -> Vec<(u64, Action)> {
        let start = self.now;
        let end = start + Duration::from_millis(ms);
        let mut seen = Vec::new();
        while let Some(deadline) = self.policy.deadline().filter(|deadline| *deadline <= end) {
            self.now = deadline.max(self.now);
            self.policy.timeout(self.now);
            assert!(self.policy.deadline() != Some(deadline), "a deadline that changes nothing");
            let at = self.now.duration_since(start).as_millis() as u64;
            seen.extend(self.actions().into_iter().map(|action| (at, action)));
        }
        self.now = end;
        seen
    }
}

#[test]
fn video_starts_at_what_it_wants_and_the_target_is_asked_for() {
    assert_eq!(Sim::new().actions(), [Video(VIDEO), Ask { minimum: 0, desired: TARGET }]);
}

#[test]
fn a_link_with_room_changes_nothing() {
    let mut sim = Sim::running();
    assert_eq!(sim.estimate(4_600_000), []);
    assert_eq!(sim.pass(60_000), []);
    assert_eq!(sim.policy.deadline(), None);
}

#[test]
fn the_estimators_first_guess_does_not_lower_the_rate() {
    let mut sim = Sim::new();
    sim.actions();
    assert_eq!(sim.estimate(1_000_000), []);
    sim.pass(1000);
    assert_eq!(sim.estimate(2_800_000), []);
}

#[test]
fn a_first_guess_that_stands_lowers_the_rate_in_the_end() {
    let mut sim = Sim::new();
    sim.actions();
    sim.estimate(1_000_000);
    assert_eq!(sim.pass(2000), [(1500, Video(830_000)), (1500, Keyframe)]);
}

#[test]
fn a_lower_estimate_lowers_the_rate_at_once_with_room_for_audio_and_resends() {
    let mut sim = Sim::running();
    assert_eq!(sim.estimate(1_800_000), [Video(1_800_000 / 100 * 88 - AUDIO)]);
}

#[test]
fn a_collapse_is_followed_by_one_keyframe_at_the_lower_rate() {
    let mut sim = Sim::running();
    assert_eq!(sim.estimate(700_000), [Video(566_000), Keyframe]);
    assert_eq!(sim.estimate(650_000), [Video(522_000)]);
}

#[test]
fn the_rate_never_falls_under_the_floor() {
    let mut sim = Sim::running();
    assert_eq!(sim.estimate(10_000), [Video(FLOOR), Keyframe]);
}

#[test]
fn changes_under_5_percent_are_not_told_but_the_return_to_full_is() {
    let mut sim = Sim::running();
    assert_eq!(sim.estimate(2_280_000), [], "97.8 % of the video rate");
    sim.estimate(2_190_000);
    sim.estimate(3_000_000);
    assert!(sim.pass(1000).iter().any(|(_, action)| *action == Video(VIDEO)));
}

#[test]
fn while_the_estimate_is_too_low_a_probe_is_made_every_4_s() {
    let mut sim = Sim::running();
    sim.estimate(800_000);
    let sustained = 800_000 / 100 * 88;
    let dip = Ask { minimum: 400_000, desired: 400_000 };
    let probe = Ask { minimum: sustained, desired: 1_600_000 };
    assert_eq!(sim.pass(9000), [(4000, dip), (4200, probe), (8000, dip), (8200, probe)]);
}

#[test]
fn a_probe_that_finds_room_brings_the_full_rate_back_within_two_seconds_and_ends_the_search() {
    let mut sim = Sim::running();
    sim.estimate(800_000);
    sim.pass(5000);
    assert_eq!(sim.estimate(3_000_000), [Ask { minimum: 0, desired: TARGET }]);
    let told = sim.pass(60_000);
    let rates: Vec<_> = told.iter().map(|(_, action)| action).collect();
    assert_eq!(rates.last(), Some(&&Video(VIDEO)), "{told:?}");
    assert!(told.last().is_some_and(|(at, _)| *at <= 2000), "{told:?}");
    assert!(told.len() > 5, "the rate rises in steps: {told:?}");
}

#[test]
fn without_video_nothing_is_asked_and_nothing_wakes_up() {
    let mut sim = Sim::running();
    sim.estimate(800_000);
    sim.policy.wanted(0, AUDIO, sim.now);
    assert_eq!(sim.actions(), [Ask { minimum: 0, desired: 0 }]);
    assert_eq!(sim.policy.deadline(), None);
    sim.policy.wanted(VIDEO, AUDIO, sim.now);
    assert_eq!(sim.actions(), [Video(VIDEO), Ask { minimum: 0, desired: TARGET }]);
}

#[test]
fn a_second_camera_on_a_narrow_link_gets_no_more_than_the_link_has() {
    let mut sim = Sim::running();
    sim.estimate(1_000_000);
    sim.policy.wanted(2 * VIDEO, AUDIO, sim.now);
    assert!(!sim.actions().iter().any(|action| matches!(action, Video(_))));
}

#[test]
fn a_new_peer_connection_is_asked_again() {
    let mut sim = Sim::running();
    sim.estimate(800_000);
    sim.policy.reset(sim.now);
    assert_eq!(sim.actions().last(), Some(&Ask { minimum: 0, desired: TARGET }));
}

proptest! {
    #[test]
    fn whatever_is_estimated_the_rate_stays_within_its_limits(
        events in proptest::collection::vec((any::<u32>(), 0u64..3000, any::<bool>()), 1..60)
    ) {
        let mut sim = Sim::running();
        for (number, wait, estimate) in events {
            let mut seen = if estimate { sim.estimate(number) } else { Vec::new() };
            if !estimate {
                sim.policy.wanted(number, AUDIO, sim.now);
                seen = sim.actions();
            }
            seen.extend(sim.pass(wait).into_iter().map(|(_, action)| action));
            for action in seen {
                match action {
                    Video(bps) => prop_assert!(bps <= sim.policy.video && bps >= FLOOR.min(sim.policy.video)),
                    Ask { minimum, desired } => prop_assert!(minimum <= desired),
                    Keyframe => {}
                }
            }
        }
    }
}
