//! Whether a new slot stays.
//!
//! It stays as soon as the worker has registered. Where the old slot was not registered either, shortly before, it need not:
//! then ten minutes are enough in which the worker answers. All else ends in the old slot, with the reason.

use std::time::{Duration, Instant};

/// Time to register, and time in good health that stands for it.
pub const PROBATION: Duration = Duration::from_secs(600);

/// All of it, where the worker need not register: twice, so that it may come up late or be started again once.
const LIMIT: Duration = Duration::from_secs(1200);

/// A worker that is silent for longer is not well: its answer takes one turn of its loop, and its restart a second.
const SILENCE: Duration = Duration::from_secs(30);

/// Between looks.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// What the worker said of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    /// It is registered.
    Registered,
    /// Not, and why.
    Unregistered(String),
    /// Nothing, and why.
    Silent(String),
}

/// What is done now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Look again then.
    Wait(Instant),
    /// The new slot is good.
    Commit,
    /// It is not: the old one is taken again.
    RollBack(String),
}

/// The time of trial of one start.
#[derive(Clone, Debug)]
pub struct Probation {
    started: Instant,
    must_register: bool,
    /// Since when it answers, and when it did last.
    healthy: Option<(Instant, Instant)>,
}

impl Probation {
    /// From `now` on. `must_register` if the old slot was registered within its last ten minutes.
    pub fn new(now: Instant, must_register: bool) -> Self {
        Self { started: now, must_register, healthy: None }
    }

    /// After a look at the worker.
    pub fn look(&mut self, now: Instant, seen: &Seen) -> Verdict {
        let why = match seen {
            Seen::Registered => return Verdict::Commit,
            Seen::Unregistered(why) => {
                let since = self.healthy.map_or(now, |(since, _)| since);
                self.healthy = Some((since, now));
                why
            }
            Seen::Silent(why) => {
                self.healthy = self.healthy.filter(|(_, last)| now.duration_since(*last) < SILENCE);
                why
            }
        };
        if !self.must_register && self.healthy.is_some_and(|(since, last)| last.duration_since(since) >= PROBATION) {
            return Verdict::Commit;
        }
        let limit = if self.must_register { PROBATION } else { LIMIT };
        match now.duration_since(self.started) < limit {
            true => Verdict::Wait(now + LOOK_EVERY),
            false => Verdict::RollBack(self.reason(limit, why)),
        }
    }

    fn reason(&self, limit: Duration, why: &str) -> String {
        let minutes = limit.as_secs() / 60;
        let what = if self.must_register { "not registered" } else { "not in good health" };
        format!("{what} within {minutes} minutes: {why}")
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "simulated time starts at any instant")]
mod tests {
    use super::*;

    /// Looks as often as the machine wants to, at what `seen` says for each second, until there is a verdict.
    fn run(must_register: bool, seen: impl Fn(u64) -> Seen) -> (u64, Verdict) {
        let start = Instant::now();
        let (mut probation, mut now) = (Probation::new(start, must_register), start);
        loop {
            let second = now.duration_since(start).as_secs();
            match probation.look(now, &seen(second)) {
                Verdict::Wait(then) => {
                    assert!(then > now && second < 3600, "it ends");
                    now = then;
                }
                verdict => return (second, verdict),
            }
        }
    }

    fn unregistered() -> Seen {
        Seen::Unregistered("HTTP 401".into())
    }

    fn silent() -> Seen {
        Seen::Silent("connection refused".into())
    }

    #[test]
    fn the_new_slot_stays_as_soon_as_its_worker_has_registered() {
        for must in [true, false] {
            let seen = |second| match second {
                0..20 => silent(),
                20..60 => unregistered(),
                _ => Seen::Registered,
            };
            assert_eq!(run(must, seen), (60, Verdict::Commit));
        }
    }

    #[test]
    fn a_worker_that_was_registered_before_and_is_not_after_ten_minutes_is_rolled_back_with_its_reason() {
        let (second, verdict) = run(true, |_| unregistered());
        assert_eq!(second, 600);
        assert_eq!(verdict, Verdict::RollBack("not registered within 10 minutes: HTTP 401".into()));
    }

    #[test]
    fn where_there_was_no_registration_before_ten_minutes_of_good_health_are_enough() {
        assert_eq!(run(false, |_| unregistered()), (600, Verdict::Commit));
        // Up late, and started again once: its health counts from the first answer on, and a short silence is none.
        let seen = |second| if second < 60 || (300..320).contains(&second) { silent() } else { unregistered() };
        assert_eq!(run(false, seen), (660, Verdict::Commit));
    }

    #[test]
    fn a_worker_that_does_not_answer_is_rolled_back_whatever_was_before() {
        assert_eq!(run(true, |_| silent()).0, 600);
        let (second, verdict) = run(false, |_| silent());
        assert_eq!(second, 1200);
        assert!(matches!(verdict, Verdict::RollBack(why) if why.contains("connection refused")));
        // It crashes every five minutes and is away for one: never ten in a row.
        let crashing = |second| if second % 300 < 60 { silent() } else { unregistered() };
        assert!(matches!(run(false, crashing), (1200, Verdict::RollBack(_))));
    }

    #[test]
    fn a_worker_whose_last_answer_is_old_is_not_in_good_health_at_the_end() {
        let seen = |second| if second < 590 { unregistered() } else { silent() };
        assert!(matches!(run(false, seen), (1200, Verdict::RollBack(_))));
    }
}
