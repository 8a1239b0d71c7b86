//! Opus for a microphone: 48 kHz, variable rate.

use crate::config::{self, OpusApplication};
use opusic_c::{Application, Bitrate, Channels, ErrorCode, InbandFec, SampleRate};

/// Samples of one packet and channel at [`PACKET_MS`].
pub const PACKET_SAMPLES: usize = 960;
/// Length of the usual packet: the compromise of delay and header cost that every browser makes.
pub const PACKET_MS: u8 = 20;
/// Samples of a millisecond and channel.
const MS_SAMPLES: usize = 48;
/// In-band error correction spends bits only where loss is expected; this is what a weak Wi-Fi loses.
const EXPECTED_LOSS_PERCENT: u8 = 5;
/// Bytes of one packet at most: RFC 6716's limit of a single frame. A packet of 40 ms has two.
const MAX_PACKET: usize = 1275;
/// What discontinuous transmission makes of a packet that need not be sent: its first byte, or two.
const NOTHING_TO_SEND: usize = 2;

/// How to encode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// 1 or 2.
    pub channels: u8,
    /// Bit/s.
    pub bitrate: u32,
    /// 10, 20 or 40.
    pub frame_ms: u8,
    /// Nothing is sent while it is quiet.
    pub dtx: bool,
    /// Each packet can carry the one before it, coarsely.
    pub fec: bool,
    /// 0 to 10.
    pub complexity: u8,
    /// What it is tuned for.
    pub application: OpusApplication,
}

impl Settings {
    /// Samples of a packet and channel.
    pub fn packet_samples(&self) -> usize {
        usize::from(self.frame_ms) * MS_SAMPLES
    }
}

impl Default for Settings {
    /// Speech on a small core.
    fn default() -> Self {
        Self::from(&config::Microphone::default())
    }
}

impl From<&config::Microphone> for Settings {
    fn from(microphone: &config::Microphone) -> Self {
        let config::Microphone { channels, bitrate, frame_ms, dtx, fec, complexity, application, .. } = *microphone;
        Self { channels, bitrate, frame_ms, dtx, fec, complexity, application }
    }
}

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
    dtx: bool,
    /// libopus' binding wants the samples' bits as unsigned.
    input: Vec<u16>,
}

impl Encoder {
    /// One encoder.
    pub fn new(settings: &Settings) -> Result<Self, Error> {
        let layout = if settings.channels == 2 { Channels::Stereo } else { Channels::Mono };
        let application = match settings.application {
            OpusApplication::Voip => Application::Voip,
            OpusApplication::Audio => Application::Audio,
            OpusApplication::LowDelay => Application::LowDelay,
        };
        let mut inner = opusic_c::Encoder::new(layout, SampleRate::Hz48000, application).map_err(setting("create"))?;
        inner.set_bitrate(Bitrate::Value(settings.bitrate)).map_err(setting("bitrate"))?;
        inner.set_vbr(true).map_err(setting("vbr"))?;
        inner.set_complexity(settings.complexity).map_err(setting("complexity"))?;
        let (fec, loss) = if settings.fec { (InbandFec::Mode1, EXPECTED_LOSS_PERCENT) } else { (InbandFec::Off, 0) };
        inner.set_inband_fec(fec).map_err(setting("inband fec"))?;
        inner.set_packet_loss(loss).map_err(setting("packet loss"))?;
        inner.set_dtx(settings.dtx).map_err(setting("dtx"))?;
        Ok(Self { inner, dtx: settings.dtx, input: vec![0; settings.packet_samples() * layout as usize] })
    }

    /// Encodes one packet of interleaved samples into `packet` (cleared first). `false` when it need not be sent: it is
    /// quiet, and the receiver makes the noise itself.
    pub fn encode(&mut self, pcm: &[i16], packet: &mut Vec<u8>) -> Result<bool, Error> {
        if pcm.len() != self.input.len() {
            return Err(Error::Encode("not one packet of samples"));
        }
        for (bits, sample) in self.input.iter_mut().zip(pcm) {
            *bits = sample.cast_unsigned();
        }
        packet.resize(MAX_PACKET, 0);
        let length = self.inner.encode_to_slice(&self.input, packet).map_err(|code| Error::Encode(code.message()))?;
        packet.truncate(length);
        Ok(!self.dtx || length > NOTHING_TO_SEND)
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

    fn settings(channels: u8, frame_ms: u8) -> Settings {
        Settings { channels, frame_ms, bitrate: 32_000, ..Settings::default() }
    }

    /// Encodes one second of the tone and decodes it again.
    fn second_of_tone(settings: &Settings) -> Vec<i16> {
        let (count, samples) = (usize::from(settings.channels), settings.packet_samples());
        let mut tone = Tone::default();
        let mut encoder = Encoder::new(settings).unwrap();
        let layout = if settings.channels == 2 { Channels::Stereo } else { Channels::Mono };
        let mut decoder = opusic_c::Decoder::new(layout, SampleRate::Hz48000).unwrap();
        let (mut pcm, mut packet, mut heard) = (vec![0; samples * count], Vec::new(), Vec::new());
        let mut decoded = vec![0u16; samples * count];
        for _ in 0..48_000 / samples {
            tone.fill(&mut pcm, count);
            assert!(encoder.encode(&pcm, &mut packet).unwrap());
            assert!(!packet.is_empty() && packet.len() <= MAX_PACKET);
            assert_eq!(decoder.decode_to_slice(&packet, &mut decoded, false).unwrap(), samples);
            heard.extend(decoded.iter().map(|bits| bits.cast_signed()));
        }
        heard
    }

    fn rising_edges(samples: impl Iterator<Item = i16>) -> usize {
        let samples: Vec<_> = samples.collect();
        samples.windows(2).filter(|w| w[0] < 0 && w[1] >= 0).count()
    }

    #[test]
    fn a_decoder_hears_440_hz_at_the_same_loudness_in_packets_of_every_length() {
        for frame_ms in [10, 20, 40] {
            let heard = second_of_tone(&settings(1, frame_ms));
            // The first 100 ms hold the codec's delay and its settling.
            let settled = &heard[4_800..];
            let pitch = rising_edges(settled.iter().copied()) as f64 * 48_000.0 / settled.len() as f64;
            assert!((436.0..=444.0).contains(&pitch), "{pitch} Hz in packets of {frame_ms} ms");
            assert!((21..=25).contains(&level(settled)), "-{} dBov", level(settled));
        }
    }

    #[test]
    fn stereo_keeps_both_channels() {
        let heard = second_of_tone(&settings(2, 20));
        for channel in 0..2 {
            let pitch = rising_edges(heard[9_600..].iter().skip(channel).step_by(2).copied()) as f64 / 0.9;
            assert!((436.0..=444.0).contains(&pitch), "{pitch} Hz");
        }
    }

    /// Samples that nobody can foresee.
    fn noise(amplitude: i16) -> impl FnMut() -> i16 {
        let mut random = 1_u32;
        move || {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            ((random >> 16) as i32 % (2 * i32::from(amplitude) + 1) - i32::from(amplitude)) as i16
        }
    }

    /// Bytes of each of five seconds' packets of noise or silence, and whether it is sent.
    fn packets(settings: &Settings, amplitude: i16) -> Vec<(usize, bool)> {
        let (mut encoder, mut noise) = (Encoder::new(settings).unwrap(), noise(amplitude));
        let mut packet = Vec::new();
        let encode = |_| {
            let sent = encoder.encode(&std::array::from_fn::<_, 960, _>(|_| noise()), &mut packet).unwrap();
            (packet.len(), sent)
        };
        (0..250).map(encode).collect()
    }

    fn sent(dtx: bool, amplitude: i16) -> usize {
        packets(&Settings { dtx, ..settings(1, 20) }, amplitude).iter().filter(|(_, sent)| *sent).count()
    }

    #[test]
    fn packets_are_as_large_as_the_bitrate_allows_and_no_larger_on_average() {
        for bitrate in [16_000, 32_000, 64_000] {
            let packets = packets(&Settings { bitrate, ..settings(1, 20) }, 8_000);
            let bits = packets.iter().map(|(bytes, _)| bytes * 8).sum::<usize>() / 5;
            let part = bits as f64 / f64::from(bitrate);
            assert!((0.8..1.1).contains(&part), "{bits} bit/s of {bitrate}");
        }
    }

    /// What a packet holds of the one before it, in which a tone begins after a second of silence, and which is lost.
    fn rescued(fec: bool) -> Vec<i16> {
        let mut encoder = Encoder::new(&Settings { fec, ..Settings::default() }).unwrap();
        let mut decoder = opusic_c::Decoder::new(Channels::Mono, SampleRate::Hz48000).unwrap();
        let (mut tone, mut packet) = (Tone::default(), Vec::new());
        let (mut pcm, mut decoded) = ([0; PACKET_SAMPLES], [0; PACKET_SAMPLES]);
        for _ in 0..50 {
            encoder.encode(&pcm, &mut packet).unwrap();
            decoder.decode_to_slice(&packet, &mut decoded, false).unwrap();
        }
        for _ in 0..2 {
            tone.fill(&mut pcm, 1);
            encoder.encode(&pcm, &mut packet).unwrap();
        }
        assert_eq!(decoder.decode_to_slice(&packet, &mut decoded, true).unwrap(), PACKET_SAMPLES);
        // Before, the codec's delay.
        decoded[PACKET_SAMPLES / 2..].iter().map(|bits| bits.cast_signed()).collect()
    }

    #[test]
    fn a_lost_packet_is_heard_from_the_next_one_where_error_correction_is_on() {
        let (with, without) = (rescued(true), rescued(false));
        // 10 ms of 440 Hz.
        assert!((4..=5).contains(&rising_edges(with.iter().copied())), "{with:?}");
        assert!((20..30).contains(&level(&with)), "-{} dBov", level(&with));
        assert!(level(&without) > 60, "-{} dBov", level(&without));
    }

    #[test]
    fn with_dtx_a_quiet_room_costs_few_packets_and_without_it_all() {
        assert_eq!(sent(false, 0), 250);
        assert!(sent(true, 0) < 50, "{}", sent(true, 0));
        // Steady noise is told from speech now and then.
        assert!(sent(true, 8_000) > 200, "{}", sent(true, 8_000));
    }

    #[test]
    fn every_setting_that_a_configuration_may_hold_is_taken() {
        use OpusApplication::{Audio, LowDelay, Voip};
        for application in [Voip, Audio, LowDelay] {
            for (channels, frame_ms, complexity) in [(1, 10, 0), (2, 20, 5), (1, 40, 10)] {
                for (dtx, fec) in [(false, false), (true, true)] {
                    let base = settings(channels, frame_ms);
                    let settings = Settings { dtx, fec, complexity, application, ..base };
                    let mut encoder = Encoder::new(&settings).unwrap();
                    let pcm = vec![0; settings.packet_samples() * usize::from(channels)];
                    encoder.encode(&pcm, &mut Vec::new()).unwrap();
                }
            }
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
        let mut encoder = Encoder::new(&settings(1, 20)).unwrap();
        assert!(encoder.encode(&[0; 480], &mut Vec::new()).is_err());
    }
}
