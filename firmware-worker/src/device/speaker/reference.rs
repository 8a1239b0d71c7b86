//! What a speaker has really played, and when: the far end that an echo canceller takes out of what a microphone hears.
//!
//! A ring of the usual kind, so that another process can read it and nothing waits for it.

use hal::ring::pcm::Frame;
use hal::ring::{DISCONTINUITY, Error, KEY, Layout, Meta, Writer};
use std::os::fd::OwnedFd;

/// 640 ms in the usual periods: longer than a sound is on its way through card, room and card.
const LAYOUT: Layout = Layout { slots: 64, arena: 64 << 10 };

/// Units are a period each: mono, S16 in native order, at 48 kHz. `captured_ns` is when the first of its samples leaves the
/// card, `position` counts samples.
#[derive(Debug)]
pub struct Reference {
    ring: Writer,
    position: u64,
    /// One period.
    bytes: Vec<u8>,
    /// Something is missing before the next unit.
    gap: bool,
}

impl Reference {
    /// For periods of so many frames.
    pub fn create(period: usize) -> Result<Self, Error> {
        Ok(Self { ring: Writer::create("reference", LAYOUT)?, position: 0, bytes: vec![0; period * 2], gap: true })
    }

    /// To pass to a reader.
    pub fn fd(&self) -> Result<OwnedFd, Error> {
        self.ring.fd().try_clone_to_owned().map_err(|source| Error::System { call: "dup", source })
    }

    /// A card runs that takes `period` frames at a time.
    pub fn begin(&mut self, period: usize) {
        self.bytes.resize(period * 2, 0);
        self.gap = true;
    }

    /// What was written before may not have been played.
    pub fn interrupt(&mut self) {
        self.gap = true;
    }

    /// A period, the mean of its channels. One without a time cannot be compared with anything, and is a gap.
    pub fn push(&mut self, frames: &[Frame], leaves_ns: Option<u64>) {
        let position = self.position;
        self.position += frames.len() as u64;
        let Some(captured_ns) = leaves_ns else {
            self.gap = true;
            return;
        };
        for (to, [left, right]) in self.bytes.as_chunks_mut().0.iter_mut().zip(frames) {
            *to = i16::midpoint(*left, *right).to_ne_bytes();
        }
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
