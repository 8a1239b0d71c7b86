//! What goes before a keyframe.

use super::*;

const RATE: Rate = Rate { milli_fps: 30_000, bitrate: 2_000_000 };
const SPS: [u8; 11] = [0x67, 0x42, 0xc0, 0x1f, 0x8c, 0x8d, 0x40, 0x28, 0x02, 0xdc, 0x80];
const PPS: [u8; 4] = [0x68, 0xce, 0x3c, 0x80];
const IDR: [u8; 4] = [0x65, 0x88, 1, 2];
const DELTA: [u8; 4] = [0x41, 0x9a, 1, 2];

fn fit() -> Vec<u8> {
    rewrite(&SPS, RATE).expect("valid").unit
}

#[test]
fn parameter_sets_are_rewritten_and_repeated_before_every_keyframe() {
    let mut sets = ParameterSets::new(RATE);
    let expected = annex_b(&[&fit(), &PPS, &IDR]);
    let size = Some(Size { width: 1280, height: 720 });
    let first = annex_b(&[&[0x09, 0x10], &SPS, &PPS, &IDR]);
    assert_eq!(sets.finish(&first), Finished { data: &expected, key: true, size });
    let delta = annex_b(&[&DELTA]);
    let finished = sets.finish(&delta);
    assert_eq!((finished.data.as_ptr(), finished.key), (delta.as_ptr(), false), "not copied");
    let bare = annex_b(&[&[0x06, 5, 1, 1, 0x80], &IDR]);
    let repeated = annex_b(&[&fit(), &PPS, &[0x06, 5, 1, 1, 0x80], &IDR]);
    assert_eq!(sets.finish(&bare), Finished { data: &repeated, key: true, size });
    assert_eq!(sets.refused(), 0);
}

#[test]
fn sets_without_a_picture_are_rewritten_where_they_stand_and_kept_for_the_keyframe() {
    let mut sets = ParameterSets::new(RATE);
    let early = annex_b(&[&SPS, &PPS, &DELTA]);
    let expected = annex_b(&[&fit(), &PPS, &DELTA]);
    let finished = sets.finish(&early);
    assert_eq!((finished.data, finished.key), (&expected[..], false));
    assert!(sets.finish(&annex_b(&[&IDR])).key);
}

#[test]
fn a_keyframe_without_any_parameter_sets_is_none() {
    let mut sets = ParameterSets::new(RATE);
    assert!(!sets.finish(&annex_b(&[&IDR])).key);
    sets.finish(&annex_b(&[&SPS]));
    assert!(!sets.finish(&annex_b(&[&IDR])).key, "without a picture parameter set");
}

#[test]
fn a_new_size_takes_the_place_of_the_old_one() {
    let mut sets = ParameterSets::new(RATE);
    sets.finish(&annex_b(&[&SPS, &PPS, &[0x68, 0x5a, 1], &IDR]));
    let smaller = [0x67, 0x42, 0xc0, 0x1e, 0xda, 0x02, 0x80, 0xbf, 0xe5, 0x84, 0, 0, 3, 0, 4, 0, 0, 3, 0, 0xf2, 0x3c]
        .into_iter()
        .chain([0x58, 0xba, 0x80])
        .collect::<Vec<u8>>();
    let unit = annex_b(&[&smaller, &PPS, &IDR]);
    let finished = sets.finish(&unit);
    assert_eq!(finished.size, Some(Size { width: 640, height: 360 }));
    let kinds: Vec<_> = nals(finished.data).map(|nal| nal.kind()).collect();
    assert_eq!(kinds, [7, 8, 5], "the second picture parameter set belonged to the old size");
}

#[test]
fn a_set_that_cannot_be_read_goes_out_as_it_is_and_is_counted_once() {
    let mut sets = ParameterSets::new(RATE);
    let unit = annex_b(&[&[0x67, 0x42, 0xc0], &PPS, &IDR]);
    for _ in 0..3 {
        assert_eq!(sets.finish(&unit), Finished { data: &unit, key: true, size: None });
    }
    assert_eq!(sets.refused(), 1);
}

#[test]
fn sets_without_end_take_no_memory() {
    let mut sets = ParameterSets::new(RATE);
    for n in 0..1000u16 {
        let [high, low] = n.to_be_bytes();
        sets.finish(&annex_b(&[&SPS, &[0x68, 0x01, high | 1, low | 1, 9]]));
    }
    let unit = annex_b(&[&IDR]);
    assert!(nals(sets.finish(&unit).data).count() <= 1 + 8 + 1);
}
