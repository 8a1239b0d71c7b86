//! The card's clock against CLOCK_MONOTONIC.
//!
//! A card says when it looked, not when it sampled: stamps are late by a wake-up or a USB transfer, now more, now less. A
//! delay-locked loop of second order follows their mean and their slope, so that counted frames get times that neither
//! jitter nor drift, and the sender reports made of them keep sound and picture of one board together.

use std::f64::consts::{SQRT_2, TAU};

/// Hz: a jitter of 8 ms leaves half a millisecond, and a change of the card's rate by 1000 ppm is followed within 2 ms.
const BANDWIDTH: f64 = 0.05;
/// Hz of the first second, so that the first stamp's error is gone at once.
const START_BANDWIDTH: f64 = 1.0;
/// ns: a stamp that is this far off is no jitter. Frames are missing, or the machine was stopped.
const STEP: f64 = 100_000_000.0;
/// No sound card is as wrong as 2 %; a loop that a driver's nonsense would take there stays here.
const MAX_SLOPE: f64 = 0.02;

/// The loop.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    /// ns a frame, as the card claims.
    nominal: f64,
    /// ns a frame, as it is.
    slope: f64,
    state: State,
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// The next stamp is taken as it is.
    Unset,
    Running {
        /// What the next stamp should be: ns, whole and part, as 53 bits do not hold the uptime of years.
        next: (u64, f64),
        /// ns since it started.
        age: f64,
    },
}

/// When a period was captured.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Timed {
    /// CLOCK_MONOTONIC ns of its first frame.
    pub captured_ns: u64,
    /// Frames are missing before it, although the card did not say so.
    pub step: bool,
}

impl Clock {
    /// For a card of `rate` Hz.
    pub fn new(rate: u32) -> Self {
        let nominal = 1e9 / f64::from(rate);
        Self { nominal, slope: nominal, state: State::Unset }
    }

    /// Frames were lost: what comes next begins anew, at the rate that is known by now.
    pub fn restart(&mut self) {
        self.state = State::Unset;
    }

    /// ns from one frame to the next.
    pub fn ns_per_frame(&self) -> f64 {
        self.slope
    }

    /// By how much the card is fast, in millionths.
    #[cfg(test)]
    fn ppm(&self) -> f64 {
        (self.nominal / self.slope - 1.0) * 1e6
    }

    /// A period of `frames`, whose first frame the card stamped with `stamp_ns`.
    pub fn observe(&mut self, frames: usize, stamp_ns: u64) -> Timed {
        let period = frames as f64 * self.slope;
        let State::Running { next: (whole, part), age } = self.state else {
            return self.begin(frames, stamp_ns, false);
        };
        let error = if stamp_ns >= whole { (stamp_ns - whole) as f64 } else { -((whole - stamp_ns) as f64) } - part;
        if error.abs() > STEP {
            return self.begin(frames, stamp_ns, true);
        }
        let bandwidth = (START_BANDWIDTH * 1e9 / age.max(1.0)).clamp(BANDWIDTH, START_BANDWIDTH);
        let omega = TAU * bandwidth * period / 1e9;
        let limits = self.nominal * (1.0 - MAX_SLOPE)..=self.nominal * (1.0 + MAX_SLOPE);
        let slope = self.slope + omega * omega * error / frames as f64;
        self.slope = slope.clamp(*limits.start(), *limits.end());
        let captured_ns = whole;
        self.state = State::Running { next: later(whole, part + SQRT_2 * omega * error + period), age: age + period };
        Timed { captured_ns, step: false }
    }

    fn begin(&mut self, frames: usize, stamp_ns: u64, step: bool) -> Timed {
        let period = frames as f64 * self.slope;
        self.state = State::Running { next: later(stamp_ns, period), age: period };
        Timed { captured_ns: stamp_ns, step }
    }
}

/// `ns` and `more` as whole and part.
fn later(ns: u64, more: f64) -> (u64, f64) {
    let whole = more.floor();
    (ns.saturating_add_signed(whole as i64), more - whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;
    const PERIOD: usize = 480;

    /// A card whose clock is fast by `ppm`, read by a thread that wakes up to `jitter_ns` late.
    struct Card {
        ppm: f64,
        jitter_ns: u64,
        random: u64,
        /// ns, without jitter.
        now: f64,
    }

    impl Card {
        fn new(ppm: f64, jitter_ns: u64) -> Self {
            Self { ppm, jitter_ns, random: 7, now: 1e15 }
        }

        /// The true time of the next period, and its stamp.
        fn next(&mut self) -> (f64, u64) {
            let now = self.now;
            self.now += 1e7 / (1.0 + self.ppm / 1e6);
            self.random = self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (now, now as u64 + (self.random >> 33) % self.jitter_ns.max(1))
        }
    }

    /// The furthest that filtered stamps of a while are from the true times plus the mean delay, in ns.
    fn worst(clock: &mut Clock, card: &mut Card, periods: usize) -> f64 {
        let mean = card.jitter_ns as f64 / 2.0;
        let mut worst = 0.0_f64;
        for _ in 0..periods {
            let (true_ns, stamp) = card.next();
            let timed = clock.observe(PERIOD, stamp);
            assert!(!timed.step);
            worst = worst.max((timed.captured_ns as f64 - true_ns - mean).abs());
        }
        worst
    }

    #[test]
    fn a_card_that_is_200_ppm_off_is_followed_through_jitter_for_hours() {
        for ppm in [-200.0, 0.0, 200.0] {
            let (mut clock, mut card) = (Clock::new(48_000), Card::new(ppm, 8_000_000));
            worst(&mut clock, &mut card, 6_000);
            // Four hours.
            let error = worst(&mut clock, &mut card, 1_440_000);
            assert!(error < 1_500_000.0, "{ppm} ppm: {error} ns");
            assert!((clock.ppm() - ppm).abs() < 100.0, "{} instead of {ppm} ppm", clock.ppm());
        }
    }

    #[test]
    fn stamps_without_jitter_are_kept_to_the_microsecond() {
        let (mut clock, mut card) = (Clock::new(48_000), Card::new(120.0, 0));
        worst(&mut clock, &mut card, 12_000);
        assert!(worst(&mut clock, &mut card, 10_000) < 1_000.0);
        assert!((clock.ppm() - 120.0).abs() < 0.1, "{}", clock.ppm());
    }

    #[test]
    fn a_rate_that_changes_by_1000_ppm_while_it_runs_is_followed_within_2_ms() {
        let (mut clock, mut card) = (Clock::new(48_000), Card::new(0.0, 0));
        worst(&mut clock, &mut card, 6_000);
        card.ppm = 1000.0;
        assert!(worst(&mut clock, &mut card, 3_000) < 2_000_000.0);
        card.ppm = -1000.0;
        worst(&mut clock, &mut card, 3_000);
        assert!(worst(&mut clock, &mut card, 1_000) < 10_000.0);
    }

    #[test]
    fn an_overrun_begins_anew_and_keeps_the_slope() {
        let (mut clock, mut card) = (Clock::new(48_000), Card::new(200.0, 0));
        worst(&mut clock, &mut card, 6_000);
        card.now += 70e6;
        clock.restart();
        let error = worst(&mut clock, &mut card, 100);
        assert!(error < 1_000.0, "{error} ns");
        assert!((clock.ppm() - 200.0).abs() < 1.0);
    }

    #[test]
    fn frames_that_are_missing_without_a_word_are_a_step() {
        let (mut clock, mut card) = (Clock::new(48_000), Card::new(0.0, 0));
        worst(&mut clock, &mut card, 1_000);
        card.now += SECOND as f64;
        let (true_ns, stamp) = card.next();
        assert_eq!(clock.observe(PERIOD, stamp), Timed { captured_ns: true_ns as u64, step: true });
        assert!(worst(&mut clock, &mut card, 100) < 1_000.0);
    }

    #[test]
    fn no_stamp_makes_time_run_back_or_the_slope_nonsense() {
        let mut clock = Clock::new(48_000);
        let mut random = 3_u64;
        for n in 0..100_000_u64 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let stamp = match random >> 61 {
                0 => 0,
                1 => u64::MAX,
                _ => n * 10_000_000 + (random >> 40),
            };
            clock.observe(PERIOD, stamp);
            assert!((clock.ppm()).abs() < 21_000.0, "{}", clock.ppm());
        }
    }
}
