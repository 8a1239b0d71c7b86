//! Hears of devices that come and go.

use crate::control::{Owned, watch};
use hal::hotplug::{Listener, Uevent};
use std::io::{self, ErrorKind};
use tokio::io::unix::AsyncFd;
use tracing::{info, warn};

/// Without it a replugged device is found by its owner's retries, later.
pub(super) fn listen() -> Option<AsyncFd<Owned<Listener>>> {
    let listener = Listener::open().and_then(watch);
    listener.inspect_err(|e| info!("no device events: {e}")).ok()
}

/// Returns when a camera or sound card may have come or gone; with a socket that fails, never again.
pub(super) async fn changed(listener: &mut Option<AsyncFd<Owned<Listener>>>) {
    // Fails only when the runtime is going down.
    while let Some(socket) = listener
        && let Ok(mut ready) = socket.readable().await
    {
        match hear(ready.get_inner().0.next()) {
            Heard::Change => return,
            Heard::OfOthers => {}
            Heard::Nothing => ready.clear_ready(),
            Heard::Failure(e) => {
                warn!("no further device events: {e}");
                drop(ready);
                *listener = None;
            }
        }
    }
    std::future::pending().await
}

#[derive(Debug)]
enum Heard {
    Change,
    OfOthers,
    Nothing,
    Failure(io::Error),
}

/// Where events were lost, one of ours may have been among them.
fn hear(event: io::Result<Uevent>) -> Heard {
    match event {
        Ok(event) if matches!(event.subsystem.as_str(), "video4linux" | "sound") => Heard::Change,
        Ok(_) => Heard::OfOthers,
        Err(e) => match e.kind() {
            ErrorKind::WouldBlock => Heard::Nothing,
            ErrorKind::StorageFull => Heard::Change,
            _ => Heard::Failure(e),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(subsystem: &str) -> io::Result<Uevent> {
        let (action, path, node) = ("add".into(), "/devices/x".into(), String::new());
        Ok(Uevent { action, subsystem: subsystem.into(), path, node })
    }

    #[test]
    fn cameras_and_sound_cards_count_and_so_do_events_that_were_lost() {
        assert!(matches!(hear(of("video4linux")), Heard::Change));
        assert!(matches!(hear(of("sound")), Heard::Change));
        assert!(matches!(hear(of("net")), Heard::OfOthers));
        assert!(matches!(hear(Err(ErrorKind::StorageFull.into())), Heard::Change));
        assert!(matches!(hear(Err(ErrorKind::WouldBlock.into())), Heard::Nothing));
    }

    #[test]
    fn an_error_of_the_socket_is_not_taken_for_an_event() {
        assert!(matches!(hear(Err(ErrorKind::BrokenPipe.into())), Heard::Failure(_)));
    }
}
