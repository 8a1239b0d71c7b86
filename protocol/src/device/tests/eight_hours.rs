//! Eight hours of an owner in simulated time: readers come and go, the device fails, vanishes and returns, its modes are
//! refused, and the board's encoder breaks.

mod camera;

use super::*;
use camera::Camera;
use std::collections::BTreeMap;

const EIGHT_HOURS: Duration = Duration::from_secs(8 * 3600);
/// Different days; a failure names its own.
const SEEDS: u64 = 48;

/// What lies between two events at most: short enough to hit every linger and every wait from both sides.
const MAX_PAUSE_MS: u64 = 9000;
const MAX_READERS: usize = 6;
/// A slow USB camera.
const MAX_OPENING_MS: u64 = 1500;
const FRAME: Duration = Duration::from_millis(33);

/// A lost device is tried again after this at the latest.
const LONGEST_WAIT: Duration = RETRY.1;

/// An encoder that was given up is tried at the next opening after this at the latest.
const LONGEST_REST: Duration = Duration::from_secs(3600);

/// SplitMix64.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
    fn below(&mut self, n: u64) -> u64 {
        self.roll() % n
    }
    fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
}

/// The device as it really is.
#[derive(Debug)]
enum Hardware {
    Closed,
    Opening {
        answer_at: Instant,
    },
    Open {
        encoding: bool,
        keyframe_at: Option<Instant>,
    },
    /// Failed, and not opened again yet.
    Failed {
        since: Instant,
    },
}

#[derive(Debug, Default)]
struct Counts {
    opened: u32,
    lost: u32,
    told_lost: u32,
    encoders: u32,
    forced: u32,
    closed: u32,
    /// Openings in another mode than the wanted one.
    lighter: u32,
    /// Encoders of the board, and how often it was tried after that.
    given_up: u32,
    tried_again: u32,
}

struct Day {
    sim: Sim,
    warm: bool,
    dice: Dice,
    plugged: bool,
    hardware: Hardware,
    camera: Camera,
    readers: BTreeMap<ReaderId, Demand>,
    next_reader: u64,
    epoch: u32,
    /// The text told last, if the device was not told to run since, and was wanted all the while.
    told: Option<String>,
    /// Since when nobody wants the device.
    idle_since: Instant,
    counts: Counts,
}

impl Day {
    fn new(seed: u64, warm: bool) -> Self {
        let sim = Sim::of(Config { warm, ..VIDEO });
        let idle_since = sim.now;
        let mut day = Self {
            sim,
            warm,
            dice: Dice(seed),
            plugged: true,
            hardware: Hardware::Closed,
            camera: Camera::default(),
            readers: BTreeMap::new(),
            next_reader: 0,
            epoch: 0,
            told: None,
            idle_since,
            counts: Counts::default(),
        };
        day.act();
        day
    }

    fn input(&mut self, input: Input) {
        self.sim.owner.handle(input, self.sim.now);
        self.act();
    }

    fn act(&mut self) {
        while let Some(action) = self.sim.owner.poll() {
            self.do_one(action);
        }
    }

    fn do_one(&mut self, action: Action) {
        let now = self.sim.now;
        match (action, &mut self.hardware) {
            (Open, Hardware::Closed | Hardware::Failed { .. }) => {
                let answer_at = now + Duration::from_millis(self.dice.below(MAX_OPENING_MS));
                self.hardware = Hardware::Opening { answer_at };
                self.counts.opened += 1;
            }
            (Close, Hardware::Opening { .. } | Hardware::Open { encoding: false, .. }) => {
                self.hardware = Hardware::Closed;
                self.counts.closed += 1;
            }
            (StartEncoder(bps), Hardware::Open { encoding: encoding @ false, keyframe_at }) => {
                assert!((FLOOR..=CEILING).contains(&bps));
                (*encoding, *keyframe_at) = (true, Some(now + FRAME));
                self.camera.code(&mut self.dice, &mut self.counts, now);
                self.counts.encoders += 1;
            }
            (StopEncoder, Hardware::Open { encoding: encoding @ true, keyframe_at }) => {
                (*encoding, *keyframe_at) = (false, None);
            }
            (SetBitrate(bps), Hardware::Open { encoding: true, .. }) => assert!((FLOOR..=CEILING).contains(&bps)),
            (ForceKeyframe, Hardware::Open { encoding: true, keyframe_at }) => {
                // Some drivers forget.
                *keyframe_at = (self.dice.below(10) > 0).then_some(now + FRAME);
                self.counts.forced += 1;
            }
            (TellRunning(epoch), Hardware::Open { encoding: false, .. }) => {
                self.epoch += 1;
                assert_eq!(epoch, self.epoch);
                self.told = None;
            }
            (TellLost(why), hardware @ Hardware::Open { encoding: false, .. }) => {
                *hardware = Hardware::Failed { since: now };
                self.tell_lost(why);
            }
            (TellLost(why), Hardware::Failed { .. }) => self.tell_lost(why),
            (action, hardware) => panic!("{action:?} while {hardware:?}"),
        }
    }

    fn tell_lost(&mut self, why: String) {
        assert_ne!(self.told.as_ref(), Some(&why), "told twice");
        self.told = Some(why);
        self.counts.told_lost += 1;
    }

    /// The device fails.
    fn fail(&mut self) {
        self.fail_because(if self.plugged { "in use" } else { "unplugged" });
    }

    /// The device fails, or answers that it cannot be opened.
    fn fail_because(&mut self, why: &str) {
        if let Hardware::Opening { .. } = self.hardware {
            self.hardware = Hardware::Failed { since: self.sim.now };
        }
        self.counts.lost += 1;
        self.input(Input::Lost(why.into()));
    }

    /// What the hardware does next by itself, and when.
    fn due(&self) -> Option<Instant> {
        match self.hardware {
            Hardware::Opening { answer_at } => Some(answer_at),
            Hardware::Open { keyframe_at, .. } => keyframe_at,
            Hardware::Closed | Hardware::Failed { .. } => None,
        }
    }

    fn hardware_moves(&mut self) {
        match self.hardware {
            Hardware::Opening { .. } if self.plugged => {
                match self.camera.open(&mut self.dice, &mut self.counts, self.sim.now) {
                    Ok(()) => {
                        self.hardware = Hardware::Open { encoding: false, keyframe_at: None };
                        self.input(Input::Opened(Keying::Forced));
                    }
                    Err(why) => self.fail_because(why),
                }
            }
            Hardware::Opening { .. } => self.fail(),
            Hardware::Open { encoding, .. } => {
                self.hardware = Hardware::Open { encoding, keyframe_at: None };
                self.camera.code(&mut self.dice, &mut self.counts, self.sim.now);
                self.input(Input::KeyframeWritten);
            }
            Hardware::Closed | Hardware::Failed { .. } => unreachable!("nothing is due"),
        }
    }

    /// Time passes; hardware and deadlines have their turns in order.
    fn pass(&mut self, ms: u64) {
        let end = self.sim.now + Duration::from_millis(ms);
        loop {
            let next = [self.due(), self.sim.owner.deadline()].into_iter().flatten().min();
            let Some(at) = next.filter(|at| *at <= end) else { break };
            assert!(at >= self.sim.now, "a deadline that has passed stays after it was handled");
            self.sim.now = at;
            if self.due() == Some(at) {
                self.hardware_moves();
            } else {
                self.input(Input::Timeout);
                assert_ne!(self.sim.owner.deadline(), Some(at), "a deadline that changes nothing");
            }
            self.check();
        }
        self.sim.now = end;
    }

    /// Somebody does something.
    fn event(&mut self) {
        self.note();
        if self.dice.one_in(30) {
            self.camera.change(&mut self.dice);
        }
        match self.dice.below(20) {
            0..5 if self.readers.len() < MAX_READERS => {
                self.next_reader += 1;
                self.demand(ReaderId(self.next_reader));
            }
            0..10 => self.some_reader(Self::demand),
            10..13 => self.some_reader(|day, reader| {
                day.readers.remove(&reader);
                day.input(Input::Detached(reader));
            }),
            13..15 => self.some_reader(|day, reader| day.input(Input::Keyframe(reader))),
            15..17 => self.some_reader(|day, reader| {
                let bps = day.dice.below(1 << 22) as u32;
                day.input(Input::Rate(reader, bps));
            }),
            17 => {
                self.plugged = !self.plugged;
                if !self.plugged && matches!(self.hardware, Hardware::Open { .. }) {
                    self.fail();
                }
                self.input(Input::Rescan);
            }
            18 if matches!(self.hardware, Hardware::Open { .. }) => self.fail(),
            // Everybody leaves, and nobody comes for a while.
            19 if self.dice.one_in(4) => {
                for reader in std::mem::take(&mut self.readers).into_keys() {
                    self.input(Input::Detached(reader));
                }
                self.pass(2 * DEVICE_LINGER.as_millis() as u64);
            }
            _ => self.input(Input::Rescan),
        }
        self.note();
        self.check();
    }

    fn note(&mut self) {
        if self.wanted() {
            self.idle_since = self.sim.now;
        } else {
            // Whoever wants it next has not heard why it is gone.
            self.told = None;
        }
    }

    fn some_reader(&mut self, then: impl FnOnce(&mut Self, ReaderId)) {
        let at = self.dice.below(MAX_READERS as u64) as usize;
        if let Some(reader) = self.readers.keys().nth(at).copied() {
            then(self, reader);
        }
    }

    fn demand(&mut self, reader: ReaderId) {
        let demand = [Demand::Off, Demand::Armed, Demand::Live][self.dice.below(3) as usize];
        self.demand_of(reader, demand);
    }

    fn demand_of(&mut self, reader: ReaderId, demand: Demand) {
        self.readers.insert(reader, demand);
        self.input(Input::Demand(reader, demand));
    }

    fn wanted(&self) -> bool {
        self.warm || self.readers.values().any(|demand| *demand > Demand::Off)
    }

    /// The device is where demand wants it, or on its way there.
    fn check(&self) {
        let (now, live) = (self.sim.now, self.readers.values().any(|demand| *demand == Demand::Live));
        match &self.hardware {
            Hardware::Closed => assert!(!self.wanted(), "wanted and closed"),
            Hardware::Failed { since } => {
                assert!(!self.wanted() || now < *since + LONGEST_WAIT, "wanted and not tried again");
            }
            Hardware::Opening { .. } => {}
            Hardware::Open { encoding, .. } => assert!(*encoding || !live, "live and not encoding"),
        }
        let idle = matches!(self.hardware, Hardware::Closed | Hardware::Failed { .. });
        assert!(self.wanted() || idle || now <= self.idle_since + DEVICE_LINGER, "open for nobody");
        // Everything it holds is written there: a table that grew would show.
        assert!(format!("{:?}", self.sim.owner).len() < 1500, "{:?}", self.sim.owner);
        assert!(format!("{:?}", self.camera).len() < 500, "{:?}", self.camera);
    }

    fn run(&mut self) {
        let end = self.sim.now + EIGHT_HOURS;
        while self.sim.now < end {
            let pause = self.dice.below(MAX_PAUSE_MS);
            // Quiet times in between, in which everything lingers to its end.
            let pause = if self.dice.one_in(50) { pause * 20 } else { pause };
            self.pass(pause);
            self.event();
        }
        for reader in std::mem::take(&mut self.readers).into_keys() {
            self.input(Input::Detached(reader));
        }
        self.pass(60_000);
        assert!(self.warm || self.sim.owner.deadline().is_none());
        self.mend();
    }

    /// All works again, and the encoder has rested: who opens the camera next gets what is wanted.
    fn mend(&mut self) {
        self.note();
        self.camera.heal();
        self.plugged = true;
        self.pass(LONGEST_REST.as_millis() as u64);
        if let Hardware::Open { .. } = self.hardware {
            self.fail();
        }
        self.demand_of(ReaderId(u64::MAX), Demand::Live);
        // It fails now and then all the same.
        for _ in 0..10 {
            self.pass(LONGEST_WAIT.as_millis() as u64);
        }
        assert!(matches!(self.hardware, Hardware::Open { encoding: true, .. }), "{:?}", self.hardware);
        assert!(self.camera.is_as_wanted(), "{:?}", self.camera);
    }
}

#[test]
fn in_eight_hours_of_faults_no_state_gets_stuck_nothing_grows_and_each_loss_is_told_once() {
    for seed in 0..SEEDS {
        let day = std::panic::catch_unwind(|| {
            let mut day = Day::new(seed, seed % 4 == 0);
            day.run();
            day
        });
        let day = day.unwrap_or_else(|_| panic!("the day of seed {seed}, see above"));
        let counts = &day.counts;
        // A day without trouble would prove nothing.
        assert!(counts.opened > 100 && counts.lost > 100 && counts.encoders > 50, "seed {seed}: {counts:?}");
        assert!(
            counts.told_lost > 50 && counts.told_lost <= counts.lost && counts.forced > 50,
            "seed {seed}: {counts:?}"
        );
        assert!(day.warm || counts.closed > 5, "seed {seed}: {counts:?}");
        assert!(counts.lighter > 20 && counts.given_up > 1 && counts.tried_again > 1, "seed {seed}: {counts:?}");
    }
}
