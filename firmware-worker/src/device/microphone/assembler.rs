//! Periods of whatever length a card gives, gathered to Opus packets that know when their first sample was captured.

use super::timeline::to_ns;

/// Frames of a block; cards that round 10 ms up give periods of 512 or 1024, longer ones are cut.
pub const MAX_BLOCK: usize = 1024;
/// Opus and rooms know mono and stereo.
pub const MAX_CHANNELS: usize = 2;

/// Samples of a period or a part of it at 48 kHz, on their way from the capture thread.
#[derive(Clone, Copy, Debug)]
pub struct Block {
    /// Interleaved; the first `frames` of them count.
    pub samples: [i16; MAX_BLOCK * MAX_CHANNELS],
    /// Samples of each channel.
    pub frames: usize,
    /// CLOCK_MONOTONIC ns of the first.
    pub captured_ns: u64,
    /// Samples are missing before these.
    pub gap: bool,
}

impl Block {
    /// The first of a device: what came before is missing.
    pub fn first(frames: usize) -> Self {
        Self { samples: [0; MAX_BLOCK * MAX_CHANNELS], frames, captured_ns: 0, gap: true }
    }
}

/// Enough samples to encode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet<'a> {
    /// Interleaved, one packet.
    pub pcm: &'a [i16],
    /// CLOCK_MONOTONIC ns of the first sample.
    pub captured_ns: u64,
    /// Samples are missing before these.
    pub gap: bool,
}

/// Gathers blocks. Its buffer is its only memory.
#[derive(Debug)]
pub struct Assembler {
    channels: usize,
    /// Frames of a packet.
    packet: usize,
    pcm: Vec<i16>,
    captured_ns: u64,
    gap: bool,
}

impl Assembler {
    /// Packets of `packet` frames of 1 or 2 channels.
    pub fn new(channels: usize, packet: usize) -> Self {
        Self { channels, packet, pcm: Vec::with_capacity(packet * channels), captured_ns: 0, gap: true }
    }

    /// What was gathered is dropped: half a packet before a gap is of no use.
    pub fn restart(&mut self) {
        self.pcm.clear();
        self.gap = true;
    }

    /// Takes a block and gives each packet that it completes to `full`, whose error ends it.
    pub fn push<E>(&mut self, block: &Block, mut full: impl FnMut(Packet<'_>) -> Result<(), E>) -> Result<(), E> {
        if block.gap {
            self.restart();
        }
        let mut done = 0;
        while done < block.frames {
            if self.pcm.is_empty() {
                self.captured_ns = block.captured_ns + to_ns(done as u64);
            }
            let room = self.packet - self.pcm.len() / self.channels;
            let next = (done + room).min(block.frames);
            self.pcm.extend_from_slice(&block.samples[done * self.channels..next * self.channels]);
            done = next;
            if self.pcm.len() == self.packet * self.channels {
                let gap = std::mem::take(&mut self.gap);
                full(Packet { pcm: &self.pcm, captured_ns: self.captured_ns, gap })?;
                self.pcm.clear();
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACKET: usize = 960;

    /// Blocks of a ramp, so that each sample names its place; `lost` blocks never come.
    fn packets(
        channels: usize,
        packet: usize,
        period: usize,
        blocks: usize,
        lost: &[usize],
    ) -> Vec<(Vec<i16>, u64, bool)> {
        let mut assembler = Assembler::new(channels, packet);
        let mut out = Vec::new();
        let mut gap = true;
        for n in 0..blocks {
            if lost.contains(&n) {
                gap = true;
                continue;
            }
            let captured_ns = to_ns((n * period) as u64);
            let mut block = Block { gap, captured_ns, ..Block::first(period) };
            gap = false;
            for (i, frame) in block.samples.chunks_exact_mut(channels).take(period).enumerate() {
                frame.fill((n * period + i) as i16);
            }
            let collect = |p: Packet<'_>| {
                out.push((p.pcm.to_vec(), p.captured_ns, p.gap));
                Ok::<_, std::convert::Infallible>(())
            };
            let Ok(()) = assembler.push(&block, collect);
        }
        out
    }

    #[test]
    fn no_sample_is_lost_doubled_or_moved_whatever_the_period() {
        for (channels, packet) in [(1, 960), (2, 960), (1, 480), (2, 1920)] {
            for period in [48, 480, 512, 960, 1000, 1024] {
                let packets = packets(channels, packet, period, 20, &[]);
                assert_eq!(packets.len(), 20 * period / packet);
                for (n, (pcm, captured_ns, gap)) in packets.iter().enumerate() {
                    let first = n * packet;
                    let expected = (first..first + packet).flat_map(|i| vec![i as i16; channels]);
                    assert!(pcm.iter().copied().eq(expected), "{period} frames, packet {n}");
                    assert!(captured_ns.abs_diff(to_ns(first as u64)) <= 1);
                    assert_eq!(*gap, n == 0);
                }
            }
        }
    }

    #[test]
    fn a_gap_drops_the_half_packet_before_it_and_marks_the_one_after() {
        let packets = packets(1, PACKET, 480, 7, &[3]);
        // Blocks 0 and 1, then 2 alone is dropped, then 4 and 5.
        assert_eq!(packets.len(), 2);
        assert_eq!((packets[1].0[0], packets[1].1, packets[1].2), (4 * 480, to_ns(4 * 480), true));
    }
}
