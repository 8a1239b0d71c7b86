//! Jobs that fail and are started again.

use super::*;

const KILLED: JobEvent = JobEvent::Exited(Exit::Signal(9));

fn restarting() -> Options {
    Options { restart: RestartPolicy::OnFailure, ..options() }
}

fn back(s: &mut Script) {
    assert!(s.job("A", JobEvent::Ready).is_empty(), "the server knows that it runs");
    assert!(s.job("A", JobEvent::Joined).is_empty());
}

#[test]
fn a_killed_job_is_started_again_at_once_and_the_server_hears_nothing() {
    let mut s = Script::running(restarting(), "A");
    let said = s.job("A", KILLED);
    assert_eq!(said, ["A failed, again in 0 s: killed by signal 9 (SIGKILL)", "restart A"]);
    back(&mut s);
    assert!(s.pass(seconds(120)).is_empty());
    assert_eq!(s.worker.snapshot().active_jobs, 1);
}

#[test]
fn after_three_restarts_in_ten_minutes_the_next_failure_is_the_end_and_is_signed_off() {
    let mut s = Script::running(restarting(), "A");
    for wait in [0, 2, 10] {
        assert_eq!(s.job("A", KILLED)[0], format!("A failed, again in {wait} s: killed by signal 9 (SIGKILL)"));
        if wait > 0 {
            assert_eq!(s.next(), Some((wait * 1000, Reason::Restart)).filter(|_| wait == 2).or(s.next()));
            assert_eq!(s.pass(seconds(wait as u64)), ["restart A"]);
        }
        back(&mut s);
    }
    let error = "killed by signal 9 (SIGKILL)";
    let end = [format!("send job A failed: {error}"), "sign off A".to_owned(), format!("release A: failed: {error}")];
    assert_eq!(s.job("A", KILLED), end);
}

#[test]
fn restarts_that_lie_ten_minutes_back_are_forgiven() {
    let mut s = Script::running(restarting(), "A");
    for _ in 0..10 {
        assert_eq!(s.job("A", KILLED).last().map(String::as_str), Some("restart A"));
        back(&mut s);
        s.pass(seconds(600));
    }
}

#[test]
fn a_panic_is_followed_by_a_kill_and_the_restart_by_the_end_of_the_process() {
    let mut s = Script::running(restarting(), "A");
    assert_eq!(s.job("A", JobEvent::Failing("panic: no lens".to_owned())), ["kill A"]);
    assert!(s.job("A", JobEvent::Ending(success("done"))).is_empty(), "what else it says is too late");
    let said = s.job("A", exited(Exit::Signal(6)));
    assert_eq!(said, ["A failed, again in 0 s: panic: no lens", "restart A"]);
}

#[test]
fn without_restarts_what_failed_is_reported_and_may_leave() {
    let mut s = Script::running(options(), "A");
    let said = s.job("A", JobEvent::Failing("panic: no lens".to_owned()));
    assert_eq!(said, ["send job A failed: panic: no lens", "ack A"]);
}

#[test]
fn a_job_that_ends_in_order_is_not_started_again_whatever_its_result() {
    let mut s = Script::running(restarting(), "A");
    s.job("A", JobEvent::Ending(failed("duplicate identity")));
    assert_eq!(s.job("A", exited(Exit::Code(1))), ["sign off A", "release A: failed: duplicate identity"]);
    s.run_job("B");
    s.message(server::termination("B"));
    assert_eq!(s.job("B", KILLED).last().map(String::as_str), Some("release B: failed: killed by signal 9 (SIGKILL)"));
}

/// Joining with the identity of the dead participant, which the server then removes and says so (livekit#4887).
#[test]
fn the_termination_that_a_restarted_job_causes_by_joining_does_not_end_it() {
    let mut s = Script::running(restarting(), "A");
    s.job("A", KILLED);
    s.job("A", JobEvent::Ready);
    assert!(s.message(server::termination("A")).is_empty());
    s.job("A", JobEvent::Joined);
    assert!(s.message(server::termination("A")).is_empty(), "nor when it comes after the join");
    assert!(s.pass(seconds(120)).is_empty());
    assert_eq!(s.message(server::termination("A")), ["terminate A in 10 s: terminated by the server"]);
}

#[test]
fn a_termination_before_the_restarted_job_can_have_joined_is_meant() {
    let mut s = Script::running(restarting(), "A");
    s.job("A", KILLED);
    assert_eq!(s.message(server::termination("A")), ["terminate A in 10 s: terminated by the server"]);
    let mut s = Script::running(restarting(), "A");
    s.job("A", KILLED);
    s.job("A", KILLED);
    let said = s.message(server::termination("A"));
    assert_eq!(said, ["send job A success", "release A: success: terminated by the server"]);
}

#[test]
fn a_stop_ends_a_job_that_waits_for_its_restart_and_signs_it_off() {
    let mut s = Script::running(restarting(), "A");
    s.job("A", KILLED);
    s.job("A", KILLED);
    let said = s.give(Input::Stop);
    assert_eq!(said[..3], ["send job A success", "sign off A", "release A: success: worker stops"]);
}

#[test]
fn a_job_whose_process_cannot_be_started_is_tried_again_after_waits_and_given_up() {
    let mut s = Script::running(restarting(), "A");
    s.job("A", KILLED);
    let none = || exited(Exit::NotStarted("no memory".to_owned()));
    assert_eq!(s.job("A", none()).len(), 1);
    assert_eq!(s.pass(seconds(2)), ["restart A"]);
    assert_eq!(s.job("A", none()).len(), 1);
    assert_eq!(s.pass(seconds(10)), ["restart A"]);
    assert_eq!(s.job("A", none())[0], "send job A failed: process could not be started: no memory");
}

#[test]
fn a_restarted_job_that_does_not_get_ready_is_killed_and_counts_as_a_failure() {
    let mut s = Script::running(restarting(), "A");
    s.job("A", KILLED);
    assert_eq!(s.pass(seconds(10)), ["kill A"]);
    assert_eq!(s.job("A", KILLED), ["A failed, again in 2 s: not ready in 10 s"]);
}

#[test]
fn a_restarted_job_that_does_not_join_counts_as_a_failure_and_one_that_rejoins_for_long_does_not() {
    let mut s = Script::running(restarting(), "A");
    s.job("A", KILLED);
    s.job("A", JobEvent::Ready);
    assert_eq!(s.pass(seconds(59)), [""; 0]);
    assert_eq!(s.pass(seconds(1)), ["kill A"]);
    assert_eq!(s.job("A", KILLED), ["A failed, again in 2 s: no join in 60 s"]);
    s.pass(seconds(2));
    back(&mut s);
    s.job("A", JobEvent::Rejoining);
    assert_eq!(s.pass(seconds(170)), [""; 0], "its room gives up by itself");
}

#[test]
fn a_job_of_an_earlier_life_that_does_not_join_fails_and_gives_its_slot_back() {
    let mut s = Script::new(options());
    s.give(Input::Adopt(Box::new(server::spec("A")), vec![]));
    s.register();
    s.job("A", JobEvent::Ready);
    let said = s.pass(seconds(60));
    assert!(said.contains(&"send job A failed: no join in 60 s".to_owned()), "{said:?}");
    assert!(said.contains(&"terminate A in 10 s: no join in 60 s".to_owned()), "{said:?}");
}

#[test]
fn a_failed_process_that_cannot_be_killed_has_no_successor() {
    let mut s = Script::running(restarting(), "A");
    s.job("A", JobEvent::Failing("room driver silent".to_owned()));
    assert_eq!(s.pass(seconds(10)), ["kill A", "kill A"]);
    let error = "room driver silent; process cannot be killed";
    assert_eq!(s.pass(seconds(5))[0], format!("send job A failed: {error}"));
}

#[test]
fn a_job_of_an_earlier_life_goes_on_before_the_worker_is_registered_and_is_named_then() {
    let mut s = Script::new(restarting());
    assert_eq!(s.give(Input::Adopt(Box::new(server::spec("A")), vec![]))[1..], ["start A as agent-A in room of A"]);
    s.job("A", JobEvent::Ready);
    s.job("A", JobEvent::Joined);
    let said = s.register();
    assert!(said.contains(&"send migrate A".to_owned()), "{said:?}");
    s.pass(FILING_TIME);
    assert_eq!(
        s.job("A", KILLED)[0],
        "A failed, again in 2 s: killed by signal 9 (SIGKILL)",
        "the first was the end of that life"
    );
}

#[test]
fn restarts_of_earlier_lives_count_for_the_limit() {
    assert!(RestartPolicy::OnFailure.allows(&[seconds(900), seconds(100), seconds(50)]));
    assert!(!RestartPolicy::OnFailure.allows(&[seconds(500), seconds(100), seconds(50)]));
    assert!(!RestartPolicy::Never.allows(&[]));
    let mut s = Script::new(restarting());
    s.give(Input::Adopt(Box::new(server::spec("A")), vec![seconds(100), seconds(50)]));
    s.register();
    s.pass(FILING_TIME);
    let said = s.job("A", KILLED);
    assert_eq!(said[0], "send job A failed: killed by signal 9 (SIGKILL)", "the third was the end of that life");
}

#[test]
fn no_more_jobs_of_an_earlier_life_go_on_than_fit() {
    let mut s = Script::new(restarting());
    for job in ["A", "B", "C", "A"] {
        s.give(Input::Adopt(Box::new(server::spec(job)), vec![]));
    }
    assert_eq!(s.worker.snapshot().active_jobs, 2);
}
