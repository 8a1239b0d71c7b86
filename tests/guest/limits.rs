//! Limits that only a real cgroup v2 hierarchy enforces.

use super::board::{self, SLOW};
use tests::Server;
use tests::worker::{AGENT, NO_RESTART};

/// Names the leaf that holds the process of the running job (the prewarmed process has one of its own).
const NAME_LEAF: &str = "pid=$(wget -qO- http://127.0.0.1:8081/worker | sed 's/.*\"participant\":\"PA_[^}]*\"pid\":\\([0-9]*\\).*/\\1/'); \
     leaf=/sys/fs/cgroup$(sed -n 's/^0:://p' /proc/$pid/cgroup)";

#[test]
fn a_job_over_its_memory_limit_ends_failed_by_name_in_a_leaf_of_its_own() {
    let server = Server::start_for_guest();
    let room = "guest-limits";
    let devices = format!("{}{}{NO_RESTART}", board::CAMERA, board::MICROPHONE);
    let mut guest = board::boot_with("limits", &server, &devices, "", &[]);
    server.api().dispatch(room, AGENT, "");
    guest.wait_console("joined as", SLOW);
    guest.type_line(NAME_LEAF);
    guest.type_line("echo limits: $(cat $leaf/memory.max) $(cat $leaf/pids.max) $(cat $leaf/cgroup.procs) is $pid");
    let limits = guest.wait_console("limits: 6", SLOW);
    let words: Vec<_> = limits.trim().rsplit(' ').take(3).collect();
    assert!(limits.contains(&(64 * 1024 * 1024).to_string()), "{limits}");
    assert_eq!(words[0], words[2], "the leaf holds the job alone: {limits}");
    // What a leak would do, without waiting for one: what the job holds is more than it may have.
    guest.type_line("echo 500000 > $leaf/memory.max");
    guest.wait_console("memory limit 64 MiB exceeded", SLOW);
    guest.type_line("sleep 1; echo leaf: $(ls -d $leaf 2>/dev/null) end");
    guest.wait_console("leaf: end", SLOW);
    tests::poll::until("the participant is gone", SLOW, || server.api().identities(room).is_empty().then_some(()));
}
