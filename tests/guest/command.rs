//! Commands that cameras are read from, as root on a board with cgroup v2: what they may do, and that nothing of them stays.

use super::board::SLOW;
use tests::guest::{Content, Guest};
use tests::paths;
use tests::server::SECRET;

/// No server: cameras that are kept open run without one.
const SCRIPT: &str = "
/firmware-worker start --config /worker.toml &
W=$!
while read -r line; do eval \"$line\"; done
";

/// Boots a worker with cameras of these names, each read from a shell script.
fn boot(name: &str, cameras: &[(&str, &str)]) -> Guest {
    let mut config =
        "[server]\nurl = \"ws://127.0.0.1:9\"\napi_key = \"key\"\napi_secret_file = \"/secret\"\n".to_owned();
    for (name, script) in cameras {
        let camera = format!("[[camera]]\nname = \"{name}\"\ndevice = \"pipe\"\nwarm = true\n");
        config += &format!("{camera}command = [\"sh\", \"-c\", '''{script}''']\n");
    }
    let worker = paths::guest_worker();
    let files = [
        ("/firmware-worker", 0o755, Content::File(&worker)),
        ("/worker.toml", 0o644, Content::Text(&config)),
        ("/secret", 0o600, Content::Text(SECRET)),
    ];
    Guest::boot(name, &files, SCRIPT)
}

#[test]
fn a_command_has_no_network_no_foreign_files_and_devices_and_no_rights() {
    let who = "echo uid=$(id -u) caps=$(grep CapEff /proc/self/status | cut -f2) $(grep NoNewPrivs /proc/self/status) \
               processes=$(ls -d /proc/[0-9]* | wc -l) >&2; exit 3";
    let files = "touch /mine 2>&1 | tail -c 22 >&2; touch /tmp/mine && ls /tmp >&2; \
                 echo dev $(ls /dev | grep -v video | tr '\\n' ' ') >&2; exit 3";
    let network = "nc -w 2 10.0.2.2 9 2>&1 </dev/null | tail -c 24 >&2; grep -c : /proc/net/dev >&2; exit 3";
    let guest = boot("sandbox", &[("who", who), ("files", files), ("network", network)]);
    let lost = |camera: &str| guest.wait_console(&format!("device {camera}: lost: \"sh\" ended with"), SLOW);
    let who = lost("who");
    assert!(who.contains("uid=65534 caps=0000000000000000 NoNewPrivs: 1 processes="), "{who}");
    let processes = who.split("processes=").nth(1).and_then(|rest| rest.split(' ').next()?.trim().parse::<u32>().ok());
    // The keeper, the shell, and what it starts to count.
    assert!(processes.is_some_and(|processes| processes <= 6), "{who}");
    let files = lost("files");
    assert!(files.contains("Read-only file system | mine | "), "{files}");
    let devices = files.split("| dev ").nth(1).unwrap_or_else(|| panic!("{files}"));
    // Media devices are there where the kernel has them; udmabuf since Debian 13.
    let devices: Vec<_> = devices.split_whitespace().filter(|name| !["media0", "udmabuf"].contains(name)).collect();
    assert_eq!(devices.join(" "), "fd full null random stderr stdin stdout urandom zero");
    let network = lost("network");
    assert!(network.contains("Network is unreachable | 1"), "{network}");
    assert!(guest.console().find(&["its command: "]).is_none(), "a layer is missing: {}", guest.console().text());
}

/// Counts what scripts have left, under a name that the console has not shown yet.
fn left(guest: &mut Guest, mark: &str) -> u32 {
    guest.type_line(&format!("echo {mark} \"is\" $(ps | grep -c '[s]leep 77[7]')"));
    let line = guest.wait_console(&format!("{mark} is "), SLOW);
    line.trim().rsplit(' ').next().and_then(|count| count.parse().ok()).unwrap_or_else(|| panic!("{line}"))
}

/// It starts what hears no signal and belongs to no group, session or parent of it.
const DAEMON: &str = "(trap \"\" TERM HUP INT; setsid sleep 777 </dev/null >/dev/null 2>&1 &)";

#[test]
fn nothing_that_a_command_starts_outlives_it_its_owner_or_the_supervisor() {
    let restarts = format!("{DAEMON}; sleep 0.2; exit 3");
    let stubborn = format!("trap \"\" TERM; {DAEMON}; while :; do sleep 1; done");
    let mut guest = boot("daemons", &[("restarts", &restarts), ("stubborn", &stubborn)]);
    guest.wait_console("device restarts: lost", SLOW);
    guest.type_line("echo limit is $(cat /sys/fs/cgroup/*command*/memory.max | sort -u)");
    guest.wait_console("limit is 268435456", SLOW);
    guest.wait_console("device stubborn: lost: \"sh\" wrote no H.264 keyframe in Annex B for 10 s", SLOW);
    // Of each the newest at most, after several have run.
    let count = left(&mut guest, "running");
    assert!(count <= 2, "{count} are left of {}", guest.console().text());
    guest.type_line("kill -9 $W; sleep 1");
    assert_eq!(left(&mut guest, "orphaned"), 0);
    guest.type_line("/firmware-worker start --config /worker.toml & W=$!");
    guest.type_line("sleep 3; kill -TERM $W; wait $W");
    assert_eq!(left(&mut guest, "stopped"), 0);
    guest.type_line("echo leaves are $(ls -d /sys/fs/cgroup/*command* 2>/dev/null | wc -l)");
    guest.wait_console("leaves are 0", SLOW);
}
