//! Waiting for a condition with a deadline.

use std::thread;
use std::time::{Duration, Instant};

/// Between two looks: short against every time a test asserts, long against the cost of a look.
const STEP: Duration = Duration::from_millis(10);

/// Looks until `look` gives a value; panics with `what` after `limit`.
#[track_caller]
pub fn until<T>(what: &str, limit: Duration, look: impl FnMut() -> Option<T>) -> T {
    match try_until(limit, look) {
        Some(value) => value,
        None => panic!("not within {limit:?}: {what}"),
    }
}

/// The same for who has something else to say in vain.
pub fn try_until<T>(limit: Duration, mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + limit;
    loop {
        match look() {
            None if Instant::now() < deadline => thread::sleep(STEP),
            found => return found,
        }
    }
}

/// Seconds on CLOCK_MONOTONIC, the clock of the judge's stamps.
pub fn monotonic() -> f64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    now.tv_sec as f64 + now.tv_nsec as f64 / 1e9
}
