//! Commands that cameras are read from, as root on a board with cgroup v2: what they may do, and that nothing of them stays.

use super::board::SLOW;
use tests::guest::{Content, Guest};
use tests::paths;
use tests::server::SECRET;

/// Groups of cameras and encoders, as a Debian has them.
const GROUPS: &str = "root:x:0:\nvideo:x:44:\nrender:x:106:\nnogroup:x:65534:\n";

/// No server: cameras that are kept open run without one. Kernels without heaps of buffers get something by that name.
const SCRIPT: &str = "
stty -echo
mkdir -p /dev/dma_heap
[ -e /dev/dma_heap/system ] || mknod /dev/dma_heap/system c 1 3
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
        ("/etc/group", 0o644, Content::Text(GROUPS)),
    ];
    Guest::boot(name, &files, SCRIPT)
}

#[test]
fn a_command_has_no_network_no_foreign_files_and_devices_and_no_rights() {
    let who = "echo uid=$(id -u) groups=$(id -G | tr ' ' ,) caps=$(grep CapEff /proc/self/status | cut -f2) \
               most=$(grep CapBnd /proc/self/status | cut -f2) $(grep NoNewPrivs /proc/self/status) \
               processes=$(ls -d /proc/[0-9]* | wc -l) >&2; exit 3";
    let files = "touch /mine 2>&1 | tail -c 22 >&2; touch /tmp/mine && ls /tmp >&2; \
                 echo dev $(ls /dev | tr '\\n' ' ') heaps $(ls /dev/dma_heap) >&2; exit 3";
    let network = "nc -w 2 10.0.2.2 9 2>&1 </dev/null | tail -c 24 >&2; grep -c : /proc/net/dev >&2; exit 3";
    let mut guest = boot("sandbox", &[("who", who), ("files", files), ("network", network)]);
    let lost =
        |guest: &Guest, camera: &str| guest.wait_console(&format!("device {camera}: lost: \"sh\" ended with"), SLOW);
    let who = lost(&guest, "who");
    let nothing = "caps=0000000000000000 most=0000000000000000 NoNewPrivs: 1 processes=";
    assert!(who.contains(&format!("uid=65534 groups=65534,44,106 {nothing}")), "{who}");
    let processes = who.split("processes=").nth(1).and_then(|rest| rest.split(' ').next()?.trim().parse::<u32>().ok());
    // The keeper, the shell, and what it starts to count.
    assert!(processes.is_some_and(|processes| processes <= 6), "{who}");
    let files = lost(&guest, "files");
    assert!(files.contains("Read-only file system | mine | "), "{files}");
    let (devices, heaps) = files.split_once("| dev ").and_then(|(_, rest)| rest.split_once(" heaps ")).expect("both");
    assert!(heaps.split_whitespace().any(|heap| heap == "system"), "{files}");
    let of_cameras = |name: &&str| name.starts_with("video") || name.starts_with("media");
    let (nodes, others): (Vec<_>, Vec<_>) = devices.split_whitespace().partition(of_cameras);
    // There since Debian 13.
    let others: Vec<_> = others.into_iter().filter(|name| *name != "udmabuf").collect();
    assert_eq!(others.join(" "), "dma_heap fd full null random stderr stdin stdout urandom zero");
    // Media devices are there where the kernel has them.
    let board = guest.must("ls /dev | grep -e ^video -e ^media", SLOW);
    assert!(!nodes.is_empty() && nodes.join(" ") == board, "{nodes:?}, the board has {board}");
    let network = lost(&guest, "network");
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
