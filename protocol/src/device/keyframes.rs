//! Keyframe requests of all readers, merged.

use std::time::{Duration, Instant};

/// Two keyframes are never forced closer than this: each costs many times a delta frame.
const FLOOR: Duration = Duration::from_millis(500);

/// A keyframe that was asked of the encoder and has not come in this time is asked for again.
const OVERDUE: Duration = Duration::from_secs(1);

/// Requests for one encoder; a keyframe that is newer than a request satisfies it.
#[derive(Debug)]
pub(super) struct Keyframes {
    wanted: bool,
    written: Option<Instant>,
    /// Asked of the encoder and not seen yet.
    asked: Option<Instant>,
}

impl Keyframes {
    /// For an encoder that starts now, and so starts with a keyframe if its stream has any.
    pub(super) fn starting(now: Instant, any: bool) -> Self {
        Self { wanted: any, written: None, asked: any.then_some(now) }
    }

    pub(super) fn want(&mut self) {
        self.wanted = true;
    }

    pub(super) fn written(&mut self, now: Instant) {
        *self = Self { wanted: false, written: Some(now), asked: None };
    }

    /// Whether to force one now; counts as asked.
    pub(super) fn due(&mut self, now: Instant) -> bool {
        let due = self.deadline().is_some_and(|deadline| deadline <= now);
        if due {
            self.asked = Some(now);
        }
        due
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        let from = match (self.asked, self.written) {
            _ if !self.wanted => return None,
            (Some(asked), _) => asked + OVERDUE,
            (None, Some(written)) => written + FLOOR,
            (None, None) => unreachable!("an encoder is asked for its first keyframe at its start"),
        };
        Some(from)
    }
}
