//! The last resort against orphans: a thread that ends a child when the supervisor is gone and nothing else did, be it
//! that user code blocks or that a driver hangs.

use hal::process::{Socket, exit_now};
use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

/// From the end of the control socket to the end of the process. A child ends by itself within 250 ms of it.
const GRACE: Duration = Duration::from_millis(300);

/// Exit code of a child that had to be stopped here; it has nobody left to read it.
const ORPHANED: i32 = 70;

/// Watches a duplicate of the control socket.
pub fn spawn(control: &Socket) -> io::Result<()> {
    watch(control, || exit_now(ORPHANED))
}

fn watch(control: &Socket, end: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let control = control.as_fd().try_clone_to_owned()?;
    std::thread::Builder::new().name("watchdog".into()).stack_size(64 * 1024).spawn(move || {
        if hal::hangup::wait(control.as_fd()).is_ok() {
            std::thread::sleep(GRACE);
            end();
        }
    })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;
    use std::time::Instant;

    #[test]
    fn the_end_comes_300_ms_after_the_supervisor_is_gone_whatever_it_left_unread() {
        let (ours, theirs) = Socket::pair().expect("socketpair");
        let (sender, ended) = mpsc::channel();
        watch(&ours, move || sender.send(()).expect("the test listens")).expect("a thread");
        theirs.send(b"x", &[]).expect("room for one message");
        assert!(ended.recv_timeout(2 * GRACE).is_err(), "ended by a message");
        let gone = Instant::now();
        drop(theirs);
        ended.recv_timeout(Duration::from_secs(10)).expect("ends");
        assert!(gone.elapsed() >= GRACE);
    }
}
