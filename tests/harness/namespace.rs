//! A test in a network of its own: it runs itself again in a new network namespace.

use std::process::Command;

/// Tells the second run that it is the second.
const INSIDE: &str = "FIRMWARE_WORKER_TEST_NAMESPACE";

/// The board's and the server's address there. Not `::1`, which pion, the server's ICE, never offers.
pub const ADDRESS: &str = "fd00:6c6b::1";

/// Loopback for HTTP of the test's own, and a cable to nowhere with the address.
const SCRIPT: &str = "ip link set lo up && ip link add board type veth peer name cable && ip link set cable up && \
                      ip link set board up && ip -6 address add $0/64 dev board nodad && exec \"$@\"";

/// Runs `test`, which is the body of the test named `name` in full, where there is no IPv4 but loopback's.
pub fn without_ipv4(name: &str, test: impl FnOnce()) {
    if std::env::var_os(INSIDE).is_some() {
        return test();
    }
    let this = std::env::current_exe().expect("a test knows its file");
    let mut command = Command::new("unshare");
    if !rustix::process::geteuid().is_root() {
        command.arg("--map-root-user");
    }
    command.args(["--net", "--", "sh", "-c", SCRIPT, ADDRESS]).arg(this);
    command.args(["--exact", name, "--nocapture", "--include-ignored"]).env(INSIDE, "1");
    let output = command.output().expect("unshare, of util-linux, starts");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let said = text(&output.stdout) + &text(&output.stderr);
    assert!(output.status.success() && said.contains("1 passed"), "in a network of its own:\n{said}");
}
