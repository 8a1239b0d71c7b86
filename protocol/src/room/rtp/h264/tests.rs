mod assembler;
mod gate;
mod parameter_sets;
mod sps;

use super::*;
use proptest::prelude::*;

/// What livekit-server sends when a track ends: SPS, PPS and IDR picture of 2x2 pixels.
const BLANK_SPS: [u8; 24] = [
    0x67, 0x42, 0xc0, 0x1f, 0x0f, 0xd9, 0x1f, 0x88, 0x88, 0x84, 0x00, 0x00, 0x03, 0x00, 0x04, 0x00, 0x00, 0x03, 0x00,
    0xc8, 0x3c, 0x60, 0xc9, 0x20,
];
const BLANK_PPS: [u8; 6] = [0x68, 0x87, 0xcb, 0x83, 0xcb, 0x20];
const BLANK_IDR: [u8; 10] = [0x65, 0x88, 0x84, 0x0a, 0xf2, 0x62, 0x80, 0x00, 0xa7, 0xbe];

fn annex_b(units: &[&[u8]]) -> Vec<u8> {
    units.iter().flat_map(|unit| [&[0, 0, 0, 1], *unit].concat()).collect()
}

fn payloads(access_unit: &[u8], max: usize) -> Vec<Packet> {
    let mut out = Vec::new();
    packetize(access_unit, max, &mut out);
    out
}

fn depacketize(depacketizer: &mut Depacketizer, packets: &[Packet], timestamp: u64) -> Option<AccessUnit> {
    packets.iter().filter_map(|p| depacketizer.push(&p.payload, timestamp, p.marker)).last()
}

#[test]
fn units_are_found_behind_start_codes_of_either_length_without_stuffing() {
    let stream = [9, 9, 0, 0, 1, 0x67, 1, 0, 0, 0, 1, 0x68, 2, 0, 0, 0, 0, 1, 0, 0, 1, 0x65, 0, 0, 3, 1];
    let found: Vec<_> = nals(&stream).map(|nal| nal.0.to_vec()).collect();
    assert_eq!(found, [vec![0x67, 1], vec![0x68, 2], vec![0x65, 0, 0, 3, 1]]);
    assert!(is_keyframe(&stream));
    assert!(!is_keyframe(&[0, 0, 1, 0x41, 0x65]));
}

#[test]
fn parameter_sets_and_a_small_slice_share_one_packet() {
    let packets = payloads(&annex_b(&[&[0x09, 0x10], &[0x67, 1, 2], &[0x68, 3], &[0x65, 4, 5]]), 1150);
    let payload = vec![0x78, 0, 3, 0x67, 1, 2, 0, 2, 0x68, 3, 0, 3, 0x65, 4, 5];
    assert_eq!(packets, [Packet { payload, marker: true }]);
}

#[test]
fn a_unit_alone_is_sent_as_it_is() {
    assert_eq!(payloads(&annex_b(&[&[0x41, 7]]), 1150), [Packet { payload: vec![0x41, 7], marker: true }]);
}

#[test]
fn a_large_unit_is_cut_into_even_fragments_with_the_marker_on_the_last() {
    let mut slice = vec![0x65];
    slice.extend((0..2500u32).map(|i| (i % 250 + 1) as u8));
    let packets = payloads(&annex_b(&[&[0x67, 1], &slice]), 1150);
    let sizes: Vec<_> = packets.iter().map(|p| p.payload.len()).collect();
    assert_eq!(sizes, [2, 835, 835, 836]);
    let fu: Vec<_> = packets[1..].iter().map(|p| (p.payload[0], p.payload[1], p.marker)).collect();
    assert_eq!(fu, [(0x7c, 0x85, false), (0x7c, 0x05, false), (0x7c, 0x45, true)]);
}

#[test]
fn an_access_unit_without_anything_to_send_gives_no_packet() {
    assert!(payloads(&annex_b(&[&[0x09, 0x10], &[0x0c, 0xff]]), 1150).is_empty());
    assert!(payloads(&[], 1150).is_empty());
}

#[test]
fn the_blank_pictures_that_end_a_track_are_dropped() {
    assert_eq!(picture_size(&BLANK_SPS), Some(Size { width: 2, height: 2 }));
    let blank = payloads(&annex_b(&[&BLANK_SPS, &BLANK_PPS, &BLANK_IDR]), 1150);
    assert_eq!(depacketize(&mut Depacketizer::new(), &blank, 1), None);
}

#[test]
fn the_picture_size_is_read_with_cropping_and_scaling_lists() {
    // 1920x1080 High profile as x264 writes it, and 1280x720 constrained baseline as openh264 does.
    let high = [0x67, 0x64, 0x00, 0x28, 0xac, 0xd9, 0x40, 0x78, 0x02, 0x27, 0xe5, 0x84, 0x00, 0x00, 0x03, 0x00, 0x04];
    assert_eq!(picture_size(&high), Some(Size { width: 1920, height: 1080 }));
    let baseline = [0x67, 0x42, 0xc0, 0x1f, 0x8c, 0x8d, 0x40, 0x28, 0x02, 0xdc, 0x80];
    assert_eq!(picture_size(&baseline), Some(Size { width: 1280, height: 720 }));
}

#[test]
fn a_fragment_without_its_beginning_spoils_the_unit_and_the_next_keyframe_heals() {
    let slice: Vec<u8> = std::iter::once(0x41).chain((0..3000).map(|_| 0xaa)).collect();
    let key = payloads(&annex_b(&[&[0x67, 1], &[0x65, 2]]), 1150);
    let delta = payloads(&annex_b(&[&slice]), 1150);
    let mut depacketizer = Depacketizer::new();
    assert!(depacketize(&mut depacketizer, &key, 1).is_some());
    assert!(depacketize(&mut depacketizer, &delta[1..], 2).is_none());
    assert!(depacketizer.needs_keyframe());
    assert!(depacketize(&mut depacketizer, &delta, 3).is_none());
    assert!(depacketize(&mut depacketizer, &key, 4).is_some());
    assert!(depacketize(&mut depacketizer, &delta, 5).is_some());
}

#[test]
fn a_keyframe_whose_first_slice_was_lost_is_not_taken_for_whole() {
    let mut depacketizer = Depacketizer::new();
    depacketizer.lost();
    assert_eq!(depacketizer.push(&[0x65, 2], 1, true), None);
    assert!(depacketizer.push(&[0x78, 0, 2, 0x67, 1, 0, 2, 0x65, 2], 2, true).is_some());
}

#[test]
fn an_endless_access_unit_is_dropped() {
    let mut depacketizer = Depacketizer::new();
    let piece = [&[0x67][..], &vec![1; 60_000]].concat();
    for _ in 0..1000 {
        assert_eq!(depacketizer.push(&piece, 1, false), None);
    }
    assert_eq!(depacketizer.push(&[0x65, 1], 1, true), None);
}

/// A NAL unit as an encoder would write it: no start code inside, no zero at the end.
fn nal_unit() -> impl Strategy<Value = Vec<u8>> {
    let header = prop_oneof![Just(0x41u8), Just(0x65), Just(0x68), Just(0x06), Just(0x01)];
    (header, proptest::collection::vec(1u8..=255, 1..4000)).prop_map(|(first, body)| [&[first][..], &body].concat())
}

proptest! {
    #[test]
    fn what_was_packetized_comes_back_whole(
        units in proptest::collection::vec(nal_unit(), 1..12),
        max in 64usize..1500
    ) {
        let sps: &[u8] = &[0x67, 1];
        let units: Vec<&[u8]> = std::iter::once(sps).chain(units.iter().map(Vec::as_slice)).collect();
        let units = [&units[..], &[&[0x65, 1]]].concat();
        let sent = annex_b(&units);
        let packets = payloads(&sent, max);
        prop_assert!(packets.iter().all(|p| p.payload.len() <= max));
        prop_assert_eq!(packets.iter().filter(|p| p.marker).count(), 1);
        let unit = depacketize(&mut Depacketizer::new(), &packets, 90).expect("a whole keyframe");
        prop_assert_eq!(unit, AccessUnit { timestamp: 90, data: sent, keyframe: true });
    }

    #[test]
    fn arbitrary_bytes_never_panic(
        bytes in proptest::collection::vec(any::<u8>(), 0..300),
        max in 0usize..200,
        marker: bool
    ) {
        payloads(&bytes, max);
        picture_size(&bytes);
        let mut depacketizer = Depacketizer::new();
        for (time, piece) in bytes.chunks(7).enumerate() {
            depacketizer.push(piece, time as u64 / 3, marker);
        }
    }

    #[test]
    fn arbitrary_parameter_sets_never_panic(rest in proptest::collection::vec(any::<u8>(), 0..40), profile: u8) {
        picture_size(&[&[0x67, profile, 0, 0x1f][..], &rest].concat());
    }
}
