//! A configuration that is read again, of which user code has something to say.

use super::agents::Agents;
use super::job_pid;
use rustix::process::Signal;
use std::time::Duration;
use tests::worker::{Setup, Worker};
use tests::{poll, procfs};

/// Five seconds are given to it.
const LONG: Duration = Duration::from_secs(20);

#[test]
fn user_code_that_refuses_panics_or_sleeps_over_a_configuration_ends_no_job_and_changes_nothing() {
    let agents = Agents::listen();
    let setup = Setup::with_url(&agents.url()).binary(env!("CARGO_BIN_EXE_participant").into());
    let worker = setup.clone().toml("[worker]\nmax_jobs = 1\n").launch();
    let (mut connection, _) = agents.registered();
    connection.run_job("AJ_1", "first");
    let pid = job_pid(&worker, "AJ_1");
    let more = |check: &str| setup.clone().toml(&format!("[worker]\nmax_jobs = 2\n[job]\ncheck = \"{check}\"\n"));
    let said = [
        ("refuse", "toml: job: the film is exposed"),
        ("panic", "stays: its check ends with code 101: no such film"),
        ("sleep", "stays: its check gives no answer in 5 s"),
    ];
    for (check, said) in said {
        worker.reconfigure(&more(check));
        worker.signal(Signal::HUP);
        if check == "sleep" {
            assert_may_only_read(&worker, "check --job start");
        }
        worker.wait_log(said, LONG);
        assert!(!connection.offer(&format!("AJ_{check}"), "second").available, "{check}");
    }
    // What is asked for meanwhile is read afterwards.
    worker.signal(Signal::HUP);
    worker.reconfigure(&more("nothing"));
    worker.signal(Signal::HUP);
    worker.wait_log("configuration read again", LONG);
    connection.run_job("AJ_2", "second");
    assert_eq!(job_pid(&worker, "AJ_1"), pid);
}

/// A program that the supervisor asks something, while it runs: a configuration may be for others alone to read, and nothing
/// else is its business.
#[track_caller]
pub fn assert_may_only_read(worker: &Worker, command: &str) {
    let asked = || procfs::children(worker.pid()).into_iter().find(|pid| procfs::command_line(*pid).contains(command));
    let asked = poll::until("the program that is asked runs", LONG, asked);
    let set = |pid: u32, name: &str| u64::from_str_radix(&procfs::status(pid, name), 16).expect("hexadecimal");
    // CAP_DAC_READ_SEARCH
    let read = set(worker.pid(), "CapEff") & (1 << 2);
    for name in ["CapPrm", "CapEff"] {
        assert_eq!(set(asked, name), read, "{name}");
    }
    // Who is not root gets nothing of it by whatever it executes.
    if rustix::process::geteuid().is_root() {
        assert_eq!(set(asked, "CapBnd"), read);
    }
    assert_eq!(procfs::status(asked, "NoNewPrivs"), "1");
}
