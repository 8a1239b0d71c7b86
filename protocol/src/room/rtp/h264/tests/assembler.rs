//! Byte streams cut at every place, torn, too large and full of garbage.

use super::*;
use std::time::Duration;

const LIMIT: usize = 10_000;
const MS: u64 = 1_000_000;
const SPS: [u8; 3] = [0x67, 0x42, 7];
const PPS: [u8; 3] = [0x68, 0xce, 7];

/// A slice; its first macroblock is 0 or another.
fn slice(kind: u8, first: bool, tag: u8) -> Vec<u8> {
    vec![kind, if first { 0x88 } else { 0x44 }, tag, tag, 0x80]
}

fn key(tag: u8) -> Vec<u8> {
    annex_b(&[&SPS, &PPS, &slice(0x65, true, tag)])
}

fn delta(tag: u8) -> Vec<u8> {
    annex_b(&[&slice(0x41, true, tag)])
}

struct Sim {
    assembler: Assembler,
    now: u64,
}

impl Sim {
    /// Of 20 pictures a second.
    fn new() -> Self {
        Self::of(20)
    }

    /// Of so many pictures a second, as far as is known.
    fn of(fps: u32) -> Self {
        Self { assembler: Assembler::new(LIMIT, Duration::from_secs(1) / fps), now: 1_000 * MS }
    }

    /// What comes out at once, with the time of its first byte in ms since the start.
    fn push(&mut self, bytes: &[u8]) -> Vec<(Vec<u8>, u64)> {
        self.assembler.push(bytes, self.now);
        let mut out = Vec::new();
        while let Some(unit) = self.assembler.poll() {
            assert_eq!(unit.key, is_keyframe(unit.data));
            out.push((unit.data.to_vec(), unit.first_ns / MS - 1_000));
        }
        out
    }

    /// Silence: what comes out, and after how many ms.
    fn wait(&mut self, ms: u64) -> Option<(Vec<u8>, u64)> {
        let start = self.now;
        self.now += ms * MS;
        let deadline = self.assembler.deadline_ns().filter(|deadline| *deadline <= self.now)?;
        assert_eq!(self.assembler.after_silence(deadline - 1), None, "too early");
        let unit = self.assembler.after_silence(deadline)?;
        Some((unit.data.to_vec(), (deadline - start) / MS))
    }
}

#[test]
fn a_unit_ends_after_3_ms_of_silence_and_never_waits_for_the_next() {
    let mut sim = Sim::new();
    for tag in 1..=5 {
        let unit = if tag == 1 { key(tag) } else { delta(tag) };
        assert_eq!(sim.push(&unit), [], "nothing says yet that it has ended");
        assert_eq!(sim.wait(33), Some((unit, 3)));
    }
    assert_eq!(sim.assembler.losses(), Losses::default());
}

#[test]
fn a_unit_ends_at_once_where_the_next_one_begins() {
    let (first, second) = (slice(0x41, true, 1), slice(0x41, false, 2));
    let two_slices = annex_b(&[&first, &second]);
    for next in [annex_b(&[&[0x09, 0x30]]), annex_b(&[&[0x06, 5, 1, 0x80]]), annex_b(&[&SPS]), delta(3)] {
        let mut sim = Sim::new();
        sim.push(&key(1));
        sim.wait(10);
        assert_eq!(sim.push(&two_slices), []);
        sim.now += MS;
        assert_eq!(sim.push(&next), [(two_slices.clone(), 10)], "{next:x?}");
    }
}

#[test]
fn the_time_of_a_unit_is_that_of_the_chunk_in_which_its_first_byte_came() {
    let mut sim = Sim::new();
    let stream = [key(1), delta(2), delta(3)].concat();
    let cut = key(1).len() + 2;
    assert_eq!(sim.push(&stream[..cut]), []);
    sim.now += MS;
    assert_eq!(sim.push(&stream[cut..]), [(key(1), 0), (delta(2), 0)]);
    assert_eq!(sim.assembler.after_silence(sim.now + 3 * MS).map(|unit| unit.first_ns), Some(sim.now));
}

#[test]
fn nothing_is_given_out_before_the_first_keyframe_with_its_parameter_sets() {
    let mut sim = Sim::new();
    let garbage = [0x55, 0, 0, 1, 0x1f, 3, 0, 0, 2, 9, 0, 0, 1, 0x61, 0x88, 4];
    let stream = [&garbage[..], &delta(1), &annex_b(&[&slice(0x65, true, 2)]), &delta(3), &key(4), &delta(5)].concat();
    assert_eq!(sim.push(&stream), [(key(4), 0)]);
    assert_eq!(sim.wait(5), Some((delta(5), 3)));
    assert_eq!(sim.assembler.losses(), Losses { skipped: 4, garbage: 1, ..Losses::default() });
}

#[test]
fn bytes_that_are_no_nal_unit_are_no_part_of_the_first_one() {
    let mut sim = Sim::new();
    assert_eq!(sim.push(&[&[0, 0, 1, 0x1e, 1, 2, 3][..], &key(1), &delta(2)].concat()), [(key(1), 0)]);
}

#[test]
fn a_unit_that_is_too_large_is_dropped_and_the_next_keyframe_heals() {
    let mut sim = Sim::new();
    sim.push(&key(1));
    sim.wait(10);
    let large = annex_b(&[&[&[0x41, 0x88][..], &[0xaa; LIMIT]].concat()]);
    for chunk in large.chunks(1000) {
        assert_eq!(sim.push(chunk), []);
        assert!(sim.assembler.deadline_ns().is_none_or(|at| at > sim.now));
    }
    assert_eq!(sim.push(&[delta(2), delta(3), key(4)].concat()), []);
    assert_eq!(sim.wait(5), Some((key(4), 3)));
    assert_eq!(sim.assembler.losses().oversized, 1);
    assert_eq!(sim.assembler.losses().skipped, 2);
}

#[test]
fn an_endless_stream_of_garbage_takes_no_memory() {
    let mut sim = Sim::new();
    for start in [&[][..], &[0, 0, 1, 0x41, 0x88], &[0, 0, 1, 0x67]] {
        sim.push(start);
        for _ in 0..100 {
            assert_eq!(sim.push(&[0x5a; 997]), []);
            assert!(sim.assembler.held() <= LIMIT + 997, "{}", sim.assembler.held());
        }
    }
    assert_eq!(sim.push(&[key(1), delta(2)].concat()), [(key(1), 0)]);
}

#[test]
fn a_pause_within_a_picture_tears_it_and_silence_is_given_more_time() {
    let mut sim = Sim::new();
    sim.push(&key(1));
    sim.wait(10);
    for (n, silence) in [3, 6, 12, 24, 24].into_iter().enumerate() {
        let unit = annex_b(&[&[&[0x41, 0x88][..], &[0xaa; 100]].concat()]);
        sim.push(&unit[..50]);
        assert_eq!(sim.wait(30), Some((unit[..50].to_vec(), silence)));
        assert_eq!(sim.push(&[&unit[50..], &delta(3), &delta(4)].concat()), [], "a keyframe must come");
        assert_eq!(sim.assembler.losses().torn, n as u64 + 1);
        sim.wait(100);
        sim.push(&key(5));
        assert!(sim.wait(100).is_some());
    }
}

#[test]
fn silence_lasts_for_half_of_an_interval_at_most_so_that_no_picture_waits_for_the_next() {
    for (fps, longest) in [(15, 24), (30, 16), (60, 8), (120, 4), (1_000, 0)] {
        let mut sim = Sim::of(fps);
        for tag in 1..6 {
            sim.push(&key(tag));
            assert!(sim.wait(100).is_some());
            let unit = delta(tag);
            sim.push(&unit[..8]);
            assert!(sim.wait(100).is_some());
            sim.push(&[&unit[8..], &delta(tag)].concat());
            assert_eq!(sim.wait(100), None, "a keyframe must come");
            assert_eq!(sim.assembler.losses().torn, u64::from(tag));
        }
        for tag in 6..9 {
            let unit = key(tag);
            assert_eq!(sim.push(&unit), []);
            assert_eq!(sim.wait(u64::from(1_000 / fps)), Some((unit, longest)), "{fps} a second");
        }
    }
}

/// Three pictures torn by pauses, at 60 a second where 20 were expected: silence lasts longer than from one picture to the
/// next.
fn torn_thrice() -> Sim {
    let mut sim = Sim::new();
    for _ in 0..3 {
        sim.push(&key(1));
        sim.wait(100);
        let unit = annex_b(&[&[&[0x41, 0x88][..], &[0xaa; 100]].concat()]);
        sim.push(&unit[..50]);
        sim.wait(30);
        sim.push(&unit[50..]);
    }
    assert_eq!(sim.assembler.losses().torn, 3);
    sim.push(&key(2));
    assert_eq!(sim.wait(16), None, "it is given out when the next one begins");
    sim
}

#[test]
fn a_writer_that_no_longer_pauses_is_never_a_frame_late_again() {
    let mut sim = torn_thrice();
    for _ in 0..1_000 {
        sim.push(&delta(3));
        sim.wait(16);
    }
    sim.push(&delta(4));
    assert_eq!(sim.wait(16), Some((delta(4), 3)));
    assert_eq!(sim.assembler.losses().torn, 3);
}

#[test]
fn a_writer_that_always_pauses_a_little_is_not_torn_again() {
    let mut sim = torn_thrice();
    let unit = annex_b(&[&[&[0x41, 0x88][..], &[0xaa; 100]].concat()]);
    for _ in 0..5_000 {
        sim.push(&unit[..50]);
        assert_eq!(sim.wait(5), None);
        sim.push(&unit[50..]);
        sim.wait(11);
    }
    assert_eq!(sim.assembler.losses().torn, 3);
}

#[test]
fn a_pause_between_the_slices_of_a_picture_tears_it_as_well() {
    let mut sim = Sim::new();
    sim.push(&key(1));
    sim.wait(10);
    sim.push(&delta(2));
    assert!(sim.wait(10).is_some());
    sim.push(&annex_b(&[&slice(0x41, false, 2)]));
    assert_eq!(sim.wait(10), None);
    assert_eq!(sim.assembler.losses().torn, 1);
}

/// Pictures as encoders write them: with and without delimiters, SEI, several slices, either start code.
fn picture() -> impl Strategy<Value = Vec<u8>> {
    let slices = proptest::collection::vec(proptest::collection::vec(1u8..=255, 1..200), 1..4);
    (any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>(), slices).prop_map(|(idr, aud, sei, short, slices)| {
        let mut units: Vec<Vec<u8>> = Vec::new();
        units.extend(aud.then(|| vec![0x09, 0xf0]));
        units.extend(idr.then(|| SPS.to_vec()));
        units.extend(idr.then(|| PPS.to_vec()));
        units.extend(sei.then(|| vec![0x06, 5, 2, 1, 1, 0x80]));
        for (i, body) in slices.into_iter().enumerate() {
            let mut unit = slice(if idr { 0x65 } else { 0x41 }, i == 0, 9);
            unit.extend(body);
            units.push(unit);
        }
        let code: &[u8] = if short { &[0, 0, 1] } else { &[0, 0, 0, 1] };
        units.iter().flat_map(|unit| [code, unit].concat()).collect()
    })
}

proptest! {
    #[test]
    fn a_stream_gives_the_same_units_however_it_is_cut(
        pictures in proptest::collection::vec(picture(), 1..8), cuts in proptest::collection::vec(1usize..300, 1..200)
    ) {
        let stream = [key(0), pictures.concat()].concat();
        let mut sim = Sim::new();
        let mut out = Vec::new();
        let (mut rest, mut cuts) = (&stream[..], cuts.into_iter().cycle());
        while !rest.is_empty() {
            let (chunk, left) = rest.split_at(cuts.next().unwrap_or(1).min(rest.len()));
            out.extend(sim.push(chunk).into_iter().map(|(unit, _)| unit));
            rest = left;
        }
        out.extend(sim.wait(10).map(|(unit, _)| unit));
        let expected: Vec<_> = [vec![key(0)], pictures].concat();
        prop_assert_eq!(out, expected);
        prop_assert_eq!(sim.assembler.losses(), Losses::default());
    }
}
