//! A program that is replaced under streaming rooms, as its package does it.

use crate::SOON;
use rustix::process::Signal;
use std::time::{Duration, Instant};
use tests::worker::{AGENT, Setup, Worker};
use tests::{Installed, Judge, Server, paths, poll};

/// Enough to see what a second upgrade finds; `tools/test soak upgrades` makes fifty.
const UPGRADES: usize = 3;
const UPGRADES_SOAK: usize = 50;

/// From one to the next, so that each has whole seconds to show in.
const APART: Duration = Duration::from_secs(3);

const ROOMS: [&str; 3] = ["first", "second", "third"];

#[test]
fn three_streaming_rooms_do_not_notice_that_upgrades_replace_the_program() {
    let server = Server::start();
    let installed = Installed::new(&paths::previous_worker());
    let worker = Setup::new(&server).binary(installed.path().into()).start();
    let judges = ROOMS.map(|room| Judge::join(&server, room, "judge"));
    for (room, judge) in ROOMS.iter().zip(&judges) {
        server.api().dispatch(room, AGENT, "");
        judge.sees_and_hears(0, 13.0, SOON);
    }
    let jobs = pids(&worker);
    let count = if std::env::var_os("SOAK").is_some() { UPGRADES_SOAK } else { UPGRADES };
    // The update itself, which writes a file of some size, is no part of what is compared.
    let before = watch(&judges, || {
        for _ in 0..count {
            installed.update(&paths::worker());
            pause(APART);
        }
    });
    let after = watch(&judges, || {
        for _ in 0..count {
            installed.update(&paths::worker());
            let started = Instant::now();
            upgrade(&worker, &installed);
            pause(APART.saturating_sub(started.elapsed()));
        }
    });
    eprintln!("{count} upgrades: {after:?}, and without them {before:?}");
    assert_eq!(pids(&worker), jobs);
    assert_eq!((after.lost, after.silence_ms), (before.lost, before.silence_ms), "RTP or sound was not continuous");
    assert!(after.gap_ms <= before.gap_ms.max(FRAMES), "{after:?}, and without upgrades {before:?}");
    ends(&server, &worker, &judges);
    owners_are_replaced(&server, &worker, &installed, &judges[0]);
}

/// A gap of pictures that says nothing, ms: two cores encode and decode three rooms, and start the new program twice.
const FRAMES: f64 = 300.0;

/// What the server does not know of any more still ends by all that ends rooms.
fn ends(server: &Server, worker: &Worker, judges: &[Judge; 3]) {
    let active = |count: f64| {
        poll::until("the job has ended", SOON, || (worker.metric("lk_agents_active_job_count") == count).then_some(()));
    };
    let first =
        worker.state()["jobs"].as_array().and_then(|jobs| jobs.iter().find(|job| job["room"] == ROOMS[0]).cloned());
    let id = first.as_ref().and_then(|job| job["id"].as_str()).expect("the room has a job").to_owned();
    assert!(worker.operator(&["jobs", "stop", &id]).status.success());
    judges[0].event("participant_left", SOON);
    active(2.0);
    let board = judges[1].event("participant_joined", SOON).text("identity").to_owned();
    server.api().remove(ROOMS[1], &board);
    judges[1].event("participant_left", SOON);
    active(1.0);
    server.api().delete_room(ROOMS[2]);
    active(0.0);
}

/// Owners of the program before end once nobody reads them, and a new job has its pictures and sound from new ones.
fn owners_are_replaced(server: &Server, worker: &Worker, installed: &Installed, judge: &Judge) {
    for device in ["camera", "microphone"] {
        poll::until(&format!("the owner of {device} is replaced"), SOON, || {
            let log = worker.log();
            log.lines()
                .any(|line| line.contains(&format!("device {device}: ")) && line.contains("is idle, and replaced"))
                .then_some(())
        });
    }
    let mark = judge.mark();
    server.api().dispatch(ROOMS[0], AGENT, "");
    judge.sees_and_hears(mark, 13.0, SOON);
    let owners = worker.owner_pids();
    assert!(owners.len() == 2 && owners.iter().all(|&pid| installed.is_run_by(pid)), "{owners:?}");
}

/// What judges have seen and heard for a while, the worst of all.
#[derive(Debug, Default)]
struct Seen {
    /// Longest gap between two pictures.
    gap_ms: f64,
    /// Longest silence since the start.
    silence_ms: f64,
    /// RTP packets that never came, since the start.
    lost: f64,
}

fn watch(judges: &[Judge; 3], during: impl FnOnce()) -> Seen {
    let marks = judges.each_ref().map(Judge::mark);
    during();
    let mut seen = Seen::default();
    for (judge, mark) in judges.iter().zip(marks) {
        let seconds = judge.events().into_iter().skip(mark).filter(|event| event.name() == "second");
        let mut count = 0;
        for second in seconds {
            count += 1;
            seen.gap_ms = seen.gap_ms.max(second.number("video", "gap_ms"));
            seen.silence_ms = seen.silence_ms.max(second.number("audio", "max_gap_ms"));
            seen.lost = seen.lost.max(second.number("video", "lost").max(second.number("audio", "lost")));
        }
        assert!(count > 0, "a judge has said nothing");
    }
    seen
}

fn upgrade(worker: &Worker, installed: &Installed) {
    worker.signal(Signal::USR2);
    poll::until("the new program runs and is registered", SOON, || {
        (installed.is_run_by(worker.pid()) && worker.ready()).then_some(())
    });
    assert_eq!(worker.state()["active_jobs"], 3);
}

fn pids(worker: &Worker) -> Vec<Option<i64>> {
    let state = worker.state();
    state["jobs"].as_array().expect("a list").iter().map(|job| job["pid"].as_i64()).collect()
}

/// Of a measurement, which takes its time.
fn pause(time: Duration) {
    std::thread::sleep(time);
}
