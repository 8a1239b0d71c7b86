//! How fast to play what a job writes, so that neither its clock nor the card's ever runs the buffer between them dry or
//! full.
//!
//! ```text
//! Waiting --the target is reached, or something has waited long enough--> Playing --ran dry--> Waiting
//! ```
//!
//! While it plays, the speed follows the job's lead through a proportional and an integral part: the first brings the lead
//! back, the second becomes the difference of the two clocks. The lead is the buffer's level and what the job's clock has
//! made since it wrote last: the level alone would show how packets and periods slide past each other, a wave of half a
//! packet that has nothing to do with either clock. Time is counted in periods of the card. The speed is kept over a pause,
//! as clocks stay as they are.

/// Frames a second of every buffer.
const RATE: f64 = 48_000.0;

/// Frames of lead that a job has over the card: two 20 ms packets, so that one may be late.
pub const TARGET: usize = 1920;

/// Frames that a job's clock is believed to have made since it wrote last: a packet of 20 ms. One that writes later than
/// that is late.
const MAX_UNWRITTEN: usize = 960;

/// Frames over the target that count as a backlog: a burst after a gap of the network. Drained by speed it would delay
/// for a minute all that follows; it is skipped.
const BACKLOG: usize = 2880;

/// Seconds for which the lead must not have been below [`TARGET`] and [`BACKLOG`] together.
const BACKLOG_S: f64 = 1.0;

/// Seconds after which less than the target is played: a sound shorter than the target has no more to come.
const SHORT_S: f64 = 0.08;

/// Time constant, in seconds, of the lead's mean: above the jitter of a job's wake-ups, below what the loop corrects.
const MEAN_S: f64 = 0.5;

/// Speed for a deviation of one second, a second: a deviation decays with a time constant of two and a half seconds, and a
/// packet that is 20 ms late for a second changes the pitch by a few cents at most.
const PROPORTIONAL: f64 = 0.4;

/// Change of speed a second for a deviation of one second: a quarter of the square of [`PROPORTIONAL`], which settles
/// without swinging.
const INTEGRAL: f64 = PROPORTIONAL * PROPORTIONAL / 4.0;

/// The speed's distance from 1 at most: 9 cents of pitch, which nobody hears in speech, and far above any crystal.
pub const MAX_DEVIATION: f64 = 0.005;

/// Change of speed a second at most: a glide of nine cents, and in a period no step that could be heard.
const SLEW: f64 = 0.005;

/// What to do in a period.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Step {
    /// Play nothing of it yet.
    Wait,
    /// Throw away this many of the oldest frames first, then play.
    Play {
        /// Frames.
        skip: usize,
        /// Frames to take for each that is played.
        speed: f64,
    },
}

/// The control of one buffer.
#[derive(Clone, Debug)]
pub struct Playout {
    /// Seconds of a period.
    period: f64,
    state: State,
    speed: f64,
    /// Deviation of the job's clock from the card's, as learned.
    integral: f64,
}

#[derive(Clone, Debug)]
enum State {
    Waiting {
        /// Seconds for which there has been something.
        since: f64,
    },
    Playing {
        /// Frames, smoothed.
        mean: f64,
        /// Seconds for which there has been a backlog.
        backlog: f64,
    },
}

impl Playout {
    /// For a card that takes `period` frames at a time.
    pub fn new(period: usize) -> Self {
        Self { period: period as f64 / RATE, state: State::Waiting { since: 0.0 }, speed: 1.0, integral: 0.0 }
    }

    /// What to do with `level` frames that wait before a period is taken from them, if the job wrote last so many frames'
    /// time ago. `held`: the job waits for room, so nothing says how its clock runs.
    pub fn next(&mut self, level: usize, unwritten: usize, held: bool) -> Step {
        match self.state {
            State::Waiting { .. } if level == 0 => {
                self.state = State::Waiting { since: 0.0 };
                Step::Wait
            }
            State::Waiting { since } if lead(level, unwritten) < self.start() && since < SHORT_S => {
                self.state = State::Waiting { since: since + self.period };
                Step::Wait
            }
            State::Waiting { .. } => {
                let skip = if held { 0 } else { level.saturating_sub(TARGET + BACKLOG) };
                self.state = State::Playing { mean: TARGET as f64, backlog: 0.0 };
                self.speed = 1.0 + self.integral;
                Step::Play { skip, speed: self.speed }
            }
            State::Playing { mean, backlog } => self.play(level, lead(level, unwritten), held, mean, backlog),
        }
    }

    /// There was less than a period.
    pub fn ran_dry(&mut self) {
        self.state = State::Waiting { since: 0.0 };
    }

    /// Whether it plays.
    pub fn is_playing(&self) -> bool {
        matches!(self.state, State::Playing { .. })
    }

    /// Half a period under the target: it is looked at once a period, and met half a period later on average.
    fn start(&self) -> usize {
        TARGET - (self.period * RATE / 2.0) as usize
    }

    fn play(&mut self, level: usize, lead: usize, held: bool, mean: f64, backlog: f64) -> Step {
        if held {
            // Its pace is the card's own now.
            self.state = State::Playing { mean: TARGET as f64, backlog: 0.0 };
            self.approach(1.0);
            return Step::Play { skip: 0, speed: self.speed };
        }
        let backlog = if level > TARGET + BACKLOG { backlog + self.period } else { 0.0 };
        if backlog >= BACKLOG_S {
            self.state = State::Playing { mean: TARGET as f64, backlog: 0.0 };
            return Step::Play { skip: level - TARGET, speed: self.speed };
        }
        let mean = mean + (lead as f64 - mean) * (self.period / MEAN_S);
        self.state = State::Playing { mean, backlog };
        let deviation = (mean - TARGET as f64) / RATE;
        let wanted = self.integral + PROPORTIONAL * deviation;
        // What the limit cuts off must not pile up.
        if wanted.abs() < MAX_DEVIATION {
            self.integral += INTEGRAL * deviation * self.period;
        }
        self.approach(1.0 + wanted);
        Step::Play { skip: 0, speed: self.speed }
    }

    fn approach(&mut self, wanted: f64) {
        let step = SLEW * self.period;
        let wanted = wanted.clamp(1.0 - MAX_DEVIATION, 1.0 + MAX_DEVIATION);
        self.speed += (wanted - self.speed).clamp(-step, step);
    }
}

/// Frames by which a job is ahead of the card.
pub fn lead(level: usize, unwritten: usize) -> usize {
    level + unwritten.min(MAX_UNWRITTEN)
}

#[cfg(test)]
mod tests;
