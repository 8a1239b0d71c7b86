//! The systemd unit of the package: what it must say, what it must not, and why.

use firmware_worker::cli::exit;
use firmware_worker::config::UNIT;
use firmware_worker::supervisor::{BOUNDING_SET, SIGN};
use std::fs;
use std::path::Path;
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

/// `/proc/PID/fd` is its user's alone to list, and to follow for who may trace it.
#[test]
fn the_supervisor_finds_a_camera_that_another_user_holds() {
    for capability in ["CAP_DAC_READ_SEARCH", "CAP_SYS_PTRACE"] {
        assert!(BOUNDING_SET.contains(&capability), "without {capability} its holder cannot be named");
    }
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
    // Nothing else ends a supervisor that stands still, or a child that outlives its supervisor.
    assert_eq!(one(&unit, "WatchdogSec"), "30");
}

#[test]
fn what_is_kept_for_the_worker_is_kept_by_all_that_it_lies_in() {
    assert_eq!((one(&unit(), "MemoryLow"), one(&unit(), "Slice")), ("64M", "-.slice"));
}

/// A job that bridges devices never ends by itself, and the drain of a worker without these is an hour. What the worker warns by
/// is what the unit has.
#[test]
fn every_unit_has_defaults_whose_drain_is_over_before_a_stop_and_that_say_when_that_is() {
    let root = paths::root();
    let images = root.join("images");
    for (start, folder) in [
        ("packaging/firmware-worker.service", ""),
        ("images/root/usr/lib/systemd/system/firmware-worker.service.d/image.conf", "root"),
        ("images/rpi-os/root/etc/systemd/system/firmware-worker.service.d/board.conf", "rpi-os/root"),
    ] {
        let unit = read(&root.join(start));
        let command = all(&unit, "ExecStart").pop().expect("its own start");
        let defaults = command.split_once("--defaults ").unwrap_or_else(|| panic!("{start}: no defaults: {command}")).1;
        match defaults {
            // Of the package, which the images have too.
            UNIT => assert_stop_waits(&text("unit.toml")),
            of_the_image => assert_stop_waits(&read(&images.join(folder).join(of_the_image.trim_start_matches('/')))),
        }
    }
}

/// Nobody's file brings the drain of an hour back: what people edit does not say it.
#[test]
fn the_packages_configuration_leaves_the_drain_to_the_defaults() {
    assert!(text("config.toml").lines().all(|line| !line.starts_with("drain_timeout_s")));
}

#[track_caller]
fn assert_stop_waits(config: &str) {
    /// `shutdown_timeout_s` as it is without being written.
    const SHUTDOWN_S: i64 = 10;
    let seconds = |key: &str| config.lines().find_map(|line| line.strip_prefix(key)?.parse::<i64>().ok());
    let drain = seconds("drain_timeout_s = ").expect("a drain of its own");
    let stop: i64 = one(&unit(), "TimeoutStopSec").parse().expect("whole seconds");
    assert!(stop > drain + SHUTDOWN_S, "{stop} s, a drain of {drain} s");
    assert_eq!(seconds("stop_timeout_s = "), Some(stop), "what the worker is told");
}

/// What comes after the worker is stopped before it where both are, and nothing else may stop it. The worker takes its end for
/// the system's.
#[test]
fn the_sign_that_the_system_stays_up_ends_before_the_worker_by_no_program_and_never_with_the_worker_alone() {
    let sign = text("firmware-worker-system-up.service");
    assert_eq!(one(&sign, "After"), "firmware-worker.service");
    assert_eq!((one(&sign, "Type"), one(&sign, "RemainAfterExit")), ("oneshot", "yes"));
    assert_eq!(format!("/run/{}", one(&sign, "RuntimeDirectory")), SIGN);
    // What the defaults would say; without it nothing would stop it before all processes are killed.
    let ends = (one(&sign, "DefaultDependencies"), one(&sign, "Conflicts"), one(&sign, "Before"));
    assert_eq!(ends, ("no", "shutdown.target", "shutdown.target"));
    let keys =
        sign.lines().filter_map(|line| line.split_once('=')).map(|(key, _)| key).filter(|key| !key.starts_with('#'));
    // Others would stop it with the worker, start a program for its end, or keep the directory: Requires, PartOf, BindsTo, ExecStop,
    // RuntimeDirectoryPreserve. Nobody enables it: it is static.
    let known = [
        "Description",
        "Documentation",
        "DefaultDependencies",
        "After",
        "Conflicts",
        "Before",
        "Type",
        "RemainAfterExit",
        "ExecStart",
        "RuntimeDirectory",
    ];
    assert_eq!(keys.collect::<Vec<_>>(), known);
}

/// Each way of a start brings the sign, and no image has to.
#[test]
fn the_worker_wants_its_sign_and_leaves_the_order_to_it() {
    let own = unit();
    let about: Vec<_> = own.lines().filter(|line| line.contains("system-up")).collect();
    assert_eq!(about, ["Wants=firmware-worker-system-up.service"]);
    for unit in [
        "images/root/usr/lib/systemd/system/firmware-worker.service.d/image.conf",
        "images/rpi-os/root/etc/systemd/system/firmware-worker.service.d/board.conf",
    ] {
        assert!(
            !read(&paths::root().join(unit)).contains("system-up"),
            "{unit}: what the package's unit says is enough"
        );
    }
}

/// Its program has nothing to do, but must be there: in an image busybox is.
#[test]
fn the_images_have_what_the_sign_is_started_by() {
    let units = read(&paths::root().join("images/units"));
    assert!(!units.contains("system-up"), "it cannot be enabled, and must not be masked");
    let start = one(&text("firmware-worker-system-up.service"), "ExecStart").to_owned();
    let program = start.strip_prefix("/usr/bin/").expect("where busybox is linked");
    let script = read(&paths::root().join("images/build/root.sh"));
    let linked = script.split_once("for bin in ").and_then(|(_, rest)| rest.split_once("; do")).expect("its list").0;
    assert!(linked.split_whitespace().any(|name| name == program), "{linked}");
}

fn text(file: &str) -> String {
    read(&paths::root().join("packaging").join(file))
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
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
