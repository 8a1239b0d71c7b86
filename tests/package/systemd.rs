//! The package on a board with systemd: installed, killed, upgraded and removed, against a server on this machine.

use super::board::{Board, CMDLINE, FPS, SLOW, soaks};
use firmware_worker::supervisor::SIGN;
use std::time::Duration;
use tests::poll;

/// The promise; the guest's own slowness is in it. `tools/test soak survives_a_kill` asks for it.
const GONE: Duration = Duration::from_secs(2);
/// The same as far as a test of an emulated board may ask: where it stands still for too long, the restarted supervisor signs off.
const GONE_EMULATED: Duration = Duration::from_secs(20);

#[test]
fn a_package_is_installed_survives_a_kill_is_upgraded_without_ending_a_room_and_purged_without_a_trace() {
    let mut board = Board::boot("package");
    for stage in [installed, sound, killed, hostile, upgraded, stopped, purged] {
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
    board.configure();
    // Who stops the worker alone does not end the system, and the worker knows.
    board.must("systemctl stop firmware-worker");
    assert_eq!(
        board.must("systemctl is-active firmware-worker-system-up; ls -d /run/firmware-worker-system-up"),
        format!("active {SIGN}")
    );
    assert!(!board.guest.console().text().contains("the system goes down"));
    board.must("systemctl start firmware-worker");
    await_ready(board);
    assert!(!board.guest.console().text().contains("no limits for children"), "the cgroup is delegated");
    // Of the supervisor's leaf and of all above it: one without protection would leave none.
    let kept = "d=/sys/fs/cgroup$(sed -n s/^0:://p /proc/$(systemctl show -p MainPID --value firmware-worker)/cgroup); \
                while [ $d != /sys/fs/cgroup ]; do cat $d/memory.low; d=${d%/*}; done";
    assert_eq!(board.must(kept), format!("{} {}", 12 << 20, 64 << 20));
    // What the configuration leaves out the unit's own file says, to the service and to who checks.
    let main = "/proc/$(systemctl show -p MainPID --value firmware-worker)/cmdline";
    assert!(board.must(&format!("tr '\\0' ' ' <{main}")).contains("--defaults /usr/lib/firmware-worker/unit.toml"));
    let checked = board.must("firmware-worker check");
    assert!(checked.contains("waits 30 seconds for running jobs") && !checked.contains("WARNING"), "{checked}");
    // Its command runs in the unit's sandbox.
    board.must("systemctl reload firmware-worker");
    board.guest.wait_console("configuration read again", SLOW);
}

/// As a user of its own, in the group of sound cards, with what the unit leaves the supervisor to give.
fn sound(board: &mut Board) {
    let _judge = board.seen("sound");
    let thread = "$(grep -lsx mic-capture /proc/[0-9]*/task/*/comm)";
    // Priority and policy: SCHED_FIFO is 1.
    let scheduled = format!("busybox awk '{{print $40, $41}}' $(dirname {thread})/stat");
    let is_urgent = || (board.run(&scheduled) == "5 1 0").then_some(());
    poll::until("the card's thread has real-time priority", SLOW, is_urgent);
    let process = format!("p=/proc/$(echo {thread} | cut -d/ -f3); grep -h -e Uid: -e VmLck: -e 'realtime timeout'");
    let owner = board.must(&format!("{process} $p/status $p/limits"));
    assert!(owner.starts_with("Uid: 7") && !owner.contains("VmLck: 0 kB"), "{owner}");
    assert!(owner.contains("Max realtime timeout 50000 "), "{owner}");
    // Of all threads of all processes of the unit, which come and go.
    let group = "/sys/fs/cgroup$(systemctl show -p ControlGroup --value firmware-worker)";
    let policy = "sed 's/.*) //' /proc/$t/stat | cut -d' ' -f39";
    let urgent = board.must(&format!(
        "for t in $(cat $(find {group} -name cgroup.threads)); do \
         case \"$({policy})\" in 0) ;; '') ;; *) echo $({policy}) $(cat /proc/$t/comm);; esac; done"
    ));
    assert_eq!(urgent, "1 mic-capture", "all that are no ordinary ones");
}

fn killed(board: &mut Board) {
    let _judge = board.seen("killed");
    kill(board, "killed");
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
    kill(board, room);
    assert_eq!(board.run(&count("sleep")), "0 1", "killed with the unit");
}

fn upgraded(board: &mut Board) {
    let room = "upgraded";
    let judge = board.seen(room);
    let sessions = board.sessions(room);
    let main = "systemctl show -p MainPID --value firmware-worker";
    let before = board.must(main);
    let since = "systemctl show -p ActiveEnterTimestampMonotonic --value firmware-worker-system-up";
    let up_since = board.must(since);
    board.must("dpkg -i /test/2.deb");
    assert_eq!(board.must(since), up_since, "a sign that ends tells the worker that the system does");
    assert!(board.must("dpkg-query -W -f '${Version}' firmware-worker").ends_with("-2"));
    assert_eq!(board.must("systemctl is-active firmware-worker"), "active");
    assert_eq!(board.must(main), before, "the same process");
    let program = "readlink /proc/$(systemctl show -p MainPID --value firmware-worker)/exe";
    assert_eq!(board.must(program), "/usr/bin/firmware-worker", "of the program that is installed now");
    let mark = judge.mark();
    judge.wait_from(mark, "the picture goes on", SLOW, |e| e.number("video", "fps") >= FPS);
    assert_eq!(board.sessions(room), sessions, "the upgrade ended no room");
}

/// A job that streams for ever has the unit's drain of 30 s, and time to end before systemd's patience of 45 s does.
fn stopped(board: &mut Board) {
    let room = "stopped";
    let _judge = board.seen(room);
    board.must("systemctl stop firmware-worker");
    assert_eq!(board.must("systemctl show -p Result --value firmware-worker"), "success", "nothing had to be killed");
    assert_eq!(board.sessions(room), Vec::<String>::new());
    board.guest.wait_console(&format!("room {room:?}: ended after"), SLOW);
    let stamp = |board: &mut Board, of: &str| {
        board.must(&format!("systemctl show -p {of} --value firmware-worker")).parse::<u64>().expect("microseconds")
    };
    let took = stamp(board, "InactiveEnterTimestampMonotonic") - stamp(board, "ActiveExitTimestampMonotonic");
    println!("stopped {} ms after it was told to", took / 1000);
    assert!((30..45).contains(&(took / 1_000_000)), "{took} us");
    // So that the purge has something to stop.
    board.must("systemctl start firmware-worker");
    await_ready(board);
}

fn purged(board: &mut Board) {
    board.must("dpkg --purge firmware-worker");
    let found = board
        .must("find / -xdev -name '*firmware-worker*' -not -path '/etc/systemd/system/firmware-worker.service.d*'");
    assert_eq!(found, "", "left by a purge");
    board.must("test ! -e /run/firmware-worker-system-up");
    assert_eq!(board.run("getent group firmware-worker"), "2");
    assert_eq!(board.run(&count("firmware-worker")), "0 1");
    assert_eq!(board.must("cat /boot/firmware/cmdline.txt"), CMDLINE.trim());
}

/// Kills the supervisor and waits until its participant is gone and another one is registered.
#[track_caller]
fn kill(board: &mut Board, room: &str) {
    let main = board.must("systemctl show -p MainPID --value firmware-worker");
    let sessions = board.sessions(room);
    assert_eq!(sessions.len(), 1, "one participant of ours");
    board.guest.type_line(&format!("kill -9 {main}; echo killed {main}"));
    board.guest.wait_console(&format!("killed {main}"), SLOW);
    let killed = poll::monotonic();
    let gone = || (!board.sessions(room).contains(&sessions[0])).then_some(());
    let limit = if soaks() { GONE } else { GONE_EMULATED };
    poll::until("the killed worker's participant is gone", limit, gone);
    let seconds = poll::monotonic() - killed;
    println!("gone {seconds:.1} s after the kill, of {} that it may take", GONE.as_secs());
    // While survivors are waited for, the unit is active without a main process.
    let now = "systemctl show -p MainPID --value firmware-worker";
    let back = format!("until p=$({now}); [ $p != 0 ] && [ $p != {main} ]; do sleep 0.1; done");
    board.must(&back);
    await_ready(board);
}

/// A dispatch that finds no worker is not repeated.
#[track_caller]
fn await_ready(board: &mut Board) {
    board.must("until busybox wget -qO /dev/null http://127.0.0.1:8081/ready; do sleep 0.2; done");
}

/// A command that counts the processes of this name.
fn count(name: &str) -> String {
    format!("cat /proc/[0-9]*/comm | grep -cx {name}")
}
