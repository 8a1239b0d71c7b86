//! `devices`: what this board has.

use super::{config_file, configuration_error, environment};
use crate::config::{self, CameraDevice, Device, DeviceKind, camera_names};
use crate::control;
use hal::audio::{Card, Offer, Use, auto};
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
        let obstacle = offer.as_ref().and_then(|offer| offer.as_ref().err());
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
            "obstacle": obstacle,
        })
    };
    let (chosen, why) = auto_encoder(encoders);
    let (auto_camera, auto_why) = auto_camera(cameras);
    let (microphone, microphone_why) = auto_card(cards, Use::Capture);
    let (speaker, speaker_why) = auto_card(cards, Use::Play);
    json!({
        "cameras": cameras.iter().map(camera).collect::<Vec<_>>(),
        "auto": auto_camera,
        "auto_why": auto_why,
        "pipes": pipes.iter().map(pipe).collect::<Vec<_>>(),
        "encoders": encoders.iter().map(encoder).collect::<Vec<_>>(),
        "auto_encoder": { "encoder": chosen.to_string(), "why": why },
        "auto_microphone": microphone,
        "auto_microphone_why": microphone_why,
        "auto_speaker": speaker,
        "auto_speaker_why": speaker_why,
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
        if let Some(why) = camera.obstacle {
            let _ = writeln!(out, "    not taken by auto, as {why}");
        }
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
    let _ = match auto_camera(cameras) {
        (Some(path), why) => writeln!(out, "auto takes {}, {why}", path.display()),
        (None, why) => writeln!(out, "auto takes the test pattern, as {why}"),
    };
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

/// The camera that is left to choose, and why it is that or none.
fn auto_camera(cameras: &[Camera]) -> (Option<&Path>, String) {
    match CameraDevice::Auto.find(cameras) {
        Ok(camera) => (Some(&camera.path), "the first that gives pictures by itself".into()),
        Err(why) => (None, why),
    }
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
    for (what, wanted, otherwise) in [("microphone", Use::Capture, "the tone"), ("speaker", Use::Play, "nothing")] {
        let _ = match auto_card(cards, wanted) {
            (Some(name), why) => writeln!(out, "auto of a {what} takes {name}, {why}"),
            (None, why) => writeln!(out, "auto of a {what} takes {otherwise}, as {why}"),
        };
    }
    out
}

/// The card that is left to choose, and why it is that or none.
fn auto_card(cards: &[(Option<Result<Offer, String>>, Card)], wanted: Use) -> (Option<String>, String) {
    let cards: Vec<_> = cards.iter().map(|(_, card)| card.clone()).collect();
    match (auto(&cards, wanted), wanted) {
        (Ok(card), Use::Capture) => {
            (Some(card.name.clone()), "the first that captures and is no digital connector".into())
        }
        (Ok(card), Use::Play) => {
            (Some(card.name.clone()), "the first that plays and is no display and no digital connector".into())
        }
        (Err(why), _) => (None, why.to_string()),
    }
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
mod tests;
