//! What Landlock alone keeps from a child: one that is a user like any other, and can have no files of its own.

use super::attacks::{call, open, signal, write};
use super::board::{GRANTED_IN_ETC, OPEN, VICTIM};
use super::{Role, start};
use std::fs;
use std::io;
use std::ptr::null;

/// What a child tries, and whether it may all the same.
type Attempt = (&'static str, bool, fn() -> io::Result<()>);

const ATTEMPTS: [Attempt; 8] = [
    ("reads a file that is open to all", false, || open(&format!("{OPEN}/file"))),
    ("lists a directory that is open to all", false, || fs::read_dir(OPEN).map(drop)),
    ("makes a file there", false, || write(&format!("{OPEN}/mine"))),
    ("opens a camera that is open to all", false, || open("/dev/video0")),
    ("reads what it was given", true, || open(&format!("{GRANTED_IN_ETC}/file"))),
    ("reads the system's", true, || open("/bin/sh")),
    ("makes a file in /tmp", true, || write("/tmp/fw-landlock")),
    ("writes to /dev/null", true, || fs::write("/dev/null", "mine")),
];

/// The first that keeps signals from leaving.
const OF_SIGNALS: libc::c_long = 6;

/// Of the kernel's Landlock; 0 where it has none.
pub fn version() -> libc::c_long {
    // SAFETY: without a structure the call tells the version.
    unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, null::<u8>(), 0, 1) }.max(0)
}

/// In the child: what failed, and how.
pub fn tried() -> String {
    let signalled = ("signals another of its user", call(signal));
    let tried = ATTEMPTS.iter().map(|(what, _, act)| (*what, act())).chain([signalled]);
    let failed = tried.filter_map(|(what, result)| Some(format!("{what}: {}", result.err()?.raw_os_error()?)));
    in_words(&failed.collect::<Vec<_>>())
}

fn in_words(refused: &[String]) -> String {
    format!("refused: {}", refused.join(", "))
}

pub fn landlock_alone_keeps_a_child_from_what_everybody_of_its_user_may() {
    let victim = start("sleep", Role::Landlock, 8);
    assert_eq!(victim.told(), Ok("ready".into()));
    fs::write(VICTIM, victim.pid().to_string()).expect("the board is ours");
    let user = start("landlock", Role::User, 8);
    assert_eq!(user.told(), Ok(in_words(&[])), "it may all that");
    let refused = ATTEMPTS.iter().filter(|(_, may, _)| version() > 0 && !may);
    let mut refused: Vec<_> = refused.map(|(what, ..)| format!("{what}: {}", libc::EACCES)).collect();
    if version() >= OF_SIGNALS {
        refused.push(format!("signals another of its user: {}", libc::EPERM));
    }
    let confined = start("landlock", Role::Landlock, 8);
    assert_eq!(confined.told(), Ok(in_words(&refused)));
}
