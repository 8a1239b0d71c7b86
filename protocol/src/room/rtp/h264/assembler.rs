//! Access units from a byte stream without frames of its own: a pipe.
//!
//! ```text
//! Seeking  --a keyframe, with an SPS before it--> Synced: units are given out
//! Synced   --a unit too large, or one that was given out before it had ended--> Seeking
//! ```
//! A unit ends at the first NAL unit that cannot belong to it: a delimiter, parameter sets or other data behind its
//! slices, or a slice that starts a picture. The last byte of a picture is followed by nothing until the next picture
//! comes, so silence ends a unit as well: waiting for the next one would make every picture a frame late.

use super::annex_b::start_code;
use super::{header, kind};
use std::collections::VecDeque;
use std::time::Duration;

/// Silence that ends a unit, to start with. A writer that pauses for longer within a picture doubles it, but to no more than
/// half of the time from one picture to the next: beyond, each would come when the next does.
pub const SILENCE: Duration = Duration::from_millis(3);

/// Units, some seconds of them, without a pause of more than a quarter of it inside: then it is halved again, so that a writer
/// which was held up now and then is not a frame late from then on.
const CALM: u32 = 300;

/// Silence that ends a unit, at most: beyond, a stream is torn rather than late.
const LONGEST_SILENCE: Duration = Duration::from_millis(24);

/// Times of arrival that are remembered. Only those of the few bytes in which a start code may begin are ever looked at.
const ARRIVALS: usize = 8;

/// A whole access unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Assembled<'a> {
    /// Annex B.
    pub data: &'a [u8],
    /// When its first byte came, as given to [`Assembler::push`].
    pub first_ns: u64,
    /// It holds a slice of an IDR picture.
    pub key: bool,
}

/// What went wrong so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Losses {
    /// Units larger than the limit.
    pub oversized: u64,
    /// Units that a pause of the writer tore apart.
    pub torn: u64,
    /// Whole units that were left out, because no keyframe had come yet.
    pub skipped: u64,
    /// Bytes that were in no unit.
    pub garbage: u64,
}

/// Cuts a byte stream into access units. Memory is bounded by the limit and the largest push.
#[derive(Debug)]
pub struct Assembler {
    /// Starts with the current unit, once that which was given out is dropped.
    buffer: Vec<u8>,
    limit: usize,
    given: usize,
    /// Start codes before this place are known.
    scanned: usize,
    /// Place in the buffer and time.
    arrivals: VecDeque<(usize, u64)>,
    last_ns: u64,
    current: Option<Current>,
    /// The last unit ended by silence, so what comes must be a new one.
    cut: bool,
    silence: Duration,
    /// What it is at least and at most.
    bounds: (Duration, Duration),
    /// Units since one was torn, or it was looked at last.
    calm: u32,
    /// The longest pause inside those, ns.
    longest_pause: u64,
    /// Before the last push: place in the buffer, ns. Where the unit ends tells whether it was inside.
    pause: Option<(usize, u64)>,
    synced: bool,
    seen_sps: bool,
    losses: Losses,
}

/// The unit whose start code is at the start of the buffer.
#[derive(Clone, Copy, Debug)]
struct Current {
    first_ns: u64,
    slices: bool,
    key: bool,
}

impl Assembler {
    /// For units of up to `limit` bytes, of pictures that come at this `interval`.
    pub fn new(limit: usize, interval: Duration) -> Self {
        let most = LONGEST_SILENCE.min(interval / 2);
        let least = SILENCE.min(most);
        Self {
            buffer: Vec::new(),
            limit,
            given: 0,
            scanned: 0,
            arrivals: VecDeque::with_capacity(ARRIVALS),
            last_ns: 0,
            current: None,
            cut: false,
            silence: least,
            bounds: (least, most),
            calm: 0,
            longest_pause: 0,
            pause: None,
            synced: false,
            seen_sps: false,
            losses: Losses::default(),
        }
    }

    /// Takes bytes that came at `at_ns`. Afterwards, call [`Assembler::poll`] until it gives nothing.
    pub fn push(&mut self, bytes: &[u8], at_ns: u64) {
        self.drop_given();
        if self.arrivals.len() == ARRIVALS {
            self.arrivals.pop_front();
        }
        self.arrivals.push_back((self.buffer.len(), at_ns));
        // What comes goes on with the same unit, or the one before would have been closed by now.
        self.paused(usize::MAX);
        let pause = at_ns.saturating_sub(self.last_ns);
        self.pause = self.current.is_some().then_some((self.buffer.len(), pause));
        self.last_ns = at_ns;
        self.buffer.extend_from_slice(bytes);
    }

    /// The next unit that is known to have ended.
    pub fn poll(&mut self) -> Option<Assembled<'_>> {
        loop {
            self.drop_given();
            let end = self.find_end()?;
            if let Some(current) = self.close(end) {
                return Some(self.assembled(current));
            }
        }
    }

    /// The unit that silence has ended by `now_ns`, if one has.
    pub fn after_silence(&mut self, now_ns: u64) -> Option<Assembled<'_>> {
        if self.deadline_ns().is_none_or(|deadline| now_ns < deadline) {
            return None;
        }
        let rest = &self.buffer[self.scanned..];
        let end = match start_code(rest) {
            // The header of the next unit is still to come.
            Some(at) => before_start_code(&self.buffer, self.scanned + at),
            // Zeros may be the beginning of a start code.
            None => self.buffer.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1),
        };
        let current = self.close(end);
        self.cut = true;
        current.map(|current| self.assembled(current))
    }

    /// When to call [`Assembler::after_silence`], if nothing comes before.
    pub fn deadline_ns(&self) -> Option<u64> {
        let waiting = self.current.is_some_and(|current| current.slices);
        waiting.then(|| self.last_ns + self.silence.as_nanos() as u64)
    }

    /// Bytes of memory that unfinished units take.
    pub fn held(&self) -> usize {
        self.buffer.len()
    }

    /// What went wrong so far.
    pub fn losses(&self) -> Losses {
        self.losses
    }

    fn assembled(&self, current: Current) -> Assembled<'_> {
        Assembled { data: &self.buffer[..self.given], first_ns: current.first_ns, key: current.key }
    }

    /// Ends the current unit at `end`; gives it back if it can be given out.
    fn close(&mut self, end: usize) -> Option<Current> {
        let current = self.current.take().filter(|current| current.slices)?;
        self.paused(end);
        self.relax();
        self.given = end;
        self.synced |= current.key && self.seen_sps;
        if end > self.limit {
            self.losses.oversized += 1;
            self.synced = false;
            return None;
        }
        if !self.synced {
            self.losses.skipped += 1;
            return None;
        }
        Some(current)
    }

    /// Looks at NAL units until one starts a new access unit.
    fn find_end(&mut self) -> Option<usize> {
        while let Some(at) = start_code(&self.buffer[self.scanned..]) {
            let at = self.scanned + at;
            let Some(nal) = Nal::at(&self.buffer, at) else {
                self.scanned = at;
                return self.bound();
            };
            let start = before_start_code(&self.buffer, at);
            match self.current {
                Some(current) if current.slices && nal.starts_unit => {
                    self.scanned = start;
                    return Some(start);
                }
                // What stood before the first parameter set of all is no part of a stream.
                Some(_) if !nal.sps || self.seen_sps => self.scanned = at + START_CODE,
                Some(_) | None => {
                    self.begin(start, nal);
                    self.scanned = at - start + START_CODE;
                }
            }
            self.note(nal);
        }
        // A start code may lie across the end.
        self.scanned = self.scanned.max(self.buffer.len().saturating_sub(START_CODE));
        self.bound()
    }

    fn begin(&mut self, start: usize, nal: Nal) {
        let before = self.buffer[..start].iter().filter(|byte| **byte != 0).count();
        if self.cut && (before > 0 || nal.continues_picture) {
            self.tear();
        }
        self.cut = false;
        self.losses.garbage += before as u64;
        let first_ns = self.arrival(start);
        self.discard(start);
        self.current = Some(Current { first_ns, slices: false, key: false });
    }

    fn note(&mut self, nal: Nal) {
        self.seen_sps |= nal.sps;
        if let Some(current) = &mut self.current {
            current.slices |= nal.slice;
            current.key |= nal.idr;
        }
    }

    /// The last unit was given out before it had ended.
    fn tear(&mut self) {
        self.losses.torn += 1;
        self.synced = false;
        self.silence = (self.silence * 2).min(self.bounds.1);
        (self.calm, self.longest_pause) = (0, 0);
    }

    /// The last pause was inside the unit if that goes on up to `end`.
    fn paused(&mut self, end: usize) {
        if let Some((place, pause)) = self.pause.take()
            && place < end
        {
            self.longest_pause = self.longest_pause.max(pause);
        }
    }

    fn relax(&mut self) {
        self.calm += 1;
        if self.calm < CALM {
            return;
        }
        if u128::from(self.longest_pause) <= self.silence.as_nanos() / 4 {
            self.silence = (self.silence / 2).max(self.bounds.0);
        }
        (self.calm, self.longest_pause) = (0, 0);
    }

    /// Keeps the buffer within the limit while no unit ends.
    fn bound(&mut self) -> Option<usize> {
        if self.current.is_none() {
            let garbage = self.buffer.len().saturating_sub(BEGINNING);
            let lost = self.buffer[..garbage].iter().filter(|byte| **byte != 0).count();
            if self.cut && lost > 0 {
                self.cut = false;
                self.tear();
            }
            self.losses.garbage += lost as u64;
            self.discard(garbage);
            self.scanned = self.scanned.saturating_sub(garbage);
        } else if self.buffer.len() > self.limit {
            self.losses.oversized += 1;
            self.synced = false;
            self.current = None;
            return self.bound();
        }
        None
    }

    fn arrival(&self, place: usize) -> u64 {
        let before = self.arrivals.iter().rev().find(|(start, _)| *start <= place);
        before.or(self.arrivals.front()).map_or(self.last_ns, |(_, at)| *at)
    }

    fn drop_given(&mut self) {
        let given = std::mem::take(&mut self.given);
        self.discard(given);
        self.scanned = self.scanned.saturating_sub(given);
    }

    fn discard(&mut self, bytes: usize) {
        self.buffer.drain(..bytes);
        let places = self.arrivals.iter_mut().map(|(start, _)| start);
        for place in places.chain(self.pause.as_mut().map(|(place, _)| place)) {
            *place = place.saturating_sub(bytes);
        }
    }
}

/// Bytes of 00 00 01.
const START_CODE: usize = 3;

/// Bytes that may be the beginning of a unit of which too little is there: a start code with its zero, and a header.
const BEGINNING: usize = START_CODE + 2;

/// What a NAL unit says about access units.
#[derive(Clone, Copy, Debug)]
struct Nal {
    sps: bool,
    slice: bool,
    idr: bool,
    /// Behind slices, it belongs to the next picture: 7.4.1.2.3.
    starts_unit: bool,
    /// A slice that is not the first of its picture.
    continues_picture: bool,
}

impl Nal {
    /// Of the start code at `at`; `None` if too little of it is there.
    fn at(buffer: &[u8], at: usize) -> Option<Self> {
        let kind = buffer.get(at + START_CODE)? & header::TYPE;
        let slice = matches!(kind, kind::SLICE | kind::PARTITION_A..=kind::IDR);
        // first_mb_in_slice is the first field of a slice, and 0 is the one bit 1.
        let first = slice && kind_has_first_mb(kind) && buffer.get(at + START_CODE + 1)? & 0x80 != 0;
        let ahead = matches!(kind, kind::SEI..=kind::DELIMITER | kind::PREFIX..=kind::RESERVED_18);
        Some(Self {
            sps: kind == kind::SPS,
            slice,
            idr: kind == kind::IDR,
            starts_unit: ahead || first,
            continues_picture: slice && !first,
        })
    }
}

/// Partitions B and C of a slice start with another field.
fn kind_has_first_mb(kind: u8) -> bool {
    matches!(kind, kind::SLICE | kind::PARTITION_A | kind::IDR)
}

/// The place of the zero byte that makes a start code one of four bytes, or of the start code.
fn before_start_code(buffer: &[u8], at: usize) -> usize {
    if at > 0 && buffer[at - 1] == 0 { at - 1 } else { at }
}
