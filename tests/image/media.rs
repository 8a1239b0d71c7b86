//! Camera, microphone and speaker of a flashed board, whose kernel plays them: vivid, and the loopback card, whose other end hears
//! what is played.

use serde_json::json;
use tests::card::{BOOT, Board};
use tests::worker::AGENT;
use tests::{Judge, Server};

/// Small, as encoding takes an emulated processor long. The agent's name is [`AGENT`].
pub const SETTINGS: &str = "[worker]\nagent_name = \"board\"\n[job]\nplay = true\n\
                            [[camera]]\nwidth = 320\nheight = 180\nfps = 15\nbitrate = 300000\n\
                            [[microphone]]\ndevice = \"hw:CARD=Loopback,DEV=1\"\n\
                            [[speaker]]\ndevice = \"hw:CARD=Loopback,DEV=0\"\n";

const ROOM: &str = "porch";

/// Of what somebody says to the board.
const PITCH_HZ: f64 = 660.0;

/// Of the 15 that the camera gives: a busy machine emulates a board that encodes fewer.
const FPS: f64 = 5.0;

/// A board with these settings, whose devices come now, shows its picture, and plays what it is told, which its microphone hears.
pub fn are_carried(board: &mut Board, server: &Server) {
    // Webcam inputs alone: TV inputs are fixed to 25 frames a second.
    board.must("modprobe vivid n_devs=1 node_types=0x1 num_inputs=1 input_types=0x0");
    board.must("modprobe snd-aloop");
    let mut judge = Judge::join(server, ROOM, "judge");
    judge.command("publish_tone", json!({"hz": PITCH_HZ}));
    server.api().dispatch(ROOM, AGENT, "");
    let second = judge.wait("the board's picture", BOOT, |event| event.number("video", "fps") >= FPS);
    assert_eq!((second.number("video", "width"), second.number("video", "height")), (320.0, 180.0));
    judge.wait("its own tone from the board", BOOT, |event| {
        event.name() == "second" && (event.number("audio", "pitch_hz") - PITCH_HZ).abs() < 3.0
    });
    // So that the board has nothing to do in what follows.
    server.api().delete_room(ROOM);
    server.job_end(ROOM, BOOT);
}
