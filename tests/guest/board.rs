//! A board with the worker on it: vivid as camera, and the loopback card, into which a voice is played for ever or the
//! worker itself plays.

use std::path::Path;
use std::time::Duration;
use tests::guest::{Content, File, Guest, HOST};
use tests::paths;
use tests::server::{KEY, SECRET, Server};
use tests::worker::AGENT;

/// Everything in the guest runs about twenty times slower than on the host.
pub const SLOW: Duration = Duration::from_secs(60);

/// The worker captures from the other end of the card.
pub const VOICE: &str = "(while :; do aplay -q -D plughw:0,0 /usr/share/sounds/Front_Center.wav; done) &";

/// Then whatever the test types is run, and not echoed.
const SCRIPT: &str = "
stty -echo
/firmware-worker start --config /worker.toml &
while read -r line; do eval \"$line\"; done
";

/// Small, as encoding 640x360 takes an emulated processor 60 ms of the 67 between two pictures.
const CAMERA: &str = "[[camera]]\nwidth = 320\nheight = 180\nfps = 15\nbitrate = 300000\n";
const CAMERA_SOAK: &str = "[[camera]]\nwidth = 640\nheight = 360\nfps = 15\nbitrate = 500000\n";
pub const MICROPHONE: &str = "[[microphone]]\ndevice = \"hw:CARD=Loopback,DEV=1\"\n";
const SPEAKER: &str = "[[speaker]]\ndevice = \"hw:CARD=Loopback,DEV=0\"\n[job]\nplay = true\n";

/// Whether tests run in full, as `tools/test soak` asks.
pub fn soaks() -> bool {
    std::env::var_os("SOAK").is_some()
}

/// Whether the board has the oldest kernel that the worker is written for, as `tools/test soak oldest_kernel` gives it.
pub fn is_oldest() -> bool {
    std::env::var_os("GUEST_OLDEST").is_some()
}

/// The table of the camera.
pub fn camera() -> &'static str {
    if soaks() { CAMERA_SOAK } else { CAMERA }
}

/// Boots it with camera and voice, and waits until it is registered.
pub fn boot(name: &str, server: &Server) -> Guest {
    boot_with(name, server, &format!("{}{MICROPHONE}", camera()), VOICE, &[])
}

/// Boots it without a camera, its speaker played into its own microphone.
pub fn boot_playing(name: &str, server: &Server) -> Guest {
    boot_with(name, server, &format!("{MICROPHONE}{SPEAKER}"), "", &[])
}

/// Boots it with a speaker that its microphone hears, and without a network, runs `script` and powers it off. Its clock counts its
/// instructions, 2 ns each, and leaves idle time out, so that it does not stand still where this machine does.
pub fn boot_alone(name: &str, script: &str) -> Guest {
    let (worker, config) = (paths::guest_worker(), format!("{SPEAKER}{MICROPHONE}"));
    let files = [("/firmware-worker", 0o755, Content::File(&worker)), ("/worker.toml", 0o644, Content::Text(&config))];
    Guest::boot_on(name, &files, script, &["-icount", "shift=1,sleep=off"])
}

/// Boots it with camera and voice on one processor. Its clock counts its instructions, 2 ns each, so that a busy board does not
/// notice where this machine stands still; where it is idle, it waits, as servers do not skip time. Of two processors that are
/// counted, QEMU lets one wait up to 100 ms for the other.
pub fn boot_counting(name: &str, server: &Server) -> Guest {
    let config = format!("{}{MICROPHONE}", camera());
    boot_board(name, server, &paths::guest_worker(), &config, VOICE, &[], &["-smp", "1", "-icount", "shift=1,sleep=on"])
}

/// Boots it with these devices and files after `before` has run, and waits until it is registered.
pub fn boot_with(name: &str, server: &Server, devices: &str, before: &str, extra: &[File<'_>]) -> Guest {
    boot_board(name, server, &paths::guest_worker(), devices, before, extra, &[])
}

/// Boots it with another worker, more of the table `[worker]` and what follows it, after `before` has run, on a machine that
/// differs by these options of QEMU.
pub fn boot_board(
    name: &str,
    server: &Server,
    worker: &Path,
    config: &str,
    before: &str,
    extra: &[File<'_>],
    machine: &[&str],
) -> Guest {
    let config = format!(
        "[server]\nurl = \"ws://{HOST}:{}\"\napi_key = \"{KEY}\"\napi_secret_file = \"/secret\"\n\
         [worker]\nagent_name = \"{AGENT}\"\n{config}",
        server.address().port()
    );
    let mut files = vec![
        ("/firmware-worker", 0o755, Content::File(worker)),
        ("/worker.toml", 0o644, Content::Text(&config)),
        ("/secret", 0o600, Content::Text(SECRET)),
    ];
    files.extend(extra.iter().map(|(path, mode, content)| (*path, *mode, *content)));
    let guest = Guest::boot_on(name, &files, &format!("{before}{SCRIPT}"), machine);
    guest.wait_console("registered as", SLOW);
    guest
}
