//! What a sound card's thread gets where the kernel refuses it real time.

use super::{Role, start};
use hal::process::{Urgency, take_realtime};
use std::fs;
use std::ptr::null;

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
