//! The broker's tables, whatever comes in whatever order.

use super::*;
use proptest::prelude::*;
use protocol::secret::Secret;
use protocol::worker::{Accept, Exit, JobInfo, JobSpec, JobType, RoomInfo};
use std::collections::BTreeSet;

const DEVICES: [&str; 2] = ["camera", "microphone"];
const JOBS: usize = 3;

#[derive(Clone, Debug)]
enum Step {
    /// A job starts, in the place of the one before.
    Job(usize),
    JobEnds(usize),
    Opens(usize, usize),
    /// The owner has closed its socket, and its end is still to be seen.
    OwnerGoes(usize),
    OwnerEnds(usize),
    Passes(Duration),
    /// The loop turns for its deadline, which need not be the first thing that it does after it.
    Deadline,
}

fn step() -> impl Strategy<Value = Step> {
    let (job, device) = (0..JOBS, 0..DEVICES.len());
    prop_oneof![
        2 => job.clone().prop_map(Step::Job),
        2 => job.clone().prop_map(Step::JobEnds),
        6 => (job, device.clone()).prop_map(|(job, device)| Step::Opens(job, device)),
        1 => device.clone().prop_map(Step::OwnerGoes),
        3 => device.prop_map(Step::OwnerEnds),
        3 => Just(Step::Deadline),
        3 => prop_oneof![0..300u64, 300..40_000u64].prop_map(|ms| Step::Passes(Duration::from_millis(ms))),
    ]
}

/// A supervisor, its jobs, and what they wait for.
struct Broker {
    supervisor: Supervisor,
    now: Instant,
    jobs: [Option<Reader>; JOBS],
    /// Ends of owners, by device.
    deaths: [u32; DEVICES.len()],
    /// Owners that have closed their sockets.
    going: [bool; DEVICES.len()],
    started: u32,
}

struct Reader {
    id: ProcessId,
    job: Job,
    /// Asked and not answered.
    asked: BTreeSet<&'static str>,
}

impl Broker {
    fn new() -> Self {
        let config = config("ws://127.0.0.1:1");
        let now = Instant::now();
        let worker = Worker::new(super::super::super::options(&config, MODE), now, 1);
        let brain = Brain::Worker(Box::new(worker));
        let (events, _) = mpsc::channel(1);
        let mut supervisor = Supervisor::new(config, MODE, brain, None, events, 1).expect("a valid setup");
        assert!(DEVICES.iter().all(|name| supervisor.owners.table.contains_key(*name)));
        supervisor.owners.table.retain(|name, _| DEVICES.contains(&&**name));
        Self {
            supervisor,
            now,
            jobs: [const { None }; JOBS],
            deaths: [0; DEVICES.len()],
            going: [false; DEVICES.len()],
            started: 0,
        }
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Job(place) => {
                self.end_job(place);
                self.start_job(place);
            }
            Step::JobEnds(place) => self.end_job(place),
            Step::Opens(place, device) => self.open(place, DEVICES[device]),
            Step::OwnerGoes(device) => {
                if let Some(owner) = &mut self.owner(device).process {
                    owner.hang_up();
                    self.going[device] = true;
                }
            }
            Step::OwnerEnds(device) => self.end_owner(device),
            Step::Passes(time) => self.now += time,
            Step::Deadline => {
                if self.supervisor.owners.deadline().is_some_and(|at| at <= self.now) {
                    self.supervisor.serve_waiting(self.now);
                }
            }
        }
        self.hear();
        self.check();
    }

    /// Everybody who asked and got no answer.
    fn unserved(&self) -> Vec<&BTreeSet<&'static str>> {
        self.jobs.iter().flatten().map(|reader| &reader.asked).filter(|asked| !asked.is_empty()).collect()
    }

    fn start_job(&mut self, place: usize) {
        self.started += 1;
        let Supervisor { jobs, spawner, .. } = &mut self.supervisor;
        jobs.start(spec(&format!("AJ_{}", self.started)), spawner, self.now).expect("a process");
        let (&id, process) = jobs.processes.iter_mut().last().expect("just started");
        let (socket, alive) = process.process.play();
        let job = Job { link: control::Link::new(socket).expect("a runtime"), spec: None, _alive: alive };
        self.jobs[place] = Some(Reader { id, job, asked: BTreeSet::new() });
    }

    fn end_job(&mut self, place: usize) {
        if let Some(reader) = self.jobs[place].take() {
            self.supervisor.job_happened(reader.id, Happened::Ended(Exit::Code(0)));
        }
    }

    fn open(&mut self, place: usize, device: &'static str) {
        if let Some(reader) = &mut self.jobs[place] {
            reader.asked.insert(device);
            self.supervisor.open_source(reader.id, device.to_owned(), self.now);
        }
    }

    fn end_owner(&mut self, device: usize) {
        if self.owner(device).process.is_some() {
            self.deaths[device] += 1;
            self.going[device] = false;
            self.supervisor.owner_happened(DEVICES[device], Happened::Ended(Exit::Signal(9)), self.now);
        }
    }

    fn owner(&mut self, device: usize) -> &mut super::super::super::owners::Owner {
        self.supervisor.owners.table.get_mut(DEVICES[device]).expect("configured")
    }

    /// What the jobs have been answered.
    fn hear(&mut self) {
        for reader in self.jobs.iter_mut().flatten() {
            for message in reader.job.told() {
                match message {
                    ToJob::SourceFd { name } => assert!(reader.asked.remove(&*name), "{name} was given unasked"),
                    other => panic!("{other:?}"),
                }
            }
        }
    }

    fn check(&self) {
        let living: BTreeSet<_> = self.jobs.iter().flatten().map(|reader| reader.id).collect();
        for (device, deaths) in DEVICES.iter().zip(self.deaths) {
            let owner = &self.supervisor.owners.table[*device];
            let waiting = &owner.waiting;
            assert!(waiting.is_subset(&living), "{device}: {waiting:?} of {living:?} wait");
            let lives = u32::from(owner.process.is_some());
            assert_eq!(owner.starts, deaths + lives, "{device}: a second process");
            for reader in self.jobs.iter().flatten() {
                assert_eq!(reader.asked.contains(device), waiting.contains(&reader.id), "{device}: forgotten or kept");
            }
        }
    }
}

fn spec(job: &str) -> JobSpec {
    let job = JobInfo {
        id: JobId(job.into()),
        kind: JobType::Room,
        room: RoomInfo { name: "studio".into(), ..RoomInfo::default() },
        participant: None,
        metadata: String::new(),
        attributes: Default::default(),
        agent_name: String::new(),
        dispatch_id: String::new(),
        deployment: String::new(),
    };
    JobSpec {
        job,
        accept: Accept::default(),
        url: None,
        token: Secret::new("t"),
        worker_id: String::new(),
        limits: Default::default(),
    }
}

#[tokio::test]
async fn those_who_wait_for_an_owner_are_served_when_another_reader_has_brought_it_back() {
    let mut broker = Broker::new();
    let before = [Step::Job(0), Step::Job(1), Step::Opens(0, 0), Step::OwnerEnds(0), Step::Opens(0, 0)];
    before.into_iter().for_each(|step| broker.take(step));
    assert_eq!(broker.unserved().len(), 1);
    broker.take(Step::Passes(Duration::from_secs(31)));
    broker.take(Step::Opens(1, 0));
    broker.take(Step::Deadline);
    assert!(broker.unserved().is_empty(), "still without {:?}", broker.unserved());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    /// The broker starts real processes, which the test ends as it likes.
    #[test]
    fn every_reader_is_served_or_waits_while_its_job_lives_and_a_device_has_one_process(
        steps in prop::collection::vec(step(), 0..60),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let mut broker = Broker::new();
            steps.into_iter().for_each(|step| broker.take(step));
            let going = broker.going;
            (0..DEVICES.len()).filter(|device| going[*device]).for_each(|device| broker.take(Step::OwnerEnds(device)));
            broker.take(Step::Passes(Duration::from_secs(31)));
            broker.take(Step::Deadline);
            assert!(broker.unserved().is_empty(), "still without {:?}", broker.unserved());
        });
    }
}
