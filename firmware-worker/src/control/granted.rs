//! What a job may have of the configured devices.

use super::Format;
use crate::config::{self, Device, DeviceKind};
use serde::{Deserialize, Serialize};

/// A source a job may open.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Granted {
    /// Name in the configuration, e.g. `camera`.
    pub name: String,
    /// What it delivers, as configured: a track can be announced before the device is open, which may settle for less.
    pub format: Format,
}

impl Granted {
    /// `None` for a speaker, which is no source.
    pub fn of(device: &Device) -> Option<Self> {
        let format = match &device.kind {
            DeviceKind::Camera(camera) => Format::H264 {
                width: u16::try_from(camera.width).unwrap_or(u16::MAX),
                height: u16::try_from(camera.height).unwrap_or(u16::MAX),
                milli_fps: camera.fps.saturating_mul(1000),
                bitrate: camera.bitrate,
            },
            DeviceKind::Microphone(microphone) => {
                let config::Microphone { channels, frame_ms, dtx, fec, bitrate, .. } = *microphone;
                Format::Opus { channels, frame_ms, dtx, fec, bitrate }
            }
            DeviceKind::Speaker(_) => return None,
        };
        Some(Self { name: device.name.clone(), format })
    }
}
