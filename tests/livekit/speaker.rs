//! What is played on the board's speaker, which is a file here: a PCM of libasound that writes what it gets, into the private
//! `/tmp` of the speaker's owner.

use crate::SOON;
use serde_json::json;
use std::f64::consts::TAU;
use std::path::{Path, PathBuf};
use tests::worker::{AGENT, Setup, Worker};
use tests::{Judge, Server, poll};

/// Frames of the stretch that is looked at: half a second at 48 kHz.
const STRETCH: usize = 24_000;

/// A judge's tone has its RMS at -20 dBFS: this amplitude.
const AMPLITUDE: f64 = 0.1 * 32_767.0 * std::f64::consts::SQRT_2;

#[test]
fn what_others_say_in_two_rooms_is_mixed_on_the_one_speaker() {
    let server = Server::start();
    let file = SpeakerFile::new("rooms");
    let worker = Setup::new(&server).toml(&file.toml("[job]\nplay = true\n")).start();
    let mut judges = [("first", 660), ("second", 990)].map(|(room, hz)| {
        server.api().dispatch(room, AGENT, "");
        let mut judge = Judge::join(&server, room, "judge");
        judge.command("publish_tone", json!({"hz": hz}));
        judge
    });
    poll::until("both tones are heard at once", SOON, || {
        let stretch = file.last(&worker);
        let heard = |hz: f64| (amplitude(&stretch, hz) - AMPLITUDE).abs() < AMPLITUDE / 4.0;
        (heard(660.0) && heard(990.0) && amplitude(&stretch, 440.0) < AMPLITUDE / 10.0).then_some(())
    });
    assert_eq!(worker.owner_pids().len(), 3, "camera, microphone and one for the speaker");
    judges[1].command("unpublish", json!({"name": "tone"}));
    poll::until("one tone is left", SOON, || {
        let stretch = file.last(&worker);
        (amplitude(&stretch, 660.0) > AMPLITUDE / 2.0 && amplitude(&stretch, 990.0) < AMPLITUDE / 10.0).then_some(())
    });
}

#[test]
fn a_job_writes_at_the_pace_of_the_card_and_knows_when_all_is_played() {
    let server = Server::start();
    let file = SpeakerFile::new("chime");
    let worker = chimer(&server, &file);
    let judge = Judge::join(&server, "studio", "judge");
    server.api().dispatch("studio", AGENT, "chime");
    let data = judge.event("data", SOON);
    assert_eq!(data.text("topic"), "chime", "{data:?}");
    let seconds: f64 = data.text("text").parse().expect("a number");
    // A PCM without a clock takes half a second at once before it is seen to have none.
    assert!((1.3..2.8).contains(&seconds), "two seconds of sound took {seconds} s");
    let loudest = file.all(&worker).chunks(STRETCH).map(|stretch| amplitude(stretch, 440.0)).fold(0.0, f64::max);
    // The tone of the library is at -20 dBFS: 3277.
    assert!((3000.0..3500.0).contains(&loudest), "{loudest}");
}

fn chimer(server: &Server, file: &SpeakerFile) -> Worker {
    let participant = env!("CARGO_BIN_EXE_participant").into();
    Setup::new(server).binary(participant).toml(&file.toml("")).start()
}

struct SpeakerFile(PathBuf);

impl SpeakerFile {
    fn new(name: &str) -> Self {
        Self(std::env::temp_dir().join(format!("speaker-{}-{name}.raw", std::process::id())))
    }

    fn toml(&self, more: &str) -> String {
        format!("[[speaker]]\ndevice = \"file:{},raw\"\n{more}", self.0.display())
    }

    /// The left channel.
    fn all(&self, worker: &Worker) -> Vec<f64> {
        let left = |frame: &[u8]| f64::from(i16::from_le_bytes([frame[0], frame[1]]));
        read(worker, &self.0).chunks_exact(4).map(left).collect()
    }

    fn last(&self, worker: &Worker) -> Vec<f64> {
        let mut all = self.all(worker);
        all.split_off(all.len().saturating_sub(STRETCH))
    }
}

/// Empty while the card has not been opened.
fn read(worker: &Worker, path: &Path) -> Vec<u8> {
    let in_view_of = |owner: u32| std::fs::read(format!("/proc/{owner}/root{}", path.display())).ok();
    worker.owner_pids().into_iter().find_map(in_view_of).unwrap_or_default()
}

fn amplitude(samples: &[f64], hz: f64) -> f64 {
    let (mut re, mut im) = (0.0, 0.0);
    for (n, sample) in samples.iter().enumerate() {
        let turn = n as f64 / 48_000.0 * hz * TAU;
        re += sample * turn.cos();
        im += sample * turn.sin();
    }
    2.0 * re.hypot(im) / samples.len().max(1) as f64
}
