#![expect(clippy::disallowed_methods, reason = "simulated time starts at any instant")]

mod eight_hours;

use super::Action::*;
use super::*;
use proptest::prelude::*;

const A: ReaderId = ReaderId(1);
const B: ReaderId = ReaderId(2);
const CEILING: u32 = 2_000_000;
const FLOOR: u32 = 300_000;
const VIDEO: Config = Config { ceiling: CEILING, floor: FLOOR, keyframes: true, warm: false };

/// An owner in simulated time.
struct Sim {
    owner: Owner,
    now: Instant,
}

impl Sim {
    fn new() -> Self {
        Self::of(VIDEO)
    }

    fn of(config: Config) -> Self {
        let now = Instant::now();
        Self { owner: Owner::new(config, now), now }
    }

    /// With reader A live and the first keyframe written.
    fn live() -> Self {
        let mut sim = Self::new();
        sim.input(Input::Demand(A, Demand::Live));
        sim.input(Input::Opened(Keying::Forced));
        sim.input(Input::KeyframeWritten);
        sim
    }

    fn input(&mut self, input: Input) -> Vec<Action> {
        self.owner.handle(input, self.now);
        self.actions()
    }

    fn actions(&mut self) -> Vec<Action> {
        std::iter::from_fn(|| self.owner.poll()).collect()
    }

    /// Lets time pass, handling each deadline when it is due; says what happened after how many ms.
    fn pass(&mut self, ms: u64) -> Vec<(u64, Action)> {
        let start = self.now;
        let end = self.now + Duration::from_millis(ms);
        let mut seen = Vec::new();
        while let Some(deadline) = self.owner.deadline().filter(|d| *d <= end) {
            assert!(deadline >= self.now, "a deadline that has passed stays after it was handled");
            self.now = deadline;
            self.owner.handle(Input::Timeout, self.now);
            let at = self.now.duration_since(start).as_millis() as u64;
            let actions = self.actions();
            assert!(!actions.is_empty() || self.owner.deadline() != Some(deadline), "a deadline that changes nothing");
            seen.extend(actions.into_iter().map(|action| (at, action)));
        }
        self.now = end;
        seen
    }
}

#[test]
fn an_armed_reader_opens_the_device_and_a_live_one_starts_the_encoder() {
    let mut sim = Sim::new();
    assert_eq!(sim.input(Input::Demand(A, Demand::Armed)), [Open]);
    assert_eq!(sim.input(Input::Opened(Keying::Forced)), [TellRunning(1)]);
    assert_eq!(sim.input(Input::Demand(A, Demand::Live)), [StartEncoder(CEILING)]);
    assert_eq!(sim.owner.state(), State::Running { epoch: 1 });
}

#[test]
fn a_reader_that_is_live_before_the_device_is_open_gets_the_encoder_when_it_is() {
    let mut sim = Sim::new();
    assert_eq!(sim.input(Input::Demand(A, Demand::Live)), [Open]);
    assert_eq!(sim.input(Input::Opened(Keying::Forced)), [TellRunning(1), StartEncoder(CEILING)]);
}

#[test]
fn two_readers_share_one_encoder() {
    let mut sim = Sim::live();
    sim.pass(1000);
    assert_eq!(sim.input(Input::Demand(B, Demand::Live)), [ForceKeyframe]);
    assert_eq!(sim.input(Input::Demand(A, Demand::Off)), []);
    sim.input(Input::KeyframeWritten);
    assert_eq!(sim.pass(60_000), []);
}

#[test]
fn the_encoder_stops_after_5_s_and_the_device_closes_after_30_s_without_demand() {
    let mut sim = Sim::live();
    assert_eq!(sim.input(Input::Detached(A)), []);
    assert_eq!(sim.pass(60_000), [(5000, StopEncoder), (30_000, Close)]);
    assert_eq!(sim.owner.state(), State::Closed);
    assert_eq!(sim.input(Input::Demand(B, Demand::Armed)), [Open]);
}

#[test]
fn an_armed_reader_keeps_the_device_open_without_encoder() {
    let mut sim = Sim::live();
    sim.input(Input::Demand(A, Demand::Armed));
    assert_eq!(sim.pass(600_000), [(5000, StopEncoder)]);
}

#[test]
fn a_viewer_that_comes_back_within_the_linger_meets_the_encoder_running() {
    let mut sim = Sim::live();
    sim.input(Input::Demand(A, Demand::Off));
    sim.pass(4000);
    assert_eq!(sim.input(Input::Demand(A, Demand::Live)), [ForceKeyframe]);
    sim.input(Input::KeyframeWritten);
    assert_eq!(sim.pass(60_000), []);
}

#[test]
fn a_warm_device_is_opened_without_readers_and_never_closed_but_its_encoder_stops() {
    let mut sim = Sim::of(Config { warm: true, ..VIDEO });
    assert_eq!(sim.actions(), [Open]);
    assert_eq!(sim.input(Input::Opened(Keying::Forced)), [TellRunning(1)]);
    assert_eq!(sim.pass(600_000), []);
    assert_eq!(sim.input(Input::Demand(A, Demand::Live)), [StartEncoder(CEILING)]);
    sim.input(Input::KeyframeWritten);
    sim.input(Input::Detached(A));
    assert_eq!(sim.pass(600_000), [(5000, StopEncoder)]);
}

#[test]
fn a_warm_device_that_is_lost_is_retried_for_nobody() {
    let mut sim = Sim::of(Config { warm: true, ..VIDEO });
    sim.actions();
    assert_eq!(sim.input(Input::Lost("unplugged".into())), [TellLost("unplugged".into())]);
    assert_eq!(sim.pass(1000), [(1000, Open)]);
    assert_eq!(sim.input(Input::Opened(Keying::Forced)), [TellRunning(1)]);
}

#[test]
fn an_opening_that_nobody_waits_for_is_given_up() {
    let mut sim = Sim::new();
    sim.input(Input::Demand(A, Demand::Armed));
    sim.input(Input::Detached(A));
    assert_eq!(sim.pass(60_000), [(30_000, Close)]);
    assert_eq!(sim.input(Input::Opened(Keying::Forced)), [], "a late answer opens nothing");
}

#[test]
fn a_lost_device_is_retried_with_growing_waits_and_told_once() {
    let mut sim = Sim::live();
    sim.pass(60_000);
    assert_eq!(sim.input(Input::Lost("unplugged".into())), [StopEncoder, TellLost("unplugged".into())]);
    let mut waits = Vec::new();
    for _ in 0..7 {
        let before = sim.now;
        sim.now = sim.owner.deadline().unwrap();
        assert_eq!(sim.input(Input::Timeout), [Open]);
        waits.push(sim.now.duration_since(before).as_secs());
        assert_eq!(sim.owner.state(), State::Lost { why: "unplugged" });
        assert_eq!(sim.input(Input::Lost("unplugged".into())), []);
    }
    assert_eq!(waits, [1, 2, 4, 8, 16, 30, 30]);
    assert_eq!(sim.input(Input::Rescan), [Open], "a hotplug event cuts the wait short");
    assert_eq!(sim.input(Input::Opened(Keying::Forced)), [TellRunning(2), StartEncoder(CEILING)]);
}

/// A card's event comes before its last node does, or while a try is under way.
#[test]
fn a_device_that_is_not_ready_at_its_first_event_is_tried_again_soon_and_other_waits_grow_no_longer() {
    let mut sim = Sim::live();
    sim.pass(60_000);
    sim.input(Input::Lost("unplugged".into()));
    for _ in 0..4 {
        sim.now = sim.owner.deadline().unwrap();
        assert_eq!(sim.input(Input::Timeout), [Open]);
        // Of another device, and of ours: it is being opened, and the try is too early for it.
        assert_eq!(sim.input(Input::Rescan), []);
        assert_eq!(sim.input(Input::Lost("unplugged".into())), []);
    }
    let tries = |sim: &mut Sim| {
        let mut waits = Vec::new();
        for _ in 0..6 {
            let before = sim.now;
            sim.now = sim.owner.deadline().unwrap();
            assert_eq!(sim.input(Input::Timeout), [Open]);
            sim.input(Input::Lost("unplugged".into()));
            waits.push(sim.now.duration_since(before).as_millis());
        }
        waits
    };
    assert_eq!(tries(&mut sim), [500, 500, 500, 500, 2_000, 4_000]);
    assert_eq!(sim.input(Input::Rescan), [Open]);
    assert_eq!(sim.input(Input::Opened(Keying::Forced)), [TellRunning(2), StartEncoder(CEILING)]);
}

#[test]
fn another_reason_for_the_loss_is_told_again() {
    let mut sim = Sim::live();
    sim.input(Input::Lost("unplugged".into()));
    sim.pass(1000);
    assert_eq!(sim.input(Input::Lost("in use".into())), [TellLost("in use".into())]);
}

#[test]
fn a_device_that_fails_right_after_opening_does_not_reset_the_waits() {
    let mut sim = Sim::live();
    for wait in [1, 2, 4] {
        sim.input(Input::Lost("no".into()));
        assert_eq!(sim.owner.deadline(), Some(sim.now + Duration::from_secs(wait)));
        sim.pass(wait * 1000);
        sim.input(Input::Opened(Keying::Forced));
        sim.input(Input::KeyframeWritten);
    }
    sim.pass(10_000);
    sim.input(Input::Lost("no".into()));
    assert_eq!(sim.owner.deadline(), Some(sim.now + Duration::from_secs(1)));
}

#[test]
fn a_lost_device_is_not_retried_for_nobody() {
    let mut sim = Sim::live();
    sim.input(Input::Lost("unplugged".into()));
    assert_eq!(sim.input(Input::Detached(A)), []);
    assert_eq!(sim.pass(600_000), []);
    assert_eq!(sim.owner.state(), State::Closed);
}

#[test]
fn a_new_viewer_gets_a_second_keyframe_at_once_and_further_requests_within_500_ms_become_one() {
    let mut sim = Sim::live();
    sim.pass(50);
    assert_eq!(sim.input(Input::Keyframe(A)), [ForceKeyframe]);
    sim.input(Input::KeyframeWritten);
    sim.pass(50);
    assert_eq!(sim.input(Input::Keyframe(A)), []);
    sim.pass(100);
    assert_eq!(sim.input(Input::Demand(B, Demand::Live)), []);
    assert_eq!(sim.pass(300), [(300, ForceKeyframe)]);
    assert_eq!(sim.input(Input::Keyframe(B)), [], "one is on its way");
    sim.input(Input::KeyframeWritten);
    assert_eq!(sim.pass(60_000), []);
}

#[test]
fn a_request_long_after_the_last_keyframe_is_served_at_once() {
    let mut sim = Sim::live();
    sim.pass(500);
    assert_eq!(sim.input(Input::Keyframe(A)), [ForceKeyframe]);
}

#[test]
fn a_keyframe_that_comes_by_itself_satisfies_the_request() {
    let mut sim = Sim::live();
    sim.input(Input::Keyframe(A));
    sim.input(Input::KeyframeWritten);
    assert_eq!(sim.pass(60_000), []);
}

#[test]
fn a_keyframe_that_the_encoder_does_not_give_is_asked_for_again() {
    let mut sim = Sim::live();
    sim.pass(500);
    sim.input(Input::Keyframe(A));
    assert_eq!(sim.pass(2000), [(1000, ForceKeyframe), (2000, ForceKeyframe)]);
}

#[test]
fn a_reader_that_is_not_live_cannot_ask_for_keyframes() {
    let mut sim = Sim::live();
    sim.input(Input::Demand(B, Demand::Armed));
    sim.input(Input::Keyframe(B));
    assert_eq!(sim.pass(60_000), []);
}

#[test]
fn a_stream_without_keyframes_is_never_asked_for_one() {
    let mut sim = Sim::of(Config { ceiling: 32_000, floor: 32_000, keyframes: false, warm: false });
    sim.input(Input::Demand(A, Demand::Live));
    assert_eq!(sim.input(Input::Opened(Keying::Forced)), [TellRunning(1), StartEncoder(32_000)]);
    sim.input(Input::Keyframe(A));
    assert_eq!(sim.pass(60_000), []);
}

#[test]
fn a_device_that_makes_its_own_keyframes_is_read_from_its_start_and_never_asked_for_one() {
    let mut sim = Sim::new();
    sim.input(Input::Demand(A, Demand::Armed));
    let opened = sim.input(Input::Opened(Keying::Periodic));
    assert_eq!(opened, [TellRunning(1), StartEncoder(CEILING)], "the ring fills before anybody is live");
    assert_eq!(sim.input(Input::Demand(A, Demand::Live)), []);
    assert_eq!(sim.input(Input::Keyframe(A)), []);
    assert_eq!(sim.pass(60_000), [], "and nothing is overdue");
    sim.input(Input::KeyframeWritten);
    assert_eq!(sim.input(Input::Demand(A, Demand::Armed)), []);
    assert_eq!(sim.pass(60_000), [], "an armed reader may become live");
    sim.input(Input::Detached(A));
    assert_eq!(sim.pass(60_000), [(30_000, StopEncoder), (30_000, Close)]);
    sim.input(Input::Demand(A, Demand::Live));
    assert_eq!(sim.input(Input::Opened(Keying::Forced)), [TellRunning(2), StartEncoder(CEILING)]);
    sim.pass(600);
    sim.input(Input::KeyframeWritten);
    sim.pass(600);
    assert_eq!(sim.input(Input::Keyframe(A)), [ForceKeyframe], "another device may be asked again");
}

#[test]
fn the_bitrate_follows_the_slowest_live_reader_within_its_limits() {
    let mut sim = Sim::live();
    assert_eq!(sim.input(Input::Rate(A, 1_500_000)), [SetBitrate(1_500_000)]);
    sim.input(Input::Demand(B, Demand::Armed));
    assert_eq!(sim.input(Input::Rate(B, 100_000)), [], "an armed reader does not count");
    let live = sim.input(Input::Demand(B, Demand::Live));
    assert_eq!(live, [SetBitrate(FLOOR), ForceKeyframe]);
    assert_eq!(sim.input(Input::Detached(B)), [SetBitrate(1_500_000)]);
    assert_eq!(sim.input(Input::Rate(A, u32::MAX)), [SetBitrate(CEILING)]);
}

#[test]
fn bitrate_changes_under_5_percent_are_ignored() {
    let mut sim = Sim::live();
    assert_eq!(sim.input(Input::Rate(A, CEILING / 100 * 96)), []);
    assert_eq!(sim.input(Input::Rate(A, CEILING / 100 * 94)), [SetBitrate(CEILING / 100 * 94)]);
}

fn any_input() -> impl Strategy<Value = Input> {
    let reader = (0u64..3).prop_map(ReaderId);
    let demand = prop_oneof![Just(Demand::Off), Just(Demand::Armed), Just(Demand::Live)];
    prop_oneof![
        (reader.clone(), demand).prop_map(|(r, d)| Input::Demand(r, d)),
        reader.clone().prop_map(Input::Keyframe),
        (reader.clone(), any::<u32>()).prop_map(|(r, bps)| Input::Rate(r, bps)),
        reader.prop_map(Input::Detached),
        Just(Input::Opened(Keying::Forced)),
        Just(Input::Opened(Keying::Periodic)),
        Just(Input::Lost("gone".into())),
        Just(Input::Rescan),
        Just(Input::KeyframeWritten),
    ]
}

proptest! {
    #[test]
    fn in_any_order_of_events_the_encoder_runs_only_in_an_open_device_and_stops_without_readers(
        events in proptest::collection::vec((any_input(), 0u64..8000), 0..80)
    ) {
        let mut sim = Sim::new();
        let (mut open, mut encoding) = (false, false);
        let mut seen = Vec::new();
        for (input, wait) in events {
            seen.extend(sim.input(input));
            seen.extend(sim.pass(wait).into_iter().map(|(_, action)| action));
        }
        for reader in 0..3 {
            seen.extend(sim.input(Input::Detached(ReaderId(reader))));
        }
        seen.extend(sim.pass(60_000).into_iter().map(|(_, action)| action));
        for action in seen {
            match action {
                Open => open = true,
                Close | TellLost(_) => {
                    prop_assert!(!encoding);
                    open = false;
                }
                StartEncoder(bps) => {
                    prop_assert!(open && !encoding && (FLOOR..=CEILING).contains(&bps));
                    encoding = true;
                }
                StopEncoder => {
                    prop_assert!(encoding);
                    encoding = false;
                }
                SetBitrate(bps) => prop_assert!(encoding && (FLOOR..=CEILING).contains(&bps)),
                ForceKeyframe => prop_assert!(encoding),
                TellRunning(_) => prop_assert!(open),
            }
        }
        prop_assert!(!encoding);
        prop_assert_eq!(sim.owner.deadline(), None);
    }
}
