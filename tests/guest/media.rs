//! Camera and microphone of the board, through the worker in the guest, to a subscriber on the host.

use std::process::Command;
use std::time::Duration;
use tests::guest::{Content, Guest, HOST};
use tests::server::{KEY, SECRET, Server};
use tests::worker::AGENT;
use tests::{Judge, paths};

/// Everything in the guest runs about twenty times slower than on the host.
const SLOW: Duration = Duration::from_secs(60);

/// White to black, as vivid's test picture shows them.
const BARS: &str = "WYCGMRBK";

/// Plays the voice into one end of the loopback card for ever; the worker captures from the other end.
const SCRIPT: &str = "
(while :; do aplay -q -D plughw:0,0 /usr/share/sounds/Front_Center.wav; done) &
exec /firmware-worker start --config /worker.toml
";

#[test]
fn a_subscriber_sees_the_colour_bars_and_hears_the_voice_of_the_board() {
    let server = Server::start_for_guest();
    let room = "guest-media";
    let guest = boot(&server);
    guest.wait_console("registered", SLOW);
    let folder = std::env::temp_dir().join(format!("guest-media-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("the temporary directory is writable");
    let (picture, sound) = (folder.join("picture.png"), folder.join("sound.wav"));
    let (picture, sound) = (picture.to_str().expect("a plain path"), sound.to_str().expect("a plain path"));
    let options = ["--save-png", picture, "--save-wav", sound];
    let judge = Judge::join_with(&server, &server.join_token(room, "judge"), &options);
    server.api().dispatch(room, AGENT, "");
    judge.event("first_video", SLOW);
    judge.event("first_audio", SLOW);
    judge.event("picture", SLOW);
    judge.event("sound", SLOW);
    assert_eq!(known(&["bars", picture]), BARS);
    let voice: f64 = known(&["voice", sound, voice()]).parse().expect("a number");
    assert!(voice > 0.5, "the decoded sound correlates by {voice} with the voice that was played");
    let second = judge.wait("a steady second", SLOW, |e| e.name() == "second" && e.number("video", "fps") >= 13.0);
    assert_eq!((second.number("video", "width"), second.number("video", "height")), (640.0, 360.0));
    // A leftover in the temporary directory is no failure.
    let _ = std::fs::remove_dir_all(&folder);
}

fn boot(server: &Server) -> Guest {
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
    Guest::boot("media", &files, SCRIPT)
}

fn voice() -> &'static str {
    let path = paths::guest_image().join("voice.wav");
    path.to_str().expect("a plain path").to_owned().leak()
}

/// Asks `known.py` about a decoded picture or sound.
fn known(arguments: &[&str]) -> String {
    let script = paths::root().join("tests/judge/known.py");
    let output = Command::new(paths::python()).arg(script).args(arguments).output().expect("Python starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}
