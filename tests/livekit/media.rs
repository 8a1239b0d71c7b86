//! What a subscriber sees and hears.

use crate::SOON;
use rustix::process::Signal;
use std::path::Path;
use tests::pipe::Pipe;
use tests::worker::{AGENT, Setup};
use tests::{Judge, Server, poll, process, procfs};

#[test]
fn a_subscriber_decodes_the_picture_and_the_tone_of_one_job() {
    let server = Server::start();
    let _worker = Setup::new(&server).start();
    server.api().dispatch("studio", AGENT, "");
    let judge = Judge::join(&server, "studio", "judge");
    let second = judge.sees_and_hears(0, 13.0, SOON);
    assert_eq!((second.number("video", "width"), second.number("video", "height")), (320.0, 240.0));
    let (pitch, level) = (second.number("audio", "pitch_hz"), second.number("audio", "level_dbfs"));
    assert!((pitch - 440.0).abs() < 3.0, "{pitch} Hz");
    // The RMS of a sine whose peaks are at -20 dBFS.
    assert!((level + 23.0).abs() < 2.0, "{level} dBFS");
    let video = judge.wait("a video track", SOON, |e| e.name() == "track_subscribed" && e.text("kind") == "video");
    assert_eq!((video.text("mime").to_lowercase().as_str(), video.text("source")), ("video/h264", "SOURCE_CAMERA"));
    let board = judge.event("participant_joined", SOON);
    assert_eq!(board.text("kind"), "PARTICIPANT_KIND_AGENT");
}

#[test]
fn the_server_takes_the_description_of_stereo_in_short_packets_with_pauses() {
    let server = Server::start();
    let camera = "[[camera]]\ndevice = \"test-pattern\"\nwidth = 320\nheight = 240\nfps = 15\nbitrate = 400000\n";
    let sound =
        "[[microphone]]\ndevice = \"tone\"\nchannels = 2\nframe_ms = 10\ndtx = true\nfec = false\nbitrate = 96000\n";
    let _worker = Setup::new(&server).toml(&format!("{camera}{sound}")).start();
    server.api().dispatch("studio", AGENT, "");
    let judge = Judge::join(&server, "studio", "judge");
    let second = judge.sees_and_hears(0, 13.0, SOON);
    let (pitch, level) = (second.number("audio", "pitch_hz"), second.number("audio", "level_dbfs"));
    assert!((pitch - 440.0).abs() < 3.0 && (level + 23.0).abs() < 2.0, "{pitch} Hz, {level} dBFS");
}

#[test]
fn a_subscriber_decodes_what_a_command_writes_and_nothing_of_it_is_left() {
    let server = Server::start();
    let pipe = Pipe::new(Path::new(env!("CARGO_BIN_EXE_writer")));
    let worker = Setup::new(&server).toml(&pipe.toml(320, 240, 30)).start();
    server.api().dispatch("studio", AGENT, "");
    let judge = Judge::join(&server, "studio", "judge");
    let second = judge.sees_and_hears(0, 25.0, SOON);
    assert_eq!((second.number("video", "width"), second.number("video", "height")), (320.0, 240.0));
    worker.wait_log("passthrough (the command writes H.264)", SOON);
    poll::until("the encoder is in the metrics", SOON, || {
        (worker.metric("firmware_worker_device_encoder") == 1.0).then_some(())
    });
    let camera = &worker.state()["devices"][0];
    assert_eq!((&camera["state"], &camera["encoder"]), (&"running".into(), &"passthrough".into()));
    let commands = || worker.keeper_pids().into_iter().flat_map(procfs::children).collect::<Vec<_>>();
    let command = commands();
    assert_eq!(command.len(), 1, "{command:?}");
    // An owner that dies without a word takes its command along, and the next one starts another.
    worker.owner_pids().into_iter().for_each(|owner| process::kill(owner, Signal::KILL));
    poll::until("the command has ended", SOON, || (!procfs::alive(command[0])).then_some(()));
    judge.sees_and_hears(judge.mark() + 2, 25.0, SOON);
    let last = commands();
    assert_eq!(last.len(), 1, "{last:?}");
    drop(worker);
    poll::until("the last command has ended", SOON, || (!procfs::alive(last[0])).then_some(()));
}

#[test]
fn a_subscriber_decodes_what_ffmpeg_writes() {
    let server = Server::start();
    let command = "ffmpeg -loglevel error -re -f lavfi -i testsrc=size=320x240:rate=15 -c:v libx264 -preset ultrafast \
                   -tune zerolatency -pix_fmt yuv420p -g 15 -f h264 -";
    let words: Vec<_> = command.split_whitespace().collect();
    let camera = format!("[[camera]]\ndevice = \"pipe\"\ncommand = {words:?}\nwidth = 320\nheight = 240\nfps = 15\n");
    let worker = Setup::new(&server).toml(&format!("{camera}[[microphone]]\ndevice = \"tone\"\n")).start();
    server.api().dispatch("studio", AGENT, "");
    let judge = Judge::join(&server, "studio", "judge");
    let second = judge.sees_and_hears(0, 13.0, SOON);
    assert_eq!((second.number("video", "width"), second.number("video", "height")), (320.0, 240.0));
    worker.wait_log("pipe of \"ffmpeg\", latency offset 0 ms, 320x240@15", SOON);
}

/// How often a stage may be looked at: where this machine stands still, packets wait for the server's word about those before.
const TRIES: usize = 3;

#[test]
fn every_stage_from_the_driver_to_the_last_packet_is_timed() {
    let server = Server::start();
    let worker = Setup::new(&server).start();
    server.api().dispatch("studio", AGENT, "");
    let judge = Judge::join(&server, "studio", "judge");
    judge.sees_and_hears(0, 13.0, SOON);
    for device in ["camera", "microphone"] {
        for stage in ["encode", "publish", "ring", "send"] {
            let labels = format!("{{device=\"{device}\",stage=\"{stage}\"}}");
            let of = |what: &str| worker.metric(&format!("firmware_worker_stage_seconds_{what}{labels}"));
            let mut seen = (0.0, 0.0);
            let timed = (0..TRIES).any(|_| {
                // With the next pongs, up to 2.5 s later.
                poll::until(&format!("{device} {stage}"), SOON, || (of("count") > seen.0 + 5.0).then_some(()));
                let before = std::mem::replace(&mut seen, (of("count"), of("sum")));
                let mean_ms = (seen.1 - before.1) / (seen.0 - before.0) * 1000.0;
                eprintln!("{device} {stage}: {mean_ms:.3} ms");
                mean_ms < 100.0
            });
            assert!(timed, "{device} {stage} takes that long each time");
        }
    }
}

#[test]
fn three_rooms_share_one_camera_and_one_encoder() {
    let server = Server::start();
    let worker = Setup::new(&server).start();
    let rooms = ["first", "second", "third"];
    let judges = rooms.map(|room| {
        server.api().dispatch(room, AGENT, "");
        Judge::join(&server, room, "judge")
    });
    for judge in &judges {
        judge.sees_and_hears(0, 13.0, SOON);
    }
    let marks = judges.each_ref().map(Judge::mark);
    for (judge, mark) in judges.iter().zip(marks) {
        judge.sees_and_hears(mark, 13.0, SOON);
    }
    assert_eq!(worker.owner_pids().len(), 2, "one owner for the camera and one for the microphone");
    assert_eq!(worker.metric("firmware_worker_device_encoders"), 2.0, "one H.264 and one Opus encoder");
    assert_eq!(worker.metric("lk_agents_active_job_count"), 3.0);
}

#[test]
fn a_late_subscriber_gets_a_picture_at_once() {
    let server = Server::start();
    let _worker = Setup::new(&server).start();
    server.api().dispatch("studio", AGENT, "");
    let early = Judge::join(&server, "studio", "early");
    early.sees_and_hears(0, 13.0, SOON);
    let late = Judge::join(&server, "studio", "late");
    let subscribed = late.wait("its track", SOON, |e| e.name() == "track_subscribed" && e.text("kind") == "video");
    let wait = late.event("first_video", SOON).at() - subscribed.at();
    assert!(wait < 1.0, "a keyframe came only after {wait:.2} s");
    early.sees_and_hears(early.mark(), 13.0, SOON);
}
