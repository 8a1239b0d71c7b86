//! The partitions that an update is written to, and the record in front of them.

use super::system::failed;
use super::{Error, System};
use protocol::update::{COPY_OFFSETS, Copies, Part, Place, Record, Slot};
use std::fs::{File, OpenOptions};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::PathBuf;

/// Open for writing.
#[derive(Debug)]
pub(super) struct Disk {
    record: Node,
    kernel: Node,
    root: Node,
}

#[derive(Debug)]
struct Node {
    file: File,
    path: PathBuf,
}

impl Disk {
    /// The partitions of `slot`, which must not be mounted.
    pub(super) fn open(system: &System, slot: Slot) -> Result<Self, Error> {
        // The kernel refuses O_EXCL where a partition is in use.
        let part = |part| Node::open(system.partition(slot, part)?, libc::O_EXCL);
        Ok(Self { record: Node::open(system.disk(), 0)?, kernel: part(Part::Kernel)?, root: part(Part::Root)? })
    }

    pub(super) fn write(&self, place: Place, offset: u64, bytes: &[u8]) -> Result<(), Error> {
        let (node, start) = match place {
            Place::Record(index) => (&self.record, COPY_OFFSETS[index]),
            Place::Part(part) => (self.part(part), 0),
        };
        node.file.write_all_at(bytes, start + offset).map_err(failed("write", &node.path))
    }

    pub(super) fn flush(&self, place: Place) -> Result<(), Error> {
        let node = match place {
            Place::Record(_) => &self.record,
            Place::Part(part) => self.part(part),
        };
        node.file.sync_data().map_err(failed("flush", &node.path))
    }

    /// From the medium.
    pub(super) fn read(&self, part: Part, offset: u64, buffer: &mut [u8]) -> Result<(), Error> {
        let node = self.part(part);
        if offset == 0 {
            hal::storage::drop_cache(&node.file).map_err(failed("drop the cache of", &node.path))?;
        }
        node.file.read_exact_at(buffer, offset).map_err(failed("read", &node.path))
    }

    fn part(&self, part: Part) -> &Node {
        match part {
            Part::Kernel => &self.kernel,
            Part::Root => &self.root,
        }
    }
}

/// Both copies of a record that says so, one after the other.
pub(super) fn write_record(system: &System, copies: &Copies, good: Slot) -> Result<(), Error> {
    let disk = Node::open(system.disk(), 0)?;
    let (new, order) = Record::successor(copies, good, None);
    for index in order {
        disk.file.write_all_at(&new.bytes(), COPY_OFFSETS[index]).map_err(failed("write", &disk.path))?;
        disk.file.sync_data().map_err(failed("flush", &disk.path))?;
    }
    Ok(())
}

impl Node {
    fn open(path: PathBuf, flags: i32) -> Result<Self, Error> {
        let file = OpenOptions::new().read(true).write(true).custom_flags(flags).open(&path);
        Ok(Self { file: file.map_err(failed("open for writing", &path))?, path })
    }
}
