//! Another program in this process's place, and a way back.
//!
//! ```text
//! old: all that is handed over stays open --> timer, signals wait --> exec of the new program
//! new: handlers first --> copies of what it is given --> up: the originals are closed
//!        '-- time is up, panic, crash, error --> exec of the old program, with the same originals, and why
//! ```
//! The process keeps its number, and so its children and whatever a service manager knows of it. The new program works
//! with copies, so nothing that it does to them before it is up can be missing on the way back.

use super::{Executable, check, exit_now};
use libc::{c_char, c_int};
use std::ffi::{CString, OsString};
use std::fmt;
use std::io::{Error, ErrorKind, Result};
use std::mem::zeroed;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;
use std::process::Command;
use std::ptr::{null, null_mut};
use std::sync::atomic::{AtomicBool, AtomicPtr, Ordering};
use std::time::Duration;

/// Tells the new program the descriptors of the table and of the old program.
const VARIABLE: &str = "FW_HANDOVER";

/// Tells the old program why the new one did not come up.
const WHY: &str = "FW_HANDOVER_FAILED";

/// For a program that takes nobody's place, though this one did.
pub(super) fn forget(command: &mut Command) {
    command.env_remove(VARIABLE).env_remove(WHY);
}

/// What ends a program that is not up in time, or that crashes, and how that is said.
const FATAL: [(c_int, &str); 7] = [
    (libc::SIGALRM, "it was not up in time"),
    (libc::SIGABRT, "it was aborted (SIGABRT)"),
    (libc::SIGSEGV, "it crashed (SIGSEGV)"),
    (libc::SIGBUS, "it crashed (SIGBUS)"),
    (libc::SIGILL, "it crashed (SIGILL)"),
    (libc::SIGFPE, "it crashed (SIGFPE)"),
    (libc::SIGTRAP, "it crashed (SIGTRAP)"),
];

/// They wait until a program is up that has handlers for them.
const WAITING: [c_int; 4] = [libc::SIGTERM, libc::SIGINT, libc::SIGHUP, libc::SIGUSR2];

/// Exit code where even the way back fails.
const LOST: i32 = 70;

impl Executable {
    /// Puts the program at `program` in this one's place, with the arguments and the environment of this process. `table`
    /// and `descriptors` stay open, at the numbers that they have. The new program has until `limit` to
    /// [`Inheritance::settle`]; one that does not even start is ended then. Returns if it cannot be started, and nothing has
    /// changed.
    ///
    /// Call it on the main thread: all others end, and children that are to die with their parent look at the thread.
    pub fn replace_by(&self, program: &Path, table: BorrowedFd<'_>, descriptors: &[RawFd], limit: Duration) -> Error {
        match self.try_replace(program, table, descriptors, limit) {
            Ok(never) => match never {},
            Err(error) => error,
        }
    }

    fn try_replace(
        &self,
        program: &Path,
        table: BorrowedFd<'_>,
        descriptors: &[RawFd],
        limit: Duration,
    ) -> Result<std::convert::Infallible> {
        let path = CString::new(program.as_os_str().as_bytes())?;
        let place = format!("{} {}", table.as_raw_fd(), self.as_fd().as_raw_fd());
        let image = Image::new(&[(VARIABLE, place)])?;
        let ours = [table.as_raw_fd(), self.as_fd().as_raw_fd()];
        let kept: Vec<_> = descriptors.iter().copied().chain(ours).collect();
        let before = block(&WAITING);
        let failed = (|| {
            kept.iter().try_for_each(|number| close_on_exec(*number, false))?;
            set_timer(limit)?;
            // SAFETY: both arrays end in null, and what they point to lives in `image`.
            unsafe { libc::execve(path.as_ptr(), image.argv.as_ptr(), image.envp.as_ptr()) };
            Err(Error::last_os_error())
        })();
        // What fails here fails for descriptors that are closed, and leaves nothing to undo.
        let _ = set_timer(Duration::ZERO);
        kept.iter().for_each(|number| drop(close_on_exec(*number, true)));
        set_mask(&before);
        failed
    }
}

/// What an earlier program of this process has left, and the way back to it. Dropped before it is settled, it goes back.
pub struct Inheritance {
    table: RawFd,
    /// None if this is the way back, or no longer.
    back: Option<RawFd>,
    why: Option<String>,
    /// Originals of what was copied.
    originals: Vec<RawFd>,
    /// Of [`FATAL`], as they were.
    handlers: Vec<(c_int, libc::sigaction)>,
}

impl Inheritance {
    /// If this program was put in another's place: first thing in `main`, so that the way back is open from the start.
    /// Once per process; `None` where there is nothing to take over.
    pub fn take() -> Option<Result<Self>> {
        static TAKEN: AtomicBool = AtomicBool::new(false);
        let place = std::env::var_os(VARIABLE)?;
        if TAKEN.swap(true, Ordering::Relaxed) {
            return None;
        }
        Some(Self::at(&place.to_string_lossy(), std::env::var_os(WHY)))
    }

    fn at(place: &str, why: Option<OsString>) -> Result<Self> {
        let wrong = || Error::new(ErrorKind::InvalidInput, format!("{VARIABLE} is no handover: {place:?}"));
        let numbers: Vec<RawFd> = place.split(' ').map_while(|word| word.parse().ok()).collect();
        let [table, program] = numbers[..] else { return Err(wrong()) };
        [table, program].into_iter().try_for_each(inherited)?;
        let why = why.map(|why| String::from_utf8_lossy(why.as_bytes()).into_owned());
        let back = Some(program).filter(|_| why.is_none());
        let mut inheritance = Self { table, back, why, originals: vec![program], handlers: Vec::new() };
        if inheritance.back.is_some() {
            inheritance.arm(place)?;
        }
        Ok(inheritance)
    }

    /// Why the program that was to take this one's place did not come up.
    pub fn why(&self) -> Option<&str> {
        self.why.as_deref()
    }

    /// What was written down, for [`super::read_sealed`].
    pub fn table(&self) -> Result<OwnedFd> {
        copy(self.table)
    }

    /// A copy of a descriptor that the table names.
    pub fn copy(&mut self, number: RawFd) -> Result<OwnedFd> {
        inherited(number)?;
        let copy = copy(number)?;
        self.originals.push(number);
        Ok(copy)
    }

    /// This program is up: there is no way back any more, and signals that waited come.
    pub fn settle(mut self) {
        self.disarm();
        let mut originals = std::mem::take(&mut self.originals);
        originals.push(self.table);
        originals.sort_unstable();
        originals.dedup();
        for number in originals {
            // SAFETY: it is open and was inherited, as was seen before it came into this list, and nobody else owns it.
            drop(unsafe { OwnedFd::from_raw_fd(number) });
        }
        let none = Set::empty();
        set_mask(&none.0);
    }

    /// The old program goes on. Where it cannot, this process ends.
    pub fn go_back(mut self, why: &str) -> ! {
        self.leave(why)
    }

    fn leave(&mut self, why: &str) -> ! {
        if let Some(program) = self.back
            && let Ok(image) = Image::new(&[(VARIABLE, format!("{} {program}", self.table)), (WHY, plain(why))])
        {
            block(&FATAL.map(|(signal, _)| signal));
            // A timer that is not stopped ends the old program, which is no reason to stay here.
            let _ = set_timer(Duration::ZERO);
            // SAFETY: the arrays end in null and live in `image`.
            unsafe { exec(program, &image.argv, &image.envp) };
        }
        exit_now(LOST)
    }

    /// Installs the handlers that go back.
    fn arm(&mut self, place: &str) -> Result<()> {
        let program = self.back.unwrap_or(-1);
        let ways = FATAL.map(|(_, why)| Image::new(&[(VARIABLE, place.to_owned()), (WHY, why.to_owned())]));
        let ways = ways.into_iter().collect::<Result<Vec<_>>>()?;
        // A handler may run until the process ends, so what it reads is never freed.
        BACK.store(Box::into_raw(Box::new(Back { program, ways })), Ordering::Release);
        for (signal, _) in FATAL {
            // SAFETY: all zeroes is a valid value; the handler is a function of the right form for this flag.
            let before = unsafe {
                let (mut action, mut before): (libc::sigaction, libc::sigaction) = (zeroed(), zeroed());
                action.sa_sigaction = fatal as *const () as libc::sighandler_t;
                action.sa_flags = libc::SA_ONSTACK;
                check(libc::sigaction(signal, &action, &mut before))?;
                before
            };
            self.handlers.push((signal, before));
        }
        Ok(())
    }

    fn disarm(&mut self) {
        self.back = None;
        let _ = set_timer(Duration::ZERO);
        // SAFETY: valid structures. One that is ignored is forgotten if it waits.
        unsafe {
            libc::signal(libc::SIGALRM, libc::SIG_IGN);
            libc::signal(libc::SIGALRM, libc::SIG_DFL);
            for (signal, before) in self.handlers.drain(..) {
                libc::sigaction(signal, &before, null_mut());
            }
        }
    }
}

impl fmt::Debug for Inheritance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inheritance").field("back", &self.back).field("why", &self.why).finish_non_exhaustive()
    }
}

impl Drop for Inheritance {
    fn drop(&mut self) {
        if self.back.is_some() {
            self.leave("it ended before it was up");
        }
    }
}

/// What the handlers read.
struct Back {
    program: RawFd,
    /// One for each of [`FATAL`].
    ways: Vec<Image>,
}

static BACK: AtomicPtr<Back> = AtomicPtr::new(null_mut());

/// Makes system calls and reads what was prepared.
extern "C" fn fatal(signal: c_int) {
    // SAFETY: null, or a value that is never freed.
    if let Some(back) = unsafe { BACK.load(Ordering::Acquire).as_ref() }
        && let Some(way) = FATAL.iter().position(|(fatal, _)| *fatal == signal).and_then(|at| back.ways.get(at))
    {
        let _ = set_timer(Duration::ZERO);
        // SAFETY: the arrays end in null and are never freed.
        unsafe { exec(back.program, &way.argv, &way.envp) };
    }
    exit_now(LOST)
}

/// # Safety
/// The arrays end in null, and their strings live.
unsafe fn exec(program: RawFd, argv: &[*const c_char], envp: &[*const c_char]) {
    let (argv, envp) = (argv.as_ptr(), envp.as_ptr());
    // SAFETY: as the caller promises.
    unsafe { libc::syscall(libc::SYS_execveat, program, c"".as_ptr(), argv, envp, libc::AT_EMPTY_PATH) };
}

/// Arguments and environment of this process, and more of the latter.
struct Image {
    argv: Vec<*const c_char>,
    envp: Vec<*const c_char>,
    _strings: [Vec<CString>; 2],
}

impl Image {
    fn new(more: &[(&str, String)]) -> Result<Self> {
        let arguments = std::env::args_os().map(|argument| CString::new(argument.into_vec()));
        let arguments = arguments.collect::<std::result::Result<Vec<_>, _>>()?;
        let ours = |(name, _): &(OsString, OsString)| name == VARIABLE || name == WHY;
        let others = std::env::vars_os().filter(|variable| !ours(variable));
        let more = more.iter().map(|(name, value)| (OsString::from(name), OsString::from(value)));
        let environment =
            others.chain(more).map(|(name, value)| CString::new([name.as_bytes(), b"=", value.as_bytes()].concat()));
        let environment = environment.collect::<std::result::Result<Vec<_>, _>>()?;
        let pointers = |strings: &[CString]| strings.iter().map(|s| s.as_ptr()).chain([null()]).collect();
        Ok(Self { argv: pointers(&arguments), envp: pointers(&environment), _strings: [arguments, environment] })
    }
}

/// A variable holds neither zeroes nor more than a message.
fn plain(why: &str) -> String {
    why.chars().filter(|c| !c.is_control()).take(500).collect()
}

/// Open, and not by this program: std and we open nothing that survives an exec.
pub(super) fn inherited(number: RawFd) -> Result<()> {
    let refused = |why| Err(Error::new(ErrorKind::InvalidInput, format!("descriptor {number} {why}")));
    if number <= libc::STDERR_FILENO {
        return refused("is no number that is handed over");
    }
    // SAFETY: takes numbers only.
    match check(unsafe { libc::fcntl(number, libc::F_GETFD) }) {
        Ok(flags) if flags & libc::FD_CLOEXEC == 0 => Ok(()),
        Ok(_) => refused("was not inherited"),
        Err(_) => refused("is not open"),
    }
}

fn copy(number: RawFd) -> Result<OwnedFd> {
    // SAFETY: inherited and open, as was seen, until `settle` closes it.
    unsafe { BorrowedFd::borrow_raw(number) }.try_clone_to_owned()
}

fn close_on_exec(number: RawFd, close: bool) -> Result<()> {
    // SAFETY: takes numbers only.
    check(unsafe { libc::fcntl(number, libc::F_SETFD, if close { libc::FD_CLOEXEC } else { 0 }) }).map(drop)
}

/// SIGALRM after this; zero stops it. Exec keeps the timer.
fn set_timer(limit: Duration) -> Result<()> {
    let value = libc::timeval { tv_sec: limit.as_secs() as _, tv_usec: limit.subsec_micros() as _ };
    let never = libc::timeval { tv_sec: 0, tv_usec: 0 };
    let timer = libc::itimerval { it_interval: never, it_value: value };
    // SAFETY: a valid structure; what was set before is not wanted.
    check(unsafe { libc::setitimer(libc::ITIMER_REAL, &timer, null_mut()) }).map(drop)
}

struct Set(libc::sigset_t);

impl Set {
    fn empty() -> Self {
        // SAFETY: the call fills in the place.
        unsafe {
            let mut set = zeroed();
            libc::sigemptyset(&mut set);
            Self(set)
        }
    }
}

/// Lets these signals wait; the mask of before.
fn block(signals: &[c_int]) -> libc::sigset_t {
    let (mut set, mut before) = (Set::empty(), Set::empty());
    // SAFETY: valid sets, and numbers of signals.
    unsafe {
        for signal in signals {
            libc::sigaddset(&mut set.0, *signal);
        }
        libc::pthread_sigmask(libc::SIG_BLOCK, &set.0, &mut before.0);
    }
    before.0
}

fn set_mask(mask: &libc::sigset_t) {
    // SAFETY: a valid set.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, mask, null_mut()) };
}
