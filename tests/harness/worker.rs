//! The worker binary under test.

use crate::process::{Line, Process, clean_command};
use crate::server::{self, KEY, SECRET};
use crate::{Server, http, paths, poll, procfs};
use rustix::process::Signal;
use serde_json::Value;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// Registration takes 100 ms; a debug build on a busy machine needs more.
const REGISTER: Duration = Duration::from_secs(20);

/// The agent name of workers in tests.
pub const AGENT: &str = "board";

/// Configuration with which the failure of a job is its end.
pub const NO_RESTART: &str = "[job]\nrestart = \"never\"\n";

/// Test devices whose picture is small enough that a debug build encodes it in real time next to a Python decoder.
const DEVICES: &str = r#"
[[camera]]
name = "camera"
device = "test-pattern"
width = 320
height = 240
fps = 15
bitrate = 400000

[[microphone]]
name = "microphone"
device = "tone"
"#;

/// How to start a worker.
#[derive(Clone, Debug)]
pub struct Setup {
    binary: PathBuf,
    url: String,
    agent: String,
    toml: String,
    environment: Vec<(String, String)>,
    runtime: Option<PathBuf>,
}

impl Setup {
    /// With test devices, for this server.
    pub fn new(server: &Server) -> Self {
        Self::with_url(&server.url())
    }

    /// With test devices, for whatever listens at this URL.
    pub fn with_url(url: &str) -> Self {
        let environment = [("LIVEKIT_API_KEY", KEY), ("LIVEKIT_API_SECRET", SECRET)];
        Self {
            binary: PathBuf::new(),
            url: url.into(),
            agent: AGENT.into(),
            toml: String::new(),
            environment: environment.map(|(name, value)| (name.into(), value.into())).to_vec(),
            runtime: None,
        }
    }

    /// Another program on the library instead of the shipped binary.
    pub fn binary(mut self, binary: PathBuf) -> Self {
        self.binary = binary;
        self
    }

    /// Another agent name; empty for automatic dispatch.
    pub fn agent(mut self, name: &str) -> Self {
        self.agent = name.into();
        self
    }

    /// More of the configuration file, as whole tables; a camera there replaces the test devices.
    pub fn toml(mut self, toml: &str) -> Self {
        self.toml.push_str(toml);
        self
    }

    /// Sets a variable, in place of an earlier value.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.retain(|(known, _)| known != name);
        self.environment.push((name.into(), value.into()));
        self
    }

    /// In the same runtime directory as `other`.
    pub fn beside(mut self, other: &Worker) -> Self {
        self.runtime = Some(other.runtime.clone());
        self
    }

    /// Starts it and waits until it is registered.
    #[track_caller]
    pub fn start(self) -> Worker {
        let mut worker = self.launch();
        worker.wait_ready();
        worker
    }

    /// Starts it without waiting.
    pub fn launch(self) -> Worker {
        self.launch_with(&["start"])
    }

    /// Starts it as at a developer's desk, without waiting.
    pub fn develop(self) -> Worker {
        self.launch_with(&["dev"])
    }

    /// Has it join one room without dispatch.
    pub fn connect(self, room: &str) -> Worker {
        self.launch_with(&["connect", "--room", room])
    }

    fn launch_with(self, arguments: &[&str]) -> Worker {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("worker-{}-{}.toml", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let config = std::env::temp_dir().join(name);
        let http = SocketAddr::from((Ipv4Addr::LOCALHOST, server::free_tcp()));
        std::fs::write(&config, self.config(http)).expect("the temporary directory is writable");
        let runtime = self.runtime.clone().unwrap_or_else(|| config.with_extension("run"));
        let mut command = self.command(arguments, &config);
        let process = Process::start("firmware-worker", command.env("RUNTIME_DIRECTORY", &runtime));
        Worker { process, program: self.program(), config, http, runtime }
    }

    /// Runs it to its end, for starts that must fail.
    pub fn run(&self, arguments: &[&str]) -> std::process::Output {
        let mut command = clean_command(self.program());
        command.args(arguments).env("LIVEKIT_URL", &self.url).envs(self.environment.iter().cloned());
        command.stdin(Stdio::null()).output().expect("the worker starts")
    }

    fn command(&self, arguments: &[&str], config: &Path) -> Command {
        let mut command = clean_command(self.program());
        command.args(arguments).arg("--config").arg(config).env("LIVEKIT_URL", &self.url);
        command.env("LIVEKIT_AGENT_NAME", &self.agent).envs(self.environment.iter().cloned());
        command
    }

    fn program(&self) -> PathBuf {
        if self.binary.as_os_str().is_empty() { paths::worker() } else { self.binary.clone() }
    }

    fn config(&self, http: SocketAddr) -> String {
        let devices = if self.toml.contains("[[camera]]") { "" } else { DEVICES };
        format!("{}\n[http]\nlisten = \"{http}\"\n[log]\nlevel = \"debug\"\n{devices}", self.toml)
    }
}

/// A running worker.
#[derive(Debug)]
pub struct Worker {
    process: Process,
    program: PathBuf,
    config: PathBuf,
    http: SocketAddr,
    runtime: PathBuf,
}

impl Worker {
    /// Process id of the supervisor.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Where it serves operators.
    pub fn http(&self) -> SocketAddr {
        self.http
    }

    /// Where its socket for operators is.
    pub fn runtime(&self) -> &Path {
        &self.runtime
    }

    /// Runs a command of an operator who has its runtime directory.
    pub fn operator(&self, arguments: &[&str]) -> std::process::Output {
        let mut command = clean_command(&self.program);
        command.args(arguments).env("RUNTIME_DIRECTORY", &self.runtime);
        command.stdin(Stdio::null()).output().expect("the worker's program starts")
    }

    /// Takes a picture with its camera, as an operator.
    pub fn snapshot(&self, camera: &str) -> std::process::Output {
        let config = self.config.to_str().expect("a path of ours is text");
        self.operator(&["snapshot", camera, "--config", config])
    }

    /// Whether it is registered.
    pub fn ready(&self) -> bool {
        http::get(self.http, "/ready").is_ok_and(|answer| answer.status == 200)
    }

    /// Waits until it is registered.
    #[track_caller]
    pub fn wait_ready(&mut self) {
        poll::until("the worker is registered", REGISTER, || {
            let ended = self.process.ended();
            assert!(ended.is_none(), "the worker ended before it was registered: {ended:?}");
            self.ready().then_some(())
        });
    }

    /// Waits until the log has a line with this text; the last one there is.
    #[track_caller]
    pub fn wait_log(&self, text: &str, limit: Duration) -> Line {
        poll::until(&format!("the worker says {text:?}"), limit, || self.process.log.find(&[text]))
    }

    /// Everything it has logged lately.
    pub fn log(&self) -> String {
        self.process.log.text()
    }

    /// `/worker`.
    #[track_caller]
    pub fn state(&self) -> Value {
        let answer = http::get(self.http, "/worker").expect("the worker answers on loopback");
        serde_json::from_str(&answer.body).expect("/worker is JSON")
    }

    /// `/metrics`.
    #[track_caller]
    pub fn metrics(&self) -> String {
        http::get(self.http, "/metrics").expect("the worker answers on loopback").body
    }

    /// Sum of a metric over its labels, or the one with these labels; 0 when it is not there.
    #[track_caller]
    pub fn metric(&self, name: &str) -> f64 {
        let metrics = self.metrics();
        let values = metrics.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix(['{', ' ']));
        values.filter_map(|value| value.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    }

    /// Job processes, the prewarmed one among them.
    pub fn job_pids(&self) -> Vec<u32> {
        self.children("__job")
    }

    /// Waits for a job in this room to start; when it did, seconds on CLOCK_MONOTONIC, and its process. The newest one.
    #[track_caller]
    pub fn started(&self, room: &str) -> (f64, u32) {
        let line = self.wait_log(&format!("room {room:?}: starting in process "), REGISTER);
        let pid = line.text.rsplit(' ').next().and_then(|word| word.parse().ok());
        (line.at, pid.unwrap_or_else(|| panic!("no process in {line:?}")))
    }

    /// Device owners.
    pub fn owner_pids(&self) -> Vec<u32> {
        self.children("__owner")
    }

    /// What keeps the commands that cameras are read from.
    pub fn keeper_pids(&self) -> Vec<u32> {
        self.children("__keeper")
    }

    /// Sends the supervisor a signal.
    pub fn signal(&self, signal: Signal) {
        self.process.signal(signal);
    }

    /// Gives it another configuration file, which it reads when it is asked to.
    pub fn reconfigure(&self, setup: &Setup) {
        std::fs::write(&self.config, setup.config(self.http)).expect("the temporary directory is writable");
    }

    /// Starts it once more after its end, as a service manager would.
    pub fn again(&mut self, setup: &Setup) {
        let mut command = setup.command(&["start"], &self.config);
        self.process = Process::start("firmware-worker", command.env("RUNTIME_DIRECTORY", &self.runtime));
    }

    /// Starts another with the same configuration beside it.
    pub fn twin(&self, setup: &Setup) -> Process {
        let mut command = setup.command(&["start"], &self.config);
        Process::start("its twin", command.env("RUNTIME_DIRECTORY", &self.runtime))
    }

    /// Waits for its end.
    #[track_caller]
    pub fn wait(&mut self, limit: Duration) -> ExitStatus {
        self.process.wait(limit)
    }

    fn children(&self, kind: &str) -> Vec<u32> {
        let children = procfs::children(self.pid()).into_iter();
        children.filter(|&pid| procfs::alive(pid) && procfs::command_line(pid).contains(kind)).collect()
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.process.kill();
        // A leftover in the temporary directory is no failure.
        let _ = std::fs::remove_file(&self.config);
        let _ = std::fs::remove_dir_all(&self.runtime);
    }
}
