//! Running jobs: their statuses, ends, deaths and rejoins.

use super::*;

#[test]
fn a_job_that_ends_is_reported_before_it_may_leave_and_released_when_it_is_gone() {
    let mut s = Script::running(options(), "A");
    assert_eq!(s.job("A", JobEvent::Ending(success("done"))), ["send job A success", "ack A"]);
    assert_eq!(s.job("A", exited(Exit::Code(0))), ["release A: success: done"]);
    assert!(s.job("A", JobEvent::Ending(success("done"))).is_empty());
}

#[test]
fn a_job_that_asks_twice_to_leave_is_reported_once_and_let_go_twice() {
    let mut s = Script::running(options(), "A");
    s.job("A", JobEvent::Ending(failed("codec")));
    assert_eq!(s.job("A", JobEvent::Ending(success("done"))), ["ack A"]);
    assert_eq!(s.job("A", exited(Exit::Code(0))), ["release A: failed: codec"]);
}

#[test]
fn a_killed_job_is_reported_with_its_signal_and_signed_off() {
    let mut s = Script::running(options(), "A");
    assert_eq!(
        s.job("A", exited(Exit::Signal(9))),
        [
            "send job A failed: killed by signal 9 (SIGKILL)",
            "sign off A",
            "release A: failed: killed by signal 9 (SIGKILL)"
        ]
    );
}

#[test]
fn the_way_a_process_left_is_told_in_plain_words() {
    for (exit, text) in [
        (Exit::Code(3), "exit code 3"),
        (Exit::Signal(11), "killed by signal 11 (SIGSEGV)"),
        (Exit::Signal(64), "killed by signal 64"),
        (Exit::OutOfMemory(MemoryLimit::Bytes(96 << 20)), "memory limit 96 MiB exceeded"),
        (Exit::OutOfMemory(MemoryLimit::Board), "killed because the board was out of memory"),
        (Exit::OutOfProcesses { limit: 32, exit: Box::new(Exit::Code(1)) }, "process limit 32 reached; exit code 1"),
        (
            Exit::Signal(6).with_stderr("abort() | why".to_owned()),
            "killed by signal 6 (SIGABRT); standard error: abort() | why",
        ),
        (Exit::Signal(6).with_stderr(String::new()), "killed by signal 6 (SIGABRT)"),
        (Exit::Code(0).with_stderr("a complaint".to_owned()), "exit code 0"),
        (Exit::NotStarted("clone3: EAGAIN".to_owned()), "process could not be started: clone3: EAGAIN"),
    ] {
        assert_eq!(exit.to_string(), text);
    }
}

#[test]
fn a_job_that_exits_cleanly_without_a_word_succeeded_but_is_signed_off() {
    let mut s = Script::running(options(), "A");
    assert_eq!(
        s.job("A", exited(Exit::Code(0))),
        ["send job A success", "sign off A", "release A: success: exit code 0"]
    );
}

#[test]
fn a_job_that_dies_between_its_ack_and_its_leave_is_signed_off() {
    let mut s = Script::running(options(), "A");
    s.job("A", JobEvent::Ending(success("done")));
    assert_eq!(s.job("A", exited(Exit::Signal(11))), ["sign off A", "release A: success: done"]);
}

#[test]
fn a_process_that_could_not_be_started_fails_its_job_and_has_nobody_to_sign_off() {
    let mut s = Script::registered(options());
    s.message(server::offer("A", "cam", "hall"));
    s.message(server::assignment("A"));
    s.job("A", exited(Exit::NotStarted("no memory".to_owned())));
    assert_eq!(
        s.pass(FILING_TIME),
        [
            "send job A failed: process could not be started: no memory",
            "release A: failed: process could not be started: no memory"
        ]
    );
}

#[test]
fn an_end_that_comes_before_the_server_has_filed_the_job_is_told_100_ms_after_the_assignment() {
    let mut s = Script::registered(options());
    s.message(server::offer("A", "cam", "hall"));
    s.message(server::assignment("A"));
    s.job("A", JobEvent::Ready);
    assert!(s.job("A", JobEvent::Ending(failed("no camera"))).is_empty());
    assert!(s.job("A", JobEvent::Ending(success("done"))).is_empty());
    assert!(s.job("A", exited(Exit::Signal(9))).is_empty());
    assert!(s.job("A", JobEvent::Ending(success("too late"))).is_empty());
    assert!(s.pass(Duration::from_millis(99)).is_empty());
    assert_eq!(
        s.pass(Duration::from_millis(1)),
        ["send job A failed: no camera", "ack A", "sign off A", "release A: failed: no camera"]
    );
}

#[test]
fn a_job_that_is_not_ready_in_10_s_is_reported_and_killed() {
    let mut s = Script::registered(options());
    s.message(server::offer("A", "cam", "hall"));
    s.message(server::assignment("A"));
    assert!(s.pass(Duration::from_millis(9999)).is_empty());
    assert_eq!(s.pass(Duration::from_millis(1)), ["send job A failed: not ready in 10 s", "kill A"]);
    assert_eq!(s.job("A", exited(Exit::Signal(9))), ["release A: failed: not ready in 10 s"]);
}

#[test]
fn a_slow_start_may_take_as_long_as_is_configured() {
    let timeouts = Timeouts { initialize: seconds(25), ..options().timeouts };
    let mut s = Script::registered(Options { timeouts, ..options() });
    s.message(server::offer("A", "cam", "hall"));
    s.message(server::assignment("A"));
    assert!(s.pass(Duration::from_millis(24_999)).is_empty());
    assert_eq!(s.pass(Duration::from_millis(1)), ["send job A failed: not ready in 25 s", "kill A"]);
}

#[test]
fn a_job_that_does_not_join_in_60_s_is_reported_and_ended() {
    let mut s = Script::registered(options());
    s.message(server::offer("A", "cam", "hall"));
    s.message(server::assignment("A"));
    s.job("A", JobEvent::Ready);
    assert!(s.pass(Duration::from_millis(59_999)).is_empty());
    assert_eq!(
        s.pass(Duration::from_millis(1)),
        ["send job A failed: no join in 60 s", "terminate A in 10 s: no join in 60 s"]
    );
    assert_eq!(s.job("A", JobEvent::Ending(success("ended"))), ["ack A"]);
}

#[test]
fn a_terminated_job_that_ignores_it_is_killed_after_its_grace_and_not_signed_off() {
    let mut s = Script::running(options(), "A");
    assert_eq!(s.message(server::termination("A")), ["terminate A in 10 s: terminated by the server"]);
    let error = "did not end within 10s when asked to (terminated by the server)";
    assert_eq!(s.pass(seconds(10)), [format!("send job A failed: {error}"), "kill A".to_owned()]);
    assert_eq!(s.job("A", exited(Exit::Signal(9))), [format!("release A: failed: {error}")]);
}

#[test]
fn a_termination_is_idempotent_and_one_for_an_unknown_job_is_ignored() {
    let mut s = Script::running(options(), "A");
    assert_eq!(s.message(server::termination("A")).len(), 1);
    assert!(s.message(server::termination("A")).is_empty());
    assert!(s.message(server::termination("B")).is_empty());
    assert_eq!(s.job("A", JobEvent::Ending(success("x"))), ["send job A success", "ack A"]);
}

#[test]
fn a_process_that_survives_its_kill_is_killed_again_and_written_off_after_three() {
    let mut s = Script::running(options(), "A");
    s.job("A", JobEvent::Ending(success("done")));
    assert_eq!(s.pass(seconds(5)), ["kill A"]);
    assert_eq!(s.pass(seconds(10)), ["kill A", "kill A"]);
    assert_eq!(s.pass(seconds(5)), ["sign off A", "release A: success: done"]);
    assert!(s.job("A", exited(Exit::Signal(9))).is_empty());
}

#[test]
fn a_termination_while_a_job_rejoins_is_dropped_when_the_job_is_back() {
    let mut s = Script::running(options(), "A");
    s.job("A", JobEvent::Rejoining);
    assert!(s.message(server::termination("A")).is_empty());
    s.pass(seconds(15));
    s.job("A", JobEvent::Rejoined);
    assert!(s.pass(seconds(120)).is_empty());
    assert_eq!(s.message(server::termination("A")).len(), 1, "one of its own is acted on");
}

#[test]
fn a_termination_under_10_s_after_a_rejoin_is_dropped_and_a_later_one_acted_on() {
    let mut s = Script::running(options(), "A");
    s.job("A", JobEvent::Rejoining);
    s.job("A", JobEvent::Rejoined);
    s.pass(Duration::from_millis(9999));
    assert!(s.message(server::termination("A")).is_empty());
    s.pass(Duration::from_millis(1));
    assert_eq!(s.message(server::termination("A")), ["terminate A in 10 s: terminated by the server"]);
}

/// A sign-off would make the room anew, should the termination have been about its end.
#[test]
fn a_job_that_dies_just_after_a_rejoin_and_a_termination_is_not_signed_off() {
    let back = |terminated: bool| {
        let mut s = Script::running(options(), "A");
        s.job("A", JobEvent::Rejoining);
        s.job("A", JobEvent::Rejoined);
        s.pass(seconds(9));
        if terminated {
            assert!(s.message(server::termination("A")).is_empty());
        }
        s
    };
    let dies = |s: &mut Script| s.job("A", exited(Exit::Signal(9))).contains(&"sign off A".to_owned());
    assert!(!dies(&mut back(true)));
    assert!(dies(&mut back(false)));
    let mut outlived = back(true);
    outlived.pass(seconds(1));
    assert!(dies(&mut outlived), "it was the rejoin's");
}

#[test]
fn a_job_that_was_terminated_while_rejoining_and_never_gets_back_is_ended_after_60_s() {
    let mut s = Script::running(options(), "A");
    s.job("A", JobEvent::Rejoining);
    s.pass(seconds(20));
    s.message(server::termination("A"));
    s.job("A", JobEvent::Rejoining);
    assert!(s.pass(Duration::from_millis(39_999)).is_empty());
    let reason = "terminated by the server while it could not rejoin its room";
    assert_eq!(s.pass(Duration::from_millis(1)), [format!("terminate A in 10 s: {reason}")]);
}

#[test]
fn a_job_that_dies_while_rejoining_is_signed_off_even_if_a_termination_was_recorded() {
    let mut s = Script::running(options(), "A");
    s.job("A", JobEvent::Rejoining);
    s.message(server::termination("A"));
    assert!(s.job("A", exited(Exit::Signal(6))).contains(&"sign off A".to_owned()));
}

#[test]
fn a_job_may_rejoin_for_as_long_as_it_takes() {
    let mut s = Script::running(options(), "A");
    s.job("A", JobEvent::Rejoining);
    assert!(s.pass(seconds(3600)).is_empty());
}

#[test]
fn a_termination_after_the_death_of_a_job_cancels_its_sign_off() {
    let mut s = Script::running(options(), "A");
    s.job("A", exited(Exit::Signal(9)));
    assert_eq!(s.message(server::termination("A")), ["cancel the sign-off of A"]);
    assert!(s.message(server::termination("never ours")).is_empty());
}
