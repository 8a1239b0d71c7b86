//! The capture thread.

use super::assembler::{Block, MAX_BLOCK, MAX_CHANNELS};
use super::clock::Clock;
use super::mix::Mix;
use super::timeline::{RATE, to_ns};
use super::{Input, STOP_CHECK};
use crate::config;
use crate::control::OwnerStage;
use crate::device::pipeline::Stage;
use crate::device::resample::Resampler;
use crate::device::urgency;
use crate::media::tone::Tone;
use hal::audio::{Capture, Period};
use hal::process::monotonic_ns;
use heapless::spsc::Producer;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, Thread};
use std::time::Duration;

/// A tone's period: 10 ms.
const TONE_PERIOD: usize = 480;
/// A tone that is this far behind, because the process was stopped, starts anew instead of catching up.
const STALL_NS: u64 = 500_000_000;
/// A card that gives nothing for this long is taken as lost.
const NO_SAMPLES: Duration = Duration::from_secs(3);
/// No room is this quiet: not even the lowest bit of a microphone that works stands still.
pub const SILENCE: Duration = Duration::from_secs(10);

/// What the capture thread tells the encode thread besides blocks.
#[derive(Debug, Default)]
pub struct Status {
    ended: AtomicBool,
    silent: AtomicBool,
    turned: AtomicBool,
    overruns: AtomicU64,
}

impl Status {
    /// No block comes any more.
    pub fn ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    /// The capture thread has come round since this was asked last: the device lives while both threads do.
    pub fn take_turned(&self) -> bool {
        self.turned.swap(false, Ordering::AcqRel)
    }

    /// How often the card was not read in time, or slept, since this was asked last.
    pub fn take_overruns(&self) -> u64 {
        self.overruns.swap(0, Ordering::AcqRel)
    }

    /// Nothing but zeros came for [`SILENCE`]; told once.
    pub fn take_silent(&self) -> bool {
        self.silent.swap(false, Ordering::AcqRel)
    }
}

/// Reads, and hands over what it read.
pub struct Reader<'a> {
    source: Source,
    out: Out<'a>,
}

enum Source {
    Tone(Tone),
    Card(Box<Card>),
}

/// A card and what its periods go through.
struct Card {
    capture: Capture,
    name: String,
    clock: Clock,
    mix: Mix,
    resampler: Resampler,
    zeros: Zeros,
    /// One period as it comes, and in the track's channels.
    raw: Vec<f32>,
    mixed: Vec<f32>,
}

/// Where blocks go.
struct Out<'a> {
    stage: &'a Stage,
    status: &'a Status,
    channels: usize,
    producer: Producer<'a, Block>,
    encoder: Thread,
    block: Block,
}

impl<'a> Reader<'a> {
    /// For a thread; the one that calls this encodes.
    pub fn new(
        stage: &'a Stage,
        microphone: &config::Microphone,
        producer: Producer<'a, Block>,
        status: &'a Status,
        input: Input,
    ) -> Result<Self, String> {
        let channels = microphone.channels();
        let source = match input {
            Input::Tone => Source::Tone(Tone::default()),
            Input::Card(capture, name) => Source::Card(Box::new(Card::new(capture, name, microphone)?)),
        };
        let block = Block::first(0);
        Ok(Self { source, out: Out { stage, status, channels, producer, encoder: thread::current(), block } })
    }

    /// Until it is to stop, or the card is lost: the error says why.
    pub fn run(self) -> Result<(), String> {
        let Self { source, mut out } = self;
        let result = match source {
            Source::Tone(tone) => {
                play(tone, &mut out);
                Ok(())
            }
            Source::Card(card) => {
                urgency::take(&card.name);
                card.run(&mut out)
            }
        };
        out.status.ended.store(true, Ordering::Release);
        out.encoder.unpark();
        result
    }
}

/// Paced by the monotonic clock, as a card would be by its own.
fn play(mut tone: Tone, out: &mut Out<'_>) {
    let mut samples = [0; TONE_PERIOD * MAX_CHANNELS];
    let samples = &mut samples[..TONE_PERIOD * out.channels];
    let mut from_ns = monotonic_ns();
    while !out.stage.wanted.stop() {
        out.turned();
        let due = from_ns + to_ns(TONE_PERIOD as u64);
        let now = monotonic_ns();
        if now < due {
            thread::park_timeout(Duration::from_nanos(due - now));
            continue;
        }
        if now - due > STALL_NS {
            from_ns = now;
            out.block.gap = true;
            continue;
        }
        tone.fill_with_beep(samples, out.channels, from_ns);
        out.period();
        out.hand_over(samples.iter().copied(), from_ns);
        from_ns = due;
    }
}

impl Card {
    fn new(capture: Capture, name: String, microphone: &config::Microphone) -> Result<Self, String> {
        let (setup, channels) = (capture.setup(), microphone.channels());
        let named = |why| format!("{name}: {why}");
        let mix = Mix::new(&microphone.input_channels, setup.channels as usize, channels).map_err(named)?;
        Ok(Self {
            mix,
            clock: Clock::new(setup.rate),
            resampler: Resampler::new(setup.rate, setup.period, channels)?,
            zeros: Zeros::new(setup.rate),
            raw: vec![0.0; setup.period * setup.channels as usize],
            mixed: vec![0.0; setup.period * channels],
            capture,
            name,
        })
    }

    fn run(mut self, out: &mut Out<'_>) -> Result<(), String> {
        let mut nothing = Duration::ZERO;
        while !out.stage.wanted.stop() {
            out.turned();
            match self.capture.read(&mut self.raw, STOP_CHECK) {
                Period::Samples { captured_ns } => {
                    nothing = Duration::ZERO;
                    self.period(captured_ns, out);
                }
                Period::Xrun => {
                    out.lost_one();
                    out.status.overruns.fetch_add(1, Ordering::AcqRel);
                    self.restart(out);
                    self.clock.restart();
                }
                Period::Silent => {
                    nothing += STOP_CHECK;
                    if nothing >= NO_SAMPLES {
                        return Err(format!("{}: no samples for {} s", self.name, NO_SAMPLES.as_secs()));
                    }
                }
                Period::Gone(why) => return Err(format!("{}: the sound card is gone ({why})", self.name)),
            }
        }
        Ok(())
    }

    fn restart(&mut self, out: &mut Out<'_>) {
        self.resampler.reset();
        out.block.gap = true;
    }

    fn period(&mut self, stamp_ns: u64, out: &mut Out<'_>) {
        let setup = self.capture.setup();
        let timed = self.clock.observe(setup.period, stamp_ns);
        if timed.step {
            self.restart(out);
        }
        if self.zeros.last_for_long(&self.raw, setup.period) {
            out.status.silent.store(true, Ordering::Release);
        }
        out.period();
        let end_ns = stamp_ns + setup.period as u64 * 1_000_000_000 / u64::from(setup.rate);
        out.stage.outlet.counters.stages.since(OwnerStage::Capture, end_ns);
        self.mix.apply(&self.raw, &mut self.mixed);
        // What comes out began as much earlier as the resampler still holds.
        let ns_per_sample = self.clock.ns_per_frame() * f64::from(setup.rate) / RATE as f64;
        let behind = self.resampler.behind() as f64 * ns_per_sample;
        let mut from_ns = timed.captured_ns.saturating_sub(behind as u64);
        let sound = self.resampler.process(&self.mixed);
        let whole = |sample: &f32| (sample * 32_768.0).round() as i16;
        for part in sound.chunks(MAX_BLOCK * out.channels) {
            out.hand_over(part.iter().map(whole), from_ns);
            from_ns += ((part.len() / out.channels) as f64 * ns_per_sample) as u64;
        }
    }
}

impl Out<'_> {
    fn turned(&self) {
        self.status.turned.store(true, Ordering::Release);
    }

    fn period(&self) {
        self.stage.outlet.counters.captured.fetch_add(1, Ordering::Relaxed);
    }

    /// Samples that fit into a block, the first of which was captured at `captured_ns`. Dropped when there is no room.
    fn hand_over(&mut self, samples: impl ExactSizeIterator<Item = i16>, captured_ns: u64) {
        self.block.frames = samples.len() / self.channels;
        self.block.captured_ns = captured_ns;
        for (place, sample) in self.block.samples.iter_mut().zip(samples) {
            *place = sample;
        }
        self.stage.outlet.meter.add(&self.block.samples[..self.block.frames * self.channels]);
        let taken = self.producer.enqueue(self.block).is_ok();
        if !taken {
            self.lost_one();
        }
        self.block.gap = !taken;
        self.encoder.unpark();
    }

    fn lost_one(&self) {
        self.stage.outlet.counters.dropped.fetch_add(1, Ordering::Relaxed);
    }
}

/// Looks for samples that are zero and nothing else.
#[derive(Debug)]
struct Zeros {
    frames: usize,
    limit: usize,
}

impl Zeros {
    fn new(rate: u32) -> Self {
        Self { frames: 0, limit: rate as usize * SILENCE.as_secs() as usize }
    }

    /// Whether with this period it has just become too long; once, until there is sound.
    fn last_for_long(&mut self, samples: &[f32], frames: usize) -> bool {
        if samples.iter().any(|sample| *sample != 0.0) {
            self.frames = 0;
            return false;
        }
        let before = self.frames;
        self.frames = before.saturating_add(frames);
        before < self.limit && self.frames >= self.limit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_seconds_of_zeros_are_told_once_until_there_is_sound() {
        let mut zeros = Zeros::new(48_000);
        let mut told = |sample: f32, periods: usize| {
            let told = (0..periods).filter(|_| zeros.last_for_long(&[0.0, sample], 480)).count();
            (told, periods)
        };
        assert_eq!(told(0.0, 999).0, 0);
        assert_eq!(told(0.0, 1).0, 1);
        assert_eq!(told(0.0, 5_000).0, 0);
        assert_eq!(told(-1.0 / 32_768.0, 1).0, 0);
        assert_eq!(told(0.0, 1_000).0, 1);
    }
}
