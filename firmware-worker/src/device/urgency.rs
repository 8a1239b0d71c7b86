//! The thread of a sound card comes before all others: 40 ms without it are heard.

use hal::process::{Urgency, take_realtime};
use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};
use tracing::{debug, warn};

const REMEDY: &str =
    "run the worker as root, or its service with LimitRTPRIO=5; a kernel with RT_GROUP_SCHED gives none";

/// What helps where that thread came too late all the same.
pub(super) const LATE: &str =
    "where this goes on, look for what else takes the processor, and whether the worker has real-time priority";

/// This process serves a device and does nothing else, unlike a command that tries one.
static ALLOWED: AtomicBool = AtomicBool::new(false);

/// At the start of the process.
pub(super) fn allow() {
    ALLOWED.store(true, Ordering::Relaxed);
}

/// For the calling thread, which serves this card. What it does not get is told, once.
pub(super) fn take(card: &str) {
    static TOLD: Once = Once::new();
    if !ALLOWED.load(Ordering::Relaxed) {
        return;
    }
    match lack(card, &take_realtime()) {
        None => debug!("{card}: its thread has real-time priority"),
        Some(lack) => TOLD.call_once(|| warn!("{lack}")),
    }
}

/// What its thread does without, in plain words.
fn lack(card: &str, urgency: &Urgency) -> Option<String> {
    match urgency {
        Urgency::RealTime => None,
        Urgency::Nice(why) => {
            Some(format!("{card}: no real-time priority for its thread, nice -11 instead: {why} ({REMEDY})"))
        }
        Urgency::Ordinary(why) => Some(format!("{card}: no priority for its thread over others: {why} ({REMEDY})")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Error;

    #[test]
    fn a_thread_without_priority_is_named_with_what_it_has_instead_and_the_remedy() {
        let refused = || Error::from_raw_os_error(1);
        let nice = lack("hw:0", &Urgency::Nice(refused())).unwrap();
        assert!(
            nice.starts_with("hw:0: no real-time priority for its thread, nice -11 instead: Operation not permitted")
        );
        let ordinary = lack("hw:0", &Urgency::Ordinary(refused())).unwrap();
        assert!(ordinary.starts_with("hw:0: no priority") && ordinary.contains("LimitRTPRIO=5"), "{ordinary}");
        assert_eq!(lack("hw:0", &Urgency::RealTime), None);
    }
}
