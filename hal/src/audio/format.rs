//! The sample formats of cards, and the way from what they give and to what they take.

/// Little-endian, interleaved. In the order in which they are wanted: Opus keeps no more than 16 bits of a voice, and fewer
/// bytes leave more of a USB bus.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SampleFormat {
    /// 16 bits.
    S16,
    /// 24 bits in the lower bytes of 32; what the upper byte holds is not said.
    S24,
    /// 24 bits in three bytes.
    S24Packed,
    /// 32 bits.
    S32,
    /// 32-bit floating point, full scale at 1.
    Float,
}

/// A sample is full scale at this distance from the largest number of its format.
const FULL_SCALE_32: f32 = 2_147_483_648.0;

impl SampleFormat {
    /// All of them, best first.
    pub const ALL: [Self; 5] = [Self::S16, Self::S24, Self::S24Packed, Self::S32, Self::Float];

    /// ALSA's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::S16 => "S16_LE",
            Self::S24 => "S24_LE",
            Self::S24Packed => "S24_3LE",
            Self::S32 => "S32_LE",
            Self::Float => "FLOAT_LE",
        }
    }

    /// Bytes of one sample.
    pub fn bytes(self) -> usize {
        match self {
            Self::S16 => 2,
            Self::S24Packed => 3,
            Self::S24 | Self::S32 | Self::Float => 4,
        }
    }

    /// Decodes `raw` to samples between -1 and 1. A floating point sample that is no number, or beyond full scale, is made
    /// one: nothing downstream meets a NaN.
    ///
    /// # Panics
    /// If `raw` does not hold exactly as many samples as `samples`.
    pub fn decode(self, raw: &[u8], samples: &mut [f32]) {
        assert_eq!(raw.len(), samples.len() * self.bytes(), "as many samples as bytes");
        let whole = |value: i32| value as f32 / FULL_SCALE_32;
        match self {
            Self::S16 => each(raw, samples, |b: [u8; 2]| whole(i32::from(i16::from_le_bytes(b)) << 16)),
            Self::S24 => each(raw, samples, |b: [u8; 4]| whole(i32::from_le_bytes(b) << 8)),
            Self::S24Packed => {
                each(raw, samples, |[low, middle, high]| whole(i32::from_le_bytes([0, low, middle, high])))
            }
            Self::S32 => each(raw, samples, |b: [u8; 4]| whole(i32::from_le_bytes(b))),
            Self::Float => each(raw, samples, |b: [u8; 4]| match f32::from_le_bytes(b) {
                number if number.is_nan() => 0.0,
                number => number.clamp(-1.0, 1.0),
            }),
        }
    }

    /// Encodes 16-bit samples, at full scale where they are.
    ///
    /// # Panics
    /// If `raw` does not hold exactly as many samples as `samples`.
    pub fn encode(self, samples: &[i16], raw: &mut [u8]) {
        assert_eq!(raw.len(), samples.len() * self.bytes(), "as many samples as bytes");
        match self {
            Self::S16 => all(samples, raw, i16::to_le_bytes),
            Self::S24 => all(samples, raw, |sample| (i32::from(sample) << 8).to_le_bytes()),
            Self::S24Packed => all(samples, raw, |sample| {
                let [low, high] = sample.to_le_bytes();
                [0, low, high]
            }),
            Self::S32 => all(samples, raw, |sample| (i32::from(sample) << 16).to_le_bytes()),
            Self::Float => all(samples, raw, |sample| (f32::from(sample) / 32_768.0).to_le_bytes()),
        }
    }

    pub(super) fn alsa(self) -> alsa::pcm::Format {
        use alsa::pcm::Format;
        match self {
            Self::S16 => Format::S16LE,
            Self::S24 => Format::S24LE,
            Self::S24Packed => Format::S243LE,
            Self::S32 => Format::S32LE,
            Self::Float => Format::FloatLE,
        }
    }
}

fn each<const BYTES: usize>(raw: &[u8], samples: &mut [f32], decode: impl Fn([u8; BYTES]) -> f32) {
    let (raw, _) = raw.as_chunks::<BYTES>();
    for (bytes, sample) in raw.iter().zip(samples) {
        *sample = decode(*bytes);
    }
}

fn all<const BYTES: usize>(samples: &[i16], raw: &mut [u8], encode: impl Fn(i16) -> [u8; BYTES]) {
    let (raw, _) = raw.as_chunks_mut::<BYTES>();
    for (sample, bytes) in samples.iter().zip(raw) {
        *bytes = encode(*sample);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(format: SampleFormat, raw: &[u8]) -> Vec<f32> {
        let mut samples = vec![9.0; raw.len() / format.bytes()];
        format.decode(raw, &mut samples);
        samples
    }

    #[test]
    fn the_same_sound_decodes_to_the_same_numbers_from_every_format() {
        // Half of full scale down, silence, the smallest step of 16 bits up, full scale down.
        let expected: [f32; 4] = [-0.5, 0.0, 1.0 / 32_768.0, -1.0];
        let integers = [-16_384_i32, 0, 1, -32_768];
        let raw = |format: SampleFormat| -> Vec<u8> {
            integers
                .iter()
                .zip(expected)
                .flat_map(|(&n, float)| match format {
                    SampleFormat::S16 => (n as i16).to_le_bytes().to_vec(),
                    SampleFormat::S24 => (n << 8).to_le_bytes().to_vec(),
                    SampleFormat::S24Packed => (n << 8).to_le_bytes()[..3].to_vec(),
                    SampleFormat::S32 => (n << 16).to_le_bytes().to_vec(),
                    SampleFormat::Float => float.to_le_bytes().to_vec(),
                })
                .collect()
        };
        for format in SampleFormat::ALL {
            assert_eq!(decoded(format, &raw(format)), expected, "{format:?}");
        }
    }

    #[test]
    fn sixteen_bits_are_encoded_to_the_same_sound_in_every_format() {
        let samples = [-16_384, 0, 1, i16::MIN, i16::MAX];
        let encoded = |format: SampleFormat| {
            let mut raw = vec![9; samples.len() * format.bytes()];
            format.encode(&samples, &mut raw);
            raw
        };
        let least = |format| encoded(format)[2 * format.bytes()..][..format.bytes()].to_vec();
        assert_eq!(least(SampleFormat::S16), [1, 0]);
        assert_eq!(least(SampleFormat::S24), [0, 1, 0, 0]);
        assert_eq!(least(SampleFormat::S24Packed), [0, 1, 0]);
        assert_eq!(least(SampleFormat::S32), [0, 0, 1, 0]);
        assert_eq!(least(SampleFormat::Float), (1.0_f32 / 32_768.0).to_le_bytes());
        assert_eq!(&encoded(SampleFormat::S24)[..4], [0, 0, 0xc0, 0xff], "its unused byte is the sign's");
        for format in SampleFormat::ALL {
            assert_eq!(decoded(format, &encoded(format)), samples.map(|s| f32::from(s) / 32_768.0), "{format:?}");
        }
    }

    #[test]
    fn the_unused_byte_of_a_24_bit_sample_does_not_count() {
        assert_eq!(decoded(SampleFormat::S24, &[0, 0, 0x40, 0xff]), [0.5]);
        assert_eq!(decoded(SampleFormat::S24, &[0, 0, 0xc0, 0x00]), [-0.5]);
    }

    #[test]
    fn a_float_that_is_no_sample_is_made_one() {
        let raw: Vec<u8> = [f32::NAN, f32::INFINITY, -7.0, 0.25].iter().flat_map(|f| f.to_le_bytes()).collect();
        assert_eq!(decoded(SampleFormat::Float, &raw), [0.0, 1.0, -1.0, 0.25]);
    }
}
