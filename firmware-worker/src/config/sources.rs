//! Cameras, microphones, speakers and the entrypoint's own table.

use super::meaning::{within, wrong};
use super::{
    Camera, CameraDevice, CameraWritten, Device, DeviceKind, Error, Microphone, MicrophoneDevice, MicrophoneWritten,
    Speaker, SpeakerDevice, SpeakerWritten, Volume,
};
use std::path::PathBuf;

/// The default picture, and the pixel rate that the default bitrate is scaled from.
const WIDTH: u32 = 1280;
const HEIGHT: u32 = 720;
const FPS: u32 = 30;
/// Bit/s for [`WIDTH`] x [`HEIGHT`] at [`FPS`]: clean for a camera on a desk or a wall.
const BITRATE: u32 = 2_000_000;
/// The floor is this part of the ceiling: below it the picture falls apart, and dropping frames serves better.
const FLOOR_PART: u32 = 8;

/// Bit/s that Opus needs for clean full-band sound of one voice.
const OPUS_BITRATE: u32 = 48_000;

/// Without a camera or microphone in the configuration there is one of each; with any, only those. A speaker is there only
/// if it is written.
pub(super) fn devices(
    cameras: Option<Vec<CameraWritten>>,
    microphones: Option<Vec<MicrophoneWritten>>,
    speakers: Option<Vec<SpeakerWritten>>,
) -> Result<Vec<Device>, Error> {
    let (cameras, microphones) = match (cameras, microphones) {
        (None, None) => (vec![CameraWritten::default()], vec![MicrophoneWritten::default()]),
        (cameras, microphones) => (cameras.unwrap_or_default(), microphones.unwrap_or_default()),
    };
    let mut devices = Vec::new();
    for written in cameras {
        let name = name(written.name.as_deref().unwrap_or("camera"), &devices)?;
        let kind = DeviceKind::Camera(camera(&name, &written)?);
        devices.push(Device { name, kind });
    }
    for written in microphones {
        let name = name(written.name.as_deref().unwrap_or("microphone"), &devices)?;
        let kind = DeviceKind::Microphone(microphone(&name, &written)?);
        devices.push(Device { name, kind });
    }
    for written in speakers.unwrap_or_default() {
        let name = name(written.name.as_deref().unwrap_or("speaker"), &devices)?;
        let kind = DeviceKind::Speaker(speaker(&name, &written)?);
        devices.push(Device { name, kind });
    }
    Ok(devices)
}

fn name(name: &str, taken: &[Device]) -> Result<String, Error> {
    let plain = name.chars().all(|c| c.is_ascii_alphanumeric() || "-_".contains(c));
    if !plain || name.is_empty() || name.len() > 32 {
        return Err(wrong(format!("device {name:?}"), "a name is 1 to 32 letters, digits, '-' and '_'"));
    }
    if taken.iter().any(|device| device.name == name) {
        return Err(wrong(format!("device {name:?}"), "two devices have this name; give each its own `name`"));
    }
    Ok(name.to_owned())
}

fn camera(name: &str, written: &CameraWritten) -> Result<Camera, Error> {
    let key = |what: &str| format!("camera {name:?} {what}");
    let unwritten = Camera::default();
    let width = within(key("width"), written.width, unwritten.width, 32..=3840)?;
    let height = within(key("height"), written.height, unwritten.height, 32..=2160)?;
    if width % 2 != 0 || height % 2 != 0 {
        return Err(wrong(key("size"), format!("{width}x{height}: width and height must be even")));
    }
    let fps = within(key("fps"), written.fps, unwritten.fps, 1..=120)?;
    let default = scaled_bitrate(width, height, fps);
    let bitrate = within(key("bitrate"), written.bitrate, default, 50_000..=50_000_000)?;
    let floor = (bitrate / FLOOR_PART).max(50_000);
    let min_bitrate = within(key("min_bitrate"), written.min_bitrate, floor, 50_000..=bitrate)?;
    let device = camera_device(written.device.as_deref().unwrap_or("auto"))
        .ok_or_else(|| wrong(key("device"), "must be auto, test-pattern, a path (/dev/video0) or card:NAME"))?;
    Ok(Camera { device, width, height, fps, bitrate, min_bitrate })
}

impl Default for Camera {
    /// What an empty `[[camera]]` means.
    fn default() -> Self {
        let (device, min_bitrate) = (CameraDevice::Auto, BITRATE / FLOOR_PART);
        Self { device, width: WIDTH, height: HEIGHT, fps: FPS, bitrate: BITRATE, min_bitrate }
    }
}

impl Default for Microphone {
    /// What an empty `[[microphone]]` means.
    fn default() -> Self {
        Self { device: MicrophoneDevice::Auto, channels: 1, bitrate: OPUS_BITRATE }
    }
}

/// [`BITRATE`] scaled by pixels a second.
fn scaled_bitrate(width: u32, height: u32, fps: u32) -> u32 {
    let rate = |width: u32, height: u32, fps: u32| u64::from(width) * u64::from(height) * u64::from(fps);
    let scaled = u64::from(BITRATE) * rate(width, height, fps) / rate(WIDTH, HEIGHT, FPS);
    scaled.clamp(100_000, 8_000_000) as u32
}

fn camera_device(written: &str) -> Option<CameraDevice> {
    match written {
        "auto" => Some(CameraDevice::Auto),
        "test-pattern" => Some(CameraDevice::TestPattern),
        path if path.starts_with('/') => Some(CameraDevice::Path(PathBuf::from(path))),
        other => {
            other.strip_prefix("card:").filter(|name| !name.is_empty()).map(|name| CameraDevice::Card(name.into()))
        }
    }
}

fn microphone(name: &str, written: &MicrophoneWritten) -> Result<Microphone, Error> {
    let key = |what: &str| format!("microphone {name:?} {what}");
    let unwritten = Microphone::default();
    let channels = within(key("channels"), written.channels, unwritten.channels, 1..=2)?;
    let default = unwritten.bitrate * u32::from(channels);
    let bitrate = within(key("bitrate"), written.bitrate, default, 6_000..=510_000)?;
    let device = match written.device.as_deref().unwrap_or("auto") {
        "auto" => MicrophoneDevice::Auto,
        "tone" => MicrophoneDevice::Tone,
        "" => return Err(wrong(key("device"), "must be auto, tone or an ALSA name (hw:CARD=Device,DEV=0)")),
        alsa => MicrophoneDevice::Alsa(alsa.into()),
    };
    Ok(Microphone { device, channels, bitrate })
}

impl Default for Speaker {
    /// What an empty `[[speaker]]` means.
    fn default() -> Self {
        Self { device: SpeakerDevice::Auto, channels: 2, volume: None }
    }
}

fn speaker(name: &str, written: &SpeakerWritten) -> Result<Speaker, Error> {
    let key = |what: &str| format!("speaker {name:?} {what}");
    let unwritten = Speaker::default();
    let channels = within(key("channels"), written.channels, unwritten.channels, 1..=2)?;
    let device = match written.device.as_deref().unwrap_or("auto") {
        "auto" => SpeakerDevice::Auto,
        "" => return Err(wrong(key("device"), "must be auto or an ALSA name (hw:CARD=Headphones,DEV=0)")),
        alsa => SpeakerDevice::Alsa(alsa.into()),
    };
    let volume = match &written.volume {
        None => None,
        Some(text) => Some(volume(text).ok_or_else(|| {
            let range = "must be 0% to 100%, or -99dB to 30dB on the card's own scale";
            wrong(key("volume"), format!("{text:?} {range}"))
        })?),
    };
    Ok(Speaker { device, channels, volume })
}

fn volume(written: &str) -> Option<Volume> {
    if let Some(percent) = written.strip_suffix('%') {
        return percent.trim().parse().ok().filter(|percent| *percent <= 100).map(Volume::Percent);
    }
    let db: f32 = written.strip_suffix("dB")?.trim().parse().ok()?;
    (-99.0..=30.0).contains(&db).then(|| Volume::MilliBel((db * 100.0).round() as i16))
}

/// The table `[job]` as JSON; dates become strings.
pub(super) fn job_options(table: toml::Table) -> String {
    json(toml::Value::Table(table)).to_string()
}

fn json(value: toml::Value) -> serde_json::Value {
    match value {
        toml::Value::String(text) => text.into(),
        toml::Value::Integer(number) => number.into(),
        toml::Value::Float(number) => number.into(),
        toml::Value::Boolean(flag) => flag.into(),
        toml::Value::Datetime(date) => date.to_string().into(),
        toml::Value::Array(items) => items.into_iter().map(json).collect(),
        toml::Value::Table(table) => {
            serde_json::Value::Object(table.into_iter().map(|(key, value)| (key, json(value))).collect())
        }
    }
}
