//! The speaker's thread, paced by the card: it mixes what jobs have written, a period at a time, and plays silence when
//! they have not.

mod inlet;
mod reference;
mod trial;
mod voice;

pub use inlet::Inlet;
pub use trial::{Heard, SpeakerTrial};

use super::pipeline::{Event, Events, Failure, Pipeline, Wanted};
use super::told::Told;
use super::urgency;
use crate::config::{self, SpeakerDevice};
use hal::audio::{Identity, Playback, Turn, Use, auto, find, mixer, set_playback};
use hal::ring::pcm;
use protocol::device::Keying;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};
use voice::Beat;

/// How often a thread whose card takes nothing looks whether it is to stop; bounds how long closing takes.
const STOP_CHECK: Duration = Duration::from_millis(100);
/// A card that takes nothing for this long is taken as lost.
const STUCK_LIMIT: Duration = Duration::from_secs(3);

/// Opens the speaker on a thread of its own; what happens comes as events.
pub fn start(speaker: &config::Speaker, inlet: Arc<Inlet>) -> io::Result<Pipeline> {
    let speaker = speaker.clone();
    Pipeline::launch("speaker", move |wanted, events| {
        let name = match &speaker.device {
            SpeakerDevice::Card(name) => pcm_of(name)?,
            SpeakerDevice::Auto => auto(&hal::audio::list(), Use::Play)?.name.clone(),
        };
        wanted.drives(&name);
        let playback = Playback::start(&name, speaker.channels)?;
        let description = format!("{name} {}{}", playback.shape(), apply(&name, &speaker));
        inlet.begin(Beat { period: playback.period(), rate: playback.shape().rate });
        urgency::take(&name);
        events.tell(Event::Running { description, hardware: true, encoder: None, keying: Keying::default() });
        Ok::<_, Failure>(run(&name, playback, &inlet, wanted, events)?)
    })
}

/// The PCM that is meant. What libasound knows by other names is its own to resolve.
fn pcm_of(name: &str) -> Result<String, Failure> {
    match Identity::parse(name) {
        Ok(Identity::Alsa(name)) => Ok(name),
        Ok(identity) => Ok(find(&identity, &hal::audio::list(), |card| card.playback)?.name.clone()),
        Err(why) => Err(format!("{name}: {why}").into()),
    }
}

/// Sets the card's mixer. A card without one, or with one that refuses, is played as it is.
fn apply(name: &str, speaker: &config::Speaker) -> String {
    let wish = mixer::Wish { volume: speaker.volume.map(Into::into), mute: speaker.mute };
    match set_playback(name, wish) {
        Ok(Some(set)) => format!(", {set}"),
        Ok(None) if wish == mixer::Wish::default() => String::new(),
        Ok(None) => ", whose mixer has nothing to set".into(),
        Err(error) => format!(", its volume could not be set: {error}"),
    }
}

fn run(name: &str, mut playback: Playback, inlet: &Inlet, wanted: &Wanted, events: &Events) -> Result<(), String> {
    let mut frames = vec![[0; 2]; playback.period()];
    let (mut stuck, mut underruns) = (Duration::ZERO, Told::default());
    while !wanted.stop() {
        wanted.turned();
        let mut turn = playback.wait(STOP_CHECK);
        if turn == Turn::Ready {
            stuck = Duration::ZERO;
            // As late as possible: what a job writes now is heard with this period.
            inlet.mix(pcm::now_us(), &mut frames, |reader, why| {
                events.tell(Event::Violated(reader, why.to_string()));
            });
            turn = playback.write(&frames);
        }
        match turn {
            Turn::Ready => {
                inlet.counters.played.fetch_add(1, Relaxed);
                inlet.played(&frames, playback.leaves_ns());
            }
            Turn::Xrun => {
                inlet.counters.xruns.fetch_add(1, Relaxed);
                inlet.missed();
                if let Some(count) = underruns.note(1, Instant::now()) {
                    events.tell(Event::Warned(underrun(name, count)));
                }
            }
            Turn::Stuck => {
                stuck += STOP_CHECK;
                if stuck >= STUCK_LIMIT {
                    return Err(format!("{name}: takes no samples for {} s", STUCK_LIMIT.as_secs()));
                }
            }
            Turn::Gone => return Err(format!("{name}: the sound card is gone")),
        }
    }
    Ok(())
}

fn underrun(name: &str, count: u64) -> String {
    let late = urgency::LATE;
    format!("{name}: gaps in what it plays, as the card ran dry or slept ({late}); {count} since this was told last")
}

#[cfg(test)]
mod tests;
