//! Configuration in two stages: as written (all optional, unknown keys refused) and as meant (typed, complete).
//! Precedence: flag, environment, file, default.

mod board;
mod camera_device;
mod isolation;
mod layers;
mod limits;
mod meaning;
mod secret_file;
mod sources;
mod syntax;
mod written;

pub use board::{Addresses, Board, BoardWritten, Wifi, WifiWritten};
pub use camera_device::CameraDevice;
pub(crate) use camera_device::names as camera_names;
pub(crate) use isolation::suffice;
pub use isolation::{Isolation, IsolationMode, IsolationWritten};
pub use layers::{
    Defaults, Environment, JobCheck, Outline, check, credentials, devices, load, load_over, moved_secret, parse,
};
pub use limits::MemoryWarning;
pub use protocol::device::encoder::Wish as EncoderWish;
pub use secret_file::{SecretFileError, read_secret};
pub use written::{CameraWritten, MicrophoneWritten, ServerWritten, SpeakerWritten, WorkerWritten, Written};

use protocol::secret::Secret;
use protocol::worker::{self, JobType, Permissions, RestartPolicy, Timeouts};
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// What holds where the configuration of the package's unit says nothing.
pub const UNIT: &str = "/usr/lib/firmware-worker/unit.toml";

/// Why a configuration is refused. Each text names the object and the remedy, and no secret.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be read.
    #[error("{path}: cannot read the configuration: {source}")]
    Read {
        /// File.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Not TOML, or a value of the wrong type.
    #[error("{path}:{line}: {message}")]
    Syntax {
        /// File.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// In plain words.
        message: String,
    },
    /// A key that means nothing.
    #[error("{path}:{line}: unknown key `{key}`; {hint}")]
    UnknownKey {
        /// File.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// As written.
        key: String,
        /// The nearest known key, or all of them.
        hint: String,
    },
    /// A value that cannot be meant.
    #[error("{key}: {why}")]
    Value {
        /// Table and key, behind the file where that holds it.
        key: String,
        /// In plain words.
        why: String,
    },
    /// No URL anywhere.
    #[error(
        "no server URL: set LIVEKIT_URL, pass --url, or write `url` under [server] (wss://your-project.livekit.cloud)"
    )]
    NoUrl,
    /// No credentials, or half of them.
    #[error("no credentials: {0}")]
    NoCredentials(&'static str),
    /// A file with a secret in it.
    #[error(transparent)]
    SecretFile(#[from] SecretFileError),
}

/// Everything the worker needs, complete and checked.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where and as whom to connect.
    pub server: Server,
    /// How to register.
    pub worker: Worker,
    /// Cameras, microphones and speakers.
    pub devices: Vec<Device>,
    /// Limits of child processes.
    pub limits: Limits,
    /// What is taken from child processes.
    pub isolation: Isolation,
    /// Where to serve `/`, `/ready`, `/worker`, `/metrics`; `None` for nowhere.
    pub http: Option<SocketAddr>,
    /// For a flashed board's system.
    pub board: Board,
    /// The table `[job]` as JSON, handed to the entrypoint.
    pub job_options: String,
    /// What the entrypoint makes of it, in a few words; empty if it has not been asked.
    pub job_outline: String,
    /// What is hardly meant so: a key each, and why.
    pub doubts: Vec<String>,
    /// Log level: error, warn, info, debug, trace.
    pub log_level: tracing::Level,
}

impl Config {
    /// Names of the speakers.
    pub fn speakers(&self) -> impl Iterator<Item = &str> {
        let speakers = self.devices.iter().filter(|device| matches!(device.kind, DeviceKind::Speaker(_)));
        speakers.map(|device| device.name.as_str())
    }
}

/// Where and as whom to connect.
#[derive(Clone, Debug)]
pub struct Server {
    /// `ws://`, `wss://`, `http://` or `https://`.
    pub url: String,
    /// How to prove who we are.
    pub credentials: Credentials,
    /// More certificates to trust (PEM file), for servers with a private authority.
    pub ca_file: Option<PathBuf>,
}

/// How to prove who we are. Read again at each connect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Credentials {
    /// Mint a token at each connect.
    Key {
        /// API key.
        key: String,
        /// API secret.
        secret: Secret,
    },
    /// A ready token with `video.agent`.
    Token(Secret),
    /// The same from a file.
    TokenFile(PathBuf),
}

/// How to register.
#[derive(Clone, Debug)]
pub struct Worker {
    /// Empty for automatic dispatch.
    pub agent_name: String,
    /// Empty for none.
    pub deployment: String,
    /// One per worker.
    pub job_type: JobType,
    /// Grants for jobs.
    pub permissions: Permissions,
    /// Slots.
    pub max_jobs: u32,
    /// The server's `agents.target_load`.
    pub target_load: f32,
    /// Drain.
    pub drain_timeout: Duration,
    /// Start of a job process to its readiness.
    pub initialize_timeout: Duration,
    /// Terminate to kill.
    pub shutdown_timeout: Duration,
    /// User runtime silent for this long: job ends FAILED.
    pub unresponsive_timeout: Duration,
    /// What becomes of jobs that fail.
    pub restart: RestartPolicy,
    /// Prewarmed job processes, 0 or 1.
    pub prewarm: u32,
}

impl Worker {
    /// Of a job's process.
    pub fn timeouts(&self) -> Timeouts {
        Timeouts { initialize: self.initialize_timeout, shutdown: self.shutdown_timeout }
    }
}

/// Limits of child processes.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Of a job whose dispatch asks for nothing.
    pub job: worker::Limits,
    /// When its use of memory is told.
    pub job_memory_warning: MemoryWarning,
    /// The most that a dispatch may ask for.
    pub ceiling: worker::Limits,
    /// Of a device owner.
    pub owner: worker::Limits,
    /// Of a camera's command and all that it starts.
    pub command: worker::Limits,
}

/// A configured device.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Device {
    /// Name by which jobs ask for it.
    pub name: String,
    /// What it is.
    pub kind: DeviceKind,
}

/// What a device is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum DeviceKind {
    /// Picture.
    Camera(Camera),
    /// Sound in.
    Microphone(Microphone),
    /// Sound out.
    Speaker(Speaker),
}

impl Device {
    /// It stays open without a job.
    pub fn warm(&self) -> bool {
        match &self.kind {
            DeviceKind::Camera(camera) => camera.warm,
            DeviceKind::Microphone(microphone) => microphone.warm,
            DeviceKind::Speaker(speaker) => speaker.warm,
        }
    }
}

/// A camera.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Camera {
    /// Which one.
    pub device: CameraDevice,
    /// Wanted pixels.
    pub width: u32,
    /// Wanted pixels.
    pub height: u32,
    /// Wanted frames a second.
    pub fps: u32,
    /// Bit/s at most.
    pub bitrate: u32,
    /// Bit/s at least, however slow the slowest reader.
    pub min_bitrate: u32,
    /// The only format to take, `None` for any.
    pub format: Option<CameraFormat>,
    /// Left and right are exchanged.
    pub hflip: bool,
    /// Top and bottom are exchanged.
    pub vflip: bool,
    /// The driver's controls by their names, set at each start.
    pub controls: Vec<(String, ControlValue)>,
    /// What makes H.264 of its pictures.
    pub encoder: EncoderWish,
    /// Stays open without a job.
    pub warm: bool,
}

/// A format of pictures, for cameras of which one is not to be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CameraFormat {
    /// 4:2:2 packed.
    Yuyv,
    /// 4:2:2 packed, chroma first.
    Uyvy,
    /// 4:2:0, two planes.
    Nv12,
    /// 4:2:2, two planes.
    Nv16,
    /// 4:2:0, three planes.
    Yu12,
    /// JPEG pictures.
    Mjpeg,
}

/// What a control of a camera is set to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum ControlValue {
    /// A number, a switch as 0 or 1, or a menu's index.
    Number(i64),
    /// A menu's item by its text.
    Text(String),
}

/// A microphone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Microphone {
    /// Which one.
    pub device: MicrophoneDevice,
    /// 1 or 2.
    pub channels: u8,
    /// Channels of the card that are taken, from 1; empty for all.
    pub input_channels: Vec<u8>,
    /// Capture volume of the card's mixer; `None` leaves it, unless it is 0.
    pub volume: Option<Volume>,
    /// The mixer's capture switch is off.
    pub mute: bool,
    /// Opus bit/s.
    pub bitrate: u32,
    /// Stays open without a job.
    pub warm: bool,
    /// Length of an Opus packet: 10, 20 or 40 ms.
    pub frame_ms: u8,
    /// Nothing is sent while it is quiet.
    pub dtx: bool,
    /// Opus packets carry the one before them, for receivers that lost it.
    pub fec: bool,
    /// libopus' quality for CPU, 0 to 10.
    pub complexity: u8,
    /// What Opus is tuned for.
    pub application: OpusApplication,
}

/// A volume of a mixer.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum Volume {
    /// Of the element's range.
    Percent(u8),
    /// As the element counts them.
    Decibel(f32),
}

impl From<Volume> for hal::audio::mixer::Volume {
    fn from(volume: Volume) -> Self {
        match volume {
            Volume::Percent(percent) => Self::Percent(percent),
            Volume::Decibel(decibel) => Self::Decibel(decibel),
        }
    }
}

/// What Opus is tuned for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OpusApplication {
    /// Speech.
    Voip,
    /// Everything else.
    Audio,
    /// 4 ms less delay, and neither speech modes nor error correction.
    LowDelay,
}

/// Which microphone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum MicrophoneDevice {
    /// The first card that captures, else the tone.
    Auto,
    /// A sine of 440 Hz.
    Tone,
    /// As `devices` names it (`usb:...`, `usb-port:...`, `path:...`, `card:...`), or an ALSA name: `hw:CARD=Loopback,DEV=1`, `hw:0,0`.
    Card(String),
}

/// A speaker.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Speaker {
    /// Which one.
    pub device: SpeakerDevice,
    /// Channels wanted of the card: 1 or 2.
    pub channels: u8,
    /// Set when the card is opened; `None` leaves it, unless it is 0.
    pub volume: Option<Volume>,
    /// The switches of the card's outputs are off.
    pub mute: bool,
    /// Stays open without a job.
    pub warm: bool,
}

/// Which speaker.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum SpeakerDevice {
    /// The first card that plays and is no display and no digital connector.
    Auto,
    /// As `devices` names it (`usb:...`, `usb-port:...`, `path:...`, `card:...`), or an ALSA name: `hw:CARD=Headphones,DEV=0`, `hw:0,0`.
    Card(String),
}

#[cfg(test)]
mod tests;
