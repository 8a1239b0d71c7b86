//! A child by its pidfd.

use super::program::pidfd;
use super::{check, uninterrupted};
use std::io;
use std::mem::zeroed;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::ptr::null;

/// A child by its pidfd. [`Child::try_wait`] reaps it; dropping leaves the process alone, and an ended one a zombie.
#[derive(Debug)]
pub struct Child {
    /// Process id, for logs and cgroups.
    pub pid: i32,
    pub(super) pidfd: OwnedFd,
}

/// Kills a process that need not be a child, if `meant` says so once its number cannot be another's any more.
pub fn kill_if(pid: i32, meant: impl FnOnce() -> bool) -> io::Result<()> {
    let pidfd = match pidfd(pid) {
        Err(e) if e.raw_os_error() == Some(libc::ESRCH) => return Ok(()),
        other => other?,
    };
    if meant() { Child { pid, pidfd }.signal(libc::SIGKILL) } else { Ok(()) }
}

/// How a child ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Exit code.
    Code(i32),
    /// Signal.
    Signal(i32),
}

impl Child {
    /// One that an earlier program of this process has started.
    pub fn adopt(pid: i32, pidfd: OwnedFd) -> Self {
        Self { pid, pidfd }
    }

    /// Readable when it has ended.
    pub fn pidfd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    /// Reaps it if it has ended. Once it has said how, further calls fail.
    pub fn try_wait(&self) -> io::Result<Option<Ended>> {
        self.wait(libc::WNOHANG)
    }

    /// Sends a signal; `Ok` if it is already gone.
    pub fn signal(&self, signal: i32) -> io::Result<()> {
        // SAFETY: takes numbers and a null `siginfo`, for which the kernel fills in the plain one.
        let answer = unsafe {
            libc::syscall(libc::SYS_pidfd_send_signal, self.pidfd.as_raw_fd(), signal, null::<libc::siginfo_t>(), 0)
        };
        match check(answer as libc::c_int) {
            Err(e) if e.raw_os_error() == Some(libc::ESRCH) => Ok(()),
            other => other.map(drop),
        }
    }

    pub(super) fn wait(&self, flags: libc::c_int) -> io::Result<Option<Ended>> {
        // SAFETY: all zeroes is a valid value, and its pid stays 0 where nothing has ended.
        let mut info: libc::siginfo_t = unsafe { zeroed() };
        let id = self.pidfd.as_raw_fd() as libc::id_t;
        // SAFETY: `info` is a valid place for the answer.
        uninterrupted(|| check(unsafe { libc::waitid(libc::P_PIDFD, id, &mut info, libc::WEXITED | flags) }))?;
        // SAFETY: `waitid` fills the fields of SIGCHLD, or leaves the zeroes.
        let (pid, status) = unsafe { (info.si_pid(), info.si_status()) };
        Ok(match (pid, info.si_code) {
            (0, _) => None,
            (_, libc::CLD_EXITED) => Some(Ended::Code(status)),
            (_, _) => Some(Ended::Signal(status)),
        })
    }
}
