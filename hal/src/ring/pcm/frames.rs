//! The algorithm: counters that run for ever and a power of two of frames.
//!
//! The writer stores frames, then `written` (Release); the reader loads `written` (Acquire), then frames, then stores
//! `read` (Release), behind which the writer may write again.

use super::Frame;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

#[cfg(all(loom, test))]
pub(super) use loom::sync::atomic::AtomicU32;
#[cfg(not(all(loom, test)))]
pub(super) use std::sync::atomic::AtomicU32;

/// Words of the header: three cache lines, for what stays, what the writer changes and what the reader changes.
pub(super) const HEADER_WORDS: usize = 48;

/// Places in the header. All but `READ` are the writer's, once the memory is passed on.
pub(super) const WRITTEN: usize = 16;
pub(super) const CLEAR: usize = 17;
pub(super) const HELD: usize = 18;
pub(super) const STAMP: usize = 19;
pub(super) const READ: usize = 32;

/// The ring holds what no honest writer writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("its PCM ring holds more frames than fit")]
pub struct Violation;

/// The shared memory.
#[derive(Clone, Copy, Debug)]
pub(super) struct Words<'a> {
    pub header: &'a [AtomicU32],
    /// A power of two.
    pub frames: &'a [AtomicU32],
}

impl<'a> Words<'a> {
    fn frame(self, position: u32) -> &'a AtomicU32 {
        &self.frames[position as usize & (self.frames.len() - 1)]
    }
}

/// The reader's side.
#[derive(Debug, Default)]
pub(super) struct Consumer {
    read: u32,
    /// The writer's last word to throw away, which counts once: positions come round after a day.
    cleared: u32,
    broken: bool,
}

impl Consumer {
    /// Frames that wait, without those that the writer has thrown away. After a violation there is nothing but violations.
    pub fn level(&mut self, words: Words<'_>) -> Result<usize, Violation> {
        let waiting = words.header[WRITTEN].load(Acquire).wrapping_sub(self.read);
        self.broken |= waiting as usize > words.frames.len();
        if self.broken {
            return Err(Violation);
        }
        let clear = words.header[CLEAR].load(Relaxed);
        let cleared = clear.wrapping_sub(self.read);
        // What lies between what waits and half of all positions is not written yet as far as we see; the rest was read.
        if clear == self.cleared || (cleared > waiting && cleared <= u32::MAX / 2) {
            return Ok(waiting as usize);
        }
        self.cleared = clear;
        if cleared > waiting {
            return Ok(waiting as usize);
        }
        self.skip(words, cleared);
        Ok((waiting - cleared) as usize)
    }

    /// Takes what is there, up to the length of `frames`.
    pub fn read(&mut self, words: Words<'_>, frames: &mut [Frame]) -> Result<usize, Violation> {
        let count = self.level(words)?.min(frames.len());
        for (i, frame) in frames[..count].iter_mut().enumerate() {
            *frame = unpack(words.frame(self.read.wrapping_add(i as u32)).load(Relaxed));
        }
        self.skip(words, count as u32);
        Ok(count)
    }

    /// Goes on `count` frames later, which must be there.
    pub fn skip(&mut self, words: Words<'_>, count: u32) {
        self.read = self.read.wrapping_add(count);
        words.header[READ].store(self.read, Release);
    }

    /// µs since the writer says to have written; 0 when that is in the future.
    #[cfg_attr(loom, expect(dead_code))]
    pub fn age_us(&self, words: Words<'_>, now_us: u32) -> u32 {
        let age = now_us.wrapping_sub(words.header[STAMP].load(Relaxed));
        if age > u32::MAX / 2 { 0 } else { age }
    }

    /// The writer waits for room: it wants to be woken, and its pace is ours.
    #[cfg_attr(loom, expect(dead_code))]
    pub fn held(&self, words: Words<'_>) -> bool {
        words.header[HELD].load(Relaxed) != 0
    }
}

/// The writer's side.
#[derive(Debug, Default)]
pub(super) struct Producer {
    written: u32,
}

impl Producer {
    /// Frames that have not been read yet.
    pub fn level(&self, words: Words<'_>) -> usize {
        self.written.wrapping_sub(words.header[READ].load(Acquire)) as usize
    }

    /// Writes what there is room for and says how much that was.
    pub fn write(&mut self, words: Words<'_>, now_us: u32, frames: &[Frame]) -> usize {
        let room = words.frames.len().saturating_sub(self.level(words));
        let count = room.min(frames.len());
        for (i, frame) in frames[..count].iter().enumerate() {
            words.frame(self.written.wrapping_add(i as u32)).store(pack(*frame), Relaxed);
        }
        if count > 0 {
            words.header[STAMP].store(now_us, Relaxed);
        }
        self.written = self.written.wrapping_add(count as u32);
        words.header[WRITTEN].store(self.written, Release);
        count
    }

    /// Throws away what has not been read yet.
    pub fn clear(&self, words: Words<'_>) {
        words.header[CLEAR].store(self.written, Relaxed);
    }

    #[cfg_attr(loom, expect(dead_code))]
    pub fn hold(&self, words: Words<'_>, held: bool) {
        words.header[HELD].store(held.into(), Relaxed);
    }
}

/// Both ends are where nothing waits, as when they have come to this position by much sound.
#[cfg(all(test, not(loom)))]
pub(super) fn bring_to(position: u32, words: Words<'_>, consumer: &mut Consumer, producer: &mut Producer) {
    (consumer.read, producer.written) = (position, position);
    words.header[WRITTEN].store(position, Relaxed);
    words.header[READ].store(position, Relaxed);
}

fn pack([left, right]: Frame) -> u32 {
    u32::from(left as u16) | u32::from(right as u16) << 16
}

fn unpack(word: u32) -> Frame {
    [word as u16 as i16, (word >> 16) as u16 as i16]
}
