//! How long frames take from being written until the last of their packets has gone to the socket: packetized, encrypted
//! and paced. Packets are known by SSRC and RTP time, which SRTP leaves in the clear.

use crate::control::Latency;
use protocol::room::TrackId;
use protocol::room::rtp::Stamp;
use std::collections::VecDeque;
use std::time::Instant;

/// Frames under way. A pacer that holds more of them has stalled; the oldest are forgotten uncounted.
const MAX_FRAMES: usize = 64;

/// Bytes of an RTP header.
const RTP_HEADER: usize = 12;

/// See the module.
#[derive(Debug, Default)]
pub struct Sending {
    frames: VecDeque<Frame>,
    tracks: Vec<Track>,
}

#[derive(Debug)]
struct Frame {
    stamp: Stamp,
    written: Instant,
}

#[derive(Debug)]
struct Track {
    id: TrackId,
    /// Of its stream; a full reconnect gives it another.
    ssrc: u32,
    latency: Latency,
}

impl Sending {
    /// A frame of `track` was written.
    pub fn frame(&mut self, track: &TrackId, stamp: Stamp, now: Instant) {
        match self.tracks.iter_mut().find(|known| known.id == *track) {
            Some(known) => known.ssrc = stamp.ssrc,
            None => {
                // Tracks that are gone make room for new ones of the same stream.
                self.tracks.retain(|known| known.ssrc != stamp.ssrc);
                self.tracks.push(Track { id: track.clone(), ssrc: stamp.ssrc, latency: Latency::default() });
            }
        }
        if self.frames.len() >= MAX_FRAMES {
            self.frames.pop_front();
        }
        self.frames.push_back(Frame { stamp, written: now });
    }

    /// A packet of any kind went to a socket.
    pub fn packet(&mut self, packet: &[u8], now: Instant) {
        let Some((ssrc, timestamp)) = rtp(packet) else { return };
        let of = |frame: &Frame| frame.stamp.ssrc == ssrc && frame.stamp.timestamp == timestamp;
        let Some(at) = self.frames.iter().position(of) else { return };
        let frame = &mut self.frames[at];
        frame.stamp.packets = frame.stamp.packets.saturating_sub(1);
        if frame.stamp.packets == 0 {
            let took = now.saturating_duration_since(frame.written);
            self.frames.remove(at);
            if let Some(track) = self.tracks.iter_mut().find(|track| track.ssrc == ssrc) {
                if track.latency == Latency::default() {
                    tracing::debug!("track {}: its first frame is sent", track.id.0);
                }
                track.latency.took(took);
            }
        }
    }

    /// The times so far.
    pub fn latency(&self, track: &TrackId) -> Latency {
        self.tracks.iter().find(|known| known.id == *track).map_or_else(Latency::default, |track| track.latency)
    }
}

/// SSRC and RTP time; nothing for STUN, DTLS and RTCP (RFC 7983, RFC 5761).
fn rtp(packet: &[u8]) -> Option<(u32, u32)> {
    let header = packet.get(..RTP_HEADER)?;
    if !(128..192).contains(&header[0]) || (192..224).contains(&header[1]) {
        return None;
    }
    let word = |at: usize| u32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
    Some((word(8), word(4)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn packet(kind: u8, ssrc: u32, timestamp: u32) -> Vec<u8> {
        let mut packet = vec![0x90, kind, 0, 1];
        packet.extend(timestamp.to_be_bytes());
        packet.extend(ssrc.to_be_bytes());
        packet.extend([0; 40]);
        packet
    }

    fn count(sending: &Sending, track: &str) -> u64 {
        sending.latency(&TrackId(track.into())).counts.iter().sum()
    }

    #[test]
    fn a_frame_has_taken_the_time_until_its_last_packet_and_other_packets_do_not_count() {
        let now = Instant::now();
        let mut sending = Sending::default();
        let camera = TrackId("camera".into());
        sending.frame(&camera, Stamp { ssrc: 7, timestamp: 90, packets: 2 }, now);
        sending.packet(&packet(96, 7, 90), now);
        for other in [packet(96, 8, 90), packet(96, 7, 91), packet(200, 7, 90), vec![0, 1, 0, 0], vec![22; 60]] {
            sending.packet(&other, now);
        }
        assert_eq!(count(&sending, "camera"), 0);
        sending.packet(&packet(0x80 | 96, 7, 90), now + Duration::from_millis(30));
        let latency = sending.latency(&camera);
        assert_eq!((latency.sum_us, latency.counts[7]), (30_000, 1));
        sending.packet(&packet(96, 7, 90), now + Duration::from_millis(60));
        assert_eq!(count(&sending, "camera"), 1, "a retransmission is none of its packets");
    }

    #[test]
    fn two_tracks_with_the_same_times_are_told_apart_and_a_reconnect_goes_on_counting() {
        let now = Instant::now();
        let mut sending = Sending::default();
        for (track, ssrc) in [("a", 1), ("b", 2)] {
            sending.frame(&TrackId(track.into()), Stamp { ssrc, timestamp: 5, packets: 1 }, now);
        }
        sending.packet(&packet(96, 2, 5), now);
        assert_eq!((count(&sending, "a"), count(&sending, "b")), (0, 1));
        sending.frame(&TrackId("b".into()), Stamp { ssrc: 3, timestamp: 6, packets: 1 }, now);
        sending.packet(&packet(96, 3, 6), now);
        assert_eq!(count(&sending, "b"), 2);
    }

    #[test]
    fn frames_that_never_leave_are_forgotten() {
        let now = Instant::now();
        let mut sending = Sending::default();
        for timestamp in 0..1000 {
            sending.frame(&TrackId("a".into()), Stamp { ssrc: 1, timestamp, packets: 1 }, now);
        }
        assert_eq!(sending.frames.len(), MAX_FRAMES);
        sending.packet(&packet(96, 1, 0), now);
        assert_eq!(count(&sending, "a"), 0);
    }
}
