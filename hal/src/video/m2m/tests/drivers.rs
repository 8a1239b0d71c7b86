//! What drivers with habits of their own are set to.

use super::*;

const CODEC: u32 = 0x0099_0900;
const MIN_UNITS: u32 = 0x0098_0927;

const B_FRAMES: &str = "Video B Frames";
const GOP: &str = "Video GOP Size";
const FRAME_RATE_CONTROL: &str = "Frame Level Rate Control Enable";
const HEADER_MODE: &str = "Sequence Header Mode";
const PREPEND: &str = "Prepend SPS and PPS to IDR";
const RATE_MODE: &str = "Video Bitrate Mode";

/// The controls of all drivers together.
fn knobs() -> Vec<Knob> {
    let more = vec![
        Knob::number(B_FRAMES, 0, 4, 1).numbered(CODEC + 202),
        Knob::number(GOP, 0, 600, 1).numbered(CODEC + 203),
        Knob::number(FRAME_RATE_CONTROL, 0, 1, 1).numbered(CODEC + 215),
        Knob::menu(HEADER_MODE, &["Separate Buffer", "Joined With 1st Frame"]).numbered(CODEC + 216),
        Knob::number(PREPEND, 0, 1, 1).numbered(CODEC + 644),
    ];
    [pi_knobs(), more].concat()
}

#[test]
fn each_driver_is_set_to_what_its_habits_need_and_no_other_is() {
    let (joined, variable) = (Some(1), Some(0));
    let table = [
        (PI, None, variable),
        ("qcom-venus", joined, None),
        ("mtk-vcodec-enc", None, variable),
        ("amphion-vpu", joined, variable),
        ("wave5-enc", None, None),
        ("coda", None, None),
        ("unheard-of", None, None),
    ];
    for (driver, headers, mode) in table {
        let (device, _encoder) = started(Coding { driver, knobs: knobs(), ..Coding::default() });
        assert_eq!(set(&device, HEADER_MODE), Vec::from_iter(headers), "{driver}");
        assert_eq!(set(&device, RATE_MODE), Vec::from_iter(mode), "{driver}");
        // What every live stream needs.
        assert_eq!(set(&device, FRAME_RATE_CONTROL), [1], "{driver}");
        assert_eq!(set(&device, B_FRAMES), [0], "{driver}");
        assert_eq!(set(&device, GOP), [600], "{driver}: the longest that there is");
        assert_eq!(set(&device, "H264 I-Frame Period"), [36_000], "{driver}");
        assert_eq!(set(&device, "Repeat Sequence Header"), [1], "{driver}");
        assert_eq!(set(&device, PREPEND), [1], "{driver}");
    }
}

#[test]
fn a_driver_gets_as_many_coded_buffers_as_it_is_known_or_says_to_need() {
    const PICTURE: u64 = 64 * 48 * 3 / 2;
    for (driver, says, expected) in [("fake", 0, 3), ("fake", 5, 6), ("coda", 0, 4), (PI, 0, 4), (PI, 2, 4), (PI, 4, 5)]
    {
        let says = (says > 0).then(|| Knob::number("Minimum", says, 32, 1).numbered(MIN_UNITS));
        let knobs = pi_knobs().into_iter().chain(says).collect();
        let (device, encoder) = started(Coding { driver, knobs, ..Coding::default() });
        // The driver has made them, and has all of them.
        let coded = encoder.buffer_bytes() - 2 * PICTURE;
        assert_eq!(coded, expected * BUFFER as u64, "{driver}");
        assert_eq!(u64::from(device.counts()["VIDIOC_QBUF"]), expected, "{driver}");
    }
}
