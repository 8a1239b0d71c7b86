//! Cameras, microphones, speakers and the entrypoint's own table.

use super::camera_device::FORMS;
use super::meaning::{within, wrong};
use super::{
    Camera, CameraDevice, CameraFormat, CameraWritten, ControlValue, Device, DeviceKind, EncoderWish, Error,
    Microphone, MicrophoneDevice, MicrophoneWritten, OpusApplication, Speaker, SpeakerDevice, SpeakerWritten, Volume,
};
use hal::audio::{Identity, mixer};
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
/// libopus' quality for CPU: 5 to 8 % of a 1 GHz Cortex-A53, and hard to tell from 10 at voice rates.
const OPUS_COMPLEXITY: u8 = 5;
/// Channels of a card that can be chosen from.
const CARD_CHANNELS: u8 = 8;

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
    let device = match written.device.as_deref().unwrap_or("auto") {
        "pipe" => pipe(key, written)?,
        _ if written.command.is_some() => return Err(wrong(key("command"), "is run for device = \"pipe\" alone")),
        _ if written.latency_offset_ms.unwrap_or(0) != 0 => {
            return Err(wrong(key("latency_offset_ms"), "is for device = \"pipe\" alone; nodes stamp their pictures"));
        }
        other => CameraDevice::parse(other).ok_or_else(|| wrong(key("device"), FORMS))?,
    };
    let encoder = written.encoder.unwrap_or_default();
    encoder_fits(&device, encoder).map_err(|why| wrong(key("encoder"), why))?;
    let format = camera_format(written.format.as_deref().unwrap_or("auto"))
        .ok_or_else(|| wrong(key("format"), "must be auto, yuyv, uyvy, nv12, nv16, yu12 or mjpeg"))?;
    if encoder == EncoderWish::Passthrough && format.is_some() {
        return Err(wrong(key("format"), "is of pictures; with encoder = \"passthrough\" leave it out"));
    }
    let turned = match written.rotate.unwrap_or(0) {
        0 => false,
        180 => true,
        other => {
            return Err(wrong(key("rotate"), format!("{other} is not 0 or 180; turn the camera for other angles")));
        }
    };
    // Half a turn exchanges both.
    let (hflip, vflip) = (written.hflip.unwrap_or(false) ^ turned, written.vflip.unwrap_or(false) ^ turned);
    if matches!(device, CameraDevice::Pipe { .. }) && (hflip || vflip) {
        let why = "is passed through as it is written; let the command mirror it (rpicam-vid --hflip --vflip)";
        return Err(wrong(key("hflip, vflip, rotate"), format!("what a pipe gives {why}")));
    }
    let controls = controls(name, written.controls.as_ref())?;
    let warm = written.warm.unwrap_or(unwritten.warm);
    Ok(Camera { device, width, height, fps, bitrate, min_bitrate, format, hflip, vflip, controls, encoder, warm })
}

fn encoder_fits(device: &CameraDevice, encoder: EncoderWish) -> Result<(), &'static str> {
    match (device, encoder) {
        (CameraDevice::TestPattern, EncoderWish::Passthrough) => {
            Err("the test pattern gives no H.264 to pass through; use auto")
        }
        (CameraDevice::Pipe { .. }, EncoderWish::Hardware | EncoderWish::Software) => {
            Err("a pipe is H.264 already; use auto or passthrough")
        }
        _ => Ok(()),
    }
}

/// `Some(None)` for any.
fn camera_format(written: &str) -> Option<Option<CameraFormat>> {
    match written {
        "auto" => Some(None),
        "yuyv" => Some(Some(CameraFormat::Yuyv)),
        "uyvy" => Some(Some(CameraFormat::Uyvy)),
        "nv12" => Some(Some(CameraFormat::Nv12)),
        "nv16" => Some(Some(CameraFormat::Nv16)),
        "yu12" => Some(Some(CameraFormat::Yu12)),
        "mjpeg" => Some(Some(CameraFormat::Mjpeg)),
        _ => None,
    }
}

/// Which controls there are, and their ranges, the driver says when it is opened.
fn controls(name: &str, written: Option<&toml::Table>) -> Result<Vec<(String, ControlValue)>, Error> {
    let one = |(control, value): (&String, &toml::Value)| {
        let value = match value {
            toml::Value::Integer(number) => ControlValue::Number(*number),
            toml::Value::Boolean(on) => ControlValue::Number((*on).into()),
            toml::Value::String(text) => ControlValue::Text(text.clone()),
            other => {
                let key = format!("camera {name:?} controls.{control}");
                return Err(wrong(
                    key,
                    format!("a {} is not a whole number, true, false or a menu's item in quotes", other.type_str()),
                ));
            }
        };
        Ok((control.clone(), value))
    };
    written.into_iter().flatten().map(one).collect()
}

impl Default for Camera {
    /// What an empty `[[camera]]` means.
    fn default() -> Self {
        let (device, min_bitrate) = (CameraDevice::Auto, BITRATE / FLOOR_PART);
        Self {
            device,
            width: WIDTH,
            height: HEIGHT,
            fps: FPS,
            bitrate: BITRATE,
            min_bitrate,
            format: None,
            hflip: false,
            vflip: false,
            controls: Vec::new(),
            encoder: EncoderWish::default(),
            warm: false,
        }
    }
}

impl Default for Microphone {
    /// What an empty `[[microphone]]` means: speech on a small core.
    fn default() -> Self {
        Self {
            device: MicrophoneDevice::Auto,
            channels: 1,
            input_channels: Vec::new(),
            volume: None,
            mute: false,
            bitrate: OPUS_BITRATE,
            frame_ms: crate::media::opus::PACKET_MS,
            dtx: false,
            fec: true,
            complexity: OPUS_COMPLEXITY,
            application: OpusApplication::Voip,
            warm: false,
        }
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
    const EXAMPLE: &str =
        "[\"rpicam-vid\", \"-t\", \"0\", \"--intra\", \"30\", \"--inline\", \"--flush\", \"-n\", \"-o\", \"-\"]";
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

fn microphone(name: &str, written: &MicrophoneWritten) -> Result<Microphone, Error> {
    let key = |what: &str| format!("microphone {name:?} {what}");
    let unwritten = Microphone::default();
    let channels = within(key("channels"), written.channels, unwritten.channels, 1..=2)?;
    let default = unwritten.bitrate * u32::from(channels);
    let frame_ms = written.frame_ms.unwrap_or(unwritten.frame_ms);
    if ![10, 20, 40].contains(&frame_ms) {
        return Err(wrong(key("frame_ms"), format!("{frame_ms} is not 10, 20 or 40")));
    }
    Ok(Microphone {
        device: microphone_device(written.device.as_deref().unwrap_or("auto"))
            .map_err(|why| wrong(key("device"), why))?,
        channels,
        input_channels: input_channels(written.input_channels.as_deref().unwrap_or_default(), channels)
            .map_err(|why| wrong(key("input_channels"), why))?,
        volume: written.volume.as_deref().map(|text| volume(text, key("volume"))).transpose()?,
        mute: written.mute.unwrap_or(unwritten.mute),
        bitrate: within(key("bitrate"), written.bitrate, default, 6_000..=510_000)?,
        frame_ms,
        dtx: written.dtx.unwrap_or(unwritten.dtx),
        fec: written.fec.unwrap_or(unwritten.fec),
        complexity: within(key("complexity"), written.complexity, unwritten.complexity, 0..=10)?,
        // Two channels are wanted for more than speech.
        application: written.application.unwrap_or(match channels {
            1 => unwritten.application,
            _ => OpusApplication::Audio,
        }),
        warm: written.warm.unwrap_or(unwritten.warm),
    })
}

fn microphone_device(written: &str) -> Result<MicrophoneDevice, String> {
    match written {
        "auto" => Ok(MicrophoneDevice::Auto),
        "tone" => Ok(MicrophoneDevice::Tone),
        other => card(other).map(MicrophoneDevice::Card).map_err(|why| format!("{why}; or auto, or tone")),
    }
}

/// A sound card as it is named for good.
fn card(written: &str) -> Result<String, String> {
    let named = Identity::parse(written).map(|identity| identity.to_string());
    named.map_err(|why| {
        format!("{written:?} {why}, or an ALSA name (hw:CARD=Device,DEV=0); `firmware-worker devices` lists them")
    })
}

/// Which of the card's channels are taken, checked as far as that goes without the card.
fn input_channels(written: &[u8], channels: u8) -> Result<Vec<u8>, String> {
    if let Some(other) = written.iter().find(|channel| !(1..=CARD_CHANNELS).contains(*channel)) {
        return Err(format!("{other} is not within 1 to {CARD_CHANNELS}"));
    }
    if written.len() > usize::from(CARD_CHANNELS) {
        return Err(format!("more than {CARD_CHANNELS} channels"));
    }
    if channels == 2 && written.len() > 2 {
        return Err("choose two at most for two channels: the left and the right one".into());
    }
    Ok(written.to_vec())
}

fn volume(text: &str, key: String) -> Result<Volume, Error> {
    match mixer::Volume::parse(text) {
        Some(mixer::Volume::Percent(percent)) => Ok(Volume::Percent(percent)),
        Some(mixer::Volume::Decibel(decibel)) => Ok(Volume::Decibel(decibel)),
        None => Err(wrong(key, format!("{text:?} is neither 0% to 100% nor a number of dB (\"12 dB\")"))),
    }
}

impl Default for Speaker {
    /// What an empty `[[speaker]]` means.
    fn default() -> Self {
        Self { device: SpeakerDevice::Auto, channels: 2, volume: None, mute: false, warm: false }
    }
}

fn speaker(name: &str, written: &SpeakerWritten) -> Result<Speaker, Error> {
    let key = |what: &str| format!("speaker {name:?} {what}");
    let unwritten = Speaker::default();
    let channels = within(key("channels"), written.channels, unwritten.channels, 1..=2)?;
    let device = match written.device.as_deref().unwrap_or("auto") {
        "auto" => SpeakerDevice::Auto,
        other => SpeakerDevice::Card(card(other).map_err(|why| wrong(key("device"), format!("{why}; or auto")))?),
    };
    let volume = written.volume.as_deref().map(|text| volume(text, key("volume"))).transpose()?;
    let (mute, warm) = (written.mute.unwrap_or(unwritten.mute), written.warm.unwrap_or(unwritten.warm));
    Ok(Speaker { device, channels, volume, mute, warm })
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
