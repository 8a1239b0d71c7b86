//! Whom a child is, and what it may do: user, capabilities, limits.

use crate::process::check;
use std::fs;
use std::io;

/// A limit of setrlimit(2), soft and hard alike but where the process is warned first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// Open descriptors.
    Files(u64),
    /// Processes and threads of its user; only for one that has its user alone.
    Processes(u64),
    /// The priority up to which its threads may be of SCHED_FIFO.
    Realtime(u64),
    /// For how many µs one of them may run without a call that blocks: then it gets SIGXCPU, and is killed at four times that.
    RealtimeRun(u64),
    /// How far its threads may lower their nice value below 20.
    Nice(u64),
    /// Bytes that it may lock in memory.
    Locked(u64),
}

impl Limit {
    pub(super) fn set(self) -> io::Result<()> {
        match self {
            Self::Files(count) => lower(libc::RLIMIT_NOFILE, count),
            Self::Processes(count) => set(libc::RLIMIT_NPROC, count),
            Self::Realtime(priority) => set(libc::RLIMIT_RTPRIO, priority),
            Self::RealtimeRun(us) => warn_at(libc::RLIMIT_RTTIME, us),
            Self::Nice(below) => set(libc::RLIMIT_NICE, below),
            Self::Locked(bytes) => set(libc::RLIMIT_MEMLOCK, bytes),
        }
    }

    /// Anybody may set it, for itself alone.
    pub(super) fn lowers_our_own(self) -> bool {
        match self {
            Self::Files(_) | Self::RealtimeRun(_) => true,
            Self::Processes(_) | Self::Realtime(_) | Self::Nice(_) | Self::Locked(_) => false,
        }
    }
}

/// No core file, which would hold tokens, and no message queues, which no limit counts.
pub(super) fn keep_nothing() -> io::Result<()> {
    set(libc::RLIMIT_CORE, 0)?;
    set(libc::RLIMIT_MSGQUEUE, 0)
}

/// Bytes that stay in memory for ordinary threads: keys fit, and what is locked is missing to all others.
const LOCKED: u64 = 64 << 10;

/// No thread before those of others, and next to no memory locked: whoever started us may have had more.
pub(super) fn keep_no_priority() -> io::Result<()> {
    set(libc::RLIMIT_RTPRIO, 0)?;
    set(libc::RLIMIT_NICE, 0)?;
    lower(libc::RLIMIT_MEMLOCK, LOCKED)
}

/// Where the system allows less, that is as good.
fn lower(resource: libc::__rlimit_resource_t, value: u64) -> io::Result<()> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: a valid place for the answer.
    check(unsafe { libc::getrlimit(resource, &mut limit) })?;
    limit.rlim_max = limit.rlim_max.min(value as _);
    limit.rlim_cur = limit.rlim_max;
    // SAFETY: a valid structure.
    check(unsafe { libc::setrlimit(resource, &limit) }).map(drop)
}

fn set(resource: libc::__rlimit_resource_t, value: u64) -> io::Result<()> {
    let limit = libc::rlimit { rlim_cur: value as _, rlim_max: value as _ };
    // SAFETY: a valid structure.
    check(unsafe { libc::setrlimit(resource, &limit) }).map(drop)
}

/// A signal at the value, which a process may handle, and its end at four times that.
fn warn_at(resource: libc::__rlimit_resource_t, value: u64) -> io::Result<()> {
    let limit = libc::rlimit { rlim_cur: value as _, rlim_max: (4 * value) as _ };
    // SAFETY: a valid structure.
    check(unsafe { libc::setrlimit(resource, &limit) }).map(drop)
}

/// Becomes this user and the group of the same number for good, with no other groups than these.
pub(super) fn become_user(uid: u32, groups: &[u32]) -> io::Result<()> {
    // SAFETY: the list and its length agree; the others take numbers. Made directly, as this process has one thread.
    unsafe {
        check(libc::setgroups(groups.len() as _, groups.as_ptr()))?;
        check(libc::setresgid(uid, uid, uid))?;
        check(libc::setresuid(uid, uid, uid)).map(drop)
    }
}

/// Root in a namespace of its own over the one user that we are, to mount there.
pub(super) fn own_namespace() -> io::Result<()> {
    // SAFETY: take nothing and cannot fail.
    let (uid, gid) = unsafe { (libc::geteuid(), libc::getegid()) };
    super::unshare(libc::CLONE_NEWUSER)?;
    fs::write("/proc/self/setgroups", "deny")?;
    fs::write("/proc/self/uid_map", format!("{uid} {uid} 1"))?;
    fs::write("/proc/self/gid_map", format!("{gid} {gid} 1"))
}

/// From the set that no exec goes beyond, but for these of the first 32; while it may still do so.
pub(super) fn drop_bounding_set(kept: u32) -> io::Result<()> {
    for capability in (0..64).filter(|capability| u64::from(kept) >> capability & 1 == 0) {
        // SAFETY: takes numbers only.
        match check(unsafe { libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) }) {
            // Beyond the last one that the kernel has.
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) && capability > 0 => break,
            other => drop(other?),
        }
    }
    Ok(())
}

/// From all other sets.
pub(super) fn drop_capabilities() -> io::Result<()> {
    keep_capabilities(0)
}

/// The same but for these, of the first 32, which stay effective.
pub(super) fn keep_capabilities(kept: u32) -> io::Result<()> {
    // SAFETY: takes numbers only.
    check(unsafe { libc::prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) })?;
    set_capabilities([kept, kept, 0, 0, 0, 0])
}

/// Of what it has, through exec, nothing but to read files of any user, if it may that. Makes system calls only, so it may run
/// between fork and exec.
pub(in crate::process) fn keep_only_reading() -> io::Result<()> {
    /// `CAP_DAC_READ_SEARCH`
    const READ: u32 = 1 << 2;
    // Who has no right to do this is no root, or gets nothing back by exec all the same, without new privileges.
    let _ = drop_bounding_set(READ);
    // SAFETY: takes numbers only.
    check(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) })?;
    let [effective, permitted, inheritable, ..] = capabilities()?;
    set_capabilities([effective & READ, permitted & READ, inheritable & READ, 0, 0, 0])
}

/// `struct __user_cap_header_struct` of linux/capability.h
#[repr(C)]
struct Header {
    version: u32,
    pid: i32,
}

impl Header {
    /// `_LINUX_CAPABILITY_VERSION_3`: two times three words go with it. For the calling thread.
    const OURS: Self = Self { version: 0x2008_0522, pid: 0 };
}

/// Effective, permitted and inheritable; the same of those above the first 32.
fn capabilities() -> io::Result<[u32; 6]> {
    let (mut header, mut sets) = (Header::OURS, [0; 6]);
    // SAFETY: a place for as many words as a header of this version goes with.
    let answer = unsafe { libc::syscall(libc::SYS_capget, &raw mut header, sets.as_mut_ptr()) };
    check(answer as libc::c_int).map(|_| sets)
}

/// What is in the ambient set and not in these leaves that too.
fn set_capabilities(sets: [u32; 6]) -> io::Result<()> {
    let header = Header::OURS;
    // SAFETY: as many words as a header of this version goes with.
    check(unsafe { libc::syscall(libc::SYS_capset, &raw const header, sets.as_ptr()) } as libc::c_int).map(drop)
}
