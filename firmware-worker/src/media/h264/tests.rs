use super::*;
use crate::media::pattern::Pattern;
use openh264::decoder::Decoder;
use openh264::formats::YUVSource;
use std::time::{Duration, Instant};

const FRAME_NS: u64 = 33_333_333;

fn settings(bitrate: u32) -> Settings {
    Settings { width: 640, height: 360, milli_fps: 30_000, ceiling: 2_000_000, bitrate }
}

/// A picture that changes everywhere, so that the rate control has work.
fn noise(picture: &mut I420, frame: u64) {
    let mut seed = frame.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    for cell in picture.planes_mut().0.chunks_mut(16) {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        cell.fill(16 + (seed % 200) as u8);
    }
}

fn units(encoder: &mut Encoder, frames: std::ops::Range<u64>, key_at: Option<u64>) -> Vec<(Coded, Vec<u8>)> {
    let mut pattern = Pattern::new(640, 360);
    let mut unit = Vec::new();
    frames
        .map(|n| {
            let coded = encoder.encode(pattern.draw(n, n * 33), n * FRAME_NS, key_at == Some(n), &mut unit).unwrap();
            (coded, unit.clone())
        })
        .collect()
}

/// NAL types of an access unit whose start codes all have four bytes.
fn nal_types(unit: &[u8]) -> Vec<u8> {
    let starts: Vec<_> = unit.windows(4).enumerate().filter(|(_, w)| w == &[0, 0, 0, 1]).map(|(i, _)| i).collect();
    assert_eq!(starts.len(), unit.windows(3).filter(|w| w == &[0, 0, 1]).count());
    assert_eq!(starts.first(), Some(&0));
    starts.iter().map(|&i| unit[i + 4] & 31).collect()
}

#[test]
fn the_decoded_picture_is_the_encoded_one() {
    let mut encoder = Encoder::new(settings(2_000_000)).unwrap();
    let mut decoder = Decoder::new().unwrap();
    let mut shown = 0;
    for (n, (_, unit)) in units(&mut encoder, 0..30, None).into_iter().enumerate() {
        let Some(picture) = decoder.decode(&unit).unwrap() else { continue };
        let mut pattern = Pattern::new(640, 360);
        let sent = pattern.draw(n as u64, n as u64 * 33);
        assert_eq!(picture.dimensions(), (640, 360));
        let stride = picture.strides().0;
        let error: u64 = (0..360)
            .flat_map(|y| (0..640).map(move |x| (x, y)))
            .map(|(x, y)| u64::from(picture.y()[y * stride + x].abs_diff(sent.planes().0[y * 640 + x])))
            .sum();
        assert!(error / (640 * 360) < 4, "frame {n}: mean error {}", error / (640 * 360));
        shown += 1;
    }
    assert!(shown >= 28, "{shown} of 30 decoded");
}

#[test]
fn the_first_unit_is_a_key_and_the_next_only_when_asked_for() {
    let mut encoder = Encoder::new(settings(1_000_000)).unwrap();
    let units = units(&mut encoder, 0..400, Some(300));
    let keys: Vec<_> = units.iter().enumerate().filter(|(_, (c, _))| *c == Coded::Key).map(|(i, _)| i).collect();
    assert_eq!(keys, [0, 300]);
    for key in keys {
        assert_eq!(nal_types(&units[key].1), [7, 8, 5]);
    }
    assert!(units.iter().filter(|(c, _)| *c == Coded::Delta).all(|(_, unit)| nal_types(unit) == [1]));
}

#[test]
fn the_profile_is_constrained_baseline_at_the_smallest_level_that_fits() {
    let mut encoder = Encoder::new(settings(1_000_000)).unwrap();
    let unit = units(&mut encoder, 0..1, None).remove(0).1;
    assert_eq!(unit[4..6], [0x67, 0x42]);
    assert_eq!(unit[6] & 0xC0, 0xC0, "constraint_set0 and 1");
    assert_eq!(unit[7], 30, "640x360 at 30 fps is level 3.0");
    let hd = |fps| Settings { width: 1280, height: 720, milli_fps: fps, ..settings(1) };
    assert!(matches!(level(&hd(30_000)), Level::Level_3_1));
    assert!(matches!(level(&hd(60_000)), Level::Level_3_2));
    assert!(matches!(level(&Settings { width: 1920, height: 1080, ..hd(30_000) }), Level::Level_4_0));
}

#[test]
fn a_new_bitrate_takes_effect_in_a_running_encoder_without_a_keyframe() {
    let mut encoder = Encoder::new(settings(1_500_000)).unwrap();
    let mut picture = I420::new(640, 360);
    let mut unit = Vec::new();
    let mut second = |encoder: &mut Encoder, from: u64| {
        (from..from + 30)
            .map(|n| {
                noise(&mut picture, n / 3);
                let coded = encoder.encode(&picture, n * FRAME_NS, false, &mut unit).unwrap();
                assert!(coded != Coded::Key || n == 0);
                unit.len() * 8
            })
            .sum::<usize>()
    };
    for s in 0..3 {
        second(&mut encoder, s * 30);
    }
    let fast = second(&mut encoder, 90);
    encoder.set_bitrate(300_000).unwrap();
    let _settling = second(&mut encoder, 120);
    let slow = second(&mut encoder, 150);
    encoder.set_bitrate(1_500_000).unwrap();
    let _settling = second(&mut encoder, 180);
    let again = second(&mut encoder, 210);
    assert!(slow * 2 < fast, "{fast} then {slow} bit/s");
    assert!(again > slow * 2, "{slow} then {again} bit/s");
}

#[test]
fn a_rate_asked_for_before_the_first_picture_holds() {
    let mut encoder = Encoder::new(settings(2_000_000)).unwrap();
    encoder.set_bitrate(200_000).unwrap();
    assert_eq!(encoder.encode(&I420::new(640, 360), 0, true, &mut Vec::new()).unwrap(), Coded::Key);
    assert_eq!(encoder.applied, 200_000);
    encoder.set_bitrate(u32::MAX).unwrap();
    assert_eq!(encoder.applied, 2_000_000);
}

#[test]
fn an_encoder_that_was_started_low_can_be_raised_to_its_ceiling() {
    let mut encoder = Encoder::new(Settings { ceiling: 2_000_000, ..settings(500_000) }).unwrap();
    encoder.encode(&I420::new(640, 360), 0, true, &mut Vec::new()).unwrap();
    for bps in [1_493_104, 300_000, 2_000_000] {
        encoder.set_bitrate(bps).unwrap();
        assert_eq!(encoder.applied, bps);
    }
}

/// `cargo test -p firmware-worker -- --ignored --nocapture milliseconds`
#[test]
#[ignore = "prints a cost, proves nothing"]
fn milliseconds_of_one_core_for_a_second_of_720p30() {
    const SECONDS: u64 = 5;
    for ceiling in [2_000_000, 1_000_000, 500_000, 200_000] {
        let hd = Settings { width: 1280, height: 720, ceiling, ..settings(ceiling) };
        let mut encoder = Encoder::new(hd).unwrap();
        let mut pattern = Pattern::new(hd.width, hd.height);
        let (mut unit, mut drawing, mut encoding, mut bytes, mut skipped) =
            (Vec::new(), Duration::ZERO, Duration::ZERO, 0, 0);
        for n in 0..30 * SECONDS {
            let start = Instant::now();
            let picture = pattern.draw(n, n * 33);
            let drawn = Instant::now();
            let coded = encoder.encode(picture, n * FRAME_NS, false, &mut unit).unwrap();
            skipped += u32::from(coded == Coded::Skipped);
            drawing += drawn - start;
            encoding += drawn.elapsed();
            bytes += unit.len() as u64;
        }
        let per_second = |spent: Duration| spent.as_secs_f64() * 1000.0 / SECONDS as f64;
        println!(
            "720p30: pattern {:.2} ms/s, openh264 {:.1} ms/s, {} kbit/s of {}, {skipped} of {} skipped",
            per_second(drawing),
            per_second(encoding),
            bytes * 8 / 1000 / SECONDS,
            ceiling / 1000,
            30 * SECONDS
        );
    }
}
