//! A board with the worker on it: vivid as camera, a voice played for ever into the loopback card.

use std::time::Duration;
use tests::guest::{Content, Guest, HOST};
use tests::paths;
use tests::server::{KEY, SECRET, Server};
use tests::worker::AGENT;

/// Everything in the guest runs about twenty times slower than on the host.
pub const SLOW: Duration = Duration::from_secs(60);

/// The worker captures from the other end of the card. Then whatever the test types is run.
const SCRIPT: &str = "
(while :; do aplay -q -D plughw:0,0 /usr/share/sounds/Front_Center.wav; done) &
/firmware-worker start --config /worker.toml &
while read -r line; do eval \"$line\"; done
";

/// Boots it and waits until it is registered.
pub fn boot(name: &str, server: &Server) -> Guest {
    let config = format!(
        "[server]\nurl = \"ws://{HOST}:{}\"\napi_key = \"{KEY}\"\napi_secret_file = \"/secret\"\n\
         [worker]\nagent_name = \"{AGENT}\"\n\
         [[camera]]\nname = \"camera\"\ndevice = \"auto\"\nwidth = 640\nheight = 360\nfps = 15\nbitrate = 500000\n\
         [[microphone]]\nname = \"microphone\"\ndevice = \"hw:CARD=Loopback,DEV=1\"\n",
        server.address().port()
    );
    let worker = paths::guest_worker();
    let files = [
        ("/firmware-worker", 0o755, Content::File(&worker)),
        ("/worker.toml", 0o644, Content::Text(&config)),
        ("/secret", 0o600, Content::Text(SECRET)),
    ];
    let guest = Guest::boot(name, &files, SCRIPT);
    guest.wait_console("registered as", SLOW);
    guest
}
