//! Lets a camera's access units through from a keyframe on, until one is lost: what follows a gap cannot be decoded.
//!
//! ```text
//! closed --keyframe, parameter sets known--> open        open --lost, damaged, too large--> closed
//! ```

use super::annex_b::nals;
use super::{header, kind};

/// Bytes that may come ahead of a picture in buffers of their own: parameter sets, a delimiter, messages.
const AHEAD: usize = 16 * 1024;

/// See the module.
#[derive(Debug)]
pub struct Gate {
    limit: usize,
    open: bool,
    seen_sps: bool,
    wants_key: bool,
    /// What came without a picture, and then the picture too.
    ahead: Vec<u8>,
    /// `ahead` has gone out.
    given: bool,
}

/// What a buffer was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Passed<'a> {
    /// An access unit, with all that came ahead of it.
    Unit(&'a [u8]),
    /// No picture; it goes out with the next one.
    Ahead,
    /// A picture that needs one that is lost, or came before the first keyframe.
    Waiting,
    /// No H.264 in Annex B, cut off before its first slice, or larger than the limit.
    Damaged,
}

impl Gate {
    /// Closed. Units of more than `limit` bytes are taken as damaged.
    pub fn new(limit: usize) -> Self {
        Self { limit, open: false, seen_sps: false, wants_key: true, ahead: Vec::new(), given: false }
    }

    /// Takes the next buffer of the stream.
    pub fn take<'a>(&'a mut self, buffer: &'a [u8]) -> Passed<'a> {
        if std::mem::take(&mut self.given) {
            self.ahead.clear();
        }
        let Some(content) = Content::of(buffer) else { return self.damaged() };
        self.seen_sps |= content.sps;
        if !content.picture {
            if self.ahead.len() + buffer.len() > AHEAD {
                self.ahead.clear();
                self.seen_sps = false;
                return self.damaged();
            }
            self.ahead.extend_from_slice(buffer);
            return Passed::Ahead;
        }
        if self.ahead.len() + buffer.len() > self.limit {
            return self.damaged();
        }
        self.open |= content.idr && self.seen_sps;
        if !self.open {
            return Passed::Waiting;
        }
        if self.ahead.is_empty() {
            return Passed::Unit(buffer);
        }
        self.ahead.extend_from_slice(buffer);
        self.given = true;
        Passed::Unit(&self.ahead)
    }

    /// A unit did not come, or came damaged.
    pub fn lost(&mut self) {
        self.open = false;
        self.wants_key = true;
    }

    /// Whether a keyframe should be asked for, once for each time that it closes.
    pub fn wants_key(&mut self) -> bool {
        std::mem::take(&mut self.wants_key)
    }

    /// Bytes of memory that wait for a picture.
    pub fn held(&self) -> usize {
        self.ahead.len()
    }

    fn damaged(&mut self) -> Passed<'static> {
        self.lost();
        Passed::Damaged
    }
}

/// What the NAL units of a buffer are.
#[derive(Clone, Copy, Debug, Default)]
struct Content {
    sps: bool,
    picture: bool,
    idr: bool,
}

impl Content {
    /// `None` without any NAL unit, and with one that cannot be.
    fn of(buffer: &[u8]) -> Option<Self> {
        let mut content = None;
        for nal in nals(buffer) {
            let slice = matches!(nal.kind(), kind::SLICE | kind::PARTITION_A..=kind::IDR);
            // A slice of a header alone has lost its picture.
            if nal.0[0] & header::FORBIDDEN != 0 || (slice && nal.0.len() < 2) {
                return None;
            }
            let seen: &mut Self = content.get_or_insert_default();
            seen.sps |= nal.is_sps();
            seen.picture |= slice;
            seen.idr |= nal.kind() == kind::IDR;
        }
        content
    }
}
