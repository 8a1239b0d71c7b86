//! Whether the board can carry one more job. Running jobs are never ended for it.

use hal::board::Board;
use std::time::{Duration, Instant};

/// Between samples: none of what is looked at changes faster, and each costs a handful of small reads.
const INTERVAL: Duration = Duration::from_secs(10);

/// A bound, and the value on the good side of it at which the board counts as well again; between the two nothing
/// changes, so that a board at the edge does not flap.
#[derive(Clone, Copy, Debug)]
struct Bound {
    bad: f32,
    good: f32,
}

/// Percent of time that some task waited for memory (PSI `some avg10`): the board swaps or reclaims instead of working.
const PRESSURE: Bound = Bound { bad: 20.0, good: 10.0 };

/// Degrees Celsius. A Raspberry Pi slows its clock from 80 and stops at 85.
const HEAT: Bound = Bound { bad: 82.0, good: 76.0 };

/// MiB that programs could still get: a job with its encoder takes up to 64 by the default of `max_jobs`.
const MEMORY: Bound = Bound { bad: 48.0, good: 96.0 };

/// Samples the board now and then.
#[derive(Debug)]
pub(super) struct Health {
    board: Board,
    next: Instant,
    /// In plain words; none while the board is well.
    trouble: Option<String>,
}

impl Health {
    pub(super) fn new(board: Board, now: Instant) -> Self {
        Self { board, next: now, trouble: None }
    }

    /// Why no further job fits, if it has changed.
    pub(super) fn sample(&mut self, now: Instant) -> Option<Option<&str>> {
        if now < self.next {
            return None;
        }
        self.next = now + INTERVAL;
        let was_well = self.trouble.is_none();
        self.trouble = self.look(was_well);
        (self.trouble.is_none() != was_well).then_some(self.trouble.as_deref())
    }

    fn look(&self, was_well: bool) -> Option<String> {
        let over = |value: f32, bound: Bound| value >= if was_well { bound.bad } else { bound.good };
        let under = |value: f32, bound: Bound| value <= if was_well { bound.bad } else { bound.good };
        if let Some(waited) = self.board.memory_pressure().filter(|waited| over(*waited, PRESSURE)) {
            return Some(format!("memory pressure: tasks waited for memory {waited:.0} % of the time"));
        }
        if let Some(memory) = self.board.memory() {
            let available = (memory.available >> 20) as f32;
            if under(available, MEMORY) {
                return Some(format!("only {available:.0} MiB of memory are left"));
            }
        }
        let hot = self.board.temperature().filter(|degrees| over(*degrees, HEAT))?;
        Some(format!("the processor is at {hot:.0} °C"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::path::PathBuf;

    struct Tree(PathBuf);

    impl Tree {
        fn new(name: &str) -> Self {
            let root = std::env::temp_dir().join(format!("fw-health-{}-{name}", std::process::id()));
            fs::create_dir_all(root.join("proc/pressure")).unwrap();
            let tree = Self(root);
            tree.available_mib(500);
            tree
        }
        fn available_mib(&self, mib: u64) {
            let text = format!("MemTotal: 1000000 kB\nMemAvailable: {} kB\n", mib * 1024);
            fs::write(self.0.join("proc/meminfo"), text).unwrap();
        }
        fn pressure(&self, percent: f32) {
            let text = format!("some avg10={percent:.2} avg60=0.00 avg300=0.00 total=1\n");
            fs::write(self.0.join("proc/pressure/memory"), text).unwrap();
        }
    }

    impl Drop for Tree {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn a_board_under_pressure_takes_no_jobs_until_it_is_clearly_well_again() {
        let tree = Tree::new("pressure");
        let now = Instant::now();
        let mut health = Health::new(Board::under(&tree.0), now);
        assert_eq!(health.sample(now), None, "well from the start");
        tree.pressure(25.0);
        assert_eq!(health.sample(now + INTERVAL / 2), None, "not looked at");
        assert!(health.sample(now + INTERVAL).flatten().is_some_and(|why| why.contains("25 %")));
        tree.pressure(15.0);
        assert_eq!(health.sample(now + INTERVAL * 2), None, "between the bounds nothing changes");
        tree.pressure(5.0);
        assert_eq!(health.sample(now + INTERVAL * 3), Some(None));
    }

    #[test]
    fn little_memory_is_said_in_mebibytes() {
        let tree = Tree::new("memory");
        tree.available_mib(40);
        let now = Instant::now();
        let mut health = Health::new(Board::under(&tree.0), now);
        assert!(health.sample(now).flatten().is_some_and(|why| why.contains("40 MiB")));
    }
}
