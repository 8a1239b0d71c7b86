//! A livekit-server of our own, on free ports, with the keys of tests.

use crate::process::{Process, clean_command};
use crate::token::Token;
use crate::{Api, Path, Proxy, http, namespace, paths, poll};
use serde_json::Value;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::PathBuf;
use std::time::Duration;

/// API key of every test server.
pub const KEY: &str = "devkey";

/// Its secret; the server wants 32 characters.
pub const SECRET: &str = "secret00000000000000000000000000";

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// A server listens after a fraction of this even on a busy machine.
const START: Duration = Duration::from_secs(20);

/// Another program can take a free port before the server does.
const ATTEMPTS: usize = 3;

/// How a job ended, as the worker reported it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobEnd {
    /// `JS_SUCCESS` or `JS_FAILED`.
    pub status: String,
    /// The worker's words; the server's own are "agent worker left the room".
    pub error: String,
}

/// A running server.
#[derive(Debug)]
pub struct Server {
    process: Option<Process>,
    config: PathBuf,
    http: SocketAddr,
    /// Port of its UDP socket for media.
    udp: u16,
}

impl Server {
    /// Starts one and waits until it listens.
    pub fn start() -> Self {
        Self::start_with("")
    }

    /// The same with more YAML, for example `room: {departure_timeout: 1}`.
    pub fn start_with(yaml: &str) -> Self {
        Self::start_settings(LOOPBACK, &|ports| settings(ports, yaml))
    }

    /// One that knows no IPv4, neither for signalling nor for media. Only [`namespace::without_ipv4`] has its address.
    pub fn start_on_ipv6() -> Self {
        let host = namespace::ADDRESS;
        let settings = |ports| {
            settings(ports, "")
                .replace("127.0.0.1/32", &format!("'{host}/128'"))
                .replace("127.0.0.1", &format!("'{host}'"))
        };
        Self::start_settings(host.parse().expect("an address"), &settings)
    }

    /// One whose UDP media go through a path that can be cut and narrowed, for those who come through the proxy: there
    /// the server's UDP candidate is exchanged for the path. As an ICE-lite server it sends nothing to who did not send
    /// first, so that nobody learns of the way past the path. ICE over TCP goes past it.
    pub fn start_behind_path() -> (Self, Proxy, Path) {
        let server = Self::start_settings(LOOPBACK, &|ports| {
            settings(ports, "").replace("enable_loopback_candidate", "use_ice_lite: true, enable_loopback_candidate")
        });
        let path = Path::start((Ipv4Addr::LOCALHOST, server.udp).into());
        let proxy = Proxy::start_with_candidate(server.http, server.udp, path.address().port());
        (server, proxy, path)
    }

    fn start_settings(host: IpAddr, settings: &dyn Fn([u16; 3]) -> String) -> Self {
        for _ in 0..ATTEMPTS {
            let ports = [free_tcp(), free_tcp(), free_udp()];
            let config = std::env::temp_dir().join(format!("livekit-{}-{}.yaml", std::process::id(), ports[0]));
            std::fs::write(&config, settings(ports)).expect("the temporary directory is writable");
            let mut server = Self { process: None, config, http: (host, ports[0]).into(), udp: ports[2] };
            if server.try_start() {
                return server;
            }
        }
        panic!("livekit-server did not start in {ATTEMPTS} attempts on free ports");
    }

    /// One whose media a guest behind QEMU's user network reaches: at the machine's own address, as loopback there is
    /// the guest's.
    pub fn start_for_guest() -> Self {
        Self::start_settings(LOOPBACK, &|[http, tcp, udp]| {
            format!(
                "port: {http}\nbind_addresses: [127.0.0.1]\nkeys: {{{KEY}: {SECRET}}}\nlogging: {{level: info, component_levels: {{api: error}}}}\n\
                 rtc: {{tcp_port: {tcp}, udp_port: {udp}, use_external_ip: false}}\n"
            )
        })
    }

    /// For workers and SDKs.
    pub fn url(&self) -> String {
        format!("ws://{}", self.http)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.http
    }

    /// Its HTTP API.
    pub fn api(&self) -> Api {
        Api::new(self.http)
    }

    /// A token for one identity in one room.
    pub fn join_token(&self, room: &str, identity: &str) -> String {
        Token::join(room, identity).sign(KEY, SECRET)
    }

    /// Waits until the newest job of a room has ended. What counts is the first terminal status that arrives; this server
    /// keeps it out of `ListDispatch`, but logs it.
    #[track_caller]
    pub fn job_end(&self, room: &str, limit: Duration) -> JobEnd {
        let log = &self.process.as_ref().expect("the server runs").log;
        let field = |line: &str, key: &str| {
            let facts: Value = serde_json::from_str(line.rsplit('\t').next()?).ok()?;
            facts[key].as_str().map(str::to_owned)
        };
        poll::until(&format!("the job in room {room} has ended"), limit, || {
            let assigned = log.find(&["assigned job to worker", &format!("\"room\": \"{room}\"")])?;
            let id = field(&assigned.text, "jobID")?;
            let ended = log.find(&["job ended", &format!("\"jobID\": \"{id}\"")])?;
            Some(JobEnd { status: field(&ended.text, "status")?, error: field(&ended.text, "error")? })
        })
    }

    /// Whether its log has a line with all of these texts.
    pub fn said(&self, texts: &[&str]) -> bool {
        self.process.as_ref().is_some_and(|process| process.log.find(texts).is_some())
    }

    /// Ends it without warning.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// Starts it again on the same ports.
    pub fn restart(&mut self) {
        self.kill();
        assert!(self.try_start(), "livekit-server came back on {}", self.http);
    }

    fn try_start(&mut self) -> bool {
        let mut command = clean_command(paths::livekit_server());
        let mut process = Process::start("livekit-server", command.arg("--config").arg(&self.config));
        let listens = poll::until("livekit-server listens or ends", START, || match process.ended() {
            Some(_) => Some(false),
            None => http::get(self.http, "/").is_ok().then_some(true),
        });
        self.process = listens.then_some(process);
        listens
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // A leftover in the temporary directory is no failure.
        let _ = std::fs::remove_file(&self.config);
    }
}

/// The loopback candidate lets the SDK's media reach the server on a machine without a network; naming the address range
/// keeps the server from picking the socket of another interface.
fn settings([http, tcp, udp]: [u16; 3], more: &str) -> String {
    format!(
        "port: {http}\nbind_addresses: [127.0.0.1]\nkeys: {{{KEY}: {SECRET}}}\nlogging: {{level: info, component_levels: {{api: error}}}}\n\
         rtc: {{tcp_port: {tcp}, udp_port: {udp}, use_external_ip: false, node_ip: 127.0.0.1, \
         enable_loopback_candidate: true, ips: {{includes: [127.0.0.1/32]}}}}\n{more}\n"
    )
}

/// A TCP port that nobody listens on now.
pub fn free_tcp() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has free ports");
    listener.local_addr().expect("a bound socket has an address").port()
}

fn free_udp() -> u16 {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has free ports");
    socket.local_addr().expect("a bound socket has an address").port()
}
