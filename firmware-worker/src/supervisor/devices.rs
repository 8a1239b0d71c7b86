//! Hears of devices that come and go.

use crate::control::{Owned, watch};
use hal::hotplug::{Listener, Uevent};
use tokio::io::unix::AsyncFd;
use tracing::info;

/// Without it a replugged device is found by its owner's retries, later.
pub(super) fn listen() -> Option<AsyncFd<Owned<Listener>>> {
    let listener = Listener::open().and_then(watch);
    listener.inspect_err(|e| info!("no device events: {e}")).ok()
}

pub(super) async fn next(listener: Option<&AsyncFd<Owned<Listener>>>) -> Uevent {
    let Some(listener) = listener else { return std::future::pending().await };
    loop {
        // Fails only when the runtime is going down.
        let Ok(mut ready) = listener.readable().await else { return std::future::pending().await };
        match ready.get_inner().0.next() {
            Ok(uevent) => return uevent,
            Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => ready.clear_ready(),
            // Events were lost because we were slow: the next one counts.
            Err(_) => {}
        }
    }
}
