//! A unit's description as words of its descriptor.

use super::protocol::{RECORD_WORDS, Record};
use super::{Meta, Stamped};

#[cfg_attr(loom, allow(dead_code))]
pub(super) fn encode(meta: &Meta) -> Record {
    let low = |value: u64| value as u32;
    let high = |value: u64| (value >> 32) as u32;
    let words = [
        meta.flags,
        meta.epoch,
        low(meta.captured_ns),
        high(meta.captured_ns),
        low(meta.written_ns),
        high(meta.written_ns),
        low(meta.position),
        high(meta.position),
        u32::from(meta.width) | u32::from(meta.height) << 16,
        u32::from(meta.level),
        // Empty in rings of the programs before, and not read by them.
        Stamped::code(meta.stamped),
    ];
    let mut record = [0; RECORD_WORDS];
    for (to, from) in record.iter_mut().zip(words) {
        *to = from;
    }
    record
}

#[cfg_attr(loom, allow(dead_code))]
pub(super) fn decode(record: &Record) -> Meta {
    let word = |i: usize| record.get(i).copied().unwrap_or(0);
    let long = |i: usize| u64::from(word(i)) | u64::from(word(i + 1)) << 32;
    Meta {
        flags: word(0),
        epoch: word(1),
        captured_ns: long(2),
        stamped: Stamped::from_code(word(10)),
        written_ns: long(4),
        position: long(6),
        width: word(8) as u16,
        height: (word(8) >> 16) as u16,
        level: word(9) as u8,
    }
}
