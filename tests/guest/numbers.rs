//! Numbers of processes, which come again when there are no more.

use super::board::{self, SLOW};
use super::limits::{is_steady, streaming};
use tests::Server;
use tests::guest::Guest;
use tests::worker::{AGENT, NO_RESTART};

/// A kernel that has come to its last number begins with 300 again, so what the test kills must not have a lower one. Of the
/// rest there are few, so that the end comes soon.
const FEW: &str = "n=0; while [ $n -lt 300 ]; do (:); n=$((n + 1)); done\necho 700 > /proc/sys/kernel/pid_max\n";

/// Starts processes that have nothing to do with the worker until one of them has the number `$1`.
const TAKE: &str = "take() { n=0; while [ $n -lt 1500 ]; do sleep 9999 </dev/null >/dev/null 2>&1 & \
    [ $! = $1 ] && return; kill -9 $!; wait $! 2>/dev/null; n=$((n + 1)); done; return 1; }";

#[test]
fn a_number_that_comes_again_is_nobodys_whom_the_worker_ends_and_jobs_go_on_and_start() {
    let server = Server::start_for_guest();
    let devices = format!("{}{}{NO_RESTART}", board::camera(), board::MICROPHONE);
    let mut guest = board::boot_with("numbers", &server, &devices, &format!("{FEW}{}\n", board::VOICE), &[]);
    guest.type_line(TAKE);
    let judge = streaming(&server, "guest-stays");
    server.api().dispatch("guest-ends", AGENT, "");
    let started = guest.wait_console("room \"guest-ends\": starting in process ", SLOW);
    let job = started.trim().rsplit(' ').next().expect("a number").to_owned();
    guest.wait_console("room \"guest-ends\": joined", SLOW);
    guest.type_line(&format!("kill -9 {job}"));
    let end = guest.wait_console("room \"guest-ends\": failed", SLOW);
    assert!(end.contains("killed by signal 9"), "{end}");
    take(&mut guest, &job);
    server.api().dispatch("guest-next", AGENT, "");
    guest.wait_console("room \"guest-next\": joined", SLOW);
    let mark = judge.mark();
    judge.wait_from(mark, "a steady second", SLOW, is_steady);
    assert!(judge.events().iter().all(|e| e.name() != "participant_left"), "the other job stayed");
    assert_lives(&mut guest, &job);

    // What a supervisor has left behind is still told from what another has whose number is the same.
    let supervisor = guest.must("cat /sys/fs/cgroup/supervisor/cgroup.procs", SLOW);
    guest.type_line(&format!("kill -9 {supervisor}; wait {supervisor}"));
    let leaves = format!("ls /sys/fs/cgroup | grep -c '^fw-{supervisor}-'");
    assert!(!guest.run(&leaves, SLOW).starts_with("0 "), "it has removed none");
    take(&mut guest, &supervisor);
    guest.type_line("/firmware-worker start --config /worker.toml &");
    guest.must("until wget -qO /dev/null http://127.0.0.1:8081/ready; do sleep 0.2; done", SLOW);
    assert_eq!(guest.run(&leaves, SLOW), "0 1", "all are removed");
    server.api().dispatch("guest-again", AGENT, "");
    guest.wait_console("room \"guest-again\": joined", SLOW);
    assert_lives(&mut guest, &supervisor);
    assert_lives(&mut guest, &job);
}

#[track_caller]
fn take(guest: &mut Guest, number: &str) {
    // Not by `must`: what it starts there would belong to a shell that ends.
    guest.type_line(&format!("take {number} && echo {number} \"is taken\" || echo {number} \"is free\""));
    let said = guest.wait_console(&format!("{number} is "), 2 * SLOW);
    assert!(said.contains("is taken"), "{said}");
}

#[track_caller]
fn assert_lives(guest: &mut Guest, number: &str) {
    assert_eq!(guest.must(&format!("cat /proc/{number}/comm"), SLOW), "sleep");
}
