//! Which slot boots: 512 bytes in front of the first partition, in two copies.

use super::Slot;
use crc::{CRC_32_ISO_HDLC, Crc};

/// Bytes of a copy: a sector, the least that a card writes.
pub const RECORD_LEN: usize = 512;

/// Where the copies are on the disk, bytes: each in a page of its own, so that a write of one does not touch the other.
pub const COPY_OFFSETS: [u64; 2] = [64 * 512, 72 * 512];

/// Starts that a new slot gets before the old one is taken again. A power cut in one of them is no reason to give it up.
pub const TRIES: u32 = 3;

const MAGIC: [u8; 4] = *b"FWSR";
const VERSION: u32 = 1;
const NO_TRIAL: u32 = u32::MAX;

/// Where the checksum is, and so the number of bytes that it covers.
const CRC_OFFSET: usize = 28;

/// Both copies as they are on the disk.
pub type Copies = [[u8; RECORD_LEN]; 2];

/// What a copy says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// The higher one counts.
    pub generation: u32,
    /// Boots, unless the other one is on trial.
    pub good: Slot,
    /// The other slot is on trial, with this many starts left.
    pub tries: Option<u32>,
}

impl Record {
    /// The newest valid copy.
    pub fn newest(copies: &Copies) -> Option<Self> {
        newest(copies).map(|(_, record)| record)
    }

    /// What replaces it in both copies, which are written, and flushed, in this order: the older one first.
    pub fn successor(copies: &Copies, good: Slot, tries: Option<u32>) -> (Self, [usize; 2]) {
        let (index, generation) = newest(copies).map_or((1, 0), |(index, record)| (index, record.generation));
        (Self { generation: generation.saturating_add(1), good, tries }, [1 - index, index])
    }

    /// As on the disk.
    pub fn bytes(&self) -> [u8; RECORD_LEN] {
        let trial = self.tries.map_or(NO_TRIAL, |_| number(self.good.other()));
        let mut bytes = [0; RECORD_LEN];
        bytes[..4].copy_from_slice(&MAGIC);
        let words = [VERSION, self.generation, number(self.good), trial, self.tries.unwrap_or(0), 0];
        for (place, word) in bytes[4..].chunks_exact_mut(4).zip(words) {
            place.copy_from_slice(&word.to_le_bytes());
        }
        let sum = checksum(&bytes).to_le_bytes();
        bytes[CRC_OFFSET..CRC_OFFSET + 4].copy_from_slice(&sum);
        bytes
    }

    /// `None` if it is torn, or was never written.
    pub fn parse(bytes: &[u8; RECORD_LEN]) -> Option<Self> {
        let word = |index: usize| {
            let four = bytes[4 * index..4 * index + 4].try_into().expect("four bytes of a longer array");
            u32::from_le_bytes(four)
        };
        if bytes[..4] != MAGIC || word(1) != VERSION || word(CRC_OFFSET / 4) != checksum(bytes) {
            return None;
        }
        let good = if word(3) == number(Slot::B) { Slot::B } else { Slot::A };
        let tries = (word(4) == number(good.other())).then(|| word(5));
        Some(Self { generation: word(2), good, tries })
    }
}

/// Of two that are equally new, the first.
fn newest(copies: &Copies) -> Option<(usize, Record)> {
    match [Record::parse(&copies[0]), Record::parse(&copies[1])] {
        [Some(first), Some(second)] if second.generation > first.generation => Some((1, second)),
        [Some(first), _] => Some((0, first)),
        [None, Some(second)] => Some((1, second)),
        [None, None] => None,
    }
}

fn number(slot: Slot) -> u32 {
    match slot {
        Slot::A => 0,
        Slot::B => 1,
    }
}

fn checksum(bytes: &[u8; RECORD_LEN]) -> u32 {
    Crc::<u32>::new(&CRC_32_ISO_HDLC).checksum(&bytes[..CRC_OFFSET])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_record_has_the_bytes_that_u_boot_reads() {
        let bytes = Record { generation: 7, good: Slot::A, tries: Some(3) }.bytes();
        let head = b"FWSR\x01\0\0\0\x07\0\0\0\0\0\0\0\x01\0\0\0\x03\0\0\0\0\0\0\0";
        assert_eq!(bytes[..28], *head);
        // As zlib counts it.
        assert_eq!(bytes[28..32], 0x5c79_bb70u32.to_le_bytes());
        assert!(bytes[32..].iter().all(|byte| *byte == 0));
    }

    #[test]
    fn neither_an_empty_disk_nor_another_version_is_a_record() {
        assert_eq!(Record::newest(&[[0; RECORD_LEN], [0xff; RECORD_LEN]]), None);
        let mut later = Record { generation: 1, good: Slot::B, tries: None }.bytes();
        later[4] = 2;
        let sum = checksum(&later).to_le_bytes();
        later[28..32].copy_from_slice(&sum);
        assert_eq!(Record::parse(&later), None);
    }

    fn records() -> impl Strategy<Value = Record> {
        let slot = prop_oneof![Just(Slot::A), Just(Slot::B)];
        (0..u32::MAX, slot, proptest::option::of(0..=TRIES)).prop_map(|(generation, good, tries)| Record {
            generation,
            good,
            tries,
        })
    }

    proptest! {
        #[test]
        fn a_record_is_read_as_it_was_written_and_no_bit_may_change(record in records(), bit in 0..32 * 8usize) {
            let mut bytes = record.bytes();
            prop_assert_eq!(Record::parse(&bytes), Some(record));
            bytes[bit / 8] ^= 1 << (bit % 8);
            prop_assert_eq!(Record::parse(&bytes), None);
        }

        /// Whatever a disk held: after any number of bytes of the two writes it says what it said before, or what is new.
        #[test]
        fn a_write_that_is_cut_off_anywhere_leaves_the_old_record_or_the_new_one(
            old in proptest::array::uniform2(proptest::option::of(records())),
            new in records(),
            written in 0..=2 * RECORD_LEN,
        ) {
            let mut copies = old.map(|copy| copy.map_or([0xaa; RECORD_LEN], |record| record.bytes()));
            let before = Record::newest(&copies);
            let (record, order) = Record::successor(&copies, new.good, new.tries);
            let bytes = record.bytes();
            for (nth, index) in order.into_iter().enumerate() {
                let length = written.saturating_sub(nth * RECORD_LEN).min(RECORD_LEN);
                copies[index][..length].copy_from_slice(&bytes[..length]);
            }
            let after = Record::newest(&copies);
            let is_new = after.is_some_and(|r| (r.good, r.tries) == (new.good, new.tries));
            prop_assert!(after == before || is_new, "{before:?} -> {after:?}");
            prop_assert!(is_new || written < 2 * RECORD_LEN);
            prop_assert!(after.is_some() || written < 32);
        }
    }
}
