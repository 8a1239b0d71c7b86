//! A job that gets too little of the processor for its media.

use super::board::{self, SLOW};
use super::limits::{NAME_LEAF, is_steady, streaming};
use std::time::Duration;
use tests::Server;

/// The least that the kernel takes, µs, of each 25 ms: a fifth of what the emulated processor needs for the job's media.
const STARVED: &str = "1000 25000";

/// Twice as long as a driver may leave a ping unanswered.
const TIME: Duration = Duration::from_secs(20);

#[test]
fn a_job_with_too_little_processor_time_for_its_media_answers_and_streams_again_when_it_gets_more() {
    let server = Server::start_for_guest();
    let mut guest = board::boot("starved", &server);
    let room = "guest-starved";
    let judge = streaming(&server, room);
    guest.type_line(NAME_LEAF);
    guest.must(&format!("echo {STARVED} > $leaf/cpu.max"), SLOW);
    let (start, mark) = (tests::poll::monotonic(), judge.mark());
    judge.wait_from(mark, "its time", SLOW + TIME, |e| e.at() > start + TIME.as_secs_f64());
    let seconds: Vec<f64> = judge
        .events()
        .split_off(mark)
        .iter()
        .filter(|e| e.name() == "second")
        .map(|e| e.number("video", "fps"))
        .collect();
    println!("pictures of each second: {seconds:?}");
    assert!(seconds.iter().any(|fps| *fps < 5.0), "its media do not need more: {seconds:?}");
    // Nor has it taken its server for gone.
    let resumes = "wget -qO- http://127.0.0.1:8081/metrics | grep -c '^firmware_worker_job_re[sj].*_total.* [1-9]'";
    assert_eq!(guest.run(resumes, SLOW), "0 1");
    guest.must("echo max > $leaf/cpu.max", SLOW);
    let mark = judge.mark();
    judge.wait_from(mark, "a steady second again", SLOW, is_steady);
    assert!(judge.events().iter().all(|e| e.name() != "participant_left"), "the same participant");
}
