#![expect(clippy::disallowed_methods, reason = "simulated time starts at any instant")]

use super::Format::{H264, Mjpeg, Nv12, Yuyv};
use super::*;

type Short = (Format, u32, u32, u32);

fn mode((format, width, height, fps): Short) -> Mode {
    Mode { format, width, height, milli_fps: fps * 1000 }
}

fn pictures(width: u32, height: u32, fps: u32) -> Wanted {
    Wanted { width, height, fps, format: None, encoded: Encoded::Never }
}

fn begin(modes: &[Short], wanted: Wanted) -> Choice {
    Choice::new(modes.iter().copied().map(mode), wanted, Instant::now())
}

/// The mode that is tried first.
fn first(modes: &[Short], wanted: Wanted) -> Option<Short> {
    let attempt = begin(modes, wanted).attempt()?;
    Some(modes[attempt.offer])
}

fn chosen(modes: &[Short], width: u32, height: u32, fps: u32) -> Short {
    first(modes, pictures(width, height, fps)).unwrap()
}

const USB_2_CAMERA: [Short; 8] = [
    (Mjpeg, 1920, 1080, 30),
    (Mjpeg, 1280, 720, 30),
    (Mjpeg, 640, 480, 30),
    (Mjpeg, 640, 360, 30),
    (Yuyv, 1920, 1080, 5),
    (Yuyv, 1280, 720, 10),
    (Yuyv, 640, 480, 30),
    (Yuyv, 640, 360, 30),
];

#[test]
fn raw_is_taken_where_it_is_fast_enough_and_mjpeg_where_it_is_not() {
    assert_eq!(chosen(&USB_2_CAMERA, 640, 360, 30), (Yuyv, 640, 360, 30));
    assert_eq!(chosen(&USB_2_CAMERA, 1280, 720, 30), (Mjpeg, 1280, 720, 30));
    assert_eq!(chosen(&USB_2_CAMERA, 1280, 720, 10), (Yuyv, 1280, 720, 10));
}

#[test]
fn a_format_that_is_asked_for_is_taken_or_none() {
    let only = |format| Wanted { format: Some(format), ..pictures(1280, 720, 30) };
    assert_eq!(first(&USB_2_CAMERA, only(Yuyv)), Some((Yuyv, 640, 480, 30)));
    assert_eq!(first(&USB_2_CAMERA, only(Nv12)), None);
}

#[test]
fn a_size_that_is_not_offered_gives_the_nearest_one() {
    assert_eq!(chosen(&USB_2_CAMERA, 848, 480, 30), (Yuyv, 640, 480, 30));
    assert_eq!(chosen(&USB_2_CAMERA, 1024, 576, 30), (Mjpeg, 1280, 720, 30));
    assert_eq!(chosen(&USB_2_CAMERA, 3840, 2160, 30), (Mjpeg, 1920, 1080, 30));
}

#[test]
fn a_smaller_picture_is_better_than_a_slide_show() {
    let modes = [(Yuyv, 1280, 720, 5), (Yuyv, 640, 480, 30)];
    assert_eq!(chosen(&modes, 1280, 720, 30), (Yuyv, 640, 480, 30));
}

#[test]
fn the_wanted_rate_is_better_than_a_faster_one() {
    let modes = [(Nv12, 1280, 720, 60), (Nv12, 1280, 720, 30), (Nv12, 1280, 720, 15)];
    assert_eq!(chosen(&modes, 1280, 720, 30), (Nv12, 1280, 720, 30));
    assert_eq!(chosen(&modes, 1280, 720, 20), (Nv12, 1280, 720, 30));
}

#[test]
fn a_driver_is_asked_for_no_more_pictures_than_are_wanted_or_than_it_has() {
    let asked = |fps| begin(&[(Nv12, 64, 48, 30)], pictures(64, 48, fps)).attempt().unwrap().milli_fps;
    assert_eq!((asked(20), asked(60)), (20_000, 30_000));
}

#[test]
fn nothing_is_chosen_from_nothing_and_odd_wishes_do_no_harm() {
    assert_eq!(first(&[], pictures(640, 480, 30)), None);
    assert_eq!(first(&[(Nv12, 0, 0, 30)], pictures(640, 480, 30)), None);
    assert!(first(&USB_2_CAMERA, pictures(0, 0, 0)).is_some());
    assert!(first(&USB_2_CAMERA, pictures(u32::MAX, u32::MAX, u32::MAX)).is_some());
}

#[test]
fn a_cameras_own_encoder_is_used_where_it_is_wanted_and_gives_what_is_wanted() {
    let camera = [(H264, 1280, 720, 30), (H264, 640, 480, 15), (Yuyv, 640, 480, 30), (Mjpeg, 1280, 720, 30)];
    let chosen = |width, height, fps, encoded| {
        let (format, width, _, _) = first(&camera, Wanted { width, height, fps, format: None, encoded }).unwrap();
        (format, width)
    };
    assert_eq!(chosen(1280, 720, 30, Encoded::Never), (Mjpeg, 1280));
    assert_eq!(chosen(1280, 720, 30, Encoded::Preferred), (H264, 1280));
    assert_eq!(chosen(1280, 720, 15, Encoded::Preferred), (H264, 1280), "a faster one is thinned");
    assert_eq!(chosen(640, 480, 30, Encoded::Preferred), (Yuyv, 640), "too slow");
    assert_eq!(chosen(640, 360, 30, Encoded::Preferred), (Yuyv, 640), "of another size");
    assert_eq!(chosen(1920, 1080, 30, Encoded::Only), (H264, 1280));
    assert_eq!(first(&USB_2_CAMERA, Wanted { encoded: Encoded::Only, ..pictures(640, 360, 30) }), None);
}

/// Format, width and rate of all that is tried where the driver refuses each so.
fn tried(all: &[Short], refusals: &[Refusal]) -> Vec<(Format, u32, u32)> {
    let mut choice = begin(all, pictures(1280, 720, 30));
    let (mut tried, mut refusals) = (Vec::new(), refusals.iter().cycle());
    while let Some(attempt) = choice.attempt() {
        let (format, width, _, fps) = all[attempt.offer];
        tried.push((format, width, fps));
        choice.refused(mode(all[attempt.offer]), *refusals.next().unwrap(), choice.since);
    }
    tried
}

fn many() -> Vec<Short> {
    let rates = |width, height| [30, 25, 20, 15].map(|fps| (Mjpeg, width, height, fps));
    [&rates(1280, 720)[..], &rates(640, 480), &[(Yuyv, 640, 480, 30)]].concat()
}

#[test]
fn what_the_bus_refused_gives_way_to_the_nearest_that_takes_clearly_less_four_times_at_most() {
    let expected = [(1280, 30), (1280, 20), (640, 30), (640, 20)].map(|(width, fps)| (Mjpeg, width, fps));
    assert_eq!(tried(&many(), &[Refusal::NoRoom]), expected);
    let mut choice = begin(&many(), pictures(1280, 720, 30));
    let odd = Mode { format: Yuyv, width: u32::MAX, height: u32::MAX, milli_fps: u32::MAX };
    choice.refused(odd, Refusal::NoRoom, choice.since);
    assert!(choice.attempt().is_some());
}

#[test]
fn an_offer_of_which_the_driver_makes_something_heavier_is_refused_once_and_others_have_their_turn() {
    for why in [Refusal::NoRoom, Refusal::NotStarted] {
        let mut choice = begin(&USB_2_CAMERA, pictures(640, 360, 30));
        let mut tried = Vec::new();
        while let Some(attempt) = choice.attempt() {
            tried.push(attempt.offer);
            choice.refused(mode((Yuyv, 1920, 1080, 30)), why, choice.since);
        }
        tried.dedup();
        assert_eq!(tried, [7, 3, 6, 2], "each of the nearest, none of them again");
    }
}

#[test]
fn what_was_not_started_is_tried_once_more_before_it_gives_way() {
    let rates = [(1280, 30), (1280, 30), (1280, 20), (1280, 20), (640, 30), (640, 30), (640, 20), (640, 20)];
    assert_eq!(tried(&many(), &[Refusal::NotStarted]), rates.map(|(width, fps)| (Mjpeg, width, fps)));
    let mixed = [Refusal::NotStarted, Refusal::NoRoom];
    assert_eq!(tried(&many(), &mixed).len(), 8, "no room is no room, and the next mode has two starts again");
}

#[test]
fn an_opening_that_takes_long_ends_with_the_start_that_was_refused_last() {
    for why in [Refusal::NoRoom, Refusal::NotStarted] {
        let mut choice = begin(&many(), pictures(1280, 720, 30));
        let refused = mode((Mjpeg, 1280, 720, 30));
        choice.refused(refused, why, choice.since + PATIENCE - Duration::from_millis(1));
        assert!(choice.attempt().is_some());
        choice.refused(refused, why, choice.since + PATIENCE);
        assert_eq!(choice.attempt(), None);
    }
}
