//! `bench speaker`: whether a card's clock is followed. A tone is written at the pace of this machine's clock, as a job would
//! write it, and played at the pace of the card's.

use super::super::arguments::BenchOptions;
use super::super::{configuration_error, exit, trial};
use crate::config::{DeviceKind, Speaker};
use crate::device::{Failure, Heard, SpeakerTrial};
use crate::media::tone::Tone;
use hal::ring::pcm::Frame;
use serde_json::{Value, json};
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

/// Until the card is open.
const OPENING: Duration = Duration::from_secs(10);
/// Between two writes, of as much sound.
const STEP: Duration = Duration::from_millis(10);
/// Frames of a step.
const FRAMES: usize = 480;
/// Seconds until the lead is at its level; not part of what is measured.
const SETTLE_S: u32 = 10;

const MEASURED: &str = "how far the writer is ahead of the card, mean of each second; the owner keeps it at 40 ms by changing \
                        its speed, so that neither clock runs the ring dry or full";

pub(in crate::cli) fn print(options: &BenchOptions) -> ExitCode {
    let name = options.name.as_deref().unwrap_or("speaker");
    let fit = |kind: &DeviceKind| matches!(kind, DeviceKind::Speaker(_));
    let device = match trial::device(options.config.as_deref(), name, fit) {
        Ok(device) => device,
        Err(error) => return configuration_error(&error),
    };
    let DeviceKind::Speaker(speaker) = &device.kind else { unreachable!("only a speaker is fit") };
    match measure(name, speaker, SETTLE_S, options.seconds) {
        Ok(results) if options.json => println!("{:#}", results.json(name)),
        Ok(results) => print!("{}", results.text(name)),
        Err(failure) => {
            eprintln!("firmware-worker: {name}: {}", trial::explain(&device, failure));
            return exit::FAILURE.into();
        }
    }
    ExitCode::SUCCESS
}

/// What was measured.
#[derive(Debug)]
struct Results {
    description: String,
    /// ms, of each second.
    leads: Vec<f64>,
    heard: Heard,
}

fn measure(name: &str, speaker: &Speaker, settle: u32, seconds: u32) -> Result<Results, Failure> {
    let mut trial = SpeakerTrial::open(name, speaker)?;
    let opening = Instant::now();
    while trial.description()?.is_none() {
        if opening.elapsed() > OPENING {
            return Err(format!("not open after {} s", OPENING.as_secs()).into());
        }
        thread::sleep(STEP);
    }
    let (mut tone, mut leads, mut before) = (Tone::default(), Vec::new(), Heard::default());
    let mut due = Instant::now();
    for second in 0..settle + seconds {
        for _ in 0..Duration::from_secs(1).as_millis() / STEP.as_millis() {
            thread::sleep(due.saturating_duration_since(Instant::now()));
            due += STEP;
            let mut samples = [0; FRAMES * 2];
            tone.fill(&mut samples, 2);
            let frames: &[Frame] = samples.as_chunks().0;
            trial.write(frames);
        }
        trial.description()?;
        let now = trial.heard();
        match second < settle {
            true => before = now,
            false => leads.push(f64::from(now.lead_us) / 1000.0),
        }
    }
    let description = trial.description()?.unwrap_or_default().to_owned();
    let heard = trial.heard().since(before);
    Ok(Results { description, leads, heard })
}

impl Results {
    fn range(&self) -> (f64, f64) {
        self.leads.iter().fold((f64::MAX, f64::MIN), |(low, high), lead| (low.min(*lead), high.max(*lead)))
    }

    fn text(&self, name: &str) -> String {
        let ((low, high), Heard { dry, skipped, xruns, .. }) = (self.range(), self.heard);
        let seconds = self.leads.len();
        format!(
            "{name}: {}\n{MEASURED}\n  {seconds} s: {low:.1} to {high:.1} ms\n\
             ring ran dry: {dry}; frames skipped: {skipped}; card ran dry: {xruns}\n",
            self.description
        )
    }

    fn json(&self, name: &str) -> Value {
        let Heard { periods, dry, skipped, xruns, .. } = self.heard;
        json!({
            "device": name,
            "description": self.description,
            "measured": MEASURED,
            "lead_ms": self.leads,
            "periods": periods,
            "dry": dry,
            "skipped": skipped,
            "xruns": xruns,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::SpeakerDevice;
    use hal::audio::playback::fake::Card;

    #[test]
    fn a_tone_is_played_with_the_lead_that_an_owner_keeps_and_a_card_that_is_not_there_is_an_error() {
        let _card = Card::plug_in("bench-speaker", 500.0);
        let speaker = |card: &str| Speaker { device: SpeakerDevice::Card(card.into()), ..Speaker::default() };
        let results = measure("speaker", &speaker("bench-speaker"), 1, 1).unwrap();
        assert!(results.heard.periods >= 50 && results.leads.len() == 1, "{results:?}");
        assert!((20.0..60.0).contains(&results.leads[0]), "ms of lead: {results:?}");
        let text = results.text("speaker");
        assert!(text.starts_with("speaker: bench-speaker 2 ch") && text.contains("1 s: "), "{text}");
        assert!(
            matches!(measure("speaker", &speaker("no-such-card"), 0, 1), Err(Failure::Lost(why)) if why.contains("no such"))
        );
    }
}
