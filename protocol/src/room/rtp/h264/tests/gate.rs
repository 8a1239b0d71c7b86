use super::super::{Gate, Passed};

const SETS: &[u8] = b"\0\0\0\x01\x67sps\0\0\0\x01\x68pps";
const KEY: &[u8] = b"\0\0\0\x01\x67sps\0\0\0\x01\x68pps\0\0\0\x01\x65key";
const IDR: &[u8] = b"\0\0\0\x01\x65key";
const DELTA: &[u8] = b"\0\0\0\x01\x41delta";

fn open() -> Gate {
    let mut gate = Gate::new(1000);
    assert_eq!(gate.take(KEY), Passed::Unit(KEY));
    gate
}

#[test]
fn nothing_passes_before_a_keyframe_whose_parameter_set_is_known() {
    let mut gate = Gate::new(1000);
    assert_eq!(gate.take(DELTA), Passed::Waiting);
    assert_eq!(gate.take(IDR), Passed::Waiting);
    assert_eq!(gate.take(KEY), Passed::Unit(KEY));
    assert_eq!(gate.take(DELTA), Passed::Unit(DELTA));
    assert_eq!(gate.take(IDR), Passed::Unit(IDR));
}

#[test]
fn parameter_sets_in_a_buffer_of_their_own_go_out_with_the_picture() {
    let mut gate = Gate::new(1000);
    assert_eq!(gate.take(SETS), Passed::Ahead);
    assert_eq!(gate.take(IDR), Passed::Unit(KEY));
    assert_eq!(gate.take(DELTA), Passed::Unit(DELTA));
    // Not even damage in between loses them.
    assert_eq!(gate.take(SETS), Passed::Ahead);
    assert_eq!(gate.take(b"garbage"), Passed::Damaged);
    assert_eq!(gate.take(IDR), Passed::Unit(KEY));
}

#[test]
fn after_a_loss_nothing_passes_before_the_next_keyframe_and_it_is_asked_for_once() {
    let mut gate = open();
    assert!(gate.wants_key() && !gate.wants_key());
    gate.lost();
    assert_eq!(gate.take(DELTA), Passed::Waiting);
    assert!(gate.wants_key() && !gate.wants_key());
    assert_eq!(gate.take(DELTA), Passed::Waiting);
    assert_eq!(gate.take(IDR), Passed::Unit(IDR));
    assert!(!gate.wants_key());
}

#[test]
fn what_is_no_unit_is_damaged_and_closes() {
    let wrong: [&[u8]; 6] = [b"", b"\0\0\0", b"garbage", b"\0\0\0\x01", b"\0\0\0\x01\x41", b"\0\0\0\x01\xc1delta"];
    for buffer in wrong {
        let mut gate = open();
        gate.wants_key();
        assert_eq!(gate.take(buffer), Passed::Damaged, "{buffer:?}");
        assert!(gate.wants_key());
        assert_eq!(gate.take(DELTA), Passed::Waiting);
        assert_eq!(gate.take(KEY), Passed::Unit(KEY));
    }
}

#[test]
fn a_unit_beyond_the_limit_is_damaged_and_memory_stays_bounded() {
    let mut gate = Gate::new(KEY.len());
    assert_eq!(gate.take(KEY), Passed::Unit(KEY));
    assert_eq!(gate.take(&[DELTA, &[1; 64]].concat()), Passed::Damaged);
    let mut taken = Vec::new();
    for _ in 0..10_000 {
        taken.push(gate.take(SETS) == Passed::Ahead);
        assert!(gate.held() <= 16 * 1024);
    }
    assert!(taken.contains(&false));
}
