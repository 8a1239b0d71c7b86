//! `bench echo`: how much later and softer a microphone of this board hears its speaker. Both run as their owners run them:
//! what was played, and when, is the speaker's reference; what was heard, and when, is what jobs would send.

use super::super::{configuration_error, exit, trial};
use super::spread;
use crate::config::{Device, DeviceKind, Microphone, OpusApplication, Speaker};
use crate::device::{Failure, SpeakerTrial, Trial};
use crate::media::echo::{self, Echo, Noise, RATE};
use hal::ring::pcm::Frame;
use hal::ring::{DISCONTINUITY, Meta, Next, Reader};
use opusic_c::{Channels, Decoder, SampleRate};
use serde_json::{Value, json};
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Until both cards are open.
const OPENING: Duration = Duration::from_secs(10);
/// Of noise before anything is compared: the speaker's speed has come to rest.
const SETTLING: Duration = Duration::from_secs(2);
/// A microphone that gives nothing for this long has stopped.
const SILENCE: Duration = Duration::from_secs(5);
/// Frames at a time, 10 ms of the writer's clock.
const STEP: usize = 480;
/// Samples that are looked for at a time.
const PIECE: usize = RATE as usize;
/// Samples by which an echo may seem earlier than its sound, because clocks are read a little late, and later.
const EARLIEST: usize = RATE as usize / 20;
const LATEST: usize = RATE as usize / 2;
/// Samples that Opus holds back at its lowest delay.
const LOOK_AHEAD: usize = 120;

const MEASURED: &str = "from the moment a sound leaves the speaker's card to that at which the microphone's card takes it, by the \
                        times that both drivers give; attenuation of the strongest path";

pub(in crate::cli) fn print(
    config: Option<&Path>,
    speaker: &str,
    microphone: &str,
    seconds: u32,
    json: bool,
) -> ExitCode {
    let speaker = trial::device(config, speaker, |kind| matches!(kind, DeviceKind::Speaker(_)));
    let microphone = trial::device(config, microphone, |kind| matches!(kind, DeviceKind::Microphone(_)));
    let (speaker, microphone) = match (speaker, microphone) {
        (Ok(speaker), Ok(microphone)) => (speaker, plain(microphone)),
        (Err(error), _) | (_, Err(error)) => return configuration_error(&error),
    };
    match Pair::open(&speaker, &microphone).and_then(|pair| pair.measure(&speaker, &microphone, seconds)) {
        Ok(results) if json => println!("{:#}", results.json(&speaker.name, &microphone.name)),
        Ok(results) => print!("{}", results.text(&speaker.name, &microphone.name)),
        Err(why) => {
            eprintln!("firmware-worker: {why}");
            return exit::FAILURE.into();
        }
    }
    ExitCode::SUCCESS
}

/// One channel, coded so that its samples keep their shape.
fn plain(device: Device) -> Device {
    let DeviceKind::Microphone(microphone) = device.kind else { return device };
    let application = OpusApplication::LowDelay;
    let changed =
        Microphone { channels: 1, bitrate: 256_000, frame_ms: 10, dtx: false, fec: false, application, ..microphone };
    Device { kind: DeviceKind::Microphone(changed), ..device }
}

/// Samples without a gap, and when the first of them was, by every time that was given with them.
#[derive(Debug, Default)]
struct Track {
    samples: Vec<f32>,
    next: u64,
    /// CLOCK_MONOTONIC ns at the first sample.
    starts: Vec<u64>,
}

impl Track {
    fn add(&mut self, meta: &Meta, samples: impl Iterator<Item = f32>) {
        if meta.flags & DISCONTINUITY != 0 || meta.position != self.next {
            self.samples.clear();
            self.starts.clear();
        }
        self.starts.push(meta.captured_ns.saturating_sub(self.samples.len() as u64 * 1_000_000_000 / RATE));
        let before = self.samples.len();
        self.samples.extend(samples);
        self.next = meta.position + (self.samples.len() - before) as u64;
    }

    /// Each time is a little late or early; the middle one is neither.
    fn start_ns(&self) -> Option<i64> {
        let mut starts = self.starts.clone();
        starts.sort_unstable();
        starts.get(starts.len() / 2).map(|start| *start as i64)
    }
}

/// A speaker and a microphone that run.
struct Pair {
    speaker: SpeakerTrial,
    reference: Reader,
    microphone: Trial,
    decoder: Decoder,
    noise: Noise,
    /// When the next frames are due to be written.
    due: Instant,
    played: Track,
    heard: Track,
}

impl Pair {
    fn open(speaker: &Device, microphone: &Device) -> Result<Self, String> {
        let DeviceKind::Speaker(config) = &speaker.kind else { unreachable!("only a speaker is fit") };
        let of_speaker = |failure| format!("{}: {}", speaker.name, trial::explain(speaker, failure));
        let of_microphone = |why: String| format!("{}: {why}", microphone.name);
        let opened = start_speaker(&speaker.name, config).map_err(of_speaker)?;
        let mut heard = trial::open(microphone).map_err(of_microphone)?;
        let first = heard.next(OPENING).map_err(|failure| of_microphone(trial::explain(microphone, failure)))?;
        first.ok_or_else(|| of_microphone(format!("nothing in {} s", OPENING.as_secs())))?;
        Ok(Self {
            reference: opened.reference().map_err(of_speaker)?,
            speaker: opened,
            microphone: heard,
            decoder: Decoder::new(Channels::Mono, SampleRate::Hz48000).map_err(|e| format!("Opus decoder: {e:?}"))?,
            noise: Noise::default(),
            due: Instant::now(),
            played: Track::default(),
            heard: Track::default(),
        })
    }

    fn measure(mut self, speaker: &Device, microphone: &Device, seconds: u32) -> Result<Results, String> {
        let failed = |failure| format!("{}: {}", microphone.name, trial::explain(microphone, failure));
        let begun = Instant::now();
        let mut results = Results::default();
        while begun.elapsed() < SETTLING {
            self.turn().map_err(failed)?;
        }
        (self.played, self.heard) = (Track::default(), Track::default());
        while begun.elapsed() < SETTLING + Duration::from_secs(seconds.into()) || results.pieces == 0 {
            self.turn().map_err(failed)?;
            // A card that runs dry all the time never gives a whole piece.
            if begun.elapsed() > SETTLING + OPENING + Duration::from_secs(seconds.into()) {
                return Err(format!("{}: no second without a gap", speaker.name));
            }
            if let Some(echo) = self.compare() {
                results.add(echo);
                (self.played, self.heard) = (Track::default(), Track::default());
                // What could not be written meanwhile is not made up for.
                self.due = Instant::now();
            }
        }
        let described = self.speaker.description().map_err(|failure| trial::explain(speaker, failure))?;
        results.speaker = described.unwrap_or_default().to_owned();
        results.microphone = self.microphone.description().to_owned();
        Ok(results)
    }

    /// The next packet of the microphone, and what is due at the speaker.
    fn turn(&mut self) -> Result<(), Failure> {
        while self.due <= Instant::now() {
            let mut frames: [Frame; STEP] = [[0; 2]; STEP];
            frames.iter_mut().zip(&mut self.noise).for_each(|(frame, sample)| *frame = [sample; 2]);
            self.speaker.write(&frames);
            self.due += Duration::from_millis(10);
        }
        self.speaker.description()?;
        let mut unit = Vec::new();
        while let Next::Unit(meta) = self.reference.next(&mut unit) {
            let samples = unit.as_chunks().0.iter().map(|sample| f32::from(i16::from_ne_bytes(*sample)) / 32_768.0);
            self.played.add(&meta, samples);
        }
        let meta = self.microphone.next(SILENCE)?.ok_or_else(|| format!("nothing in {} s", SILENCE.as_secs()))?;
        let mut samples = [0.0; STEP];
        let decoded = self.decoder.decode_float_to_slice(self.microphone.unit(), &mut samples, false);
        let count = decoded.map_err(|e| format!("Opus decoder: {e:?}"))?;
        self.heard.add(&meta, samples[..count].iter().copied());
        Ok(())
    }

    /// Once there is enough of both: where the sound is, if it is heard.
    fn compare(&self) -> Option<Option<(f64, Echo)>> {
        let (played_ns, heard_ns) = (self.played.start_ns()?, self.heard.start_ns()?);
        // Samples of the one before the first of the other.
        let offset = (heard_ns - played_ns) * RATE as i64 / 1_000_000_000 - LOOK_AHEAD as i64;
        let from = usize::try_from(offset).unwrap_or(0) + EARLIEST;
        let piece = self.played.samples.get(from..from + PIECE)?;
        let first = usize::try_from(from as i64 - EARLIEST as i64 - offset).ok()?;
        let searched = self.heard.samples.get(first..first + EARLIEST + PIECE + LATEST)?;
        let late = |lag: usize| (lag as f64 - EARLIEST as f64) * 1000.0 / RATE as f64;
        Some(echo::find(piece, searched).map(|echo| (late(echo.lag), echo)))
    }
}

/// Opens the speaker's card.
fn start_speaker(name: &str, config: &Speaker) -> Result<SpeakerTrial, Failure> {
    let mut speaker = SpeakerTrial::open(name, config)?;
    let opening = Instant::now();
    while speaker.description()?.is_none() {
        if opening.elapsed() > OPENING {
            return Err(format!("not open after {} s", OPENING.as_secs()).into());
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(speaker)
}

/// What was measured.
#[derive(Debug, Default)]
struct Results {
    speaker: String,
    microphone: String,
    pieces: usize,
    /// ms
    delays: Vec<f64>,
    /// dB
    attenuations: Vec<f64>,
    likenesses: Vec<f64>,
}

impl Results {
    fn add(&mut self, found: Option<(f64, Echo)>) {
        self.pieces += 1;
        if let Some((delay, echo)) = found {
            self.delays.push(delay);
            self.attenuations.push(-20.0 * echo.gain.log10());
            self.likenesses.push(echo.likeness);
        }
    }

    /// The middle one.
    fn middle(values: &[f64]) -> f64 {
        spread(values)[0]
    }

    fn text(&self, speaker: &str, microphone: &str) -> String {
        let title = format!("{speaker}: {}\n{microphone}: {}\n{MEASURED}\n", self.speaker, self.microphone);
        let (heard, pieces) = (self.delays.len(), self.pieces);
        if heard == 0 {
            return format!(
                "{title}the microphone does not hear the speaker: look at the volume and mute of both, or nothing is to be \
                 cancelled\n"
            );
        }
        let (low, high) =
            self.delays.iter().fold((f64::MAX, f64::MIN), |(low, high), ms| (low.min(*ms), high.max(*ms)));
        format!(
            "{title}  delay: {:.1} ms ({low:.1} to {high:.1})\n  attenuation: {:.1} dB\n  of what is heard: {:.0} %\n  heard in {heard} of {pieces} pieces\n",
            Self::middle(&self.delays),
            Self::middle(&self.attenuations),
            100.0 * Self::middle(&self.likenesses),
        )
    }

    fn json(&self, speaker: &str, microphone: &str) -> Value {
        json!({
            "speaker": speaker,
            "microphone": microphone,
            "speaker_description": self.speaker,
            "microphone_description": self.microphone,
            "measured": MEASURED,
            "pieces": self.pieces,
            "delay_ms": self.delays,
            "attenuation_db": self.attenuations,
            "likeness": self.likenesses,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meta(position: u64, captured_ns: u64, flags: u32) -> Meta {
        Meta { position, captured_ns, flags, ..Meta::default() }
    }

    #[test]
    fn a_track_begins_anew_at_a_gap_and_its_start_is_the_middle_of_what_was_said() {
        let mut track = Track::default();
        track.add(&meta(0, 1, 0), [0.5; 480].into_iter());
        track.add(&meta(960, 50_000_000, 0), [0.1; 480].into_iter());
        track.add(&meta(1440, 60_000_300, 0), [0.2; 480].into_iter());
        track.add(&meta(1920, 69_999_800, 0), [0.3; 480].into_iter());
        assert_eq!((track.samples.len(), track.samples[0]), (1440, 0.1));
        assert_eq!(track.start_ns(), Some(50_000_000));
        track.add(&meta(2400, 90_000_000, DISCONTINUITY), [0.4; 480].into_iter());
        assert_eq!((track.samples.len(), track.start_ns()), (480, Some(90_000_000)));
    }

    #[test]
    fn one_that_hears_nothing_is_said_so_and_one_that_hears_has_delay_and_attenuation() {
        let mut results = Results::default();
        results.add(None);
        assert!(results.text("s", "m").contains("does not hear"), "{results:?}");
        results.add(Some((3.25, Echo { lag: 0, gain: 0.1, likeness: 0.93 })));
        let text = results.text("s", "m");
        assert!(text.contains("delay: 3.2 ms") && text.contains("attenuation: 20.0 dB"), "{text}");
        assert!(text.contains("heard in 1 of 2 pieces"), "{text}");
    }
    #[test]
    fn opus_at_its_lowest_delay_holds_back_as_many_samples_as_are_taken_off() {
        let DeviceKind::Microphone(settings) =
            plain(Device { name: "m".into(), kind: DeviceKind::Microphone(Microphone::default()) }).kind
        else {
            unreachable!("it was one")
        };
        let mut encoder = crate::media::opus::Encoder::new(&(&settings).into()).unwrap();
        let mut decoder = Decoder::new(Channels::Mono, SampleRate::Hz48000).unwrap();
        let sound: Vec<i16> = Noise::default().take(20 * STEP).collect();
        let (mut heard, mut packet) = (Vec::new(), Vec::new());
        for samples in sound.chunks_exact(STEP) {
            encoder.encode(samples, &mut packet).unwrap();
            let mut decoded = [0.0; STEP];
            decoder.decode_float_to_slice(&packet, &mut decoded, false).unwrap();
            heard.extend(decoded);
        }
        let played: Vec<f32> = sound[..16 * STEP].iter().map(|sample| f32::from(*sample) / 32_768.0).collect();
        let echo = echo::find(&played, &heard).unwrap();
        assert_eq!(echo.lag, LOOK_AHEAD);
        assert!((echo.gain - 1.0).abs() < 0.05 && echo.likeness > 0.95, "{echo:?}");
    }
}
