//! Annex B: NAL units between start codes.

use super::{header, kind};

/// One NAL unit without its start code; never empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Nal<'a>(pub &'a [u8]);

impl Nal<'_> {
    /// `nal_unit_type`.
    pub fn kind(&self) -> u8 {
        self.0[0] & header::TYPE
    }

    /// A sequence parameter set.
    pub fn is_sps(&self) -> bool {
        self.kind() == kind::SPS
    }
}

/// Iterates over the NAL units of a byte stream; see [`nals`].
#[derive(Clone, Debug)]
pub struct Nals<'a> {
    /// Begins just after a start code, or is empty.
    rest: &'a [u8],
}

/// The NAL units of an Annex B byte stream, with 3- or 4-byte start codes. Bytes before the first start code are
/// skipped, and so are empty units.
pub fn nals(stream: &[u8]) -> Nals<'_> {
    let rest = start_code(stream).map_or(&stream[stream.len()..], |at| &stream[at + 3..]);
    Nals { rest }
}

/// Whether an access unit holds a slice of an IDR picture.
pub fn is_keyframe(access_unit: &[u8]) -> bool {
    nals(access_unit).any(|nal| nal.kind() == kind::IDR)
}

impl<'a> Iterator for Nals<'a> {
    type Item = Nal<'a>;

    fn next(&mut self) -> Option<Nal<'a>> {
        while !self.rest.is_empty() {
            let (unit, rest) = match start_code(self.rest) {
                Some(at) => (&self.rest[..at], &self.rest[at + 3..]),
                None => (self.rest, &self.rest[self.rest.len()..]),
            };
            self.rest = rest;
            let unit = without_trailing_zeros(unit);
            if !unit.is_empty() {
                return Some(Nal(unit));
            }
        }
        None
    }
}

/// A unit never ends in a zero byte: trailing ones belong to the next start code, or are stuffing.
fn without_trailing_zeros(unit: &[u8]) -> &[u8] {
    let end = unit.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
    &unit[..end]
}

/// Position of the first 00 00 01. Looks at every third byte only, as long as that byte rules a start code out.
pub(super) fn start_code(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    while at + 2 < bytes.len() {
        match bytes[at + 2] {
            0 => at += 1,
            1 if bytes[at] == 0 && bytes[at + 1] == 0 => return Some(at),
            _ => at += 3,
        }
    }
    None
}
