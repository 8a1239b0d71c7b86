//! What a camera and a microphone take until their last packet, and the memory of their owners. They are those of
//! `tests/board`, drivers by script: a real one adds its own time before its stamp.

use crate::Repeats;
use crate::memory::settle;
use crate::table::{Bench, Row};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tests::pipe::Pipe;
use tests::worker::{AGENT, Setup};
use tests::{Judge, Server, paths, process, procfs};

const RING: &str = "ring: publish of a 100 kB unit, 8 readers, p99; allocations";
const FRAMES: &str = "camera, YUYV 720p30 in software: capture to last packet, without keyframes, p50 / p99";
const KEYFRAMES: &str = "the same, keyframes";
const IN_ROOM: &str = "the same of a job in a room of a real server, paced, all frames: sum of the stages' p50 / p99";
const SOUND: &str = "microphone: sample in to packet out, beyond a packet's 20 ms, p99";
const MEMORY: &str = "camera owner under a job, YUYV 720p30 in software, PSS, 1.8 MB of it the script's picture";
const PASSED: &str = "camera owner, 720p30 passed through, PSS";

/// Bytes of sound in a packet, ms.
const PACKET_MS: f64 = 20.0;
/// The devices of `tests/board`.
const BOARD: &str = r#"
[[camera]]
name = "camera"
device = "/dev/video90"
width = 1280
height = 720
fps = 30
bitrate = 2000000
encoder = "software"

[[microphone]]
name = "microphone"
device = "hw:CARD=Fake,DEV=0"
"#;
/// The camera of `BOARD` keeps a second of pictures in its owner, this one a single one: 1.8 MB.
const STILL: [&str; 2] = ["/dev/video90", "/dev/video92"];
/// From the driver's stamp to the last packet.
const STAGES: [&str; 6] = ["capture", "convert", "encode", "publish", "ring", "send"];
const SOON: Duration = Duration::from_secs(20);

pub fn benches() -> Vec<Bench> {
    vec![
        Bench { rows: &[RING], measure: ring },
        Bench { rows: &[FRAMES, KEYFRAMES], measure: camera },
        Bench { rows: &[IN_ROOM], measure: in_room },
        Bench { rows: &[SOUND], measure: microphone },
        Bench { rows: &[MEMORY], measure: memory },
        Bench { rows: &[PASSED], measure: passed },
    ]
}

/// A program that `tools/bench` has built beside the worker.
fn example(name: &str) -> PathBuf {
    paths::worker().with_file_name("examples").join(name)
}

fn ring(_: Repeats) -> Vec<Row> {
    let program = example("publish");
    let output = process::clean_command(&program).output().unwrap_or_else(|e| panic!("{}: {e}", program.display()));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let numbers: Vec<f64> = text.split_whitespace().filter_map(|number| number.parse().ok()).collect();
    let [p50, p99, max, write, allocations] = numbers[..] else { panic!("not five numbers: {text}") };
    let row = Row::new(RING, "µs", "-").must("", p99, 60.0).must("allocations", allocations, 0.0);
    vec![row.report("p50", p50).report("max", max).report("the write alone, p99", write)]
}

fn camera(repeats: Repeats) -> Vec<Row> {
    let measured = measure("camera", repeats);
    let of = |series: &str, name: &str| measured[series][name].as_f64().unwrap_or(f64::INFINITY);
    let row = Row::new(FRAMES, "ms", "-").must("", of("frames_ms", "p50"), 20.0).must("", of("frames_ms", "p99"), 45.0);
    let keys = Row::new(KEYFRAMES, "ms", "-").report("p50", of("keyframes_ms", "p50"));
    let cpu = measured["cpu_per_frame_ms"].as_f64().unwrap_or(f64::INFINITY);
    vec![row.report("CPU a frame", cpu), keys.report("p99", of("keyframes_ms", "p99"))]
}

/// Of each stage the bucket that p50 and p99 fall into; their sum is more than the whole takes.
fn in_room(repeats: Repeats) -> Vec<Row> {
    let server = Server::start();
    let setup = Setup::new(&server).binary(example("board")).toml(BOARD).env("LIVEKIT_LOG_LEVEL", "info");
    let worker = setup.start();
    let judge = Judge::join(&server, "bench", "judge");
    server.api().dispatch("bench", AGENT, "");
    judge.event("first_video", SOON);
    std::thread::sleep(Duration::from_secs(if repeats.timings < 10 { 10 } else { 40 }));
    let metrics = worker.metrics();
    let sum = |percent| STAGES.iter().map(|stage| 1000.0 * below(&metrics, stage, percent)).sum();
    let row = Row::new(IN_ROOM, "ms", "-").report("p50", sum(50)).report("p99", sum(99));
    vec![row]
}

/// The bound of the first bucket that holds `percent` of what a stage of the camera took, s.
fn below(metrics: &str, stage: &str, percent: u64) -> f64 {
    let start = format!("firmware_worker_stage_seconds_bucket{{device=\"camera\",stage=\"{stage}\",le=\"");
    let buckets = metrics.lines().filter_map(|line| line.strip_prefix(&start)?.split_once("\"} "));
    let buckets: Vec<(f64, u64)> =
        buckets.filter_map(|(bound, count)| Some((bound.parse().ok()?, count.parse().ok()?))).collect();
    let all = buckets.last().map_or(0, |(_, count)| *count);
    let first = buckets.iter().find(|(_, count)| all > 0 && count * 100 >= all * percent);
    first.map_or(f64::INFINITY, |(bound, _)| *bound)
}

fn microphone(repeats: Repeats) -> Vec<Row> {
    let p99 = measure("microphone", repeats)["frames_ms"]["p99"].as_f64().unwrap_or(f64::INFINITY);
    vec![Row::new(SOUND, "ms", "-").must("", p99 - PACKET_MS, 15.0)]
}

/// `firmware-worker bench` on the board by script.
fn measure(kind: &str, repeats: Repeats) -> Value {
    let config = std::env::temp_dir().join(format!("firmware-worker-bench-{}.toml", std::process::id()));
    std::fs::write(&config, BOARD).expect("a file in the temporary directory");
    let measured = run(kind, &config, if repeats.timings < 10 { "5" } else { "30" });
    std::fs::remove_file(&config).expect("it was there");
    measured
}

fn run(kind: &str, config: &Path, seconds: &str) -> Value {
    let mut command = process::clean_command(example("board"));
    command.args(["bench", kind, "--json", "--seconds", seconds, "--config"]).arg(config);
    let output = command.output().expect("the worker starts");
    let text = String::from_utf8_lossy(&output.stdout);
    serde_json::from_str(&text).unwrap_or_else(|_| panic!("{text}{}", String::from_utf8_lossy(&output.stderr)))
}

fn memory(_: Repeats) -> Vec<Row> {
    let server = Server::start();
    let board = Setup::new(&server).binary(example("board")).toml(&BOARD.replace(STILL[0], STILL[1]));
    let worker = board.env("LIVEKIT_LOG_LEVEL", "info");
    vec![Row::new(MEMORY, "MB", "-").must("", owner_memory(&server, worker), 40.0)]
}

/// With a keyframe a second and half a Mbit/s; the ring, which is most of it, is one for 2 Mbit/s.
fn passed(_: Repeats) -> Vec<Row> {
    let server = Server::start();
    let bench = std::env::current_exe().expect("a running program has a path");
    let pipe = Pipe::new(&bench.with_file_name("writer"));
    let worker = Setup::new(&server).toml(&pipe.toml(1280, 720, 30)).env("LIVEKIT_LOG_LEVEL", "info");
    vec![Row::new(PASSED, "MB", "-").must("", owner_memory(&server, worker), 12.0)]
}

/// MB of the larger owner while somebody watches.
fn owner_memory(server: &Server, worker: Setup) -> f64 {
    let worker = worker.start();
    let judge = Judge::join(server, "bench", "judge");
    server.api().dispatch("bench", AGENT, "");
    judge.event("first_video", SOON);
    settle();
    // The microphone's owner is the smaller one.
    let largest = worker.owner_pids().into_iter().map(|pid| procfs::memory(pid).pss).max().unwrap_or(u64::MAX);
    largest as f64 / 1024.0
}
