//! `devices`: what this board has.

use hal::audio::Card;
use hal::video::{Camera, Mode};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::process::ExitCode;

pub(super) fn print(as_json: bool) -> ExitCode {
    let (cameras, cards) = (hal::video::list(), hal::audio::list());
    if as_json {
        println!("{:#}", to_json(&cameras, &cards));
    } else {
        print!("{}", table(&cameras, &cards));
    }
    ExitCode::SUCCESS
}

fn to_json(cameras: &[Camera], cards: &[Card]) -> Value {
    let mode = |mode: &Mode| {
        json!({
            "format": mode.format.to_string(),
            "width": mode.width,
            "height": mode.height,
            "fps": f64::from(mode.milli_fps) / 1000.0,
        })
    };
    let camera = |camera: &Camera| {
        json!({
            "device": camera.path,
            "card": camera.card,
            "driver": camera.driver,
            "bus": camera.bus,
            "modes": camera.modes.iter().map(mode).collect::<Vec<_>>(),
        })
    };
    let card = |card: &Card| {
        json!({
            "device": card.name,
            "description": card.description,
            "capture": card.capture,
            "playback": card.playback,
        })
    };
    json!({
        "cameras": cameras.iter().map(camera).collect::<Vec<_>>(),
        "sound_cards": cards.iter().map(card).collect::<Vec<_>>(),
    })
}

fn table(cameras: &[Camera], cards: &[Card]) -> String {
    let mut out = String::new();
    // Writing to a string cannot fail.
    if cameras.is_empty() {
        let _ = writeln!(out, "No camera (or no access to one: is this user in the group `video`?)");
    }
    for camera in cameras {
        let _ = writeln!(out, "{}  card:{}  ({}, {})", camera.path.display(), camera.card, camera.driver, camera.bus);
        for (format, best) in best_modes(&camera.modes) {
            let _ = writeln!(out, "    {format:<6} {best}");
        }
    }
    if cards.is_empty() {
        let _ = writeln!(out, "No sound card (or no access to one: is this user in the group `audio`?)");
    }
    for card in cards {
        let uses = match (card.capture, card.playback) {
            (true, true) => "capture, playback",
            (true, false) => "capture",
            (false, true) => "playback",
            (false, false) => "-",
        };
        let _ = writeln!(out, "{}  {}  ({uses})", card.name, card.description);
    }
    out
}

/// For each format, the largest sizes with their highest rates; `--json` has them all.
fn best_modes(modes: &[Mode]) -> BTreeMap<String, String> {
    const SHOWN: usize = 4;
    let mut formats: BTreeMap<String, BTreeMap<(u32, u32), u32>> = BTreeMap::new();
    for mode in modes {
        let rates = formats.entry(mode.format.to_string()).or_default();
        let rate = rates.entry((mode.width, mode.height)).or_default();
        *rate = mode.milli_fps.max(*rate);
    }
    let sizes = |rates: BTreeMap<(u32, u32), u32>| {
        let shown = rates.iter().rev().take(SHOWN);
        let mut text: Vec<_> = shown.map(|((w, h), rate)| format!("{w}x{h}@{}", f64::from(*rate) / 1000.0)).collect();
        if rates.len() > SHOWN {
            text.push(format!("and {} smaller", rates.len() - SHOWN));
        }
        text.join("  ")
    };
    formats.into_iter().map(|(format, rates)| (format, sizes(rates))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use hal::video::PixelFormat;

    fn camera() -> Camera {
        let mode = |format, width, height, milli_fps| Mode { format, width, height, milli_fps };
        Camera {
            path: "/dev/video0".into(),
            card: "HD Cam".into(),
            driver: "uvcvideo".into(),
            bus: "usb-1.2".into(),
            modes: vec![
                mode(PixelFormat::Yuyv, 640, 480, 15_000),
                mode(PixelFormat::Yuyv, 640, 480, 30_000),
                mode(PixelFormat::Mjpeg, 1920, 1080, 30_000),
                mode(PixelFormat::Mjpeg, 1280, 720, 29_970),
            ],
        }
    }

    fn card() -> Card {
        Card { name: "hw:CARD=Mic,DEV=0".into(), description: "USB Mic".into(), capture: true, playback: false }
    }

    #[test]
    fn the_table_names_devices_as_the_configuration_takes_them() {
        let expected = "/dev/video0  card:HD Cam  (uvcvideo, usb-1.2)\n    MJPEG  1920x1080@30  1280x720@29.97\n    \
                        YUYV   640x480@30\nhw:CARD=Mic,DEV=0  USB Mic  (capture)\n";
        assert_eq!(table(&[camera()], &[card()]), expected);
    }

    #[test]
    fn an_empty_board_says_what_may_be_missing() {
        assert!(table(&[], &[]).contains("group `video`"));
        assert!(table(&[], &[]).contains("group `audio`"));
    }

    #[test]
    fn json_has_every_mode() {
        let value = to_json(&[camera()], &[card()]);
        assert_eq!(value["cameras"][0]["modes"][3], json!({"format":"MJPEG","width":1280,"height":720,"fps":29.97}));
        assert_eq!(value["sound_cards"][0]["device"], "hw:CARD=Mic,DEV=0");
    }
}
