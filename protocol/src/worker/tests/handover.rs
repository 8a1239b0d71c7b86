//! A program that takes another's place goes on as if nothing had happened, but for the link.

use super::*;

impl Script {
    /// The same worker in a new program, through the form that the two share.
    fn handed_over(self, options: Options) -> Self {
        let handover = self.worker.export(self.now).unwrap();
        let text = serde_json::to_string(&handover).unwrap();
        let read: Handover = serde_json::from_str(&text).unwrap();
        assert_eq!(read, handover);
        Self { worker: Worker::resume(options, read, self.now, 8), now: self.now }
    }

    fn busy(&self) -> String {
        self.worker.export(self.now).unwrap_err().to_string()
    }
}

fn restarting() -> Options {
    Options { restart: RestartPolicy::OnFailure, ..options() }
}

#[test]
fn a_job_in_its_room_goes_on_and_the_server_hears_of_it_after_the_registration() {
    let mut s = Script::running(options(), "A").handed_over(options());
    assert_eq!(s.said(), ["connect"]);
    assert_eq!(s.worker.job_state(&id("A")), Some(JobState::Running));
    assert_eq!(s.register(), ["send status 0.325", "send migrate A", "send job A running"]);
    assert_eq!(s.worker.snapshot().active_jobs, 1);
}

#[test]
fn a_job_that_was_handed_over_is_stopped_by_an_operator_and_its_end_is_told() {
    let mut s = Script::running(options(), "A").handed_over(options());
    s.register();
    assert_eq!(s.give(Input::End(id("A"))), ["terminate A in 10 s: stopped by an operator"]);
    let said = s.job("A", JobEvent::Ending(success("stopped by an operator")));
    assert_eq!(said, ["send job A success: stopped by an operator", "ack A"]);
}

#[test]
fn an_end_that_no_pong_has_confirmed_is_told_by_the_successor() {
    let mut s = Script::running(options(), "A");
    s.job("A", JobEvent::Ending(failed("no lens")));
    s.job("A", exited(Exit::Code(0)));
    let mut s = s.handed_over(options());
    assert!(s.register().iter().any(|line| line == "send job A failed: no lens"));
    s.message(server::assignment("A"));
    assert_eq!(s.worker.job_state(&id("A")), None, "it is not started twice");
}

#[test]
fn restarts_of_before_count_and_their_time_passes() {
    let killed = || exited(Exit::Signal(9));
    let mut s = Script::running(restarting(), "A");
    s.job("A", killed());
    for event in [JobEvent::Ready, JobEvent::Joined] {
        s.job("A", event);
    }
    s.job("A", killed());
    s.pass(seconds(1));
    let mut s = s.handed_over(restarting());
    s.said();
    assert_eq!(s.worker.job_state(&id("A")), Some(JobState::Restarting));
    assert_eq!(s.pass(Duration::from_millis(999)), [""; 0], "the wait of two seconds is not over");
    assert_eq!(s.pass(Duration::from_millis(1)), ["restart A"]);
    for event in [JobEvent::Ready, JobEvent::Joined] {
        s.job("A", event);
    }
    assert_eq!(s.job("A", killed())[0], "A failed, again in 10 s: killed by signal 9 (SIGKILL)");
}

#[test]
fn a_drain_goes_on_with_what_is_left_of_its_time() {
    let short = Options { drain_timeout: seconds(60), ..options() };
    let mut s = Script::running(short.clone(), "A");
    s.give(Input::Drain);
    s.pass(seconds(50));
    let mut s = s.handed_over(short);
    s.register();
    assert!(s.worker.snapshot().draining);
    assert_eq!(s.pass(seconds(9)), [""; 0]);
    assert_eq!(s.pass(seconds(1)), ["terminate A in 10 s: drain timeout"]);
}

#[test]
fn a_job_that_was_handed_over_may_still_take_its_time_to_start_again() {
    let timeouts = Timeouts { initialize: seconds(25), ..options().timeouts };
    let mut s = Script::running(Options { timeouts, ..restarting() }, "A").handed_over(restarting());
    s.register();
    s.job("A", exited(Exit::Signal(9)));
    assert!(s.pass_in_silence(Duration::from_millis(24_999)).iter().all(|line| line != "kill A"));
    assert!(s.pass(Duration::from_millis(1)).contains(&"kill A".to_owned()));
}

#[test]
fn a_rejoin_under_way_keeps_the_termination_that_it_caused_from_ending_the_job() {
    let mut s = Script::running(options(), "A");
    s.job("A", JobEvent::Rejoining);
    let mut s = s.handed_over(options());
    s.register();
    assert_eq!(s.message(server::termination("A")), [""; 0]);
    s.job("A", JobEvent::Rejoined);
    assert_eq!(s.pass(seconds(120)), [""; 0]);
    assert_eq!(s.worker.job_state(&id("A")), Some(JobState::Running));
}

#[test]
fn a_termination_just_after_a_rejoin_is_remembered() {
    let mut s = Script::running(options(), "A");
    s.job("A", JobEvent::Rejoining);
    s.job("A", JobEvent::Rejoined);
    s.message(server::termination("A"));
    let mut s = s.handed_over(options());
    assert!(!s.job("A", exited(Exit::Signal(9))).contains(&"sign off A".to_owned()));
}

#[test]
fn a_restarted_job_that_has_not_joined_keeps_its_deadline() {
    let mut s = Script::running(restarting(), "A");
    s.job("A", exited(Exit::Signal(9)));
    s.job("A", JobEvent::Ready);
    s.pass(seconds(20));
    let mut s = s.handed_over(restarting());
    s.register();
    assert!(s.pass(seconds(39)).iter().all(|line| line != "kill A"));
    assert!(s.pass(seconds(1)).contains(&"kill A".to_owned()));
}

#[test]
fn what_is_over_in_seconds_is_waited_for_by_name() {
    let mut s = Script::registered(options());
    s.message(server::offer("A", "cam", "room"));
    assert_eq!(s.busy(), "job A is being offered");
    s.message(server::assignment("A"));
    assert_eq!(s.busy(), "job A is starting");
    s.job("A", JobEvent::Ready);
    s.job("A", JobEvent::Joined);
    assert_eq!(s.busy(), "job A is starting", "the server has not filed it yet");
    s.pass(FILING_TIME);
    assert!(s.worker.export(s.now).is_ok());
    s.give(Input::End(id("A")));
    assert_eq!(s.busy(), "job A is ending");
    s.give(Input::Stop);
    assert_eq!(s.worker.export(s.now), Err(Busy::Stopping));
}

#[test]
fn times_that_no_worker_writes_are_cut_to_what_a_job_may_take() {
    let mut s = Script::running(options(), "A");
    s.job("A", JobEvent::Rejoining);
    let mut value = serde_json::to_value(s.worker.export(s.now).unwrap()).unwrap();
    let forever = serde_json::json!({"secs": u64::MAX, "nanos": 0});
    value["jobs"][0]["phase"]["Rejoining"]["left"] = forever.clone();
    value["jobs"][0]["grace"] = forever.clone();
    value["jobs"][0]["restarts"] = serde_json::json!([forever]);
    value["draining"] = forever;
    let mut s =
        Script { worker: Worker::resume(options(), serde_json::from_value(value).unwrap(), s.now, 8), now: s.now };
    s.give(Input::End(id("A")));
    assert_eq!(s.worker.job_state(&id("A")), Some(JobState::Ending));
}
