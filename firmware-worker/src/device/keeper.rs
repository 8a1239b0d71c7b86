//! The keeper process of a camera's command: it gives up what the command must not have, starts it, and sees that nothing
//! of it is left when it ends or is not wanted any more.
//!
//! ```text
//! supervisor --spawn into a leaf of its own, PID namespace; memfd, pipes' write ends--> keeper --start--> command
//! owner      <--socket: closing it ends the command; a report when it has ended-------- keeper
//! owner      <--standard output and error, by pipes---------------------------------------------------- command
//! ```
//!
//! The owner decides when, as for any device; what is started follows from the configuration. The end of the owner closes
//! the socket, the end of the supervisor kills the keeper, and with the first process of a namespace the kernel kills all
//! others in it.

use crate::control::{KEEPER_SETUP, Kept as Setup};
use hal::process::{Ended, Kept, Rights, Socket, Woken, confine, exit_now, keep_only_signals, read_sealed};
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Bytes of a setup: a command has at most 4096, and each word a length.
const MAX_SETUP: usize = 64 * 1024;

/// Until the supervisor has sent the setup, which it does at once.
const SETUP: Duration = Duration::from_secs(5);

/// From SIGTERM to SIGKILL.
const GRACE: Duration = Duration::from_millis(500);

/// A killed program that is still there after this sits in a driver; its supervisor finds it so.
const KILLED: Duration = Duration::from_secs(1);

/// How often orphans that the command has left are looked for.
const LOOK: Duration = Duration::from_secs(5);

/// As a shell says that a program could not be started.
const NOT_STARTED: Ended = Ended::Code(127);

/// Keeps one command until it has ended.
pub fn main(control: Socket) -> ExitCode {
    match keep(&control, true) {
        // Not a return: nothing may hold up the end, which ends all others.
        Ok(()) => exit_now(0),
        Err(error) => {
            tracing::error!("keeper of a command: {error}");
            exit_now(1)
        }
    }
}

/// The same without taking anything from this process, for tests in it.
pub(super) fn keep(control: &Socket, confined: bool) -> io::Result<()> {
    let (setup, stdout, stderr) = receive(control)?;
    let first = std::process::id() == 1;
    let mut rights = None;
    if confined {
        let missing = confine();
        if setup.tell {
            missing.iter().for_each(|layer| tracing::warn!("camera {}: its command: {layer}", setup.camera));
        }
        rights = Rights::of_cameras();
    }
    let nobody = rights.is_some();
    let mut complaints = File::from(stderr.try_clone()?);
    // The end of the output is what its reader takes for the end of the command: all complaints come before.
    let output = stdout.try_clone()?;
    let ended = match Kept::start(&setup.command, stdout, stderr, rights, first) {
        Ok(kept) => {
            drop(output);
            if nobody {
                keep_only_signals()?;
            }
            watch(&kept, control)?
        }
        Err(error) => {
            let name = setup.command.first().map_or("", String::as_str);
            let remedy = match error.kind() {
                io::ErrorKind::PermissionDenied if nobody => "; it runs as nobody: put it where all users may run it",
                _ => "",
            };
            // Whoever reads it may be gone.
            let _ = writeln!(complaints, "start {name:?}: {error}{remedy}");
            Some(NOT_STARTED)
        }
    };
    // Nobody may be left to hear it.
    ended.map_or(Ok(()), |ended| Kept::report(control, ended)).or(Ok(()))
}

/// Until the command has ended, and all that it has started; how it ended.
fn watch(kept: &Kept, control: &Socket) -> io::Result<Option<Ended>> {
    let ended = loop {
        match kept.wait(control, LOOK)? {
            Woken::Ended(ended) => break Some(ended),
            Woken::Closed => {
                kept.signal_all(hal::process::TERMINATE);
                break kept.end(GRACE);
            }
            Woken::Silence => {}
        }
    };
    kept.signal_all(hal::process::KILL);
    Ok(ended.or_else(|| kept.end(KILLED)))
}

fn receive(control: &Socket) -> io::Result<(Setup, OwnedFd, OwnedFd)> {
    let malformed = || io::Error::new(io::ErrorKind::InvalidData, "no setup came first");
    let started = Instant::now();
    let mut packet = [0; 16];
    let fds = loop {
        match control.receive(&mut packet) {
            Ok((length, fds)) if packet[..length] == [KEEPER_SETUP] => break fds,
            Ok(_) => return Err(malformed()),
            Err(error) if error.kind() != io::ErrorKind::WouldBlock || started.elapsed() >= SETUP => return Err(error),
            Err(_) => hal::process::await_readable(control.as_fd(), SETUP)?,
        }
    };
    let [body, stdout, stderr] = <[OwnedFd; 3]>::try_from(fds).map_err(|_| malformed())?;
    let setup = postcard::from_bytes(&read_sealed(body, MAX_SETUP)?).map_err(io::Error::other)?;
    Ok((setup, stdout, stderr))
}
