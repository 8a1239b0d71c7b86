//! The worker machine: damaged server messages between honest ones.

use crate::mutate::{Random, damage};
use livekit_protocol as lk;
use lk::server_message::Message;
use prost::Message as _;
use protocol::worker::{
    Accept, Action, Allowance, Input, JobEvent, JobType, LinkError, Options, Permissions, RestartPolicy, Timeouts,
    Worker,
};
use std::time::{Duration, Instant};

/// Inputs that one machine gets before a new one takes over.
const LIFE: u64 = 200;

/// Actions of one turn: what a full table of jobs can ask for, many times over.
const MAX_ACTIONS: usize = 1000;

#[test]
fn damaged_server_messages_neither_stop_nor_block_the_worker() {
    let mut random = crate::random("worker messages");
    let seeds = seeds();
    let mut now = Instant::now();
    let mut worker = worker(now);
    for turn in 0..crate::count() {
        if turn % LIFE == 0 {
            worker = self::worker(now);
        }
        now += Duration::from_millis(random.below(3000) as u64);
        let input = input(&seeds, &mut random);
        worker.handle(input, now);
        drain(&mut worker, now, &mut random);
        worker.handle(Input::Time, now);
        drain(&mut worker, now, &mut random);
        if let Some((deadline, reason)) = worker.deadline() {
            assert!(deadline > now, "{reason:?} is due again after its time was told");
        }
    }
}

fn input(seeds: &[Vec<u8>], random: &mut Random) -> Input {
    match random.below(12) {
        0 => Input::LinkUp,
        1 => Input::LinkDown(LinkError::Broken("reset".into())),
        2 => Input::Message(random.pick(seeds).clone()),
        _ => {
            let mut message = random.pick(seeds).clone();
            damage(&mut message, random);
            Input::Message(message)
        }
    }
}

/// Plays an honest shell.
fn drain(worker: &mut Worker, now: Instant, random: &mut Random) {
    let mut actions = 0;
    while let Some(action) = worker.poll() {
        actions += 1;
        assert!(actions < MAX_ACTIONS, "the machine never comes to rest");
        match action {
            Action::Connect => worker.handle(Input::LinkUp, now),
            Action::Start(spec) => {
                let job = spec.job.id.clone();
                worker.handle(Input::Job(job.clone(), JobEvent::Ready), now);
                if random.below(2) == 0 {
                    worker.handle(Input::Job(job, JobEvent::Joined), now);
                }
            }
            Action::Terminate { job, .. } | Action::Kill(job) => {
                worker.handle(Input::Job(job, JobEvent::Exited(protocol::worker::Exit::Code(0))), now);
            }
            _ => {}
        }
    }
}

fn worker(now: Instant) -> Worker {
    let options = Options {
        agent_name: String::new(),
        deployment: String::new(),
        job_type: JobType::Room,
        permissions: Permissions::default(),
        version: "fuzz".into(),
        max_jobs: 3,
        limits: Allowance::default(),
        target_load: 0.7,
        drain_timeout: Duration::from_secs(60),
        timeouts: Timeouts { initialize: Duration::from_secs(10), shutdown: Duration::from_secs(10) },
        restart: RestartPolicy::OnFailure,
        ask: false,
        accept: Accept::default(),
    };
    Worker::new(options, now, 1)
}

fn seeds() -> Vec<Vec<u8>> {
    let job = lk::Job {
        id: "AJ_fuzz".into(),
        dispatch_id: "AD_fuzz".into(),
        room: Some(lk::Room { sid: "RM_1".into(), name: "room".into(), ..Default::default() }),
        participant: Some(lk::ParticipantInfo { sid: "PA_1".into(), identity: "anna".into(), ..Default::default() }),
        metadata: "{}".into(),
        ..Default::default()
    };
    let messages = [
        Message::Register(lk::RegisterWorkerResponse { worker_id: "AW_1".into(), ..Default::default() }),
        Message::Availability(lk::AvailabilityRequest { job: Some(job.clone()), resuming: false }),
        Message::Assignment(lk::JobAssignment { job: Some(job), url: None, token: "a.b.c".into() }),
        Message::Pong(lk::WorkerPong { last_timestamp: 1, timestamp: 2 }),
        Message::Termination(lk::JobTermination { job_id: "AJ_fuzz".into() }),
        Message::GoAway(lk::agent_http::GoAway::default()),
    ];
    messages.map(|message| lk::ServerMessage { message: Some(message) }.encode_to_vec()).to_vec()
}
