//! RTP payloads, in order, to access units.

use super::{header, kind, sps};

/// One complete access unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessUnit {
    /// RTP time, 90 kHz, extended.
    pub timestamp: u64,
    /// Annex B with 4-byte start codes.
    pub data: Vec<u8>,
    /// Holds an IDR picture.
    pub keyframe: bool,
}

/// An access unit that grows beyond this is dropped: no camera makes one, a hostile sender might.
const LARGEST_UNIT_BYTES: usize = 4 << 20;

const START_CODE: [u8; 4] = [0, 0, 0, 1];

/// Puts access units together. Takes payloads in sequence; a gap must be told by [`Depacketizer::lost`].
///
/// What a decoder could not use is dropped: units with missing parts, and everything after a gap up to the next IDR
/// picture. The 2x2 pictures with which an SFU ends a track are dropped too.
#[derive(Debug)]
pub struct Depacketizer {
    unit: AccessUnit,
    /// A fragmented NAL unit has begun and not ended.
    fragment_open: bool,
    /// The current access unit misses a part, or cannot be parsed.
    damaged: bool,
    /// Packets are missing before the next payload.
    after_gap: bool,
    /// The current access unit is an SFU's blank.
    blank: bool,
    /// Nothing is of use before the next IDR picture.
    needs_keyframe: bool,
}

impl Default for Depacketizer {
    fn default() -> Self {
        Self::new()
    }
}

impl Depacketizer {
    /// Waits for the first IDR picture.
    pub fn new() -> Self {
        let unit = AccessUnit { timestamp: 0, data: Vec::new(), keyframe: false };
        let after_gap = true;
        Self { unit, fragment_open: false, damaged: false, after_gap, blank: false, needs_keyframe: true }
    }

    /// Nothing but an IDR picture is of use now.
    pub fn needs_keyframe(&self) -> bool {
        self.needs_keyframe
    }

    /// Packets are missing between the last payload and the next one.
    pub fn lost(&mut self) {
        self.damaged = true;
        self.after_gap = true;
        self.needs_keyframe = true;
    }

    /// Takes the next payload; gives the access unit that it completes.
    pub fn push(&mut self, payload: &[u8], timestamp: u64, marker: bool) -> Option<AccessUnit> {
        if timestamp != self.unit.timestamp {
            self.abandon(timestamp);
        }
        let cut_off = std::mem::take(&mut self.after_gap) && !begins_unit(payload);
        if cut_off || self.append(payload).is_none() {
            self.damaged = true;
        }
        if marker { self.finish() } else { None }
    }

    /// A new timestamp without a marker before it: senders that never set one are not supported, so a unit that has
    /// begun is not complete.
    fn abandon(&mut self, timestamp: u64) {
        if !self.unit.data.is_empty() {
            self.needs_keyframe = true;
        }
        self.restart(timestamp);
    }

    fn restart(&mut self, timestamp: u64) {
        self.unit.data.clear();
        self.unit.keyframe = false;
        self.unit.timestamp = timestamp;
        self.fragment_open = false;
        self.damaged = false;
        self.blank = false;
    }

    fn append(&mut self, payload: &[u8]) -> Option<()> {
        let (&first, rest) = payload.split_first()?;
        if self.unit.data.len() + payload.len() > LARGEST_UNIT_BYTES {
            return None;
        }
        match first & header::TYPE {
            kind::FU_A => self.append_fragment(first, rest),
            _ if self.fragment_open => None,
            1..kind::STAP_A => self.append_nal(payload),
            kind::STAP_A => self.append_aggregate(rest),
            _ => None,
        }
    }

    fn append_aggregate(&mut self, mut rest: &[u8]) -> Option<()> {
        while !rest.is_empty() {
            let (length, body) = rest.split_first_chunk::<2>()?;
            let (nal, after) = body.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
            self.append_nal(nal)?;
            rest = after;
        }
        Some(())
    }

    fn append_nal(&mut self, nal: &[u8]) -> Option<()> {
        let first = *nal.first()?;
        match first & header::TYPE {
            kind::IDR => self.unit.keyframe = true,
            kind::SPS => self.blank = sps::picture_size(nal).is_some_and(|size| size.is_blank()),
            _ => {}
        }
        self.unit.data.extend_from_slice(&START_CODE);
        self.unit.data.extend_from_slice(nal);
        Some(())
    }

    fn append_fragment(&mut self, indicator: u8, rest: &[u8]) -> Option<()> {
        let (&fu, body) = rest.split_first()?;
        let (start, end) = (fu & 0x80 != 0, fu & 0x40 != 0);
        if start == self.fragment_open {
            return None;
        }
        if start {
            let first = indicator & !header::TYPE | fu & header::TYPE;
            self.append_nal(&[first])?;
        }
        self.unit.data.extend_from_slice(body);
        self.fragment_open = !end;
        Some(())
    }

    fn finish(&mut self) -> Option<AccessUnit> {
        let complete = !self.damaged && !self.fragment_open && !self.unit.data.is_empty();
        let usable = complete && !self.blank && (self.unit.keyframe || !self.needs_keyframe);
        if !complete {
            self.needs_keyframe = true;
        } else if usable {
            self.needs_keyframe = false;
        }
        let unit = usable.then(|| {
            let data = std::mem::take(&mut self.unit.data);
            AccessUnit { data, ..self.unit }
        });
        self.restart(self.unit.timestamp);
        unit
    }
}

/// Whether this payload is certain to be the first of an access unit: a delimiter or parameter set opens it. After a
/// gap any other payload may follow a slice that is missing.
fn begins_unit(payload: &[u8]) -> bool {
    let first_unit = match payload {
        [first, _, _, nal, ..] if first & header::TYPE == kind::STAP_A => *nal,
        [first, ..] => *first,
        [] => return false,
    };
    matches!(first_unit & header::TYPE, kind::SPS | kind::DELIMITER)
}
