//! When a picture was taken.

use super::sys::{self, Buffer};
use crate::process::monotonic_ns;
use crate::ring::Stamped;

/// A buffer's time, CLOCK_MONOTONIC ns, and what it is of.
pub(super) fn of(buffer: &Buffer) -> (u64, Stamped) {
    match captured_ns(buffer) {
        Some(ns) if buffer.flags & sys::BUF_FLAG_TSTAMP_SRC_MASK == sys::BUF_FLAG_TSTAMP_SRC_SOE => {
            (ns, Stamped::ExposureStart)
        }
        Some(ns) => (ns, Stamped::FrameEnd),
        None => (monotonic_ns(), Stamped::Arrival),
    }
}

/// The driver's stamp, if it is of the clock that we use.
fn captured_ns(buffer: &Buffer) -> Option<u64> {
    if buffer.flags & sys::BUF_FLAG_TIMESTAMP_MASK != sys::BUF_FLAG_TIMESTAMP_MONOTONIC {
        return None;
    }
    let seconds = u64::try_from(buffer.seconds).ok()?;
    let microseconds = u64::try_from(buffer.microseconds).ok()?;
    seconds.checked_mul(1_000_000_000)?.checked_add(microseconds.checked_mul(1000)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::video::sys::Queue;

    #[test]
    fn only_stamps_of_the_monotonic_clock_are_believed() {
        let stamp = |flags, seconds, microseconds| {
            captured_ns(&Buffer { flags, seconds, microseconds, ..Buffer::of(Queue::Capture, 0) })
        };
        assert_eq!(stamp(0x2000, 3, 5), Some(3_000_005_000));
        assert_eq!(stamp(0x4000, 3, 5), None, "copied from elsewhere");
        assert_eq!(stamp(0, 3, 5), None, "unknown clock");
        assert_eq!(stamp(0x2000, -1, 5), None);
        assert_eq!(stamp(0x2000, i64::MAX, 5), None);
    }
}
