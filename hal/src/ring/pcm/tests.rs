use super::frames::{AtomicU32, CLEAR, Consumer, HEADER_WORDS, Producer, WRITTEN, Words, bring_to};
use super::*;
use crate::process::sealed_memfd;
use crate::ring::Error;
use crate::ring::tests::{from_hex, hex};
use proptest::prelude::*;
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, Ordering};

const SIZE: usize = (HEADER_WORDS + FRAMES as usize) * 4;

fn ring() -> (Reader, Writer) {
    let reader = Reader::create("test").unwrap();
    let writer = Writer::map(reader.fd().try_clone_to_owned().unwrap()).unwrap();
    (reader, writer)
}

/// Frames that tell their place.
fn frames(first: u32, count: usize) -> Vec<Frame> {
    (first..first + count as u32).map(|n| [n as i16, (n >> 4) as i16 ^ -1]).collect()
}

#[test]
fn frames_come_in_order_over_the_end_of_the_ring() {
    let (mut reader, mut writer) = ring();
    let mut buffer = vec![[0; 2]; 3000];
    for turn in 0..10 {
        let sent = frames(turn * 3000, 3000);
        assert_eq!(writer.write(7, &sent), 3000);
        assert_eq!((reader.level(), writer.level()), (Ok(3000), 3000));
        assert_eq!(reader.read(&mut buffer), Ok(3000));
        assert!(buffer == sent);
    }
    assert_eq!(reader.read(&mut buffer), Ok(0));
}

#[test]
fn a_full_ring_takes_no_more_until_it_is_read() {
    let (mut reader, mut writer) = ring();
    let all = frames(0, FRAMES as usize + 100);
    assert_eq!(writer.write(7, &all), FRAMES as usize);
    assert_eq!(writer.write(7, &all), 0);
    assert_eq!(reader.skip(60), Ok(60));
    assert_eq!(writer.write(7, &all[FRAMES as usize..]), 60);
    let mut buffer = vec![[0; 2]; FRAMES as usize];
    assert_eq!(reader.read(&mut buffer), Ok(FRAMES as usize));
    assert!(buffer == all[60..60 + FRAMES as usize]);
    assert_eq!(reader.skip(1), Ok(0));
}

#[test]
fn what_is_cleared_is_never_read_and_what_comes_after_it_is() {
    let (mut reader, mut writer) = ring();
    writer.write(7, &frames(0, 500));
    writer.clear();
    writer.write(7, &frames(500, 20));
    let mut buffer = vec![[0; 2]; 100];
    assert_eq!(reader.read(&mut buffer), Ok(20));
    assert!(buffer[..20] == frames(500, 20));
    writer.write(7, &frames(520, 5));
    assert_eq!(reader.level(), Ok(5), "a clear counts once");
}

#[test]
fn a_clear_counts_once_though_positions_come_round_to_it_after_a_day() {
    let zeroes = |count| (0..count).map(|_| AtomicU32::new(0)).collect::<Vec<_>>();
    let (header, memory) = (zeroes(HEADER_WORDS), zeroes(16));
    let words = Words { header: &header, frames: &memory };
    let (mut consumer, mut producer) = (Consumer::default(), Producer::default());
    bring_to(u32::MAX - 4, words, &mut consumer, &mut producer);
    assert_eq!(producer.write(words, 0, &frames(0, 10)), 10);
    assert_eq!(consumer.level(words), Ok(10), "nobody has ever cleared anything");
    producer.clear(words);
    producer.write(words, 0, &frames(10, 2));
    assert_eq!(consumer.level(words), Ok(2));
    bring_to(0, words, &mut consumer, &mut producer);
    producer.write(words, 0, &frames(0, 10));
    assert_eq!(consumer.level(words), Ok(10), "nor since then");
    producer.clear(words);
    assert_eq!(consumer.level(words), Ok(0), "but now");
}

#[test]
fn a_clear_of_what_was_read_already_is_forgotten() {
    let zeroes = |count| (0..count).map(|_| AtomicU32::new(0)).collect::<Vec<_>>();
    let (header, memory) = (zeroes(HEADER_WORDS), zeroes(16));
    let words = Words { header: &header, frames: &memory };
    let (mut consumer, mut producer) = (Consumer::default(), Producer::default());
    producer.write(words, 0, &frames(0, 8));
    producer.clear(words);
    producer.write(words, 0, &frames(8, 2));
    // Between two looks of its reader.
    bring_to(10, words, &mut consumer, &mut producer);
    assert_eq!(consumer.level(words), Ok(0));
    bring_to(0, words, &mut consumer, &mut producer);
    producer.write(words, 0, &frames(0, 10));
    assert_eq!(consumer.level(words), Ok(10));
}

#[test]
fn a_writer_that_waits_for_room_is_seen() {
    let (reader, mut writer) = ring();
    assert!(!reader.held());
    writer.hold(true);
    assert!(reader.held());
    writer.hold(false);
    assert!(!reader.held());
}

#[test]
fn the_age_of_the_last_write_is_known_over_the_wrap_of_the_clock() {
    let (reader, mut writer) = ring();
    writer.write(u32::MAX - 9, &frames(0, 1));
    assert_eq!(reader.age_us(10), 20);
    assert_eq!(reader.age_us(u32::MAX - 20), 0, "it was written since");
    writer.write(500, &[]);
    assert_eq!(reader.age_us(10), 20, "nothing was written");
}

#[test]
fn a_writer_can_change_neither_size_nor_seals() {
    let (mut reader, _writer) = ring();
    let file = File::from(reader.fd().try_clone_to_owned().unwrap());
    assert!(file.set_len(0).is_err());
    assert!(file.set_len(1 << 20).is_err());
    // SAFETY: takes numbers only.
    let sealed = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_ADD_SEALS, libc::F_SEAL_WRITE) };
    assert_eq!(sealed, -1);
    // Pages can be given back, and are zero when they are touched again.
    let hole = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
    // SAFETY: takes numbers only.
    unsafe { libc::fallocate(file.as_raw_fd(), hole, 0, SIZE as libc::off_t) };
    assert_eq!(reader.level(), Ok(0));
}

/// The header of a PCM ring and its first frames as version 1 of the layout has them, in hexadecimal; written by program
/// 0.1.0. What follows is zero.
const VERSION_1: &str = include_str!("version_1.hex");

#[test]
fn a_pcm_ring_of_version_1_is_written_to_and_what_is_made_and_written_is_one() {
    let (mut reader, mut writer) = ring();
    writer.write(7, &frames(1, 6));
    writer.hold(true);
    assert_eq!(reader.skip(2), Ok(2));
    let mut now = vec![0; SIZE];
    File::from(reader.fd().try_clone_to_owned().unwrap()).read_exact_at(&mut now, 0).unwrap();
    let (begin, rest) = now.split_at(HEADER_WORDS * 4 + 32);
    assert_eq!(hex(begin), VERSION_1, "another version is needed, and the first one spoken still");
    assert!(rest.iter().all(|byte| *byte == 0));

    let fd = crate::process::create_memfd("version 1").unwrap();
    let file = File::from(fd.try_clone().unwrap());
    file.set_len(SIZE as u64).unwrap();
    // As its owner has made it, before anything is written: magic, version, and how many frames there are.
    file.write_all_at(&from_hex(VERSION_1)[..12], 0).unwrap();
    crate::process::add_seals(fd.as_fd(), libc::F_SEAL_SHRINK | libc::F_SEAL_GROW | libc::F_SEAL_SEAL).unwrap();
    let mut writer = Writer::map(fd).unwrap();
    writer.write(8, &frames(7, 1));
    let mut word = [0; 4];
    file.read_exact_at(&mut word, WRITTEN as u64 * 4).unwrap();
    assert_eq!(u32::from_le_bytes(word), 1, "an owner of that version sees it");
}

#[test]
fn what_is_no_pcm_ring_is_not_mapped() {
    let refused = |fd: OwnedFd| matches!(Writer::map(fd), Err(Error::Invalid(_)));
    assert!(refused(crate::process::create_memfd("x").unwrap()), "not sealed");
    assert!(refused(sealed_memfd("x", &[0; 64]).unwrap()), "another size");
    let (reader, _writer) = ring();
    let file = File::from(reader.fd().try_clone_to_owned().unwrap());
    file.write_all_at(&[9], 0).unwrap();
    assert!(refused(file.into()), "another kind");
}

#[test]
fn a_violation_is_for_good() {
    let (mut reader, _writer) = ring();
    let file = File::from(reader.fd().try_clone_to_owned().unwrap());
    let say = |written: u32| file.write_all_at(&written.to_ne_bytes(), WRITTEN as u64 * 4).unwrap();
    say(FRAMES);
    assert_eq!(reader.level(), Ok(FRAMES as usize));
    say(FRAMES + 1);
    assert_eq!(reader.level(), Err(Violation));
    say(10);
    assert_eq!(reader.level(), Err(Violation));
    assert_eq!(reader.read(&mut [[0; 2]; 10]), Err(Violation));
    assert_eq!(reader.skip(10), Err(Violation));
}

proptest! {
    #[test]
    fn whatever_the_writer_says_the_reader_takes_no_more_than_the_ring_holds(
        says in prop::collection::vec((any::<u32>(), any::<u32>(), 0u32..=40, any::<bool>()), 1..50),
    ) {
        const SMALL: usize = 16;
        let words = |count| (0..count).map(|_| AtomicU32::new(7)).collect::<Vec<_>>();
        let (header, memory) = (words(HEADER_WORDS), words(SMALL));
        header[WRITTEN].store(0, Ordering::Relaxed);
        header[CLEAR].store(0, Ordering::Relaxed);
        let mut consumer = Consumer::default();
        let (mut position, mut broken) = (0u32, false);
        for (written, clear, near, wild) in says {
            // Mostly what may pass, so that the run goes on.
            header[WRITTEN].store(if wild { written } else { position.wrapping_add(near % 17) }, Ordering::Relaxed);
            header[CLEAR].store(if wild { clear } else { position.wrapping_add(clear % 20) }, Ordering::Relaxed);
            let words = Words { header: &header, frames: &memory };
            let mut buffer = [[0; 2]; 40];
            match consumer.read(words, &mut buffer) {
                Ok(count) => {
                    prop_assert!(count <= SMALL && !broken);
                    prop_assert!(buffer[count..].iter().all(|frame| *frame == [0; 2]));
                }
                Err(Violation) => broken = true,
            }
            position = header[super::frames::READ].load(Ordering::Relaxed);
        }
    }
}

#[test]
fn a_writer_that_stores_anything_anywhere_at_any_time_does_not_harm_the_reader() {
    let (mut reader, _writer) = ring();
    let hostile = File::from(reader.fd().try_clone_to_owned().unwrap());
    let done = AtomicBool::new(false);
    let mut buffer = vec![[0; 2]; FRAMES as usize];
    std::thread::scope(|scope| {
        scope.spawn(|| {
            // Multiplicative congruence (Knuth's MMIX constants), a fixed seed.
            let mut random = 42u64;
            while !done.load(Ordering::Relaxed) {
                random = random.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                let at = (random >> 33) as usize % SIZE;
                hostile.write_all_at(&random.to_ne_bytes()[..8.min(SIZE - at)], at as u64).unwrap();
            }
        });
        for _ in 0..2_000 {
            if let Ok(count) = reader.read(&mut buffer) {
                assert!(count <= buffer.len());
            }
            let _ = (reader.skip(100), reader.held());
        }
        done.store(true, Ordering::Relaxed);
    });
}
