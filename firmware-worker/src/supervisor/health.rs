//! Whether the board can carry one more job, and how hard it works. Running jobs are never ended for it.

use hal::board::{Board, Resource};
use protocol::worker;
use std::time::{Duration, Instant};
use tracing::{info, warn};

/// Between samples: pressure is an average of ten seconds, and each sample costs a handful of small reads.
const INTERVAL: Duration = Duration::from_secs(5);

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

/// Degrees Celsius up to which heat is no reason to send a job elsewhere.
const WARM: f32 = 60.0;

/// MiB that programs could still get: less is needed for the kernel to work.
const MEMORY: Bound = Bound { bad: 32.0, good: 48.0 };

/// Samples the board now and then.
#[derive(Debug)]
pub(super) struct Health {
    board: Board,
    next: Instant,
    /// In plain words; none while the board is well.
    trouble: Option<String>,
    /// The power supply's weakness has been told.
    weak: bool,
}

impl Health {
    pub(super) fn new(board: Board, now: Instant) -> Self {
        Self { board, next: now, trouble: None, weak: false }
    }

    /// How the board is, when it is time to look. `for_jobs` says how much memory the jobs may have together when so
    /// much is available, and one of them is to have at least `least`.
    pub(super) fn sample(
        &mut self,
        now: Instant,
        least: u64,
        for_jobs: impl FnOnce(u64) -> u64,
    ) -> Option<worker::Health> {
        if now < self.next {
            return None;
        }
        self.next = now + INTERVAL;
        let was_well = self.trouble.is_none();
        let memory_for_jobs = self.board.memory().map(|memory| for_jobs(memory.available));
        let narrow = memory_for_jobs.and_then(|room| too_narrow(room, least, was_well));
        self.trouble = self.look(was_well).or(narrow);
        match &self.trouble {
            Some(why) if was_well => warn!("no further jobs: {why}"),
            None if !was_well => info!("the board can take jobs again"),
            Some(_) | None => {}
        }
        Some(worker::Health { takes_jobs: self.trouble.is_none(), strain: self.strain(), memory_for_jobs })
    }

    fn look(&self, was_well: bool) -> Option<String> {
        let over = |value: f32, bound: Bound| value >= if was_well { bound.bad } else { bound.good };
        let under = |value: f32, bound: Bound| value <= if was_well { bound.bad } else { bound.good };
        if let Some(waited) = self.board.pressure(Resource::Memory).filter(|waited| over(*waited, PRESSURE)) {
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

    /// From 0 for an idle board to 1 for one that is slowed down or at a bound: of two workers, the other is asked first.
    /// A weak supply does not keep jobs away: many boards have one all their lives.
    fn strain(&mut self) -> f32 {
        let throttled = self.board.throttled().unwrap_or_default();
        if throttled.undervoltage && !self.weak {
            warn!("the power supply is too weak (undervoltage): the processor is slowed down");
        }
        self.weak = throttled.undervoltage;
        let memory = self.board.pressure(Resource::Memory).unwrap_or(0.0) / PRESSURE.bad;
        let cpu = self.board.pressure(Resource::Cpu).unwrap_or(0.0) / 100.0;
        let heat = (self.board.temperature().unwrap_or(0.0) - WARM) / (HEAT.bad - WARM);
        let slowed = if throttled.undervoltage || throttled.slowed { 1.0 } else { 0.0 };
        [memory, cpu, heat, slowed].into_iter().fold(0.0, f32::max).min(1.0)
    }
}

/// Not a single job fits.
fn too_narrow(room: u64, least: u64, was_well: bool) -> Option<String> {
    /// MiB beyond it, from which a board counts as well again.
    const CLEARLY: u64 = 8;
    let (room, least) = (room >> 20, least >> 20);
    let wanted = if was_well { least } else { least + CLEARLY };
    (room < wanted).then(|| {
        format!("{room} MiB of memory are there for jobs, and one may use {least} (job_memory_mib under [limits])")
    })
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
        fn pressure(&self, resource: &str, percent: f32) {
            let text = format!("some avg10={percent:.2} avg60=0.00 avg300=0.00 total=1\n");
            fs::write(self.0.join("proc/pressure").join(resource), text).unwrap();
        }
        fn write(&self, file: &str, text: &str) {
            let path = self.0.join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        /// A first look at it.
        fn look(&self) -> worker::Health {
            let now = Instant::now();
            Health::new(Board::under(&self.0), now).sample(now, 0, |available| available).unwrap()
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
        let mut takes_jobs = |at| health.sample(at, 64 << 20, |available| available).map(|health| health.takes_jobs);
        assert_eq!(takes_jobs(now), Some(true), "well from the start");
        tree.pressure("memory", 25.0);
        assert_eq!(takes_jobs(now + INTERVAL / 2), None, "not looked at");
        assert_eq!(takes_jobs(now + INTERVAL), Some(false));
        tree.pressure("memory", 15.0);
        assert_eq!(takes_jobs(now + INTERVAL * 2), Some(false), "between the bounds nothing changes");
        tree.pressure("memory", 5.0);
        assert_eq!(takes_jobs(now + INTERVAL * 3), Some(true));
    }

    #[test]
    fn little_memory_is_said_in_mebibytes() {
        let tree = Tree::new("memory");
        tree.available_mib(30);
        let health = Health::new(Board::under(&tree.0), Instant::now());
        assert!(health.look(true).is_some_and(|why| why.contains("30 MiB")));
        assert_eq!(tree.look().memory_for_jobs, Some(30 << 20));
    }

    #[test]
    fn a_board_on_which_no_single_job_fits_says_so() {
        assert_eq!(too_narrow(64 << 20, 64 << 20, true), None);
        let why = too_narrow(63 << 20, 64 << 20, true).unwrap();
        assert!(why.contains("63 MiB") && why.contains("one may use 64"), "{why}");
        assert!(too_narrow(71 << 20, 64 << 20, false).is_some(), "between the bounds nothing changes");
        assert_eq!(too_narrow(72 << 20, 64 << 20, false), None);
    }

    #[test]
    fn whatever_the_board_suffers_from_most_is_its_strain() {
        let tree = Tree::new("strain");
        assert_eq!(tree.look().strain, 0.0);
        tree.pressure("cpu", 40.0);
        assert_eq!(tree.look().strain, 0.4);
        tree.pressure("memory", 15.0);
        assert_eq!(tree.look().strain, 0.75);
        tree.write("sys/class/thermal/thermal_zone0/temp", "79000\n");
        assert!((tree.look().strain - 19.0 / 22.0).abs() < 1e-6);
        tree.write("sys/devices/platform/soc/soc:firmware/get_throttled", "1\n");
        let health = tree.look();
        assert!(health.takes_jobs && health.strain == 1.0, "{health:?}");
    }
}
