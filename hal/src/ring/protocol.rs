//! The algorithm: a seqlock for each unit.
//!
//! ```text
//! writer of unit n                               reader of unit n
//!   generation := odd, of n and of every unit      generation is n's even one?     else lapped
//!     whose bytes or slot n takes                  fence(Acquire)
//!   fence(Release)                                 copy record and payload
//!   write record and payload                       fence(Acquire)
//!   generation := even (Release)                   generation still the same?      else lapped
//!   written := n + 1 (Release)
//! ```
//! If a reader copied any word that was written after the writer's fence, the two fences make it see the odd generation.
//!
//! Shared words are 32 bits and read by relaxed loads and fences: that is what Rust guarantees not to write, and so not to
//! fault, on a read-only mapping, on 32-bit ARM too. Payload words are as wide as a pointer for the same reason.

use super::Layout;
use std::collections::VecDeque;
use std::ops::Range;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

#[cfg(all(loom, test))]
pub(super) use loom::sync::atomic::{AtomicU32, AtomicUsize, fence};
#[cfg(not(all(loom, test)))]
pub(super) use std::sync::atomic::{AtomicU32, AtomicUsize, fence};

/// Words of the header: two cache lines, the second for what changes.
pub(super) const HEADER_WORDS: usize = 32;
/// Words of a descriptor: one cache line.
pub(super) const DESCRIPTOR_WORDS: usize = 16;
/// Words that the user of the protocol may fill; the model has one, as each more multiplies its states.
pub(super) const RECORD_WORDS: usize = if cfg!(all(loom, test)) { 1 } else { 11 };

/// Payloads start at multiples of this and take at least so many bytes: a whole word on every architecture.
pub(super) const ALIGN: u32 = 8;
const WORD: usize = size_of::<usize>();

/// Places in the header.
const WRITTEN: usize = 16;
const OLDEST: usize = 17;

/// Places in a descriptor.
const GENERATION: usize = 0;
const OFFSET: usize = 1;
const LENGTH: usize = 2;
const RECORD: usize = 3;

const _: () = assert!(RECORD + RECORD_WORDS <= DESCRIPTOR_WORDS);

/// What describes a unit, opaque here.
pub(super) type Record = [u32; RECORD_WORDS];

/// The shared memory.
#[derive(Clone, Copy, Debug)]
pub(super) struct Words<'a> {
    pub header: &'a [AtomicU32],
    pub descriptors: &'a [AtomicU32],
    pub arena: &'a [AtomicUsize],
}

impl<'a> Words<'a> {
    fn descriptor(self, layout: Layout, sequence: u64) -> &'a [AtomicU32] {
        let slot = sequence as usize & (layout.slots as usize - 1);
        &self.descriptors[slot * DESCRIPTOR_WORDS..][..DESCRIPTOR_WORDS]
    }
}

/// Of an intact unit; one less while it is not. Wraps after months, far from anything a reader can still compare.
fn intact(sequence: u64) -> u32 {
    (sequence as u32).wrapping_mul(2).wrapping_add(2)
}

/// The writer's side: what it remembers is in its own memory, and nothing is read from the shared one.
#[derive(Debug)]
pub(super) struct Producer {
    layout: Layout,
    next: u64,
    /// Where the last payload ended.
    cursor: u32,
    /// Bytes of the intact units, oldest first; at most one for each slot.
    live: VecDeque<Range<u32>>,
}

impl Producer {
    pub fn new(layout: Layout) -> Self {
        Self { layout, next: 0, cursor: 0, live: VecDeque::with_capacity(layout.slots as usize) }
    }

    /// Writes one unit, which must fit the arena, and returns its sequence number.
    pub fn push(&mut self, words: Words<'_>, record: &Record, payload: &[u8]) -> u64 {
        let sequence = self.next;
        let place = self.make_room(words, payload.len() as u32);
        let descriptor = words.descriptor(self.layout, sequence);
        descriptor[GENERATION].store(intact(sequence).wrapping_sub(1), Relaxed);
        words.header[OLDEST].store((sequence - self.live.len() as u64) as u32, Relaxed);
        fence(Release);
        descriptor[OFFSET].store(place.start, Relaxed);
        descriptor[LENGTH].store(payload.len() as u32, Relaxed);
        for (to, from) in descriptor[RECORD..].iter().zip(record) {
            to.store(*from, Relaxed);
        }
        store(&words.arena[place.start as usize / WORD..], payload);
        descriptor[GENERATION].store(intact(sequence), Release);
        self.cursor = place.end;
        self.live.push_back(place);
        self.next += 1;
        words.header[WRITTEN].store(self.next as u32, Release);
        sequence
    }

    /// Finds the next place and drops the units that were there: in the order of their age, which is that of places.
    fn make_room(&mut self, words: Words<'_>, length: u32) -> Range<u32> {
        let size = length.max(1).next_multiple_of(ALIGN);
        let mut start = self.cursor;
        if self.layout.arena - start < size {
            // What the last turn left behind the cursor is older than what lies at the start.
            while self.live.front().is_some_and(|unit| unit.start >= start) {
                self.drop_oldest(words);
            }
            start = 0;
        }
        let place = start..start + size;
        while self.live.len() == self.layout.slots as usize
            || self.live.front().is_some_and(|unit| unit.start < place.end && place.start < unit.end)
        {
            self.drop_oldest(words);
        }
        place
    }

    fn drop_oldest(&mut self, words: Words<'_>) {
        let oldest = self.next - self.live.len() as u64;
        words.descriptor(self.layout, oldest)[GENERATION].store(intact(oldest).wrapping_sub(1), Relaxed);
        self.live.pop_front();
    }

    #[cfg(all(test, not(loom)))]
    pub fn live(&self) -> impl Iterator<Item = &Range<u32>> {
        self.live.iter()
    }
}

/// What a reader got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Taken {
    Unit(Record),
    Empty,
    Lapped(u64),
}

/// A reader's side: its position. The layout is the one that was checked when the ring was mapped.
#[derive(Debug)]
pub(super) struct Consumer {
    layout: Layout,
    next: u64,
}

impl Consumer {
    /// Starts at the newest unit.
    pub fn new(layout: Layout, words: Words<'_>) -> Self {
        let mut consumer = Self { layout, next: 0 };
        consumer.skip_to_newest(words);
        consumer
    }

    pub fn skip_to_newest(&mut self, words: Words<'_>) {
        self.next += u64::from(self.waiting(words).saturating_sub(1));
    }

    /// Goes to the newest intact unit that is `wanted`, if there is one, whether it was read before or not. False leaves
    /// the position alone.
    #[cfg_attr(loom, allow(dead_code))]
    pub fn seek_back(&mut self, words: Words<'_>, wanted: impl Fn(&Record) -> bool) -> bool {
        let end = self.next + u64::from(self.waiting(words));
        let oldest = end.saturating_sub(u64::from(self.layout.slots));
        for sequence in (oldest..end).rev() {
            let descriptor = words.descriptor(self.layout, sequence);
            if descriptor[GENERATION].load(Relaxed) != intact(sequence) {
                return false;
            }
            fence(Acquire);
            let record = std::array::from_fn(|i| descriptor[RECORD + i].load(Relaxed));
            fence(Acquire);
            // Lapped meanwhile, and so are all that are older.
            if descriptor[GENERATION].load(Relaxed) != intact(sequence) {
                return false;
            }
            if wanted(&record) {
                self.next = sequence;
                return true;
            }
        }
        false
    }

    /// Copies the next unit into `buffer`. The answer is a unit only if no word of it changed meanwhile.
    pub fn next(&mut self, words: Words<'_>, buffer: &mut Vec<u8>) -> Taken {
        buffer.clear();
        if self.waiting(words) == 0 {
            return Taken::Empty;
        }
        let descriptor = words.descriptor(self.layout, self.next);
        if descriptor[GENERATION].load(Relaxed) != intact(self.next) {
            return self.lapped(words);
        }
        fence(Acquire);
        let whole = load(words.arena, descriptor[OFFSET].load(Relaxed), descriptor[LENGTH].load(Relaxed), buffer);
        let record = std::array::from_fn(|i| descriptor[RECORD + i].load(Relaxed));
        fence(Acquire);
        if !whole || descriptor[GENERATION].load(Relaxed) != intact(self.next) {
            buffer.clear();
            return self.lapped(words);
        }
        self.next += 1;
        Taken::Unit(record)
    }

    /// Units that the writer says it has written since our position. Hostile: any number.
    fn waiting(&self, words: Words<'_>) -> u32 {
        let written = words.header[WRITTEN].load(Relaxed);
        fence(Acquire);
        written.wrapping_sub(self.next as u32)
    }

    /// Goes on at the oldest intact unit, and always by one at least, whatever the header says.
    fn lapped(&mut self, words: Words<'_>) -> Taken {
        let oldest = words.header[OLDEST].load(Relaxed);
        fence(Acquire);
        let waiting = self.waiting(words);
        let intact = waiting.wrapping_sub(oldest.wrapping_sub(self.next as u32)).min(self.layout.slots);
        let skip = u64::from(waiting.saturating_sub(intact).max(1));
        self.next += skip;
        Taken::Lapped(skip)
    }
}

fn store(words: &[AtomicUsize], bytes: &[u8]) {
    for (word, chunk) in words.iter().zip(bytes.chunks(WORD)) {
        let mut value = [0; WORD];
        value[..chunk.len()].copy_from_slice(chunk);
        word.store(usize::from_ne_bytes(value), Relaxed);
    }
}

/// False if the place is not one inside the arena.
fn load(arena: &[AtomicUsize], offset: u32, length: u32, buffer: &mut Vec<u8>) -> bool {
    let first = offset as usize / WORD;
    let count = (length as usize).div_ceil(WORD);
    let Some(words) = arena.get(first..).and_then(|rest| rest.get(..count)) else { return false };
    if !offset.is_multiple_of(ALIGN) {
        return false;
    }
    buffer.resize(length as usize, 0);
    for (chunk, word) in buffer.chunks_mut(WORD).zip(words) {
        chunk.copy_from_slice(&word.load(Relaxed).to_ne_bytes()[..chunk.len()]);
    }
    true
}
