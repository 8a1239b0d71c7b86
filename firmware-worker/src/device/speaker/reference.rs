//! What a speaker has really played, and when: the far end that an echo canceller takes out of what a microphone hears.
//!
//! A ring of the usual kind, so that another process can read it and nothing waits for it.

use super::voice::Beat;
use crate::device::resample::{RATE, Resampler};
use hal::ring::pcm::Frame;
use hal::ring::{DISCONTINUITY, Error, KEY, Layout, Meta, Writer};
use std::os::fd::OwnedFd;

/// 640 ms in the usual periods: longer than a sound is on its way through card, room and card.
const LAYOUT: Layout = Layout { slots: 64, arena: 64 << 10 };

/// Units are a period each: mono, S16 in native order, at 48 kHz whatever the card has. `captured_ns` is when the first of its samples leaves the
/// card, `position` counts samples.
#[derive(Debug)]
pub struct Reference {
    ring: Writer,
    position: u64,
    /// One period of the card.
    mono: Vec<f32>,
    resampler: Resampler,
    /// The same at 48 kHz.
    bytes: Vec<u8>,
    /// Something is missing before the next unit.
    gap: bool,
}

impl Reference {
    /// For periods of so many frames at 48 kHz.
    pub fn create(period: usize) -> Result<Self, Error> {
        let (mono, bytes) = (vec![0.0; period], Vec::with_capacity(period * 2));
        Ok(Self {
            ring: Writer::create("reference", LAYOUT)?,
            position: 0,
            mono,
            resampler: Resampler::None,
            bytes,
            gap: true,
        })
    }

    /// To pass to a reader.
    pub fn fd(&self) -> Result<OwnedFd, Error> {
        self.ring.fd().try_clone_to_owned().map_err(|source| Error::System { call: "dup", source })
    }

    /// A card runs that takes its sound so.
    pub fn begin(&mut self, beat: Beat) {
        self.mono.resize(beat.period, 0.0);
        self.resampler = Resampler::new(beat.rate, beat.period, 1).expect("parameters that are good for any card");
        self.bytes = Vec::with_capacity(self.resampler.most(beat.period) * 2);
        self.gap = true;
    }

    /// What was written before may not have been played.
    pub fn interrupt(&mut self) {
        self.resampler.reset();
        self.gap = true;
    }

    /// A period, the mean of its channels. One without a time cannot be compared with anything, and is a gap.
    pub fn push(&mut self, frames: &[Frame], leaves_ns: Option<u64>) {
        for (to, [left, right]) in self.mono.iter_mut().zip(frames) {
            *to = i16::midpoint(*left, *right).into();
        }
        let behind_ns = self.resampler.behind() * 1_000_000_000 / RATE;
        let sound = self.resampler.process(&self.mono);
        let position = self.position;
        self.position += sound.len() as u64;
        let Some(leaves_ns) = leaves_ns else {
            self.gap = true;
            return;
        };
        self.bytes.clear();
        self.bytes.extend(sound.iter().flat_map(|sample| (sample.round() as i16).to_ne_bytes()));
        let captured_ns = leaves_ns.saturating_sub(behind_ns);
        let flags = if self.gap { KEY | DISCONTINUITY } else { KEY };
        let meta = Meta { captured_ns, written_ns: hal::process::monotonic_ns(), position, flags, ..Meta::default() };
        // Longer than the longest period of a card is what does not fit.
        self.gap = self.ring.push(meta, &self.bytes).is_err();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hal::ring::{Next, Reader};
    use std::f64::consts::TAU;

    #[test]
    fn a_card_of_another_rate_has_the_same_reference_at_48_khz_on_time() {
        for (rate, period) in [(44_100, 441), (16_000, 160), (96_000, 1024), (48_000, 480)] {
            let mut reference = Reference::create(480).unwrap();
            let mut reader = Reader::map(reference.fd().unwrap()).unwrap();
            reference.begin(Beat { period, rate });
            let (mut bytes, mut expected) = (Vec::new(), None);
            for n in 0..50 {
                let sine =
                    |i: usize| (((n * period + i) as f64 / f64::from(rate) * 440.0 * TAU).sin() * 10_000.0) as i16;
                let frames: Vec<Frame> = (0..period).map(|i| [sine(i); 2]).collect();
                let leaves_ns = 1_000_000_000 + (n * period) as u64 * 1_000_000_000 / u64::from(rate);
                reference.push(&frames, Some(leaves_ns));
                let Next::Unit(meta) = reader.next(&mut bytes) else { panic!("a unit for each period") };
                assert_eq!(*expected.get_or_insert(meta.position), meta.position, "{rate}: no sample is left out");
                assert_eq!(meta.flags & DISCONTINUITY != 0, n == 0);
                let samples = bytes.as_chunks().0.iter().map(|bytes| i16::from_ne_bytes(*bytes));
                expected = Some(meta.position + samples.len() as u64);
                for (i, sample) in samples.enumerate().filter(|_| n > 2) {
                    let seconds = (meta.captured_ns as f64 / 1e9 - 1.0) + i as f64 / 48_000.0;
                    let wanted = (seconds * 440.0 * TAU).sin() * 10_000.0;
                    // 25 µs at this amplitude: a frame of rounding and a little.
                    assert!((f64::from(sample) - wanted).abs() < 691.0, "{rate}: {sample} {wanted} at {seconds}");
                }
            }
            assert!(expected.unwrap().abs_diff(50 * period as u64 * 48_000 / u64::from(rate)) < 200);
        }
    }

    #[test]
    fn a_reader_gets_the_mean_of_both_channels_with_its_time_and_is_told_of_gaps() {
        let mut reference = Reference::create(4).unwrap();
        let mut reader = Reader::map(reference.fd().unwrap()).unwrap();
        reference.push(&[[10, 20]; 4], Some(1_000));
        reference.push(&[[i16::MIN, i16::MIN]; 4], Some(2_000));
        reference.push(&[[7, 7]; 4], None);
        reference.push(&[[-3, -3]; 4], Some(4_000));
        reference.interrupt();
        reference.push(&[[i16::MAX, i16::MAX]; 4], Some(5_000));
        let mut bytes = Vec::new();
        let mut next = || match reader.next(&mut bytes) {
            Next::Unit(meta) => {
                let sample = i16::from_ne_bytes([bytes[6], bytes[7]]);
                (meta.captured_ns, meta.position, meta.flags & DISCONTINUITY != 0, sample, bytes.len())
            }
            other => panic!("{other:?}"),
        };
        assert_eq!(next(), (1_000, 0, true, 15, 8));
        assert_eq!(next(), (2_000, 4, false, i16::MIN, 8));
        assert_eq!(next(), (4_000, 12, true, -3, 8));
        assert_eq!(next(), (5_000, 16, true, i16::MAX, 8));
    }
}
