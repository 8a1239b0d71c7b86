//! Panics of every process kind end the process with their text told to the supervisor.

use super::{FromJob, FromOwner, MAX_MESSAGE};
use hal::process::Socket;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::panic::PanicHookInfo;
use std::sync::OnceLock;

/// Characters of a panic message that are kept: with up to four bytes each they fit a control message.
const MAX_TEXT_CHARS: usize = 800;

/// Whose panic it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Has no control socket, or says nothing by it: the text goes to stderr alone.
    Silent,
    /// Tells [`FromJob::Panic`].
    Job,
    /// Tells [`FromOwner::Panic`].
    Owner,
}

struct Target {
    kind: Kind,
    control: Option<Socket>,
}

/// The hook runs on any thread at any time, so the descriptor it writes to must outlive everything.
static TARGET: OnceLock<Target> = OnceLock::new();

/// From now on a panic in any thread or task writes message and place to the control socket (a duplicate is kept), or
/// to stderr where that is impossible, and aborts the process whatever the build profile says. The first call counts.
pub fn install(kind: Kind, control: Option<&Socket>) -> io::Result<()> {
    let control = match control {
        Some(socket) => Some(Socket::from_fd(socket.as_fd().try_clone_to_owned()?)?),
        None => None,
    };
    if TARGET.set(Target { kind, control }).is_ok() {
        std::panic::set_hook(Box::new(|info| {
            report(info);
            std::process::abort();
        }));
    }
    Ok(())
}

fn report(info: &PanicHookInfo<'_>) {
    let payload = info.payload();
    let formatted = payload.downcast_ref::<String>().map(String::as_str);
    let message = payload.downcast_ref::<&str>().copied().or(formatted).unwrap_or("panic without text");
    let location = info.location().map_or_else(|| "unknown place".into(), |l| format!("{}:{}", l.file(), l.line()));
    let told = TARGET.get().is_some_and(|target| tell(target, message, &location));
    if !told {
        // A closed stderr leaves nothing else to do; the abort signal still tells the supervisor.
        let _ = writeln!(io::stderr(), "panic: {message} ({location})");
    }
}

fn tell(target: &Target, message: &str, location: &str) -> bool {
    let Some(control) = &target.control else { return false };
    let message: String = message.chars().take(MAX_TEXT_CHARS).collect();
    let location: String = location.chars().take(MAX_TEXT_CHARS / 8).collect();
    let bytes = match target.kind {
        Kind::Job => postcard::to_stdvec(&FromJob::Panic { message, location }),
        Kind::Owner => postcard::to_stdvec(&FromOwner::Panic { message, location }),
        Kind::Silent => return false,
    };
    bytes.is_ok_and(|bytes| bytes.len() <= MAX_MESSAGE && control.send(&bytes, &[]).is_ok())
}
