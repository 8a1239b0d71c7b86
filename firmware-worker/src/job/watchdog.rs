//! The last resort against orphans: a thread that ends the process when the supervisor is gone and nothing else did.

use hal::process::{Socket, exit_now};
use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

/// From the end of the control socket to the end of the process. The driver signs off within 250 ms of it.
const GRACE: Duration = Duration::from_millis(300);

/// Exit code of a job that had to be stopped here; it has nobody left to read it.
const ORPHANED: i32 = 70;

/// Watches a duplicate of the control socket.
pub(super) fn spawn(control: &Socket) -> io::Result<()> {
    let control = control.as_fd().try_clone_to_owned()?;
    std::thread::Builder::new().name("watchdog".into()).stack_size(64 * 1024).spawn(move || {
        if hal::hangup::wait(control.as_fd()).is_ok() {
            std::thread::sleep(GRACE);
            exit_now(ORPHANED);
        }
    })?;
    Ok(())
}
