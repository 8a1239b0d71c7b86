//! Camera and card unplugged and plugged in again while a job streams them, over and over.

use super::board::{self, SLOW};
use tests::guest::Guest;
use tests::judge::Event;
use tests::poll::monotonic;
use tests::worker::AGENT;
use tests::{Judge, Server};

/// `tools/test soak replugs` does a hundred.
const CYCLES: u32 = 5;
const CYCLES_SOAK: u32 = 100;

/// Seconds from plugging in until media flows, the middle of all cycles: 2 on a board, and 2 more as the judge sums up once
/// a second and a driver takes most of one under emulation.
const BACK_S: f64 = 2.0 + 2.0;
/// At most: a busy machine stretches each second. An event that is forgotten costs more, up to 30 s.
const SLOWEST_S: f64 = 10.0;

/// kB that a worker may have more after all cycles than after the first.
const GROWTH_KB: u64 = 3_000;

/// Processes of the worker, their open descriptors, and their memory, on one line of the console.
const COUNT: &str = "n=0 f=0 m=0; for p in /proc/[0-9]*; do grep -q '[f]irmware-worker' $p/cmdline 2>/dev/null || continue; \
    n=$((n+1)); f=$((f+$(ls $p/fd | wc -l))); m=$((m+$(awk '/VmRSS/{print $2}' $p/status))); done";

#[test]
fn replugs_bring_picture_and_voice_back_every_time_and_leave_nothing_behind() {
    let cycles = if std::env::var_os("SOAK").is_some() { CYCLES_SOAK } else { CYCLES };
    let server = Server::start_for_guest();
    let mut guest = board::boot("replugs", &server);
    let judge = Judge::join(&server, "guest-replugs", "judge");
    server.api().dispatch("guest-replugs", AGENT, "");
    judge.wait("picture and voice", SLOW, flows);
    let mut took = vec![replug(&mut guest, &judge)];
    let before = Left::count(&mut guest, "before");
    for _ in 1..cycles {
        took.push(replug(&mut guest, &judge));
    }
    took.sort_by(f64::total_cmp);
    let (middle, slowest) = (took[took.len() / 2], took[took.len() - 1]);
    // A descriptor may be on its way from one process to another.
    let mut after = Left::count(&mut guest, "after");
    for again in 0..5 {
        if after.descriptors <= before.descriptors {
            break;
        }
        after = Left::count(&mut guest, &format!("after-{again}"));
    }
    println!("{cycles} cycles, the middle one {middle:.1} s, the slowest {slowest:.1} s; {before:?}, then {after:?}");
    assert!(middle <= BACK_S, "back after {took:?} s");
    assert_eq!((after.processes, after.descriptors), (before.processes, before.descriptors), "{before:?} {after:?}");
    assert!(after.kb <= before.kb + GROWTH_KB, "{before:?} {after:?}");
    assert!(judge.events().iter().all(|e| e.name() != "participant_left"), "the job stayed");
    let tracks = judge.events().iter().filter(|e| e.name() == "track_subscribed").count();
    assert_eq!(tracks, 2, "one picture and one sound for the whole time");
}

/// Unplugs both and plugs them in again; seconds until media flows.
#[track_caller]
fn replug(guest: &mut Guest, judge: &Judge) -> f64 {
    let mark = judge.mark();
    plug(guest, "unbind");
    judge.wait_from(mark, "neither picture nor voice", SLOW, |e| {
        e.name() == "second" && e.number("video", "fps") == 0.0 && e.number("audio", "level_dbfs") < -50.0
    });
    let (mark, plugged) = (judge.mark(), monotonic());
    plug(guest, "bind");
    let back = judge.wait_from(mark, "picture and voice again", SLOW, flows).at() - plugged;
    assert!(back <= SLOWEST_S, "back after {back} s");
    back
}

fn flows(e: &Event) -> bool {
    e.name() == "second" && e.number("video", "fps") > 0.0 && e.number("audio", "level_dbfs") > -50.0
}

fn plug(guest: &mut Guest, what: &str) {
    guest.type_line(&format!("echo vivid.0 > /sys/bus/platform/drivers/vivid/{what}"));
    guest.type_line(&format!("echo snd_aloop.0 > /sys/bus/platform/drivers/snd_aloop/{what}"));
}

/// What the worker has.
#[derive(Clone, Copy, Debug)]
struct Left {
    processes: u64,
    descriptors: u64,
    kb: u64,
}

impl Left {
    /// `when` is a word not used before.
    fn count(guest: &mut Guest, when: &str) -> Self {
        guest.type_line(&format!("{COUNT}; echo l''eft {when}: $n $f $m"));
        let line = guest.wait_console(&format!("left {when}: "), SLOW);
        let numbers = line.rsplit(": ").next().unwrap_or_default().split_whitespace();
        let numbers: Vec<_> = numbers.map_while(|number| number.parse().ok()).collect();
        let [processes, descriptors, kb] = numbers[..] else { panic!("no three numbers: {line}") };
        Self { processes, descriptors, kb }
    }
}
