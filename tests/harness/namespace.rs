//! A test in a network, or on a disk, of its own: it runs itself again in a new namespace.

use std::path::Path;
use std::process::Command;

/// Tells the second run that it is the second.
const INSIDE: &str = "FIRMWARE_WORKER_TEST_NAMESPACE";

/// The board's and the server's address there. Not `::1`, which pion, the server's ICE, never offers.
pub const ADDRESS: &str = "fd00:6c6b::1";

/// Loopback for HTTP of the test's own, and a cable to nowhere with the address.
const NETWORK: &str = "ip link set lo up && ip link add board type veth peer name cable && ip link set cable up && \
                      ip link set board up && ip -6 address add $0/64 dev board nodad && exec \"$@\"";

/// A file system on which little has room, for all that is temporary.
const DISK: &str = "mount -t tmpfs -o size=256k small $0 && export TMPDIR=$0 && exec \"$@\"";

/// As on a board that starts: nobody keeps a `resolv.conf` there yet.
const RUN: &str = "mount -t tmpfs run $0 && exec \"$@\"";

/// Loopback alone, and an `/etc` and a `/run` that are empty but for how names are looked up.
const NAMES: &str = "ip link set lo up && mount -t tmpfs etc $0 && mount -t tmpfs run /run && \
                    echo hosts: files dns > $0/nsswitch.conf && exec \"$@\"";

/// Runs `test`, which is the body of the test named `name` in full, where it can say who resolves names, and be that.
pub fn with_names_of_its_own(name: &str, test: impl FnOnce()) {
    inside(&["--mount", "--net"], NAMES, "/etc", name, test);
}

/// Runs `test`, which is the body of the test named `name` in full, with an empty `/run` that is nobody else's.
pub fn on_an_empty_run(name: &str, test: impl FnOnce()) {
    inside(&["--mount"], RUN, "/run", name, test);
}

/// Runs `test`, which is the body of the test named `name` in full, where there is no IPv4 but loopback's.
pub fn without_ipv4(name: &str, test: impl FnOnce()) {
    inside(&["--net"], NETWORK, ADDRESS, name, test);
}

/// Runs `test`, which is the body of the test named `name` in full, with a directory for temporary files that has room for
/// 256 KiB, and is nobody else's.
pub fn on_a_small_disk(name: &str, test: impl FnOnce(&Path)) {
    let place = std::env::temp_dir().join(format!("small-disk-{}", std::process::id()));
    if std::env::var_os(INSIDE).is_some() {
        return test(&std::env::temp_dir());
    }
    std::fs::create_dir(&place).expect("the temporary directory is writable");
    inside(&["--mount"], DISK, &place.to_string_lossy(), name, || ());
    std::fs::remove_dir(&place).expect("what was in it was never seen here");
}

fn inside(namespaces: &[&str], script: &str, argument: &str, name: &str, test: impl FnOnce()) {
    if std::env::var_os(INSIDE).is_some() {
        return test();
    }
    let this = std::env::current_exe().expect("a test knows its file");
    let mut command = Command::new("unshare");
    if !rustix::process::geteuid().is_root() {
        command.arg("--map-root-user");
    }
    command.args(namespaces).args(["--", "sh", "-c", script, argument]).arg(this);
    command.args(["--exact", name, "--nocapture", "--include-ignored"]).env(INSIDE, "1");
    let output = command.output().expect("unshare, of util-linux, starts");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let said = text(&output.stdout) + &text(&output.stderr);
    assert!(output.status.success() && said.contains("1 passed"), "in a namespace of its own:\n{said}");
}
