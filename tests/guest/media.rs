//! Camera and microphone of the board, through the worker in the guest, to a subscriber on the host.

use super::board::{self, SLOW};
use std::io::Read;
use std::net::{Ipv4Addr, TcpListener};
use std::process::Command;
use tests::guest::HOST;
use tests::judge::Event;
use tests::worker::AGENT;
use tests::{Guest, Judge, Server, paths};

/// White to black, as vivid's test picture shows them.
const BARS: &str = "WYCGMRBK";

/// Correlation with the recorded voice, 0..1, from which on a sound is taken for it.
const ALIKE: f64 = 0.5;

/// Windows of 6 s in which the voice must be heard once.
const WINDOWS: usize = 4;

#[test]
fn a_subscriber_sees_the_colour_bars_and_hears_the_voice_of_the_board() {
    let server = Server::start_for_guest();
    let room = "guest-media";
    let mut guest = board::boot("media", &server);
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
    assert_eq!(known(&["bars", picture]), BARS);
    hear_the_voice(&judge, sound);
    let second = judge.wait("a steady second", SLOW, |e| e.name() == "second" && e.number("video", "fps") >= 13.0);
    assert_eq!((second.number("video", "width"), second.number("video", "height")), (320.0, 180.0));
    drivers_are_measured(&mut guest);
    let still = folder.join("still.jpg");
    std::fs::write(&still, take_picture(&mut guest)).expect("the temporary directory is writable");
    assert_eq!(known(&["bars", still.to_str().expect("a plain path")]), BARS);
    // A leftover in the temporary directory is no failure.
    let _ = std::fs::remove_dir_all(&folder);
}

/// What only a device with a driver has in the metrics, and what its owner does about a slow board.
#[track_caller]
fn drivers_are_measured(guest: &mut Guest) {
    guest.must("wget -qO /metrics http://127.0.0.1:8081/metrics", SLOW);
    let mut number = |name: &str, labels: &str| {
        let value = guest.must(&format!("sed -n 's/^firmware_worker_{name}{{{labels}}} //p' /metrics"), SLOW);
        value.parse::<f64>().unwrap_or_else(|_| panic!("{name} of {labels}: {value:?}"))
    };
    for (device, stage) in [("camera", "capture"), ("camera", "convert"), ("microphone", "capture")] {
        let count = number("stage_seconds_count", &format!("device=\"{device}\",stage=\"{stage}\""));
        assert!(count > 10.0, "{device} {stage}: {count}");
    }
    let level = ["device_peak_dbfs", "device_rms_dbfs"].map(|name| number(name, "device=\"microphone\""));
    assert!(level[1] > -60.0 && level[0] > level[1] && level[0] <= 0.0, "{level:?}");
    assert!((0.0..=4.0).contains(&number("device_saving", "device=\"camera\"")));
}

/// The recorded voice is in what the judge decoded. The first window may miss it: the encoder of the camera begins at the
/// same time, and an emulated board that it overwhelms drops sound until it has found a rate it can keep.
#[track_caller]
fn hear_the_voice(judge: &Judge, sound: &str) {
    let (mut mark, mut heard) = (0, Vec::new());
    for _ in 0..WINDOWS {
        judge.wait_from(mark, "a window of sound", SLOW, |e| e.name() == "sound");
        mark = judge.mark();
        heard.push(known(&["voice", sound, voice()]).parse::<f64>().expect("a number"));
        if heard.last() > Some(&ALIKE) {
            return;
        }
    }
    panic!("the decoded sound correlates by {heard:?} with the voice that was played");
}

/// A picture of the camera that the job has open.
fn take_picture(guest: &mut Guest) -> Vec<u8> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has a free port");
    let port = listener.local_addr().expect("a bound socket has an address").port();
    guest.type_line(&format!(
        "/firmware-worker snapshot camera --config /worker.toml > /still.jpg; nc {HOST} {port} < /still.jpg &"
    ));
    guest.wait_console("from the worker that has it", SLOW);
    let (mut stream, _) = listener.accept().expect("the guest connects");
    let mut picture = Vec::new();
    stream.read_to_end(&mut picture).expect("the guest sends it all");
    picture
}

/// One end of the loopback card to capture from, so that one program has all of it; and that program, which is the one that
/// plays under another name.
const RECORDER: &str = "modprobe -r snd-aloop\nmodprobe snd-aloop pcm_substreams=1\nln -s aplay /usr/bin/arecord\n";

#[test]
fn a_camera_and_a_card_that_are_in_use_and_then_unplugged_come_back_on_the_same_tracks() {
    let server = Server::start_for_guest();
    let room = "guest-unplug";
    // By a name that stays, as the number of its node does not.
    let camera = format!("{}device = \"card:vivid\"\ncontrols = {{ brightness = 77 }}\n", board::camera());
    let before = format!("{RECORDER}{}", board::VOICE);
    let mut guest = board::boot_with("unplug", &server, &format!("{camera}{}", board::MICROPHONE), &before, &[]);
    let (camera, microphone) = hold(&mut guest);
    let judge = Judge::join(&server, room, "judge");
    server.api().dispatch(room, AGENT, "");
    guest.wait_console(&format!("device camera: lost: /dev/video0: in use by firmware-worker (pid {camera})"), SLOW);
    let card = "hw:CARD=Loopback,DEV=1";
    guest.wait_console(&format!("device microphone: lost: {card}: in use by arecord (pid {microphone})"), SLOW);
    guest.must(&format!("kill {camera} {microphone}"), SLOW);
    judge.wait("picture and voice", SLOW, flows);
    guest.wait_console("device camera: /dev/video0 ", SLOW);
    // Who does not notice that a camera is gone keeps its number from being given to the next.
    guest.type_line("exec 7< /dev/video0");
    guest.type_line("echo vivid.0 > /sys/bus/platform/drivers/vivid/unbind");
    guest.wait_console("device camera: lost: /dev/video0: the camera is gone", SLOW);
    guest.type_line("echo snd_aloop.0 > /sys/bus/platform/drivers/snd_aloop/unbind");
    guest.wait_console(&format!("device microphone: lost: {card}: the sound card is gone"), SLOW);
    let mark = judge.mark();
    judge.wait_from(mark, "a still picture", SLOW, |e| e.name() == "second" && e.number("video", "fps") == 0.0);
    let mark = judge.mark();
    guest.type_line("echo vivid.0 > /sys/bus/platform/drivers/vivid/bind");
    guest.type_line("echo snd_aloop.0 > /sys/bus/platform/drivers/snd_aloop/bind");
    judge.wait_from(mark, "picture and voice again", SLOW, flows);
    guest.wait_console("device camera: /dev/video1 ", SLOW);
    assert!(judge.events().iter().all(|e| e.name() != "participant_left"), "the job stayed");
    let tracks = judge.events().iter().filter(|e| e.name() == "track_subscribed").count();
    assert_eq!(tracks, 2, "one picture and one sound for the whole time");
    is_set_again(&mut guest);
}

fn flows(e: &Event) -> bool {
    e.number("video", "fps") >= 13.0 && e.number("audio", "level_dbfs") > -50.0
}

/// The driver begins with 128.
fn is_set_again(guest: &mut Guest) {
    guest.must("/firmware-worker devices --json > /devices.json", SLOW);
    let brightness = guest.must("tr -d '\\n ' < /devices.json | grep -o '\"name\":\"brightness\"[^}]*'", SLOW);
    assert!(brightness.contains("\"value\":77"), "{brightness}");
    guest.must("grep '\"auto\": \"/dev/video1\"' /devices.json", SLOW);
}

/// Has programs stream from the camera and from the card, which no job wants yet; their processes.
fn hold(guest: &mut Guest) -> (String, String) {
    let mut start = |program: &str| guest.must(&format!("{program} > /dev/null 2>&1 & echo $!"), SLOW);
    let camera = start("/firmware-worker bench camera --config /worker.toml --seconds 600");
    let microphone = start("arecord -q -t raw -f S16_LE -r 48000 -D hw:CARD=Loopback,DEV=1");
    // From its buffers on it is busy for others.
    guest.must(&format!("until grep -q /dev/video0 /proc/{camera}/maps; do sleep 0.2; done"), SLOW);
    guest.must("until grep -q owner_pid /proc/asound/Loopback/pcm1c/sub0/status; do sleep 0.2; done", SLOW);
    (camera, microphone)
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
