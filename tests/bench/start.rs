//! How long things take to begin.

use crate::Repeats;
use crate::memory::quiet;
use crate::table::{Bench, Row, percentile};
use std::time::Duration;
use tests::worker::{AGENT, Worker};
use tests::{Judge, Server, poll};

const REGISTERED: &str = "process start -> registered";
const SPAWNED: &str = "job process, not prewarmed: start of the process -> confined, and ready for its job, p95";
const ACTIVE: &str = "assignment -> participant active, p50 / p95";
const AUDIO: &str = "assignment -> first audio decoded by a waiting subscriber, p50";
const WARM: &str =
    "assignment -> first video frame decoded, fresh room and subscriber, p50: camera runs for another room";
const COLD: &str = "the same: camera opened by this job";
const SAME_ROOM: &str = "the same for a subscriber that saw earlier publishers in that room";

/// Between one job's end and the next judge. A board is not assigned jobs in a row as fast as they end; if it were, their
/// viewers would share the keyframes that a camera's owner forces at most every 500 ms.
const APART: Duration = Duration::from_secs(2);

const SOON: Duration = Duration::from_secs(20);

pub fn benches() -> Vec<Bench> {
    vec![
        Bench { rows: &[REGISTERED], measure: registered },
        Bench { rows: &[SPAWNED], measure: spawned },
        Bench { rows: &[ACTIVE, AUDIO, WARM], measure: warm },
        Bench { rows: &[COLD], measure: cold },
        Bench { rows: &[SAME_ROOM], measure: same_room },
    ]
}

fn registered(repeats: Repeats) -> Vec<Row> {
    let server = Server::start();
    let times: Vec<_> = (0..repeats.timings)
        .map(|_| {
            let started = poll::monotonic();
            let worker = quiet(&server).launch();
            (worker.wait_log("registered as", SOON).at - started) * 1000.0
        })
        .collect();
    vec![Row::new(REGISTERED, "ms", "1440 / 1790").must("p50", percentile(&times, 50), 100.0)]
}

/// As the worker itself counts it for its metrics: between its clone and the child's word that it is ready.
fn spawned(repeats: Repeats) -> Vec<Row> {
    const TIME: &str = "lk_agents_proc_initialize_duration_seconds";
    let server = Server::start();
    let worker = quiet(&server).toml("[worker]\nprewarm = 0\n").start();
    let [sum, count] = ["sum", "count"].map(|part| format!("{TIME}_{part}"));
    let times: Vec<_> = (0..repeats.timings)
        .map(|number| {
            let (room, before) = (format!("spawned-{number}"), (worker.metric(&sum), worker.metric(&count)));
            let dispatch = server.api().dispatch(&room, AGENT, "");
            // Asking for metrics meanwhile would take the supervisor's time, and the processor that the start needs.
            worker.wait_log(&format!("room {room:?}: joined as"), SOON);
            assert!(worker.metric(&count) - before.1 == 1.0, "one process was started");
            let time = worker.metric(&sum) - before.0;
            server.api().delete_dispatch(&room, &dispatch);
            poll::until("the job has ended", SOON, || (worker.state()["active_jobs"] == 0).then_some(()));
            time * 1000.0
        })
        .collect();
    vec![Row::new(SPAWNED, "ms", "-").must("", percentile(&times, 95), 25.0).report("p50", percentile(&times, 50))]
}

/// When things happened to one job, ms after its assignment.
struct Begin {
    active: f64,
    audio: f64,
    video: f64,
}

fn warm(repeats: Repeats) -> Vec<Row> {
    let server = Server::start();
    let worker = quiet(&server).toml("[worker]\nmax_jobs = 4\n").start();
    let other = Judge::join(&server, "other", "judge");
    server.api().dispatch("other", AGENT, "");
    other.sees_and_hears(0, 25.0, SOON);
    let begins: Vec<_> =
        (0..repeats.timings).map(|number| begin(&server, &worker, &format!("warm-{number}"))).collect();
    let of = |field: fn(&Begin) -> f64, percent| percentile(&begins.iter().map(field).collect::<Vec<_>>(), percent);
    vec![
        Row::new(ACTIVE, "ms", "209 / 228").must("", of(|b| b.active, 50), 60.0).must("", of(|b| b.active, 95), 120.0),
        Row::new(AUDIO, "ms", "275").must("", of(|b| b.audio, 50), 130.0),
        Row::new(WARM, "ms", "787").must("", of(|b| b.video, 50), 200.0).report("p95", of(|b| b.video, 95)),
    ]
}

fn cold(repeats: Repeats) -> Vec<Row> {
    let server = Server::start();
    let times: Vec<_> = (0..repeats.cold_starts)
        .map(|number| begin(&server, &quiet(&server).start(), &format!("cold-{number}")).video)
        .collect();
    vec![Row::new(COLD, "ms", "787").must("", percentile(&times, 50), 350.0)]
}

fn same_room(repeats: Repeats) -> Vec<Row> {
    let server = Server::start();
    let worker = quiet(&server).start();
    let judge = Judge::join(&server, "again", "judge");
    let times: Vec<_> = (0..=repeats.cold_starts).map(|_| begin_at(&server, &worker, "again", &judge).video).collect();
    vec![Row::new(SAME_ROOM, "ms", "600-760 seen").report("p50", percentile(&times[1..], 50))]
}

fn begin(server: &Server, worker: &Worker, room: &str) -> Begin {
    let judge = Judge::join(server, room, "judge");
    begin_at(server, worker, room, &judge)
}

fn begin_at(server: &Server, worker: &Worker, room: &str, judge: &Judge) -> Begin {
    let mark = judge.mark();
    let asked = poll::monotonic();
    let dispatch = server.api().dispatch(room, AGENT, "");
    let after = |name: &str| judge.wait_from(mark, name, SOON, |event| event.name() == name).at();
    let (active, audio, video) = (after("participant_active"), after("first_audio"), after("first_video"));
    // The worker says so as soon as it has handed the assignment to a job process.
    let (assigned, _) = worker.started(room);
    assert!(assigned > asked, "the newest job is the one asked for");
    server.api().delete_dispatch(room, &dispatch);
    judge.wait_from(mark, "it left", SOON, |event| event.name() == "participant_left");
    std::thread::sleep(APART);
    let [active, audio, video] = [active, audio, video].map(|at| (at - assigned) * 1000.0);
    Begin { active, audio, video }
}
