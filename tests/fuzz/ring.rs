//! The shared memory between owners and jobs, with an enemy at the other end: what a job maps, and what an owner reads of a
//! job's sound.

use crate::device::each;
use hal::ring::{Next, Reader, pcm};
use rustix::fd::AsRawFd;
use rustix::fs::{MemfdFlags, SealFlags};
use std::fs::{self, File};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;

/// A ring with these bytes, sealed as an owner seals it.
fn sealed(bytes: &[u8]) -> OwnedFd {
    let memfd = rustix::fs::memfd_create("hostile", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING).expect("a memfd");
    // Through /proc, as this rustix is built without the standard library and its descriptors are of another type.
    let path = format!("/proc/self/fd/{}", memfd.as_raw_fd());
    fs::write(&path, bytes).expect("memory");
    let seals = SealFlags::SHRINK | SealFlags::GROW | SealFlags::FUTURE_WRITE;
    rustix::fs::fcntl_add_seals(&memfd, seals).expect("it was made for seals");
    File::open(&path).expect("it is there").into()
}

#[test]
fn a_ring_of_a_hostile_owner_is_refused_or_read_within_its_bounds() {
    let (mut refused, mut read) = (0, 0);
    let mut unit = Vec::new();
    each("ring", |bytes| {
        let Ok(mut reader) = Reader::map(sealed(bytes)) else {
            refused += 1;
            return;
        };
        let layout = reader.layout();
        for _ in 0..=layout.slots.min(16) {
            if let Next::Unit(_) = reader.next(&mut unit) {
                read += 1;
                assert!(unit.len() <= layout.arena as usize && unit.len() <= bytes.len(), "{} bytes", unit.len());
            }
        }
        reader.seek_keyframe();
        reader.skip_to_newest();
    });
    assert!(refused > 0 && read > 0, "{refused} refused, {read} units read");
}

/// Bytes of one store: where, as a share of the ring's size, and what.
const STORE: usize = 8;

#[test]
fn a_hostile_writer_of_sound_is_found_out_or_heard_within_the_bounds_of_its_ring() {
    let (mut found_out, mut heard) = (0, 0);
    let mut frames = vec![[0; 2]; 480];
    let mut ring = None;
    each("pcm", |stores| {
        let (reader, memory) = ring.get_or_insert_with(|| {
            let reader = pcm::Reader::create("hostile").expect("a ring");
            let memory = File::from(reader.fd().try_clone_to_owned().expect("a descriptor"));
            (reader, memory)
        });
        let size = memory.metadata().expect("it has a size").len();
        for store in stores.chunks_exact(STORE) {
            let at = u64::from(u32::from_le_bytes([store[0], store[1], store[2], store[3]]));
            memory.write_all_at(&store[4..], at % (size - 3)).expect("jobs may write");
            match reader.read(&mut frames) {
                Ok(count) => heard += count,
                Err(pcm::Violation) => {
                    found_out += 1;
                    assert_eq!(reader.level(), Err(pcm::Violation), "a violation is for good");
                    ring = None;
                    return;
                }
            }
            assert!(reader.skip(100).is_ok_and(|count| count <= 100));
            let _any = (reader.held(), reader.age_us(pcm::now_us()));
        }
    });
    assert!(found_out > 0 && heard > 0, "{found_out} found out, {heard} frames heard");
}
