//! How loud a microphone is, or what a speaker plays, for operators: is it alive, is it overdriven?

use crate::control::SoundLevel;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

/// Hundredths of a decibel: what is quieter is silence.
const FLOOR: i16 = -12_000;

/// Samples since the last look. The thread of the card adds, the control loop takes; a period that falls between two of the
/// three numbers shows in the next look.
#[derive(Debug, Default)]
pub struct Meter {
    peak: AtomicU32,
    energy: AtomicU64,
    samples: AtomicU64,
}

impl Meter {
    /// Adds samples. Lock-free.
    pub fn add(&self, samples: &[i16]) {
        let peak = samples.iter().map(|s| u32::from(s.unsigned_abs())).max().unwrap_or(0);
        let energy = samples.iter().map(|&s| u64::from(s.unsigned_abs()).pow(2)).sum();
        self.peak.fetch_max(peak, Relaxed);
        self.energy.fetch_add(energy, Relaxed);
        self.samples.fetch_add(samples.len() as u64, Relaxed);
    }

    /// What came since the last call; `None` for nothing.
    pub fn take(&self) -> Option<SoundLevel> {
        let (peak, energy) = (self.peak.swap(0, Relaxed), self.energy.swap(0, Relaxed));
        let samples = self.samples.swap(0, Relaxed);
        if samples == 0 {
            return None;
        }
        let rms = (energy as f64 / samples as f64).sqrt();
        Some(SoundLevel { peak: centibels(f64::from(peak)), rms: centibels(rms) })
    }
}

/// Hundredths of a dB below full scale.
fn centibels(amplitude: f64) -> i16 {
    let hundredths = 2_000.0 * (amplitude / 32_768.0).log10();
    hundredths.round().clamp(f64::from(FLOOR), 0.0) as i16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peak_and_rms_are_below_full_scale_and_of_the_time_since_the_last_look() {
        let meter = Meter::default();
        assert_eq!(meter.take(), None);
        meter.add(&[i16::MIN; 480]);
        assert_eq!(meter.take(), Some(SoundLevel { peak: 0, rms: 0 }));
        meter.add(&[0; 480]);
        assert_eq!(meter.take(), Some(SoundLevel { peak: FLOOR, rms: FLOOR }));
        // A square wave at a tenth for half of the time: its mean power is 3 dB lower.
        meter.add(&[3277; 480]);
        meter.add(&[0; 480]);
        assert_eq!(meter.take(), Some(SoundLevel { peak: -2000, rms: -2301 }));
        assert_eq!(meter.take(), None);
    }
}
