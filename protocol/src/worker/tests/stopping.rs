//! Drain and stop.

use super::*;

fn drain_after(timeout: Duration) -> Options {
    Options { drain_timeout: timeout, ..options() }
}

#[test]
fn a_worker_without_jobs_drains_at_once_and_closes_its_link_first() {
    let mut s = Script::registered(options());
    assert_eq!(s.give(Input::Drain), ["send status 1.000 full draining", "close", "finished"]);
    assert_eq!(s.next(), None);
    assert!(s.give(Input::Time).is_empty());
}

#[test]
fn a_worker_without_a_link_drains_without_closing_it() {
    let mut s = Script::registered(options());
    s.give(broken());
    assert_eq!(s.give(Input::Drain), ["finished"]);
}

#[test]
fn a_draining_worker_takes_nothing_new_and_waits_for_its_jobs() {
    let mut s = Script::running(options(), "A");
    assert_eq!(s.give(Input::Drain), ["send status 1.000 full draining"]);
    assert_eq!(s.message(server::offer("B", "cam", "hall")), ["send no B"]);
    assert!(s.pass(seconds(3599)).is_empty());
    s.job("A", JobEvent::Ending(success("done")));
    assert_eq!(s.job("A", exited(Exit::Code(0))), ["release A: success: done", "close", "finished"]);
}

/// Another worker would put a second participant into the room that our rejoin has created again.
#[test]
fn a_draining_worker_lets_nobody_take_an_automatic_offer_for_a_room_that_it_is_in() {
    let mut s = Script::registered(Options { agent_name: String::new(), ..options() });
    s.message(server::offer("A", "", "hall"));
    s.message(server::assignment("A"));
    s.job("A", JobEvent::Ready);
    s.job("A", JobEvent::Joined);
    s.give(Input::Drain);
    s.job("A", JobEvent::Rejoining);
    assert_eq!(s.message(server::offer("B", "", "hall")), ["send no B, nobody"]);
    assert_eq!(s.message(server::offer("C", "", "attic")), ["send no C"]);
    s.give(Input::Stop);
    assert_eq!(s.message(server::offer("D", "", "hall")), ["send no D"], "it will be free");
}

#[test]
fn a_drain_keeps_the_promise_of_an_accepted_offer() {
    let mut s = Script::registered(options());
    s.message(server::offer("A", "cam", "hall"));
    s.give(Input::Drain);
    assert_eq!(s.message(server::assignment("A")), ["start A as agent-A in hall"]);
}

#[test]
fn a_drain_waits_no_longer_than_for_an_assignment_that_does_not_come() {
    let mut s = Script::registered(options());
    s.message(server::offer("A", "cam", "hall"));
    s.give(Input::Drain);
    assert_eq!(s.pass(Duration::from_millis(7500)), ["close", "finished"]);
}

#[test]
fn a_drain_declines_an_offer_that_is_still_being_asked() {
    let mut s = Script::registered(Options { ask: true, ..options() });
    s.message(server::offer("A", "cam", "hall"));
    assert_eq!(s.give(Input::Drain), ["send no A", "forget A", "send status 1.000 full draining", "close", "finished"]);
}

#[test]
fn a_drain_that_takes_too_long_ends_the_jobs_with_success() {
    let mut s = Script::running(drain_after(seconds(60)), "A");
    s.give(Input::Drain);
    assert_eq!(s.pass(seconds(60)), ["terminate A in 10 s: drain timeout"]);
    assert_eq!(
        s.job("A", exited(Exit::Code(0))),
        ["send job A success", "sign off A", "release A: success: drain timeout", "close", "finished"]
    );
}

#[test]
fn stop_ends_all_jobs_at_once_also_while_draining() {
    let mut s = Script::running(options(), "A");
    s.run_job("B");
    s.give(Input::Drain);
    assert_eq!(s.give(Input::Stop), ["terminate A in 10 s: worker stops", "terminate B in 10 s: worker stops"]);
    assert!(s.give(Input::Stop).is_empty());
    assert!(s.give(Input::Drain).is_empty());
    s.job("A", JobEvent::Ending(success("stop")));
    s.job("A", exited(Exit::Code(0)));
    let error = "did not end within 10s when asked to (worker stops)";
    assert_eq!(s.pass(seconds(10)), [format!("send job B failed: {error}"), "kill B".to_owned()]);
    let end = s.job("B", exited(Exit::Signal(9)));
    assert_eq!(end[end.len() - 2..], ["close", "finished"]);
}

#[test]
fn an_assignment_that_arrives_while_stopping_is_reported_failed() {
    let mut s = Script::running(options(), "A");
    s.message(server::offer("B", "cam", "hall"));
    s.give(Input::Stop);
    s.message(server::assignment("B"));
    assert_eq!(
        s.pass(FILING_TIME),
        ["send job B failed: assigned without a reservation: it came too late, or the worker is stopping"]
    );
}

#[test]
fn an_endless_drain_timeout_is_no_trap() {
    let mut s = Script::running(drain_after(Duration::MAX), "A");
    assert_eq!(s.give(Input::Drain), ["send status 1.000 full draining"]);
}

#[test]
fn a_job_that_an_operator_stops_ends_as_a_success_that_says_so_and_others_go_on() {
    let mut s = Script::running(options(), "A");
    s.run_job("B");
    assert_eq!(s.give(Input::End(id("A"))), ["terminate A in 10 s: stopped by an operator"]);
    assert!(s.give(Input::End(id("A"))).is_empty(), "it is ending already");
    assert_eq!(s.worker.job_state(&id("A")), Some(JobState::Ending));
    let told = s.job("A", JobEvent::Ending(success("stopped by an operator")));
    assert_eq!(told, ["send job A success: stopped by an operator", "ack A"]);
    s.job("A", exited(Exit::Code(0)));
    assert_eq!(s.worker.job_state(&id("A")), None);
    assert_eq!(s.worker.job_state(&id("B")), Some(JobState::Running));
}

#[test]
fn a_stopped_job_whose_hooks_fail_has_failed() {
    let mut s = Script::running(options(), "A");
    s.give(Input::End(id("A")));
    assert_eq!(s.job("A", JobEvent::Ending(failed("hook"))), ["send job A failed: hook", "ack A"]);
}

#[test]
fn a_stop_of_a_job_that_is_not_ours_does_nothing() {
    let mut s = Script::running(options(), "A");
    assert!(s.give(Input::End(id("B"))).is_empty());
}

#[test]
fn when_the_system_goes_down_a_drain_ends_and_no_job_has_more_than_the_limit() {
    let mut s = Script::running(options(), "A");
    s.run_job("B");
    s.message(server::termination("B"));
    s.give(Input::Drain);
    let said = s.give(Input::StopWithin(seconds(2)));
    assert_eq!(said, ["terminate B in 2 s: terminated by the server", "terminate A in 2 s: the system goes down"]);
    let killed = s.pass(seconds(2));
    assert!(killed.contains(&"kill A".to_owned()) && killed.contains(&"kill B".to_owned()), "{killed:?}");
}

#[test]
fn a_configuration_that_was_read_again_counts_for_jobs_from_then_on() {
    let mut s = Script::running(options(), "A");
    let restart = RestartPolicy::OnFailure;
    let tuning = Tuning {
        max_jobs: 3,
        limits: Allowance::default(),
        drain_timeout: seconds(1),
        timeouts: Timeouts { initialize: seconds(10), shutdown: seconds(5) },
        restart,
    };
    s.give(Input::Tune(tuning));
    s.run_job("B");
    assert_eq!(s.job("B", exited(Exit::Signal(9))).last().map(String::as_str), Some("restart B"));
    assert_eq!(s.job("A", exited(Exit::Signal(9)))[0], "send job A failed: killed by signal 9 (SIGKILL)");
    assert_eq!(s.message(server::termination("B")), ["terminate B in 5 s: terminated by the server"]);
}

/// For the rest of the two seconds the shell signs off those that were killed.
#[test]
fn when_the_system_goes_down_no_job_is_there_after_the_limit_whatever_it_did_before_and_does_then() {
    const LIMIT: Duration = Duration::from_millis(1400);
    let restarting = || Options { restart: RestartPolicy::OnFailure, ..options() };
    let inside = || Script::running(restarting(), "A");
    let assigned = || {
        let mut s = Script::registered(restarting());
        s.message(server::offer("A", "cam", "studio"));
        s.message(server::assignment("A"));
        s.pass(FILING_TIME);
        s
    };
    let after = |mut s: Script, events: &[JobEvent]| {
        events.iter().for_each(|event| drop(s.job("A", event.clone())));
        s
    };
    let terminated = || {
        let mut s = inside();
        s.message(server::termination("A"));
        s
    };
    let crash = || exited(Exit::Signal(11));
    let phases: [(&str, &dyn Fn() -> Script); 9] = [
        ("starting", &assigned),
        ("joining", &|| after(assigned(), &[JobEvent::Ready])),
        ("inside", &inside),
        ("rejoining", &|| after(inside(), &[JobEvent::Rejoining])),
        ("ending", &terminated),
        ("leaving", &|| after(inside(), &[JobEvent::Ending(success("done"))])),
        ("failing", &|| after(inside(), &[JobEvent::Failing("broke".into())])),
        ("started again", &|| after(inside(), &[crash()])),
        ("waiting", &|| after(inside(), &[crash(), crash()])),
    ];
    for (phase, reach) in phases {
        for says_so_late in [false, true] {
            let mut s = reach();
            let mut said = s.give(Input::StopWithin(LIMIT));
            said.extend(s.pass(LIMIT - Duration::from_millis(1)));
            if says_so_late {
                said.extend(s.job("A", JobEvent::Ending(success("late"))));
            }
            said.extend(s.pass(Duration::from_millis(1)));
            let killed = said.iter().any(|line| line == "kill A");
            assert!(killed || s.worker.job_state(&id("A")).is_none(), "{phase}: {said:?}");
            let end = [said, s.job("A", exited(Exit::Signal(9)))].concat();
            assert_eq!(end.last().map(String::as_str), Some("finished"), "{phase}: {end:?}");
        }
    }
}
