//! The two ends in shared memory.

use super::frames::{AtomicU32, Consumer, HEADER_WORDS, Producer, Violation, Words};
use super::{FRAMES, Frame};
use crate::process::{add_seals, check, create_memfd, seals};
use crate::ring::Error;
use crate::ring::mapping::{map, system};
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;
use std::slice::from_raw_parts;
use std::sync::atomic::Ordering::Relaxed;

/// "FWPCM" and the version of the layout, as the first words.
const MAGIC: [u32; 2] = [u32::from_ne_bytes(*b"FWPC"), u32::from_ne_bytes(*b"M001")];

/// Nobody can make it shorter under its reader (SIGBUS) or longer. Writing stays allowed: that is what it is for.
const SEALS: libc::c_int = libc::F_SEAL_SHRINK | libc::F_SEAL_GROW | libc::F_SEAL_SEAL;

const SIZE: usize = (HEADER_WORDS + FRAMES as usize) * size_of::<u32>();

#[derive(Debug)]
struct Mapping {
    fd: OwnedFd,
    start: NonNull<u8>,
}

// SAFETY: the memory is reached through atomics alone, from any thread.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Mapping {
    fn new(fd: OwnedFd) -> Result<Self, Error> {
        let start = map(fd.as_fd(), SIZE, libc::PROT_READ | libc::PROT_WRITE)?;
        Ok(Self { fd, start })
    }

    fn words(&self) -> Words<'_> {
        // SAFETY: the mapping has `SIZE` bytes, which is the sum of the two parts; it starts at a page, so both are aligned;
        // it lives as long as `self`, the memfd cannot shrink, and other processes change it only as memory that atomics may
        // see change.
        unsafe {
            let words: *const AtomicU32 = self.start.as_ptr().cast();
            Words {
                header: from_raw_parts(words, HEADER_WORDS),
                frames: from_raw_parts(words.add(HEADER_WORDS), FRAMES as usize),
            }
        }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: it was mapped with this size, and nothing borrows from it any more.
        unsafe { libc::munmap(self.start.as_ptr().cast(), SIZE) };
    }
}

/// The owner's end. It has made the memory and believes nothing that is in it.
#[derive(Debug)]
pub struct Reader {
    mapping: Mapping,
    consumer: Consumer,
}

impl Reader {
    /// Makes, pre-faults and seals a ring.
    pub fn create(name: &str) -> Result<Self, Error> {
        let fd = create_memfd(name).map_err(system("memfd_create"))?;
        // Allocated now, so that the pages are charged to the owner and never fail to be there later.
        // SAFETY: takes numbers only.
        check(unsafe { libc::fallocate(fd.as_raw_fd(), 0, 0, SIZE as libc::off_t) }).map_err(system("fallocate"))?;
        let mapping = Mapping::new(fd)?;
        for (word, value) in mapping.words().header.iter().zip([MAGIC[0], MAGIC[1], FRAMES]) {
            word.store(value, Relaxed);
        }
        add_seals(mapping.fd.as_fd(), SEALS).map_err(system("seal"))?;
        Ok(Self { mapping, consumer: Consumer::default() })
    }

    /// To pass to the one writer.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.mapping.fd.as_fd()
    }

    /// Frames that wait. What the writer has cleared is thrown away on the spot. A violation is for good.
    pub fn level(&mut self) -> Result<usize, Violation> {
        self.consumer.level(self.mapping.words())
    }

    /// Takes frames, as many as there are and fit, and says how many.
    pub fn read(&mut self, frames: &mut [Frame]) -> Result<usize, Violation> {
        self.consumer.read(self.mapping.words(), frames)
    }

    /// Throws away the oldest `count` frames, or all if there are fewer.
    pub fn skip(&mut self, count: usize) -> Result<usize, Violation> {
        let count = self.level()?.min(count);
        self.consumer.skip(self.mapping.words(), count as u32);
        Ok(count)
    }

    /// µs since the writer says to have written. Hostile: any number.
    pub fn age_us(&self, now_us: u32) -> u32 {
        self.consumer.age_us(self.mapping.words(), now_us)
    }

    /// The writer says that it waits for room.
    pub fn held(&self) -> bool {
        self.consumer.held(self.mapping.words())
    }
}

/// A job's end.
#[derive(Debug)]
pub struct Writer {
    mapping: Mapping,
    producer: Producer,
}

impl Writer {
    /// Maps a ring, after checking seals and size.
    pub fn map(fd: OwnedFd) -> Result<Self, Error> {
        if seals(fd.as_fd()).map_err(system("F_GET_SEALS"))? & SEALS != SEALS {
            return Err(Error::Invalid("the memfd is not sealed"));
        }
        let file = File::from(fd);
        if file.metadata().map_err(system("fstat"))?.len() != SIZE as u64 {
            return Err(Error::Invalid("its size is not that of a PCM ring"));
        }
        let mapping = Mapping::new(file.into())?;
        let wanted = [MAGIC[0], MAGIC[1], FRAMES];
        if mapping.words().header.iter().zip(wanted).any(|(word, value)| word.load(Relaxed) != value) {
            return Err(Error::Invalid("the memfd is no PCM ring of this version"));
        }
        Ok(Self { mapping, producer: Producer::default() })
    }

    /// Writes what there is room for and says how many frames that was; `now_us` is [`super::now_us`].
    pub fn write(&mut self, now_us: u32, frames: &[Frame]) -> usize {
        self.producer.write(self.mapping.words(), now_us, frames)
    }

    /// Frames that have not been read yet.
    pub fn level(&self) -> usize {
        self.producer.level(self.mapping.words())
    }

    /// Throws away what has not been read yet.
    pub fn clear(&mut self) {
        self.producer.clear(self.mapping.words());
    }

    /// Says whether this end waits for room, and so wants to be woken.
    pub fn hold(&mut self, held: bool) {
        self.producer.hold(self.mapping.words(), held);
    }
}
