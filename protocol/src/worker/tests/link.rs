//! Registration, reconnection, half-open links, bad frames.

use super::*;
use crate::clock::Clocks;
use crate::room::Source;
use crate::worker::Counters;
use livekit_protocol as proto;

/// The wait after a loss, which the machine draws at random between half and all of the step.
fn delay_after(s: &mut Script, error: LinkError) -> f64 {
    s.give(Input::LinkDown(error));
    let (ms, reason) = s.next().expect("retries for ever");
    assert_eq!(reason, Reason::Reconnect);
    s.pass(Duration::from_millis(ms as u64 + 1));
    ms as f64 / 1000.0
}

fn refused(status: u16) -> LinkError {
    LinkError::Refused { status, retry_after: None, clocks: None }
}

#[test]
fn a_new_worker_connects_registers_and_reports_its_load_at_once() {
    let mut s = Script::new(options());
    assert_eq!(s.said(), ["connect"]);
    assert_eq!(s.give(Input::LinkUp), ["send register cam"]);
    assert_eq!(s.message(server::registered("AW_1")), ["send status 0.000"]);
    let snapshot = s.worker.snapshot();
    assert!(snapshot.registered && snapshot.problem.is_empty());
    assert_eq!(snapshot.worker_id, "AW_1");
}

#[test]
fn the_registration_says_everything_that_was_configured() {
    let sources = vec![Source::Camera, Source::ScreenShare];
    let permissions = Permissions { publish_data: false, hidden: true, sources, ..Permissions::default() };
    let job_type = JobType::Participant;
    let mut s = Script::new(Options { permissions, job_type, deployment: "blue".to_owned(), ..options() });
    s.said();
    s.worker.handle(Input::LinkUp, s.now);
    let Some(Action::Send(frame)) = s.worker.poll() else { panic!("nothing sent") };
    let proto::worker_message::Message::Register(register) = server::decode(&frame) else { panic!("no register") };
    assert_eq!(register.r#type(), proto::JobType::JtParticipant);
    assert_eq!((register.deployment.as_str(), register.version.as_str()), ("blue", "0.1.0"));
    let asked = register.allowed_permissions.expect("permissions");
    assert!(asked.can_publish && asked.can_subscribe && asked.can_update_metadata && asked.hidden);
    assert!(!asked.can_publish_data);
    assert_eq!(asked.can_publish_sources, [proto::TrackSource::Camera as i32, proto::TrackSource::ScreenShare as i32]);
}

#[test]
fn status_goes_out_every_2500_ms_and_a_ping_every_10_s() {
    let mut s = Script::registered(options());
    let said = s.pass_in_silence(seconds(10));
    assert_eq!(said.iter().filter(|line| *line == "send status 0.000").count(), 4);
    assert_eq!(said.iter().filter(|line| *line == "send ping").count(), 1);
}

#[test]
fn delays_grow_to_30_s_and_start_again_only_after_a_registration() {
    let mut s = Script::new(options());
    s.said();
    for full in [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0] {
        s.give(Input::LinkUp);
        let delay = delay_after(&mut s, LinkError::Broken("closed".to_owned()));
        assert!((full / 2.0..=full).contains(&delay), "{delay} s, expected up to {full} s");
    }
    s.register();
    assert!(delay_after(&mut s, LinkError::Broken("closed".to_owned())) <= 0.5);
}

#[test]
fn refused_credentials_are_retried_every_30_s_and_explained() {
    let mut s = Script::new(options());
    s.said();
    assert_eq!(delay_after(&mut s, refused(401)), 30.0);
    assert_eq!(delay_after(&mut s, refused(403)), 30.0);
    assert!(s.worker.snapshot().problem.contains("wrong API key or secret"), "{}", s.worker.snapshot().problem);
    assert_eq!(delay_after(&mut s, LinkError::Credentials("/run/token: expired 3 s ago".to_owned())), 30.0);
    assert_eq!(s.worker.snapshot().problem, "/run/token: expired 3 s ago");
    assert_eq!(delay_after(&mut s, LinkError::Tls("not valid yet".to_owned())), 5.0);
    assert_eq!(s.worker.snapshot().problem, "not valid yet");
}

#[test]
fn a_clock_that_is_not_set_is_tried_again_soon_however_long_there_was_no_way_out() {
    let mut s = Script::new(options());
    s.said();
    for _ in 0..8 {
        delay_after(&mut s, LinkError::Broken("no route".to_owned()));
    }
    assert_eq!(delay_after(&mut s, LinkError::Clock("it is not set".to_owned())), 5.0);
    assert_eq!(s.worker.snapshot().problem, "it is not set");
}

#[test]
fn credentials_refused_to_a_board_whose_clock_is_off_are_explained_by_it_and_tried_again_when_it_may_be_set() {
    let mut s = Script::new(options());
    s.said();
    let server = "Wed, 25 Nov 2026 16:23:03 GMT";
    let refused = |board| {
        let clocks = Clocks::at(Duration::from_secs(board), server);
        LinkError::Refused { status: 401, retry_after: None, clocks }
    };
    assert_eq!(delay_after(&mut s, refused(1_700_000_000)), 5.0);
    let problem = s.worker.snapshot().problem;
    assert!(problem.contains("this board's clock is 3 years behind the server's (2026-11-25"), "{problem}");
    assert_eq!(delay_after(&mut s, refused(1_795_623_783)), 30.0);
    assert!(!s.worker.snapshot().problem.contains("behind"), "{}", s.worker.snapshot().problem);
}

#[test]
fn a_server_that_was_never_reached_is_not_called_a_lost_connection() {
    let mut s = Script::new(options());
    s.said();
    s.give(broken());
    let remedy = "is this board in a network, is the URL right, and does the server run?";
    assert_eq!(s.worker.snapshot().problem, format!("cannot connect: reset; {remedy}"));
    s.pass(seconds(1));
    s.register();
    s.give(broken());
    assert_eq!(s.worker.snapshot().problem, "connection lost: reset");
}

#[test]
fn what_answers_in_the_servers_name_may_be_a_network_that_wants_a_login() {
    let mut s = Script::new(options());
    s.said();
    // 511 is RFC 6585's own word for it.
    for (status, remedy) in
        [(302, "configure the URL it leads to"), (200, "correct the URL"), (511, "let this board in")]
    {
        delay_after(&mut s, refused(status));
        let problem = s.worker.snapshot().problem;
        assert!(problem.contains(remedy) && problem.contains("wants a login"), "{problem}");
    }
}

#[test]
fn retry_after_is_honoured_up_to_five_minutes() {
    let mut s = Script::new(options());
    s.said();
    let wait = |seconds| Some(Duration::from_secs(seconds));
    let busy = |seconds| LinkError::Refused { status: 503, retry_after: wait(seconds), clocks: None };
    assert_eq!(delay_after(&mut s, busy(42)), 42.0);
    assert_eq!(delay_after(&mut s, busy(86_400)), 300.0);
    assert!(delay_after(&mut s, busy(0)) <= 2.0);
}

#[test]
fn a_server_that_does_not_answer_the_registration_is_left_after_10_s() {
    let mut s = Script::new(options());
    s.said();
    s.give(Input::LinkUp);
    assert_eq!(s.next(), Some((10_000, Reason::RegisterTimeout)));
    assert_eq!(s.pass(seconds(10)), ["close"]);
    assert_eq!(s.pass(seconds(1)), ["connect"]);
}

#[test]
fn a_half_open_link_is_closed_after_35_s_of_silence_and_opened_again() {
    let mut s = Script::registered(options());
    let said = s.pass_in_silence(Duration::from_millis(34_999));
    assert!(!said.contains(&"close".to_owned()));
    assert_eq!(s.pass_in_silence(Duration::from_millis(1)).last().map(String::as_str), Some("close"));
    assert_eq!(s.worker.snapshot().problem, "connection lost: the server was silent for 35 s");
    assert!(s.give(broken()).is_empty(), "the loss is accounted for already");
    assert_eq!(s.pass(seconds(1)), ["connect"]);
}

#[test]
fn a_server_that_answers_pings_is_never_left() {
    let mut s = Script::registered(options());
    assert!(s.pass(seconds(3600)).is_empty());
}

#[test]
fn jobs_stay_over_a_reconnect_and_are_migrated() {
    let mut s = Script::running(options(), "A");
    assert!(s.give(broken()).is_empty());
    assert_eq!(s.pass(seconds(1)), ["connect"]);
    assert_eq!(s.register(), ["send status 0.325", "send migrate A", "send job A running"]);
}

#[test]
fn a_job_whose_end_was_told_is_not_migrated() {
    let mut s = Script::running(options(), "A");
    s.run_job("B");
    s.job("A", JobEvent::Ending(success("done")));
    s.pass(seconds(10));
    s.give(broken());
    s.pass(seconds(1));
    assert_eq!(s.register(), ["send status 1.000 full", "send migrate B"]);
}

#[test]
fn status_numbers_grow_and_start_again_with_each_registration() {
    let mut s = Script::registered(options());
    let numbers = |s: &mut Script, input| {
        s.worker.handle(input, s.now);
        let sent = std::iter::from_fn(|| s.worker.poll());
        let numbers = sent.filter_map(|action| match action {
            Action::Send(frame) => match server::decode(&frame) {
                proto::worker_message::Message::UpdateWorker(status) => Some(status.seq),
                _ => None,
            },
            _ => None,
        });
        numbers.collect::<Vec<_>>()
    };
    assert_eq!(numbers(&mut s, health(false)), [2]);
    assert_eq!(numbers(&mut s, health(true)), [3]);
    s.give(broken());
    s.pass(seconds(1));
    s.give(Input::LinkUp);
    assert_eq!(numbers(&mut s, Input::Message(server::registered("AW_2"))), [1]);
}

#[test]
fn a_worker_that_comes_back_full_says_so_before_anything_else() {
    let mut s = Script::running(Options { max_jobs: 1, ..options() }, "A");
    s.pass(seconds(10));
    s.give(broken());
    s.pass(seconds(1));
    assert_eq!(s.register(), ["send status 1.000 full", "send migrate A"]);
}

#[test]
fn a_terminal_status_without_a_link_is_sent_after_the_next_registration_and_lets_the_job_go_meanwhile() {
    let mut s = Script::running(options(), "A");
    s.give(broken());
    assert_eq!(s.job("A", JobEvent::Ending(success("done"))), ["ack A"]);
    assert_eq!(s.job("A", exited(Exit::Code(0))), ["release A: success: done"]);
    s.pass(seconds(1));
    assert_eq!(s.register(), ["send status 0.000", "send job A success"]);
}

#[test]
fn an_end_that_was_written_to_a_dying_socket_is_told_again_after_each_registration_until_a_pong_confirms_it() {
    let mut s = Script::running(options(), "A");
    assert_eq!(s.job("A", JobEvent::Ending(failed("lens"))), ["send job A failed: lens", "ack A"]);
    s.job("A", exited(Exit::Code(1)));
    for _ in 0..2 {
        s.give(broken());
        s.pass(seconds(1));
        assert_eq!(s.register(), ["send status 0.000", "send job A failed: lens"]);
    }
    assert!(s.pass(seconds(10)).is_empty(), "once on one connection");
    s.give(broken());
    s.pass(seconds(1));
    assert_eq!(s.register(), ["send status 0.000"]);
}

#[test]
fn an_earlier_end_of_a_job_that_was_assigned_again_is_not_told_again() {
    let mut s = Script::running(options(), "A");
    s.job("A", exited(Exit::Signal(9)));
    s.run_job("A");
    s.give(broken());
    s.pass(seconds(1));
    assert_eq!(s.register(), ["send status 0.325", "send migrate A", "send job A running"]);
}

#[test]
fn a_pong_confirms_nothing_that_was_sent_after_its_ping() {
    let mut s = Script::running(options(), "A");
    let pings = |s: &mut Script| s.pass_in_silence(seconds(10)).iter().filter(|line| *line == "send ping").count();
    assert_eq!(pings(&mut s), 1);
    s.job("A", exited(Exit::Signal(9)));
    s.message(server::pong());
    s.message(server::pong());
    s.give(broken());
    s.pass(seconds(1));
    let killed = "send job A failed: killed by signal 9 (SIGKILL)";
    assert_eq!(s.register(), ["send status 0.000", killed]);
}

#[test]
fn a_job_that_was_ready_while_there_was_no_link_is_told_running_after_the_next_registration() {
    let mut s = Script::registered(options());
    s.message(server::offer("A", "cam", "hall"));
    s.message(server::assignment("A"));
    s.give(broken());
    assert!(s.job("A", JobEvent::Ready).is_empty());
    s.pass(seconds(1));
    assert_eq!(s.register(), ["send status 0.325", "send migrate A", "send job A running"]);
    s.pass(seconds(10));
    s.give(broken());
    s.pass(seconds(1));
    assert_eq!(s.register(), ["send status 0.325", "send migrate A"], "the pong has confirmed it");
}

#[test]
fn what_is_kept_for_the_next_registration_is_bounded() {
    let mut s = Script::registered(Options { max_jobs: 200, ..options() });
    (0..130).for_each(|n| s.run_job(&n.to_string()));
    s.give(broken());
    (0..130).for_each(|n| drop(s.job(&n.to_string(), exited(Exit::Code(1)))));
    s.pass(seconds(1));
    let said = s.register();
    assert_eq!(said.iter().filter(|line| line.contains("failed")).count(), 128);
    assert_eq!(s.worker.counters().statuses_lost, 2);
}

#[test]
fn go_away_registers_elsewhere_and_keeps_the_jobs() {
    let mut s = Script::running(options(), "A");
    s.pass(seconds(10));
    assert_eq!(s.message(server::go_away()), ["close"]);
    assert_eq!(s.pass(seconds(1)), ["connect"]);
    assert_eq!(s.register(), ["send status 0.325", "send migrate A"]);
}

#[test]
fn offers_do_not_outlive_the_link_they_came_by() {
    let mut s = Script::registered(Options { ask: true, ..options() });
    s.message(server::offer("A", "cam", "hall"));
    assert_eq!(s.give(broken()), ["forget A"]);
    s.pass(seconds(1));
    assert_eq!(s.register(), ["send status 0.000"]);
}

#[test]
fn what_cannot_be_read_or_is_not_known_is_ignored_and_counted() {
    let mut s = Script::running(options(), "A");
    assert!(s.message(b"\xff\xff\xff".to_vec()).is_empty());
    assert!(s.message(server::offer("", "cam", "hall")).is_empty());
    assert!(s.message(server::unknown()).is_empty());
    assert!(s.message(vec![]).is_empty());
    assert!(s.message(server::registered("AW_2")).is_empty());
    assert_eq!(s.worker.counters(), Counters { malformed: 2, ignored: 3, statuses_lost: 0 });
    assert_eq!(s.worker.snapshot().worker_id, "AW_1");
}

#[test]
fn before_the_registration_nothing_but_its_answer_counts() {
    let mut s = Script::new(options());
    s.said();
    s.give(Input::LinkUp);
    assert!(s.message(server::offer("A", "cam", "hall")).is_empty());
    assert!(s.message(server::assignment("A")).is_empty());
    assert_eq!(s.message(server::registered("AW_1")), ["send status 0.000"]);
}
