//! What a sound card's thread gets: real time until it runs for too long, or less where the kernel refuses it.

use super::{Role, start};
use hal::process::{Limit, Urgency, monotonic_ns, take_realtime};
use std::fs;
use std::ptr::null;

/// As a worker gives them to the owner of a card.
pub const LIMITS: [Limit; 4] =
    [Limit::Realtime(5), Limit::RealtimeRun(50_000), Limit::Nice(20 + 11), Limit::Locked(u64::MAX)];

/// Until a thread that is not stopped is let go: the kernel would kill it after 200 ms.
const ENOUGH_NS: u64 = 10_000_000_000;

/// `CAP_SYS_RESOURCE`, without which not even root raises a limit.
const RESOURCE: u32 = 24;

/// In the child, which becomes a user without rights that may lower its nice value to -11, where that can be had.
pub fn taken() -> String {
    let raise = |resource, value| {
        let limit = libc::rlimit { rlim_cur: value, rlim_max: value };
        // SAFETY: a valid structure.
        unsafe { libc::setrlimit(resource, &limit) }
    };
    let (_, _) = (raise(libc::RLIMIT_RTPRIO, 0), raise(libc::RLIMIT_NICE, 31));
    // SAFETY: the list is empty; the others take numbers. This process has one thread.
    let became = unsafe { [libc::setgroups(0, null()), libc::setgid(70_900), libc::setuid(70_900)] };
    assert_eq!(became, [0; 3], "another user");
    let (what, why) = match take_realtime() {
        Urgency::RealTime => return "real time".into(),
        Urgency::Nice(why) => ("nice", why),
        Urgency::Ordinary(why) => ("ordinary", why),
    };
    // SAFETY: takes numbers only.
    let value = unsafe { libc::getpriority(libc::PRIO_PROCESS, 0) };
    format!("{what} {value}: {}", why.raw_os_error().unwrap_or_default())
}

pub fn a_thread_that_is_refused_real_time_gets_a_better_nice_value_if_it_may_and_says_why() {
    let child = start("urgency", Role::Free, 9);
    let expected = if may_raise_limits() { "nice -11" } else { "ordinary 0" };
    assert_eq!(child.told(), Ok(format!("{expected}: {}", libc::EPERM)));
}

fn may_raise_limits() -> bool {
    let status = fs::read_to_string("/proc/self/status").expect("a /proc");
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:\t")).expect("a set of capabilities");
    u64::from_str_radix(effective, 16).expect("hexadecimal") >> RESOURCE & 1 == 1
}

/// In the child, which is confined, and spins as no thread of a card should. A worker's own handler has its priority taken.
pub fn spun() -> String {
    // SAFETY: takes a number only.
    let policy = || unsafe { libc::sched_getscheduler(0) & !libc::SCHED_RESET_ON_FORK };
    if let Urgency::Nice(why) | Urgency::Ordinary(why) = take_realtime() {
        return format!("refused: {}", why.raw_os_error().unwrap_or_default());
    }
    let (before, start) = (policy(), monotonic_ns());
    while policy() == before && monotonic_ns() - start < ENOUGH_NS {}
    println!("real time was taken after {} ms", (monotonic_ns() - start) / 1_000_000);
    format!("{before}, then {}", policy())
}

/// Where not even root may raise limits, or the kernel gives no real time to a cgroup, it has none; a board has.
pub fn a_confined_thread_that_runs_for_too_long_in_real_time_is_an_ordinary_one_again() {
    let told = start("spin", Role::Urgent, 10).told().expect("what became of it");
    let nothing_to_take = told == format!("refused: {}", libc::EPERM);
    if nothing_to_take || !may_raise_limits() {
        return println!("real time was not to be had: {told}");
    }
    assert_eq!(told, format!("{}, then {}", libc::SCHED_FIFO, libc::SCHED_OTHER));
}
