//! Limits that only a real cgroup v2 hierarchy enforces, and what is left for others beside a job that breaks them.

use super::board::{self, SLOW, soaks};
use super::loopback::Fed;
use std::time::Duration;
use tests::guest::Guest;
use tests::judge::Event;
use tests::worker::{AGENT, NO_RESTART};
use tests::{Judge, Server, paths};

/// Names the leaf that holds the process of the running job (the prewarmed process has one of its own).
pub const NAME_LEAF: &str = "pid=$(wget -qO- http://127.0.0.1:8081/worker | sed 's/.*\"participant\":\"PA_[^}]*\"pid\":\\([0-9]*\\).*/\\1/'); \
     leaf=/sys/fs/cgroup$(sed -n 's/^0:://p' /proc/$pid/cgroup)";

/// Between two pictures at the subscriber, ms: those of 15 frames a second come every 67.
const LONGEST_GAP_MS: f64 = 500.0;

/// The same where the machine that emulates the board may have other work.
const LONGEST_GAP_BUSY_MS: f64 = 1000.0;

/// Rounds of jobs that misbehave, one of each kind, in `tools/test soak offenders`. Another one before is not measured: what
/// emulation runs for the first time it has to translate.
const OFFENDERS_SOAK: usize = 10;

/// At most otherwise: one that does no harm is enough, or two in a row after one that did, as the machine that emulates the
/// board stands still now and then.
const ROUNDS: usize = 5;

/// How long the neighbour is watched alone before ten of each come, which take about as long: what stands still then, emulation
/// has stopped.
const ALONE: Duration = Duration::from_secs(150);

/// What a job does, and how it ends.
const OFFENCES: [(&str, &str); 3] =
    [("eat", "memory limit 64 MiB exceeded"), ("fork", "process limit 32 reached"), ("spin", "entrypoint blocked for")];

/// Seconds that two jobs take all processors beside a microphone; `tools/test soak two_jobs` takes a minute.
const CHURN: u64 = 15;
const CHURN_SOAK: u64 = 60;

/// What the board's processor had nothing to do for so far, hundredths of a second.
const IDLE: &str = "awk '/^cpu /{print $5}' /proc/stat";

/// For as many seconds of the board, at most a twentieth of the speed of one.
const CHURN_LIMIT: Duration = Duration::from_secs(20 * CHURN_SOAK);

#[test]
fn a_job_over_its_memory_limit_ends_failed_by_name_in_a_leaf_of_its_own() {
    let server = Server::start_for_guest();
    let room = "guest-limits";
    let warning = "[limits]\njob_memory_warn_mib = 1\n";
    let devices = format!("{warning}{}{}{NO_RESTART}", board::camera(), board::MICROPHONE);
    let mut guest = board::boot_with("limits", &server, &devices, "", &[]);
    server.api().dispatch(room, AGENT, "{\"limits\": {\"pids\": 24}}");
    guest.wait_console("joined as", SLOW);
    let told = guest.wait_console("MiB of memory (told from 1 MiB on)", SLOW);
    assert!(told.contains(" of 64 MiB"), "{told}");
    guest.type_line(NAME_LEAF);
    guest.type_line("echo limits: $(cat $leaf/memory.max) $(cat $leaf/pids.max) $(cat $leaf/cgroup.procs) is $pid");
    let limits = guest.wait_console("limits: 6", SLOW);
    let words: Vec<_> = limits.trim().rsplit(' ').collect();
    let memory = (64 * 1024 * 1024).to_string();
    assert_eq!((words[4], words[3]), (memory.as_str(), "24"), "by default, and as the dispatch asks: {limits}");
    assert_eq!(words[0], words[2], "the leaf holds the job alone: {limits}");
    each_has_its_weight_and_protection(&mut guest);
    // Operators see what its cgroup holds, which does not stand still.
    let field = "sed 's/.*\"memory\":\\([0-9]*\\).*/\\1/'";
    let jobs = format!("wget -qO- http://127.0.0.1:8081/jobs | {field}");
    let held = guest.must(&format!("echo $({jobs}) $(cat $leaf/memory.current)"), SLOW);
    let held: Vec<f64> = held.split(' ').map(|bytes| bytes.parse().expect("a number of bytes")).collect();
    assert!((held[0] / held[1] - 1.0).abs() < 0.5, "in /jobs and in the cgroup: {held:?}");
    // The rings that it reads are its owners' memory, as they have filled them.
    let rings = "cat $leaf/../fw-*-owner-*/memory.stat | awk '/^shmem /{s+=$2} END{print s}'";
    guest.must(&format!("until [ $({rings}) -gt 100000 ]; do sleep 0.5; done"), SLOW);
    let shared = shared(&mut guest, "$leaf");
    assert!(shared < 50_000, "{shared} bytes of the rings are charged to the job");
    tell_the_most_of_each(&mut guest);
    // What a leak would do, without waiting for one: what the job holds is more than it may have.
    guest.type_line("echo 500000 > $leaf/memory.max");
    guest.wait_console("memory limit 64 MiB exceeded", SLOW);
    guest.type_line("sleep 1; echo leaf: $(ls -d $leaf 2>/dev/null) end");
    guest.wait_console("leaf: end", SLOW);
    tests::poll::until("the participant is gone", SLOW, || server.api().identities(room).is_empty().then_some(()));
}

/// The cgroup of a device's owner, for the board's shell.
pub fn leaf_of(device: &str) -> String {
    let pid = format!(
        "wget -qO- http://127.0.0.1:8081/worker | sed 's/.*\"name\":\"{device}\"[^}}]*\"pid\":\\([0-9]*\\).*/\\1/'"
    );
    format!("/sys/fs/cgroup$(sed -n 's/^0:://p' /proc/$({pid})/cgroup)")
}

/// Bytes of shared memory that are charged to a cgroup.
#[track_caller]
pub fn shared(guest: &mut Guest, leaf: &str) -> u64 {
    guest.must(&format!("sed -n 's/^shmem //p' {leaf}/memory.stat"), SLOW).parse().expect("a number of bytes")
}

/// As the kernel has it of the job, the supervisor and the owners of two devices: weights of CPU and disk, memory that is kept
/// for them, and who is killed first where a board has none left.
#[track_caller]
fn each_has_its_weight_and_protection(guest: &mut Guest) {
    let told = guest.must(
        "for l in $leaf $leaf/../supervisor $leaf/../fw-*-owner-*; do (cd $l; cat cpu.weight io.weight memory.low; \
         cat /proc/$(cat cgroup.procs)/oom_score_adj; echo /); done",
        SLOW,
    );
    let owner = "800 default 800 41943040 -500";
    assert_eq!(told, format!("100 default 100 0 500 / 500 default 500 12582912 -900 / {owner} / {owner} /"));
}

/// What the limits count, which are 64 MiB and 32 for a job, 128 MiB and 32 for an owner: for SPECIFICATION.md.
#[track_caller]
fn tell_the_most_of_each(guest: &mut Guest) {
    for (who, leaf) in [("job", "$leaf".into()), ("camera", leaf_of("camera")), ("microphone", leaf_of("microphone"))] {
        // Kernels before 5.19 and 6.11 know what is used now alone.
        let most = |what| format!("cd {leaf} && cat {what}.peak 2>/dev/null || cat {what}.current");
        let (memory, processes) = (guest.must(&most("memory"), SLOW), guest.must(&most("pids"), SLOW));
        let memory: u64 = memory.parse().expect("a number of bytes");
        println!("most of the {who}: {} kB of memory, {processes} processes and threads", memory / 1000);
    }
}

#[test]
fn a_reserve_that_has_more_than_a_dispatch_allows_is_replaced_and_the_jobs_leaf_has_every_limit() {
    let server = Server::start_for_guest();
    let mut guest = board::boot("reserve", &server);
    let ask = |guest: &mut Guest, command: &str| guest.must(command, SLOW);
    let reserve = ask(&mut guest, "until grep -hs . /sys/fs/cgroup/fw-*-job-*/cgroup.procs; do sleep 0.1; done");
    // What a preparation may hold, by a process that goes again.
    guest.type_line(
        "(echo 0 > $(echo /sys/fs/cgroup/fw-*-job-*)/cgroup.procs; dd if=/dev/zero of=/tmp/held bs=1M count=24)",
    );
    ask(&mut guest, "until [ $(cat /sys/fs/cgroup/fw-*-job-*/memory.current) -gt 24000000 ]; do sleep 0.1; done");
    let limits = "{\"limits\": {\"memory_mib\": 20, \"pids\": 24, \"cpu_percent\": 150}}";
    server.api().dispatch("guest-reserve", AGENT, limits);
    let replaced = format!("prewarmed process {reserve} is replaced: it uses more memory than the job may have");
    guest.wait_console(&replaced, SLOW);
    guest.wait_console("joined as", SLOW);
    guest.type_line(NAME_LEAF);
    assert_ne!(ask(&mut guest, "echo $pid"), reserve);
    let files = "for file in memory.max memory.swap.max memory.oom.group cpu.max cpu.weight pids.max io.weight; do \
                 echo $file: $(cat $leaf/$file); done";
    let all = "memory.max: 20971520 memory.swap.max: 0 memory.oom.group: 1 cpu.max: 30000 20000 cpu.weight: 100 \
               pids.max: 24 io.weight: default 100";
    assert_eq!(ask(&mut guest, files), all);
    assert_eq!(ask(&mut guest, "cat $leaf/cgroup.procs"), ask(&mut guest, "echo $pid"), "alone");
}

#[test]
fn owners_over_their_memory_limit_end_by_name_and_come_back_and_the_job_keeps_its_room() {
    let server = Server::start_for_guest();
    let mut guest = board::boot("owners", &server);
    let judge = streaming(&server, "guest-owners");
    // What a leak would do, without waiting for one.
    guest.type_line("for leaf in /sys/fs/cgroup/fw-*-owner-*; do echo 500000 > $leaf/memory.max; done");
    for device in ["camera", "microphone"] {
        let end = guest.wait_console(&format!("device {device}: owner process ended"), SLOW);
        assert!(end.contains("memory limit 128 MiB exceeded"), "{end}");
    }
    let back = || judge.events().iter().filter(|event| event.name() == "track_unmuted").count();
    tests::poll::until("both tracks are back", SLOW, || (back() == 2).then_some(()));
    streams_on(&judge, 0);
}

#[test]
fn two_jobs_that_take_all_processors_cost_a_microphone_nothing() {
    let seconds = if soaks() { CHURN_SOAK } else { CHURN };
    let server = Server::start_for_guest();
    let mut guest = board::boot_counting("churn", &server);
    for room in ["guest-beside", "guest-churn"] {
        server.api().dispatch(room, AGENT, "");
        guest.wait_console(&format!("room \"{room}\": joined"), SLOW);
    }
    let thread =
        "for t in /proc/[0-9]*/task/*; do grep -q mic-capture $t/comm && awk '{print $40, $41}' $t/stat; done; true";
    assert_eq!(guest.must(thread, SLOW), "5 1", "priority and policy");
    // In the leaves of both, and of the process that waits for a third.
    guest.type_line(
        "for leaf in /sys/fs/cgroup/fw-*-job-*; do for n in 1 2; do \
         (echo 0 > $leaf/cgroup.procs; while :; do :; done) & done; done",
    );
    let spun = "for leaf in /sys/fs/cgroup/fw-*-job-*; do wc -l < $leaf/cgroup.procs; done | grep -c '[3-9]'";
    guest.must(&format!("until [ $({spun}) -ge 2 ]; do sleep 0.1; done"), SLOW);
    let before = periods(&mut guest);
    let idle = guest.must(&format!("{IDLE}; sleep {seconds}; {IDLE}"), CHURN_LIMIT);
    let after = periods(&mut guest);
    let running = "wget -qO- http://127.0.0.1:8081/metrics | sed -n 's/^lk_agents_active_job_count.* //p'";
    assert_eq!(guest.must(running, SLOW), "2", "both jobs are still in their rooms");
    let (from, to) = idle.split_once(' ').expect("hundredths of a second before and after");
    assert_eq!(from, to, "hundredths of a second without work");
    // Owners tell what they count each second.
    assert!(after.0 - before.0 >= 100 * (seconds - 2), "periods captured: {before:?} {after:?}");
    assert_eq!(after.1, before.1, "periods that the card had to drop");
}

#[test]
fn offenders_that_eat_fork_or_spin_end_for_that_reason_beside_a_job_that_streams_on() {
    if soaks() {
        return offend_for_long();
    }
    offend_in_rounds();
}

fn offend_for_long() {
    let (server, guest, judge) = beside_offenders();
    let limit = LONGEST_GAP_MS.max(longest_gap_alone(&judge));
    let mark = judge.mark();
    (1..=OFFENDERS_SOAK).for_each(|n| offend(&server, &guest, n));
    harmless(&judge, mark, limit).unwrap_or_else(|harm| panic!("{harm}"));
}

fn offend_in_rounds() {
    let (server, guest, judge) = beside_offenders();
    let round = |n| {
        let mark = judge.mark();
        offend(&server, &guest, n);
        harmless(&judge, mark, LONGEST_GAP_BUSY_MS)
    };
    let (mut harms, mut harmless) = (Vec::new(), 0);
    for n in 1..=ROUNDS {
        match round(n) {
            Ok(()) if harms.is_empty() || harmless == 1 => return,
            Ok(()) => harmless += 1,
            Err(harm) => {
                harms.push(harm);
                harmless = 0;
            }
        }
    }
    panic!("{harms:?}");
}

/// A board with somebody who sees and hears a job of it. One offender of each kind has come and gone.
fn beside_offenders() -> (Server, Guest, Judge) {
    let server = Server::start_for_guest();
    let guest = boot_offender("offenders", &server, "unresponsive_timeout_s = 5\n", &[]);
    let judge = streaming(&server, "guest-beside");
    offend(&server, &guest, 0);
    (server, guest, judge)
}

#[test]
fn a_leak_without_a_limit_on_a_board_of_256_mib_ends_the_leaking_job_and_no_other() {
    let server = Server::start_for_guest();
    let worker = "max_jobs = 2\n[limits]\njob_memory_mib = 0\n";
    let guest = boot_offender("leak", &server, worker, &["-m", "256"]);
    let judge = streaming(&server, "guest-beside");
    server.api().dispatch("guest-leak", AGENT, "eat");
    let end = guest.wait_console("room \"guest-leak\": failed", SLOW);
    assert!(end.contains("killed because the board was out of memory"), "{end}");
    streams_on(&judge, 0);
}

/// Periods of 10 ms that the microphone gave so far, and those that its card had to drop.
#[track_caller]
fn periods(guest: &mut Guest) -> (u64, u64) {
    let mut read = |what| {
        let metric = format!("firmware_worker_device_{what}_total{{device=\"microphone\"}}");
        let told = guest.must(&format!("wget -qO- http://127.0.0.1:8081/metrics | sed -n 's/{metric} //p'"), SLOW);
        told.parse::<u64>().expect("a number of periods")
    };
    (read("captured"), read("dropped"))
}

/// A board whose worker runs user code that does what the dispatch says. Its camera gives 360p15 as H.264: an emulated
/// processor that has to encode that has no time left to be taken.
fn boot_offender(name: &str, server: &Server, worker: &str, machine: &[&str]) -> Guest {
    let (binary, camera) = (paths::guest_participant(), Fed::h264(name, 640, 360));
    let config = format!("{worker}{}{}", camera.table(), board::MICROPHONE);
    let before = format!("{}{}", camera.script(), board::VOICE);
    board::boot_board(name, server, &binary, &config, &before, &camera.files(), machine)
}

/// Somebody who sees and hears a job of the board.
#[track_caller]
pub fn streaming(server: &Server, room: &str) -> Judge {
    let judge = Judge::join(server, room, "judge");
    server.api().dispatch(room, AGENT, "");
    judge.wait("a steady second", SLOW, is_steady);
    judge
}

/// A job of each kind starts in a room of its own, misbehaves and ends.
#[track_caller]
fn offend(server: &Server, guest: &Guest, n: usize) {
    for (offence, reason) in OFFENCES {
        let room = format!("guest-{offence}-{n}");
        server.api().dispatch(&room, AGENT, offence);
        let end = guest.wait_console(&format!("room {room:?}: failed"), SLOW);
        assert!(end.contains(reason), "{end}");
    }
}

/// Whether the room beside has lost nothing since `mark`, nor stood still for as long as this, ms.
#[track_caller]
fn harmless(judge: &Judge, mark: usize, limit: f64) -> Result<(), String> {
    let (gap, lost) = streams_on(judge, mark);
    if gap < limit && lost == 0.0 { Ok(()) } else { Err(format!("a gap of {gap} ms, {lost} packets lost")) }
}

/// The room beside was kept, and its pictures come as before. The longest time that they stood still since `mark`, ms, and
/// the packets that were lost since then.
#[track_caller]
fn streams_on(judge: &Judge, mark: usize) -> (f64, f64) {
    let from = judge.mark();
    judge.wait_from(from, "a steady second again", SLOW, is_steady);
    let mut before = judge.events();
    let mut seconds = before.split_off(mark);
    before.retain(|e| e.name() == "second");
    seconds.retain(|e| e.name() == "second");
    let gaps: Vec<f64> = seconds.iter().map(|e| e.number("video", "gap_ms")).collect();
    let lost_by = |e: Option<&Event>| e.map_or(0.0, |e| e.number("video", "lost") + e.number("audio", "lost"));
    let lost = lost_by(seconds.last()) - lost_by(before.last());
    println!("lost packets: {lost}; longest gap of each second, ms: {gaps:?}");
    assert!(judge.events().iter().all(|e| e.name() != "participant_left"), "the other job stayed");
    (gaps.into_iter().fold(0.0, f64::max), lost)
}

/// ms
#[track_caller]
fn longest_gap_alone(judge: &Judge) -> f64 {
    let (start, mark) = (tests::poll::monotonic(), judge.mark());
    judge.wait_from(mark, "its time", SLOW + ALONE, |e| e.at() > start + ALONE.as_secs_f64());
    println!("without offenders:");
    streams_on(judge, mark).0
}

/// Pictures and sound, and no gap that anybody would see.
pub fn is_steady(e: &Event) -> bool {
    e.number("video", "fps") >= 13.0
        && e.number("video", "gap_ms") < LONGEST_GAP_MS
        && e.number("audio", "level_dbfs") > -50.0
}
