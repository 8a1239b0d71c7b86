mod devices;
mod images;
mod layers;
mod secrets;

use super::*;
use protocol::room::Source;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

/// A directory that goes with its test.
struct Directory(PathBuf);

impl Directory {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("firmware-worker-config-{}-{number}", std::process::id()));
        fs::create_dir_all(&path).expect("a temporary directory can be made");
        Self(path)
    }

    fn file(&self, name: &str, text: &str, mode: u32) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, text).expect("a temporary file can be written");
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("own files can be changed");
        path
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

const BOARD: Defaults = Defaults {
    memory: Some(1 << 30),
    development: false,
    entrypoint: Outline {
        restart: RestartPolicy::OnFailure,
        check: None,
        limits: worker::Limits { memory: None, pids: None, cpu_percent: None },
    },
};

/// Enough environment to connect.
const KEYS: [(&str, &str); 3] =
    [("LIVEKIT_URL", "ws://127.0.0.1:7880"), ("LIVEKIT_API_KEY", "devkey"), ("LIVEKIT_API_SECRET", "s3cret")];

fn load_from(flags: Written, variables: &[(&str, &str)], file: Option<&Path>) -> Result<Config, Error> {
    let get = |name: &str| variables.iter().rev().find(|(n, _)| *n == name).map(|(_, value)| (*value).to_owned());
    load(flags, &get, file, BOARD)
}

fn load_text(text: &str) -> Result<Config, Error> {
    let directory = Directory::new();
    load_from(Written::default(), &KEYS, Some(&directory.file("config.toml", text, 0o644)))
}

/// The error without the path of the temporary directory.
fn error_of(text: &str) -> String {
    let text = load_text(text).expect_err("must be refused").to_string();
    let text = text.rfind("/config.toml").map_or(text.clone(), |at| text[at + 1..].to_owned());
    text.strip_prefix("config.toml: ").map(str::to_owned).unwrap_or(text)
}

#[test]
fn without_a_file_there_is_one_camera_and_one_microphone() {
    let config = load_from(Written::default(), &KEYS, None).unwrap();
    let camera = Camera {
        device: CameraDevice::Auto,
        width: 1280,
        height: 720,
        fps: 30,
        bitrate: 2_000_000,
        min_bitrate: 250_000,
        format: None,
        hflip: false,
        vflip: false,
        controls: Vec::new(),
        encoder: EncoderWish::Auto,
        warm: false,
    };
    let microphone =
        Microphone { device: MicrophoneDevice::Auto, channels: 1, bitrate: 48_000, ..Microphone::default() };
    let expected = [
        Device { name: "camera".into(), kind: DeviceKind::Camera(camera) },
        Device { name: "microphone".into(), kind: DeviceKind::Microphone(microphone) },
    ];
    assert_eq!(config.devices, expected);
    assert_eq!(config.http, Some("127.0.0.1:8081".parse().unwrap()));
    assert_eq!((config.worker.agent_name.as_str(), config.worker.job_type), ("", JobType::Room));
    assert_eq!((config.worker.prewarm, config.log_level), (1, tracing::Level::INFO));
    assert_eq!(config.job_options, "{}");
}

/// The example with the keys of these tables taken out of their comments, but for those without a default.
fn example() -> String {
    const WITHOUT_DEFAULT: [&str; 20] = [
        "url",
        "token_file",
        "api_key",
        "api_secret_file",
        "ca_file",
        "agent_name",
        "deployment",
        "max_jobs",
        "sources",
        "job_memory_warn_mib",
        "job_cpu_percent",
        "max_job_cpu_percent",
        "input_channels",
        "volume",
        "controls",
        "command",
        "publish",
        "play",
        "paths",
        "syscalls",
    ];
    let uncomment = |line: &str| match line.strip_prefix('#') {
        Some(rest) if rest.starts_with("[[") => format!("{rest}\n"),
        Some(rest) if rest.split_once(" = ").is_some_and(|(key, _)| plain_key(key, &WITHOUT_DEFAULT)) => {
            format!("{rest}\n")
        }
        _ => format!("{line}\n"),
    };
    include_str!("../../config.example.toml").lines().map(uncomment).collect()
}

fn plain_key(key: &str, without: &[&str]) -> bool {
    key.chars().all(|c| c.is_ascii_lowercase() || c == '_') && !without.contains(&key)
}

#[test]
fn the_example_file_shows_the_defaults() {
    // The file's speaker is an example.
    let (shown, default) = (load_text(&example()).unwrap(), load_text("[[speaker]]").unwrap());
    assert_eq!(format!("{shown:?}"), format!("{default:?}"));
}

#[test]
fn the_example_file_shows_every_key() {
    let text = include_str!("../../config.example.toml");
    let source = include_str!("written.rs");
    let public =
        source.lines().filter_map(|line| line.trim().strip_prefix("pub ")?.split_once(": ").map(|(key, _)| key));
    let from_environment = ["token", "api_secret"];
    for key in public.filter(|key| plain_key(key, &from_environment)) {
        let shown = [format!("#{key} = "), format!("[{key}]"), format!(".{key}]")];
        assert!(shown.iter().any(|form| text.contains(form)), "{key} is not in the example");
    }
}

#[test]
fn a_complete_file_means_what_it_says() {
    let config = load_text(
        r#"
        [server]
        url = "wss://example.livekit.cloud"
        ca_file = "/etc/ca.pem"
        [worker]
        agent_name = "door"
        deployment = "blue"
        job_type = "publisher"
        max_jobs = 3
        target_load = 0.9
        drain_timeout_s = 60
        stop_timeout_s = 90
        initialize_timeout_s = 15
        shutdown_timeout_s = 5
        unresponsive_timeout_s = 20
        prewarm = 0
        [worker.permissions]
        hidden = true
        publish_data = false
        sources = ["camera", "screen_share"]
        [limits]
        job_memory_mib = 128
        job_pids = 100
        owner_memory_mib = 256
        [http]
        listen = "off"
        [log]
        level = "warn"
        [[camera]]
        device = "card:HD Cam"
        width = 640
        height = 480
        fps = 15
        bitrate = 600_000
        min_bitrate = 100_000
        encoder = "software"
        [[camera]]
        name = "yard"
        device = "/dev/video2"
        warm = true
        [[camera]]
        name = "attic"
        device = "pipe"
        command = ["rpicam-vid", "-o", "-"]
        latency_offset_ms = 40
        [[microphone]]
        device = "hw:CARD=Mic,DEV=0"
        channels = 2
        bitrate = 64_000
        warm = true
        [job]
        restart = "never"
        publish = ["camera"]
        since = 2026-01-02
        nested = { gain = 1.5 }
        "#,
    )
    .unwrap();
    assert_eq!(config.server.url, "ws://127.0.0.1:7880", "the environment wins over the file");
    assert_eq!(config.server.ca_file.as_deref(), Some(Path::new("/etc/ca.pem")));
    let worker = &config.worker;
    assert_eq!((worker.agent_name.as_str(), worker.deployment.as_str()), ("door", "blue"));
    assert_eq!((worker.job_type, worker.max_jobs, worker.prewarm), (JobType::Publisher, 3, 0));
    let sources = vec![Source::Camera, Source::ScreenShare];
    assert_eq!(
        worker.permissions,
        Permissions { hidden: true, publish_data: false, sources, ..Permissions::default() }
    );
    let timeouts =
        [worker.drain_timeout, worker.initialize_timeout, worker.shutdown_timeout, worker.unresponsive_timeout];
    assert_eq!(timeouts.map(|t| t.as_secs()), [60, 15, 5, 20]);
    let limits = &config.limits;
    assert_eq!(
        (limits.job.memory, limits.job.pids, limits.owner.memory),
        (Some(128 << 20), Some(100), Some(256 << 20))
    );
    assert_eq!((config.http, config.log_level), (None, tracing::Level::WARN));
    let names: Vec<_> = config.devices.iter().map(|device| device.name.as_str()).collect();
    assert_eq!(names, ["camera", "yard", "attic", "microphone"]);
    assert_eq!(config.devices.iter().map(Device::warm).collect::<Vec<_>>(), [false, true, false, true]);
    let (command, latency_offset) = (["rpicam-vid", "-o", "-"].map(String::from).to_vec(), Duration::from_millis(40));
    let pipe = CameraDevice::Pipe { command, latency_offset };
    assert!(matches!(&config.devices[2].kind, DeviceKind::Camera(camera) if camera.device == pipe));
    assert!(matches!(&config.devices[0].kind, DeviceKind::Camera(c) if c.encoder == EncoderWish::Software));
    assert_eq!(config.worker.restart, RestartPolicy::Never);
    assert_eq!(config.job_options, r#"{"nested":{"gain":1.5},"publish":["camera"],"since":"2026-01-02"}"#);
}

#[test]
fn a_flag_wins_over_the_environment_and_that_over_the_file_and_that_over_the_default() {
    let directory = Directory::new();
    let file = directory.file("config.toml", "[worker]\nagent_name = \"file\"\nmax_jobs = 2", 0o644);
    let mut flags = Written::default();
    flags.worker.agent_name = Some("flag".into());
    let environment = [&KEYS[..], &[("LIVEKIT_AGENT_NAME", "environment")]].concat();
    let name = |flags, environment: &[_], file| load_from(flags, environment, file).unwrap().worker.agent_name;
    assert_eq!(name(flags, &environment, Some(&file)), "flag");
    assert_eq!(name(Written::default(), &environment, Some(&file)), "environment");
    assert_eq!(name(Written::default(), &KEYS, Some(&file)), "file");
    assert_eq!(name(Written::default(), &KEYS, None), "");
    assert_eq!(load_from(Written::default(), &environment, Some(&file)).unwrap().worker.max_jobs, 2);
}

#[test]
fn an_empty_variable_counts_as_not_set() {
    let directory = Directory::new();
    let file = directory.file("config.toml", "[worker]\nagent_name = \"file\"", 0o644);
    let environment = [&KEYS[..], &[("LIVEKIT_AGENT_NAME", ""), ("LIVEKIT_TOKEN", "")]].concat();
    assert_eq!(load_from(Written::default(), &environment, Some(&file)).unwrap().worker.agent_name, "file");
}

#[test]
fn an_unknown_key_is_refused_with_file_line_and_the_nearest_known_key() {
    let cases = [
        ("[worker]\n\nagent_nam = \"x\"", "config.toml:3: unknown key `agent_nam`; did you mean `agent_name`?"),
        ("[[camera]]\nwidht = 640", "config.toml:2: unknown key `widht`; did you mean `width`?"),
        ("[log]\n[camera]\nfps = 5", "config.toml:2: write [[camera]], with two brackets: there may be several"),
        ("[[worker]]\nmax_jobs = 5", "config.toml:1: write [worker], with one bracket"),
        ("[server]\napi_secret = \"x\"", "config.toml:2: unknown key `api_secret`; did you mean `api_secret_file`?"),
        ("[cameras]", "config.toml:1: unknown key `cameras`; did you mean `camera`?"),
        ("[log]\ncolour = true", "config.toml:2: unknown key `colour`; known here: level"),
    ];
    for (text, expected) in cases {
        assert_eq!(error_of(text), expected);
    }
}

#[test]
fn text_that_is_no_toml_or_has_a_wrong_type_is_refused_with_its_line() {
    let no_toml = error_of("[worker]\nagent_name = door");
    assert!(no_toml.starts_with("config.toml:2: "), "{no_toml}");
    let wrong_type = error_of("[worker]\nmax_jobs = \"four\"");
    assert_eq!(wrong_type, "config.toml:2: invalid type: string \"four\", expected u32");
    let variant = error_of("[worker]\njob_type = \"rooms\"");
    assert!(variant.starts_with("config.toml:2: unknown variant `rooms`, expected one of `room`"), "{variant}");
}

#[test]
fn a_value_out_of_range_is_refused_by_its_key() {
    let cases = [
        ("[worker]\nmax_jobs = 0", "worker max_jobs: 0 is not within 1 to 256"),
        ("[worker]\ntarget_load = 1.5", "worker target_load: 1.5 is not above 0 and at most 1"),
        ("[worker]\ntarget_load = nan", "worker target_load: NaN is not above 0 and at most 1"),
        ("[worker]\nprewarm = 2", "worker prewarm: 2 is not within 0 to 1"),
        ("[worker]\nagent_name = \" \"", "worker agent_name: is empty; give a name"),
        ("[worker]\ndeployment = \"a b\"", "worker deployment: \"a b\" is not up to 64 letters"),
        ("[worker]\ndeployment = \"a_b\"", "worker deployment: \"a_b\" is not up to 64 letters"),
        ("[limits]\njob_memory_mib = 1", "limits job_memory_mib: 1 is not within 16 to 65536"),
        ("[job]\nrestart = \"always\"", "job restart: is not \"never\" or \"on-failure\""),
        ("[http]\nlisten = \"8081\"", "http listen: \"8081\" is not an address and port"),
        ("[log]\nlevel = \"loud\"", "log level: \"loud\" is not error, warn, info, debug or trace"),
        ("[[camera]]\nfps = 0", "camera \"camera\" fps: 0 is not within 1 to 120"),
        ("[[camera]]\nwidth = 641", "camera \"camera\" size: 641x720: width and height must be even"),
        ("[[camera]]\nbitrate = 100000\nmin_bitrate = 200000", "camera \"camera\" min_bitrate: 200000 is not within"),
        ("[[camera]]\ndevice = \"video0\"", "camera \"camera\" device: must be auto, test-pattern, a path"),
        ("[[camera]]\nformat = \"rgb\"", "camera \"camera\" format: must be auto, yuyv, uyvy"),
        ("[[camera]]\nrotate = 90", "camera \"camera\" rotate: 90 is not 0 or 180; turn the camera"),
        ("[[camera]]\ncontrols = { gain = 1.5 }", "camera \"camera\" controls.gain: a float is not a whole number"),
        (
            "[[camera]]\ndevice = \"test-pattern\"\nencoder = \"passthrough\"",
            "camera \"camera\" encoder: the test pattern gives no H.264",
        ),
        ("[[camera]]\ndevice = \"pipe\"", "camera \"camera\" command: must name what writes H.264"),
        ("[[camera]]\ncommand = [\"cat\"]", "camera \"camera\" command: is run for device = \"pipe\" alone"),
        ("[[camera]]\nlatency_offset_ms = 5", "camera \"camera\" latency_offset_ms: is for device = \"pipe\" alone"),
        (
            "[[camera]]\ndevice = \"pipe\"\ncommand = [\"cat\"]\nlatency_offset_ms = 5000",
            "camera \"camera\" latency_offset_ms: 5000 is not within 0 to 2000",
        ),
        (
            "[[camera]]\ndevice = \"pipe\"\ncommand = [\"cat\"]\nencoder = \"software\"",
            "camera \"camera\" encoder: a pipe is H.264 already",
        ),
        ("[[camera]]\nencoder = \"gpu\"", "config.toml:2: unknown variant `gpu`, expected one of `auto`"),
        ("[[camera]]\nname = \"a b\"", "device \"a b\": a name is 1 to 32 letters"),
        ("[[camera]]\n[[camera]]", "device \"camera\": two devices have this name"),
        ("[[speaker]]\nchannels = 3", "speaker \"speaker\" channels: 3 is not within 1 to 2"),
        ("[[speaker]]\nvolume = \"loud\"", "speaker \"speaker\" volume: \"loud\" is neither 0% to 100% nor"),
        ("[[speaker]]\nvolume = \"101%\"", "speaker \"speaker\" volume: \"101%\" is neither"),
        ("[[speaker]]\nvolume = \"nandB\"", "speaker \"speaker\" volume: \"nandB\" is neither"),
        ("[[speaker]]\ndevice = \"\"", "speaker \"speaker\" device: "),
        ("[[microphone]]\nchannels = 3", "microphone \"microphone\" channels: 3 is not within 1 to 2"),
        ("[[microphone]]\nframe_ms = 60", "microphone \"microphone\" frame_ms: 60 is not 10, 20 or 40"),
        ("[[microphone]]\nvolume = \"loud\"", "microphone \"microphone\" volume: \"loud\" is neither 0% to 100% nor"),
        ("[[microphone]]\ninput_channels = [0]", "microphone \"microphone\" input_channels: 0 is not within 1 to 8"),
        (
            "[[microphone]]\nchannels = 2\ninput_channels = [1, 2, 3]",
            "microphone \"microphone\" input_channels: choose two at most",
        ),
        ("[[microphone]]\ncomplexity = 11", "microphone \"microphone\" complexity: 11 is not within 0 to 10"),
        ("[[microphone]]\ndevice = \"usb:46d\"", "microphone \"microphone\" device: \"usb:46d\" must be usb:VVVV"),
    ];
    for (text, expected) in cases {
        let error = error_of(text);
        assert!(error.starts_with(expected), "{error}");
    }
}

#[test]
fn a_missing_url_or_credential_names_what_to_set() {
    let error = |environment: &[_]| load_from(Written::default(), environment, None).unwrap_err().to_string();
    assert!(error(&[]).starts_with("no credentials: set LIVEKIT_TOKEN or"));
    assert!(error(&KEYS[..2]).contains("no secret: set LIVEKIT_API_SECRET"));
    assert!(error(&KEYS[2..]).contains("no key: set LIVEKIT_API_KEY"));
    assert!(error(&KEYS[1..]).starts_with("no server URL: set LIVEKIT_URL"));
    let bad_url = error(&[&KEYS[..], &[("LIVEKIT_URL", "example.com")]].concat());
    assert!(bad_url.starts_with("server url: example.com"), "{bad_url}");
    let both = error(&[&KEYS[..], &[("LIVEKIT_TOKEN", "a.b.c")]].concat());
    assert!(both.contains("both a token and an API key"), "{both}");
}

#[test]
fn a_missing_file_is_named() {
    let error = load_from(Written::default(), &KEYS, Some(Path::new("/none/config.toml"))).unwrap_err();
    assert!(error.to_string().starts_with("/none/config.toml: cannot read the configuration: "), "{error}");
}

#[test]
fn secrets_show_neither_in_errors_nor_in_debug_output() {
    let config = load_from(Written::default(), &KEYS, None).unwrap();
    assert!(!format!("{config:?}").contains("s3cret"));
}

#[test]
fn the_default_number_of_jobs_follows_the_memory_of_the_board() {
    let jobs = |memory: Option<u64>| {
        let get = |name: &str| KEYS.iter().find(|(n, _)| *n == name).map(|(_, value)| (*value).to_owned());
        load(Written::default(), &get, None, Defaults { memory, ..BOARD }).unwrap().worker.max_jobs
    };
    let mib = |mib: u64| Some(mib << 20);
    assert_eq!([mib(180), mib(430), mib(512), mib(4096), None].map(jobs), [1, 3, 5, 8, 1]);
}

#[test]
fn at_a_desk_the_log_is_verbose_and_no_port_is_taken() {
    let get = |name: &str| KEYS.iter().find(|(n, _)| *n == name).map(|(_, value)| (*value).to_owned());
    let config = load(Written::default(), &get, None, Defaults { memory: None, development: true, ..BOARD }).unwrap();
    assert_eq!((config.http, config.log_level), (None, tracing::Level::DEBUG));
}
