//! What a board wrote to its card, in order, and what a power cut leaves of it.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;
use tests::Card;

/// As dm-log-writes counts (Documentation/admin-guide/device-mapper/log-writes.rst); the layout of its file is in
/// linux/drivers/md/dm-log-writes.c.
const SECTOR: usize = 512;
const MAGIC: u64 = 0x006a_7366_7773_6872;
const FLUSH: u64 = 1;
const FUA: u64 = 2;
const DISCARD: u64 = 4;

/// Bytes of the card, as images/build/disk.sh lays it out.
const BOOT_PARTITION: Range<usize> = 4 << 20..52 << 20;

/// One entry of the record.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Event {
    /// Bytes went to this place of the card.
    Write { at: usize, from: usize, length: usize },
    /// All that was written before is there, whatever comes.
    Flush,
}

/// All that a board wrote.
pub struct Recording {
    bytes: Vec<u8>,
    pub events: Vec<Event>,
}

impl Recording {
    /// Reads what QEMU wrote down.
    pub fn of(card: &Card) -> Self {
        let file = File::open(card.record_of_writes()).expect("it was recorded");
        let number = |at: u64| {
            let mut bytes = [0; 8];
            file.read_exact_at(&mut bytes, at).expect("within the record");
            u64::from_le_bytes(bytes)
        };
        assert_eq!((number(0), number(24) as u32 as usize), (MAGIC, SECTOR), "a record of writes");
        let (mut bytes, mut events, mut at) = (Vec::new(), Vec::new(), SECTOR as u64);
        for _ in 0..number(16) {
            let [sector, sectors, flags] = [0, 8, 16].map(|field| number(at + field));
            at += SECTOR as u64;
            let length = if flags & DISCARD == 0 { sectors as usize * SECTOR } else { 0 };
            if flags & FLUSH != 0 {
                events.push(Event::Flush);
            }
            if length > 0 {
                let from = bytes.len();
                bytes.resize(from + length, 0);
                file.read_exact_at(&mut bytes[from..], at).expect("within the record");
                events.push(Event::Write { at: sector as usize * SECTOR, from, length });
                at += length as u64;
            }
            if flags & FUA != 0 {
                events.push(Event::Flush);
            }
        }
        Self { bytes, events }
    }

    /// Indices of the writes to one of these places.
    pub fn writes_to<'a>(&'a self, places: &'a [u64]) -> impl Iterator<Item = usize> + 'a {
        let is_one = |event: &Event| matches!(event, Event::Write { at, .. } if places.contains(&(*at as u64)));
        self.events.iter().enumerate().filter(move |(_, event)| is_one(event)).map(|(index, _)| index)
    }

    /// Index of the first write after which the ext4 at `start` says that it has more than this many bytes.
    pub fn growth_of(&self, start: usize, bytes: u64) -> Option<usize> {
        self.events.iter().position(|event| {
            let (at, written) = self.bytes(*event);
            let number = |of: usize| {
                let from = (start + 1024 + of).checked_sub(at)?;
                Some(u32::from_le_bytes(written.get(from..from + 4)?.try_into().ok()?))
            };
            // Blocks, and their size: ext4's superblock.
            matches!((number(4), number(24)), (Some(blocks), Some(size)) if u64::from(blocks) << (10 + size) > bytes)
        })
    }

    /// Index of the flush after the first write to the boot partition: of a new file, and nothing of it is flushed before.
    pub fn first_flush_of_boot_partition(&self) -> Option<usize> {
        let write = self.events.iter().position(|event| is_of_boot_partition(*event))?;
        Some(write + self.events[write..].iter().position(|event| *event == Event::Flush)?)
    }

    fn bytes(&self, event: Event) -> (usize, &[u8]) {
        match event {
            Event::Write { at, from, length } => (at, &self.bytes[from..][..length]),
            Event::Flush => (0, &[]),
        }
    }
}

/// A card as it is while a recording is played to it.
pub struct Replay<'a> {
    recording: &'a Recording,
    pub disk: Vec<u8>,
    played: usize,
    /// Since the last flush.
    unflushed: Vec<Event>,
}

impl<'a> Replay<'a> {
    /// From what the card held before.
    pub fn new(recording: &'a Recording, before: Vec<u8>) -> Self {
        Self { recording, disk: before, played: 0, unflushed: Vec::new() }
    }

    /// Plays the events before this index. What was not flushed is not there yet.
    pub fn play(&mut self, until: usize) {
        for event in &self.recording.events[self.played..until] {
            match event {
                Event::Write { .. } => self.unflushed.push(*event),
                Event::Flush => {
                    for event in std::mem::take(&mut self.unflushed) {
                        let (at, bytes) = self.recording.bytes(event);
                        self.disk[at..][..bytes.len()].copy_from_slice(bytes);
                    }
                }
            }
        }
        self.played = until;
    }

    /// What `look` sees if the power goes now: of what was not flushed some is there, some is not, and some is so in part.
    pub fn cut<T>(&mut self, mut chance: impl FnMut() -> usize, look: impl FnOnce(&[u8]) -> T) -> T {
        let there = |_, length| match chance() % 3 {
            0 => 0,
            1 => length,
            _ => chance() % (length / SECTOR) * SECTOR,
        };
        self.cut_where(there, look)
    }

    /// The same where of the boot partition's names and files all is there, and of its tables nothing: a name says where its
    /// file lies, and that is free.
    pub fn cut_before_tables<T>(&mut self, look: impl FnOnce(&[u8]) -> T) -> T {
        let names = BOOT_PARTITION.start + tables_end(&self.disk[BOOT_PARTITION]);
        let there = |at, length| if BOOT_PARTITION.contains(&at) && at < names { 0 } else { length };
        self.cut_where(there, look)
    }

    /// `there`: how much of a write to a place, of a length, has arrived.
    fn cut_where<T>(&mut self, mut there: impl FnMut(usize, usize) -> usize, look: impl FnOnce(&[u8]) -> T) -> T {
        let mut before = Vec::new();
        for event in &self.unflushed {
            let (at, bytes) = self.recording.bytes(*event);
            let there = there(at, bytes.len());
            before.push((at, self.disk[at..][..there].to_vec()));
            self.disk[at..][..there].copy_from_slice(&bytes[..there]);
        }
        let seen = look(&self.disk);
        for (at, bytes) in before.iter().rev() {
            self.disk[*at..][..bytes.len()].copy_from_slice(bytes);
        }
        seen
    }
}

/// Bytes of a FAT32 before its first folder: what is reserved, and its tables (Microsoft's FAT specification, section 3.1).
fn tables_end(fat: &[u8]) -> usize {
    let reserved = u16::from_le_bytes([fat[14], fat[15]]) as usize;
    let sectors = u32::from_le_bytes([fat[36], fat[37], fat[38], fat[39]]) as usize;
    (reserved + usize::from(fat[16]) * sectors) * SECTOR
}

/// Writes these bytes to a file, with holes where they are zero.
pub fn write_with_holes(path: &Path, bytes: &[u8]) {
    const PIECE: usize = 64 << 10;
    static ZEROS: [u8; PIECE] = [0; PIECE];
    let file = File::create(path).expect("the temporary directory is writable");
    file.set_len(bytes.len() as u64).expect("the temporary directory has room");
    for (nth, piece) in bytes.chunks(PIECE).enumerate() {
        if piece != &ZEROS[..piece.len()] {
            file.write_all_at(piece, (nth * PIECE) as u64).expect("the temporary directory has room");
        }
    }
}

/// Replays the journal of the ext4 in this file, as a start does, and finds nothing wrong after that.
#[track_caller]
pub fn check_file_system(path: &Path, what: &str) {
    for (how, allowed) in [("-p", &[0, 1][..]), ("-fn", &[0][..])] {
        let output = Command::new("/sbin/e2fsck").arg(how).arg(path).output();
        let output = output.unwrap_or_else(|error| panic!("e2fsck: {error}; run tools/setup image"));
        let code = output.status.code();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(code.is_some_and(|code| allowed.contains(&code)), "{what}: e2fsck {how} ended with {code:?}: {text}");
    }
    // The next one writes it anew.
    let _ = fs::remove_file(path);
}

/// What fsck.fat says of a FAT that was cut off while it was written to, and has been written to since: the kernel leaves such a
/// FAT its mark, for a PC to look at, reads the first of its two tables alone, and goes on with its count of what is free, which is
/// a hint.
const OF_A_CUT: [&str; 10] = [
    "There are differences between boot sector and its backup.",
    "This is mostly harmless. Differences: (offset:original/backup)",
    "  65:01/00",
    "  Not automatically fixing this.",
    "Dirty bit is set. Fs was not properly unmounted and some data may be corrupt.",
    " Automatically removing dirty bit.",
    "Free cluster summary wrong (",
    "  Auto-correcting.",
    "FATs differ but appear to be intact.",
    "  Using first FAT.",
];

/// Finds nothing else wrong with the FAT of a board that was cut off and has closed it since. What a file that was never named
/// takes is free for nobody, and no harm.
#[track_caller]
pub fn check_boot_partition(card: &Card, what: &str) {
    let path = card.path().with_file_name("boot");
    let bytes = fs::read(card.path()).expect("the card is ours");
    write_with_holes(&path, &bytes[BOOT_PARTITION]);
    let output = Command::new("/sbin/fsck.fat").arg("-n").arg(&path).output();
    let output = output.unwrap_or_else(|error| panic!("fsck.fat: {error}; run tools/setup image"));
    let said = String::from_utf8_lossy(&output.stdout);
    let harmless = |line: &str| {
        let beside = line.is_empty() || line.starts_with("fsck.fat ") || line == "Leaving filesystem unchanged.";
        let of_the_cut = OF_A_CUT.iter().any(|known| line.starts_with(known));
        let lost = line.starts_with("Reclaimed ") && line.contains("unused cluster");
        beside || of_the_cut || lost || line.ends_with(" clusters")
    };
    assert!(said.lines().all(harmless) && !said.is_empty(), "{what}: fsck.fat: {said}");
}

/// Whether this event is a write to the boot partition.
pub fn is_of_boot_partition(event: Event) -> bool {
    matches!(event, Event::Write { at, .. } if BOOT_PARTITION.contains(&at))
}

/// A file of the boot partition of this disk, as far as it can be read.
pub fn boot_file(card: &Card, disk: &[u8], name: &str) -> String {
    let path = card.path().with_file_name("boot");
    write_with_holes(&path, &disk[BOOT_PARTITION]);
    let output = Command::new("mtype").arg("-i").arg(&path).arg(format!("::{name}")).output();
    let output = output.expect("mtools are installed: tools/setup image");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// At most `count` of these, evenly.
pub fn thinned(all: &BTreeSet<usize>, count: usize) -> BTreeSet<usize> {
    let step = all.len().div_ceil(count).max(1);
    all.iter().copied().step_by(step).collect()
}
