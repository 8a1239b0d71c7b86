//! How a sound that was played is heard again: how much later and how much softer.

/// Samples a second of what is compared.
pub const RATE: u64 = 48_000;

/// The search begins with every so many samples as one.
const COARSE: usize = 6;

/// Likeness below which nothing was heard: noise of as many samples is alike by chance to a third of it.
const LEAST: f64 = 0.15;

/// Noise like a voice without words: few of its power is above what small speakers and microphones carry.
#[derive(Clone, Copy, Debug)]
pub struct Noise {
    seed: u32,
    last: f32,
}

/// Of the filter: -3 dB near 2 kHz.
const SMOOTHING: f32 = 0.25;
/// About -20 dBFS.
const LOUDNESS: f32 = 15_000.0;

impl Default for Noise {
    fn default() -> Self {
        Self { seed: 1, last: 0.0 }
    }
}

impl Iterator for Noise {
    type Item = i16;

    fn next(&mut self) -> Option<i16> {
        // Numerical Recipes' generator; its high bits are good enough for noise.
        self.seed = self.seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let white = (self.seed >> 8) as f32 / (1 << 23) as f32 - 1.0;
        self.last += SMOOTHING * (white - self.last);
        Some((self.last * LOUDNESS) as i16)
    }
}

/// The strongest path from speaker to microphone.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Echo {
    /// Samples by which it is later than the start of what was searched.
    pub lag: usize,
    /// Amplitude that is left.
    pub gain: f64,
    /// How much of what is heard is this: 0 nothing, 1 all.
    pub likeness: f64,
}

/// Looks for `played` in `heard`, which is longer by the largest lag. `None` if it is not in there.
pub fn find(played: &[f32], heard: &[f32]) -> Option<Echo> {
    let coarse = strongest(&thinned(played), &thinned(heard), 0..usize::MAX)?;
    let around = (coarse.lag * COARSE).saturating_sub(2 * COARSE)..coarse.lag * COARSE + 2 * COARSE;
    strongest(played, heard, around).filter(|echo| echo.likeness >= LEAST)
}

fn thinned(samples: &[f32]) -> Vec<f32> {
    samples.chunks_exact(COARSE).map(|chunk| chunk.iter().sum::<f32>() / COARSE as f32).collect()
}

fn strongest(played: &[f32], heard: &[f32], lags: std::ops::Range<usize>) -> Option<Echo> {
    let last = heard.len().checked_sub(played.len())?;
    let power = |samples: &[f32]| samples.iter().map(|s| f64::from(s * s)).sum::<f64>();
    let own = power(played);
    let mut best: Option<Echo> = None;
    for lag in lags.start..lags.end.min(last + 1) {
        let part = &heard[lag..lag + played.len()];
        let common = f64::from(dot(played, part));
        let likeness = common.abs() / (own * power(part)).sqrt().max(f64::MIN_POSITIVE);
        if best.is_none_or(|best| likeness > best.likeness) {
            best = Some(Echo { lag, gain: common.abs() / own.max(f64::MIN_POSITIVE), likeness });
        }
    }
    best
}

/// In several sums, which the compiler can keep in one register.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    const LANES: usize = 8;
    let mut sums = [0.0; LANES];
    for (a, b) in a.as_chunks::<LANES>().0.iter().zip(b.as_chunks::<LANES>().0) {
        for i in 0..LANES {
            sums[i] += a[i] * b[i];
        }
    }
    sums.iter().sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(count: usize, seed: u32) -> Vec<f32> {
        Noise { seed, last: 0.0 }.take(count).map(f32::from).collect()
    }

    #[test]
    fn a_sound_is_found_where_and_as_loud_as_it_is_under_noise_and_behind_reflections() {
        let (played, mut heard) = (noise(9_600, 1), noise(12_000, 77));
        for (lag, gain) in [(1_234, 0.8), (1_500, -0.3), (1_900, 0.2)] {
            for (to, from) in heard[lag..].iter_mut().zip(&played) {
                *to += gain * from;
            }
        }
        let echo = find(&played, &heard).unwrap();
        assert_eq!(echo.lag, 1_234);
        assert!((echo.gain - 0.8).abs() < 0.08 && (0.4..0.9).contains(&echo.likeness), "{echo:?}");
    }

    #[test]
    fn what_was_not_played_is_not_found() {
        assert_eq!(find(&noise(9_600, 1), &noise(12_000, 77)), None);
        assert_eq!(find(&noise(9_600, 1), &[0.0; 12_000]), None);
        assert_eq!(find(&noise(9_600, 1), &noise(100, 1)), None);
    }

    #[test]
    fn the_noise_is_about_20_db_below_full_scale() {
        let samples = noise(48_000, 1);
        let rms = (samples.iter().map(|s| s * s).sum::<f32>() / samples.len() as f32).sqrt();
        let decibel = 20.0 * (rms / 32_768.0).log10();
        assert!((decibel + 20.0).abs() < 2.0, "{decibel}");
    }
}
