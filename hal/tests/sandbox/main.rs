//! What a hostile child can and cannot do: each attack is run by a child without a sandbox, where it works, and by one in
//! its sandbox, where it fails for the right reason.
//!
//! A program of its own, as children are this program again and have one thread. The board is of the test's making: a mount
//! namespace with `/dev`, `/etc` and `/run` of its own, whose camera and card are other devices by the right names.

mod attacks;
mod board;
mod landlock;
mod older;
mod urgency;

use attacks::{ATTACKS, Attack};
use board::VICTIM;
use hal::process::{Child, Ended, Executable, Layer, Limit, Sandbox, Socket, Tally, await_readable, inherited_control};
use std::collections::BTreeMap;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::process::ExitCode;
use std::ptr::null;
use std::time::Duration;

/// First argument of a child; then the attack, the user to become, and what it keeps.
const CHILD: &str = "__child";

/// Users of children, which nobody else has.
const UIDS: std::ops::Range<u32> = 70_800..70_999;

/// Layers that only root or a user namespace gives.
const OF_NAMESPACES: [Layer; 3] = [Layer::User, Layer::Files, Layer::Processes];

const PATIENCE: Duration = Duration::from_secs(20);

/// What a child keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Everything.
    Free,
    /// What a job keeps.
    Job,
    /// What a job keeps on a kernel that cannot change many mounts at once.
    Older,
    /// What the owner of a card keeps.
    Sound,
    /// What the owner of a card keeps, and the system call that makes sockets of any kind.
    Sockets,
    /// What the owner of a card keeps, and the limits by which its thread comes before all others.
    Urgent,
    /// Everything, as a user like any other.
    User,
    /// What a job keeps where nobody is root and the system gives nobody namespaces.
    Landlock,
}

/// A child that has done its worst, or waits to be told that it may go on.
pub struct Run {
    process: Child,
    control: Socket,
    tally: Tally,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    if arguments.get(1).is_some_and(|first| first == CHILD) {
        return child(&arguments[2], &arguments[3], &arguments[4]);
    }
    // SAFETY: takes nothing and cannot fail.
    if unsafe { libc::geteuid() } != 0 {
        eprintln!("skipped: only root can give a child a user of its own");
        println!("test result: ok. 0 passed; 0 failed; 0 ignored");
        return ExitCode::SUCCESS;
    }
    board::build();
    // SAFETY: takes a number and cannot fail. As in the packaged unit; children have it from their parent.
    unsafe { libc::umask(0o077) };
    println!("landlock version {}", landlock::version());
    let mut failed = Vec::new();
    for (name, test) in attacks::TESTS {
        if std::panic::catch_unwind(test).is_err() {
            failed.push(*name);
        }
    }
    for attack in ATTACKS {
        if let Err(why) = check(attack) {
            eprintln!("{}: {why}", attack.name);
            failed.push(attack.name);
        }
    }
    let (count, word) = (ATTACKS.len() + attacks::TESTS.len(), if failed.is_empty() { "ok" } else { "FAILED" });
    println!("test result: {word}. {} passed; {} failed; 0 ignored {failed:?}", count - failed.len(), failed.len());
    ExitCode::from(u8::from(!failed.is_empty()))
}

/// It works for a free child, and gives one in a sandbox this error.
fn check(attack: &Attack) -> Result<(), String> {
    let victim = start("sleep", Role::Job, 0);
    victim.told()?;
    std::fs::write(VICTIM, victim.process.pid.to_string()).map_err(|e| e.to_string())?;
    let free = start(attack.name, Role::Free, 1).told()?;
    if free != "0" {
        return Err(format!("does not work without a sandbox: {free}"));
    }
    let confined = start(attack.name, attack.role, 2);
    let told = confined.told()?;
    if told != attack.error.to_string() {
        return Err(format!("gave {told} ({}), not {}", errno(&told), attack.error));
    }
    let refused: BTreeMap<String, u32> = confined.tally.refused().into_iter().collect();
    match attack.counted {
        Some(call) if !refused.contains_key(call) => Err(format!("{call} was not counted: {refused:?}")),
        _ => Ok(()),
    }
}

fn errno(told: &str) -> String {
    told.parse().map(std::io::Error::from_raw_os_error).map(|error| error.to_string()).unwrap_or_default()
}

/// Starts a child as the `nth` user.
pub fn start(attack: &str, role: Role, nth: u32) -> Run {
    let (control, theirs) = Socket::pair().expect("a socket pair");
    let tally = Tally::new().expect("a page");
    control.send(b"tally", &[tally.as_fd()]).expect("room");
    let (uid, kept) = ((UIDS.start + nth).to_string(), format!("{role:?}"));
    let arguments = [CHILD, attack, &uid, &kept];
    let executable = Executable::current().expect("this program");
    Run { process: executable.spawn("child", &arguments, &[], theirs, None, None).expect("a child"), control, tally }
}

impl Run {
    /// What it says next.
    pub fn told(&self) -> Result<String, String> {
        await_readable(self.control.as_fd(), PATIENCE).map_err(|e| e.to_string())?;
        let mut packet = [0; 256];
        match self.control.receive(&mut packet) {
            Ok((0, _)) => Err(format!("said nothing and ended: {:?}", self.ended())),
            Ok((length, _)) => Ok(String::from_utf8_lossy(&packet[..length]).into_owned()),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Lets it go on.
    pub fn go_on(&self) {
        self.control.send(b"go on", &[]).expect("room");
    }

    pub fn pid(&self) -> i32 {
        self.process.pid
    }

    fn ended(&self) -> Option<Ended> {
        await_readable(self.process.pidfd(), PATIENCE).ok()?;
        self.process.try_wait().ok().flatten()
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        // One that is gone is as good.
        let _ = self.process.signal(hal::process::KILL);
        self.ended();
    }
}

fn child(attack: &str, uid: &str, role: &str) -> ExitCode {
    let control = inherited_control().expect("a control socket");
    let mut packet = [0; 16];
    let (_, mut fds) = control.receive(&mut packet).expect("sent before the start");
    let tally = Tally::from(fds.remove(0));
    let uid = uid.parse().expect("a number");
    use Role::{Free, Job, Landlock, Older, Sockets, Sound, Urgent, User};
    let all = [Free, Job, Older, Sound, Sockets, Urgent, User, Landlock];
    let role = all.into_iter().find(|kept| format!("{kept:?}") == role).expect("a role");
    if matches!(role, Role::User | Role::Landlock) {
        be_anybody(uid);
    }
    if role == Role::Older {
        older::hide(libc::SYS_mount_setattr);
    }
    if let Some(sandbox) = sandbox(role, uid, tally) {
        let hoped_for = |layer| layer == Layer::Landlock || role == Role::Landlock && OF_NAMESPACES.contains(&layer);
        let missing: Vec<_> = sandbox.enter().into_iter().filter(|missing| !hoped_for(missing.layer)).collect();
        if !missing.is_empty() {
            control.send(format!("{missing:?}").as_bytes(), &[]).expect("room");
            return ExitCode::FAILURE;
        }
    }
    attacks::run(attack, &control);
    ExitCode::SUCCESS
}

/// A user without rights. A process of two threads gets no user namespace, as on a system that gives none.
fn be_anybody(uid: u32) {
    // SAFETY: the list is empty; the others take numbers. No other thread has been started yet.
    let became = unsafe { [libc::setgroups(0, null()), libc::setgid(uid), libc::setuid(uid)] };
    assert_eq!(became, [0; 3], "another user");
    std::thread::spawn(std::thread::park);
}

fn sandbox(role: Role, uid: u32, tally: Tally) -> Option<Sandbox> {
    let sound = match role {
        Role::Free | Role::User => return None,
        Role::Job | Role::Older | Role::Landlock => false,
        Role::Sound | Role::Sockets | Role::Urgent => true,
    };
    let mut limits = vec![Limit::Files(64), Limit::Processes(16)];
    if role == Role::Urgent {
        limits.extend(urgency::LIMITS);
    }
    let calls = if role == Role::Sockets { vec!["socket".to_owned()] } else { Vec::new() };
    Some(Sandbox {
        uid: Some(uid),
        groups: if sound { vec![board::AUDIO] } else { Vec::new() },
        network: !sound,
        devices: sound,
        sound,
        paths: [board::GRANTED, board::GRANTED_IN_ETC].map(PathBuf::from).to_vec(),
        hidden: vec![PathBuf::from(board::SECRETS)],
        temporary: 1 << 20,
        limits,
        calls,
        tally: Some(tally),
    })
}
