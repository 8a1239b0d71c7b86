//! The shared memory of a ring.

use super::protocol::{ALIGN, AtomicU32, AtomicUsize, DESCRIPTOR_WORDS, HEADER_WORDS, Words};
use super::{Error, Layout, MAX_ARENA, MAX_SLOTS};
use crate::process::{add_seals, check, create_memfd, seals};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::ptr::{NonNull, null_mut};
use std::slice::from_raw_parts;
use std::sync::atomic::Ordering::Relaxed;

/// "FWRING" and the version of the layout, as the first words.
const MAGIC: [u32; 2] = [u32::from_ne_bytes(*b"FWRI"), u32::from_ne_bytes(*b"NG01")];
const SLOTS: usize = 2;
const ARENA: usize = 3;

/// Nobody can make it shorter under a reader (SIGBUS) or longer, and who gets it can only map it for reading (5.1).
const SEALS: libc::c_int = libc::F_SEAL_SHRINK | libc::F_SEAL_GROW | libc::F_SEAL_FUTURE_WRITE;

/// A mapped ring, shared with other processes until it is dropped here.
#[derive(Debug)]
pub(super) struct Mapping {
    fd: OwnedFd,
    start: NonNull<u8>,
    layout: Layout,
}

// SAFETY: the memory is reached through atomics alone, from any thread.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Makes, allocates, maps for writing and seals a ring.
    pub fn create(name: &str, layout: Layout) -> Result<Self, Error> {
        valid(layout).map_err(Error::Invalid)?;
        let fd = create_memfd(name).map_err(system("memfd_create"))?;
        let size = size(layout);
        // Allocated now, so that the pages are charged to the writer and never to the reader that first touches them.
        // SAFETY: takes numbers only.
        check(unsafe { libc::fallocate(fd.as_raw_fd(), 0, 0, size as libc::off_t) }).map_err(system("fallocate"))?;
        let start = map(fd.as_fd(), size, libc::PROT_READ | libc::PROT_WRITE)?;
        let mapping = Self { fd, start, layout };
        let header = mapping.words().header;
        for (word, value) in header.iter().zip([MAGIC[0], MAGIC[1], layout.slots, layout.arena]) {
            word.store(value, Relaxed);
        }
        add_seals(mapping.fd(), SEALS | libc::F_SEAL_SEAL).map_err(system("seal (needs Linux 5.1)"))?;
        Ok(mapping)
    }

    /// Maps a ring for reading, whoever made it.
    pub fn open(fd: OwnedFd) -> Result<Self, Error> {
        if seals(fd.as_fd()).map_err(system("F_GET_SEALS"))? & SEALS != SEALS {
            return Err(Error::Invalid("the memfd is not sealed"));
        }
        let file = File::from(fd);
        // Sealed, so that the length is the same from here on.
        let length = file.metadata().map_err(system("fstat"))?.len();
        if length < size(Layout { slots: 2, arena: ALIGN }) as u64
            || length > size(Layout { slots: MAX_SLOTS, arena: MAX_ARENA }) as u64
        {
            return Err(Error::Invalid("its size is not that of a ring"));
        }
        let fd = OwnedFd::from(file);
        let layout = layout_of(fd.as_fd())?;
        if size(layout) as u64 != length {
            return Err(Error::Invalid("its size is not the one that its header tells"));
        }
        let start = map(fd.as_fd(), size(layout), libc::PROT_READ)?;
        Ok(Self { fd, start, layout })
    }

    pub fn layout(&self) -> Layout {
        self.layout
    }

    pub fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    pub fn words(&self) -> Words<'_> {
        let descriptors = HEADER_WORDS * size_of::<AtomicU32>();
        let slots = self.layout.slots as usize * DESCRIPTOR_WORDS;
        let arena = descriptors + slots * size_of::<AtomicU32>();
        // SAFETY: the mapping has `size(layout)` bytes, which is the sum of the three parts; it starts at a page and each
        // part at a multiple of 64, so all are aligned; it lives as long as `self`, and other processes change it only as
        // memory that atomics may see change. A mapping for reading is only read: readers never store.
        unsafe {
            Words {
                header: from_raw_parts(self.start.as_ptr().cast(), HEADER_WORDS),
                descriptors: from_raw_parts(self.start.add(descriptors).as_ptr().cast(), slots),
                arena: from_raw_parts(
                    self.start.add(arena).as_ptr().cast(),
                    self.layout.arena as usize / size_of::<AtomicUsize>(),
                ),
            }
        }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: it was mapped with this size, and nothing borrows from it any more.
        unsafe { libc::munmap(self.start.as_ptr().cast(), size(self.layout)) };
    }
}

/// Reads the layout once, by `pread`: what the memory says later does not matter.
fn layout_of(fd: BorrowedFd<'_>) -> Result<Layout, Error> {
    use std::os::unix::fs::FileExt;
    let mut bytes = [0; 16];
    let file = File::from(fd.try_clone_to_owned().map_err(system("dup"))?);
    file.read_exact_at(&mut bytes, 0).map_err(system("read"))?;
    let word = |i: usize| u32::from_ne_bytes([bytes[4 * i], bytes[4 * i + 1], bytes[4 * i + 2], bytes[4 * i + 3]]);
    if [word(0), word(1)] != MAGIC {
        return Err(Error::Invalid("the memfd is no ring of this version"));
    }
    let layout = Layout { slots: word(SLOTS), arena: word(ARENA) };
    valid(layout).map_err(Error::Invalid)?;
    Ok(layout)
}

fn valid(layout: Layout) -> Result<(), &'static str> {
    if !layout.slots.is_power_of_two() || !(2..=MAX_SLOTS).contains(&layout.slots) {
        return Err("the number of slots is no power of two in 2..=1024");
    }
    if !layout.arena.is_multiple_of(ALIGN) || !(ALIGN..=MAX_ARENA).contains(&layout.arena) {
        return Err("the arena is no multiple of 8 bytes in 8 B..=16 MiB");
    }
    Ok(())
}

/// Bytes of a ring.
fn size(layout: Layout) -> usize {
    (HEADER_WORDS + layout.slots as usize * DESCRIPTOR_WORDS) * size_of::<AtomicU32>() + layout.arena as usize
}

pub(super) fn map(fd: BorrowedFd<'_>, size: usize, protection: libc::c_int) -> Result<NonNull<u8>, Error> {
    let flags = libc::MAP_SHARED | libc::MAP_POPULATE;
    // SAFETY: a new mapping, at an address that the kernel chooses.
    let start = unsafe { libc::mmap(null_mut(), size, protection, flags, fd.as_raw_fd(), 0) };
    if start == libc::MAP_FAILED {
        return Err(system("mmap")(io::Error::last_os_error()));
    }
    Ok(NonNull::new(start.cast()).expect("mmap without a fixed address never gives 0"))
}

pub(super) fn system(call: &'static str) -> impl Fn(io::Error) -> Error {
    move |source| Error::System { call, source }
}
