//! An update is cut off after every sector that it writes, and what then boots is the old image or the new one, whole.

use super::bundle::{Manifest, Payload};
use super::{Action, Copies, Install, Place, RECORD_LEN, Record, Slot, TRIES, rule};
use crate::random::Random;
use aws_lc_rs::digest::{SHA256, digest};

const SECTOR: usize = 512;

/// Of each of the two parts that a slot here has room for.
const ROOM: usize = 400 << 10;

/// What is on a medium, and what was written and may be there or not.
#[derive(Clone)]
struct Disk {
    slots: [[Vec<u8>; 2]; 2],
    copies: Copies,
    written: Vec<Sector>,
}

#[derive(Clone)]
struct Sector {
    slot: Slot,
    place: Place,
    offset: usize,
    bytes: Vec<u8>,
}

/// An image's kernel and root.
#[derive(Clone, PartialEq)]
struct Image([Vec<u8>; 2]);

impl Image {
    fn new(seed: u64, kernel: usize, root: usize) -> Self {
        let mut random = Random(seed);
        Self([kernel, root].map(|length| (0..length).map(|_| random.next() as u8 | 1).collect()))
    }

    fn manifest(&self) -> Manifest {
        let [kernel, root] = self.0.each_ref().map(|bytes| {
            let sum = digest(&SHA256, bytes);
            let sha256 = sum.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
            Payload { size: bytes.len() as u64, sha256 }
        });
        Manifest { board: "virt".into(), version: "2".into(), kernel, root }
    }
}

impl Disk {
    fn new(old: &Image, running: Slot, copies: Copies) -> Self {
        let empty = || [vec![0; ROOM], vec![0; ROOM]];
        let mut disk = Self { slots: [empty(), empty()], copies, written: Vec::new() };
        disk.put(running, old);
        disk
    }

    fn put(&mut self, slot: Slot, image: &Image) {
        for (place, bytes) in self.slots[slot as usize].iter_mut().zip(&image.0) {
            place[..bytes.len()].copy_from_slice(bytes);
        }
    }

    fn write(&mut self, slot: Slot, place: Place, offset: u64, bytes: &[u8]) {
        for (nth, bytes) in bytes.chunks(SECTOR).enumerate() {
            let offset = offset as usize + nth * SECTOR;
            self.written.push(Sector { slot, place, offset, bytes: bytes.to_vec() });
        }
    }

    fn apply(&mut self, sector: &Sector, length: usize) {
        let length = length.min(sector.bytes.len());
        let target = match sector.place {
            Place::Record(index) => &mut self.copies[index][..],
            Place::Part(part) => &mut self.slots[sector.slot as usize][part as usize][..],
        };
        target[sector.offset..][..length].copy_from_slice(&sector.bytes[..length]);
    }

    fn flush(&mut self, place: Place) {
        let (flushed, rest) = std::mem::take(&mut self.written).into_iter().partition(|sector| sector.place == place);
        self.written = rest;
        let flushed: Vec<Sector> = flushed;
        flushed.iter().for_each(|sector| self.apply(sector, SECTOR));
    }

    /// The power goes: of what was not flushed some is there, some is not, and one sector may be so in part.
    fn cut(mut self, random: &mut Random) -> Self {
        let torn = random.next() as usize % (self.written.len() + 1);
        for (nth, sector) in std::mem::take(&mut self.written).iter().enumerate() {
            match random.next() % 2 {
                _ if nth == torn => self.apply(sector, random.next() as usize % SECTOR),
                0 => self.apply(sector, SECTOR),
                _ => {}
            }
        }
        self
    }

    fn holds(&self, slot: Slot, image: &Image) -> bool {
        self.slots[slot as usize].iter().zip(&image.0).all(|(place, bytes)| place.starts_with(bytes))
    }

    /// What U-Boot sees: a kernel's own sums, and nothing of the root.
    fn kernel_whole(&self, slot: Slot, images: &[&Image]) -> bool {
        images.iter().any(|image| self.slots[slot as usize][0].starts_with(&image.0[0]))
    }
}

/// Writes `new` beside `running`; `seen` gets the disk as it is after each sector and each flush.
fn install(disk: &mut Disk, new: &Image, running: Slot, mut seen: impl FnMut(&Disk)) {
    let mut machine = Install::new(&new.manifest(), running, disk.copies);
    let mut file = new.0.concat().into_iter();
    let slot = running.other();
    loop {
        match machine.step().unwrap() {
            Action::Take(buffer) => buffer.fill_with(|| file.next().expect("the file is long enough")),
            Action::Write { place, offset, bytes } => {
                for (nth, sector) in bytes.chunks(SECTOR).enumerate() {
                    disk.write(slot, place, offset + (nth * SECTOR) as u64, sector);
                    seen(disk);
                }
            }
            Action::Flush(place) => {
                disk.flush(place);
                seen(disk);
            }
            Action::Read { part, offset, buffer } => {
                let bytes = &disk.slots[slot as usize][part as usize][offset as usize..][..buffer.len()];
                buffer.copy_from_slice(bytes);
            }
            Action::Done => return,
        }
    }
}

/// Every state that a disk can be in when an update begins: copies of the record, and the slot that runs.
fn beginnings() -> Vec<(Copies, Slot)> {
    let record = |generation, good, tries| Record { generation, good, tries }.bytes();
    let torn = [0x5a; RECORD_LEN];
    vec![
        ([[0; RECORD_LEN]; 2], Slot::A),
        ([record(1, Slot::A, None), record(1, Slot::A, None)], Slot::A),
        ([record(8, Slot::B, None), torn], Slot::B),
        ([torn, record(8, Slot::B, None)], Slot::B),
        // An update that was never started: its slot is overwritten.
        ([record(3, Slot::A, Some(TRIES)), record(3, Slot::A, Some(TRIES))], Slot::A),
        ([record(3, Slot::A, None), record(4, Slot::A, Some(TRIES))], Slot::A),
        // The good slot's kernel is damaged, and U-Boot took the other one.
        ([record(5, Slot::A, None), record(5, Slot::A, None)], Slot::B),
        // The same where no copy is valid.
        ([torn, torn], Slot::B),
    ]
}

#[test]
fn a_power_cut_after_any_sector_of_an_update_leaves_the_old_image_or_the_new_one_to_boot() {
    let old = Image::new(1, 150 << 10, 250 << 10);
    let new = Image::new(2, (160 << 10) + 100, (300 << 10) + 1);
    for (copies, running) in beginnings() {
        let mut disk = Disk::new(&old, running, copies);
        let (mut cuts, mut news) = (0, 0);
        let mut random = Random(cuts);
        let trial_before = Record::newest(&copies).is_some_and(|record| record.tries.is_some());
        if trial_before {
            disk.put(running.other(), &Image::new(3, 100 << 10, 100 << 10));
        }
        let earlier = Image::new(3, 100 << 10, 100 << 10);
        install(&mut disk, &new, running, |disk| {
            let after = disk.clone().cut(&mut random);
            let boot = rule::boot(&after.copies, |slot| after.kernel_whole(slot, &[&old, &new, &earlier]));
            let slot = boot.slot.expect("some slot boots");
            let earlier_update = trial_before && after.holds(slot, &earlier);
            assert!(
                slot == running && after.holds(slot, &old)
                    || after.holds(slot, &new)
                    || slot != running && earlier_update,
                "cut {cuts} of {copies:?}: slot {slot} is not whole"
            );
            cuts += 1;
            news += u64::from(slot != running && !earlier_update);
        });
        assert!(cuts > 900, "{cuts} cuts");
        assert!(news > 0, "the update is never seen");
        let boot = rule::boot(&disk.copies, |slot| disk.kernel_whole(slot, &[&old, &new]));
        assert_eq!(boot.slot, Some(running.other()));
        assert_eq!(boot.written, Some((running, Some(TRIES - 1))));
        assert!(disk.holds(running.other(), &new) && disk.holds(running, &old));
    }
}
