//! Networks that lose or slow down media while signalling lives.

use crate::SOON;
use std::time::Duration;
use tests::worker::{AGENT, Setup, Worker};
use tests::{Judge, Path, Server, namespace, poll};

#[test]
fn a_network_without_udp_is_crossed_over_tcp() {
    let (server, proxy, path) = Server::start_behind_path();
    path.cut(true);
    let _worker = Setup::with_url(&proxy.url()).start();
    server.api().dispatch("studio", AGENT, "");
    Judge::join(&server, "studio", "judge").sees_and_hears(0, 13.0, SOON);
}

#[test]
fn a_server_that_has_no_ipv4_is_joined_and_its_subscriber_sees_and_hears_the_board() {
    let name = "network::a_server_that_has_no_ipv4_is_joined_and_its_subscriber_sees_and_hears_the_board";
    namespace::without_ipv4(name, || {
        let server = Server::start_on_ipv6();
        let _worker = Setup::new(&server).start();
        server.api().dispatch("studio", AGENT, "");
        Judge::join(&server, "studio", "judge").sees_and_hears(0, 13.0, SOON);
    });
}

#[test]
fn media_that_die_while_signalling_lives_are_back_within_seconds() {
    let (back, ..) = interrupted(|path| path.cut(true));
    assert!(back < 25.0, "{back:.1} s");
}

/// Whatever way the board takes, another one that still answers must not hide that this one is dead.
#[test]
fn media_whose_way_dies_take_another_one() {
    let (back, ..) = interrupted(Path::cut_busiest);
    assert!(back < 15.0, "{back:.1} s");
}

#[test]
fn a_pause_of_media_ends_without_a_rejoin() {
    let (_, judge, _running) = interrupted(|path| {
        path.cut(true);
        // How long the outage is, not what is waited for.
        std::thread::sleep(Duration::from_secs(6));
        path.cut(false);
    });
    assert!(!judge.events().iter().any(|event| event.name() == "participant_left"));
}

/// Interrupts a job's media; returns the seconds until a whole second of picture and sound came again, and what still runs:
/// a worker that ends takes its participant with it.
fn interrupted(interrupt: impl Fn(&Path)) -> (f64, Judge, (Worker, Server)) {
    let (server, proxy, path) = Server::start_behind_path();
    let worker = Setup::with_url(&proxy.url()).start();
    server.api().dispatch("studio", AGENT, "");
    let judge = Judge::join(&server, "studio", "judge");
    judge.sees_and_hears(0, 13.0, SOON);
    let (mark, cut) = (judge.mark(), poll::monotonic());
    interrupt(&path);
    worker.wait_log("no media packet", SOON);
    let gap = judge.wait_from(mark, "a second without sound", SOON, |e| {
        e.name() == "second" && e.number("audio", "pitch_hz") == 0.0
    });
    let back = judge.wait_from(mark, "picture and sound again", SOON * 2, |e| {
        e.at() > gap.at() && e.number("video", "fps") >= 13.0 && e.number("audio", "pitch_hz") > 0.0
    });
    let back = back.at() - cut;
    eprintln!("a whole second of picture and sound {back:.1} s after the interruption");
    (back, judge, (worker, server))
}

#[test]
fn video_gives_way_to_a_bottleneck_and_is_back_soon_after_it() {
    let (server, proxy, path) = Server::start_behind_path();
    let _worker = Setup::with_url(&proxy.url()).toml(CAMERA).start();
    server.api().dispatch("studio", AGENT, "");
    let judge = Judge::join(&server, "studio", "judge");
    judge.wait("the full rate", SOON, |e| e.number("video", "kbit_s") > FULL_KBIT_S);
    path.limit(Some(600_000));
    let mark = judge.mark();
    let narrow = judge.wait_from(mark + 5, "a fluent picture at a lower rate", SOON * 2, |e| {
        e.number("video", "kbit_s") < 520.0
            && e.number("video", "fps") >= 20.0
            && e.number("video", "gap_ms") < 300.0
            && e.number("audio", "pitch_hz") > 0.0
    });
    eprintln!("{} kbit/s of video through 600 kbit/s", narrow.number("video", "kbit_s"));
    // How long the bottleneck is, not what is waited for: congestion control is most cautious after repeated losses.
    std::thread::sleep(Duration::from_secs(15));
    path.limit(None);
    let (mark, lifted) = (judge.mark(), poll::monotonic());
    let back = judge.wait_from(mark, "the full rate again", Duration::from_secs(25), |e| {
        e.number("video", "kbit_s") > FULL_KBIT_S && e.number("video", "fps") >= 20.0
    });
    eprintln!("a whole second at the full rate {:.1} s after the bottleneck", back.at() - lifted);
}

/// What the decoder must get of [`CAMERA`] in a second at its full rate.
const FULL_KBIT_S: f64 = 700.0;

/// A picture that needs its rate.
const CAMERA: &str = r#"
[[camera]]
name = "camera"
device = "test-pattern"
width = 640
height = 360
fps = 30
bitrate = 1000000

[[microphone]]
name = "microphone"
device = "tone"
"#;
