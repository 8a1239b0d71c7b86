//! Offers, answers, reservations, assignments, load.

use super::*;
use crate::worker::{Answer, JobInfo};
use livekit_protocol as proto;

fn asking() -> Options {
    Options { ask: true, ..options() }
}

fn offer(job: &str) -> Vec<u8> {
    server::offer(job, "cam", "hall")
}

fn yes() -> Answer {
    Answer::Accept(Accept::default())
}

#[test]
fn an_offer_is_accepted_at_once_and_its_assignment_starts_the_job() {
    let mut s = Script::registered(options());
    assert_eq!(s.message(offer("A")), ["send yes A as agent-A"]);
    assert_eq!(s.message(server::assignment("A")), ["start A as agent-A in hall"]);
    assert_eq!(s.job("A", JobEvent::Ready), ["send job A running"]);
}

#[test]
fn the_answer_names_who_joins_and_what_on_request_left_empty_comes_from_the_options() {
    let defaults = Accept { name: "Front door".to_owned(), identity: "door".to_owned(), ..Accept::default() };
    let mut s = Script::registered(Options { accept: defaults, ..asking() });
    assert_eq!(s.message(offer("A")), ["ask A"]);
    let own =
        Accept { identity: "mine".to_owned(), attributes: [("k".into(), "v".into())].into(), ..Accept::default() };
    s.worker.handle(Input::Answer(id("A"), Answer::Accept(own)), s.now);
    let Some(Action::Send(frame)) = s.worker.poll() else { panic!("no answer") };
    let proto::worker_message::Message::Availability(answer) = server::decode(&frame) else { panic!("no answer") };
    assert!(answer.available);
    assert_eq!((answer.participant_identity.as_str(), answer.participant_name.as_str()), ("mine", "Front door"));
    assert_eq!(answer.participant_attributes["k"], "v");
}

#[test]
fn the_job_gets_what_the_offer_and_the_assignment_said() {
    let mut s = Script::registered(options());
    s.message(server::offer_of(proto::Job {
        id: "A".to_owned(),
        r#type: proto::JobType::JtPublisher.into(),
        room: Some(proto::Room { sid: "RM_1".into(), name: "hall".into(), metadata: "m".into(), ..Default::default() }),
        participant: Some(proto::ParticipantInfo { identity: "ann".into(), ..Default::default() }),
        metadata: "for the job".to_owned(),
        attributes: [("k".to_owned(), "v".to_owned())].into(),
        dispatch_id: "AD_1".to_owned(),
        ..Default::default()
    }));
    s.worker.handle(Input::Message(server::assignment("A")), s.now);
    let Some(Action::Start(spec)) = s.worker.poll() else { panic!("not started") };
    let JobInfo { kind, room, participant, metadata, attributes, dispatch_id, .. } = spec.job;
    assert_eq!((kind, room.sid.as_str(), room.metadata.as_str()), (JobType::Publisher, "RM_1", "m"));
    assert_eq!(participant.map(|p| p.identity).as_deref(), Some("ann"));
    assert_eq!((metadata.as_str(), attributes["k"].as_str(), dispatch_id.as_str()), ("for the job", "v", "AD_1"));
    assert_eq!((spec.token.expose(), spec.url, spec.worker_id.as_str()), ("token of A", None, "AW_1"));
}

#[test]
fn an_offer_over_capacity_is_left_to_the_next_worker_and_full_is_reported_at_once() {
    let mut s = Script::registered(options());
    s.message(offer("A"));
    assert_eq!(s.message(offer("B")), ["send yes B as agent-B", "send status 1.000 full"]);
    assert_eq!(s.message(offer("C")), ["send no C"]);
}

#[test]
fn load_stays_under_the_servers_target_while_a_slot_is_free() {
    let load_at = |jobs: u32, target_load: f32| {
        let mut s = Script::registered(Options { max_jobs: 4, target_load, ..options() });
        (0..jobs).for_each(|n| drop(s.message(offer(&n.to_string()))));
        s.worker.snapshot().load
    };
    for (jobs, expected) in [(0, 0.0), (1, 0.1625), (3, 0.4875), (4, 1.0)] {
        assert!((load_at(jobs, 0.7) - expected).abs() < 1e-6, "{jobs} jobs: {}", load_at(jobs, 0.7));
    }
    assert!((load_at(2, 0.35) - 0.1625).abs() < 1e-6);
}

#[test]
fn an_accepted_offer_without_assignment_frees_its_slot_after_7500_ms() {
    let mut s = Script::registered(Options { max_jobs: 1, ..options() });
    s.message(offer("A"));
    s.pass(Duration::from_millis(7499));
    assert_eq!(s.message(offer("B")), ["send no B"]);
    s.pass(Duration::from_millis(1));
    assert_eq!(s.message(offer("B")), ["send yes B as agent-B", "send status 1.000 full"]);
}

#[test]
fn an_assignment_that_comes_too_late_is_reported_failed_and_starts_nothing() {
    let mut s = Script::registered(options());
    s.message(offer("A"));
    s.pass(seconds(8));
    assert!(s.message(server::assignment("A")).is_empty(), "the server has not filed it yet");
    assert!(s.message(server::assignment("A")).is_empty());
    assert_eq!(
        s.pass(FILING_TIME),
        ["send job A failed: assigned without a reservation: it came too late, or the worker is stopping"]
    );
    s.message(server::assignment("A"));
    assert!(s.pass(FILING_TIME).is_empty(), "reported twice");
}

#[test]
fn on_request_that_gives_no_answer_in_1500_ms_declines_for_this_worker_only() {
    let mut s = Script::registered(asking());
    assert_eq!(s.message(offer("A")), ["ask A"]);
    assert!(s.pass(Duration::from_millis(1499)).is_empty());
    assert_eq!(s.pass(Duration::from_millis(1)), ["send no A", "forget A"]);
    assert!(s.give(Input::Answer(id("A"), yes())).is_empty(), "a late answer is ignored");
}

#[test]
fn on_request_can_reject_for_this_worker_or_for_all() {
    let mut s = Script::registered(asking());
    let mut answer = |answer| {
        s.message(offer("A"));
        s.give(Input::Answer(id("A"), answer))
    };
    assert_eq!(answer(Answer::Reject { terminate: true }), ["send no A, nobody", "forget A"]);
    assert_eq!(answer(Answer::Reject { terminate: false }), ["send no A", "forget A"]);
    assert_eq!(answer(Answer::Silent), ["send no A", "forget A"]);
    assert_eq!(answer(yes()), ["send yes A as agent-A"]);
}

#[test]
fn a_repeated_offer_gets_the_same_answer_and_a_repeated_assignment_nothing() {
    let mut s = Script::registered(options());
    s.message(offer("A"));
    assert_eq!(s.message(offer("A")), ["send yes A as agent-A"]);
    s.message(server::assignment("A"));
    assert!(s.message(server::assignment("A")).is_empty());
    assert_eq!(s.message(offer("A")), ["send no A, nobody"], "it runs here already");
    s.job("A", exited(Exit::Code(1)));
    s.pass(FILING_TIME);
    assert!(s.message(server::assignment("A")).is_empty(), "it has ended");
}

#[test]
fn an_automatic_offer_for_a_room_we_are_in_ends_that_job_for_all() {
    let unnamed = Options { agent_name: String::new(), ..options() };
    let mut s = Script::registered(unnamed);
    s.message(server::offer("A", "", "hall"));
    s.message(server::assignment("A"));
    s.job("A", JobEvent::Ready);
    s.job("A", JobEvent::Joined);
    s.job("A", JobEvent::Rejoining);
    assert_eq!(s.message(server::offer("B", "", "hall")), ["send no B, nobody"]);
    assert_eq!(s.message(server::offer("C", "", "attic")), ["send yes C as agent-C", "send status 1.000 full"]);
}

#[test]
fn an_explicit_offer_for_a_room_we_are_in_is_taken() {
    let mut s = Script::running(options(), "A");
    assert_eq!(s.message(server::offer("B", "cam", "room of A")), ["send yes B as agent-B", "send status 1.000 full"]);
}

#[test]
fn an_offer_we_cannot_run_is_declined() {
    let mut s = Script::registered(options());
    let new_kind =
        proto::Job { id: "A".to_owned(), r#type: 9, room: Some(proto::Room::default()), ..Default::default() };
    assert_eq!(s.message(server::offer_of(new_kind)), ["send no A"]);
    let roomless = proto::Job { id: "B".to_owned(), ..Default::default() };
    assert_eq!(s.message(server::offer_of(roomless)), ["send no B"]);
}

#[test]
fn a_board_in_trouble_reports_full_at_once_and_recovers_at_once() {
    let mut s = Script::running(options(), "A");
    assert_eq!(s.give(health(false)), ["send status 1.000 full"]);
    assert_eq!(s.message(offer("B")), ["send no B"]);
    assert!(s.give(health(false)).is_empty());
    assert_eq!(s.give(health(true)), ["send status 0.325"]);
}
