//! What one job has written, brought to the card's clock.
//!
//! Joins are smooth whatever happens: a start fades in, a cut fades over, and where a ring runs dry the last frame fades
//! out. The loss itself is not concealed; that is the job's business.

use hal::ring::pcm::{self, Frame, Violation};
use protocol::device::playout::{self, MAX_DEVIATION, Playout};
use rubato::audioadapter_buffers::direct::InterleavedSlice;
use rubato::{Adjustable, Async, FixedAsync, PolynomialDegree, Resampler};

/// Frames of a join: 5 ms, too short to be missed and too long to click.
const JOIN: usize = 240;

/// Below the pass band's last octave, an interpolation through eight points is as good as 16 bits at these ratios.
const DEGREE: PolynomialDegree = PolynomialDegree::Septic;

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
    resampler: Async<f32>,
    /// As read.
    frames: Vec<Frame>,
    /// The same, interleaved.
    input: Vec<f32>,
    /// One period, interleaved.
    output: Vec<f32>,
    last: Frame,
    /// The next frame does not follow the last one.
    cut: bool,
    lead: Lead,
}

/// The mean lead of the last whole second.
#[derive(Debug, Default)]
struct Lead {
    sum: u64,
    periods: u64,
    mean_us: u32,
}

impl Voice {
    /// For a card that takes `period` frames at a time.
    pub fn new(ring: pcm::Reader, period: usize) -> Self {
        let resampler = resampler(period);
        let most = resampler.input_frames_max();
        Self {
            ring,
            playout: Playout::new(period),
            resampler,
            frames: vec![[0; 2]; most],
            input: vec![0.0; most * 2],
            output: vec![0.0; period * 2],
            last: [0; 2],
            cut: true,
            lead: Lead::default(),
        }
    }

    /// Another card may have another period.
    pub fn begin(&mut self, period: usize) {
        self.playout = Playout::new(period);
        self.resampler = resampler(period);
        let most = self.resampler.input_frames_max();
        self.frames.resize(most, [0; 2]);
        self.input.resize(most * 2, 0.0);
        self.output.resize(period * 2, 0.0);
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
    pub fn add(&mut self, sum: &mut [f32], period: usize, now_us: u32) -> Result<Step, Violation> {
        let level = self.ring.level()?;
        let unwritten = (u64::from(self.ring.age_us(now_us)) * 48 / 1000) as usize;
        let playout::Step::Play { skip, speed } = self.playout.next(level, unwritten, self.ring.held()) else {
            self.cut = true;
            return Ok(Step::default());
        };
        self.lead.note(playout::lead(level, unwritten), period);
        let skipped = self.ring.skip(skip)?;
        self.cut |= skipped > 0;
        self.resampler.set_resample_ratio(1.0 / speed, true).expect("the speed keeps its limits");
        let needed = self.resampler.input_frames_next();
        let got = self.ring.read(&mut self.frames[..needed])?;
        self.join(got, needed);
        let dry = got < needed;
        if dry {
            self.playout.ran_dry();
        }
        self.resample(needed, period);
        for (to, from) in sum.iter_mut().zip(&self.output) {
            *to += from;
        }
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

    fn resample(&mut self, needed: usize, period: usize) {
        for (to, frame) in self.input.chunks_exact_mut(2).zip(&self.frames[..needed]) {
            (to[0], to[1]) = (frame[0].into(), frame[1].into());
        }
        let input = InterleavedSlice::new(&self.input, 2, needed).expect("as long as the resampler may want");
        let mut output = InterleavedSlice::new_mut(&mut self.output, 2, period).expect("one period");
        self.resampler.process_into_buffer(&input, &mut output, None).expect("as much as it said it needs");
    }
}

impl std::fmt::Debug for Voice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Voice").field("ring", &self.ring).field("playout", &self.playout).finish_non_exhaustive()
    }
}

impl Lead {
    fn note(&mut self, lead: usize, period: usize) {
        self.sum += lead as u64;
        self.periods += 1;
        if self.periods * period as u64 >= 48_000 {
            self.mean_us = (self.sum * 1000 / 48 / self.periods) as u32;
            (self.sum, self.periods) = (0, 0);
        }
    }
}

/// From `period` frames at our clock to as many at the card's.
fn resampler(period: usize) -> Async<f32> {
    let most = 1.0 + 2.0 * MAX_DEVIATION;
    Async::new_poly(1.0, most, DEGREE, period, 2, FixedAsync::Output).expect("parameters that are good for any period")
}

/// `i` of `length` on the way from one frame to the other.
fn blend(from: Frame, to: Frame, i: usize, length: usize) -> Frame {
    let part = |from: i16, to: i16| {
        let (i, length) = (i as i64, length as i64);
        ((i64::from(from) * (length - i) + i64::from(to) * i) / length) as i16
    };
    [part(from[0], to[0]), part(from[1], to[1])]
}
