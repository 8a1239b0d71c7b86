//! The thread of a sound card comes before all others: 40 ms without it are heard.

use hal::process::{Urgency, take_realtime};
use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};
use tracing::{debug, warn};

const REMEDY: &str =
    "run the worker as root, or its service with LimitRTPRIO=5; a kernel with RT_GROUP_SCHED gives none";

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
    match take_realtime() {
        Urgency::RealTime => debug!("{card}: its thread has real-time priority"),
        Urgency::Nice(why) => {
            TOLD.call_once(|| {
                warn!("{card}: no real-time priority for its thread, nice -11 instead: {why} ({REMEDY})")
            });
        }
        Urgency::Ordinary(why) => {
            TOLD.call_once(|| warn!("{card}: no priority for its thread over others: {why} ({REMEDY})"));
        }
    }
}
