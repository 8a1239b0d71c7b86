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

    /// Whole seconds until the estimator is restarted.
    fn until_restart(&mut self) -> u64 {
        let restarted = |actions: &[(u64, Action)]| actions.iter().any(|(_, action)| matches!(action, Restart(_)));
        1 + (0..60).take_while(|_| !restarted(&self.pass(1000))).count() as u64
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
    let ask = Ask { minimum: 880_000, desired: TARGET };
    assert_eq!(sim.pass(2000), [(1500, Video(830_000)), (1500, Keyframe), (1500, ask)]);
}

#[test]
fn a_lower_estimate_lowers_the_rate_at_once_with_room_for_audio_and_resends() {
    let mut sim = Sim::running();
    let share = 1_800_000 / 100 * 88;
    assert_eq!(sim.estimate(1_800_000), [Video(share - AUDIO), Ask { minimum: share, desired: TARGET }]);
}

#[test]
fn a_collapse_is_followed_by_one_keyframe_at_the_lower_rate() {
    let mut sim = Sim::running();
    let keyframes = |actions: Vec<Action>| actions.iter().filter(|action| **action == Keyframe).count();
    let collapsed = sim.estimate(700_000);
    assert_eq!(collapsed[..2], [Video(566_000), Keyframe]);
    assert_eq!(keyframes(sim.estimate(650_000)), 0);
}

#[test]
fn the_rate_never_falls_under_the_floor() {
    let mut sim = Sim::running();
    assert_eq!(sim.estimate(10_000)[0], Video(FLOOR));
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
fn while_the_estimate_is_too_low_the_estimator_is_restarted_every_4_s() {
    let mut sim = Sim::running();
    let sustained = Ask { minimum: 800_000 / 100 * 88, desired: TARGET };
    assert_eq!(sim.estimate(800_000).last(), Some(&sustained));
    assert_eq!(sim.pass(9000), [(4000, Restart(800_000)), (8000, Restart(800_000))]);
}

#[test]
fn restarts_that_lead_to_a_rate_the_link_does_not_carry_become_rare() {
    let mut sim = Sim::running();
    sim.estimate(800_000);
    let mut pauses = Vec::new();
    for _ in 0..6 {
        pauses.push(sim.until_restart());
        sim.estimate(3_000_000);
        sim.pass(1000);
        sim.estimate(800_000);
    }
    assert_eq!(pauses, [4, 4, 8, 16, 32, 32]);
}

#[test]
fn a_rate_that_stood_for_10_s_makes_restarts_as_frequent_as_at_first() {
    let mut sim = Sim::running();
    sim.estimate(800_000);
    for _ in 0..4 {
        sim.until_restart();
        sim.estimate(3_000_000);
        sim.pass(1000);
        sim.estimate(800_000);
    }
    sim.estimate(3_000_000);
    sim.pass(11_000);
    sim.estimate(800_000);
    assert_eq!(sim.until_restart(), 4);
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
fn a_second_camera_on_a_narrow_link_gets_no_more_than_the_link_has_and_both_are_told_to_share_it() {
    let mut sim = Sim::running();
    sim.estimate(1_000_000);
    let carried = Video(1_000_000 / 100 * 88 - AUDIO);
    for video in [2 * VIDEO, VIDEO] {
        sim.policy.wanted(video, AUDIO, sim.now);
        let told = sim.actions();
        assert_eq!(told.iter().filter(|a| matches!(a, Video(_))).collect::<Vec<_>>(), [&carried], "{told:?}");
    }
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
                    Restart(bps) => prop_assert!(bps >= FLOOR),
                    Keyframe => {}
                }
            }
        }
    }
}
