//! Media of other participants.

use super::Error;
use super::request::{AudioPacket, Request, VideoFrame};
use opusic_c::{Channels, Decoder, SampleRate};
use protocol::room::TrackSid;
use std::time::SystemTime;
use tokio::sync::broadcast::{self, error::RecvError};
use tokio::sync::mpsc;

/// Opus packets that a slow reader may fall behind by: 1.3 s of 20 ms packets.
pub(super) const AUDIO_BACKLOG: usize = 64;

/// Access units that a slow reader may fall behind by: half a second at 30 fps.
pub(super) const VIDEO_BACKLOG: usize = 16;

/// Undecodable frames after which a keyframe is asked for once more, half a second at 30 fps: the first request, or what it
/// brought, may be lost, and the server passes one on every 500 ms at most.
const ASK_AGAIN: u64 = 15;

/// The longest Opus packet, 120 ms at 48 kHz.
const MAX_PACKET_SAMPLES: usize = 5760;

/// Opus packets of a remote track. Dropping it ends the subscription, with the next packet that comes.
#[derive(Debug)]
pub struct AudioStream {
    packets: broadcast::Receiver<AudioPacket>,
    missed: u64,
}

impl AudioStream {
    pub(super) fn new(packets: broadcast::Receiver<AudioPacket>) -> Self {
        Self { packets, missed: 0 }
    }

    /// The next packet; `None` when the track or the job is over. A reader that is too slow loses the oldest packets,
    /// which [`AudioStream::missed`] counts. Cancel-safe.
    pub async fn next(&mut self) -> Option<AudioPacket> {
        loop {
            match self.packets.recv().await {
                Ok(packet) => return Some(packet),
                Err(RecvError::Lagged(missed)) => self.missed += missed,
                Err(RecvError::Closed) => return None,
            }
        }
    }

    /// Packets lost because this reader was too slow.
    pub fn missed(&self) -> u64 {
        self.missed
    }

    /// Decodes to samples at 48 kHz. Lost packets leave a gap in the timestamps; nothing is concealed.
    pub fn into_pcm(self, channels: PcmChannels) -> Result<PcmStream, Error> {
        let count = match channels {
            PcmChannels::Mono => Channels::Mono,
            PcmChannels::Stereo => Channels::Stereo,
        };
        let decoder = Decoder::new(count, SampleRate::Hz48000)
            .map_err(|e| Error::Codec { call: "create an Opus decoder", why: format!("{e:?}") })?;
        let channels = count as usize;
        Ok(PcmStream { packets: self, decoder, channels, samples: vec![0.0; MAX_PACKET_SAMPLES * channels] })
    }
}

/// Channels to decode to; Opus mixes as needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PcmChannels {
    /// One.
    Mono,
    /// Two, interleaved.
    Stereo,
}

/// Decoded audio of a remote track.
pub struct PcmStream {
    packets: AudioStream,
    decoder: Decoder,
    channels: usize,
    samples: Vec<f32>,
}

/// A decoded packet.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pcm<'a> {
    /// RTP time of the first sample, 48 kHz.
    pub timestamp: u64,
    /// As [`AudioPacket::captured`].
    pub captured: Option<SystemTime>,
    /// Samples from -1 to 1, interleaved.
    pub samples: &'a [f32],
}

impl PcmStream {
    /// The next packet, decoded; `None` when the track or the job is over. Damaged packets are skipped. Cancel-safe.
    pub async fn next(&mut self) -> Option<Pcm<'_>> {
        loop {
            let packet = self.packets.next().await?;
            if packet.payload.is_empty() {
                continue;
            }
            if let Ok(frames) = self.decoder.decode_float_to_slice(&packet.payload, &mut self.samples, false) {
                let AudioPacket { timestamp, captured, .. } = packet;
                return Some(Pcm { timestamp, captured, samples: &self.samples[..frames * self.channels] });
            }
        }
    }
}

impl std::fmt::Debug for PcmStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PcmStream").field("packets", &self.packets).finish_non_exhaustive()
    }
}

/// Access units of a remote track, beginning with a keyframe. Dropping it ends the subscription, with the next frame that comes.
#[derive(Debug)]
pub struct VideoStream {
    sid: TrackSid,
    frames: broadcast::Receiver<VideoFrame>,
    requests: mpsc::Sender<Request>,
    /// Frames skipped while it waits for a keyframe; `None` while it does not.
    skipped: Option<u64>,
    missed: u64,
}

impl VideoStream {
    pub(super) fn new(sid: TrackSid, frames: broadcast::Receiver<VideoFrame>, requests: mpsc::Sender<Request>) -> Self {
        Self { sid, frames, requests, skipped: Some(0), missed: 0 }
    }

    /// The next frame that can be decoded; `None` when the track or the job is over. A reader that is too slow loses
    /// the oldest frames, goes on at the next keyframe, for which it asks, and [`VideoStream::missed`] counts them. Cancel-safe.
    pub async fn next(&mut self) -> Option<VideoFrame> {
        loop {
            match (self.frames.recv().await, self.skipped) {
                (Ok(frame), Some(skipped)) if !frame.keyframe => {
                    self.missed += 1;
                    self.skipped = Some(skipped + 1);
                    if skipped % ASK_AGAIN == 0 {
                        self.request_keyframe();
                    }
                }
                (Ok(frame), _) => {
                    self.skipped = None;
                    return Some(frame);
                }
                (Err(RecvError::Lagged(missed)), skipped) => {
                    self.missed += missed;
                    self.skipped = skipped.or(Some(0));
                }
                (Err(RecvError::Closed), _) => return None,
            }
        }
    }

    /// Frames lost because this reader was too slow, or not decodable without an earlier keyframe.
    pub fn missed(&self) -> u64 {
        self.missed
    }

    /// Asks the publisher for a keyframe.
    pub fn request_keyframe(&self) {
        // With a full queue the request is lost. A stream that needs it asks again.
        let _ = self.requests.try_send(Request::WantKeyframe(self.sid.clone()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;
    use opusic_c::{Application, Encoder};
    use std::time::Instant;

    fn packet(sequence: u64, payload: Vec<u8>) -> AudioPacket {
        AudioPacket { sequence, timestamp: sequence * 960, payload, arrived: Instant::now(), captured: None }
    }

    #[tokio::test]
    async fn a_slow_audio_reader_loses_the_oldest_packets_and_can_tell_how_many() {
        let (sender, receiver) = broadcast::channel(2);
        let mut stream = AudioStream::new(receiver);
        for sequence in 0..5 {
            sender.send(packet(sequence, vec![1])).expect("the stream listens");
        }
        assert_eq!(stream.next().await.map(|p| p.sequence), Some(3));
        assert_eq!(stream.missed(), 3);
    }

    #[tokio::test]
    async fn a_slow_video_reader_asks_for_a_keyframe_and_goes_on_with_it() {
        let (sender, receiver) = broadcast::channel(2);
        let (requests, mut asked) = mpsc::channel(4);
        let mut stream = VideoStream::new(TrackSid("TR_1".into()), receiver, requests);
        let frame = |timestamp, keyframe| VideoFrame { timestamp, captured: None, data: vec![], keyframe };
        sender.send(frame(0, true)).expect("the stream listens");
        assert_eq!(stream.next().await.map(|f| f.timestamp), Some(0));
        for (timestamp, keyframe) in [(1, false), (2, false), (3, false), (4, true)] {
            sender.send(frame(timestamp, keyframe)).expect("the stream listens");
        }
        assert_eq!(stream.next().await.map(|f| f.timestamp), Some(4));
        assert!(matches!(asked.try_recv(), Ok(Request::WantKeyframe(sid)) if sid.0 == "TR_1"));
        assert_eq!(stream.missed(), 3);
    }

    #[tokio::test]
    async fn a_stream_that_begins_amid_frames_asks_for_a_keyframe_until_it_comes() {
        let (sender, receiver) = broadcast::channel(64);
        let (requests, mut asked) = mpsc::channel(1);
        let mut stream = VideoStream::new(TrackSid("TR_1".into()), receiver, requests);
        let frame = |timestamp, keyframe| VideoFrame { timestamp, captured: None, data: vec![], keyframe };
        // The first request, which finds the queue full, is lost.
        stream.request_keyframe();
        sender.send(frame(0, false)).expect("the stream listens");
        assert!(stream.next().now_or_never().is_none(), "it cannot be decoded");
        assert!(asked.try_recv().is_ok());
        let mut asks = 0;
        for timestamp in 1..45 {
            sender.send(frame(timestamp, false)).expect("the stream listens");
            assert!(stream.next().now_or_never().is_none(), "it cannot be decoded");
            asks += u32::from(asked.try_recv().is_ok());
        }
        assert_eq!(asks, 2, "every fifteenth frame");
        sender.send(frame(45, true)).expect("the stream listens");
        sender.send(frame(46, false)).expect("the stream listens");
        assert_eq!(stream.next().await.map(|f| f.timestamp), Some(45));
        assert_eq!(stream.next().await.map(|f| f.timestamp), Some(46));
        assert_eq!((stream.missed(), asked.try_recv().is_err()), (45, true));
    }

    #[tokio::test]
    async fn opus_is_decoded_to_the_tone_that_went_in_and_damage_is_skipped() {
        let mut encoder = Encoder::new(Channels::Mono, SampleRate::Hz48000, Application::Audio).expect("encoder");
        let (sender, receiver) = broadcast::channel(8);
        sender.send(packet(0, vec![])).expect("the stream listens");
        for sequence in 1..4 {
            let tone: Vec<f32> = (0..960)
                .map(|i| (std::f32::consts::TAU * 440.0 * (sequence * 960 + i) as f32 / 48000.0).sin() * 0.5)
                .collect();
            let mut out = vec![0; 1500];
            let length = encoder.encode_float_to_slice(&tone, &mut out).expect("encodes");
            out.truncate(length);
            sender.send(packet(sequence as u64, out)).expect("the stream listens");
        }
        let mut pcm = AudioStream::new(receiver).into_pcm(PcmChannels::Mono).expect("decoder");
        let mut loudest = 0f32;
        for expected in 1..4 {
            let decoded = pcm.next().await.expect("a packet");
            assert_eq!((decoded.timestamp, decoded.samples.len()), (expected * 960, 960));
            loudest = decoded.samples.iter().fold(0.0, |a, s| a.max(s.abs()));
        }
        assert!((0.4..0.6).contains(&loudest), "{loudest}");
    }
}
