//! Opus for a microphone: 48 kHz, 20 ms, variable rate, in-band error correction.

use opusic_c::{Application, Bitrate, Channels, ErrorCode, InbandFec, SampleRate};

/// Samples of one packet and channel: 20 ms at 48 kHz, the length every browser expects.
pub const PACKET_SAMPLES: usize = 960;
/// Length of one packet.
pub const PACKET_MS: u8 = 20;
/// libopus' quality for CPU: 5 to 8 % of a 1 GHz Cortex-A53, and hard to tell from 10 at voice rates.
const COMPLEXITY: u8 = 5;
/// In-band error correction spends bits only where loss is expected; this is what a weak Wi-Fi loses.
const EXPECTED_LOSS_PERCENT: u8 = 5;
/// Bytes of one packet at most: RFC 6716's limit of a single frame.
const MAX_PACKET: usize = 1275;

/// What can go wrong.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A setting or the encoder's creation failed.
    #[error("opus encoder: {call}: {reason}")]
    Setting {
        /// Which.
        call: &'static str,
        /// libopus' words.
        reason: &'static str,
    },
    /// A packet could not be encoded.
    #[error("opus encoder: {0}")]
    Encode(&'static str),
}

fn setting(call: &'static str) -> impl Fn(ErrorCode) -> Error {
    move |code| Error::Setting { call, reason: code.message() }
}

/// The encoder of one microphone.
pub struct Encoder {
    inner: opusic_c::Encoder,
    channels: usize,
    /// libopus' binding wants the samples' bits as unsigned.
    input: Vec<u16>,
}

impl Encoder {
    /// One encoder for 1 or 2 channels.
    pub fn new(channels: u8, bitrate: u32) -> Result<Self, Error> {
        let (layout, application) =
            if channels == 2 { (Channels::Stereo, Application::Audio) } else { (Channels::Mono, Application::Voip) };
        let mut inner = opusic_c::Encoder::new(layout, SampleRate::Hz48000, application).map_err(setting("create"))?;
        inner.set_bitrate(Bitrate::Value(bitrate)).map_err(setting("bitrate"))?;
        inner.set_vbr(true).map_err(setting("vbr"))?;
        inner.set_complexity(COMPLEXITY).map_err(setting("complexity"))?;
        inner.set_inband_fec(InbandFec::Mode1).map_err(setting("inband fec"))?;
        inner.set_packet_loss(EXPECTED_LOSS_PERCENT).map_err(setting("packet loss"))?;
        inner.set_dtx(false).map_err(setting("dtx"))?;
        let channels = layout as usize;
        Ok(Self { inner, channels, input: vec![0; PACKET_SAMPLES * channels] })
    }

    /// Encodes [`PACKET_SAMPLES`] interleaved frames into `packet` (cleared first).
    pub fn encode(&mut self, pcm: &[i16], packet: &mut Vec<u8>) -> Result<(), Error> {
        if pcm.len() != PACKET_SAMPLES * self.channels {
            return Err(Error::Encode("not 20 ms of samples"));
        }
        for (bits, sample) in self.input.iter_mut().zip(pcm) {
            *bits = sample.cast_unsigned();
        }
        packet.resize(MAX_PACKET, 0);
        let length = self.inner.encode_to_slice(&self.input, packet).map_err(|code| Error::Encode(code.message()))?;
        packet.truncate(length);
        Ok(())
    }
}

/// The loudness of samples in -dBov, as RFC 6464 wants it: 0 is overload, 127 is silence.
pub fn level(pcm: &[i16]) -> u8 {
    const SILENCE: u8 = 127;
    if pcm.is_empty() {
        return SILENCE;
    }
    let energy: u64 = pcm.iter().map(|&s| u64::from(s.unsigned_abs()).pow(2)).sum();
    let rms = (energy as f64 / pcm.len() as f64).sqrt() / f64::from(i16::MAX);
    if rms <= 0.0 { SILENCE } else { (-20.0 * rms.log10()).round().clamp(0.0, f64::from(SILENCE)) as u8 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::tone::Tone;

    /// Encodes one second of the tone and decodes it again.
    fn second_of_tone(channels: u8) -> Vec<i16> {
        let count = usize::from(channels);
        let mut tone = Tone::default();
        let mut encoder = Encoder::new(channels, 32_000).unwrap();
        let layout = if channels == 2 { Channels::Stereo } else { Channels::Mono };
        let mut decoder = opusic_c::Decoder::new(layout, SampleRate::Hz48000).unwrap();
        let (mut pcm, mut packet, mut heard) = (vec![0; PACKET_SAMPLES * count], Vec::new(), Vec::new());
        let mut decoded = vec![0u16; PACKET_SAMPLES * count];
        for _ in 0..50 {
            tone.fill(&mut pcm, count);
            encoder.encode(&pcm, &mut packet).unwrap();
            assert!(!packet.is_empty() && packet.len() <= MAX_PACKET);
            assert_eq!(decoder.decode_to_slice(&packet, &mut decoded, false).unwrap(), PACKET_SAMPLES);
            heard.extend(decoded.iter().map(|bits| bits.cast_signed()));
        }
        heard
    }

    fn rising_edges(samples: impl Iterator<Item = i16>) -> usize {
        let samples: Vec<_> = samples.collect();
        samples.windows(2).filter(|w| w[0] < 0 && w[1] >= 0).count()
    }

    #[test]
    fn a_decoder_hears_440_hz_at_the_same_loudness() {
        let heard = second_of_tone(1);
        // The first 100 ms hold the codec's delay and its settling.
        let settled = &heard[4_800..];
        let pitch = rising_edges(settled.iter().copied()) as f64 / 0.9;
        assert!((436.0..=444.0).contains(&pitch), "{pitch} Hz");
        assert!((21..=25).contains(&level(settled)), "-{} dBov", level(settled));
    }

    #[test]
    fn stereo_keeps_both_channels() {
        let heard = second_of_tone(2);
        for channel in 0..2 {
            let pitch = rising_edges(heard[9_600..].iter().skip(channel).step_by(2).copied()) as f64 / 0.9;
            assert!((436.0..=444.0).contains(&pitch), "{pitch} Hz");
        }
    }

    #[test]
    fn the_level_is_in_decibels_below_overload() {
        assert_eq!(level(&[]), 127);
        assert_eq!(level(&[0; 960]), 127);
        assert_eq!(level(&[i16::MIN; 960]), 0);
        assert_eq!(level(&[3277, -3277, 3277, -3277]), 20);
    }

    #[test]
    fn a_packet_of_the_wrong_length_is_an_error() {
        let mut encoder = Encoder::new(1, 32_000).unwrap();
        assert!(encoder.encode(&[0; 480], &mut Vec::new()).is_err());
    }
}
