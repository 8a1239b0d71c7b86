//! Starting our own executable again, in a cgroup from its first instruction.
//!
//! ```text
//! parent: copies of all descriptors above the places they will take; block signals; clone
//! child:  cgroup (where clone could not) -> own group -> default signals -> place 0 to 5 -> close the rest -> exec
//! parent: reads the pipe: its end means that exec has worked, bytes in it say which step failed
//! ```
//! Between clone and exec the child makes system calls on prepared data and nothing else: another thread may have held
//! the allocator's lock when it was cloned.

use super::child::Child;
use super::socket::{CONTROL_FD, Socket};
use super::{check, exit_now, uninterrupted};
use libc::{c_char, c_int, c_long};
use std::ffi::{CStr, CString};
use std::fs::File;
use std::io::{self, Read};
use std::mem::{size_of, zeroed};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::ptr::null;

/// Where the child keeps the pipe that reports failures, until exec closes it.
const REPORT_FD: RawFd = 4;
/// Where the child keeps the executable, until exec closes it.
const PROGRAM_FD: RawFd = 5;
/// Descriptors from here on are closed in the child; the parent's copies are at or above it, so that none is in the way
/// of another.
const FIRST_UNUSED_FD: RawFd = 6;

/// What differs between children.
#[derive(Clone, Copy)]
struct Manner<'a> {
    apart: bool,
    stderr: Option<BorrowedFd<'a>>,
}

/// The running executable, held open so that children are the same binary even after an upgrade on disk.
#[derive(Debug)]
pub struct Executable(OwnedFd);

impl Executable {
    /// Opens `/proc/self/exe`.
    pub fn current() -> io::Result<Self> {
        Ok(Self(File::open("/proc/self/exe")?.into()))
    }

    /// Starts it with `arguments` (argv[0] is `name`), `control` as descriptor 3, stdin from /dev/null, stdout and stderr
    /// both `stderr` or ours, every other descriptor closed, signal mask and dispositions reset but for SIGUSR2, which is
    /// ignored, own process group, an empty environment but for `environment`, and, with `cgroup` (an open cgroup
    /// directory), inside that cgroup before exec. Returns when exec has succeeded or failed.
    pub fn spawn(
        &self,
        name: &str,
        arguments: &[&str],
        environment: &[(&str, &str)],
        control: Socket,
        stderr: Option<BorrowedFd<'_>>,
        cgroup: Option<BorrowedFd<'_>>,
    ) -> io::Result<Child> {
        self.spawn_in(Manner { apart: false, stderr }, name, arguments, environment, control, cgroup)
    }

    /// The same, but where we may do that (as root) as the first process of a PID namespace: all that it starts, and that
    /// those start, ends with it.
    pub fn spawn_apart(
        &self,
        name: &str,
        arguments: &[&str],
        environment: &[(&str, &str)],
        control: Socket,
        cgroup: Option<BorrowedFd<'_>>,
    ) -> io::Result<Child> {
        self.spawn_in(Manner { apart: true, stderr: None }, name, arguments, environment, control, cgroup)
    }

    fn spawn_in(
        &self,
        manner: Manner<'_>,
        name: &str,
        arguments: &[&str],
        environment: &[(&str, &str)],
        control: Socket,
        cgroup: Option<BorrowedFd<'_>>,
    ) -> io::Result<Child> {
        let argv = strings(std::iter::once(name).chain(arguments.iter().copied()).map(str::to_owned))?;
        let envp = strings(environment.iter().map(|(key, value)| format!("{key}={value}")))?;
        let (argv, envp) = (pointers(&argv), pointers(&envp));
        let (report, reporter) = io::pipe()?;
        let stdin = out_of_the_way(File::open("/dev/null")?.as_fd())?;
        let control = out_of_the_way(control.as_fd())?;
        let report_end = out_of_the_way(reporter.as_fd())?;
        let program = out_of_the_way(self.0.as_fd())?;
        let stderr = manner.stderr.map(out_of_the_way).transpose()?;
        let cgroup = cgroup.map(out_of_the_way).transpose()?;
        let plan = Plan {
            argv: argv.as_ptr(),
            envp: envp.as_ptr(),
            stdin: stdin.as_raw_fd(),
            control: control.as_raw_fd(),
            reporter: report_end.as_raw_fd(),
            program: program.as_raw_fd(),
            stderr: stderr.as_ref().map(|fd| fd.as_raw_fd()),
            cgroup: cgroup.as_ref().map(|fd| fd.as_raw_fd()),
            apart: manner.apart,
        };
        // SAFETY: the plan's pointers and descriptors live in this frame, of which the child has a copy.
        let child = with_signals_blocked(|| unsafe { start(&plan) })?;
        // The pipe ends only when no writer is left: ours must go before we read.
        drop((reporter, report_end));
        outcome(report, child)
    }

    #[cfg(test)]
    pub(super) fn of(file: OwnedFd) -> Self {
        Self(file)
    }
}

impl AsFd for Executable {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

fn strings(from: impl Iterator<Item = String>) -> io::Result<Vec<CString>> {
    Ok(from.map(CString::new).collect::<Result<_, _>>()?)
}

fn pointers(strings: &[CString]) -> Vec<*const c_char> {
    strings.iter().map(|s| s.as_ptr()).chain(std::iter::once(null())).collect()
}

fn out_of_the_way(fd: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    // SAFETY: takes numbers only.
    let copy = check(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_DUPFD_CLOEXEC, FIRST_UNUSED_FD) })?;
    // SAFETY: just made, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(copy) })
}

/// A handler of ours must not run in the child; the child opens the mask itself once no handler is left.
fn with_signals_blocked<T>(call: impl FnOnce() -> T) -> T {
    // SAFETY: both sets are valid places, and the mask that was read is put back.
    unsafe {
        let (mut all, mut before): (libc::sigset_t, libc::sigset_t) = (zeroed(), zeroed());
        libc::sigfillset(&mut all);
        libc::pthread_sigmask(libc::SIG_SETMASK, &all, &mut before);
        let result = call();
        libc::pthread_sigmask(libc::SIG_SETMASK, &before, std::ptr::null_mut());
        result
    }
}

/// Waits for exec: the pipe closes with it.
fn outcome(mut report: io::PipeReader, child: Child) -> io::Result<Child> {
    let mut failure = [0u8; size_of::<Failure>()];
    let mut length = 0;
    while length < failure.len() {
        match uninterrupted(|| report.read(&mut failure[length..]))? {
            0 => break,
            n => length += n,
        }
    }
    if length == 0 {
        return Ok(child);
    }
    child.wait(0)?;
    let [step, e0, e1, e2, e3] = failure;
    let source = io::Error::from_raw_os_error(i32::from_ne_bytes([e0, e1, e2, e3]));
    let step = STEPS.get(usize::from(step)).unwrap_or(&"unknown step");
    Err(io::Error::new(source.kind(), format!("start a child: {step}: {source}")))
}

/// Step and errno, as they go through the pipe.
type Failure = [u8; 5];

const STEPS: [&str; 6] = ["enter the cgroup", "setpgid", "reset signals", "place descriptors", "close_range", "exec"];
const CGROUP: u8 = 0;
const SETPGID: u8 = 1;
const SIGNALS: u8 = 2;
const PLACE: u8 = 3;
const CLOSE_RANGE: u8 = 4;
const EXEC: u8 = 5;

/// All that the child needs, prepared by the parent.
struct Plan {
    argv: *const *const c_char,
    envp: *const *const c_char,
    stdin: RawFd,
    control: RawFd,
    reporter: RawFd,
    program: RawFd,
    /// Standard output too. None: as inherited.
    stderr: Option<RawFd>,
    cgroup: Option<RawFd>,
    apart: bool,
}

/// Clones and, in the child, runs the plan.
///
/// # Safety
/// The plan's pointers are to arrays that end in null, and its descriptors are open.
unsafe fn start(plan: &Plan) -> io::Result<Child> {
    let mut pidfd: RawFd = -1;
    let (mut born_inside, mut pid) = (false, -1);
    let namespaces = if plan.apart { &[libc::CLONE_NEWPID, 0][..] } else { &[0] };
    for (namespace, into_cgroup) in namespaces.iter().flat_map(|namespace| [(*namespace, true), (*namespace, false)]) {
        born_inside = into_cgroup && plan.cgroup.is_some();
        // SAFETY: no memory is shared with the child, which runs only `child` below; `pidfd` is a place for the answer.
        pid = unsafe { if into_cgroup { clone3(plan, namespace, &mut pidfd) } else { clone(namespace, &mut pidfd) } };
        if pid != -1 || !is_unavailable(&io::Error::last_os_error(), namespace != 0) {
            break;
        }
    }
    match pid {
        -1 => {
            let source = io::Error::last_os_error();
            Err(io::Error::new(source.kind(), format!("start a child: clone: {source}")))
        }
        // SAFETY: this is the child, and the caller vouches for the plan.
        0 => unsafe { child(plan, born_inside) },
        // SAFETY: the kernel has made this descriptor for us with the child.
        pid => Ok(Child { pid: pid as i32, pidfd: unsafe { OwnedFd::from_raw_fd(pidfd) } }),
    }
}

/// Container filters answer ENOSYS or EPERM for `clone3`, as they cannot look into its arguments. A kernel without PID
/// namespaces says EINVAL, one that may make no more of them ENOSPC (clone(2)).
fn is_unavailable(error: &io::Error, namespace: bool) -> bool {
    match error.raw_os_error() {
        Some(libc::ENOSYS | libc::EPERM) => true,
        Some(libc::EINVAL | libc::ENOSPC) => namespace,
        _ => false,
    }
}

/// `struct clone_args` of linux/sched.h, version 2 (5.7).
#[repr(C)]
#[derive(Default)]
struct CloneArguments {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

const _: () = assert!(size_of::<CloneArguments>() == 88);

/// Of linux/sched.h; libc's constant of this name is an int, which cannot hold it.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// # Safety
/// The child runs on a copy of everything, and must only make system calls until exec.
unsafe fn clone3(plan: &Plan, namespace: c_int, pidfd: &mut RawFd) -> c_long {
    let arguments = CloneArguments {
        flags: (libc::CLONE_PIDFD | namespace) as u64 | if plan.cgroup.is_some() { CLONE_INTO_CGROUP } else { 0 },
        pidfd: (&raw mut *pidfd).addr() as u64,
        exit_signal: libc::SIGCHLD as u64,
        cgroup: plan.cgroup.map_or(0, |fd| fd as u64),
        ..Default::default()
    };
    // SAFETY: the structure and its size agree; it gives no stack, so the child continues on its copy of ours.
    unsafe { libc::syscall(libc::SYS_clone3, &raw const arguments, size_of::<CloneArguments>()) }
}

/// # Safety
/// As [`clone3`].
unsafe fn clone(namespace: c_int, pidfd: &mut RawFd) -> c_long {
    let flags = (libc::CLONE_PIDFD | namespace | libc::SIGCHLD) as c_long;
    // SAFETY: with CLONE_PIDFD the third argument is where the descriptor goes, on all our architectures.
    unsafe { libc::syscall(libc::SYS_clone, flags, 0 as c_long, &raw mut *pidfd, 0 as c_long, 0 as c_long) }
}

/// Becomes the program, or reports why not. No allocation, no locks, no panics.
///
/// # Safety
/// Called in a fresh child, with a plan whose pointers and descriptors are valid.
unsafe fn child(plan: &Plan, born_inside: bool) -> ! {
    // SAFETY: system calls on prepared data only.
    unsafe {
        if let Some(cgroup) = plan.cgroup
            && !born_inside
            && !enter(cgroup)
        {
            fail(plan.reporter, CGROUP);
        }
        if libc::setpgid(0, 0) == -1 {
            fail(plan.reporter, SETPGID);
        }
        if !reset_signals() {
            fail(plan.reporter, SIGNALS);
        }
        let placed = libc::dup3(plan.control, CONTROL_FD, 0) != -1
            && libc::dup2(plan.stdin, libc::STDIN_FILENO) != -1
            && plan.stderr.is_none_or(|stderr| {
                libc::dup2(stderr, libc::STDOUT_FILENO) != -1 && libc::dup2(stderr, libc::STDERR_FILENO) != -1
            })
            && libc::dup3(plan.reporter, REPORT_FD, libc::O_CLOEXEC) != -1
            && libc::dup3(plan.program, PROGRAM_FD, libc::O_CLOEXEC) != -1;
        if !placed {
            fail(plan.reporter, PLACE);
        }
        let (first, last) = (FIRST_UNUSED_FD as libc::c_uint, libc::c_uint::MAX);
        if libc::syscall(libc::SYS_close_range, first, last, 0 as libc::c_uint) == -1 {
            fail(REPORT_FD, CLOSE_RANGE);
        }
        libc::syscall(libc::SYS_execveat, PROGRAM_FD, c"".as_ptr(), plan.argv, plan.envp, libc::AT_EMPTY_PATH);
        fail(REPORT_FD, EXEC)
    }
}

/// # Safety
/// `cgroup` is an open directory.
unsafe fn enter(cgroup: RawFd) -> bool {
    const PROCESSES: &CStr = c"cgroup.procs";
    // SAFETY: names and data end where they say; "0" is the writer itself.
    unsafe {
        let file = libc::openat(cgroup, PROCESSES.as_ptr(), libc::O_WRONLY | libc::O_CLOEXEC);
        file != -1 && libc::write(file, c"0".as_ptr().cast(), 1) == 1
    }
}

/// # Safety
/// Called in the child before exec.
unsafe fn reset_signals() -> bool {
    /// At least the kernel's `struct sigaction` on each architecture; all zeroes is SIG_DFL.
    const DEFAULT: [u64; 8] = [0; 8];
    /// Of the kernel's `sigset_t`.
    const SET_BYTES: usize = 8;
    // SAFETY: valid structures. The system call is made directly, as libc refuses the two signals that it keeps for
    // itself, and one of those may be inherited as ignored; the kernel refuses only SIGKILL and SIGSTOP.
    unsafe {
        for signal in 1..=libc::SIGRTMAX() {
            let none = null::<u64>();
            libc::syscall(libc::SYS_rt_sigaction, signal, DEFAULT.as_ptr(), none, SET_BYTES);
        }
        // It is for the supervisor, and may be sent to all of a unit.
        libc::signal(libc::SIGUSR2, libc::SIG_IGN);
        let mut none: libc::sigset_t = zeroed();
        libc::sigemptyset(&mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &none, std::ptr::null_mut()) == 0
    }
}

/// # Safety
/// Called in the child with the reporting pipe.
unsafe fn fail(reporter: RawFd, step: u8) -> ! {
    // SAFETY: errno's place is always valid, and five bytes go into the pipe at once.
    unsafe {
        let errno: c_int = *libc::__errno_location();
        let [e0, e1, e2, e3] = errno.to_ne_bytes();
        let failure: Failure = [step, e0, e1, e2, e3];
        libc::write(reporter, failure.as_ptr().cast(), failure.len());
    }
    exit_now(127)
}
