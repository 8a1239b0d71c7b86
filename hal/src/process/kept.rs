//! A foreign program in a process that keeps it: the keeper's side. The side that reads is [`super::Program::kept`].
//!
//! ```text
//! keeper: start --> wait ... the program ends --> report, kill what is left
//!                        ... the reader's socket closes --> SIGTERM to all --grace--> SIGKILL to all
//! ```

use super::child::{Child, Ended};
use super::program::{command, pidfd};
use super::sandbox::Rights;
use super::{Socket, check, uninterrupted};
use std::io;
use std::mem::zeroed;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::time::Duration;

/// The report: how, and the code or the signal.
pub(super) const REPORT: usize = 5;
const CODE: u8 = 0;
const SIGNAL: u8 = 1;

/// What a keeper has waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Woken {
    /// The program has ended, and is reaped.
    Ended(Ended),
    /// Its reader has closed the socket.
    Closed,
    /// Neither, for as long as was to be waited.
    Silence,
}

/// A running program and what it starts.
#[derive(Debug)]
pub struct Kept {
    child: Child,
    /// We are the first process of a namespace: all others in it are the program's.
    alone: bool,
}

impl Kept {
    /// Starts a command without a shell, as the given user, with these as its standard output and error.
    pub fn start(
        words: &[String],
        stdout: OwnedFd,
        stderr: OwnedFd,
        rights: Option<Rights>,
        alone: bool,
    ) -> io::Result<Self> {
        let mut command = command(words)?;
        command.stdout(stdout).stderr(stderr);
        // SAFETY: the closure makes system calls and nothing else, as it must between fork and exec.
        unsafe {
            command.pre_exec(move || {
                if let Some(rights) = &rights {
                    rights.take()?;
                }
                // After the change of user, which forgets it.
                check(libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL)).map(drop)
            });
        }
        let pid = command.spawn()?.id() as i32;
        Ok(Self { child: Child { pid, pidfd: pidfd(pid)? }, alone })
    }

    /// Waits for its end, or for the reader to go.
    pub fn wait(&self, reader: &Socket, timeout: Duration) -> io::Result<Woken> {
        let watch = |fd| libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
        let mut fds = [watch(self.child.pidfd().as_raw_fd()), watch(reader.as_raw_fd())];
        let timeout = libc::c_int::try_from(timeout.as_millis()).unwrap_or(libc::c_int::MAX);
        // SAFETY: valid structures, and their count.
        uninterrupted(|| check(unsafe { libc::poll(fds.as_mut_ptr(), fds.len() as _, timeout) }))?;
        self.reap_others();
        if let Some(ended) = self.child.try_wait()? {
            return Ok(Woken::Ended(ended));
        }
        // A reader that speaks breaks the rules: it has nothing to say.
        Ok(if fds[1].revents != 0 { Woken::Closed } else { Woken::Silence })
    }

    /// Waits for its end alone.
    pub fn end(&self, timeout: Duration) -> Option<Ended> {
        let _ = crate::wait::ready(self.child.pidfd(), libc::POLLIN, timeout);
        self.child.try_wait().ok().flatten()
    }

    /// Signals the program and all that it has started, as far as they can be told from others: in a namespace all, else
    /// its process group.
    pub fn signal_all(&self, signal: i32) {
        // SAFETY: takes numbers only. Never -1 outside of a namespace of its own, where that would be everybody.
        unsafe { libc::kill(if self.alone { -1 } else { -self.child.pid }, signal) };
    }

    /// Tells the reader how it ended.
    pub fn report(reader: &Socket, ended: Ended) -> io::Result<()> {
        let (how, number) = match ended {
            Ended::Code(code) => (CODE, code),
            Ended::Signal(signal) => (SIGNAL, signal),
        };
        let [a, b, c, d] = number.to_le_bytes();
        reader.send(&[how, a, b, c, d], &[])
    }

    /// The first process of a namespace inherits the orphans in it.
    fn reap_others(&self) {
        if !self.alone {
            return;
        }
        loop {
            // SAFETY: all zeroes is a valid value, and its pid stays 0 where nothing has ended.
            let mut info: libc::siginfo_t = unsafe { zeroed() };
            let flags = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
            // SAFETY: `info` is a valid place for the answer.
            let answer = check(unsafe { libc::waitid(libc::P_ALL, 0, &mut info, flags) });
            // SAFETY: `waitid` fills the fields of SIGCHLD, or leaves the zeroes.
            let pid = unsafe { info.si_pid() };
            if answer.is_err() || pid == 0 || pid == self.child.pid {
                return;
            }
            // SAFETY: takes a number; nobody asks for its status.
            unsafe { libc::waitpid(pid, std::ptr::null_mut(), libc::WNOHANG) };
        }
    }
}

/// What a report says; a keeper that is gone without one was killed.
pub(super) fn reported(packet: &[u8]) -> Ended {
    match *packet {
        [CODE, a, b, c, d] => Ended::Code(i32::from_le_bytes([a, b, c, d])),
        [SIGNAL, a, b, c, d] => Ended::Signal(i32::from_le_bytes([a, b, c, d])),
        _ => Ended::Signal(libc::SIGKILL),
    }
}
