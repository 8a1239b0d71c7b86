//! Positions of audio packets: counted samples while the card runs, real time over every gap.

use hal::ring::Meta;

pub use crate::device::resample::RATE;
const SECOND_NS: u64 = 1_000_000_000;

/// Where the next packet lies. Positions never run back: not over an xrun, a new card, or a clock that is behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeline {
    /// Samples of a packet.
    packet: u64,
    /// Position and time at which the last packet ended.
    end: Option<(u64, u64)>,
}

impl Timeline {
    /// Packets of `packet` samples, which go on after `last`, the last of an earlier epoch.
    pub fn after(last: Option<Meta>, packet: u64) -> Self {
        Self { packet, end: last.map(|m| (m.position + packet, m.captured_ns + to_ns(packet))) }
    }

    /// The position of the packet captured at `captured_ns`; `gap` says that samples are missing before it.
    pub fn place(&mut self, captured_ns: u64, gap: bool) -> u64 {
        let position = match self.end {
            None => 0,
            Some((end, _)) if !gap => end,
            Some((end, end_ns)) => end + to_samples(captured_ns.saturating_sub(end_ns)),
        };
        self.end = Some((position + self.packet, captured_ns + to_ns(self.packet)));
        position
    }
}

/// How long `samples` last.
pub fn to_ns(samples: u64) -> u64 {
    samples * SECOND_NS / RATE
}

fn to_samples(ns: u64) -> u64 {
    // In 128 bits: a board may have been up for years.
    (u128::from(ns) * u128::from(RATE) / u128::from(SECOND_NS)) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACKET_NS: u64 = 20_000_000;

    #[test]
    fn positions_count_samples_whatever_the_card_clock_does() {
        let mut timeline = Timeline::after(None, 960);
        for n in 0..10_000 {
            // A card that runs 100 ppm slow.
            let captured = 5_000_000_000 + n * (PACKET_NS + 2_000);
            assert_eq!(timeline.place(captured, false), n * 960);
        }
    }

    #[test]
    fn a_gap_advances_by_the_time_that_really_passed() {
        let mut timeline = Timeline::after(None, 960);
        assert_eq!(timeline.place(0, true), 0);
        assert_eq!(timeline.place(PACKET_NS, false), 960);
        // 2 s are missing.
        assert_eq!(timeline.place(2 * PACKET_NS + 2_000_000_000, true), 2 * 960 + 96_000);
    }

    #[test]
    fn a_new_epoch_goes_on_where_the_old_one_ended() {
        let mut timeline = Timeline::after(None, 960);
        let position = timeline.place(7 * PACKET_NS, true);
        let last = Meta { position, captured_ns: 7 * PACKET_NS, ..Meta::default() };
        assert_eq!(Timeline::after(Some(last), 960), timeline);
        assert_eq!(Timeline::after(Some(last), 960).place(8 * PACKET_NS + 1_000_000_000, true), 960 + 48_000);
    }

    #[test]
    fn a_stamp_from_the_past_never_moves_back() {
        let mut timeline = Timeline::after(None, 960);
        timeline.place(1_000_000_000, false);
        assert_eq!(timeline.place(10, true), 960);
        assert_eq!(timeline.place(0, true), 1920);
    }
}
