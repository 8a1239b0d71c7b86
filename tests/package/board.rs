//! A board with systemd and a server on this machine, and the packages to install there.

use std::time::Duration;
use tests::guest::{Content, Guest, HOST};
use tests::package::{self, TARGETS};
use tests::server::{KEY, SECRET};
use tests::worker::AGENT;
use tests::{Judge, Server};

/// Everything in the guest runs about twenty times slower than on the host.
pub const SLOW: Duration = Duration::from_secs(90);

/// `tools/test soak`: the promise itself is asked for, by the clock of a machine that emulates one board and does nothing else.
pub fn soaks() -> bool {
    std::env::var_os("SOAK").is_some()
}

/// Whatever the test types is run.
const SCRIPT: &str = "
while read -r line; do eval \"$line\"; done
";

/// Of the 15 that the camera gives: a busy machine emulates a board that encodes fewer.
pub const FPS: f64 = 5.0;

/// Half the unit's watchdog, for the stage that waits for it. What the worker says is on the console too, to its end: what
/// follows a journal ends before.
const UNIT: &str = "[Service]\nWatchdogSec=15\nStandardOutput=journal+console\n";

/// What a Raspberry Pi has there; a package must not touch it.
pub const CMDLINE: &str = "console=serial0,115200 root=PARTUUID=1-02 rootwait\n";

const DEVICES: &str = "[[camera]]\nwidth = 320\nheight = 180\nfps = 15\nbitrate = 200000\n\
                       [[microphone]]\ndevice = \"hw:CARD=Loopback,DEV=1\"\n";

pub struct Board {
    pub guest: Guest,
    pub server: Server,
}

impl Board {
    /// Not installed yet.
    pub fn boot(name: &str) -> Self {
        let server = Server::start_for_guest();
        let deb = package::deb(&TARGETS[0]);
        let binary = package::unpack(&deb).join("usr/bin/firmware-worker");
        let newer = package::pack(&binary, &TARGETS[0], "2");
        let config = format!(
            "[server]\nurl = \"ws://{HOST}:{}\"\napi_key = \"{KEY}\"\napi_secret_file = \"/etc/firmware-worker/secret\"\n\
             [worker]\nagent_name = \"{AGENT}\"\n{DEVICES}",
            server.address().port()
        );
        let files = [
            ("/test/1.deb", 0o644, Content::File(&deb)),
            ("/test/2.deb", 0o644, Content::File(&newer)),
            ("/test/config.toml", 0o644, Content::Text(&config)),
            ("/test/secret", 0o600, Content::Text(SECRET)),
            ("/etc/systemd/system/firmware-worker.service.d/test.conf", 0o644, Content::Text(UNIT)),
            ("/boot/firmware/cmdline.txt", 0o644, Content::Text(CMDLINE)),
        ];
        let guest = Guest::boot_systemd(name, &files, SCRIPT);
        Self { guest, server }
    }

    /// Gives an installed worker its server, and waits until it is registered.
    #[track_caller]
    pub fn configure(&mut self) {
        self.must("cp /test/config.toml /test/secret /etc/firmware-worker/");
        self.must("systemctl restart firmware-worker");
        self.guest.wait_console("registered as", SLOW);
    }

    /// Runs a command there and gives what it prints, on one line, with its exit code at the end.
    #[track_caller]
    pub fn run(&mut self, command: &str) -> String {
        self.guest.run(command, SLOW)
    }

    /// The same for one that must succeed.
    #[track_caller]
    pub fn must(&mut self, command: &str) -> String {
        self.guest.must(command, SLOW)
    }

    /// Participants of the worker in this room, by their session.
    pub fn sessions(&self, room: &str) -> Vec<String> {
        let participants = self.server.api().participants(room);
        let ours =
            participants.iter().filter(|p| p["identity"].as_str().is_some_and(|name| name.starts_with("agent-")));
        ours.filter_map(|p| p["sid"].as_str().map(str::to_owned)).collect()
    }

    /// Has the worker in this room, seen by the judge.
    #[track_caller]
    pub fn seen(&self, room: &str) -> Judge {
        let judge = Judge::join(&self.server, room, "judge");
        self.server.api().dispatch(room, AGENT, "");
        judge.wait("the board's picture", SLOW, |e| e.number("video", "fps") >= FPS);
        judge
    }
}
