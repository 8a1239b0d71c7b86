//! A foreign program whose output is read: a process group of its own, nothing inherited, its end certain.
//!
//! ```text
//! start --> read ... --> stop: SIGTERM to the group --grace--> SIGKILL to the group --> reaped
//! ```
//! The leader is reaped last: as long as it is a zombie, no other group can have its number.

mod briefly;

pub use briefly::run_briefly;

use super::child::{Child, Ended};
use super::kept::{REPORT, reported};
use super::{Socket, check, uninterrupted};
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::{ChildStderr, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Where programs are looked for that are named without a path, and all that they get as environment.
const PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// A killed process that is still there after this sits in a driver; it is left behind.
const KILLED: Duration = Duration::from_secs(1);

/// Descriptors that an older kernel is told one by one to close; the control socket is the only one below it that
/// std has not marked already.
const FEW: RawFd = 64;

/// A running program. Stopped without grace when dropped.
#[derive(Debug)]
pub struct Program {
    leader: Leader,
    group: Group,
    stdout: Option<ChildStdout>,
    stderr: Option<ChildStderr>,
}

/// Whom to ask about its end.
#[derive(Debug)]
enum Leader {
    /// The program itself, which we have started.
    Child(Child),
    /// What keeps it; closing the socket ends it.
    Keeper(Socket),
}

/// What a program did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// It wrote this many bytes to its standard output.
    Bytes(usize),
    /// It wrote this many bytes to its standard error.
    Complaint(usize),
    /// Nothing, for as long as was to be waited.
    Silence,
    /// It has ended or closed its standard output, and everything before has been read.
    End,
}

/// The process group of a program, to end it from another thread.
#[derive(Clone, Debug)]
pub struct Group(Arc<Mutex<Option<i32>>>);

impl Group {
    /// Kills whoever is left of the group; nothing once the program was stopped.
    pub fn kill(&self) {
        self.signal(libc::SIGKILL);
    }

    fn signal(&self, signal: i32) {
        if let Some(leader) = *self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            // SAFETY: takes numbers only. The leader has not been reaped, so the group is still its own.
            unsafe { libc::kill(-leader, signal) };
        }
    }
}

impl Program {
    /// Starts a command, its name and its arguments, without a shell: stdin from /dev/null, stdout and stderr to us, an
    /// environment of `PATH` alone. The kernel kills it when the calling thread ends.
    pub fn start(command: &[String]) -> io::Result<Self> {
        let mut program = self::command(command)?;
        program.stdout(Stdio::piped()).stderr(Stdio::piped());
        // SAFETY: the closure makes system calls and nothing else, as it must between fork and exec.
        unsafe { program.pre_exec(keep_nothing) };
        let mut started = program.spawn()?;
        let (stdout, stderr) = (started.stdout.take(), started.stderr.take());
        let pid = started.id() as i32;
        let group = Group(Arc::new(Mutex::new(Some(pid))));
        // From here on, dropping the program ends it.
        let child = Child { pid, pidfd: pidfd(pid).inspect_err(|_| group.kill())? };
        Self { leader: Leader::Child(child), group, stdout, stderr }.not_blocking()
    }

    /// One that a keeper has started, whose standard output and error are read here.
    pub fn kept(keeper: Socket, stdout: OwnedFd, stderr: OwnedFd) -> io::Result<Self> {
        let (stdout, stderr) = (Some(stdout.into()), Some(stderr.into()));
        let leader = Leader::Keeper(keeper);
        // The end of this process closes the socket, which is all that a group is for.
        Self { leader, group: Group(Arc::default()), stdout, stderr }.not_blocking()
    }

    fn not_blocking(self) -> io::Result<Self> {
        for fd in [self.stdout.as_ref().map(AsRawFd::as_raw_fd), self.stderr.as_ref().map(AsRawFd::as_raw_fd)] {
            fd.map_or(Ok(()), not_blocking)?;
        }
        Ok(self)
    }

    /// To end it from another thread.
    pub fn group(&self) -> Group {
        self.group.clone()
    }

    /// Reads what it writes next into `buffer`, its standard output first.
    pub fn read(&mut self, buffer: &mut [u8], timeout: Duration) -> io::Result<Output> {
        self.wait(timeout)?;
        if let Some(stdout) = &mut self.stdout {
            match taken(stdout.read(buffer))? {
                Some(0) => self.stdout = None,
                Some(count) => return Ok(Output::Bytes(count)),
                None => {}
            }
        }
        if let Some(stderr) = &mut self.stderr {
            match taken(stderr.read(buffer))? {
                Some(0) => self.stderr = None,
                Some(count) => return Ok(Output::Complaint(count)),
                None => {}
            }
        }
        // Its children may hold the pipes open for ever.
        let ended = match &self.leader {
            Leader::Child(child) => child.wait(libc::WNOHANG | libc::WNOWAIT)?.is_some(),
            Leader::Keeper(keeper) => crate::wait::ready(keeper.as_fd(), libc::POLLIN, Duration::ZERO)? != 0,
        };
        Ok(if ended || self.stdout.is_none() { Output::End } else { Output::Silence })
    }

    /// Ends it and all of its group: asks, waits for up to `grace`, kills. How it ended, if it did.
    pub fn stop(mut self, grace: Duration) -> Option<Ended> {
        self.finish(grace)
    }

    fn finish(&mut self, grace: Duration) -> Option<Ended> {
        self.group.signal(libc::SIGTERM);
        // Whoever still writes is told by SIGPIPE.
        (self.stdout, self.stderr) = (None, None);
        let child = match &self.leader {
            Leader::Child(child) => child,
            Leader::Keeper(keeper) => return released(keeper, grace),
        };
        let _ = crate::wait::ready(child.pidfd(), libc::POLLIN, grace);
        self.group.signal(libc::SIGKILL);
        let _ = crate::wait::ready(child.pidfd(), libc::POLLIN, KILLED);
        let mut leader = self.group.0.lock().unwrap_or_else(PoisonError::into_inner);
        *leader = None;
        child.try_wait().ok().flatten()
    }

    fn wait(&self, timeout: Duration) -> io::Result<()> {
        let watch = |fd: Option<RawFd>| libc::pollfd { fd: fd.unwrap_or(-1), events: libc::POLLIN, revents: 0 };
        let mut fds = [
            watch(self.stdout.as_ref().map(AsRawFd::as_raw_fd)),
            watch(self.stderr.as_ref().map(AsRawFd::as_raw_fd)),
            watch(Some(match &self.leader {
                Leader::Child(child) => child.pidfd().as_raw_fd(),
                Leader::Keeper(keeper) => keeper.as_raw_fd(),
            })),
        ];
        let limit = libc::timespec { tv_sec: timeout.as_secs() as _, tv_nsec: timeout.subsec_nanos() as _ };
        // SAFETY: valid structures, and their count; no signal mask.
        let answer = unsafe { libc::ppoll(fds.as_mut_ptr(), fds.len() as _, &limit, std::ptr::null()) };
        match check(answer) {
            // As good as silence: the caller looks again.
            Err(e) if e.kind() == io::ErrorKind::Interrupted => Ok(()),
            other => other.map(drop),
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let stopped = self.group.0.lock().unwrap_or_else(PoisonError::into_inner).is_none();
        // A keeper ends it when its socket closes.
        if !stopped {
            self.finish(Duration::ZERO);
        }
    }
}

/// A command by its name and arguments: a group of its own, stdin from /dev/null, an environment of `PATH` alone.
pub(super) fn command(words: &[String]) -> io::Result<Command> {
    let [name, arguments @ ..] = words else { return Err(io::ErrorKind::InvalidInput.into()) };
    let mut command = Command::new(name);
    command.args(arguments).env_clear().env("PATH", PATH).process_group(0).stdin(Stdio::null());
    Ok(command)
}

/// Tells the keeper to end its program, and hears how that ended.
fn released(keeper: &Socket, grace: Duration) -> Option<Ended> {
    // SAFETY: takes numbers only. What is on its way to us still comes.
    unsafe { libc::shutdown(keeper.as_raw_fd(), libc::SHUT_WR) };
    crate::wait::ready(keeper.as_fd(), libc::POLLIN, grace + KILLED).ok().filter(|events| *events != 0)?;
    let mut packet = [0; REPORT];
    let length = keeper.receive(&mut packet).map_or(0, |(length, _)| length);
    Some(reported(&packet[..length]))
}

/// A read that may have had nothing to read.
fn taken(read: io::Result<usize>) -> io::Result<Option<usize>> {
    match read {
        Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => Ok(None),
        other => other.map(Some),
    }
}

/// In the child, before exec: every descriptor but the first three is closed by exec, and our end is its end.
fn keep_nothing() -> io::Result<()> {
    // SAFETY: system calls on numbers.
    unsafe {
        let (first, last) = (3 as libc::c_uint, libc::c_uint::MAX);
        if libc::syscall(libc::SYS_close_range, first, last, libc::CLOSE_RANGE_CLOEXEC) == -1 {
            for fd in 3..FEW {
                libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC);
            }
        }
        check(libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL)).map(drop)
    }
}

pub(super) fn pidfd(pid: i32) -> io::Result<OwnedFd> {
    // SAFETY: takes numbers only. Whose number it is, the caller knows: that of a child that it has not reaped is its own.
    let fd = check(unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) } as libc::c_int)?;
    // SAFETY: just made, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn not_blocking(fd: RawFd) -> io::Result<()> {
    // SAFETY: the descriptor is open, as its owner is borrowed by the caller.
    let fd = unsafe { BorrowedFd::borrow_raw(fd) };
    // SAFETY: takes numbers only.
    let flags = uninterrupted(|| check(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_GETFL) }))?;
    // SAFETY: takes numbers only.
    check(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETFL, flags | libc::O_NONBLOCK) }).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    const PATIENCE: Duration = Duration::from_secs(10);
    const SECOND: Duration = Duration::from_secs(1);

    fn shell(script: &str) -> Program {
        Program::start(&["sh".into(), "-c".into(), script.into()]).expect("a shell")
    }

    /// Reads to the end: standard output, standard error.
    fn everything(program: &mut Program) -> (String, String) {
        let (mut out, mut complaints) = (Vec::new(), Vec::new());
        let mut buffer = [0; 512];
        loop {
            match program.read(&mut buffer, PATIENCE).expect("a readable program") {
                Output::Bytes(count) => out.extend_from_slice(&buffer[..count]),
                Output::Complaint(count) => complaints.extend_from_slice(&buffer[..count]),
                Output::Silence => {}
                Output::End => break,
            }
        }
        (String::from_utf8(out).expect("text"), String::from_utf8(complaints).expect("text"))
    }

    fn leader(program: &Program) -> i32 {
        match &program.leader {
            Leader::Child(child) => child.pid,
            Leader::Keeper(_) => panic!("it was started here"),
        }
    }

    /// Processes of a group, from /proc.
    fn members(group: i32) -> usize {
        let stat = |entry: std::fs::DirEntry| std::fs::read_to_string(entry.path().join("stat")).ok();
        let processes = std::fs::read_dir("/proc").expect("procfs").flatten().filter_map(stat);
        let of_group =
            |stat: &String| stat.rsplit(") ").next().and_then(|s| s.split(' ').nth(2)) == Some(&group.to_string());
        processes.filter(of_group).count()
    }

    #[test]
    fn output_complaints_and_the_way_it_ended_are_told() {
        let mut program = shell("echo pictures; echo sorry >&2; exit 3");
        assert_eq!(everything(&mut program), ("pictures\n".into(), "sorry\n".into()));
        assert_eq!(program.stop(SECOND), Some(Ended::Code(3)));
    }

    #[test]
    fn it_inherits_no_descriptor_and_no_environment() {
        let file = std::fs::File::open("/dev/null").expect("/dev/null");
        not_cloexec(&file);
        let mut program = shell("ls /proc/self/fd | wc -l; env | grep -v -e ^PWD= -e ^_= -e ^SHLVL= -e ^OLDPWD=");
        // Three, and the one that `ls` reads the directory with.
        assert_eq!(everything(&mut program).0, format!("4\nPATH={PATH}\n"));
    }

    fn not_cloexec(file: &std::fs::File) {
        // SAFETY: takes numbers only.
        assert_eq!(unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETFD, 0) }, 0);
    }

    #[test]
    fn one_that_ignores_sigterm_is_killed_after_the_grace_with_its_children() {
        let mut program = shell("trap '' TERM; (trap '' TERM; sleep 1000) & echo ready; while :; do sleep 1000; done");
        let mut buffer = [0; 64];
        assert_eq!(program.read(&mut buffer, PATIENCE).expect("output"), Output::Bytes(6));
        let group = leader(&program);
        assert!(members(group) >= 2);
        let asked = Instant::now();
        assert_eq!(program.stop(Duration::from_millis(200)), Some(Ended::Signal(libc::SIGKILL)));
        assert!((Duration::from_millis(200)..SECOND).contains(&asked.elapsed()), "{:?}", asked.elapsed());
        let start = Instant::now();
        while members(group) > 0 {
            assert!(start.elapsed() < PATIENCE, "a child is left");
            std::thread::yield_now();
        }
    }

    #[test]
    fn one_that_leaves_at_sigterm_is_not_waited_for() {
        // A shell complains of the end of its child, and nobody listens any more.
        let mut program = shell("trap 'exit 5' TERM; trap '' PIPE; echo ready; while :; do sleep 0.01; done");
        let mut buffer = [0; 64];
        assert_eq!(program.read(&mut buffer, PATIENCE).expect("output"), Output::Bytes(6));
        assert_eq!(program.stop(PATIENCE), Some(Ended::Code(5)));
    }

    #[test]
    fn a_child_that_keeps_the_pipe_open_does_not_hide_its_end() {
        let mut program = shell("sleep 1000 & echo ready");
        let group = leader(&program);
        assert_eq!(everything(&mut program).0, "ready\n");
        drop(program);
        let start = Instant::now();
        while members(group) > 0 {
            assert!(start.elapsed() < PATIENCE, "a child is left");
            std::thread::yield_now();
        }
    }

    #[test]
    fn another_thread_can_end_it_and_does_nothing_to_one_that_was_stopped() {
        let mut program = shell("echo ready; sleep 1000");
        let group = program.group();
        assert_eq!(program.read(&mut [0; 64], PATIENCE).expect("output"), Output::Bytes(6));
        let other = group.clone();
        std::thread::spawn(move || other.kill()).join().expect("no panic");
        assert_eq!(everything(&mut program).0, "");
        assert_eq!(program.stop(SECOND), Some(Ended::Signal(libc::SIGKILL)));
        assert!(group.0.lock().expect("no panic").is_none());
        group.kill();
    }

    #[test]
    fn one_that_does_not_exist_is_an_error() {
        let missing = Program::start(&["no-such-program-anywhere".into()]).expect_err("nothing to start");
        assert_eq!(missing.kind(), io::ErrorKind::NotFound);
        assert!(Program::start(&[]).is_err());
    }
}
