//! Between a card's rate and Opus' 48 kHz.
use rubato::audioadapter_buffers::direct::InterleavedSlice;
use rubato::{
    Adjustable, Async, FixedAsync, PolynomialDegree, Resampler as _, SincInterpolationParameters,
    SincInterpolationType, WindowFunction,
};

/// Samples a second of each channel wherever it is not the card's: rings, packets, mixes.
pub const RATE: u64 = 48_000;

/// Points of the filter: 1.5 ms of delay at 44.1 kHz, flat to 19 kHz, aliases below -90 dB.
const SINC_POINTS: usize = 128;
/// The delay is known to within one of these: 1 us at 16 kHz and less above.
const MIN_PHASES: usize = 64;

/// Points between two frames where a speed changes, so that no frame lies on one of them: the straight line between two is
/// good for 90 dB.
const VARIABLE_PHASES: usize = 256;
/// Below the pass band's last octave, an interpolation through eight points is as good as 16 bits where the rates are alike.
const DEGREE: PolynomialDegree = PolynomialDegree::Septic;

/// Turns periods of a card into frames at 48 kHz. Allocates nothing after its creation.
pub enum Resampler {
    /// The card has 48 kHz.
    None,
    /// It has not.
    Sinc {
        /// rubato's.
        inner: Box<Async<f32>>,
        /// Interleaved.
        output: Vec<f32>,
        /// Of both sides.
        channels: usize,
        /// Of the card, Hz.
        rate: u64,
        /// Frames of the card that went in, and those at 48 kHz that came out.
        taken: u64,
        made: u64,
    },
}

impl std::fmt::Debug for Resampler {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::None => "Resampler::None",
            Self::Sinc { .. } => "Resampler::Sinc",
        })
    }
}

impl Resampler {
    /// For periods of `period` frames at `rate` Hz.
    pub fn new(rate: u32, period: usize, channels: usize) -> Result<Self, String> {
        if u64::from(rate) == RATE {
            return Ok(Self::None);
        }
        let ratio = RATE as f64 / f64::from(rate);
        let parameters = SincInterpolationParameters::new(SINC_POINTS, WindowFunction::BlackmanHarris2)
            .oversampling_factor(phases(rate))
            .interpolation(SincInterpolationType::Nearest);
        let inner = Async::new_sinc(ratio, 1.0, &parameters, period, channels, FixedAsync::Input)
            .map_err(|e| format!("resampler: {rate} Hz: {e}"))?;
        let output = vec![0.0; inner.output_frames_max() * channels];
        Ok(Self::Sinc { inner: Box::new(inner), output, channels, rate: rate.into(), taken: 0, made: 0 })
    }

    /// By how many frames at 48 kHz what comes out is behind what goes in.
    fn delay(&self) -> usize {
        match self {
            Self::None => 0,
            Self::Sinc { inner, .. } => inner.output_delay(),
        }
    }

    /// By how many frames at 48 kHz what comes out next began before what goes in next.
    pub fn behind(&self) -> u64 {
        match self {
            Self::None => 0,
            Self::Sinc { rate, taken, made, .. } => (taken * RATE / rate + self.delay() as u64).saturating_sub(*made),
        }
    }

    /// Frames at 48 kHz that a period may give.
    pub fn most(&self, period: usize) -> usize {
        match self {
            Self::None => period,
            Self::Sinc { output, channels, .. } => output.len() / channels,
        }
    }

    /// What it still holds is of before a gap.
    pub fn reset(&mut self) {
        if let Self::Sinc { inner, taken, made, .. } = self {
            inner.reset();
            (*taken, *made) = (0, 0);
        }
    }

    /// A period, interleaved; gives what comes out.
    pub fn process<'a>(&'a mut self, period: &'a [f32]) -> &'a [f32] {
        match self {
            Self::None => period,
            Self::Sinc { inner, output, channels, taken, made: so_far, .. } => {
                const FITS: &str = "both buffers are as long as the resampler says";
                let frames = output.len() / *channels;
                let from = InterleavedSlice::new(period, *channels, period.len() / *channels).expect(FITS);
                let mut to = InterleavedSlice::new_mut(output, *channels, frames).expect(FITS);
                let (_, made) = inner.process_into_buffer(&from, &mut to, None).expect(FITS);
                *taken += (period.len() / *channels) as u64;
                *so_far += made as u64;
                &output[..made * *channels]
            }
        }
    }
}

/// From 48 kHz to periods of `period` frames of a card, stereo, at a speed that differs from 1 by `deviation` at most.
pub struct Variable {
    inner: Async<f32>,
    /// Frames of the card for one at 48 kHz.
    ratio: f64,
    period: usize,
    /// Interleaved.
    output: Vec<f32>,
}

impl Variable {
    /// For a card of `rate` Hz.
    pub fn new(rate: u32, period: usize, deviation: f64) -> Self {
        const GOOD: &str = "parameters that are good for any rate and period";
        let (ratio, most) = (f64::from(rate) / RATE as f64, 1.0 + 2.0 * deviation);
        let inner = match u64::from(rate) == RATE {
            true => Async::new_poly(ratio, most, DEGREE, period, 2, FixedAsync::Output).expect(GOOD),
            false => {
                let parameters = SincInterpolationParameters::new(SINC_POINTS, WindowFunction::BlackmanHarris2)
                    .oversampling_factor(VARIABLE_PHASES)
                    .interpolation(SincInterpolationType::Linear);
                Async::new_sinc(ratio, most, &parameters, period, 2, FixedAsync::Output).expect(GOOD)
            }
        };
        Self { inner, ratio, period, output: vec![0.0; period * 2] }
    }

    /// Frames that it may want for a period.
    pub fn most(&self) -> usize {
        self.inner.input_frames_max()
    }

    /// Frames that it wants for the next period, if each frame of the card takes `speed` of its time.
    pub fn needs(&mut self, speed: f64) -> usize {
        self.inner.set_resample_ratio(self.ratio / speed, true).expect("the speed keeps its limits");
        self.inner.input_frames_next()
    }

    /// A period of as many frames as it wanted, interleaved.
    pub fn process(&mut self, frames: &[f32]) -> &[f32] {
        let input = InterleavedSlice::new(frames, 2, frames.len() / 2).expect("as long as it wanted");
        let mut output = InterleavedSlice::new_mut(&mut self.output, 2, self.period).expect("one period");
        self.inner.process_into_buffer(&input, &mut output, None).expect("as much as it said it needs");
        &self.output
    }
}

/// Points between two frames of the card: a multiple of what the ratio of the rates has (160 for 44.1 kHz, 3 for 16 and
/// 32 kHz). Every frame at 48 kHz lies on one of them, so that nothing is left to interpolate.
fn phases(rate: u32) -> usize {
    let (mut a, mut b) = (RATE, u64::from(rate));
    while b != 0 {
        (a, b) = (b, a % b);
    }
    let least = (RATE / a) as usize;
    least * MIN_PHASES.div_ceil(least)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::f64::consts::TAU;

    /// One second of a sine at the card's rate, resampled.
    fn resampled(rate: u32, channels: usize, hertz: f64) -> (Vec<f32>, usize) {
        let period = rate as usize / 100;
        let mut resampler = Resampler::new(rate, period, channels).unwrap();
        let delay = resampler.delay();
        let mut out = Vec::new();
        for n in 0..100 {
            let frame = |i: usize| ((n * period + i) as f64 / f64::from(rate) * hertz * TAU).sin() as f32 * 0.5;
            let input: Vec<f32> =
                (0..period).flat_map(|i| (0..channels).map(move |c| frame(i) * (1 - c) as f32)).collect();
            out.extend(resampler.process(&input));
        }
        (out, delay)
    }

    #[test]
    fn every_rate_gives_the_same_sine_at_48_khz_delayed_as_said() {
        for rate in [16_000, 22_050, 24_000, 32_000, 44_100, 48_000, 64_000, 88_200, 96_000] {
            for channels in [1, 2] {
                let (out, delay) = resampled(rate, channels, 1000.0);
                let frames = out.len() / channels;
                assert!(frames.abs_diff(48_000) <= delay + 480, "{rate}: {frames} frames");
                let expected = |i: usize| ((i - delay) as f64 / 48_000.0 * 1000.0 * TAU).sin() * 0.5;
                let error =
                    (2_000..47_000).map(|i| (f64::from(out[i * channels]) - expected(i)).abs()).fold(0.0, f64::max);
                // Half a frame of rounding of the delay is 0.033 of a sine of 1 kHz at half scale.
                assert!(error < 0.07, "{rate} Hz, {channels} ch: {error}");
                assert!(channels == 1 || out.iter().skip(1).step_by(2).all(|s| *s == 0.0), "channels do not mix");
            }
        }
    }

    #[test]
    fn there_are_as_many_phases_as_the_ratio_of_the_rates_has() {
        let of = [16_000, 22_050, 24_000, 32_000, 44_100, 64_000, 88_200, 96_000].map(phases);
        assert_eq!(of, [66, 320, 64, 66, 160, 66, 80, 64]);
    }

    #[test]
    fn what_48_khz_cannot_hold_does_not_come_back_as_another_tone() {
        let (out, _) = resampled(96_000, 1, 30_000.0);
        let loudest = out[2_000..47_000].iter().fold(0.0_f32, |a, s| a.max(s.abs()));
        assert!(loudest < 0.001, "{loudest}");
    }

    #[test]
    fn a_reset_forgets_what_was_before() {
        let mut resampler = Resampler::new(44_100, 441, 1).unwrap();
        resampler.process(&[0.9; 441]);
        resampler.reset();
        assert!(resampler.process(&[0.0; 441]).iter().all(|s| *s == 0.0));
    }
}
