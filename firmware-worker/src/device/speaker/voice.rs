//! What one job has written, brought to the card's clock.
//!
//! Joins are smooth whatever happens: a start fades in, a cut fades over, and where a ring runs dry the last frame fades
//! out. The loss itself is not concealed; that is the job's business.

use crate::device::resample::{RATE, Variable};
use hal::ring::pcm::{self, Frame, Violation};
use protocol::device::playout::{self, MAX_DEVIATION, Playout};

/// Frames of a join: 5 ms, too short to be missed and too long to click.
const JOIN: usize = 240;

/// How a card takes its sound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Beat {
    /// Frames a period.
    pub period: usize,
    /// Hz.
    pub rate: u32,
}

impl Beat {
    /// The usual: 10 ms at 48 kHz.
    pub const USUAL: Self = Self { period: 480, rate: 48_000 };

    /// The playout counts a card's time in frames of its job.
    fn playout(self) -> Playout {
        Playout::new((self.period as u64 * RATE / u64::from(self.rate)) as usize)
    }

    /// Periods a second.
    fn hz(self) -> f64 {
        f64::from(self.rate) / self.period as f64
    }

    fn resampler(self) -> Variable {
        Variable::new(self.rate, self.period, MAX_DEVIATION)
    }
}

/// What a period brought.
#[derive(Clone, Copy, Debug, Default)]
pub struct Step {
    /// Something was added.
    pub heard: bool,
    /// The ring ran dry.
    pub dry: bool,
    /// Frames that were thrown away.
    pub skipped: usize,
}

/// One job's voice.
pub struct Voice {
    ring: pcm::Reader,
    playout: Playout,
    resampler: Variable,
    /// As read.
    frames: Vec<Frame>,
    /// The same, interleaved.
    input: Vec<f32>,
    last: Frame,
    /// The next frame does not follow the last one.
    cut: bool,
    lead: Lead,
    /// Periods a second.
    hz: f64,
}

/// The mean lead of the last whole second.
#[derive(Debug, Default)]
struct Lead {
    sum: u64,
    periods: u64,
    mean_us: u32,
}

impl Voice {
    /// For a card that takes its sound so.
    pub fn new(ring: pcm::Reader, beat: Beat) -> Self {
        let resampler = beat.resampler();
        let most = resampler.most();
        Self {
            ring,
            playout: beat.playout(),
            resampler,
            frames: vec![[0; 2]; most],
            input: vec![0.0; most * 2],
            last: [0; 2],
            cut: true,
            lead: Lead::default(),
            hz: beat.hz(),
        }
    }

    /// Another card may take it otherwise.
    pub fn begin(&mut self, beat: Beat) {
        (self.playout, self.resampler, self.hz) = (beat.playout(), beat.resampler(), beat.hz());
        let most = self.resampler.most();
        self.frames.resize(most, [0; 2]);
        self.input.resize(most * 2, 0.0);
        (self.last, self.cut) = ([0; 2], true);
    }

    /// Its job waits for room.
    pub fn held(&self) -> bool {
        self.ring.held()
    }

    /// Mean lead of the last second in µs; 0 while nothing is played.
    pub fn mean_us(&self) -> u32 {
        if self.playout.is_playing() { self.lead.mean_us } else { 0 }
    }

    /// Adds one period to an interleaved sum.
    pub fn add(&mut self, sum: &mut [f32], now_us: u32) -> Result<Step, Violation> {
        let level = self.ring.level()?;
        let unwritten = (u64::from(self.ring.age_us(now_us)) * 48 / 1000) as usize;
        let playout::Step::Play { skip, speed } = self.playout.next(level, unwritten, self.ring.held()) else {
            self.cut = true;
            return Ok(Step::default());
        };
        self.lead.note(playout::lead(level, unwritten), self.hz);
        let skipped = self.ring.skip(skip)?;
        self.cut |= skipped > 0;
        let needed = self.resampler.needs(speed);
        let got = self.ring.read(&mut self.frames[..needed])?;
        self.join(got, needed);
        let dry = got < needed;
        if dry {
            self.playout.ran_dry();
        }
        self.resample(needed, sum);
        Ok(Step { heard: true, dry, skipped })
    }

    /// Fades over from the last frame to what was read after a cut, and out behind it where it is too short.
    fn join(&mut self, got: usize, needed: usize) {
        if std::mem::take(&mut self.cut) {
            let length = JOIN.min(got);
            for (i, frame) in self.frames[..length].iter_mut().enumerate() {
                *frame = blend(self.last, *frame, i, length);
            }
        }
        self.last = got.checked_sub(1).map_or(self.last, |at| self.frames[at]);
        if got < needed {
            let length = JOIN.min(needed - got);
            for (i, frame) in self.frames[got..needed].iter_mut().enumerate() {
                *frame = blend(self.last, [0; 2], i.min(length), length);
            }
            (self.last, self.cut) = ([0; 2], true);
        }
    }

    fn resample(&mut self, needed: usize, sum: &mut [f32]) {
        for (to, frame) in self.input.chunks_exact_mut(2).zip(&self.frames[..needed]) {
            (to[0], to[1]) = (frame[0].into(), frame[1].into());
        }
        for (to, from) in sum.iter_mut().zip(self.resampler.process(&self.input[..needed * 2])) {
            *to += from;
        }
    }
}

impl std::fmt::Debug for Voice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Voice").field("ring", &self.ring).field("playout", &self.playout).finish_non_exhaustive()
    }
}

impl Lead {
    fn note(&mut self, lead: usize, hz: f64) {
        self.sum += lead as u64;
        self.periods += 1;
        if self.periods as f64 >= hz {
            self.mean_us = (self.sum * 1000 / 48 / self.periods) as u32;
            (self.sum, self.periods) = (0, 0);
        }
    }
}

/// `i` of `length` on the way from one frame to the other.
fn blend(from: Frame, to: Frame, i: usize, length: usize) -> Frame {
    let part = |from: i16, to: i16| {
        let (i, length) = (i as i64, length as i64);
        ((i64::from(from) * (length - i) + i64::from(to) * i) / length) as i16
    };
    [part(from[0], to[0]), part(from[1], to[1])]
}
