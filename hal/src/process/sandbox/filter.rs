//! The seccomp filter: a list of allowed system calls; what is refused gets EPERM and is counted.
//!
//! A refused call raises SIGSYS, whose handler counts it in a page that the supervisor reads and answers EPERM. So nobody
//! else has to be woken for each, and a process that floods costs itself alone; one that spoils handler or page spoils its
//! own count, and gets no call through. Two things get EPERM from the kernel and are not counted: new processes, as libc
//! blocks all signals while it makes one, and all refused calls where programs may be started, as a program has no handler.

use super::calls;
use super::tally::Tally;
use crate::process::check;
use libc::{c_int, c_long, c_void, sock_filter};
use std::io::{self, Error, ErrorKind};
use std::mem::{offset_of, zeroed};
use std::ptr::null_mut;
use std::sync::atomic::{AtomicPtr, AtomicU32, Ordering};

/// What is allowed beside the list.
#[derive(Clone, Debug, Default)]
pub(super) struct Permits {
    /// Sockets of the internet; else Unix alone.
    pub(super) network: bool,
    /// Calls by number.
    pub(super) calls: Vec<c_long>,
}

/// `AUDIT_ARCH_*` of linux/audit.h, for the calls of this program's own kind alone.
#[cfg(target_arch = "x86_64")]
const ARCHITECTURE: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const ARCHITECTURE: u32 = 0xc000_00b7;

/// Namespaces that `clone` could make: linux/sched.h, `CLONE_NEW*`.
const NAMESPACES: u32 = 0x7e02_0000;

/// Families of sockets without a network: pairs, and what is in the file system.
const LOCAL: [c_int; 1] = [libc::AF_UNIX];
/// With it: those, and netlink, by which addresses of interfaces are read.
const INTERNET: [c_int; 4] = [libc::AF_UNIX, libc::AF_INET, libc::AF_INET6, libc::AF_NETLINK];

/// What puts words into the mouth of the terminal that stderr may be: `TIOCSTI`, `TIOCLINUX`.
const TERMINAL: [u32; 2] = [0x5412, 0x541c];

const ALLOW: u32 = libc::SECCOMP_RET_ALLOW;
const KILL: u32 = libc::SECCOMP_RET_KILL_PROCESS;
const REFUSE: u32 = libc::SECCOMP_RET_ERRNO | libc::EPERM as u32;
/// As a kernel that has no such call: libraries then do without.
const UNKNOWN: u32 = libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32;

/// Takes every other call from this process for good. It has one thread and no_new_privs.
pub(super) fn apply(permits: &Permits, tally: Option<&Tally>) -> io::Result<()> {
    let programs = permits.calls.iter().any(|call| calls::starts_programs(*call));
    let refused = match tally {
        Some(tally) if !programs => {
            count_in(tally)?;
            libc::SECCOMP_RET_TRAP
        }
        _ => REFUSE,
    };
    let mut program = program(permits, programs, refused);
    let length = u16::try_from(program.len()).map_err(|_| Error::from(ErrorKind::InvalidInput))?;
    let program = libc::sock_fprog { len: length, filter: program.as_mut_ptr() };
    // User code may have made threads before it came to us.
    let flags = libc::SECCOMP_FILTER_FLAG_TSYNC;
    // SAFETY: the program and its length agree, and live until the call returns.
    let answer = unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, &raw const program) };
    match check(answer as c_int)? {
        0 => Ok(()),
        thread => Err(Error::other(format!("thread {thread} has a filter of its own"))),
    }
}

/// Loads of `struct seccomp_data`; of an argument its low half, on our little-endian machines.
fn program(permits: &Permits, programs: bool, refused: u32) -> Vec<sock_filter> {
    const ARGUMENTS: u32 = offset_of!(libc::seccomp_data, args) as u32;
    let mut program = vec![
        load(offset_of!(libc::seccomp_data, arch) as u32),
        jump(libc::BPF_JEQ, ARCHITECTURE, 1, 0),
        give(KILL),
        load(offset_of!(libc::seccomp_data, nr) as u32),
        // Its flags are in memory, where a filter cannot look.
        jump(libc::BPF_JEQ, libc::SYS_clone3 as u32, 0, 1),
        give(UNKNOWN),
        jump(libc::BPF_JGT, calls::newest() as u32, 0, 1),
        give(UNKNOWN),
    ];
    let mut numbers: Vec<u32> = calls::allowed().chain(permits.calls.iter().copied()).map(|call| call as u32).collect();
    numbers.sort_unstable();
    program.extend(
        ranges(&numbers)
            .into_iter()
            .flat_map(|(first, last)| [jump(libc::BPF_JGE, first, 0, 2), jump(libc::BPF_JGT, last, 1, 0), give(ALLOW)]),
    );
    let families = if permits.network { &INTERNET[..] } else { &LOCAL };
    let mut socket = vec![load(ARGUMENTS)];
    for family in families {
        socket.extend([jump(libc::BPF_JEQ, *family as u32, 0, 1), give(ALLOW)]);
    }
    socket.push(give(refused));
    program.extend(on(libc::SYS_socket, socket));
    // A thread shares all that a thread shares; a process is for programs.
    let thread = libc::CLONE_THREAD as u32;
    let kind = if programs { NAMESPACES } else { NAMESPACES | thread };
    let wanted = if programs { 0 } else { thread };
    let and = stmt(libc::BPF_ALU | libc::BPF_AND | libc::BPF_K, kind);
    let born = vec![load(ARGUMENTS), and, jump(libc::BPF_JEQ, wanted, 0, 1), give(ALLOW), give(REFUSE)];
    program.extend(on(libc::SYS_clone, born));
    for call in calls::FORKS {
        program.extend(on(*call, vec![give(if programs { ALLOW } else { REFUSE })]));
    }
    let mut control = vec![load(ARGUMENTS + 8)];
    for request in TERMINAL {
        control.extend([jump(libc::BPF_JEQ, request, 0, 1), give(refused)]);
    }
    control.push(give(ALLOW));
    program.extend(on(libc::SYS_ioctl, control));
    program.push(give(refused));
    program
}

/// Neighbours together.
fn ranges(sorted: &[u32]) -> Vec<(u32, u32)> {
    let mut ranges: Vec<(u32, u32)> = Vec::new();
    for &number in sorted {
        match ranges.last_mut() {
            Some((_, last)) if number <= *last + 1 => *last = number,
            _ => ranges.push((number, number)),
        }
    }
    ranges
}

/// These steps, which end with an answer, for one call.
fn on(call: c_long, steps: Vec<sock_filter>) -> impl Iterator<Item = sock_filter> {
    let length = u8::try_from(steps.len()).expect("a few steps for a few arguments");
    [jump(libc::BPF_JEQ, call as u32, 0, length)].into_iter().chain(steps)
}

fn load(offset: u32) -> sock_filter {
    stmt(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, offset)
}

fn give(answer: u32) -> sock_filter {
    stmt(libc::BPF_RET | libc::BPF_K, answer)
}

fn stmt(code: u32, k: u32) -> sock_filter {
    sock_filter { code: code as u16, jt: 0, jf: 0, k }
}

fn jump(test: u32, k: u32, jt: u8, jf: u8) -> sock_filter {
    sock_filter { code: (libc::BPF_JMP | test | libc::BPF_K) as u16, jt, jf, k }
}

/// Where the handler counts; null before there is one.
static COUNTS: AtomicPtr<AtomicU32> = AtomicPtr::new(null_mut());

fn count_in(tally: &Tally) -> io::Result<()> {
    COUNTS.store(tally.map()?.cast_mut(), Ordering::Release);
    // SAFETY: the handler has the type that SA_SIGINFO says, and makes no call; all zeroes is an empty mask.
    unsafe {
        let mut action: libc::sigaction = zeroed();
        action.sa_sigaction = refuse as *const () as usize;
        // Not blocked while it runs: a second refused call would end the process.
        action.sa_flags = libc::SA_SIGINFO | libc::SA_NODEFER | libc::SA_ONSTACK | libc::SA_RESTART;
        check(libc::sigaction(libc::SIGSYS, &action, null_mut())).map(drop)
    }
}

/// What the kernel tells with SIGSYS: asm-generic/siginfo.h, `_sigsys`.
#[repr(C)]
struct Trapped {
    signal: c_int,
    error: c_int,
    code: c_int,
    from: *const c_void,
    call: c_int,
    architecture: u32,
}

/// `SYS_SECCOMP` of asm-generic/siginfo.h: the filter has refused a call. Any process of ours could send the signal.
const BY_FILTER: c_int = 1;

extern "C" fn refuse(_: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    // SAFETY: the kernel gives both to a handler with SA_SIGINFO, and for this signal the structure is filled as above.
    let (trapped, context) = unsafe { (&*info.cast::<Trapped>(), &mut *context.cast::<libc::ucontext_t>()) };
    if trapped.code != BY_FILTER {
        // As without a handler.
        // SAFETY: take numbers only.
        unsafe {
            libc::signal(libc::SIGSYS, libc::SIG_DFL);
            libc::raise(libc::SIGSYS);
        }
        return;
    }
    let counts = COUNTS.load(Ordering::Acquire);
    if !counts.is_null() {
        let number = usize::try_from(trapped.call).unwrap_or(usize::MAX).min(super::tally::CALLS - 1);
        // SAFETY: the mapping has that many counters and is never unmapped.
        unsafe { &*counts.add(number) }.fetch_add(1, Ordering::Relaxed);
    }
    answer(context, -i64::from(libc::EPERM));
}

/// What the refused call returns.
#[cfg(target_arch = "x86_64")]
fn answer(context: &mut libc::ucontext_t, value: i64) {
    context.uc_mcontext.gregs[libc::REG_RAX as usize] = value;
}

/// What the refused call returns.
#[cfg(target_arch = "aarch64")]
fn answer(context: &mut libc::ucontext_t, value: i64) {
    context.uc_mcontext.regs[0] = value as u64;
}
