//! A sine of 440 Hz at -20 dBFS, for boards without a microphone and for tests.

/// 11 periods of 440 Hz are exactly 1200 samples at 48 kHz, so a table of that length repeats without a phase error.
const TABLE_SAMPLES: usize = 1200;
/// Periods in the table.
const TABLE_PERIODS: f64 = 11.0;
/// -20 dBFS: loud enough to measure, not loud enough to hurt.
const AMPLITUDE: f64 = 0.1 * i16::MAX as f64;

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
    fn channels_are_alike() {
        let mut stereo = [0i16; 960];
        Tone::default().fill(&mut stereo, 2);
        assert!(stereo.chunks(2).all(|frame| frame[0] == frame[1]));
        assert!(stereo.iter().any(|&s| s != 0));
    }
}
