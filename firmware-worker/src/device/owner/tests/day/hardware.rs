//! The device of a day, and how it fails.

use super::Dice;
use crate::config::{Camera, CameraDevice, Device, DeviceKind, Microphone, MicrophoneDevice, Speaker, SpeakerDevice};
use hal::audio::fake as capture;
use hal::audio::playback::fake as playback;
use hal::video::fake::{self, Coding, Fault, Frame, Script, Stamp};
use hal::video::{Mode, PixelFormat};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::{Arc, Mutex};

const CAMERA: &str = "/dev/video70";
const ENCODER: &str = "/dev/video71";
const MICROPHONE: &str = "a microphone for a day";
const SPEAKER: &str = "a speaker for a day";

const ERRNOS: [i32; 10] = [
    libc::EIO,
    libc::EPIPE,
    libc::ESTRPIPE,
    libc::ENODEV,
    libc::EBUSY,
    libc::ENOSPC,
    libc::EINVAL,
    libc::ENOMEM,
    libc::EAGAIN,
    libc::EACCES,
];
const CALLS: [&str; 16] = [
    "VIDIOC_QUERYCAP",
    "VIDIOC_ENUM_FMT",
    "VIDIOC_S_FMT",
    "VIDIOC_S_PARM",
    "VIDIOC_REQBUFS",
    "VIDIOC_QUERYBUF",
    "VIDIOC_EXPBUF",
    "VIDIOC_QBUF",
    "VIDIOC_DQBUF",
    "VIDIOC_STREAMON",
    "VIDIOC_STREAMOFF",
    "VIDIOC_SUBSCRIBE_EVENT",
    "VIDIOC_S_EXT_CTRLS",
    "mmap",
    "poll",
    "fcntl",
];
/// A call fails the first time or later, at most this often.
const MAX_NTH: u64 = 12;

/// One of each kind.
#[derive(Debug)]
pub(super) enum Hardware {
    Camera { camera: fake::Device, encoder: fake::Device },
    Microphone,
    Speaker(playback::Card),
}

impl Hardware {
    pub(super) fn camera() -> Self {
        let mode = Mode { format: PixelFormat::Yuyv, width: 64, height: 48, milli_fps: 1_000_000 };
        let dice = Arc::new(Mutex::new(Dice(2)));
        let frames = move |_| frame(&mut dice.lock().unwrap());
        // Where the bus has no room for the first.
        let lighter = Mode { width: 32, height: 24, ..mode };
        let script = Script { modes: vec![mode, lighter], paced: true, frames: Box::new(frames), ..Script::default() };
        Self::Camera { camera: fake::Camera::device(script), encoder: fake::Encoder::device(Coding::default()) }
    }

    pub(super) fn microphone() -> Self {
        Self::Microphone
    }

    pub(super) fn speaker() -> Self {
        Self::Speaker(playback::Card::plug_in(SPEAKER, 0.0))
    }

    /// As it is configured.
    pub(super) fn device(&self) -> Device {
        let (name, kind) = match self {
            Self::Camera { .. } => {
                let device = CameraDevice::Path(CAMERA.into());
                ("camera", DeviceKind::Camera(Camera { device, width: 64, height: 48, fps: 1000, ..Camera::default() }))
            }
            Self::Microphone => {
                let device = MicrophoneDevice::Card(MICROPHONE.into());
                ("microphone", DeviceKind::Microphone(Microphone { device, frame_ms: 10, ..Microphone::default() }))
            }
            Self::Speaker(_) => {
                let device = SpeakerDevice::Card(SPEAKER.into());
                ("speaker", DeviceKind::Speaker(Speaker { device, ..Speaker::default() }))
            }
        };
        Device { name: name.into(), kind }
    }

    /// A camera's node, and now and then an encoder's.
    pub(super) fn nodes(&self, dice: &mut Dice) -> Option<Vec<OwnedFd>> {
        let mut nodes = vec![hal::video::open(Path::new(CAMERA)).ok()?];
        if dice.one_in(6) {
            nodes.extend(hal::video::open(Path::new(ENCODER)));
        }
        Some(nodes)
    }

    /// It works, as far as frames go.
    pub(super) fn heal(&mut self, dice: &mut Dice) {
        match self {
            Self::Camera { camera, encoder } => {
                camera.heal();
                encoder.heal();
                camera.plug_in(CAMERA);
                encoder.plug_in(ENCODER);
            }
            Self::Microphone if capture::heal(MICROPHONE) => {}
            Self::Microphone => capture::plug_in(MICROPHONE, card(dice)),
            Self::Speaker(card) => {
                card.unplug(false);
                card.heal();
            }
        }
    }

    /// One call will fail.
    pub(super) fn fail(&mut self, dice: &mut Dice) {
        let errno = dice.of(&ERRNOS);
        match self {
            Self::Camera { camera, encoder } => {
                let fault = Fault { call: dice.of(&CALLS), nth: 1 + dice.below(MAX_NTH) as u32, errno };
                if dice.one_in(4) { encoder.fail(fault) } else { camera.fail(fault) }
            }
            Self::Microphone => {
                let fault = match dice.below(8) {
                    0 => capture::Fault::Short(dice.below(480) as usize),
                    _ => capture::Fault::Errno(errno),
                };
                capture::fail(MICROPHONE, dice.of(&capture::Call::ALL), fault);
            }
            Self::Speaker(card) => card.fail(dice.of(&playback::Call::ALL), errno),
        }
    }

    pub(super) fn unplug(&mut self) {
        match self {
            Self::Camera { .. } => fake::unplug(CAMERA),
            Self::Microphone => capture::unplug(MICROPHONE),
            Self::Speaker(card) => card.unplug(true),
        }
    }

    /// Nobody has it open. What it has played is forgotten.
    pub(super) fn is_unused(&self) -> bool {
        match self {
            Self::Camera { camera, encoder } => (camera.in_use(), encoder.in_use()) == ((0, 0), (0, 0)),
            Self::Microphone => capture::in_use(MICROPHONE) == 0,
            Self::Speaker(card) => {
                card.take_played();
                card.in_use() == 0
            }
        }
    }
}

/// Mostly a good one.
fn frame(dice: &mut Dice) -> Frame {
    let picture = |stamp, lost, damaged| Frame::Picture { bytes: None, stamp, lost, damaged };
    match dice.below(400) {
        0..2 => Frame::Stopped,
        2 => Frame::Changed,
        3..8 => Frame::Spurious,
        8..12 => Frame::of(Vec::new()),
        12..16 => picture(Stamp::FromNow(3_600_000_000_000), 0, false),
        16..20 => picture(Stamp::FromNow(-3_600_000_000_000), 0, false),
        20..24 => picture(Stamp::At(0), 0, false),
        24..28 => picture(Stamp::Unknown, 0, false),
        28..32 => picture(Stamp::Now, u32::MAX, false),
        32..36 => picture(Stamp::Now, dice.below(1 << 32) as u32, false),
        36..40 => picture(Stamp::Now, 0, true),
        _ => Frame::default(),
    }
}

fn card(dice: &mut Dice) -> capture::Script {
    let rate = dice.of(&[48_000, 44_100, 16_000]);
    capture::Script { rates: vec![rate], time: capture::Time::Real, ..capture::Script::default() }
}
