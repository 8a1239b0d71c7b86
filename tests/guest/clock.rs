//! A board whose wall clock is set while jobs run, as a board without a clock chip sets it when its network comes up.

use super::board::{self, SLOW};
use super::limits::{is_steady, streaming};
use tests::Server;
use tests::guest::Guest;
use tests::worker::AGENT;

/// CPU time of the supervisor in 5 s, in hundredths of a second: a fifth of one processor under emulation, where an idle
/// supervisor takes a fiftieth; a loop that never sleeps takes all of it.
const BUSY: u64 = 100;

#[test]
fn a_clock_that_jumps_by_50_years_ends_no_job_and_keeps_nobody_busy() {
    let server = Server::start_for_guest();
    let mut guest = board::boot("jump", &server);
    // The last that the board's script has started.
    guest.type_line("worker=$!");
    let judge = streaming(&server, "guest-beside");
    for year in [2076, 1976, 2026] {
        let mark = judge.mark();
        guest.type_line(&format!("date -s '{year}-11-26 12:00:00'; echo it is $(date +%Y) now"));
        guest.wait_console(&format!("it is {year} now"), SLOW);
        let used = used(&mut guest, year);
        assert!(used < BUSY, "{used} hundredths of a second in 5 s, in {year}");
        judge.wait_from(mark, "steady seconds after the jump", SLOW, is_steady);
        let room = format!("guest-{year}");
        server.api().dispatch(&room, AGENT, "");
        guest.wait_console(&format!("room {room:?}: joined"), SLOW);
        server.api().delete_room(&room);
        guest.wait_console(&format!("room {room:?}: ended"), SLOW);
    }
    assert!(judge.events().iter().all(|e| e.name() != "participant_left"), "the job has stayed in its room");
}

/// CPU time of the supervisor in 5 s, in hundredths of a second.
#[track_caller]
fn used(guest: &mut Guest, year: u32) -> u64 {
    let now = "$(awk '{print $14 + $15}' /proc/$worker/stat)";
    guest.type_line(&format!("before={now}; sleep 5; echo $(({now} - before)) used in year $(date +%Y)"));
    let line = guest.wait_console(&format!("used in year {year}"), SLOW);
    let number = line.trim().split(' ').next().and_then(|word| word.parse().ok());
    number.unwrap_or_else(|| panic!("no number in {line:?}"))
}
