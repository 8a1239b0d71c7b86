//! The card unplugged and plugged in again, over and over, while a subscriber listens.

use super::board::{self, SLOW};
use std::time::{Duration, Instant};
use tests::guest::Guest;
use tests::worker::AGENT;
use tests::{Judge, Server};

/// In full by `tools/test soak guest`.
const FULL: usize = 100;
const REDUCED: usize = 5;

/// From plugging in to sound that flows.
const BACK: Duration = Duration::from_secs(2);

/// Processes of the worker, and the descriptors of all of them.
const HELD: &str = "n=0; fds=0; for p in /proc/[0-9]*; do [ \"$(readlink $p/exe)\" = /firmware-worker ] || continue; \
     n=$((n + 1)); fds=$((fds + $(ls $p/fd | wc -l))); done; echo \"held\" WHEN: $n $fds";

#[test]
fn a_card_that_is_unplugged_again_and_again_is_back_in_two_seconds_and_leaves_nothing_behind() {
    let cycles = if std::env::var_os("SOAK").is_some() { FULL } else { REDUCED };
    let server = Server::start_for_guest();
    let room = "guest-cycles";
    let mut guest = board::boot("cycles", &server);
    let judge = Judge::join(&server, room, "judge");
    server.api().dispatch(room, AGENT, "");
    let voice = |mark| {
        judge.wait_from(mark, "the voice", SLOW, |e| e.name() == "second" && e.number("audio", "level_dbfs") > -50.0);
    };
    judge.wait("the voice", SLOW, |e| e.number("audio", "level_dbfs") > -50.0);
    let held = |guest: &mut Guest, when: &str| {
        guest.type_line(&HELD.replace("WHEN", when));
        // The quotes keep the typed line itself from being found.
        let line = guest.wait_console(&format!("held {when}: "), SLOW);
        line.rsplit(": ").next().expect("just found").to_owned()
    };
    let before = held(&mut guest, "before");
    let mut slowest = Duration::ZERO;
    for cycle in 1..=cycles {
        let mark = judge.mark();
        guest.type_line("echo snd_aloop.0 > /sys/bus/platform/drivers/snd_aloop/unbind");
        judge.wait_from(mark, "a muted track", SLOW, |e| e.name() == "track_muted");
        let mark = judge.mark();
        guest.type_line("echo snd_aloop.0 > /sys/bus/platform/drivers/snd_aloop/bind");
        let plugged = Instant::now();
        judge.wait_from(mark, "a track that is not muted", SLOW, |e| e.name() == "track_unmuted");
        slowest = slowest.max(plugged.elapsed());
        voice(judge.mark());
        println!("cycle {cycle}: slowest so far {slowest:?}");
    }
    assert!(slowest <= BACK, "{slowest:?}");
    assert_eq!(held(&mut guest, "after"), before, "processes and descriptors");
    assert!(judge.events().iter().all(|e| e.name() != "participant_left"), "the job stayed");
}
