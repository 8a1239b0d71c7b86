//! Whom the kernel kills first when the whole board is out of memory: a job, then a device owner, then us.

use super::cgroup::Role;
use std::fs;
use std::io;
use std::path::Path;
use tracing::{debug, warn};

/// Protects this process. Told when it cannot be.
pub(super) fn protect_supervisor(proc: &Path) {
    if let Err(e) = mark(proc, "self", Role::Supervisor) {
        warn!(
            "short of memory, the kernel may kill the worker itself: /proc/self/oom_score_adj: {e} (a service needs \
             OOMScoreAdjust={}, a plain run CAP_SYS_RESOURCE)",
            Role::Supervisor.oom_score_adj()
        );
    }
}

/// Puts a child in its place. It has just been started and has the supervisor's score.
pub(super) fn mark_child(proc: &Path, pid: i32, role: Role) {
    if let Err(e) = mark(proc, &pid.to_string(), role) {
        // For owners of a supervisor that could not protect itself, and that was told.
        debug!("process {pid}: oom_score_adj: {e}");
    }
}

/// Raising the score is everybody's right; a unit may have lowered it already.
fn mark(proc: &Path, process: &str, role: Role) -> io::Result<()> {
    let file = proc.join(process).join("oom_score_adj");
    let wanted = role.oom_score_adj();
    let now: i32 = fs::read_to_string(&file)?.trim().parse().map_err(io::Error::other)?;
    if now == wanted || (role == Role::Supervisor && now < wanted) {
        return Ok(());
    }
    fs::write(&file, wanted.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_goes_first_then_an_owner_then_the_supervisor() {
        let proc = std::env::temp_dir().join(format!("fw-oom-{}", std::process::id()));
        let score = |process: &str| fs::read_to_string(proc.join(process).join("oom_score_adj")).unwrap();
        for process in ["self", "7", "8"] {
            fs::create_dir_all(proc.join(process)).unwrap();
            fs::write(proc.join(process).join("oom_score_adj"), "0\n").unwrap();
        }
        protect_supervisor(&proc);
        mark_child(&proc, 7, Role::Owner);
        mark_child(&proc, 8, Role::Job);
        let scores = [score("self"), score("7"), score("8")];
        fs::write(proc.join("self/oom_score_adj"), "-1000\n").unwrap();
        protect_supervisor(&proc);
        let by_the_unit = score("self");
        fs::remove_dir_all(&proc).unwrap();
        assert_eq!(scores, ["-900", "-500", "500"]);
        assert_eq!(by_the_unit, "-1000\n", "a unit knows better");
    }
}
