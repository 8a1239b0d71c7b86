//! The parameter sets of a stream: made fit for real time, remembered, and put before every keyframe, so that a receiver
//! can start at each.

use super::annex_b::nals;
use super::bits::{Reader, unescape};
use super::kind;
use super::sps::{Rate, Size, rewrite};

/// Sets of each kind that are remembered; cameras have one or two. The oldest gives way.
const MOST: usize = 8;

/// Bytes of a PPS in which its number stands.
const PPS_NUMBER: usize = 4;

const START_CODE: [u8; 4] = [0, 0, 0, 1];

/// See the module.
#[derive(Debug)]
pub struct ParameterSets {
    rate: Rate,
    sps: Vec<Set>,
    pps: Vec<Set>,
    size: Option<Size>,
    refused: u64,
    rebuilt: Vec<u8>,
}

#[derive(Debug)]
struct Set {
    id: Option<u32>,
    /// As it came.
    given: Vec<u8>,
    /// As it goes out, if that differs.
    fit: Option<Vec<u8>>,
}

impl Set {
    fn unit(&self) -> &[u8] {
        self.fit.as_deref().unwrap_or(&self.given)
    }
}

/// An access unit that can go out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Finished<'a> {
    /// Annex B.
    pub data: &'a [u8],
    /// A receiver can start here: an IDR picture, with its parameter sets.
    pub key: bool,
    /// Of the picture, if its parameter set could be read.
    pub size: Option<Size>,
}

impl ParameterSets {
    /// For a stream of this rate; its level follows from it.
    pub fn new(rate: Rate) -> Self {
        Self { rate, sps: Vec::new(), pps: Vec::new(), size: None, refused: 0, rebuilt: Vec::new() }
    }

    /// Takes the next access unit of the stream. One without parameter sets that is no keyframe is not copied.
    pub fn finish<'a>(&'a mut self, unit: &'a [u8]) -> Finished<'a> {
        let (mut idr, mut sets) = (false, false);
        for nal in nals(unit) {
            match nal.kind() {
                kind::SPS => self.remember_sps(nal.0),
                kind::PPS => remember(&mut self.pps, nal.0, pps_id(nal.0), None),
                other => {
                    idr |= other == kind::IDR;
                    continue;
                }
            }
            sets = true;
        }
        let key = idr && !self.sps.is_empty() && !self.pps.is_empty();
        if key || sets {
            self.rebuild(unit, key);
        }
        let data = if key || sets { &self.rebuilt } else { unit };
        Finished { data, key, size: self.size }
    }

    /// Parameter sets that could not be read, and went out as they were.
    pub fn refused(&self) -> u64 {
        self.refused
    }

    fn remember_sps(&mut self, sps: &[u8]) {
        if self.sps.iter().any(|set| set.given == sps) {
            return;
        }
        // Picture parameter sets are read by the one they belong to, so old ones may mean nothing any more.
        self.pps.clear();
        match rewrite(sps, self.rate) {
            Some(rewritten) => {
                self.size = Some(rewritten.size);
                remember(&mut self.sps, sps, Some(rewritten.id), Some(rewritten.unit));
            }
            None => {
                self.size = None;
                self.refused += 1;
                remember(&mut self.sps, sps, None, None);
            }
        }
    }

    fn rebuild(&mut self, unit: &[u8], key: bool) {
        self.rebuilt.clear();
        if key {
            for set in self.sps.iter().chain(&self.pps) {
                push(&mut self.rebuilt, set.unit());
            }
        }
        for nal in nals(unit) {
            match nal.kind() {
                kind::SPS | kind::PPS | kind::DELIMITER if key => {}
                kind::SPS => {
                    let set = self.sps.iter().find(|set| set.given == nal.0);
                    push(&mut self.rebuilt, set.map_or(nal.0, Set::unit));
                }
                _ => push(&mut self.rebuilt, nal.0),
            }
        }
    }
}

fn push(stream: &mut Vec<u8>, nal: &[u8]) {
    stream.extend_from_slice(&START_CODE);
    stream.extend_from_slice(nal);
}

fn remember(sets: &mut Vec<Set>, given: &[u8], id: Option<u32>, fit: Option<Vec<u8>>) {
    if sets.iter().any(|set| set.id == id && set.given == given) {
        return;
    }
    sets.retain(|set| set.id != id);
    if sets.len() == MOST {
        sets.remove(0);
    }
    sets.push(Set { id, given: given.to_vec(), fit });
}

fn pps_id(pps: &[u8]) -> Option<u32> {
    let start = unescape(&pps[1..pps.len().min(1 + PPS_NUMBER)]);
    Reader::new(&start).golomb()
}
