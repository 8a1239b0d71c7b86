//! A receive buffer that puts packets back in sequence and waits a bounded time for repairs.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// How long a gap may hold back what came after it. A repair takes a NACK timer and a round trip; twice that at 100 ms
/// of round trip. Longer costs delay on links that lose for good, shorter asks for keyframes that were not needed.
pub const REPAIR_WAIT: Duration = Duration::from_millis(250);

/// Packets held at most while a gap is open: a keyframe of 500 kB. When full, the gap is given up at once.
pub const MAX_HELD: usize = 512;

/// What comes out of a [`Reorder`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next<T> {
    /// The next packet in sequence.
    Packet(T),
    /// Packets that did not come in time: this many, between the last packet and the next one.
    Lost(u64),
}

/// Packets by sequence number, given out in order.
#[derive(Debug)]
pub struct Reorder<T> {
    /// The sequence number to give out next; `None` before the first packet.
    next: Option<u64>,
    held: BTreeMap<u64, Held<T>>,
    late: u64,
}

#[derive(Debug)]
struct Held<T> {
    arrived: Instant,
    packet: T,
}

impl<T> Default for Reorder<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Reorder<T> {
    /// Starts with whatever packet comes first.
    pub fn new() -> Self {
        Self { next: None, held: BTreeMap::new(), late: 0 }
    }

    /// Takes a packet. One that was given out or given up before is dropped and counted.
    pub fn push(&mut self, sequence: u64, packet: T, now: Instant) {
        let next = *self.next.get_or_insert(sequence);
        if sequence < next {
            self.late += 1;
            return;
        }
        self.held.entry(sequence).or_insert(Held { arrived: now, packet });
    }

    /// The next packet or gap, if it is time for one. Call until `None`.
    pub fn poll(&mut self, now: Instant) -> Option<Next<T>> {
        let next = self.next?;
        let first = self.held.first_entry()?;
        let sequence = *first.key();
        if sequence == next {
            self.next = Some(sequence.saturating_add(1));
            return Some(Next::Packet(first.remove().packet));
        }
        let given_up = self.held.len() > MAX_HELD || self.deadline().is_some_and(|deadline| deadline <= now);
        given_up.then(|| {
            self.next = Some(sequence);
            Next::Lost(sequence - next)
        })
    }

    /// When to call [`Reorder::poll`] although no packet came.
    pub fn deadline(&self) -> Option<Instant> {
        // Repaired packets arrive late and lie in front: the wait counts from the first packet behind the gap.
        self.held.values().map(|held| held.arrived).min().map(|arrived| arrived + REPAIR_WAIT)
    }

    /// Packets that came after they had been given up, or twice.
    pub fn late(&self) -> u64 {
        self.late
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test starts at any instant")]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn drain(buffer: &mut Reorder<u64>, now: Instant) -> Vec<Next<u64>> {
        std::iter::from_fn(|| buffer.poll(now)).collect()
    }

    #[test]
    fn packets_in_sequence_pass_at_once() {
        let now = Instant::now();
        let mut buffer = Reorder::new();
        for sequence in 7..10 {
            buffer.push(sequence, sequence, now);
            assert_eq!(drain(&mut buffer, now), [Next::Packet(sequence)]);
        }
        assert_eq!(buffer.deadline(), None);
    }

    #[test]
    fn a_gap_holds_back_until_the_repair_comes() {
        let now = Instant::now();
        let mut buffer = Reorder::new();
        for sequence in [1, 3, 4] {
            buffer.push(sequence, sequence, now);
        }
        assert_eq!(drain(&mut buffer, now), [Next::Packet(1)]);
        buffer.push(2, 2, now + REPAIR_WAIT / 2);
        let repaired = drain(&mut buffer, now + REPAIR_WAIT / 2);
        assert_eq!(repaired, [Next::Packet(2), Next::Packet(3), Next::Packet(4)]);
    }

    #[test]
    fn a_gap_is_given_up_at_the_deadline_and_its_packets_are_late() {
        let now = Instant::now();
        let mut buffer = Reorder::new();
        buffer.push(1, 1, now);
        buffer.push(4, 4, now);
        drain(&mut buffer, now);
        assert_eq!(buffer.deadline(), Some(now + REPAIR_WAIT));
        assert_eq!(drain(&mut buffer, now + REPAIR_WAIT), [Next::Lost(2), Next::Packet(4)]);
        buffer.push(2, 2, now + REPAIR_WAIT);
        assert_eq!((drain(&mut buffer, now + REPAIR_WAIT), buffer.late()), (vec![], 1));
    }

    #[test]
    fn a_second_gap_has_its_own_wait() {
        let now = Instant::now();
        let later = now + REPAIR_WAIT / 2;
        let mut buffer = Reorder::new();
        buffer.push(1, 1, now);
        buffer.push(3, 3, now);
        buffer.push(5, 5, later);
        let first = drain(&mut buffer, now + REPAIR_WAIT);
        assert_eq!(first, [Next::Packet(1), Next::Lost(1), Next::Packet(3)]);
        assert_eq!(buffer.deadline(), Some(later + REPAIR_WAIT));
    }

    #[test]
    fn a_full_buffer_gives_the_gap_up_before_its_deadline() {
        let now = Instant::now();
        let mut buffer = Reorder::new();
        buffer.push(0, 0, now);
        for sequence in 2..2 + MAX_HELD as u64 {
            buffer.push(sequence, sequence, now);
        }
        assert_eq!(drain(&mut buffer, now).len(), 1);
        buffer.push(1000, 1000, now);
        assert_eq!(buffer.poll(now), Some(Next::Lost(1)));
    }

    proptest! {
        #[test]
        fn whatever_the_order_packets_come_out_once_and_ascending(
            arrivals in proptest::collection::vec((0u64..64, 0u64..40), 1..200)
        ) {
            let mut now = Instant::now();
            let mut buffer = Reorder::new();
            let mut out = Vec::new();
            for (sequence, wait) in arrivals {
                now += Duration::from_millis(wait);
                buffer.push(sequence, sequence, now);
                out.extend(drain(&mut buffer, now));
            }
            out.extend(drain(&mut buffer, now + REPAIR_WAIT));
            let mut expected = None;
            for item in out {
                match item {
                    Next::Packet(sequence) => {
                        prop_assert!(expected.is_none_or(|e| e == sequence));
                        expected = Some(sequence + 1);
                    }
                    Next::Lost(count) => expected = expected.map(|e| e + count),
                }
            }
            prop_assert_eq!(buffer.deadline(), None);
        }
    }
}
