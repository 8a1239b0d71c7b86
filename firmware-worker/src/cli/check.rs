//! `check`: what the worker would do with a configuration.

use super::arguments::Settings;
use super::{config_file, configuration_error, load, since_1970};
use crate::config::{CameraDevice, Config, Credentials, Device, DeviceKind, MicrophoneDevice, read_secret};
use protocol::secret::Secret;
use std::fmt::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

pub(super) fn print(mut settings: Settings, file: Option<PathBuf>) -> ExitCode {
    settings.config = file.or(settings.config);
    let path = config_file(settings.config.as_deref());
    match load(settings, false) {
        Ok(config) => {
            let file = path.map_or_else(|| "no file, defaults".into(), |path| path.display().to_string());
            print!("{file}: good\n{}", describe(&config));
            ExitCode::SUCCESS
        }
        Err(error) => configuration_error(&error),
    }
}

fn describe(config: &Config) -> String {
    let mut out = String::new();
    let worker = &config.worker;
    let dispatch = match worker.agent_name.as_str() {
        "" => "dispatched into every new room".to_owned(),
        name => format!("dispatched by the name {name:?}"),
    };
    let kind = format!("{:?}", worker.job_type).to_lowercase();
    let http = config.http.map_or_else(|| "off".into(), |address| format!("http://{address}"));
    // Writing to a string cannot fail.
    let _ = writeln!(out, "server      {}{}", config.server.url, unencrypted(&config.server.url));
    let _ = writeln!(out, "as          {}", credentials(&config.server.credentials));
    let _ = writeln!(out, "jobs        {kind} jobs, {dispatch}, at most {} at a time", worker.max_jobs);
    for device in &config.devices {
        let _ = writeln!(out, "{}", describe_device(device));
    }
    let _ = writeln!(out, "operators   {http}");
    out
}

fn unencrypted(url: &str) -> &'static str {
    if url.starts_with("ws://") || url.starts_with("http://") { "  (not encrypted)" } else { "" }
}

fn credentials(credentials: &Credentials) -> String {
    match credentials {
        Credentials::Key { key, .. } => format!("API key {key} with its secret; makes its own tokens"),
        Credentials::Token(token) => format!("token from the environment, {}", validity(token)),
        Credentials::TokenFile(path) => match read_secret(path) {
            Ok(token) => format!("token in {}, {}", path.display(), validity(&token)),
            Err(error) => error.to_string(),
        },
    }
}

fn validity(token: &Secret) -> String {
    let claims = match protocol::token::inspect(token) {
        Ok(claims) => claims,
        Err(error) => return error.to_string(),
    };
    let grant = if claims.agent { "" } else { ", NOT a worker token (no agent grant)" };
    let now = since_1970();
    match claims.expires.checked_sub(now) {
        Some(left) => format!("valid for {}{grant}", rounded(left)),
        None => format!("EXPIRED {} ago{grant}", rounded(now - claims.expires)),
    }
}

fn rounded(duration: Duration) -> String {
    match duration.as_secs() {
        seconds @ 0..7200 => format!("{} minutes", seconds / 60),
        seconds @ 7200..172_800 => format!("{} hours", seconds / 3600),
        seconds => format!("{} days", seconds / 86_400),
    }
}

fn describe_device(device: &Device) -> String {
    let name = &device.name;
    match &device.kind {
        DeviceKind::Camera(camera) => {
            let which = match &camera.device {
                CameraDevice::Auto => "the first camera, else the test pattern".into(),
                CameraDevice::TestPattern => "test pattern".into(),
                CameraDevice::Path(path) => path.display().to_string(),
                CameraDevice::Card(card) => format!("the camera called {card:?}"),
            };
            let (low, high) = (camera.min_bitrate / 1000, camera.bitrate / 1000);
            let (width, height, fps) = (camera.width, camera.height, camera.fps);
            format!("camera      {name}: {which}, {width}x{height}@{fps}, {low} to {high} kbit/s")
        }
        DeviceKind::Microphone(microphone) => {
            let which = match &microphone.device {
                MicrophoneDevice::Auto => "the first sound card that captures, else a tone",
                MicrophoneDevice::Tone => "tone",
                MicrophoneDevice::Alsa(alsa) => alsa,
            };
            let channels = if microphone.channels == 1 { "mono" } else { "stereo" };
            format!("microphone  {name}: {which}, {channels}, {} kbit/s", microphone.bitrate / 1000)
        }
    }
}
