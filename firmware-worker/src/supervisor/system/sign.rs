//! A directory that systemd itself puts up beside this worker, and takes down before it ends this worker for the system's end.
//!
//! It belongs to a unit that is ordered after the worker's and has nothing to do. What was started last is stopped first, and a
//! runtime directory goes with its unit before the next stop begins; so whoever is told to end sees by it, without asking
//! anybody, whether all else ends too. Who stops this worker alone leaves it up. `systemctl isolate rescue.target` ends both, and
//! all else with them.

use std::path::Path;
use std::time::Instant;

/// `RuntimeDirectory=` of firmware-worker-system-up.service, below `/run`.
pub const PATH: &str = "/run/firmware-worker-system-up";

/// What is known of it, by a look now and then.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::supervisor) enum Sign {
    /// Nobody puts it up here, or not yet: another init, a container, no such unit.
    #[default]
    Unknown,
    /// It was there at the last look.
    Up,
    /// It was there at the look before the last one.
    Missed,
}

/// What it says to who is told to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// This worker ends alone, as long as the sign is up.
    Alone,
    /// The system goes down.
    GoesDown,
    /// There is no sign: others have to be asked.
    Unknown,
}

impl Sign {
    /// For the program that takes this one's place.
    pub(in crate::supervisor) fn is_seen(self) -> bool {
        match self {
            Self::Up | Self::Missed => true,
            Self::Unknown => false,
        }
    }

    /// As the program before has handed it over.
    pub(in crate::supervisor) fn resume(seen: bool) -> Self {
        if seen { Self::Up } else { Self::Unknown }
    }

    /// By a further look. Where it is up, a system's end takes it down only just before this worker; missing at two looks in a row
    /// and no signal between them, it was stopped by somebody, and that it is not there means nothing any more.
    pub(super) fn after_look(self, is_up: bool) -> Self {
        match (self, is_up) {
            (_, true) => Self::Up,
            (Self::Up, false) => Self::Missed,
            (Self::Missed | Self::Unknown, false) => Self::Unknown,
        }
    }

    /// By a look when this worker is told to end.
    pub(super) fn at_the_end(self, is_up: bool) -> Verdict {
        match (self, is_up) {
            (_, true) => Verdict::Alone,
            (Self::Up | Self::Missed, false) => Verdict::GoesDown,
            (Self::Unknown, false) => Verdict::Unknown,
        }
    }
}

/// Looks beside a drain. No signal comes with the end of the sign there, and who starts its unit anew takes it down for a moment:
/// it counts as gone when it is missing at two looks in a row.
#[derive(Debug, Default)]
pub(super) struct Absence {
    since: Option<Instant>,
}

impl Absence {
    /// By a further look: since when it is missing, if that counts.
    pub(super) fn after_look(&mut self, is_up: bool, now: Instant) -> Option<Instant> {
        if is_up {
            self.since = None;
            return None;
        }
        let before = self.since;
        self.since = before.or(Some(now));
        before
    }
}

/// A look at what lies in memory: it blocks nobody. One that fails has not seen that it is gone.
pub(super) fn is_up(sign: &Path) -> bool {
    sign.try_exists().unwrap_or(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn after(looks: &[bool]) -> Sign {
        looks.iter().copied().fold(Sign::default(), Sign::after_look)
    }

    #[test]
    fn only_a_sign_that_is_not_there_is_gone() {
        assert!(is_up(Path::new("/")));
        assert!(!is_up(Path::new("/no/such/sign")));
        assert!(is_up(Path::new("/dev/null/sign")), "what fails otherwise tells nothing");
    }

    #[test]
    fn a_sign_that_is_up_at_the_end_means_this_worker_alone_whatever_was_seen_before() {
        for looks in [&[][..], &[true], &[true, false], &[false, false]] {
            assert_eq!(after(looks).at_the_end(true), Verdict::Alone, "{looks:?}");
        }
    }

    #[test]
    fn a_sign_that_was_up_and_is_gone_at_the_end_means_the_system() {
        assert_eq!(after(&[true]).at_the_end(false), Verdict::GoesDown);
        // The unit has come after the start.
        assert_eq!(after(&[false, true]).at_the_end(false), Verdict::GoesDown);
        // A look may fall between the end of that unit and the signal, which a busy board sends seconds later.
        assert_eq!(after(&[true, false]).at_the_end(false), Verdict::GoesDown);
    }

    #[test]
    fn beside_a_drain_a_sign_that_is_away_for_a_moment_is_not_gone() {
        let start = Instant::now();
        let gone = |looks: &[bool]| {
            let mut absence = Absence::default();
            let seconds = (0..).map(Duration::from_secs);
            seconds.zip(looks).filter_map(|(at, is_up)| absence.after_look(*is_up, start + at)).next()
        };
        assert_eq!(gone(&[true, false, true, false, true]), None);
        assert_eq!(gone(&[true, false, true, false, false]), Some(start + Duration::from_secs(3)));
        assert_eq!(gone(&[false, false]), Some(start), "it was up at the signal");
    }

    #[test]
    fn a_program_that_takes_over_knows_whether_the_sign_was_seen() {
        for (looks, verdict) in [
            (&[][..], Verdict::Unknown),
            (&[true], Verdict::GoesDown),
            (&[true, false], Verdict::GoesDown),
            (&[true, false, false], Verdict::Unknown),
        ] {
            let resumed = Sign::resume(after(looks).is_seen());
            // It looks itself once, before it is up.
            assert_eq!(resumed.after_look(false).at_the_end(false), verdict, "{looks:?}");
        }
    }

    #[test]
    fn a_sign_that_was_never_up_or_is_long_gone_says_nothing() {
        for looks in [&[][..], &[false], &[true, false, false], &[true, false, false, false]] {
            assert_eq!(after(looks).at_the_end(false), Verdict::Unknown, "{looks:?}");
        }
        assert_eq!(
            after(&[true, false, false, true]).at_the_end(false),
            Verdict::GoesDown,
            "somebody has started it again"
        );
    }
}
