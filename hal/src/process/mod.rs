//! Processes and descriptors: spawn by re-exec into a cgroup, foreign programs, pidfds, SEQPACKET sockets with descriptor
//! passing.

mod child;
mod claims;
mod code;
mod handover;
mod kept;
mod listener;
mod memfd;
mod program;
mod realtime;
mod sandbox;
mod socket;
mod spawn;

pub use child::{Child, Ended, kill_if};
pub use claims::Claims;
pub use code::let_go_of_code;
pub use handover::Inheritance;
pub use kept::{Kept, Woken};
pub use listener::{Listener, Peer, user};
pub(crate) use memfd::add_seals;
#[cfg(any(test, not(loom)))]
pub(crate) use memfd::create as create_memfd;
#[cfg(not(loom))]
pub(crate) use memfd::seals;
pub use memfd::{read_sealed, sealed_memfd};
pub use program::{Group, Output, Program, run_briefly};
pub use realtime::{Urgency, take_realtime};
pub use sandbox::{
    Layer, Limit, Missing, Rights, Sandbox, Tally, confine, group, is_call, keep_only_signals, resolvers,
};
pub use socket::{MAX_FDS, Socket, inherited_control};
pub use spawn::Executable;

use std::fs::OpenOptions;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

/// CLOCK_MONOTONIC in ns, the clock of rings and kernel capture stamps.
pub fn monotonic_ns() -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `now` is a valid place for the answer; this clock exists on every Linux, so the call cannot fail.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut now) };
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// CPU time that all threads of this process have used, ns.
pub fn cpu_ns() -> u64 {
    let mut used = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `used` is a valid place for the answer; this clock exists on every Linux, so the call cannot fail.
    unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &mut used) };
    used.tv_sec as u64 * 1_000_000_000 + used.tv_nsec as u64
}

/// A directory opened for [`Executable::spawn`].
pub fn open_directory(path: &Path) -> io::Result<OwnedFd> {
    Ok(OpenOptions::new().read(true).custom_flags(libc::O_DIRECTORY).open(path)?.into())
}

/// Asks a process to end.
pub const TERMINATE: i32 = libc::SIGTERM;
/// Ends it.
pub const KILL: i32 = libc::SIGKILL;

/// Waits until there is something to read, or for `timeout`.
pub fn await_readable(fd: BorrowedFd<'_>, timeout: Duration) -> io::Result<()> {
    crate::wait::ready(fd, libc::POLLIN, timeout).map(drop)
}

/// From now on this process ends without a word when it writes to a pipe that nobody reads any more, as `head` leaves one. Rust's
/// runtime has it get an error, of which `println!` panics.
pub fn end_with_the_reader() {
    // SAFETY: no handler of ours is involved.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
}

/// Ends the process at once: no destructors, no exit handlers, no flushing, so nothing can hold it up.
pub fn exit_now(code: i32) -> ! {
    // SAFETY: `_exit` takes any value and does not return.
    unsafe { libc::_exit(code) }
}

/// Gives the process its name in `ps` and `top`, at most 15 bytes: after [`Executable::spawn`] the kernel knows it only by
/// a descriptor's number. Call it on the main thread.
pub fn set_name(name: &str) {
    let mut bytes = [0u8; 16];
    for (to, from) in bytes.iter_mut().zip(name.bytes().take(15)) {
        *to = from;
    }
    // SAFETY: PR_SET_NAME reads up to 16 bytes ending in NUL, which the buffer holds.
    unsafe { libc::prctl(libc::PR_SET_NAME, bytes.as_ptr()) };
}

/// Turns the answer of a system call, -1 for failure, into a result.
pub(crate) fn check(answer: libc::c_int) -> io::Result<libc::c_int> {
    if answer == -1 { Err(io::Error::last_os_error()) } else { Ok(answer) }
}

/// As [`check`], for calls that answer with a size.
pub(crate) fn check_size(answer: libc::ssize_t) -> io::Result<usize> {
    usize::try_from(answer).map_err(|_| io::Error::last_os_error())
}

/// Repeats a call that a signal interrupted.
pub(crate) fn uninterrupted<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}

#[cfg(test)]
mod tests;
