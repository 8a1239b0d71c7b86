//! `check`: what the worker would do with a configuration.

use super::arguments::Settings;
use super::{config_file, configuration_error, environment, load, load_with, since_1970};
use crate::config::{
    self, CameraDevice, Config, Credentials, Device, DeviceKind, Limits, MicrophoneDevice, Outline, SpeakerDevice,
    Volume, read_secret,
};
use crate::net::shown;
use crate::supervisor;
use hal::audio::{Card, Error, Identity, Use, auto, find};
use hal::video::Camera;
use protocol::secret::Secret;
use protocol::worker::RestartPolicy;
use std::fmt::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

pub(super) fn print(
    mut settings: Settings,
    file: Option<PathBuf>,
    handover: Option<i32>,
    entrypoint: Outline,
) -> ExitCode {
    settings.config = file.or(settings.config);
    let path = config_file(settings.config.as_deref());
    let mut loaded = load(settings.clone(), false, entrypoint);
    // The rest of a file that was in a board can be judged without its secret.
    let moved = match &loaded {
        Err(config::Error::NoCredentials(_)) => path.as_deref().and_then(config::moved_secret),
        _ => None,
    };
    if let Some(moved) = moved {
        let with = |name: &str| if name == moved { Some("in the board".into()) } else { environment(name) };
        loaded = load_with(settings, &with, false, entrypoint);
    }
    match (loaded, handover) {
        (Ok(config), Some(number)) => understands(&config, number),
        (Ok(config), None) => {
            let file = path.map_or_else(|| "no file, defaults".into(), |path| path.display().to_string());
            let board = Board { cameras: hal::video::list(), cards: hal::audio::list() };
            let credentials = credentials(&config.server.credentials, moved.is_some());
            print!("{file}: good\n{}", describe(&config, &credentials, &board));
            for warning in config.doubts.iter().cloned().chain(unfit(&config.server.credentials)) {
                println!("WARNING     {warning}");
            }
            ExitCode::SUCCESS
        }
        (Err(error), _) => configuration_error(&error),
    }
}

/// As a worker reads it again.
pub(super) fn judge(settings: Settings, development: bool, entrypoint: Outline) -> ExitCode {
    // The last line is what is told, and not a trace.
    std::panic::set_hook(Box::new(|panic| eprintln!("{panic}")));
    match load(settings, development, entrypoint) {
        Ok(config) => {
            println!("{}", config.job_outline);
            ExitCode::SUCCESS
        }
        Err(error) => configuration_error(&error),
    }
}

fn understands(config: &Config, number: i32) -> ExitCode {
    match supervisor::check_handover(config, number) {
        Ok(words) => {
            println!("{words}");
            ExitCode::SUCCESS
        }
        Err(why) => {
            eprintln!("firmware-worker: {why}");
            ExitCode::FAILURE
        }
    }
}

/// What is there to be found.
struct Board {
    cameras: Vec<Camera>,
    cards: Vec<Card>,
}

fn describe(config: &Config, credentials: &str, board: &Board) -> String {
    let mut out = String::new();
    let worker = &config.worker;
    let dispatch = match worker.agent_name.as_str() {
        "" => "dispatched into every new room".to_owned(),
        name => format!("dispatched by the name {name:?}"),
    };
    let kind = format!("{:?}", worker.job_type).to_lowercase();
    let http = config.http.map_or_else(|| "off".into(), |address| format!("http://{address}"));
    // Writing to a string cannot fail.
    let _ = writeln!(out, "server      {}{}", shown(&config.server.url), unencrypted(&config.server.url));
    let _ = writeln!(out, "as          {credentials}");
    let _ = writeln!(out, "jobs        {kind} jobs, {dispatch}, at most {} at a time", worker.max_jobs);
    for device in &config.devices {
        let _ = writeln!(out, "{}", describe_device(device, board));
    }
    if !config.job_outline.is_empty() {
        let _ = writeln!(out, "a job       {}", config.job_outline);
    }
    let _ = writeln!(out, "limits      {}", limits(&config.limits));
    let failure = match worker.restart {
        RestartPolicy::Never => "ends",
        RestartPolicy::OnFailure => "is started again, 3 times in 10 minutes at most",
    };
    let _ = writeln!(out, "failing     a job that fails {failure}");
    let _ = writeln!(out, "stopping    waits {} for running jobs, then ends them", rounded(worker.drain_timeout));
    let _ = writeln!(out, "operators   {http}");
    out
}

fn limits(limits: &Limits) -> String {
    let mib = |bytes: Option<u64>| bytes.map_or_else(|| "any memory".into(), |bytes| format!("{} MiB", bytes >> 20));
    let threads = limits.job.pids.map_or_else(String::new, |pids| format!(" and {pids} threads"));
    let cpu = limits.job.cpu_percent.map_or_else(String::new, |percent| format!(" at {percent} % of a core"));
    let (job, owner, command) = (mib(limits.job.memory), mib(limits.owner.memory), mib(limits.command.memory));
    format!("job {job}{threads}{cpu}, device owner {owner}, a camera's command {command}, where cgroups allow")
}

fn unencrypted(url: &str) -> &'static str {
    if url.starts_with("ws://") || url.starts_with("http://") { "  (not encrypted)" } else { "" }
}

fn credentials(credentials: &Credentials, moved: bool) -> String {
    match credentials {
        Credentials::Key { key, .. } if moved => format!("API key {key} with the secret that its board keeps"),
        Credentials::Key { key, .. } => format!("API key {key} with its secret; makes its own tokens"),
        Credentials::Token(_) if moved => "the token that its board keeps".into(),
        Credentials::Token(token) => format!("a token, {}", validity(token)),
        Credentials::TokenFile(path) => match read_secret(path) {
            Ok(token) => format!("token in {}, {}", path.display(), validity(&token)),
            Err(error) => error.to_string(),
        },
    }
}

/// Why the server would not register this worker, as far as the token tells.
fn unfit(credentials: &Credentials) -> Option<String> {
    let token = match credentials {
        Credentials::Key { .. } => return None,
        Credentials::Token(token) => token.clone(),
        Credentials::TokenFile(path) => read_secret(path).ok()?,
    };
    // One that a board keeps, or that is no token, is told above.
    let claims = protocol::token::inspect(&token).ok()?;
    claims.unfit_for_worker(since_1970()).map(|unfit| unfit.to_string())
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
        seconds @ 0..120 => format!("{seconds} seconds"),
        seconds @ 120..7200 => format!("{} minutes", seconds / 60),
        seconds @ 7200..172_800 => format!("{} hours", seconds / 3600),
        seconds => format!("{} days", seconds / 86_400),
    }
}

fn describe_device(device: &Device, board: &Board) -> String {
    let name = &device.name;
    match &device.kind {
        DeviceKind::Camera(camera) => {
            let which = board.camera(&camera.device);
            let (low, high) = (camera.min_bitrate / 1000, camera.bitrate / 1000);
            let (width, height, fps) = (camera.width, camera.height, camera.fps);
            format!("camera      {name}: {which}, {width}x{height}@{fps}, {low} to {high} kbit/s")
        }
        DeviceKind::Microphone(microphone) => {
            let which = board.microphone(&microphone.device);
            let channels = if microphone.channels == 1 { "mono" } else { "stereo" };
            let (bitrate, frame_ms) = (microphone.bitrate / 1000, microphone.frame_ms);
            format!("microphone  {name}: {which}, {channels}, {bitrate} kbit/s in packets of {frame_ms} ms")
        }
        DeviceKind::Speaker(speaker) => {
            let which = board.speaker(&speaker.device);
            let channels = if speaker.channels == 1 { "mono" } else { "stereo" };
            let volume = match speaker.volume {
                None => "volume as it is".into(),
                Some(Volume::Percent(percent)) => format!("volume {percent} %"),
                Some(Volume::Decibel(value)) => format!("volume {value} dB"),
            };
            let muted = if speaker.mute { ", muted" } else { "" };
            format!("speaker     {name}: {which}, {channels}, {volume}{muted}")
        }
    }
}

impl Board {
    /// What the configured camera is on this board, now.
    fn camera(&self, wanted: &CameraDevice) -> String {
        let shown = |camera: &Camera| format!("{} ({})", camera.path.display(), camera.card);
        match wanted {
            CameraDevice::TestPattern => "test pattern".into(),
            CameraDevice::Pipe { command, latency_offset } => {
                let name = command.first().map_or("", String::as_str);
                format!("pipe of {name:?}, pictures taken {} ms before they come", latency_offset.as_millis())
            }
            CameraDevice::Auto => match wanted.find(&self.cameras) {
                Ok(camera) => shown(camera),
                Err(why) => format!("test pattern, as {why}"),
            },
            CameraDevice::Path(path) => match wanted.find(&self.cameras) {
                Ok(camera) => format!("{} ({})", path.display(), camera.card),
                Err(_) => format!("{}{NOT_THERE}", path.display()),
            },
            named => match named.find(&self.cameras) {
                Ok(camera) => shown(camera),
                // The worker starts nevertheless and waits for it.
                Err(why) => format!("NOT THERE now: {why}"),
            },
        }
    }

    fn microphone(&self, wanted: &MicrophoneDevice) -> String {
        let shown = |card: &Card| format!("{} ({})", card.name, card.description);
        match wanted {
            MicrophoneDevice::Tone => "tone".into(),
            MicrophoneDevice::Auto => match auto(&self.cards, Use::Capture) {
                Ok(card) => shown(card),
                Err(why) => format!("tone, as {why}"),
            },
            MicrophoneDevice::Card(name) => self.card(name, |card| card.capture, "CAPTURE"),
        }
    }

    fn speaker(&self, wanted: &SpeakerDevice) -> String {
        match wanted {
            SpeakerDevice::Auto => match auto(&self.cards, Use::Play) {
                Ok(card) => format!("{} ({})", card.name, card.description),
                Err(why) => format!("NOT THERE now: {why}"),
            },
            SpeakerDevice::Card(name) => self.card(name, |card| card.playback, "PLAY"),
        }
    }

    /// The card that is meant, which must be able to do what it is wanted for.
    fn card(&self, name: &str, can: fn(&Card) -> bool, what: &str) -> String {
        let shown = |card: &Card| format!("{} ({})", card.name, card.description);
        // Other names (`hw:0`, plugins of asound.conf) are ALSA's to resolve.
        let resolved = Identity::parse(name).unwrap_or_else(|_| Identity::Alsa(name.to_owned()));
        let ours = match &resolved {
            Identity::Alsa(name) => name.starts_with("hw:CARD=") && name.contains(",DEV="),
            _ => true,
        };
        match find(&resolved, &self.cards, can) {
            Ok(card) => shown(card),
            Err(ambiguous @ Error::Ambiguous { .. }) => ambiguous.to_string(),
            Err(_) => match find(&resolved, &self.cards, |_| true) {
                Ok(card) => format!("{} - CANNOT {what}", shown(card)),
                Err(_) if ours => format!("{name}{NOT_THERE}"),
                Err(_) => name.to_owned(),
            },
        }
    }
}

/// The worker starts nevertheless and waits for it.
const NOT_THERE: &str = " - NOT THERE now (see `firmware-worker devices`)";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Microphone, Speaker};
    use hal::video::Identity;

    fn board() -> Board {
        let (path, card, driver, bus) = ("/dev/video990".into(), "HD Cam".into(), "uvcvideo".into(), "usb-1".into());
        let card_of = |name: &str, capture| Card {
            name: format!("hw:CARD={name},DEV=0"),
            description: format!("the {name}"),
            id: name.into(),
            card: name.into(),
            usb: None,
            number: 0,
            by_path: None,
            capture,
            playback: true,
        };
        Board {
            cameras: vec![Camera {
                path,
                card,
                driver,
                bus,
                identity: Identity::default(),
                obstacle: None,
                controls: Vec::new(),
                modes: Vec::new(),
            }],
            cards: vec![card_of("Headphones", false), card_of("Mic", true)],
        }
    }

    #[test]
    fn configured_cameras_are_looked_up_on_the_board() {
        let (board, none) = (board(), Board { cameras: Vec::new(), cards: Vec::new() });
        assert_eq!(board.camera(&CameraDevice::Auto), "/dev/video990 (HD Cam)");
        assert_eq!(board.camera(&CameraDevice::Path("/dev/video990".into())), "/dev/video990 (HD Cam)");
        assert_eq!(board.camera(&CameraDevice::Card("HD Cam".into())), "/dev/video990 (HD Cam)");
        assert_eq!(none.camera(&CameraDevice::Auto), "test pattern, as no camera is connected");
        for missing in [CameraDevice::Path("/dev/video990".into()), CameraDevice::Card("HD Cam".into())] {
            assert!(none.camera(&missing).contains("NOT THERE"), "{missing:?}");
        }
    }

    #[test]
    fn configured_speakers_are_looked_up_on_the_board() {
        let (board, none) = (board(), Board { cameras: Vec::new(), cards: Vec::new() });
        let alsa = |name: &str| SpeakerDevice::Card(name.into());
        assert_eq!(board.speaker(&SpeakerDevice::Auto), "hw:CARD=Headphones,DEV=0 (the Headphones)");
        assert!(none.speaker(&SpeakerDevice::Auto).contains("NOT THERE"));
        assert!(board.speaker(&alsa("hw:CARD=Gone,DEV=0")).contains("NOT THERE"));
        assert_eq!(board.speaker(&alsa("card:Headphones")), "hw:CARD=Headphones,DEV=0 (the Headphones)");
        assert!(board.speaker(&alsa("usb:046d:0825")).contains("NOT THERE"));
        let kind = DeviceKind::Speaker(Speaker {
            device: alsa("hw:0"),
            channels: 1,
            volume: Some(Volume::Decibel(-12.5)),
            mute: true,
            warm: false,
        });
        let line = describe_device(&Device { name: "hall".into(), kind }, &board);
        assert_eq!(line, "speaker     hall: hw:0, mono, volume -12.5 dB, muted");
    }

    #[test]
    fn configured_microphones_are_looked_up_on_the_board() {
        let (board, none) = (board(), Board { cameras: Vec::new(), cards: Vec::new() });
        let alsa = |name: &str| MicrophoneDevice::Card(name.into());
        assert_eq!(board.microphone(&MicrophoneDevice::Auto), "hw:CARD=Mic,DEV=0 (the Mic)");
        assert_eq!(none.microphone(&MicrophoneDevice::Auto), "tone, as no sound card captures");
        assert!(board.microphone(&alsa("hw:CARD=Headphones,DEV=0")).contains("CANNOT CAPTURE"));
        assert!(board.microphone(&alsa("hw:CARD=Gone,DEV=0")).contains("NOT THERE"));
        assert_eq!(board.microphone(&alsa("hw:0")), "hw:0");
        assert_eq!(board.microphone(&alsa("card:Mic")), "hw:CARD=Mic,DEV=0 (the Mic)");
        assert!(board.microphone(&alsa("usb:046d:0825")).contains("NOT THERE"));
        let kind = DeviceKind::Microphone(Microphone { device: alsa("hw:0"), ..Microphone::default() });
        let line = describe_device(&Device { name: "mic".into(), kind }, &board);
        assert_eq!(line, "microphone  mic: hw:0, mono, 48 kbit/s in packets of 20 ms");
    }
}
