//! One received video stream: packets in arrival order in, access units and keyframe requests out.

use super::h264::{AccessUnit, Depacketizer};
use super::reorder::{Next, Reorder};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Between two keyframe requests while none has helped: a round trip and an encoder's answer, with some room.
const REQUEST_INTERVAL: Duration = Duration::from_millis(600);

/// What comes out of a [`Receiver`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Received {
    /// The next access unit that a decoder can use.
    Unit(AccessUnit),
    /// Ask the sender for a keyframe: nothing else can continue this stream.
    KeyframeNeeded,
}

/// The receiving end of one SSRC. A new SSRC needs a new one.
#[derive(Debug, Default)]
pub struct Receiver {
    reorder: Reorder<Fragment>,
    depacketizer: Depacketizer,
    requested: Option<Instant>,
    ready: VecDeque<Received>,
    lost: u64,
}

#[derive(Debug)]
struct Fragment {
    timestamp: u64,
    marker: bool,
    payload: Arc<[u8]>,
}

impl Receiver {
    /// Waits for the first keyframe.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes a packet. Sequence number and RTP time are extended.
    pub fn push(&mut self, sequence: u64, timestamp: u64, marker: bool, payload: Arc<[u8]>, now: Instant) {
        self.reorder.push(sequence, Fragment { timestamp, marker, payload }, now);
        self.advance(now);
    }

    /// The deadline passed.
    pub fn timeout(&mut self, now: Instant) {
        self.advance(now);
    }

    /// What is ready. Call after each input until `None`.
    pub fn poll(&mut self) -> Option<Received> {
        self.ready.pop_front()
    }

    /// When [`Receiver::timeout`] must be called.
    pub fn deadline(&self) -> Option<Instant> {
        self.reorder.deadline()
    }

    /// Packets given up so far.
    pub fn lost(&self) -> u64 {
        self.lost
    }

    fn advance(&mut self, now: Instant) {
        while let Some(next) = self.reorder.poll(now) {
            match next {
                Next::Packet(packet) => {
                    let unit = self.depacketizer.push(&packet.payload, packet.timestamp, packet.marker);
                    self.ready.extend(unit.map(Received::Unit));
                    if packet.marker {
                        self.request(now);
                    }
                }
                Next::Lost(count) => {
                    self.lost += count;
                    self.depacketizer.lost();
                    self.request(now);
                }
            }
        }
    }

    fn request(&mut self, now: Instant) {
        if !self.depacketizer.needs_keyframe() {
            self.requested = None;
        } else if self.requested.is_none_or(|at| now.duration_since(at) >= REQUEST_INTERVAL) {
            self.requested = Some(now);
            self.ready.push_back(Received::KeyframeNeeded);
        }
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test starts at any instant")]
mod tests {
    use super::super::h264::packetize;
    use super::super::reorder::REPAIR_WAIT;
    use super::*;

    const FRAME: Duration = Duration::from_millis(33);

    /// An access unit of four or five packets; its last byte says which it is.
    fn unit(key: bool, tag: u8) -> Vec<u8> {
        let mut data = if key { vec![0, 0, 0, 1, 0x67, 0x42, 0, 0, 0, 1, 0x65] } else { vec![0, 0, 0, 1, 0x41] };
        data.resize(4000, 0xaa);
        data.push(tag);
        data
    }

    struct Sender {
        sequence: u64,
        frame: u64,
        now: Instant,
    }

    impl Sender {
        fn new() -> Self {
            Self { sequence: 100, frame: 0, now: Instant::now() }
        }

        /// Sends one unit without the packets whose index is in `lose`; says what came out.
        fn send(&mut self, receiver: &mut Receiver, data: &[u8], lose: &[usize]) -> Vec<Received> {
            self.now += FRAME;
            self.frame += 1;
            let mut packets = Vec::new();
            packetize(data, 1150, &mut packets);
            for (index, packet) in packets.into_iter().enumerate() {
                if !lose.contains(&index) {
                    receiver.push(self.sequence, self.frame * 3000, packet.marker, packet.payload.into(), self.now);
                }
                self.sequence += 1;
            }
            std::iter::from_fn(|| receiver.poll()).collect()
        }
    }

    fn tags(received: &[Received]) -> Vec<u8> {
        let tag = |r: &Received| match r {
            Received::Unit(unit) => unit.data[unit.data.len() - 1],
            Received::KeyframeNeeded => b'?',
        };
        received.iter().map(tag).collect()
    }

    #[test]
    fn a_stream_without_loss_comes_out_whole_and_asks_for_nothing() {
        let (mut sender, mut receiver) = (Sender::new(), Receiver::new());
        for tag in 1..10 {
            let sent = unit(tag == 1, tag);
            let received = sender.send(&mut receiver, &sent, &[]);
            let timestamp = sender.frame * 3000;
            assert_eq!(received, [Received::Unit(AccessUnit { timestamp, data: sent, keyframe: tag == 1 })]);
        }
    }

    #[test]
    fn a_loss_that_is_not_repaired_asks_once_and_drops_until_the_next_keyframe() {
        let (mut sender, mut receiver) = (Sender::new(), Receiver::new());
        sender.send(&mut receiver, &unit(true, 1), &[]);
        assert!(tags(&sender.send(&mut receiver, &unit(false, 2), &[1])).is_empty());
        assert!(tags(&sender.send(&mut receiver, &unit(false, 3), &[])).is_empty());
        receiver.timeout(sender.now + REPAIR_WAIT);
        assert_eq!(tags(&std::iter::from_fn(|| receiver.poll()).collect::<Vec<_>>()), [b'?']);
        assert!(tags(&sender.send(&mut receiver, &unit(false, 4), &[])).is_empty());
        assert_eq!(tags(&sender.send(&mut receiver, &unit(true, 5), &[])), [5]);
        assert_eq!(tags(&sender.send(&mut receiver, &unit(false, 6), &[])), [6]);
    }

    #[test]
    fn a_keyframe_that_does_not_come_is_asked_for_again() {
        let (mut sender, mut receiver) = (Sender::new(), Receiver::new());
        assert_eq!(tags(&sender.send(&mut receiver, &unit(false, 1), &[])), [b'?']);
        let asked = (0..30).filter(|_| !sender.send(&mut receiver, &unit(false, 2), &[]).is_empty()).count();
        assert_eq!(asked, 1, "30 frames are about a second");
    }

    #[test]
    fn a_lost_marker_does_not_join_two_access_units() {
        let (mut sender, mut receiver) = (Sender::new(), Receiver::new());
        sender.send(&mut receiver, &unit(true, 1), &[]);
        sender.send(&mut receiver, &unit(false, 2), &[3]);
        sender.send(&mut receiver, &unit(false, 3), &[]);
        receiver.timeout(sender.now + REPAIR_WAIT);
        assert_eq!(tags(&std::iter::from_fn(|| receiver.poll()).collect::<Vec<_>>()), [b'?']);
        assert_eq!(tags(&sender.send(&mut receiver, &unit(true, 4), &[])), [4]);
    }
}
