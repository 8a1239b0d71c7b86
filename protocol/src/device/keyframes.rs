//! Keyframe requests of all readers, merged.

use std::time::{Duration, Instant};

/// Keyframes are not forced more often than this in the long run: each costs many times a delta frame. Two may come in
/// quick succession, because a new viewer needs that: one starts its job's stream, and its own request comes some 50 ms
/// later, when the first has passed it by.
const FLOOR: Duration = Duration::from_millis(500);

/// A keyframe that was asked of the encoder and has not come in this time is asked for again.
const OVERDUE: Duration = Duration::from_secs(1);

/// Requests for one encoder; a keyframe that is newer than a request satisfies it.
#[derive(Debug)]
pub(super) struct Keyframes {
    wanted: bool,
    /// Every written keyframe moves this on by [`FLOOR`]; the next may be forced when it is less than that ahead.
    paid_until: Option<Instant>,
    /// Asked of the encoder and not seen yet.
    asked: Option<Instant>,
}

impl Keyframes {
    /// For an encoder that starts now, and so starts with a keyframe if its stream has any.
    pub(super) fn starting(now: Instant, any: bool) -> Self {
        Self { wanted: any, paid_until: None, asked: any.then_some(now) }
    }

    pub(super) fn want(&mut self) {
        self.wanted = true;
    }

    pub(super) fn written(&mut self, now: Instant) {
        let paid_until = self.paid_until.map_or(now, |until| until.max(now)) + FLOOR;
        *self = Self { wanted: false, paid_until: Some(paid_until), asked: None };
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
        let from = match (self.asked, self.paid_until) {
            _ if !self.wanted => return None,
            (Some(asked), _) => asked + OVERDUE,
            (None, Some(until)) => until - FLOOR,
            (None, None) => unreachable!("an encoder is asked for its first keyframe at its start"),
        };
        Some(from)
    }
}
