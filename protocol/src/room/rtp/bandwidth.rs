//! What to ask of congestion control, and what video may take of what it finds.
//!
//! An encoder that follows the estimate never sends more than it, and an estimator that never sees more than that sent
//! never raises it: both stick at the bottom. Worse, an estimator that has seen losses holds its estimate down and makes
//! no probe meanwhile, twice as long at each loss and up to a minute. So while the estimate is under the target it is
//! restarted at its own value now and then: a fresh estimator probes at once and judges what it finds.
//!
//! ```text
//! Content --estimate under 90 % of the target--> Searching
//! Searching --each pause without enough--> Searching (restart; the next pause is 4 s, or twice the last one
//!                                           where the restart had led to a rate that the link did not carry)
//! Searching --enough for 10 s--> Content
//! ```

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// From one restart to the next. A restart costs a narrow link two bursts, which make some 150 ms of queue.
const PAUSE: Duration = Duration::from_secs(4);

/// The longest pause: links that pass bursts and lose what follows answer each restart with a freeze.
const LONGEST_PAUSE: Duration = Duration::from_secs(32);

/// A rate that stands for so long is carried.
const PROVEN: Duration = Duration::from_secs(10);

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
        /// Probes go up to twice this.
        desired: u32,
    },
    /// Forget everything about the path but that it carries this many bit/s of all media, and probe for more.
    Restart(u32),
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
    search: Search,
    asked: Option<Action>,
    actions: VecDeque<Action>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Search {
    Content,
    Searching {
        /// When the estimator is restarted.
        restart: Instant,
        /// What was waited for that.
        pause: Duration,
        /// Since when the estimate is enough.
        enough: Option<Instant>,
        /// The rate collapsed since the last restart.
        collapsed: bool,
    },
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
            search: Search::Content,
            asked: None,
            actions: VecDeque::new(),
        }
    }

    /// The sums of what all unmuted tracks want at most, bit/s. More than before is granted at once as long as no
    /// estimate speaks against it. What video may take is told again even if it stays: other tracks share it now.
    pub fn wanted(&mut self, video: u32, audio: u32, now: Instant) {
        if self.video == 0 {
            self.estimate = None;
        }
        let unlimited = self.allowed == self.video;
        (self.video, self.audio) = (video, audio);
        self.allowed = if unlimited || self.estimate.is_none() { video } else { self.allowed.min(video) };
        self.peak = self.peak.min(video);
        self.told = 0;
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
        let search = match self.search {
            Search::Content => None,
            Search::Searching { enough: Some(since), .. } => Some(since + PROVEN),
            Search::Searching { enough: None, restart, .. } => Some(restart),
        };
        let rise = self.risen.map(|at| at + RISE_STEP);
        [search, rise, self.grace].into_iter().flatten().min()
    }

    fn settle(&mut self, now: Instant) {
        self.grace = self.grace.filter(|until| *until > now);
        if self.video == 0 {
            (self.search, self.grace, self.risen, self.peak, self.told) = (Search::Content, None, None, 0, 0);
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
            if let Search::Searching { collapsed, .. } = &mut self.search {
                *collapsed = true;
            }
        }
    }

    /// Asks for the target, and restarts the estimator from time to time as long as it is under it.
    fn search(&mut self, now: Instant) {
        let target = self.video.saturating_add(self.audio);
        let estimate = self.estimate.unwrap_or(target);
        let is_enough = self.grace.is_some() || estimate >= percent(target, ENOUGH);
        let fresh = Search::Searching { restart: now + PAUSE, pause: PAUSE, enough: None, collapsed: false };
        self.search = match self.search {
            Search::Content if is_enough => Search::Content,
            Search::Content => fresh,
            Search::Searching { enough: Some(since), .. } if is_enough && now >= since + PROVEN => Search::Content,
            Search::Searching { restart, pause, enough, collapsed } if is_enough => {
                Search::Searching { restart, pause, enough: enough.or(Some(now)), collapsed }
            }
            Search::Searching { enough: Some(_), pause, .. } => {
                Search::Searching { restart: now + pause, pause, enough: None, collapsed: true }
            }
            Search::Searching { enough: None, restart, pause, collapsed } if now >= restart => {
                self.actions.push_back(Action::Restart(estimate.max(FLOOR)));
                let pause = if collapsed { LONGEST_PAUSE.min(pause * 2) } else { PAUSE };
                Search::Searching { restart: now + pause, pause, enough: None, collapsed: false }
            }
            Search::Searching { enough: None, .. } => self.search,
        };
        // What video may take and does not, as when the picture stands still, would look like a slower link.
        let sustained = if is_enough { 0 } else { self.told.saturating_add(self.audio) };
        self.ask(sustained, target);
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
