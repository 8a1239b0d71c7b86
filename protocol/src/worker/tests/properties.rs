//! Random orders of events against the model, and random bytes.

use super::model::Model;
use super::*;
use crate::worker::Answer;
use proptest::prelude::*;

/// One thing that can happen. Jobs and rooms are few, so that collisions are many.
#[derive(Clone, Debug)]
enum Event {
    LinkUp,
    LinkDown(LinkError),
    Registered,
    /// The common case in one: registered, offered, assigned, in the room.
    Run(u8),
    Offer {
        job: u8,
        room: u8,
        automatic: bool,
    },
    Assignment(u8),
    Adopt(u8),
    Termination(u8),
    GoAway,
    Answer(u8, Answer),
    Job(u8, JobEvent),
    Health(bool),
    End(u8),
    Drain,
    Stop,
    StopWithin,
    Tune(u32),
    Pass {
        time: Duration,
        /// The server answers pings.
        alive: bool,
    },
}

fn link_error() -> impl Strategy<Value = LinkError> {
    prop_oneof![
        Just(LinkError::Broken("reset".to_owned())),
        Just(LinkError::Tls("expired".to_owned())),
        Just(LinkError::Credentials("no token".to_owned())),
        Just(LinkError::Clock("not set".to_owned())),
        Just(LinkError::Refused { status: 401, retry_after: None, clocks: None }),
        Just(LinkError::Refused { status: 503, retry_after: Some(seconds(7)), clocks: None }),
    ]
}

fn answer() -> impl Strategy<Value = Answer> {
    prop_oneof![
        3 => Just(Answer::Accept(Accept::default())),
        1 => any::<bool>().prop_map(|terminate| Answer::Reject { terminate }),
        1 => Just(Answer::Silent),
    ]
}

fn job_event() -> impl Strategy<Value = JobEvent> {
    prop_oneof![
        3 => Just(JobEvent::Ready),
        3 => Just(JobEvent::Joined),
        1 => Just(JobEvent::Rejoining),
        1 => Just(JobEvent::Rejoined),
        1 => Just(JobEvent::Ending(success("done"))),
        1 => Just(JobEvent::Ending(JobResult::Failed { error: "broken".to_owned() })),
        2 => Just(JobEvent::Failing("panic".to_owned())),
        1 => Just(exited(Exit::Code(0))),
        1 => Just(exited(Exit::Signal(9))),
        1 => Just(exited(Exit::NotStarted("no memory".to_owned()))),
    ]
}

fn event() -> impl Strategy<Value = Event> {
    let job = 0..5u8;
    prop_oneof![
        8 => Just(Event::LinkUp),
        2 => link_error().prop_map(Event::LinkDown),
        8 => Just(Event::Registered),
        12 => (job.clone(), 0..3u8, any::<bool>())
            .prop_map(|(job, room, automatic)| Event::Offer { job, room, automatic }),
        12 => job.clone().prop_map(Event::Assignment),
        3 => job.clone().prop_map(Event::Termination),
        2 => job.clone().prop_map(Event::Adopt),
        1 => Just(Event::GoAway),
        1 => (1..4u32).prop_map(Event::Tune),
        8 => (job.clone(), answer()).prop_map(|(job, answer)| Event::Answer(job, answer)),
        20 => (job.clone(), job_event()).prop_map(|(job, event)| Event::Job(job, event)),
        2 => job.prop_map(Event::End),
        2 => prop::bool::weighted(0.8).prop_map(Event::Health),
        8 => (prop_oneof![4 => 0..100u64, 6 => 500..12_000u64, 1 => 30_000..90_000u64], any::<bool>())
            .prop_map(|(ms, alive)| Event::Pass { time: Duration::from_millis(ms), alive }),
        20 => (0..5u8).prop_map(Event::Run),
    ]
}

fn happen(model: &mut Model, event: Event) {
    let name = |job: u8| format!("J{job}");
    match event {
        Event::LinkUp => model.link_up(),
        Event::LinkDown(error) => model.link_down(error),
        Event::Registered => model.register(),
        Event::Offer { job, room, automatic } => {
            let agent_name = if automatic { "" } else { "cam" };
            model.message(server::offer(&name(job), agent_name, &format!("R{room}")));
        }
        Event::Assignment(job) => model.assign(&name(job)),
        Event::Adopt(job) => model.adopt(&name(job)),
        Event::Termination(job) => model.message(server::termination(&name(job))),
        Event::GoAway => model.message(server::go_away()),
        Event::Answer(job, answer) => model.give(Input::Answer(id(&name(job)), answer)),
        Event::Job(job, event) => model.job(&name(job), event),
        Event::Health(takes_jobs) => model.give(health(takes_jobs)),
        Event::End(job) => model.give(Input::End(id(&name(job)))),
        Event::Drain => model.give(Input::Drain),
        Event::Stop => model.give(Input::Stop),
        Event::StopWithin => model.give(Input::StopWithin(seconds(2))),
        Event::Tune(max_jobs) => model.tune(max_jobs),
        Event::Pass { time, alive } => model.pass(time, alive),
        Event::Run(job) => run(model, job, &name(job)),
    }
}

fn run(model: &mut Model, job: u8, name: &str) {
    model.pass(seconds(1), true);
    model.link_up();
    model.register();
    model.message(server::offer(name, "cam", "hall"));
    happen(model, Event::Answer(job, Answer::Accept(Accept::default())));
    model.assign(name);
    model.job(name, JobEvent::Ready);
    model.job(name, JobEvent::Joined);
}

proptest! {
    /// The model's assertions hold, and a stop ends the worker even when nobody cooperates any more.
    #[test]
    fn whatever_happens_jobs_are_told_once_fit_their_slots_and_come_to_an_end(
        ask: bool,
        restart in prop_oneof![Just(RestartPolicy::Never), Just(RestartPolicy::OnFailure)],
        max_jobs in 1..4u32,
        before in prop::collection::vec(event(), 0..100),
        end in prop_oneof![Just(Event::Drain), Just(Event::Stop), Just(Event::StopWithin)],
        after in prop::collection::vec(event(), 0..30),
    ) {
        let mut model = Model::new(Options { ask, restart, max_jobs, drain_timeout: seconds(100), ..options() });
        for event in before.into_iter().chain([end]).chain(after) {
            happen(&mut model, event);
        }
        model.give(Input::Stop);
        model.pass(seconds(30), false);
        prop_assert!(model.finished, "10 s of grace and 15 s of kills have passed");
    }

    /// Thousands of jobs of a server that follows no rule, half of them while the link is away.
    #[test]
    fn no_table_grows_with_what_the_server_says(ask: bool, kinds in prop::collection::vec(0..6u8, 1..4)) {
        const TABLE_LIMIT: usize = 128;
        let mut script = Script::registered(Options { ask, ..options() });
        for number in 0..2000 {
            let name = format!("J{number}");
            for kind in &kinds {
                match kind {
                    0 => drop(script.message(server::offer(&name, "cam", "hall"))),
                    1 => drop(script.message(server::assignment(&name))),
                    2 => drop(script.message(server::termination(&name))),
                    3 => drop(script.give(Input::Answer(id(&name), Answer::Accept(Accept::default())))),
                    4 => drop(script.job(&name, exited(Exit::Signal(9)))),
                    _ => {
                        script.pass(seconds(8));
                        script.give(if number % 2 == 0 { broken() } else { Input::LinkUp });
                        script.message(server::registered("AW_1"));
                    }
                }
            }
            prop_assert!(script.worker.longest() <= TABLE_LIMIT, "{}", script.worker.longest());
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic_nor_start_a_job(frames in prop::collection::vec(any::<Vec<u8>>(), 0..20)) {
        let mut model = Model::new(options());
        model.link_up();
        model.register();
        frames.into_iter().for_each(|frame| model.message(frame));
    }

    #[test]
    fn damaged_messages_never_panic_nor_start_a_job(
        which in 0..5usize, cut in 0..64usize, at in 0..64usize, bits: u8,
    ) {
        let mut model = Model::new(options());
        model.link_up();
        model.register();
        let mut frame = match which {
            0 => server::offer("J1", "cam", "hall"),
            1 => server::termination("J1"),
            2 => server::registered("AW_2"),
            3 => server::go_away(),
            _ => server::pong(),
        };
        frame.truncate(frame.len().saturating_sub(cut % 8));
        if let Some(byte) = frame.get_mut(at) {
            *byte ^= bits;
        }
        model.message(frame);
    }
}
