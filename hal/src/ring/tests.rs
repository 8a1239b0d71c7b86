use super::protocol::Producer;
use super::*;
use crate::process::{add_seals, create_memfd, sealed_memfd};
use proptest::prelude::*;
use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, Ordering};

const SMALL: Layout = Layout { slots: 4, arena: 64 };

fn ring(layout: Layout) -> (Writer, Reader) {
    let writer = Writer::create("test", layout).unwrap();
    let reader = read(&writer);
    (writer, reader)
}

fn read(writer: &Writer) -> Reader {
    Reader::map(writer.fd().try_clone_to_owned().unwrap()).unwrap()
}

fn meta(n: u64) -> Meta {
    Meta {
        captured_ns: n << 40 | n,
        stamped: None,
        written_ns: !n,
        position: n,
        flags: KEY | DISCONTINUITY,
        width: n as u16,
        height: !n as u16,
        epoch: n as u32,
        level: n as u8,
    }
}

/// A payload that tells its unit, and so any mix of two units.
fn payload(n: u64, length: usize) -> Vec<u8> {
    (0..length).map(|i| (n as usize * 31 + i) as u8).collect()
}

#[test]
fn units_come_whole_in_order_and_with_their_meaning() {
    let (mut writer, mut reader) = ring(SMALL);
    let mut buffer = vec![9];
    assert_eq!(reader.next(&mut buffer), Next::Empty);
    for (n, length) in [(0, 0), (1, 1), (2, 13)] {
        assert_eq!(writer.push(meta(n), &payload(n, length)).unwrap(), n);
    }
    for (n, length) in [(0, 0), (1, 1), (2, 13)] {
        assert_eq!(reader.next(&mut buffer), Next::Unit(meta(n)));
        assert_eq!(buffer, payload(n, length));
    }
    assert_eq!(reader.next(&mut buffer), Next::Empty);
}

#[test]
fn a_reader_starts_at_the_newest_unit_and_can_return_there() {
    let (mut writer, mut first) = ring(SMALL);
    writer.push(meta(0), b"").unwrap();
    writer.push(meta(1), b"").unwrap();
    let mut buffer = Vec::new();
    assert_eq!(read(&writer).next(&mut buffer), Next::Unit(meta(1)));
    first.skip_to_newest();
    assert_eq!(first.next(&mut buffer), Next::Unit(meta(1)));
    first.skip_to_newest();
    assert_eq!(first.next(&mut buffer), Next::Empty);
}

#[test]
fn a_reader_of_periodic_keyframes_goes_back_to_the_last_one_that_is_left() {
    let (mut writer, mut reader) = ring(Layout { slots: 8, arena: 256 });
    assert_eq!(reader.seek_keyframe(), None, "nothing is there");
    let mut buffer = Vec::new();
    let mut push = |n: u64, flags| writer.push(Meta { flags, ..meta(n) }, b"x").unwrap();
    for (n, flags) in [(0, KEY), (1, 0), (2, 0)] {
        push(n, flags);
    }
    assert_eq!(reader.seek_keyframe(), None, "these could be asked for");
    for (n, flags) in [(3, KEY | PERIODIC), (4, PERIODIC), (5, KEY | PERIODIC), (6, PERIODIC), (7, PERIODIC)] {
        push(n, flags);
    }
    for _ in 0..2 {
        assert_eq!(reader.seek_keyframe(), Some(meta(7).captured_ns));
        for n in [5, 6, 7] {
            assert!(matches!(reader.next(&mut buffer), Next::Unit(Meta { position, .. }) if position == n));
        }
        assert_eq!(reader.next(&mut buffer), Next::Empty);
    }
    for n in 8..13 {
        push(n, PERIODIC);
    }
    assert_eq!(reader.seek_keyframe(), Some(meta(12).captured_ns), "the oldest that is left");
    push(13, PERIODIC);
    assert_eq!(reader.seek_keyframe(), None, "it was overwritten");
    assert_eq!(reader.next(&mut buffer), Next::Lapped(1), "the position has not changed");
}

#[test]
fn a_slow_reader_is_told_how_much_it_lost_and_goes_on_at_the_oldest_unit() {
    let (mut writer, mut reader) = ring(SMALL);
    let mut buffer = Vec::new();
    for n in 0..7 {
        writer.push(meta(n), &payload(n, 8)).unwrap();
    }
    assert_eq!(reader.next(&mut buffer), Next::Lapped(3), "4 slots");
    assert_eq!(reader.next(&mut buffer), Next::Unit(meta(3)));
    writer.push(meta(7), &payload(7, 64)).unwrap();
    assert_eq!(reader.next(&mut buffer), Next::Lapped(3), "the arena holds one such unit");
    assert_eq!(reader.next(&mut buffer), Next::Unit(meta(7)));
    assert_eq!(buffer, payload(7, 64));
}

#[test]
fn a_unit_larger_than_the_arena_is_refused_and_harms_nothing() {
    let (mut writer, mut reader) = ring(SMALL);
    writer.push(meta(0), b"x").unwrap();
    assert!(matches!(writer.push(meta(1), &[0; 65]), Err(Error::TooLarge { size: 65, limit: 64 })));
    assert_eq!(reader.next(&mut Vec::new()), Next::Unit(meta(0)));
}

#[test]
fn only_sensible_layouts_are_made() {
    for (slots, arena) in [(0, 64), (1, 64), (3, 64), (2048, 64), (4, 0), (4, 12), (4, MAX_ARENA + 8)] {
        assert!(matches!(Writer::create("test", Layout { slots, arena }), Err(Error::Invalid(_))), "{slots} {arena}");
    }
}

#[test]
fn who_gets_the_descriptor_can_neither_write_nor_change_its_size() {
    let (writer, _reader) = ring(SMALL);
    let file = File::from(writer.fd().try_clone_to_owned().unwrap());
    assert!((&file).write(b"x").is_err());
    assert!(file.set_len(0).is_err());
    assert!(file.set_len(1 << 20).is_err());
    let (null, size, both) = (std::ptr::null_mut(), 128, libc::PROT_READ | libc::PROT_WRITE);
    // SAFETY: a new mapping, at an address that the kernel chooses.
    let mapped = unsafe { libc::mmap(null, size, both, libc::MAP_SHARED, file.as_raw_fd(), 0) };
    assert_eq!(mapped, libc::MAP_FAILED);
}

#[test]
fn what_is_no_ring_is_not_mapped() {
    let refused = |fd: OwnedFd| matches!(Reader::map(fd), Err(Error::Invalid(_)));
    assert!(refused(sealed_memfd("x", &[0; 4096]).unwrap()), "another kind of memfd");
    assert!(refused(create_memfd("x").unwrap()), "not sealed");
    assert!(refused(hostile(&[])), "empty");
    let (writer, _) = ring(SMALL);
    let mut bytes = vec![0; 128 + 4 * 64 + 64];
    File::from(writer.fd().try_clone_to_owned().unwrap()).read_exact_at(&mut bytes, 0).unwrap();
    assert!(!refused(hostile(&bytes)), "the same bytes");
    assert!(refused(hostile(&bytes[..bytes.len() - 1])), "too short for its layout");
    bytes[8] = 3;
    assert!(refused(hostile(&bytes)), "three slots");
}

/// A ring as version 1 of the layout has it, in hexadecimal; written by program 0.1.0. Its words are little endian, as all our
/// architectures are.
const VERSION_1: &str = include_str!("version_1.hex");

#[test]
fn a_ring_of_version_1_is_read_and_what_is_written_is_one() {
    let (mut writer, _) = ring(SMALL);
    let units = [(0, 0), (1, 1), (2, 13)];
    for (n, length) in units {
        writer.push(meta(n), &payload(n, length)).unwrap();
    }
    let mut now = vec![0; 128 + 4 * 64 + 64];
    File::from(writer.fd().try_clone_to_owned().unwrap()).read_exact_at(&mut now, 0).unwrap();
    assert_eq!(hex(&now), VERSION_1, "another version is needed, and the first one read still");
    let mut reader = Reader::map(hostile(&from_hex(VERSION_1))).unwrap();
    let mut buffer = Vec::new();
    assert_eq!(reader.next(&mut buffer), Next::Unit(meta(2)));
    assert_eq!(buffer, payload(2, 13));
    assert_eq!(reader.next(&mut buffer), Next::Empty);
}

/// Words of a record that programs wrote and read before there was [`Meta::stamped`].
const WORDS_BEFORE: usize = 10;

#[test]
fn what_a_unit_is_stamped_with_is_read_as_written_and_changes_nothing_that_older_programs_read() {
    let (mut writer, mut reader) = ring(SMALL);
    let mut buffer = Vec::new();
    let plain = record::encode(&meta(1));
    assert_eq!(plain[WORDS_BEFORE..], [0; protocol::RECORD_WORDS - WORDS_BEFORE], "which they left empty");
    for stamped in [Stamped::ExposureStart, Stamped::FrameEnd, Stamped::Arrival].map(Some) {
        let of = Meta { stamped, ..meta(1) };
        assert_eq!(record::encode(&of)[..WORDS_BEFORE], plain[..WORDS_BEFORE]);
        writer.push(of, b"x").unwrap();
        assert_eq!(reader.next(&mut buffer), Next::Unit(of));
    }
}

#[test]
fn flags_and_stamps_of_later_programs_are_no_others_to_this_one() {
    let mut of_later = record::encode(&meta(1));
    of_later[0] |= 0xffff_fff8;
    of_later[WORDS_BEFORE] = 4;
    let read = record::decode(&of_later);
    assert_eq!((read.flags & (KEY | DISCONTINUITY | PERIODIC), read.stamped), (meta(1).flags, None));
}

/// 32 bytes a line.
pub(super) fn hex(bytes: &[u8]) -> String {
    let line = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>() + "\n";
    bytes.chunks(32).map(line).collect()
}

pub(super) fn from_hex(text: &str) -> Vec<u8> {
    let digits: Vec<_> = text.chars().filter_map(|digit| Some(digit.to_digit(16)? as u8)).collect();
    digits.as_chunks().0.iter().map(|[high, low]| high << 4 | low).collect()
}

/// A ring with these bytes, sealed as rings are.
fn hostile(bytes: &[u8]) -> OwnedFd {
    let mut file = File::from(create_memfd("hostile").unwrap());
    file.write_all(bytes).unwrap();
    add_seals(file.as_fd(), libc::F_SEAL_SHRINK | libc::F_SEAL_GROW | libc::F_SEAL_FUTURE_WRITE).unwrap();
    file.into()
}

proptest! {
    #[test]
    fn a_hostile_ring_can_neither_crash_a_reader_nor_make_it_read_outside(
        noise in prop::collection::vec(any::<u8>(), 128 + 4 * 64 + 64),
        plausible in any::<[u8; 4]>(),
    ) {
        let (writer, _) = ring(SMALL);
        let mut bytes = noise;
        File::from(writer.fd().try_clone_to_owned().unwrap()).read_exact_at(&mut bytes[..16], 0).unwrap();
        // Small numbers where generations and places are, so that many units pass the first checks.
        for (slot, value) in plausible.iter().enumerate() {
            let generation = 2 * slot as u32 + 2;
            bytes[128 + 64 * slot..][..4].copy_from_slice(&generation.to_ne_bytes());
            bytes[128 + 64 * slot + 4..][..8].copy_from_slice(&[value % 80, 0, 0, 0, value / 3, 0, 0, 0]);
        }
        bytes[64] = plausible[0] % 6;
        bytes[65..68].fill(0);
        let mut reader = Reader::map(hostile(&bytes)).unwrap();
        let mut buffer = Vec::new();
        for _ in 0..20 {
            if let Next::Unit(_) = reader.next(&mut buffer) {
                prop_assert!(buffer.len() <= 64);
            }
        }
        reader.skip_to_newest();
    }

    #[test]
    fn intact_units_never_share_bytes(lengths in prop::collection::vec(0u32..=64, 1..200)) {
        let memory = super::mapping::Mapping::create("test", SMALL).unwrap();
        let mut producer = Producer::new(SMALL);
        for (n, length) in lengths.into_iter().enumerate() {
            producer.push(memory.words(), &[0; _], &payload(n as u64, length as usize));
            let mut live: Vec<_> = producer.live().cloned().collect();
            live.sort_by_key(|place| place.start);
            prop_assert!(live.windows(2).all(|pair| pair[0].end <= pair[1].start), "{live:?}");
            prop_assert!(live.iter().all(|place| place.end <= SMALL.arena), "{live:?}");
        }
    }

}

proptest! {
    // Each case is thousands of races; under emulation a case takes half a second.
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn readers_in_other_threads_never_see_a_torn_unit(
        lengths in prop::collection::vec(0usize..=300, 400),
        slots in prop::sample::select(vec![2u32, 8, 64]),
    ) {
        let (mut writer, _) = ring(Layout { slots, arena: 1024 });
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for _ in 0..3 {
                let mut reader = read(&writer);
                let (done, lengths) = (&done, &lengths);
                scope.spawn(move || follow(&mut reader, lengths, done));
            }
            for (n, length) in lengths.iter().enumerate() {
                writer.push(meta(n as u64), &payload(n as u64, *length)).unwrap();
            }
            done.store(true, Ordering::Release);
        });
    }
}

/// Reads to the end and checks that units and losses together are all that was written.
fn follow(reader: &mut Reader, lengths: &[usize], done: &AtomicBool) {
    let mut buffer = Vec::new();
    let mut expected = 0;
    loop {
        let last = done.load(Ordering::Acquire);
        match reader.next(&mut buffer) {
            Next::Unit(got) => {
                assert_eq!(got, meta(expected));
                assert_eq!(buffer, payload(expected, lengths[expected as usize]));
                expected += 1;
            }
            Next::Lapped(units) => expected += units,
            Next::Empty if last => break,
            Next::Empty => std::hint::spin_loop(),
        }
    }
    assert_eq!(expected, lengths.len() as u64);
}
