//! The microphone's threads: one reads periods and allocates nothing after its start, one encodes and publishes. A
//! bounded queue lies between them, so that an encoder that is late never costs the card a period.
//!
//! ```text
//! card -> channels -> 48 kHz -> blocks (with filtered time) | queue | packets -> Opus -> ring
//! ```

mod assembler;
mod clock;
mod mix;
mod press;
mod reader;
mod timeline;

#[cfg(test)]
mod tests;

use super::outlet::Outlet;
use super::pipeline::{Event, Failure, Pipeline, Stage};
use super::told::Told;
use super::urgency;
use crate::config::{self, MicrophoneDevice};
use assembler::{Block, MAX_CHANNELS};
use hal::audio::{Capture, Identity, Use, auto, mixer};
use hal::ring::Layout;
use heapless::spsc::{Consumer, Queue};
use press::Packets;
use protocol::device::Keying;
use reader::{Reader, Status};
use std::io;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

/// Descriptors of the ring: two and a half seconds of the usual packets.
const SLOTS: u32 = 128;
/// Bytes of the ring: as many of Opus' largest packets as there are descriptors.
const ARENA: u32 = SLOTS * 1280;
/// Blocks between the two threads: 160 ms, more than an encoder is ever late on a board that keeps up at all. When
/// full, new blocks are dropped and counted, and the next packet says so.
const QUEUE: usize = 16;
/// How often a thread without samples looks whether it is to stop; bounds how long closing takes.
const STOP_CHECK: Duration = Duration::from_millis(100);

/// The ring of any microphone.
pub const LAYOUT: Layout = Layout { slots: SLOTS, arena: ARENA };

/// Opens the microphone on threads of its own; what happens comes as events. `tone` allows an automatic microphone to be
/// the tone where there is no card.
pub fn start(microphone: &config::Microphone, tone: bool, outlet: Arc<Outlet>) -> io::Result<Pipeline> {
    let microphone = microphone.clone();
    Pipeline::spawn("microphone", outlet, move |stage| {
        let input = Input::open(stage, &microphone, tone)?;
        Ok::<_, Failure>(run(stage, &microphone, input)?)
    })
}

/// Whether an automatic microphone, a tone so far, has a card now.
pub fn appeared(microphone: &config::Microphone) -> bool {
    microphone.device == MicrophoneDevice::Auto && auto(&hal::audio::list(), Use::Capture).is_ok()
}

/// The PCM that is meant. What libasound knows by other names is its own to resolve.
fn pcm_of(identity: &Identity) -> Result<String, hal::audio::Error> {
    match identity {
        Identity::Alsa(name) => Ok(name.clone()),
        Identity::Auto => auto(&hal::audio::list(), Use::Capture).map(|card| card.name.clone()),
        other => hal::audio::find(other, &hal::audio::list(), |card| card.capture).map(|card| card.name.clone()),
    }
}

/// Encodes on this thread what another reads from `input`.
fn run(stage: &Stage, microphone: &config::Microphone, input: Input) -> Result<(), String> {
    let mut queue = Box::new(Queue::<Block, QUEUE>::new());
    let (producer, consumer) = queue.split();
    let mut packets = Packets::new(stage, microphone);
    let status = Status::default();
    let description = format!("{}, opus {} kbit/s", input.description(), microphone.bitrate / 1000);
    let (hardware, name) = (matches!(input, Input::Card(..)), input.name().to_owned());
    let reader = Reader::new(stage, microphone, producer, &status, input)?;
    stage.tell(Event::Running { description, hardware, encoder: None, keying: Keying::default() });
    thread::scope(|scope| {
        let capture = thread::Builder::new()
            .name("mic-capture".into())
            .spawn_scoped(scope, move || reader.run())
            .map_err(|e| format!("microphone: start a thread: {e}"))?;
        let encoded = drain(consumer, &status, &mut packets, stage, &name);
        if encoded.is_err() {
            stage.wanted.give_up();
        }
        let captured = capture.join().unwrap_or_else(|_| Err("microphone: its capture thread failed".into()));
        encoded.and(captured)
    })
}

fn drain(
    mut consumer: Consumer<'_, Block>,
    status: &Status,
    packets: &mut Packets<'_>,
    stage: &Stage,
    name: &str,
) -> Result<(), String> {
    let mut overruns = Told::default();
    loop {
        let last = status.ended();
        if status.take_turned() {
            stage.wanted.turned();
        }
        while let Some(block) = consumer.dequeue() {
            packets.push(&block)?;
        }
        if status.take_silent() {
            report_silence(name);
        }
        if let Some(count) = overruns.note(status.take_overruns(), Instant::now()) {
            report_overruns(name, count);
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
    fn open(stage: &Stage, microphone: &config::Microphone, tone: bool) -> Result<Self, Failure> {
        let identity = match &microphone.device {
            MicrophoneDevice::Tone => return Ok(Self::Tone),
            MicrophoneDevice::Card(text) => Identity::parse(text).map_err(ToOwned::to_owned)?,
            MicrophoneDevice::Auto => Identity::Auto,
        };
        let name = match pcm_of(&identity) {
            Ok(name) => name,
            Err(_) if identity == Identity::Auto && tone => return Ok(Self::Tone),
            Err(error) => return Err(error.into()),
        };
        stage.wanted.drives(&name);
        set_mixer(&name, microphone);
        let wanted = mix::wanted(&microphone.input_channels, microphone.channels());
        let capture = Capture::start(&name, wanted)?;
        Ok(Self::Card(capture, name))
    }

    fn name(&self) -> &str {
        match self {
            Self::Tone => "tone",
            Self::Card(_, name) => name,
        }
    }

    fn description(&self) -> String {
        match self {
            Self::Tone => "tone 440 Hz".into(),
            Self::Card(capture, name) => format!("{name} {}", capture.setup()),
        }
    }
}

/// What the card was set to by hand, or never was, must not decide whether it is heard.
fn set_mixer(name: &str, microphone: &config::Microphone) {
    let wish = mixer::Wish { volume: microphone.volume.map(Into::into), mute: microphone.mute };
    match mixer::set_capture(name, wish) {
        Ok(Some(element)) => tracing::info!("{name}: mixer {element}"),
        Ok(None) => tracing::debug!("{name}: its mixer has nothing to set for capture"),
        Err(why) if microphone.volume.is_some() || microphone.mute => {
            tracing::warn!("{name}: volume and mute are not set: {why}");
        }
        Err(why) => tracing::debug!("{name}: no mixer: {why}"),
    }
}

fn report_silence(name: &str) {
    let mixer = match mixer::capture(name) {
        Ok(Some(element)) => format!("its mixer says {element}"),
        Ok(None) => "its mixer has nothing to set".into(),
        Err(why) => format!("its mixer cannot be read: {why}"),
    };
    tracing::warn!(
        "{name}: {} s of exact digital silence; {mixer}; look for a switch on the microphone or an empty jack, or set \
         `volume` of this [[microphone]]",
        reader::SILENCE.as_secs()
    );
}

fn report_overruns(name: &str, count: u64) {
    tracing::warn!(
        "{name}: gaps in its sound, as the card was not read in time or slept ({}); {count} since this was told last",
        urgency::LATE
    );
}

impl config::Microphone {
    fn channels(&self) -> usize {
        usize::from(self.channels).clamp(1, MAX_CHANNELS)
    }
}
