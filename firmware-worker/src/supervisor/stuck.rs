//! Whether a silent child can be killed. A thread that waits in a driver without taking signals (state D) dies only when
//! the driver lets go of it, and with it its process: waiting for that would be waiting for the hardware.

use std::fs;
use std::path::Path;

/// What becomes of a child that was killed for its silence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It dies now.
    Dies,
    /// It dies when the kernel lets go of it, if ever.
    Stuck,
}

/// Looks at all threads of `pid` under `proc`: each is a small read that waits for nothing.
pub(super) fn judge(proc: &Path, pid: i32) -> Verdict {
    let tasks = fs::read_dir(proc.join(pid.to_string()).join("task")).into_iter().flatten().flatten();
    let mut states = tasks.filter_map(|task| state(&fs::read_to_string(task.path().join("stat")).ok()?));
    if states.any(|state| state == 'D') { Verdict::Stuck } else { Verdict::Dies }
}

/// The field after the name, which stands in parentheses and may hold any character (proc(5)).
fn state(stat: &str) -> Option<char> {
    stat.rsplit_once(')')?.1.trim_start().chars().next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_thread_that_takes_no_signals_makes_a_process_stuck() {
        let root = std::env::temp_dir().join(format!("fw-stuck-{}", std::process::id()));
        let thread = |pid: i32, id: i32, name: &str, state: char| {
            let directory = root.join(format!("{pid}/task/{id}"));
            fs::create_dir_all(&directory).unwrap();
            fs::write(directory.join("stat"), format!("{id} ({name}) {state} 1 {pid} 0\n")).unwrap();
        };
        thread(10, 10, "owner", 'S');
        thread(10, 11, "camera", 'D');
        thread(20, 20, "a) D (b", 'S');
        thread(20, 21, "camera", 'R');
        let verdicts = [10, 20, 30].map(|pid| judge(&root, pid));
        fs::remove_dir_all(&root).unwrap();
        assert_eq!(verdicts, [Verdict::Stuck, Verdict::Dies, Verdict::Dies]);
    }

    #[test]
    fn a_thread_of_this_process_is_not_stuck() {
        assert_eq!(judge(Path::new("/proc"), std::process::id().cast_signed()), Verdict::Dies);
    }
}
