//! What a job may use, and whether there is room for it.

use super::*;
use crate::worker::Limits;
use livekit_protocol as proto;

const MIB: u64 = 1 << 20;

/// Four slots of 64 MiB, up to 128 by request.
fn limited() -> Options {
    let limits = |mib: u64| Limits { memory: Some(mib * MIB), pids: Some(32), cpu_percent: None };
    Options { max_jobs: 4, limits: Allowance { default: limits(64), ceiling: limits(128) }, ..options() }
}

fn offer(job: &str, metadata: &str) -> Vec<u8> {
    server::offer_of(proto::Job {
        id: job.to_owned(),
        agent_name: "cam".to_owned(),
        room: Some(proto::Room { name: format!("room of {job}"), ..Default::default() }),
        metadata: metadata.to_owned(),
        ..Default::default()
    })
}

fn memory_for_jobs(mib: u64) -> Input {
    Input::Health(Health { memory_for_jobs: Some(mib * MIB), ..Health::default() })
}

#[test]
fn a_job_gets_the_limits_that_its_dispatch_asks_for_and_by_default_those_of_the_worker() {
    for (metadata, mib) in [("{\"limits\": {\"memory_mib\": 100}}", 100), ("{\"camera\": \"door\"}", 64), ("plain", 64)]
    {
        let mut s = Script::registered(limited());
        assert_eq!(s.message(offer("A", metadata)), ["send yes A as agent-A"]);
        s.worker.handle(Input::Message(server::assignment("A")), s.now);
        let Some(Action::Start(spec)) = s.worker.poll() else { panic!("not started") };
        assert_eq!(spec.limits, Limits { memory: Some(mib * MIB), pids: Some(32), cpu_percent: None });
    }
}

#[test]
fn an_offer_that_asks_for_more_than_the_ceiling_is_left_to_a_worker_that_allows_it() {
    let mut s = Script::registered(limited());
    assert_eq!(s.message(offer("A", "{\"limits\": {\"memory_mib\": 129}}")), ["send no A"]);
}

#[test]
fn a_dispatch_that_asks_for_nonsense_is_told_so_by_a_failed_job_that_never_ran() {
    let mut s = Script::registered(limited());
    assert_eq!(s.message(offer("A", "{\"limits\": {\"memory_mib\": \"lots\"}}")), ["send yes A as agent-A"]);
    assert_eq!(s.message(server::assignment("A")), Vec::<String>::new());
    let said = s.pass(FILING_TIME);
    assert!(
        said[0].starts_with("send job A failed: limits in the dispatch metadata: ") && said[0].contains("lots"),
        "{said:?}"
    );
    assert_eq!((said.len(), s.worker.snapshot().active_jobs), (1, 0));
}

#[test]
fn no_job_is_taken_whose_memory_is_not_there_and_a_smaller_one_is_as_long_as_the_worker_is_not_full() {
    let mut s = Script::registered(limited());
    s.give(memory_for_jobs(150));
    let asks = |job: &str, mib: u64| offer(job, &format!("{{\"limits\": {{\"memory_mib\": {mib}}}}}"));
    assert_eq!(s.message(offer("A", "")), ["send yes A as agent-A"]);
    assert_eq!(s.message(asks("B", 87)), ["send no B"]);
    assert_eq!(s.message(asks("C", 22)), ["send yes C as agent-C"]);
    assert_eq!(s.message(offer("D", "")), ["send yes D as agent-D", "send status 1.000 full"]);
    assert_eq!(s.message(asks("E", 16)), ["send no E"]);
    // What a job holds was counted as available to it before, so that its start changes nothing.
    s.message(server::assignment("A"));
    assert_eq!(s.give(memory_for_jobs(214)), ["send status 0.487"]);
}

#[test]
fn a_job_without_a_limit_is_planned_with_what_jobs_take() {
    let mut s = Script::registered(options());
    assert_eq!(s.give(memory_for_jobs(15)), ["send status 1.000 full"]);
    assert_eq!(s.give(memory_for_jobs(16)), ["send status 0.000"]);
}

#[test]
fn a_board_that_works_hard_reports_more_load_and_still_less_than_the_servers_target() {
    let mut s = Script::registered(limited());
    let load = |s: &mut Script, strain: f32| {
        s.give(Input::Health(Health { strain, ..Health::default() }));
        s.worker.snapshot().load
    };
    assert!((load(&mut s, 0.5) - 0.325).abs() < 1e-6);
    assert!((load(&mut s, 7.0) - 0.65).abs() < 1e-6);
    assert_eq!(load(&mut s, f32::NAN), 0.0);
    s.message(offer("A", ""));
    assert!((load(&mut s, 0.1) - 0.1625).abs() < 1e-6, "slots count where they say more");
}
