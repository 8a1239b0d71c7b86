//! The kinds of children.

use super::cgroup::Role;
use crate::config::{Device, DeviceKind, MicrophoneDevice};

/// What a child needs, and so may keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// The network, and what the configuration gives it.
    Job,
    /// What tells one device from another.
    Camera,
    /// The same, and sound cards.
    Sound,
    /// Nothing.
    Bare,
}

impl Kind {
    pub(super) fn of(device: &Device) -> Self {
        match &device.kind {
            DeviceKind::Camera(_) => Self::Camera,
            DeviceKind::Microphone(microphone) if microphone.device == MicrophoneDevice::Tone => Self::Bare,
            DeviceKind::Microphone(_) | DeviceKind::Speaker(_) => Self::Sound,
        }
    }

    /// What it gets when there is not enough for all.
    pub(super) fn role(self) -> Role {
        match self {
            Self::Job => Role::Job,
            Self::Camera | Self::Sound | Self::Bare => Role::Owner,
        }
    }
}
