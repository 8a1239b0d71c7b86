//! What to ask of congestion control, and what video may take of what it finds.
//!
//! An encoder that follows the estimate never sends more than it, and an estimator that never sees more than that sent
//! never raises it: both stick at the bottom. So while the estimate is under the target, a rise of the desired rate
//! makes the estimator probe, again and again.
//!
//! ```text
//! Satisfied --estimate under 90 % of the target--> Resting --4 s--> Dipped (desired: half the estimate)
//! Dipped --200 ms--> Resting (desired: twice the estimate, which makes it probe)
//! Resting, Dipped --estimate is enough--> Satisfied (desired: the target)
//! ```

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// From one probe to the next; a probe is a burst of some 15 ms.
const PROBE_INTERVAL: Duration = Duration::from_secs(4);

/// How long the lower desired rate stands, so that the estimator sees it at all; its timers turn every 25 ms or so.
const DIP: Duration = Duration::from_millis(200);

/// Estimates of the first moments are the estimator's guess, not the link's: they do not lower the rate yet.
const GRACE: Duration = Duration::from_millis(1500);

/// How often the rate is looked at while it rises.
const RISE_STEP: Duration = Duration::from_millis(100);

/// The rate at most doubles in a second: the queue of an overestimated link stays short.
const RISE_PER_SECOND: f64 = 1.0;

/// Percent of the target from which the estimate is good enough.
const ENOUGH: u64 = 90;

/// Percent of the estimate that media takes; the rest is for headers, resends and keyframes.
const SHARE: u64 = 88;

/// A fall to this percent of the former rate is a collapse: packets were lost in a burst, so receivers need a keyframe.
const COLLAPSE: u64 = 60;

/// Percent that a rate must change by to be told.
const WORTH_TELLING: u64 = 5;

/// Bit/s that video may always take: below this it is better to drop frames.
const FLOOR: u32 = 100_000;

/// What the peer connection and the sources must do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Ask congestion control to keep up `minimum` by padding and to look for `desired`, bit/s of all media.
    Ask {
        /// Padded up to.
        minimum: u32,
        /// Probed for when it is raised above the estimate.
        desired: u32,
    },
    /// All video together may take this many bit/s from now on.
    Video(u32),
    /// Send a keyframe of each video track, at the new rate.
    Keyframe,
}

/// The policy of one peer connection.
#[derive(Debug)]
pub struct Bandwidth {
    /// Bit/s that all video wants at most; 0 for no video, and then nothing is asked.
    video: u32,
    audio: u32,
    /// Bit/s of all media.
    estimate: Option<u32>,
    /// Until when estimates do not lower the rate.
    grace: Option<Instant>,
    /// Bit/s that video may take.
    allowed: u32,
    risen: Option<Instant>,
    /// The highest rate since the last collapse.
    peak: u32,
    told: u32,
    probe: Probe,
    asked: Option<Action>,
    actions: VecDeque<Action>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Probe {
    Satisfied,
    Resting { until: Instant },
    Dipped { until: Instant },
}

impl Default for Bandwidth {
    fn default() -> Self {
        Self::new()
    }
}

impl Bandwidth {
    /// Without media.
    pub fn new() -> Self {
        Self {
            video: 0,
            audio: 0,
            estimate: None,
            grace: None,
            allowed: 0,
            risen: None,
            peak: 0,
            told: 0,
            probe: Probe::Satisfied,
            asked: None,
            actions: VecDeque::new(),
        }
    }

    /// The sums of what all unmuted tracks want at most, bit/s. More than before is granted at once as long as no
    /// estimate speaks against it.
    pub fn wanted(&mut self, video: u32, audio: u32, now: Instant) {
        if self.video == 0 {
            self.estimate = None;
        }
        let unlimited = self.allowed == self.video;
        (self.video, self.audio) = (video, audio);
        self.allowed = if unlimited || self.estimate.is_none() { video } else { self.allowed.min(video) };
        self.peak = self.peak.min(video);
        self.settle(now);
    }

    /// Congestion control's estimate for all media, bit/s.
    pub fn estimate(&mut self, bps: u32, now: Instant) {
        if self.estimate.replace(bps).is_none() {
            self.grace = Some(now + GRACE);
        }
        self.settle(now);
    }

    /// The peer connection was replaced: it knows nothing of what was asked and estimated.
    pub fn reset(&mut self, now: Instant) {
        let (video, audio) = (self.video, self.audio);
        *self = Self::new();
        self.wanted(video, audio, now);
    }

    /// The deadline passed.
    pub fn timeout(&mut self, now: Instant) {
        self.settle(now);
    }

    /// The next action. Call after each input until `None`.
    pub fn poll(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// When [`Bandwidth::timeout`] must be called.
    pub fn deadline(&self) -> Option<Instant> {
        let probe = match self.probe {
            Probe::Satisfied => None,
            Probe::Resting { until } | Probe::Dipped { until } => Some(until),
        };
        let rise = self.risen.map(|at| at + RISE_STEP);
        [probe, rise, self.grace].into_iter().flatten().min()
    }

    fn settle(&mut self, now: Instant) {
        self.grace = self.grace.filter(|until| *until > now);
        if self.video == 0 {
            (self.probe, self.grace, self.risen, self.peak, self.told) = (Probe::Satisfied, None, None, 0, 0);
            self.ask(0, 0);
            return;
        }
        self.follow(now);
        self.tell();
        self.search(now);
    }

    /// Moves the rate towards the estimate's share: down at once, up step by step.
    fn follow(&mut self, now: Instant) {
        let affordable = self.affordable();
        if affordable <= self.allowed {
            self.allowed = affordable;
            self.risen = None;
            return;
        }
        let Some(since) = self.risen else {
            self.risen = Some(now);
            return;
        };
        let elapsed = now.duration_since(since);
        if elapsed >= RISE_STEP {
            let grown = f64::from(self.allowed) * (1.0 + RISE_PER_SECOND * elapsed.as_secs_f64());
            self.allowed = affordable.min(grown as u32);
            self.risen = (self.allowed < affordable).then_some(now);
        }
    }

    fn affordable(&self) -> u32 {
        match self.estimate {
            Some(estimate) if self.grace.is_none() => {
                let share = percent(estimate, SHARE);
                share.saturating_sub(self.audio).clamp(FLOOR.min(self.video), self.video)
            }
            _ => self.allowed,
        }
    }

    fn tell(&mut self) {
        self.peak = self.peak.max(self.allowed);
        let full = self.allowed == self.video && self.told != self.video;
        if full || self.allowed.abs_diff(self.told) > percent(self.told, WORTH_TELLING) {
            self.told = self.allowed;
            self.actions.push_back(Action::Video(self.allowed));
        }
        if self.allowed < percent(self.peak, COLLAPSE) {
            self.peak = self.allowed;
            self.actions.push_back(Action::Keyframe);
        }
    }

    /// Asks for the target, or makes the estimator probe as long as it is under it.
    fn search(&mut self, now: Instant) {
        let target = self.video.saturating_add(self.audio);
        let estimate = self.estimate.unwrap_or(target);
        if estimate >= percent(target, ENOUGH) {
            self.probe = Probe::Satisfied;
            self.ask(0, target);
            return;
        }
        // What video may take and does not, as when the picture stands still, would look like a slower link.
        let sustained = self.allowed.saturating_add(self.audio);
        match self.probe {
            Probe::Satisfied => self.probe = Probe::Resting { until: now + PROBE_INTERVAL },
            Probe::Resting { until } if until <= now => {
                self.probe = Probe::Dipped { until: now + DIP };
                self.ask(sustained, estimate / 2);
            }
            Probe::Dipped { until } if until <= now => {
                self.probe = Probe::Resting { until: now + PROBE_INTERVAL - DIP };
                self.ask(sustained, estimate.saturating_mul(2).min(target));
            }
            Probe::Resting { .. } | Probe::Dipped { .. } => {}
        }
    }

    fn ask(&mut self, minimum: u32, desired: u32) {
        let ask = Action::Ask { minimum: minimum.min(desired), desired };
        if self.asked != Some(ask) {
            self.asked = Some(ask);
            self.actions.push_back(ask);
        }
    }
}

fn percent(bps: u32, percent: u64) -> u32 {
    u32::try_from(u64::from(bps) * percent / 100).expect("a part of a u32 fits a u32")
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test starts at any instant")]
mod tests {
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
}
