//! The time that an encoder in software may take: when pictures take longer to encode than to come, there must be fewer or
//! smaller ones, before those that wait make the stream late.
//!
//! ```text
//! step  --encoding takes most of the interval between pictures--> the next: fewer pictures first, then smaller ones
//! step  --the one before would leave time to spare for 10 s--> the one before; a climb that fails doubles the wait
//! ```

use std::time::{Duration, Instant};

/// How much of the wanted stream is made, each as numerator and denominator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// Of the frame rate.
    pub rate: (u32, u32),
    /// Of width and height.
    pub size: (u32, u32),
}

/// From all to least. A viewer misses size more than smoothness at 15 frames a second; below that, motion falls apart.
pub const STEPS: [Step; 5] = [
    Step { rate: (1, 1), size: (1, 1) },
    Step { rate: (2, 3), size: (1, 1) },
    Step { rate: (1, 2), size: (1, 1) },
    Step { rate: (1, 2), size: (2, 3) },
    Step { rate: (1, 2), size: (1, 2) },
];

/// Part of an interval that encoding may take. What is left is for capture, for other processes and for slow pictures.
const FULL: f64 = 0.9;

/// Part of an interval that the step before must be expected to take for a climb.
const SPARE: f64 = 0.7;

/// Weight of the newest picture: a second at 30 frames a second smooths keyframes away.
const NEWEST: f64 = 1.0 / 32.0;

/// Pictures after a change before the next is thought of. The first of them start encoders.
const SETTLE: u32 = 15;

/// Pictures after a change that are not counted.
const STARTING: u32 = 2;

/// How long there must be time to spare, at first and at most.
const HOLD: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(320));

/// A climb that has lasted for this long was right.
const PROVEN: Duration = Duration::from_secs(30);

/// The budget of one encoder.
#[derive(Debug)]
pub struct Budget {
    /// Between pictures at the full rate.
    interval: Duration,
    step: usize,
    /// Pictures since the last change.
    pictures: u32,
    /// What a picture takes, smoothed, s.
    takes: Option<f64>,
    spare_since: Option<Instant>,
    hold: Duration,
    climbed: Option<Instant>,
}

impl Budget {
    /// For pictures that come at this interval.
    pub fn new(interval: Duration) -> Self {
        Self { interval, step: 0, pictures: 0, takes: None, spare_since: None, hold: HOLD.0, climbed: None }
    }

    /// Where in [`STEPS`] the encoder is to be.
    pub fn step(&self) -> usize {
        self.step
    }

    /// What a picture takes, smoothed.
    pub fn takes(&self) -> Duration {
        Duration::from_secs_f64(self.takes.unwrap_or(0.0))
    }

    /// A picture of the present step took this long. True if the step is another one now.
    pub fn encoded(&mut self, took: Duration, now: Instant) -> bool {
        self.pictures = self.pictures.saturating_add(1);
        if self.pictures <= STARTING {
            return false;
        }
        let took = took.as_secs_f64();
        // The first ones weigh the same, so that no single one decides.
        let weight = NEWEST.max(1.0 / f64::from(self.pictures - STARTING));
        let takes = self.takes.map_or(took, |takes| takes + (took - takes) * weight);
        self.takes = Some(takes);
        if self.climbed.is_some_and(|climbed| now.duration_since(climbed) >= PROVEN) {
            (self.climbed, self.hold) = (None, HOLD.0);
        }
        if self.pictures < SETTLE {
            return false;
        }
        if self.load(self.step, takes) > FULL && self.step + 1 < STEPS.len() {
            self.descend();
            return true;
        }
        self.climb(takes, now)
    }

    fn descend(&mut self) {
        if self.climbed.take().is_some() {
            self.hold = (self.hold * 2).min(HOLD.1);
        }
        self.change(self.step + 1);
    }

    fn climb(&mut self, takes: f64, now: Instant) -> bool {
        let Some(before) = self.step.checked_sub(1) else { return false };
        let expected = takes * pixels(before) / pixels(self.step);
        if self.load(before, expected) > SPARE {
            self.spare_since = None;
            return false;
        }
        let since = *self.spare_since.get_or_insert(now);
        let climbs = now.duration_since(since) >= self.hold;
        if climbs {
            self.change(before);
            self.climbed = Some(now);
        }
        climbs
    }

    fn change(&mut self, step: usize) {
        (self.step, self.pictures, self.takes, self.spare_since) = (step, 0, None, None);
    }

    /// Part of a step's interval that pictures of this many seconds take.
    fn load(&self, step: usize, takes: f64) -> f64 {
        takes / self.interval.as_secs_f64() * part(STEPS[step].rate)
    }
}

fn pixels(step: usize) -> f64 {
    part(STEPS[step].size).powi(2)
}

fn part((numerator, denominator): (u32, u32)) -> f64 {
    f64::from(numerator) / f64::from(denominator)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::disallowed_methods, reason = "simulated time starts at any instant")]

    use super::*;

    const INTERVAL: Duration = Duration::from_millis(33);

    /// A camera that gives a picture each interval, and an encoder that works on one after the other.
    struct Sim {
        budget: Budget,
        start: Instant,
        /// The next picture.
        due: Instant,
        /// The encoder is busy until then.
        free: Instant,
        /// Pictures that were not taken, for the rate of the step.
        credit: f64,
        /// Seconds since the start and step, at each change.
        changes: Vec<(u64, usize)>,
        /// From capture to the end of encoding.
        latency: Duration,
    }

    impl Sim {
        fn new() -> Self {
            let start = Instant::now();
            let budget = Budget::new(INTERVAL);
            Self { budget, start, due: start, free: start, credit: 0.0, changes: Vec::new(), latency: Duration::ZERO }
        }

        /// A picture of full size takes `full`; keyframes, one in 60, three times that.
        fn run(&mut self, seconds: u64, full: Duration) {
            let end = self.due + Duration::from_secs(seconds);
            let mut number = 0u32;
            while self.due < end {
                self.credit += part(STEPS[self.budget.step()].rate);
                if self.credit >= 1.0 {
                    self.credit -= 1.0;
                    number += 1;
                    let weight = if number % 60 == 1 { 3.0 } else { 1.0 };
                    let took = full.mul_f64(weight * pixels(self.budget.step()));
                    self.free = self.free.max(self.due) + took;
                    self.latency = self.free - self.due;
                    if self.budget.encoded(took, self.free) {
                        self.changes.push(((self.free - self.start).as_secs(), self.budget.step()));
                    }
                }
                self.due += INTERVAL;
            }
        }

        fn steps(&self) -> Vec<usize> {
            self.changes.iter().map(|(_, step)| *step).collect()
        }
    }

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn an_encoder_that_keeps_up_is_left_alone_whatever_its_keyframes_take() {
        let mut sim = Sim::new();
        sim.run(600, ms(25));
        assert_eq!(sim.changes, []);
    }

    #[test]
    fn rate_gives_way_before_size_and_no_further_than_it_must() {
        for (full, steps) in [(40, vec![1]), (55, vec![1, 2]), (90, vec![1, 2, 3]), (200, vec![1, 2, 3, 4])] {
            let mut sim = Sim::new();
            sim.run(60, ms(full));
            assert_eq!(sim.steps(), steps, "{full} ms a picture");
            assert!(sim.changes.iter().all(|(at, _)| *at < 12), "{:?}", sim.changes);
        }
    }

    #[test]
    fn the_delay_does_not_grow() {
        let mut sim = Sim::new();
        sim.run(30, ms(90));
        assert!(sim.latency < ms(90), "{:?}", sim.latency);
    }

    #[test]
    fn it_climbs_back_step_by_step_when_there_is_time_again() {
        let mut sim = Sim::new();
        sim.run(30, ms(200));
        sim.changes.clear();
        sim.run(60, ms(10));
        assert_eq!(sim.steps(), [3, 2, 1, 0]);
        let waits: Vec<_> = sim.changes.windows(2).map(|pair| pair[1].0 - pair[0].0).collect();
        assert!(waits.iter().all(|wait| (10..=12).contains(wait)), "{waits:?}");
    }

    #[test]
    fn between_too_much_and_too_little_it_stays() {
        let mut sim = Sim::new();
        sim.run(10, ms(40));
        sim.changes.clear();
        // At the full rate this is 79 %: neither too much nor time to spare.
        sim.run(600, ms(26));
        assert_eq!(sim.changes, []);
    }

    #[test]
    fn climbs_that_fail_become_rare_and_one_that_holds_is_forgiven() {
        let mut sim = Sim::new();
        sim.run(10, ms(200));
        sim.changes.clear();
        // Cheap enough for a climb, but what it climbs to is dear: smaller pictures of this scene are not cheaper.
        for _ in 0..2_000 {
            let full = if sim.budget.step() == 4 { ms(80) } else { ms(160) };
            sim.run(1, full);
        }
        let climbs: Vec<_> = sim.changes.iter().filter(|(_, step)| *step == 3).map(|(at, _)| *at).collect();
        let waits: Vec<_> = climbs.windows(2).map(|pair| pair[1] - pair[0]).collect();
        let doubled = |pair: &[u64]| pair[1] > pair[0] + pair[0] / 2;
        assert!(waits.len() < 12 && waits[..5].windows(2).all(doubled), "{waits:?}");
        assert!(waits[5..].iter().all(|wait| (320..340).contains(wait)), "{waits:?}");
        sim.run(1_000, ms(10));
        assert_eq!(sim.budget.step(), 0);
        assert_eq!(sim.budget.hold, HOLD.0);
    }
}
