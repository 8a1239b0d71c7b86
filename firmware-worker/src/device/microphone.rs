//! The microphone's threads: one reads periods and allocates nothing after its start, one encodes and publishes. A
//! bounded queue lies between them, so that an encoder that is late never costs the card a period.

use super::assembler::{Assembler, Block, MAX_CHANNELS, MAX_PERIOD, Packet};
use super::outlet::Outlet;
use super::pipeline::{Event, Pipeline, Stage};
use super::timeline::{Timeline, to_ns};
use crate::config::{self, MicrophoneDevice};
use crate::media::opus;
use crate::media::tone::Tone;
use hal::audio::{Capture, Period};
use hal::process::monotonic_ns;
use hal::ring::{DISCONTINUITY, KEY, Layout, Meta};
use heapless::spsc::{Consumer, Producer, Queue};
use protocol::device::Keying;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, Thread};
use std::time::Duration;

/// Descriptors of the ring: two and a half seconds of packets.
const SLOTS: u32 = 128;
/// Bytes of the ring: as many of Opus' largest packets as there are descriptors.
const ARENA: u32 = SLOTS * 1280;
/// Periods between the two threads: 160 ms, more than an encoder is ever late on a board that keeps up at all. When
/// full, new periods are dropped and counted, and the next packet says so.
const QUEUE: usize = 16;
/// A tone's period: 10 ms.
const TONE_PERIOD: usize = 480;
/// A tone that is this far behind, because the process was stopped, starts anew instead of catching up.
const STALL_NS: u64 = 500_000_000;
/// How often a thread without samples looks whether it is to stop; bounds how long closing takes.
const STOP_CHECK: Duration = Duration::from_millis(100);
/// A card that gives nothing for this long is taken as lost.
const SILENCE_LIMIT: Duration = Duration::from_secs(3);

/// The ring of any microphone.
pub const LAYOUT: Layout = Layout { slots: SLOTS, arena: ARENA };

/// Opens the microphone on threads of its own; what happens comes as events. `tone` allows an automatic microphone to be
/// the tone where there is no card.
pub fn start(microphone: &config::Microphone, tone: bool, outlet: Arc<Outlet>) -> io::Result<Pipeline> {
    let microphone = microphone.clone();
    Pipeline::spawn("microphone", outlet, move |stage| {
        let input = Input::open(&microphone, tone)?;
        let description = format!("{} opus {} kbit/s", input.name(), microphone.bitrate / 1000);
        stage.tell(Event::Running {
            description,
            hardware: matches!(input, Input::Card(..)),
            encoder: None,
            keying: Keying::default(),
        });
        run(stage, &microphone, input)
    })
}

/// Whether an automatic microphone, a tone so far, has a card now.
pub fn appeared(microphone: &config::Microphone) -> bool {
    microphone.device == MicrophoneDevice::Auto && first_card().is_some()
}

fn first_card() -> Option<String> {
    hal::audio::list().into_iter().find(|card| card.capture).map(|card| card.name)
}

/// Encodes on this thread what another reads from `input`.
fn run(stage: &Stage, microphone: &config::Microphone, input: Input) -> Result<(), String> {
    let mut queue = Box::new(Queue::<Block, QUEUE>::new());
    let (producer, consumer) = queue.split();
    let mut packets = Packets::new(stage, microphone);
    let ended = AtomicBool::new(false);
    let reader = Reader { stage, channels: microphone.channels(), producer, encoder: thread::current() };
    thread::scope(|scope| {
        let capture = thread::Builder::new()
            .name("mic-capture".into())
            .spawn_scoped(scope, || {
                let result = reader.run(input);
                ended.store(true, Ordering::Release);
                result
            })
            .map_err(|e| format!("microphone: start a thread: {e}"))?;
        let encoded = drain(consumer, &ended, &mut packets);
        if encoded.is_err() {
            stage.wanted.give_up();
        }
        let captured = capture.join().unwrap_or_else(|_| Err("microphone: its capture thread failed".into()));
        encoded.and(captured)
    })
}

fn drain(mut consumer: Consumer<'_, Block>, ended: &AtomicBool, packets: &mut Packets<'_>) -> Result<(), String> {
    loop {
        let last = ended.load(Ordering::Acquire);
        while let Some(block) = consumer.dequeue() {
            packets.push(&block)?;
        }
        if last {
            return Ok(());
        }
        thread::park_timeout(STOP_CHECK);
    }
}

/// What periods are read from.
enum Input {
    Tone,
    Card(Capture, String),
}

impl Input {
    fn open(microphone: &config::Microphone, tone: bool) -> Result<Self, String> {
        let name = match &microphone.device {
            MicrophoneDevice::Tone => return Ok(Self::Tone),
            MicrophoneDevice::Alsa(name) => name.clone(),
            MicrophoneDevice::Auto => match first_card() {
                Some(name) => name,
                None if tone => return Ok(Self::Tone),
                None => return Err("no sound card captures".into()),
            },
        };
        let capture = Capture::start(&name, microphone.channels).map_err(|e| e.to_string())?;
        if capture.period() > MAX_PERIOD {
            return Err(format!("{name}: periods of {} frames, {MAX_PERIOD} at most", capture.period()));
        }
        Ok(Self::Card(capture, name))
    }

    fn name(&self) -> String {
        match self {
            Self::Tone => "tone 440 Hz".into(),
            Self::Card(capture, name) => format!("{name} {} ch", capture.channels()),
        }
    }
}

impl config::Microphone {
    fn channels(&self) -> usize {
        usize::from(self.channels).clamp(1, MAX_CHANNELS)
    }
}

/// The capture thread.
struct Reader<'a> {
    stage: &'a Stage,
    channels: usize,
    producer: Producer<'a, Block>,
    encoder: Thread,
}

impl Reader<'_> {
    fn run(mut self, input: Input) -> Result<(), String> {
        match input {
            Input::Tone => {
                self.tone();
                Ok(())
            }
            Input::Card(capture, name) => self.card(capture, &name),
        }
    }

    /// Paced by the monotonic clock, as a card would be by its own.
    fn tone(&mut self) {
        let mut tone = Tone::default();
        let mut block = Block { captured_ns: monotonic_ns(), ..Block::first(TONE_PERIOD) };
        while !self.stage.wanted.stop() {
            let due = block.captured_ns + to_ns(TONE_PERIOD as u64);
            let now = monotonic_ns();
            if now < due {
                thread::park_timeout(Duration::from_nanos(due - now));
                continue;
            }
            if now - due > STALL_NS {
                block.captured_ns = now;
                block.gap = true;
                continue;
            }
            tone.fill(&mut block.samples[..TONE_PERIOD * self.channels], self.channels);
            block.gap = !self.hand_over(&block);
            block.captured_ns = due;
        }
    }

    fn card(&mut self, mut capture: Capture, name: &str) -> Result<(), String> {
        let (period, delivered) = (capture.period(), usize::from(capture.channels()).max(1));
        let mut raw = vec![0i16; period * delivered];
        let mut block = Block::first(period);
        let mut silent = Duration::ZERO;
        while !self.stage.wanted.stop() {
            match capture.read(&mut raw, STOP_CHECK) {
                Period::Samples { captured_ns } => {
                    silent = Duration::ZERO;
                    remix(&raw, delivered, &mut block.samples, self.channels);
                    block.captured_ns = captured_ns;
                    block.gap = !self.hand_over(&block);
                }
                Period::Xrun => {
                    self.lost_one();
                    block.gap = true;
                }
                Period::Silent => {
                    silent += STOP_CHECK;
                    if silent >= SILENCE_LIMIT {
                        return Err(format!("{name}: no samples for {} s", SILENCE_LIMIT.as_secs()));
                    }
                }
                Period::Gone => return Err(format!("{name}: the sound card is gone")),
            }
        }
        Ok(())
    }

    /// Whether there was room.
    fn hand_over(&mut self, block: &Block) -> bool {
        self.stage.outlet.counters.captured.fetch_add(1, Ordering::Relaxed);
        let taken = self.producer.enqueue(*block).is_ok();
        if !taken {
            self.lost_one();
        }
        self.encoder.unpark();
        taken
    }

    fn lost_one(&self) {
        self.stage.outlet.counters.dropped.fetch_add(1, Ordering::Relaxed);
    }
}

/// From the card's channels to the wanted ones: the mean for one, the first ones or copies of the only one for more.
fn remix(from: &[i16], channels: usize, to: &mut [i16], wanted: usize) {
    for (source, target) in from.chunks_exact(channels).zip(to.chunks_exact_mut(wanted)) {
        if wanted == 1 {
            let sum: i32 = source.iter().map(|&s| i32::from(s)).sum();
            target[0] = (sum / channels as i32) as i16;
        } else {
            for (i, sample) in target.iter_mut().enumerate() {
                *sample = source[i.min(channels - 1)];
            }
        }
    }
}

/// The encode thread: packets are gathered, encoded while someone listens, and published.
struct Packets<'a> {
    assembler: Assembler,
    press: Press<'a>,
}

/// Encodes and publishes one packet after the other.
struct Press<'a> {
    stage: &'a Stage,
    channels: usize,
    bitrate: u32,
    encoder: Option<opus::Encoder>,
    timeline: Timeline,
    unit: Vec<u8>,
}

impl<'a> Packets<'a> {
    fn new(stage: &'a Stage, microphone: &config::Microphone) -> Self {
        let channels = microphone.channels();
        let timeline = Timeline::after(stage.outlet.last());
        let bitrate = microphone.bitrate;
        let press = Press { stage, channels, bitrate, encoder: None, timeline, unit: Vec::new() };
        Self { assembler: Assembler::new(channels), press }
    }

    fn push(&mut self, block: &Block) -> Result<(), String> {
        if self.press.stage.wanted.encode() {
            return self.assembler.push(block, |packet| self.press.publish(&packet));
        }
        self.press.rest();
        self.assembler.restart();
        Ok(())
    }
}

impl Press<'_> {
    fn publish(&mut self, packet: &Packet<'_>) -> Result<(), String> {
        let outlet = &self.stage.outlet;
        let encoder = match &mut self.encoder {
            Some(encoder) => encoder,
            none => {
                let encoder = opus::Encoder::new(self.channels as u8, self.bitrate).map_err(|e| e.to_string())?;
                outlet.counters.encoders.store(1, Ordering::Relaxed);
                none.insert(encoder)
            }
        };
        encoder.encode(packet.pcm, &mut self.unit).map_err(|e| e.to_string())?;
        let meta = Meta {
            captured_ns: packet.captured_ns,
            position: self.timeline.place(packet.captured_ns, packet.gap),
            flags: KEY | if packet.gap { DISCONTINUITY } else { 0 },
            epoch: self.stage.wanted.epoch(),
            level: opus::level(packet.pcm),
            ..Meta::default()
        };
        outlet.publish(meta, &self.unit).map_err(|e| e.to_string())
    }

    /// Nobody listens: the encoder's memory is given back.
    fn rest(&mut self) {
        if self.encoder.take().is_some() {
            self.stage.outlet.counters.encoders.store(0, Ordering::Relaxed);
        }
    }
}

impl Drop for Press<'_> {
    fn drop(&mut self) {
        self.rest();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channels_are_mixed_to_one_and_copied_or_cut_to_two() {
        let mut mono = [0; 2];
        remix(&[100, 300, i16::MAX, i16::MAX], 2, &mut mono, 1);
        assert_eq!(mono, [200, i16::MAX]);
        let mut stereo = [0; 4];
        remix(&[5, 6], 1, &mut stereo, 2);
        assert_eq!(stereo, [5, 5, 6, 6]);
        remix(&[1, 2, 3, 4, 5, 6, 7, 8], 4, &mut stereo, 2);
        assert_eq!(stereo, [1, 2, 5, 6]);
    }
}
