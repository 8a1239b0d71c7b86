//! The package on a board with systemd: installed, killed, upgraded and removed, against a server on this machine.

use std::time::Duration;
use tests::guest::{Content, Guest, HOST};
use tests::package::{self, TARGETS};
use tests::server::{KEY, SECRET};
use tests::worker::AGENT;
use tests::{Judge, Server, poll};

/// Everything in the guest runs about twenty times slower than on the host.
const SLOW: Duration = Duration::from_secs(90);

/// The promise; the guest's own slowness is in it.
const GONE: Duration = Duration::from_secs(2);
/// The same as far as a test of an emulated board may ask: where it stands still for too long, the restarted supervisor signs off.
const GONE_EMULATED: Duration = Duration::from_secs(20);

/// What the worker says, on the console; then whatever the test types is run.
const SCRIPT: &str = "
journalctl --follow --unit firmware-worker --output cat --lines 0 &
while read -r line; do eval \"$line\"; done
";

/// Of the 15 that the camera gives: a busy machine emulates a board that encodes fewer.
const FPS: f64 = 5.0;

/// Half the unit's, for the stage that waits for it.
const WATCHDOG: &str = "[Service]\nWatchdogSec=15\n";

/// What a Raspberry Pi has there; a package must not touch it.
const CMDLINE: &str = "console=serial0,115200 root=PARTUUID=1-02 rootwait\n";

const CAMERA: &str = "[[camera]]\nwidth = 320\nheight = 180\nfps = 15\nbitrate = 200000\n\
                      [[microphone]]\ndevice = \"tone\"\n";

struct Board {
    guest: Guest,
    server: Server,
}

impl Board {
    fn boot() -> Self {
        let server = Server::start_for_guest();
        let deb = package::deb(&TARGETS[0]);
        let binary = package::unpack(&deb).join("usr/bin/firmware-worker");
        let newer = package::pack(&binary, &TARGETS[0], "2");
        let config = format!(
            "[server]\nurl = \"ws://{HOST}:{}\"\napi_key = \"{KEY}\"\napi_secret_file = \"/etc/firmware-worker/secret\"\n\
             [worker]\nagent_name = \"{AGENT}\"\ndrain_timeout_s = 30\n{CAMERA}",
            server.address().port()
        );
        let files = [
            ("/test/1.deb", 0o644, Content::File(&deb)),
            ("/test/2.deb", 0o644, Content::File(&newer)),
            ("/test/config.toml", 0o644, Content::Text(&config)),
            ("/test/secret", 0o600, Content::Text(SECRET)),
            ("/etc/systemd/system/firmware-worker.service.d/test.conf", 0o644, Content::Text(WATCHDOG)),
            ("/boot/firmware/cmdline.txt", 0o644, Content::Text(CMDLINE)),
        ];
        let guest = Guest::boot_systemd("package", &files, SCRIPT);
        Self { guest, server }
    }

    /// Runs a command there and gives what it prints, on one line, with its exit code at the end.
    #[track_caller]
    fn run(&mut self, command: &str) -> String {
        self.guest.run(command, SLOW)
    }

    /// The same for one that must succeed.
    #[track_caller]
    fn must(&mut self, command: &str) -> String {
        self.guest.must(command, SLOW)
    }

    /// Participants of the worker in this room, by their session.
    fn sessions(&self, room: &str) -> Vec<String> {
        let participants = self.server.api().participants(room);
        let ours =
            participants.iter().filter(|p| p["identity"].as_str().is_some_and(|name| name.starts_with("agent-")));
        ours.filter_map(|p| p["sid"].as_str().map(str::to_owned)).collect()
    }

    /// Has the worker in this room, seen by the judge.
    #[track_caller]
    fn seen(&self, room: &str) -> Judge {
        let judge = Judge::join(&self.server, room, "judge");
        self.server.api().dispatch(room, AGENT, "");
        judge.wait("the board's picture", SLOW, |e| e.number("video", "fps") >= FPS);
        judge
    }

    /// Kills the supervisor and waits until its participant is gone and another one is registered.
    #[track_caller]
    fn kill(&mut self, room: &str) {
        let main = self.must("systemctl show -p MainPID --value firmware-worker");
        let sessions = self.sessions(room);
        assert_eq!(sessions.len(), 1, "one participant of ours");
        self.guest.type_line(&format!("kill -9 {main}; echo killed {main}"));
        self.guest.wait_console(&format!("killed {main}"), SLOW);
        let killed = poll::monotonic();
        let gone = || (!self.sessions(room).contains(&sessions[0])).then_some(());
        poll::until("the killed worker's participant is gone", GONE_EMULATED, gone);
        let seconds = poll::monotonic() - killed;
        println!("gone {seconds:.1} s after the kill, of {} that it may take", GONE.as_secs());
        // While survivors are waited for, the unit is active without a main process.
        let now = "systemctl show -p MainPID --value firmware-worker";
        let back = format!("until p=$({now}); [ $p != 0 ] && [ $p != {main} ]; do sleep 0.1; done");
        self.must(&back);
        // A dispatch that finds no worker is not repeated.
        self.must("until busybox wget -qO /dev/null http://127.0.0.1:8081/ready; do sleep 0.2; done");
    }
}

#[test]
fn a_package_is_installed_survives_a_kill_is_upgraded_without_ending_a_room_and_purged_without_a_trace() {
    let mut board = Board::boot();
    for stage in [installed, killed, hostile, upgraded, purged] {
        stage(&mut board);
        // Its jobs end, so that the emulated board has one to do at a time, and none when it drains.
        let api = board.server.api();
        api.rooms().iter().for_each(|room| api.delete_room(room));
    }
}

fn installed(board: &mut Board) {
    let said = board.must("dpkg -i /test/1.deb");
    assert!(said.contains("to do now: name the server in /etc/firmware-worker/config.toml"), "{said}");
    assert_eq!(board.run("systemctl is-active firmware-worker"), "inactive 3");
    assert_eq!(board.must("systemctl is-enabled firmware-worker"), "enabled");
    // Started as it is: one clear error, and no restarts.
    assert!(board.run("systemctl start firmware-worker").ends_with('1'));
    board.guest.wait_console("no credentials: ", SLOW);
    assert_eq!(board.must("systemctl show -p NRestarts --value firmware-worker"), "0");
    board.must("cp /test/config.toml /test/secret /etc/firmware-worker/");
    board.must("systemctl restart firmware-worker");
    board.guest.wait_console("registered as", SLOW);
    assert!(!board.guest.console().text().contains("no limits for children"), "the cgroup is delegated");
    // Of the supervisor's leaf and of all above it: one without protection would leave none.
    let kept = "d=/sys/fs/cgroup$(sed -n s/^0:://p /proc/$(systemctl show -p MainPID --value firmware-worker)/cgroup); \
                while [ $d != /sys/fs/cgroup ]; do cat $d/memory.low; d=${d%/*}; done";
    assert_eq!(board.must(kept), format!("{} {}", 12 << 20, 64 << 20));
    // Its command runs in the unit's sandbox.
    board.must("systemctl reload firmware-worker");
    board.guest.wait_console("configuration read again", SLOW);
}

fn killed(board: &mut Board) {
    let _judge = board.seen("killed");
    board.kill("killed");
    board.seen("after");
}

/// A child that does not end by itself must not keep the unit from coming back.
fn hostile(board: &mut Board) {
    let room = "hostile";
    let _judge = board.seen(room);
    let main = board.must("systemctl show -p MainPID --value firmware-worker");
    let own = board.must(&format!("sed -n s/^0:://p /proc/{main}/cgroup"));
    let leaf = format!("/sys/fs/cgroup{own}/cgroup.procs");
    board.guest.type_line(&format!("(sh -c 'echo $$ > {leaf}; exec sleep 9999' &)"));
    board.must(&format!("until [ $(wc -l < {leaf}) = 2 ]; do sleep 0.1; done"));
    board.kill(room);
    assert_eq!(board.run(&count("sleep")), "0 1", "killed with the unit");
}

fn upgraded(board: &mut Board) {
    let room = "upgraded";
    let judge = board.seen(room);
    let sessions = board.sessions(room);
    let main = "systemctl show -p MainPID --value firmware-worker";
    let before = board.must(main);
    board.must("dpkg -i /test/2.deb");
    assert!(board.must("dpkg-query -W -f '${Version}' firmware-worker").ends_with("-2"));
    assert_eq!(board.must("systemctl is-active firmware-worker"), "active");
    assert_eq!(board.must(main), before, "the same process");
    let program = "readlink /proc/$(systemctl show -p MainPID --value firmware-worker)/exe";
    assert_eq!(board.must(program), "/usr/bin/firmware-worker", "of the program that is installed now");
    let mark = judge.mark();
    judge.wait_from(mark, "the picture goes on", SLOW, |e| e.number("video", "fps") >= FPS);
    assert_eq!(board.sessions(room), sessions, "the upgrade ended no room");
}

fn purged(board: &mut Board) {
    board.must("dpkg --purge firmware-worker");
    let found = board
        .must("find / -xdev -name '*firmware-worker*' -not -path '/etc/systemd/system/firmware-worker.service.d*'");
    assert_eq!(found, "", "left by a purge");
    assert_eq!(board.run("getent group firmware-worker"), "2");
    assert_eq!(board.run(&count("firmware-worker")), "0 1");
    assert_eq!(board.must("cat /boot/firmware/cmdline.txt"), CMDLINE.trim());
}

/// A command that counts the processes of this name.
fn count(name: &str) -> String {
    format!("cat /proc/[0-9]*/comm | grep -cx {name}")
}
