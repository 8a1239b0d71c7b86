//! The configuration as written: every key optional, unknown keys refused. File, environment and flags all become
//! this and are laid over each other.

use super::{BoardWritten, EncoderWish, IsolationWritten, OpusApplication, WifiWritten};
use protocol::room::Source;
use protocol::secret::Secret;
use protocol::worker::JobType;
use serde::Deserialize;
use std::path::PathBuf;

/// One layer of configuration.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Written {
    /// `[server]`
    pub server: ServerWritten,
    /// `[worker]`
    pub worker: WorkerWritten,
    /// `[limits]`
    pub limits: LimitsWritten,
    /// `[isolation]`
    pub isolation: IsolationWritten,
    /// `[http]`
    pub http: HttpWritten,
    /// `[log]`
    pub log: LogWritten,
    /// `[[camera]]`
    pub camera: Option<Vec<CameraWritten>>,
    /// `[[microphone]]`
    pub microphone: Option<Vec<MicrophoneWritten>>,
    /// `[[speaker]]`
    pub speaker: Option<Vec<SpeakerWritten>>,
    /// `[job]`: for the entrypoint, which may have a look before there is a job.
    pub job: Option<toml::Table>,
    /// `[board]`: for a flashed board's system; its secrets are the worker's.
    pub board: Option<BoardWritten>,
    /// `[wifi]`: for a flashed board's system.
    pub wifi: Option<WifiWritten>,
}

/// `[server]`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ServerWritten {
    /// `ws://`, `wss://`, `http://` or `https://`.
    pub url: Option<String>,
    /// API key.
    pub api_key: Option<String>,
    /// File with the API secret.
    pub api_secret_file: Option<PathBuf>,
    /// The secret itself: from the environment only, so that no configuration file holds one.
    #[serde(skip)]
    pub api_secret: Option<Secret>,
    /// File with a ready token.
    pub token_file: Option<PathBuf>,
    /// The token itself: from the environment only.
    #[serde(skip)]
    pub token: Option<Secret>,
    /// PEM file with more certificates to trust.
    pub ca_file: Option<PathBuf>,
}

/// `[worker]`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WorkerWritten {
    /// For explicit dispatch.
    pub agent_name: Option<String>,
    /// Deployment label.
    pub deployment: Option<String>,
    /// `room`, `publisher` or `participant`.
    pub job_type: Option<JobType>,
    /// What jobs may do.
    pub permissions: PermissionsWritten,
    /// Slots.
    pub max_jobs: Option<u32>,
    /// The server's `agents.target_load`.
    pub target_load: Option<f32>,
    /// Seconds.
    pub drain_timeout_s: Option<u64>,
    /// Seconds that who stops the worker gives it before killing it, 0 for any; said by who wrote its unit.
    pub stop_timeout_s: Option<u64>,
    /// Seconds.
    pub initialize_timeout_s: Option<u64>,
    /// Seconds.
    pub shutdown_timeout_s: Option<u64>,
    /// Seconds.
    pub unresponsive_timeout_s: Option<u64>,
    /// 0 or 1.
    pub prewarm: Option<u32>,
}

/// `[worker.permissions]`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PermissionsWritten {
    /// Tracks of others.
    pub subscribe: Option<bool>,
    /// Own tracks.
    pub publish: Option<bool>,
    /// Of which sources.
    pub sources: Option<Vec<Source>>,
    /// Data packets.
    pub publish_data: Option<bool>,
    /// Own metadata and attributes.
    pub update_metadata: Option<bool>,
    /// Not shown to others.
    pub hidden: Option<bool>,
}

/// `[limits]`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LimitsWritten {
    /// MiB a job may use, 0 for any.
    pub job_memory_mib: Option<u64>,
    /// MiB a job may use before that is told, 0 for any.
    pub job_memory_warn_mib: Option<u64>,
    /// Threads and processes a job may have.
    pub job_pids: Option<u32>,
    /// Percent of one core a job may use.
    pub job_cpu_percent: Option<u32>,
    /// MiB a dispatch may ask for.
    pub max_job_memory_mib: Option<u64>,
    /// Threads and processes a dispatch may ask for.
    pub max_job_pids: Option<u32>,
    /// Percent of one core a dispatch may ask for.
    pub max_job_cpu_percent: Option<u32>,
    /// MiB a device owner may use.
    pub owner_memory_mib: Option<u64>,
    /// MiB a camera's command may use.
    pub command_memory_mib: Option<u64>,
}

/// `[http]`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HttpWritten {
    /// Address and port, or `off`.
    pub listen: Option<String>,
}

/// `[log]`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogWritten {
    /// `error`, `warn`, `info`, `debug` or `trace`.
    pub level: Option<String>,
}

/// `[[camera]]`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CameraWritten {
    /// By which jobs ask for it.
    pub name: Option<String>,
    /// `auto`, `test-pattern`, a path, `usb:VVVV:PPPP:SERIAL`, `usb-port:1-1.2`, `card:NAME`, or `pipe`.
    pub device: Option<String>,
    /// Pixels.
    pub width: Option<u32>,
    /// Pixels.
    pub height: Option<u32>,
    /// Frames a second.
    pub fps: Option<u32>,
    /// Bit/s at most.
    pub bitrate: Option<u32>,
    /// Bit/s at least.
    pub min_bitrate: Option<u32>,
    /// `auto`, or the only format to take: `yuyv`, `uyvy`, `nv12`, `nv16`, `yu12` or `mjpeg`.
    pub format: Option<String>,
    /// Left and right are exchanged.
    pub hflip: Option<bool>,
    /// Top and bottom are exchanged.
    pub vflip: Option<bool>,
    /// Degrees, 0 or 180.
    pub rotate: Option<u32>,
    /// The driver's controls by their names.
    pub controls: Option<toml::Table>,
    /// `auto`, `hardware`, `passthrough` or `software`.
    pub encoder: Option<EncoderWish>,
    /// For a pipe: program and arguments.
    pub command: Option<Vec<String>>,
    /// For a pipe: ms from the capture of a picture to its first byte.
    pub latency_offset_ms: Option<u64>,
    /// Stays open without a job.
    pub warm: Option<bool>,
}

/// `[[microphone]]`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MicrophoneWritten {
    /// By which jobs ask for it.
    pub name: Option<String>,
    /// `auto`, `tone`, `usb:...`, `usb-port:...`, `card:...`, or an ALSA name.
    pub device: Option<String>,
    /// 1 or 2.
    pub channels: Option<u8>,
    /// Channels of the card, from 1.
    pub input_channels: Option<Vec<u8>>,
    /// `80%` or `12 dB`.
    pub volume: Option<String>,
    /// Capture switched off.
    pub mute: Option<bool>,
    /// Opus bit/s.
    pub bitrate: Option<u32>,
    /// Stays open without a job.
    pub warm: Option<bool>,
    /// 10, 20 or 40.
    pub frame_ms: Option<u8>,
    /// Discontinuous transmission.
    pub dtx: Option<bool>,
    /// In-band error correction.
    pub fec: Option<bool>,
    /// 0 to 10.
    pub complexity: Option<u8>,
    /// `voip`, `audio` or `lowdelay`.
    pub application: Option<OpusApplication>,
}

/// `[[speaker]]`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SpeakerWritten {
    /// By which jobs ask for it.
    pub name: Option<String>,
    /// `auto`, `usb:...`, `usb-port:...`, `card:...`, or an ALSA name.
    pub device: Option<String>,
    /// 1 or 2.
    pub channels: Option<u8>,
    /// `70%` or `-12dB`.
    pub volume: Option<String>,
    /// Switches the card's outputs off.
    pub mute: Option<bool>,
    /// Stays open without a job.
    pub warm: Option<bool>,
}

impl Written {
    /// Lays this layer over a lower one. Lists and `[job]` are taken whole.
    pub fn over(self, lower: Self) -> Self {
        Self {
            server: self.server.over(lower.server),
            worker: self.worker.over(lower.worker),
            limits: LimitsWritten {
                job_memory_mib: self.limits.job_memory_mib.or(lower.limits.job_memory_mib),
                job_memory_warn_mib: self.limits.job_memory_warn_mib.or(lower.limits.job_memory_warn_mib),
                job_pids: self.limits.job_pids.or(lower.limits.job_pids),
                job_cpu_percent: self.limits.job_cpu_percent.or(lower.limits.job_cpu_percent),
                max_job_memory_mib: self.limits.max_job_memory_mib.or(lower.limits.max_job_memory_mib),
                max_job_pids: self.limits.max_job_pids.or(lower.limits.max_job_pids),
                max_job_cpu_percent: self.limits.max_job_cpu_percent.or(lower.limits.max_job_cpu_percent),
                owner_memory_mib: self.limits.owner_memory_mib.or(lower.limits.owner_memory_mib),
                command_memory_mib: self.limits.command_memory_mib.or(lower.limits.command_memory_mib),
            },
            isolation: self.isolation.over(lower.isolation),
            http: HttpWritten { listen: self.http.listen.or(lower.http.listen) },
            log: LogWritten { level: self.log.level.or(lower.log.level) },
            camera: self.camera.or(lower.camera),
            microphone: self.microphone.or(lower.microphone),
            speaker: self.speaker.or(lower.speaker),
            job: self.job.or(lower.job),
            board: self.board.or(lower.board),
            wifi: self.wifi.or(lower.wifi),
        }
    }
}

impl ServerWritten {
    /// A token here replaces a key below and the other way round; key and secret may come from different layers.
    fn over(self, mut lower: Self) -> Self {
        if self.has_token() || self.has_key() {
            (lower.token, lower.token_file) = (None, None);
        }
        if self.has_token() {
            lower.api_key = None;
        }
        if self.has_token() || self.has_secret() {
            (lower.api_secret, lower.api_secret_file) = (None, None);
        }
        Self {
            url: self.url.or(lower.url),
            api_key: self.api_key.or(lower.api_key),
            api_secret_file: self.api_secret_file.or(lower.api_secret_file),
            api_secret: self.api_secret.or(lower.api_secret),
            token_file: self.token_file.or(lower.token_file),
            token: self.token.or(lower.token),
            ca_file: self.ca_file.or(lower.ca_file),
        }
    }

    pub(super) fn has_token(&self) -> bool {
        self.token.is_some() || self.token_file.is_some()
    }

    pub(super) fn has_key(&self) -> bool {
        self.api_key.is_some() || self.has_secret()
    }

    fn has_secret(&self) -> bool {
        self.api_secret.is_some() || self.api_secret_file.is_some()
    }
}

impl WorkerWritten {
    fn over(self, lower: Self) -> Self {
        Self {
            agent_name: self.agent_name.or(lower.agent_name),
            deployment: self.deployment.or(lower.deployment),
            job_type: self.job_type.or(lower.job_type),
            permissions: self.permissions.over(lower.permissions),
            max_jobs: self.max_jobs.or(lower.max_jobs),
            target_load: self.target_load.or(lower.target_load),
            drain_timeout_s: self.drain_timeout_s.or(lower.drain_timeout_s),
            stop_timeout_s: self.stop_timeout_s.or(lower.stop_timeout_s),
            initialize_timeout_s: self.initialize_timeout_s.or(lower.initialize_timeout_s),
            shutdown_timeout_s: self.shutdown_timeout_s.or(lower.shutdown_timeout_s),
            unresponsive_timeout_s: self.unresponsive_timeout_s.or(lower.unresponsive_timeout_s),
            prewarm: self.prewarm.or(lower.prewarm),
        }
    }
}

impl PermissionsWritten {
    fn over(self, lower: Self) -> Self {
        Self {
            subscribe: self.subscribe.or(lower.subscribe),
            publish: self.publish.or(lower.publish),
            sources: self.sources.or(lower.sources),
            publish_data: self.publish_data.or(lower.publish_data),
            update_metadata: self.update_metadata.or(lower.update_metadata),
            hidden: self.hidden.or(lower.hidden),
        }
    }
}
