//! What cameras and commands write as H.264: damaged parameter sets, and damaged streams cut at any place.

use crate::mutate::{Random, damage};
use protocol::room::rtp::h264::{
    Assembled, Assembler, Gate, Losses, ParameterSets, Passed, Rate, is_keyframe, nals, picture_size, rewrite,
};
use std::time::Duration;

const RATE: Rate = Rate { milli_fps: 30_000, bitrate: 2_000_000 };

/// From one picture to the next.
const INTERVAL: Duration = Duration::from_millis(33);

/// Bytes of the largest unit.
const LIMIT: usize = 2_000;

/// Bytes that come at once, at most.
const CHUNK: usize = 600;

const STREAMS: [&[u8]; 2] =
    [include_bytes!("corpus/delimiters_and_slices.h264"), include_bytes!("corpus/high_with_sei.h264")];

/// In each.
const PICTURES: u32 = 6;

fn parameter_sets() -> Vec<Vec<u8>> {
    let byte = |line: &str, at: usize| u8::from_str_radix(&line[at..at + 2], 16).expect("hexadecimal digits");
    let set = |line: &str| (0..line.len()).step_by(2).map(|at| byte(line, at)).collect();
    include_str!("corpus/sps.txt").lines().map(set).collect()
}

#[test]
fn a_damaged_parameter_set_is_refused_or_keeps_its_size_for_ever() {
    let mut random = crate::random("sps");
    let sets = parameter_sets();
    assert!(sets.iter().all(|set| keeps_its_size(set)), "the corpus is valid");
    for _ in 0..crate::count() {
        let mut set = random.pick(&sets).clone();
        damage(&mut set, &mut random);
        keeps_its_size(&set);
    }
}

/// Whether it is not refused.
fn keeps_its_size(set: &[u8]) -> bool {
    let Some(rewritten) = rewrite(set, RATE) else { return false };
    assert_eq!(picture_size(set), Some(rewritten.size), "{set:x?}");
    assert_eq!(picture_size(&rewritten.unit), Some(rewritten.size), "{set:x?}");
    let again = rewrite(&rewritten.unit, RATE);
    assert_eq!(again.as_ref(), Some(&rewritten), "{set:x?}");
    true
}

#[test]
fn the_streams_are_whole_before_they_are_damaged() {
    // The delimiter before the first parameter set of all is part of no unit.
    for (stream, garbage) in STREAMS.into_iter().zip([3, 0]) {
        for bytes in [1, 7, CHUNK] {
            let (mut assembler, mut sets) = (Assembler::new(LIMIT, INTERVAL), ParameterSets::new(RATE));
            let (mut gate, mut given) = (Gate::new(LIMIT), 0);
            let mut take = |unit: Assembled<'_>| {
                check(unit.data, unit.key, &mut sets);
                assert!(matches!(gate.take(unit.data), Passed::Unit(passed) if passed == unit.data), "{unit:x?}");
                given += 1;
            };
            for chunk in stream.chunks(bytes) {
                assembler.push(chunk, 0);
                while let Some(unit) = assembler.poll() {
                    take(unit);
                }
            }
            take(assembler.after_silence(1_000_000_000).expect("nothing follows the last one"));
            assert_eq!(
                (given, assembler.losses()),
                (PICTURES, Losses { garbage, ..Losses::default() }),
                "{bytes} bytes at once"
            );
        }
    }
}

#[test]
fn a_damaged_stream_gives_whole_units_and_takes_no_memory() {
    let mut random = crate::random("annex_b");
    let (mut given, mut now) = (0u64, 0);
    for _ in 0..crate::count() / 10 {
        let mut assembler = Assembler::new(LIMIT, INTERVAL);
        let mut sets = ParameterSets::new(RATE);
        for _ in 0..10 {
            let mut stream = random.pick(&STREAMS).to_vec();
            if random.below(4) > 0 {
                damage(&mut stream, &mut random);
            }
            given += play(&stream, &mut assembler, &mut sets, &mut random, &mut now);
        }
    }
    assert!(given > crate::count(), "{given} units: damage must not cost them all");
}

/// Units that came out.
fn play(
    mut stream: &[u8],
    assembler: &mut Assembler,
    sets: &mut ParameterSets,
    random: &mut Random,
    now: &mut u64,
) -> u64 {
    let mut given = 0;
    while !stream.is_empty() {
        let (chunk, rest) = stream.split_at((1 + random.below(CHUNK)).min(stream.len()));
        stream = rest;
        *now += random.below(2_000_000) as u64;
        assembler.push(chunk, *now);
        while let Some(unit) = assembler.poll() {
            given += 1;
            check(unit.data, unit.key, sets);
        }
        assert!(assembler.held() <= LIMIT + CHUNK, "{} bytes", assembler.held());
        if random.below(8) == 0 {
            *now += random.below(40_000_000) as u64;
            if let Some(unit) = assembler.after_silence(*now) {
                given += 1;
                check(unit.data, unit.key, sets);
            }
        }
    }
    given
}

#[test]
fn damaged_buffers_of_a_camera_close_the_gate_until_a_keyframe() {
    let mut random = crate::random("gate");
    let (mut gate, mut given, mut open) = (Gate::new(LIMIT), 0, false);
    for _ in 0..crate::count() {
        let stream = random.pick(&STREAMS);
        let start = random.below(stream.len());
        let mut buffer = stream[start..(start + random.below(CHUNK)).min(stream.len())].to_vec();
        if random.below(2) == 0 {
            damage(&mut buffer, &mut random);
        }
        match gate.take(&buffer) {
            Passed::Unit(unit) => {
                assert!(unit.len() <= LIMIT && (open || is_keyframe(unit)), "{unit:x?}");
                (given, open) = (given + 1, true);
            }
            Passed::Ahead => {}
            Passed::Waiting | Passed::Damaged => open = false,
        }
    }
    assert!(given > crate::count() / 20, "{given} units: damage must not cost them all");
}

fn check(unit: &[u8], key: bool, sets: &mut ParameterSets) {
    assert!(unit.len() <= LIMIT, "{} bytes", unit.len());
    assert!(nals(unit).any(|nal| (1..=5).contains(&nal.kind())), "no picture in {unit:x?}");
    let finished = sets.finish(unit);
    assert!(key || !finished.key);
    if finished.key {
        assert!(nals(finished.data).next().is_some_and(|nal| nal.is_sps()), "{unit:x?}");
    }
}
