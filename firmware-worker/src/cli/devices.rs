//! `devices`: what this board has.

use super::{config_file, configuration_error, environment};
use crate::config::{self, CameraDevice, Device, DeviceKind, camera_names};
use crate::control;
use crate::device::speaker::choose;
use hal::audio::{Card, Identity, Offer, find};
use hal::video::{Camera, ControlState, Encoder, Mode, PixelFormat};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;
use std::process::ExitCode;

pub(super) fn print(as_json: bool, config: Option<&Path>) -> ExitCode {
    let configured = match config::devices(&environment, config_file(config).as_deref()) {
        Ok(devices) => devices,
        Err(error) => return configuration_error(&error),
    };
    let pipes = pipes(&configured);
    let (cameras, encoders) = (hal::video::list(), hal::video::encoders());
    let cards: Vec<_> = hal::audio::list().into_iter().map(|card| (capture_of(&card), card)).collect();
    if as_json {
        println!("{:#}", to_json(&cameras, &pipes, &encoders, &cards));
    } else {
        print!("{}{}{}", video_table(&cameras, &encoders), pipe_table(&pipes), sound_table(&cards));
    }
    ExitCode::SUCCESS
}

/// A configured camera that is a command.
struct Pipe<'a> {
    name: &'a str,
    command: &'a [String],
    offset_ms: u128,
}

fn pipes(configured: &[Device]) -> Vec<Pipe<'_>> {
    configured.iter().filter_map(pipe).collect()
}

fn pipe(device: &Device) -> Option<Pipe<'_>> {
    let Device { name, kind: DeviceKind::Camera(camera) } = device else { return None };
    let CameraDevice::Pipe { command, latency_offset } = &camera.device else { return None };
    Some(Pipe { name, command, offset_ms: latency_offset.as_millis() })
}

/// What a card captures, or why that cannot be told; nothing for one that does not capture.
fn capture_of(card: &Card) -> Option<Result<Offer, String>> {
    card.capture.then(|| hal::audio::offer(&card.name).map_err(|e| e.to_string()))
}

fn to_json(
    cameras: &[Camera],
    pipes: &[Pipe<'_>],
    encoders: &[Encoder],
    cards: &[(Option<Result<Offer, String>>, Card)],
) -> Value {
    let mode = |mode: &Mode| {
        json!({
            "format": mode.format.to_string(),
            "width": mode.width,
            "height": mode.height,
            "fps": f64::from(mode.milli_fps) / 1000.0,
        })
    };
    let control =
        |control: &ControlState| json!({ "name": control.name, "value": control.value, "takes": control.range });
    let camera = |camera: &Camera| {
        json!({
            "device": camera.path,
            "names": camera_names(camera, cameras),
            "card": camera.card,
            "driver": camera.driver,
            "bus": camera.bus,
            "obstacle": camera.obstacle,
            "controls": camera.controls.iter().map(control).collect::<Vec<_>>(),
            "modes": camera.modes.iter().map(mode).collect::<Vec<_>>(),
        })
    };
    let pipe = |pipe: &Pipe<'_>| json!({ "name": pipe.name, "command": pipe.command, "latency_offset_ms": pipe.offset_ms as u64 });
    let encoder = |encoder: &Encoder| {
        json!({
            "device": encoder.path,
            "card": encoder.card,
            "driver": encoder.driver,
            "inputs": encoder.inputs,
            "outputs": encoder.outputs,
            "quirks": hal::video::m2m::known_quirks(&encoder.driver),
        })
    };
    let card = |(offer, card): &(Option<Result<Offer, String>>, Card)| {
        let offer = offer.as_ref().and_then(|offer| offer.as_ref().ok());
        json!({
            "device": card.name,
            "identities": card.identities(),
            "description": card.description,
            "capture": card.capture,
            "playback": card.playback,
            "formats": offer.map(|offer| offer.formats.iter().map(|format| format.name()).collect::<Vec<_>>()),
            "rates": offer.map(|offer| &offer.rates),
            "channels": offer.map(|offer| [offer.channels.0, offer.channels.1]),
        })
    };
    let (chosen, why) = auto_encoder(encoders);
    let (microphone, speaker) = auto_cards(cards);
    json!({
        "cameras": cameras.iter().map(camera).collect::<Vec<_>>(),
        "auto": CameraDevice::Auto.find(cameras).ok().map(|camera| &camera.path),
        "pipes": pipes.iter().map(pipe).collect::<Vec<_>>(),
        "encoders": encoders.iter().map(encoder).collect::<Vec<_>>(),
        "auto_encoder": { "encoder": chosen.to_string(), "why": why },
        "auto_microphone": microphone,
        "auto_speaker": speaker,
        "sound_cards": cards.iter().map(card).collect::<Vec<_>>(),
    })
}

fn video_table(cameras: &[Camera], encoders: &[Encoder]) -> String {
    let mut out = String::new();
    // Writing to a string cannot fail.
    if cameras.is_empty() {
        let _ = writeln!(out, "No camera (or no access to one: is this user in the group `video`?)");
    }
    for camera in cameras {
        let _ = writeln!(out, "{}  {}  ({}, {})", camera.path.display(), camera.card, camera.driver, camera.bus);
        let _ = writeln!(out, "    {:<6} {}", "device", camera_names(camera, cameras).join("  or  "));
        for (format, best) in best_modes(&camera.modes) {
            let _ = writeln!(out, "    {format:<6} {best}");
        }
        if camera.modes.iter().any(|mode| mode.format == PixelFormat::H264) {
            let _ = writeln!(
                out,
                "    gives H.264: passed through by `auto` at a width, height and fps listed, unmirrored"
            );
        }
        if !camera.controls.is_empty() {
            let names: Vec<_> = camera.controls.iter().map(|control| control.name.as_str()).collect();
            let _ = writeln!(out, "    controls (--json tells what they take) {}", names.join(", "));
        }
    }
    for encoder in encoders {
        let (path, inputs, outputs) = (encoder.path.display(), encoder.inputs.join(", "), encoder.outputs.join(", "));
        let _ = writeln!(out, "{path}  encoder {}  ({})", encoder.card, encoder.driver);
        let _ = writeln!(out, "    {inputs} -> {outputs}");
    }
    let auto = match CameraDevice::Auto.find(cameras) {
        Ok(camera) => format!("{}, the first that gives pictures by itself", camera.path.display()),
        Err(why) => format!("the test pattern, as {why}"),
    };
    let _ = writeln!(out, "auto takes {auto}");
    let (encoder, why) = auto_encoder(encoders);
    let _ = writeln!(out, "encoder = \"auto\" encodes pictures in {encoder}, as {why}");
    out
}

/// Cameras that are commands have no node to be found by; they are those of the configuration.
fn pipe_table(pipes: &[Pipe<'_>]) -> String {
    let mut out = String::new();
    for Pipe { name, command, offset_ms } in pipes {
        let _ = writeln!(out, "pipe  {name}  ({})", command.join(" "));
        let _ = writeln!(out, "    H264 as it is written; stamped with the time of its first byte less {offset_ms} ms");
    }
    out
}

/// What codes the pictures of a camera that is left to choose, and why.
fn auto_encoder(encoders: &[Encoder]) -> (control::Encoder, String) {
    match encoders.iter().find(|encoder| encoder.suits_cameras()) {
        Some(Encoder { path, driver, inputs, .. }) => {
            let inputs = inputs.join(", ");
            (control::Encoder::Hardware, format!("{} ({driver}) gives H.264 of {inputs}", path.display()))
        }
        None => (control::Encoder::Software, "no encoder here gives H.264".into()),
    }
}

fn sound_table(cards: &[(Option<Result<Offer, String>>, Card)]) -> String {
    let mut out = String::new();
    if cards.is_empty() {
        let _ = writeln!(out, "No sound card (or no access to one: is this user in the group `audio`?)");
    }
    for (offer, card) in cards {
        let uses = match (card.capture, card.playback) {
            (true, true) => "capture, playback",
            (true, false) => "capture",
            (false, true) => "playback",
            (false, false) => "-",
        };
        let _ = writeln!(out, "{}  {}  ({uses})", card.name, card.description);
        let _ = writeln!(out, "    {}", card.identities().join("  "));
        match offer {
            Some(Ok(offer)) => {
                let formats: Vec<_> = offer.formats.iter().map(|format| format.name()).collect();
                let rates: Vec<_> = offer.rates.iter().map(ToString::to_string).collect();
                let (fewest, most) = offer.channels;
                let _ = writeln!(out, "    {}  {} Hz  {fewest} to {most} ch", formats.join(" "), rates.join(" "));
            }
            Some(Err(why)) => {
                let _ = writeln!(out, "    {why}");
            }
            None => {}
        }
    }
    let (microphone, speaker) = auto_cards(cards);
    if let Some(name) = microphone {
        let _ = writeln!(out, "auto of a microphone takes {name}");
    }
    if let Some(name) = speaker {
        let _ = writeln!(out, "auto of a speaker takes {name}");
    }
    out
}

/// What `device = "auto"` takes of a microphone and of a speaker.
fn auto_cards(cards: &[(Option<Result<Offer, String>>, Card)]) -> (Option<String>, Option<String>) {
    let cards: Vec<_> = cards.iter().map(|(_, card)| card.clone()).collect();
    let microphone = find(&Identity::Auto, &cards, |card| card.capture).ok().map(|card| card.name.clone());
    (microphone, choose(cards))
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
    use hal::audio::SampleFormat;
    use hal::video::{Identity, Usb};
    use std::time::Duration;

    fn camera() -> Camera {
        let mode = |format, width, height, milli_fps| Mode { format, width, height, milli_fps };
        let usb = Usb { vendor: 0x46d, product: 0x825, serial: Some("A1".into()), port: "1-1.2".into(), interface: 0 };
        Camera {
            path: "/dev/video0".into(),
            card: "HD Cam".into(),
            driver: "uvcvideo".into(),
            bus: "usb-1.2".into(),
            identity: Identity { usb: Some(usb), ..Identity::default() },
            obstacle: None,
            controls: vec![ControlState { name: "gain".into(), value: Some(7), range: "0 to 100".into() }],
            modes: vec![
                mode(PixelFormat::Yuyv, 640, 480, 15_000),
                mode(PixelFormat::Yuyv, 640, 480, 30_000),
                mode(PixelFormat::Mjpeg, 1920, 1080, 30_000),
                mode(PixelFormat::Mjpeg, 1280, 720, 29_970),
            ],
        }
    }

    fn encoder() -> Encoder {
        let (card, driver) = ("bcm2835-codec-encode".into(), "bcm2835-codec".into());
        let (inputs, outputs) = (vec!["YU12".into(), "NV12".into()], vec!["H264".into()]);
        Encoder { path: "/dev/video11".into(), card, driver, inputs, outputs }
    }

    fn card() -> (Option<Result<Offer, String>>, Card) {
        let usb = hal::audio::Usb { vendor: "046d".into(), product: "0825".into(), serial: None, port: "1-1.2".into() };
        let card = Card {
            name: "hw:CARD=Mic,DEV=0".into(),
            description: "USB Mic".into(),
            id: "Mic".into(),
            card: "USB Mic".into(),
            usb: Some(usb),
            capture: true,
            playback: false,
        };
        let formats = vec![SampleFormat::S16, SampleFormat::S24Packed];
        (Some(Ok(Offer { formats, rates: vec![44_100, 48_000], channels: (1, 2) })), card)
    }

    #[test]
    fn the_table_names_devices_as_the_configuration_takes_them() {
        let expected = "/dev/video0  HD Cam  (uvcvideo, usb-1.2)\n    \
                        device usb:046d:0825:A1  or  usb-port:1-1.2  or  card:HD Cam\n    \
                        MJPEG  1920x1080@30  1280x720@29.97\n    \
                        YUYV   640x480@30\n    \
                        controls (--json tells what they take) gain\n\
                        /dev/video11  encoder bcm2835-codec-encode  (bcm2835-codec)\n    \
                        YU12, NV12 -> H264\n\
                        auto takes /dev/video0, the first that gives pictures by itself\n\
                        encoder = \"auto\" encodes pictures in hardware, as /dev/video11 (bcm2835-codec) gives H.264 of \
                        YU12, NV12\n";
        assert_eq!(video_table(&[camera()], &[encoder()]), expected);
        let expected = "hw:CARD=Mic,DEV=0  USB Mic  (capture)\n    usb:046d:0825  usb-port:1-1.2  card:Mic\n    \
                        S16_LE S24_3LE  44100 48000 Hz  1 to 2 ch\n\
                        auto of a microphone takes hw:CARD=Mic,DEV=0\n";
        assert_eq!(sound_table(&[card()]), expected);
    }

    #[test]
    fn a_camera_that_encodes_is_said_to_be_passed_through() {
        let mut camera = camera();
        assert!(!video_table(std::slice::from_ref(&camera), &[]).contains("passed through"));
        camera.modes.push(Mode { format: PixelFormat::H264, width: 1280, height: 720, milli_fps: 30_000 });
        let table = video_table(&[camera], &[]);
        assert!(table.contains("H264   1280x720@30\n") && table.contains("gives H.264: passed through"), "{table}");
    }

    fn attic() -> Device {
        let command = vec!["rpicam-vid".into(), "-n".into()];
        let device = CameraDevice::Pipe { command, latency_offset: Duration::from_millis(40) };
        Device {
            name: "attic".into(),
            kind: DeviceKind::Camera(config::Camera { device, ..config::Camera::default() }),
        }
    }

    #[test]
    fn a_configured_command_is_listed_with_what_its_stamps_are() {
        let expected = "pipe  attic  (rpicam-vid -n)\n    \
                        H264 as it is written; stamped with the time of its first byte less 40 ms\n";
        assert_eq!(pipe_table(&pipes(&[attic()])), expected);
    }

    #[test]
    fn an_empty_board_says_what_may_be_missing() {
        let video = video_table(&[], &[]);
        assert!(video.contains("group `video`"));
        let auto = "auto takes the test pattern, as no camera is connected\n\
                    encoder = \"auto\" encodes pictures in software, as no encoder here gives H.264\n";
        assert!(video.ends_with(auto), "{video}");
        assert!(sound_table(&[]).contains("group `audio`"));
    }

    #[test]
    fn json_has_every_mode() {
        let value = to_json(&[camera()], &pipes(&[attic()]), &[encoder()], &[card()]);
        assert_eq!(value["cameras"][0]["modes"][3], json!({"format":"MJPEG","width":1280,"height":720,"fps":29.97}));
        assert_eq!(value["cameras"][0]["names"][0], "usb:046d:0825:A1");
        assert_eq!(value["cameras"][0]["controls"][0], json!({"name":"gain","value":7,"takes":"0 to 100"}));
        assert_eq!(value["pipes"][0]["latency_offset_ms"], 40);
        assert_eq!(value["auto"], "/dev/video0");
        assert_eq!(value["encoders"][0]["outputs"], json!(["H264"]));
        assert!(value["encoders"][0]["quirks"][0].as_str().is_some_and(|why| why.contains("level 4.0")));
        assert_eq!(value["auto_encoder"]["encoder"], "hardware");
        assert_eq!((&value["auto_microphone"], &value["auto_speaker"]), (&json!("hw:CARD=Mic,DEV=0"), &Value::Null));
        assert_eq!(value["sound_cards"][0]["device"], "hw:CARD=Mic,DEV=0");
        assert_eq!(value["sound_cards"][0]["identities"][1], "usb-port:1-1.2");
        assert_eq!(value["sound_cards"][0]["formats"], json!(["S16_LE", "S24_3LE"]));
    }
}
