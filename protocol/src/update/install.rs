//! The order in which an update is written.
//!
//! The other slot first loses the head of its kernel, and gets it back last, when kernel and root are flushed and read back:
//! a slot whose kernel begins is whole. Only then comes the record that puts it on trial.

use super::bundle::Manifest;
use super::{Copies, RECORD_LEN, Record, Slot, TRIES};
use aws_lc_rs::digest::{Context, SHA256};
use std::collections::VecDeque;
use std::fmt;

/// Bytes that are read and written at once.
const CHUNK: usize = 256 << 10;

/// Bytes between flushes: what a small board's page cache holds back is little, and no flush takes many seconds.
const FLUSH_EVERY: u64 = 4 << 20;

/// Bytes of the kernel that are written last: a page, so that it is written as one. No loader takes a kernel without it.
const HEAD: usize = 4096;

/// Which partition of a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// What U-Boot loads and checks.
    Kernel,
    /// The file system.
    Root,
}

/// Where something is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Copy of the record with this index.
    Record(usize),
    /// Partition of the slot that does not run.
    Part(Part),
}

/// What the shell does before it asks again.
#[derive(Debug, PartialEq, Eq)]
pub enum Action<'a> {
    /// Fill this with the next bytes of the file.
    Take(&'a mut [u8]),
    /// Write this.
    Write {
        /// To it,
        place: Place,
        /// this many bytes from its beginning.
        offset: u64,
        /// All of it.
        bytes: &'a [u8],
    },
    /// Wait until all that was written there is on the medium.
    Flush(Place),
    /// Fill this from the medium, not from a cache.
    Read {
        /// From it,
        part: Part,
        /// this many bytes from its beginning.
        offset: u64,
        /// All of it.
        buffer: &'a mut [u8],
    },
    /// The new slot is on trial from the next start on.
    Done,
}

/// Why the update ends. The running slot is as it was, and the only one that boots.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    /// The file is not what was signed.
    #[error("is damaged: its {0} is not what was signed; fetch it again")]
    File(Part),
    /// Read back, it differs.
    #[error(
        "cannot be installed: the {0} reads back otherwise than it was written; the card is worn out or not what it claims to be, replace it"
    )]
    Medium(Part),
}

/// See the module. Driving rule: act on each [`Action`], then ask for the next.
pub struct Install {
    sums: [String; 2],
    buffer: Vec<u8>,
    head: [u8; HEAD],
    sum: Context,
    plan: VecDeque<Step>,
    doing: Option<Step>,
}

/// An action, and what is done with its result before the next.
#[derive(Clone, Copy, Debug)]
enum Step {
    Record(usize, Record),
    Flush(Place),
    /// The slot is none from here on.
    Behead,
    Take(Piece),
    Write(Piece),
    Read(Piece),
    Head,
    ReadHead,
}

/// What fits into the buffer.
#[derive(Clone, Copy, Debug)]
struct Piece {
    part: Part,
    offset: u64,
    length: usize,
    last: bool,
}

impl Install {
    /// Of what `manifest` says, beside the slot that is `running`, on a disk with these copies of the record.
    pub fn new(manifest: &Manifest, running: Slot, copies: Copies) -> Self {
        Self {
            sums: [&manifest.kernel, &manifest.root].map(|payload| payload.sha256.clone()),
            buffer: vec![0; CHUNK],
            head: [0; HEAD],
            sum: Context::new(&SHA256),
            plan: plan(manifest, running, copies),
            doing: None,
        }
    }

    /// Generation of the record that puts the new slot on trial.
    pub fn generation(&self) -> u32 {
        let records = self.plan.iter().rev().find_map(|step| match step {
            Step::Record(_, record) => Some(record.generation),
            _ => None,
        });
        records.expect("each plan ends with the record")
    }

    /// What is to be done now; an error ends it.
    pub fn step(&mut self) -> Result<Action<'_>, Damage> {
        if let Some(done) = self.doing.take() {
            self.finish(done)?;
        }
        self.doing = self.plan.pop_front();
        let Self { buffer, head, doing, .. } = self;
        Ok(match doing {
            Some(Step::Record(index, record)) => {
                buffer[..RECORD_LEN].copy_from_slice(&record.bytes());
                Action::Write { place: Place::Record(*index), offset: 0, bytes: &buffer[..RECORD_LEN] }
            }
            Some(Step::Flush(place)) => Action::Flush(*place),
            Some(Step::Behead) => Action::Write { place: KERNEL, offset: 0, bytes: &[0; HEAD] },
            Some(Step::Take(piece)) => Action::Take(&mut buffer[..piece.length]),
            Some(Step::Write(Piece { part, offset, length, .. })) => {
                Action::Write { place: Place::Part(*part), offset: *offset, bytes: &buffer[..*length] }
            }
            Some(Step::Read(Piece { part, offset, length, .. })) => {
                Action::Read { part: *part, offset: *offset, buffer: &mut buffer[..*length] }
            }
            Some(Step::Head) => Action::Write { place: KERNEL, offset: 0, bytes: head },
            Some(Step::ReadHead) => Action::Read { part: Part::Kernel, offset: 0, buffer: &mut buffer[..HEAD] },
            None => Action::Done,
        })
    }

    fn finish(&mut self, step: Step) -> Result<(), Damage> {
        match step {
            Step::Take(piece) => {
                self.count(piece, Damage::File)?;
                if piece.at_head() {
                    let length = piece.length.min(HEAD);
                    self.head[..length].copy_from_slice(&self.buffer[..length]);
                    self.buffer[..length].fill(0);
                }
                Ok(())
            }
            Step::Read(piece) => {
                if piece.at_head() {
                    // Not written yet.
                    let length = piece.length.min(HEAD);
                    self.buffer[..length].copy_from_slice(&self.head[..length]);
                }
                self.count(piece, Damage::Medium)
            }
            Step::ReadHead if self.buffer[..HEAD] != self.head => Err(Damage::Medium(Part::Kernel)),
            Step::Record(..) | Step::Flush(_) | Step::Behead | Step::Write(_) | Step::Head | Step::ReadHead => Ok(()),
        }
    }

    /// Adds the buffer to the sum of the part, which must be the manifest's in the end.
    fn count(&mut self, piece: Piece, damage: fn(Part) -> Damage) -> Result<(), Damage> {
        self.sum.update(&self.buffer[..piece.length]);
        if !piece.last {
            return Ok(());
        }
        let sum = std::mem::replace(&mut self.sum, Context::new(&SHA256)).finish();
        let digits: String = sum.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        let wanted = match piece.part {
            Part::Kernel => &self.sums[0],
            Part::Root => &self.sums[1],
        };
        if digits == *wanted { Ok(()) } else { Err(damage(piece.part)) }
    }
}

const KERNEL: Place = Place::Part(Part::Kernel);

/// All of it, in order.
fn plan(manifest: &Manifest, running: Slot, copies: Copies) -> VecDeque<Step> {
    let mut plan = VecDeque::new();
    let mut copies = copies;
    // What is left of an earlier update is given up before its slot is overwritten, and where the good slot does not
    // start, that is the one to be overwritten.
    if !Record::newest(&copies).is_some_and(|record| record.good == running && record.tries.is_none()) {
        record(&mut plan, &mut copies, running, None);
    }
    plan.extend([Step::Behead, Step::Flush(KERNEL)]);
    for (part, size) in [(Part::Kernel, manifest.kernel.size), (Part::Root, manifest.root.size)] {
        for piece in pieces(part, size) {
            plan.extend([Step::Take(piece), Step::Write(piece)]);
            if piece.last || (piece.offset + CHUNK as u64).is_multiple_of(FLUSH_EVERY) {
                plan.push_back(Step::Flush(Place::Part(part)));
            }
        }
        plan.extend(pieces(part, size).map(Step::Read));
    }
    plan.extend([Step::Head, Step::Flush(KERNEL), Step::ReadHead]);
    record(&mut plan, &mut copies, running, Some(TRIES));
    plan
}

fn record(plan: &mut VecDeque<Step>, copies: &mut Copies, good: Slot, tries: Option<u32>) {
    let (record, order) = Record::successor(copies, good, tries);
    for index in order {
        plan.extend([Step::Record(index, record), Step::Flush(Place::Record(index))]);
        copies[index] = record.bytes();
    }
}

fn pieces(part: Part, size: u64) -> impl Iterator<Item = Piece> {
    (0..size.div_ceil(CHUNK as u64)).map(move |index| {
        let offset = index * CHUNK as u64;
        let left = size - offset;
        let length = usize::try_from(left).map_or(CHUNK, |left| left.min(CHUNK));
        Piece { part, offset, length, last: left <= CHUNK as u64 }
    })
}

impl Piece {
    fn at_head(&self) -> bool {
        self.part == Part::Kernel && self.offset == 0
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Kernel => "kernel",
            Self::Root => "root",
        })
    }
}

impl fmt::Debug for Install {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Install").field("doing", &self.doing).field("steps", &self.plan.len()).finish_non_exhaustive()
    }
}
