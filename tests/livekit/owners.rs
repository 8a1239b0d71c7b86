//! Device owners that die under running jobs.

use crate::SOON;
use rustix::process::Signal;
use tests::worker::{AGENT, Setup};
use tests::{Judge, Server, poll, process};

#[test]
fn tracks_whose_owners_are_killed_are_muted_and_go_on_when_new_ones_run() {
    let server = Server::start();
    let worker = Setup::new(&server).start();
    server.api().dispatch("studio", AGENT, "");
    let judge = Judge::join(&server, "studio", "judge");
    judge.sees_and_hears(0, 13.0, SOON);
    let before = judge.mark();
    for owner in worker.owner_pids() {
        process::kill(owner, Signal::KILL);
    }
    let told = |name| judge.events().iter().skip(before).filter(|event| event.name() == name).count();
    poll::until("both tracks are muted", SOON, || (told("track_muted") == 2).then_some(()));
    poll::until("both tracks are back", SOON, || (told("track_unmuted") == 2).then_some(()));
    // The first second may hold the end of the gap.
    judge.sees_and_hears(judge.mark() + 1, 13.0, SOON);
    assert_eq!((told("track_unsubscribed"), told("participant_left")), (0, 0));
}
