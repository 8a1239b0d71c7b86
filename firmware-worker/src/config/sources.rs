//! Cameras, microphones and the entrypoint's own table.

use super::meaning::{within, wrong};
use super::{
    Camera, CameraDevice, CameraWritten, Device, DeviceKind, EncoderWish, Error, Microphone, MicrophoneDevice,
    MicrophoneWritten,
};
use std::path::PathBuf;
use std::time::Duration;

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

/// Without any device in the configuration there is one camera and one microphone; with any, only those.
pub(super) fn devices(
    cameras: Option<Vec<CameraWritten>>,
    microphones: Option<Vec<MicrophoneWritten>>,
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
    let device = match written.device.as_deref().unwrap_or("auto") {
        "pipe" => pipe(key, written)?,
        _ if written.command.is_some() => return Err(wrong(key("command"), "is run for device = \"pipe\" alone")),
        _ if written.latency_offset_ms.unwrap_or(0) != 0 => {
            return Err(wrong(key("latency_offset_ms"), "is for device = \"pipe\" alone; nodes stamp their pictures"));
        }
        other => camera_device(other).ok_or_else(|| {
            wrong(key("device"), "must be auto, test-pattern, a path (/dev/video0), card:NAME or pipe")
        })?,
    };
    let encoder = written.encoder.unwrap_or_default();
    match (&device, encoder) {
        (CameraDevice::TestPattern, EncoderWish::Passthrough) => {
            return Err(wrong(key("encoder"), "the test pattern gives no H.264 to pass through; use auto"));
        }
        (CameraDevice::Pipe { .. }, EncoderWish::Hardware | EncoderWish::Software) => {
            return Err(wrong(key("encoder"), "a pipe is H.264 already; use auto or passthrough"));
        }
        _ => {}
    }
    Ok(Camera { device, width, height, fps, bitrate, min_bitrate, encoder })
}

impl Default for Camera {
    /// What an empty `[[camera]]` means.
    fn default() -> Self {
        let (device, min_bitrate) = (CameraDevice::Auto, BITRATE / FLOOR_PART);
        let encoder = EncoderWish::default();
        Self { device, width: WIDTH, height: HEIGHT, fps: FPS, bitrate: BITRATE, min_bitrate, encoder }
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

/// Far beyond any camera's delay.
const MAX_LATENCY_OFFSET_MS: u64 = 2_000;

/// Bytes of a command in all: a setup message holds it many times.
const MAX_COMMAND: usize = 4096;

fn pipe(key: impl Fn(&str) -> String, written: &CameraWritten) -> Result<CameraDevice, Error> {
    const EXAMPLE: &str = "[\"rpicam-vid\", \"-t\", \"0\", \"--inline\", \"--flush\", \"-n\", \"-o\", \"-\"]";
    let command = written.command.clone().unwrap_or_default();
    if command.first().is_none_or(String::is_empty) {
        return Err(wrong(key("command"), format!("must name what writes H.264 to its standard output: {EXAMPLE}")));
    }
    if command.iter().any(|word| word.contains('\0')) || command.iter().map(String::len).sum::<usize>() > MAX_COMMAND {
        return Err(wrong(key("command"), format!("must be up to {MAX_COMMAND} bytes without NUL")));
    }
    let offset = within(key("latency_offset_ms"), written.latency_offset_ms, 0, 0..=MAX_LATENCY_OFFSET_MS)?;
    Ok(CameraDevice::Pipe { command, latency_offset: Duration::from_millis(offset) })
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
