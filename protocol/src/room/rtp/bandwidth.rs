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
mod tests;
