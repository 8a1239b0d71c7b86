//! A sine of 440 Hz at -20 dBFS, for boards without a microphone and for tests. At the start of each second of
//! CLOCK_MONOTONIC it beeps, while the test pattern flashes: who sees and hears both knows whether they are together.

/// 11 periods of 440 Hz are exactly 1200 samples at 48 kHz, so a table of that length repeats without a phase error.
const TABLE_SAMPLES: usize = 1200;
/// Periods in the table.
const TABLE_PERIODS: f64 = 11.0;
/// -20 dBFS: loud enough to measure, not loud enough to hurt.
const AMPLITUDE: f64 = 0.1 * i16::MAX as f64;

/// The beep is of the third harmonic: the same table in steps of three.
const BEEP_STEP: usize = 3;
/// ns of a beep: three pictures at 30 a second, and too little of a second to be taken for its pitch.
const BEEP_NS: u64 = 100_000_000;
const SECOND_NS: u64 = 1_000_000_000;
/// Samples a second.
const RATE: u64 = 48_000;

/// Whether it beeps, and the test pattern flashes, at this time of CLOCK_MONOTONIC.
pub fn beeps(monotonic_ns: u64) -> bool {
    monotonic_ns % SECOND_NS < BEEP_NS
}

/// The generator.
#[derive(Clone, Debug)]
pub struct Tone {
    table: Vec<i16>,
    next: usize,
}

impl Default for Tone {
    fn default() -> Self {
        let turn = |i: usize| i as f64 * TABLE_PERIODS / TABLE_SAMPLES as f64 * std::f64::consts::TAU;
        Self { table: (0..TABLE_SAMPLES).map(|i| (turn(i).sin() * AMPLITUDE).round() as i16).collect(), next: 0 }
    }
}

impl Tone {
    /// Fills an interleaved buffer, every channel alike.
    pub fn fill(&mut self, buffer: &mut [i16], channels: usize) {
        for frame in buffer.chunks_exact_mut(channels) {
            frame.fill(self.table[self.next]);
            self.next = (self.next + 1) % TABLE_SAMPLES;
        }
    }

    /// The same, with the beep of each second; the first frame is of this time of CLOCK_MONOTONIC.
    pub fn fill_with_beep(&mut self, buffer: &mut [i16], channels: usize, from_ns: u64) {
        for (n, frame) in buffer.chunks_exact_mut(channels).enumerate() {
            frame.fill(self.table[self.next]);
            let step = if beeps(from_ns + n as u64 * SECOND_NS / RATE) { BEEP_STEP } else { 1 };
            self.next = (self.next + step) % TABLE_SAMPLES;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_has_440_periods_without_a_jump_between_buffers() {
        let mut tone = Tone::default();
        let mut second = vec![0i16; 48_000];
        second.chunks_mut(480).for_each(|period| tone.fill(period, 1));
        let rising = second.windows(2).filter(|w| w[0] < 0 && w[1] >= 0).count();
        assert!((439..=440).contains(&rising), "{rising} rising edges");
        let steepest = AMPLITUDE * 440.0 / 48_000.0 * std::f64::consts::TAU + 1.0;
        assert!(second.windows(2).all(|w| f64::from(w[1] - w[0]).abs() <= steepest));
    }

    #[test]
    fn it_beeps_a_tenth_of_each_second_without_a_jump() {
        let mut tone = Tone::default();
        let mut sound = vec![0i16; 96_000];
        for (n, period) in sound.chunks_mut(480).enumerate() {
            tone.fill_with_beep(period, 1, 7_500_000_000 + n as u64 * 10_000_000);
        }
        let rising = |from: usize, samples: usize| {
            sound[from..from + samples].windows(2).filter(|w| w[0] < 0 && w[1] >= 0).count()
        };
        // The seconds begin after half a second.
        assert!((131..=133).contains(&rising(24_000, 4_800)), "{}", rising(24_000, 4_800));
        assert!((131..=133).contains(&rising(72_000, 4_800)));
        assert!((43..=45).contains(&rising(19_000, 4_800)) && (43..=45).contains(&rising(29_000, 4_800)));
        let steepest = AMPLITUDE * 1_320.0 / 48_000.0 * std::f64::consts::TAU + 1.0;
        assert!(sound.windows(2).all(|w| f64::from(w[1] - w[0]).abs() <= steepest));
    }

    #[test]
    fn channels_are_alike() {
        let mut stereo = [0i16; 960];
        Tone::default().fill(&mut stereo, 2);
        assert!(stereo.chunks(2).all(|frame| frame[0] == frame[1]));
        assert!(stereo.iter().any(|&s| s != 0));
    }
}
