//! A program that is asked one thing and ends.

use super::*;
use crate::process::handover::forget;
use crate::process::sandbox::keep_only_reading;

/// Runs a program of ours, with the environment of this one, until it ends: how, or `None` if it had to be killed after
/// `limit`, and the first 4 KiB that it wrote. One that writes more than a pipe holds waits, and is killed. It may read what
/// this process may, and has no other right.
pub fn run_briefly(mut command: Command, limit: Duration) -> io::Result<(Option<Ended>, String)> {
    let (mut said, speaker) = io::pipe()?;
    forget(&mut command);
    command.stdout(speaker.try_clone()?).stderr(speaker).process_group(0);
    // SAFETY: the closure makes system calls and nothing else, as it must between fork and exec.
    unsafe { command.pre_exec(|| keep_nothing().and_then(|()| keep_only_reading())) };
    let pid = command.spawn()?.id() as i32;
    // With it go our ends of the pipe that are for the program.
    drop(command);
    let child = Child { pid, pidfd: pidfd(pid)? };
    let ended = match crate::wait::ready(child.pidfd(), libc::POLLIN, limit)? {
        0 => {
            // SAFETY: takes numbers only. The leader has not been reaped, so the group is still its own.
            unsafe { libc::kill(-pid, libc::SIGKILL) };
            child.wait(0)?;
            None
        }
        _ => child.try_wait()?,
    };
    not_blocking(said.as_raw_fd())?;
    let mut bytes = [0; 4096];
    let length = taken(said.read(&mut bytes))?.unwrap_or(0);
    Ok((ended, String::from_utf8_lossy(&bytes[..length]).into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    const SECOND: Duration = Duration::from_secs(1);
    const PATIENCE: Duration = Duration::from_secs(10);

    #[test]
    fn a_program_that_runs_briefly_is_told_with_its_words_and_one_that_stays_is_killed() {
        let run = |script: &str, limit| {
            let mut command = Command::new("sh");
            command.args(["-c", script]).stdin(Stdio::null());
            run_briefly(command, limit).expect("a shell")
        };
        assert_eq!(run("echo one; echo two >&2; exit 3", PATIENCE), (Some(Ended::Code(3)), "one\ntwo\n".into()));
        assert_eq!(run("kill -9 $$", PATIENCE), (Some(Ended::Signal(9)), String::new()));
        let started = Instant::now();
        assert_eq!(run("echo wait; sleep 60", SECOND / 4), (None, "wait\n".into()));
        assert!(started.elapsed() < PATIENCE);
        assert!(run_briefly(Command::new("/no/such/program"), SECOND).is_err());
    }

    /// A configuration may be another user's, and closed to all others.
    #[test]
    fn it_may_read_what_we_may_and_has_no_other_right() {
        const READ: u64 = 1 << 2;
        const SETPCAP: u64 = 1 << 8;
        let field = |status: &str, name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(":\t"));
            u64::from_str_radix(line.unwrap_or_else(|| panic!("{name} in {status}")), 16).expect("hexadecimal")
        };
        let mut command = Command::new("grep");
        command.args(["-e", "Cap", "-e", "NoNewPrivs", "/proc/self/status"]).stdin(Stdio::null());
        let (ended, status) = run_briefly(command, PATIENCE).expect("part of the base system");
        assert_eq!(ended, Some(Ended::Code(0)), "{status}");
        let ours = std::fs::read_to_string("/proc/self/status").expect("procfs");
        for set in ["CapPrm", "CapEff"] {
            assert_eq!(field(&status, set), field(&ours, set) & READ, "{set}");
        }
        // Of root, who alone gets what is in it.
        if field(&ours, "CapEff") & SETPCAP != 0 {
            assert_eq!(field(&status, "CapBnd"), field(&ours, "CapBnd") & READ);
        }
        assert_eq!(field(&status, "NoNewPrivs"), 1);
    }
}
