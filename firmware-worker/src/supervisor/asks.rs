//! What a job process asks of the supervisor: bounded, so that no job takes the supervisor's time from others.

use crate::control::{MAX_REQUESTS, Rate};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::Semaphore;

/// Questions for addresses that may wait; more are refused.
const MAX_QUESTIONS: usize = 8;

/// See the module.
#[derive(Debug)]
pub(super) struct Asks {
    requests: Rate,
    /// Of sources. User code causes them, and must not use up what the end of its job needs.
    openings: Rate,
    /// Not answered yet.
    questions: BTreeSet<u32>,
    /// One of its lookups runs at a time: a dead name server must not hold up those of other jobs.
    turn: Arc<Semaphore>,
}

impl Asks {
    pub(super) fn new(now: Instant) -> Self {
        let rate = || Rate::new(MAX_REQUESTS, now);
        let turn = Arc::new(Semaphore::new(1));
        Self { requests: rate(), openings: rate(), questions: BTreeSet::new(), turn }
    }

    /// It asks for something; false if that is too often.
    pub(super) fn may_ask(&mut self, now: Instant) -> bool {
        !self.requests.is_exceeded(now)
    }

    /// It asks for a source; false if that is too often.
    pub(super) fn may_open(&mut self, now: Instant) -> bool {
        !self.openings.is_exceeded(now)
    }

    /// Takes a question, which is looked up when its turn comes; none if too many wait, or one of this number.
    pub(super) fn take_question(&mut self, id: u32) -> Option<Arc<Semaphore>> {
        (self.questions.len() < MAX_QUESTIONS && self.questions.insert(id)).then(|| self.turn.clone())
    }

    /// There is an answer; whether it is still waited for.
    pub(super) fn answered(&mut self, id: u32) -> bool {
        self.questions.remove(&id)
    }

    /// Those that are answered by nobody any more.
    pub(super) fn give_up(&mut self) -> BTreeSet<u32> {
        std::mem::take(&mut self.questions)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn questions_and_requests_are_bounded() {
        let start = Instant::now();
        let mut asks = Asks::new(start);
        assert!((0..8).all(|id| asks.take_question(id).is_some()));
        assert!(asks.take_question(8).is_none(), "too many");
        assert!(asks.answered(3) && !asks.answered(3));
        assert!(asks.take_question(4).is_none(), "asked already");
        assert!(asks.take_question(8).is_some());
        assert_eq!(asks.give_up().len(), 8);
        assert!(!asks.answered(8));

        assert!((0..MAX_REQUESTS).all(|_| asks.may_open(start)));
        assert!(!asks.may_open(start));
        assert!((0..MAX_REQUESTS).all(|_| asks.may_ask(start)), "which is counted apart");
        assert!(!asks.may_ask(start));
        assert!(asks.may_ask(start + Duration::from_millis(1001)));
    }
}
