//! The systemd unit of the package: what it must say, what it must not, and why.

use firmware_worker::cli::exit;
use firmware_worker::supervisor::BOUNDING_SET;
use std::fs;
use tests::paths;

/// Hardening that `systemd-analyze security` asks for and that would break the worker.
const BREAKS: [(&str, &str); 7] = [
    ("ProtectControlGroups", "the supervisor makes a cgroup for each child and writes its limits"),
    ("PrivateDevices", "owners need /dev/video* and /dev/snd"),
    ("ProtectClock", "implies a device allow-list, and that hides cameras and cards"),
    ("RestrictNamespaces", "children get mount, PID and network namespaces of their own"),
    ("RestrictRealtime", "the thread that reads a sound card runs as SCHED_FIFO"),
    ("PrivateUsers", "uids of jobs must be real, and CAP_SYS_ADMIN must hold on the cgroup hierarchy"),
    ("MemoryDenyWriteExecute", "a camera's command or an own entrypoint may compile at run time"),
];

#[test]
fn no_hardening_is_on_that_breaks_the_worker() {
    let unit = unit();
    for (key, why) in BREAKS {
        assert!(all(&unit, key).is_empty(), "{key} must not be set: {why}");
    }
}

#[test]
fn no_child_inherits_what_only_the_thread_of_a_sound_card_may_have() {
    // CAP_SYS_RESOURCE raises these for that one process.
    for key in ["LimitRTPRIO", "LimitMEMLOCK", "LimitNICE", "LimitRTTIME"] {
        assert!(all(&unit(), key).is_empty(), "{key} holds for jobs too");
    }
}

#[test]
fn the_supervisor_may_do_what_it_must_and_no_more() {
    assert_eq!(all(&unit(), "CapabilityBoundingSet"), [BOUNDING_SET.join(" ")]);
}

#[test]
fn a_worker_that_ends_comes_back_but_for_a_wrong_configuration() {
    let unit = unit();
    assert_eq!(one(&unit, "Restart"), "always");
    assert_eq!(one(&unit, "RestartSec"), "100ms");
    assert_eq!(one(&unit, "StartLimitIntervalSec"), "0");
    let codes = format!("{} {}", exit::USAGE, exit::CONFIGURATION);
    assert_eq!(one(&unit, "RestartPreventExitStatus"), codes);
}

#[test]
fn children_outlive_a_dead_supervisor_for_their_sign_off_and_a_killed_job_ends_no_unit() {
    let unit = unit();
    assert_eq!(one(&unit, "ExitType"), "cgroup");
    assert_eq!(one(&unit, "KillMode"), "mixed");
    assert_eq!(one(&unit, "OOMPolicy"), "continue");
    assert_eq!(one(&unit, "Delegate"), "yes");
    assert_eq!(one(&unit, "RuntimeDirectoryPreserve"), "restart");
    assert_eq!(one(&unit, "Type"), "notify");
}

#[test]
fn a_stop_waits_longer_than_a_drain_of_the_packaged_configuration() {
    let config = text("config.toml");
    let drain = config.lines().find_map(|line| line.strip_prefix("drain_timeout_s = ")?.parse::<i64>().ok());
    let drain = drain.expect("packaged with a drain of its own");
    let stop: i64 = one(&unit(), "TimeoutStopSec").parse().expect("whole seconds");
    /// `shutdown_timeout_s` as it is without being written.
    const SHUTDOWN_S: i64 = 10;
    assert!(stop > drain + SHUTDOWN_S, "{stop} s, a drain of {drain} s");
}

fn text(file: &str) -> String {
    let path = paths::root().join("packaging").join(file);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn unit() -> String {
    text("firmware-worker.service")
}

fn all<'a>(unit: &'a str, key: &str) -> Vec<&'a str> {
    unit.lines().filter_map(|line| line.strip_prefix(key)?.strip_prefix('=')).collect()
}

fn one<'a>(unit: &'a str, key: &str) -> &'a str {
    let [value] = all(unit, key)[..] else { panic!("{key} is not there once") };
    value
}
