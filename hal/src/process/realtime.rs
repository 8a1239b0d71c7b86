//! Real-time priority for one thread, in a process that has given up the right to it.
//!
//! ```text
//! a sound card's thread: take_realtime() --granted--> SCHED_FIFO --too long without a pause--> an ordinary thread again
//!                              '-- refused --> nice
//! ```
//! The limits that grant it are taken with the sandbox ([`super::Limit`]).

use super::check;
use std::io;
use std::sync::atomic::{AtomicI32, Ordering};

/// Above every ordinary thread, below the kernel's own (interrupt threads are at 50).
const PRIORITY: libc::c_int = 5;

/// For kernels that refuse: RT_GROUP_SCHED grants a cgroup no real time unless told to.
const NICE: libc::c_int = -11;

/// The real-time thread; 0 for none.
static THREAD: AtomicI32 = AtomicI32::new(0);

/// What a thread got.
#[derive(Debug)]
pub enum Urgency {
    /// SCHED_FIFO.
    RealTime,
    /// A better nice value only: why not more.
    Nice(io::Error),
    /// Nothing: why.
    Ordinary(io::Error),
}

/// Makes the calling thread one that runs before all ordinary ones, and keeps this process' memory from being taken back
/// under it. One thread of a process: the last one counts.
pub fn take_realtime() -> Urgency {
    // SAFETY: takes nothing and cannot fail.
    THREAD.store(unsafe { libc::syscall(libc::SYS_gettid) } as i32, Ordering::Relaxed);
    if let Err(refused) = demote_on_alarm().and_then(|()| schedule(0, libc::SCHED_FIFO, PRIORITY)) {
        // SAFETY: takes numbers only; 0 is the calling thread.
        let answer = check(unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, NICE) });
        return if answer.is_ok() { Urgency::Nice(refused) } else { Urgency::Ordinary(refused) };
    }
    lock_memory();
    Urgency::RealTime
}

/// What is in memory, as it comes in: nothing is read in ahead for it.
fn lock_memory() {
    let flags = libc::MCL_CURRENT | libc::MCL_FUTURE | libc::MCL_ONFAULT;
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: a valid place for the answer.
    let known = check(unsafe { libc::getrlimit(libc::RLIMIT_MEMLOCK, &mut limit) }).is_ok();
    // With a limit, later allocations would fail at it. The cgroup's holds for locked memory too.
    if known && limit.rlim_cur == libc::RLIM_INFINITY {
        // SAFETY: takes numbers only. Without it a page may be read in again late, and nothing else is wrong.
        let _ = unsafe { libc::mlockall(flags) };
    }
}

fn schedule(thread: libc::pid_t, policy: libc::c_int, priority: libc::c_int) -> io::Result<()> {
    let parameter = libc::sched_param { sched_priority: priority };
    // SAFETY: a valid structure. Threads that this one starts are ordinary.
    check(unsafe { libc::sched_setscheduler(thread, policy | libc::SCHED_RESET_ON_FORK, &parameter) }).map(drop)
}

/// The kernel's alarm for a thread that has run for too long ends a process that does not handle it.
fn demote_on_alarm() -> io::Result<()> {
    extern "C" fn demote(_: libc::c_int) {
        const TEXT: &[u8] =
            b"a sound card's thread ran for too long without a pause: its real-time priority is taken\n";
        // SAFETY: system calls on valid data, which a handler may make; errno is put back for whoever was interrupted.
        unsafe {
            let errno = *libc::__errno_location();
            let parameter = libc::sched_param { sched_priority: 0 };
            // Without the flag that it has, it would be refused to who has no rights (sched(7)), and then killed.
            let ordinary = libc::SCHED_OTHER | libc::SCHED_RESET_ON_FORK;
            libc::sched_setscheduler(THREAD.load(Ordering::Relaxed), ordinary, &parameter);
            libc::write(libc::STDERR_FILENO, TEXT.as_ptr().cast(), TEXT.len());
            *libc::__errno_location() = errno;
        }
    }
    // SAFETY: all zeroes is a valid value: no flags but the one set, an empty mask.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = demote as extern "C" fn(libc::c_int) as usize;
    action.sa_flags = libc::SA_RESTART;
    // SAFETY: a valid structure with a handler that makes system calls only.
    check(unsafe { libc::sigaction(libc::SIGXCPU, &action, std::ptr::null_mut()) }).map(drop)
}

#[cfg(test)]
mod tests {
    use super::super::monotonic_ns;
    use super::*;

    /// The policy of the calling thread.
    fn policy() -> libc::c_int {
        // SAFETY: takes a number only.
        unsafe { libc::sched_getscheduler(0) & !libc::SCHED_RESET_ON_FORK }
    }

    #[test]
    fn a_thread_that_runs_for_too_long_without_a_pause_is_an_ordinary_one_again() {
        // The limits are the process', so a child of its own has them.
        if std::env::var_os("HAL_REALTIME").is_none() {
            let test = std::env::current_exe().unwrap();
            let name =
                "process::realtime::tests::a_thread_that_runs_for_too_long_without_a_pause_is_an_ordinary_one_again";
            let status = std::process::Command::new(test).args(["--exact", name]).env("HAL_REALTIME", "1").status();
            assert!(status.unwrap().success());
            return;
        }
        let limit = libc::rlimit { rlim_cur: 50_000, rlim_max: libc::RLIM_INFINITY };
        // SAFETY: a valid structure.
        check(unsafe { libc::setrlimit(libc::RLIMIT_RTTIME, &limit) }).unwrap();
        let urgency = take_realtime();
        match &urgency {
            Urgency::RealTime => assert_eq!(policy(), libc::SCHED_FIFO),
            // A machine that grants no real time says so, and the rest is the guest's to prove, in hal/tests/sandbox.
            Urgency::Nice(why) | Urgency::Ordinary(why) => {
                assert_eq!(why.raw_os_error(), Some(libc::EPERM));
                return;
            }
        }
        let start = monotonic_ns();
        while policy() == libc::SCHED_FIFO {
            assert!(monotonic_ns() - start < 10_000_000_000, "never demoted");
        }
    }
}
