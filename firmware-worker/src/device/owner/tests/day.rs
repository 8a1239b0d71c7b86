//! Eight hours of whole owners: the policy in simulated time; threads, rings and sockets as they are; devices by script, any
//! call of which may fail. The test is supervisor and jobs.

mod hardware;

use super::*;
use hal::ring::Reader as Ring;
use hardware::Hardware;
use std::collections::BTreeMap;
use std::process::Command;
use std::time::Duration;
use tokio::time::timeout;

const HOURS: u32 = 8;
const HOUR: Duration = Duration::from_secs(3600);
/// What lies between two events at most.
const MAX_PAUSE_MS: u64 = 24_000;
const MAX_JOBS: usize = 4;
/// Until the policy has closed a device that nobody wants.
const ALL_LINGERS: Duration = Duration::from_secs(61);
/// The policy tries a lost device again after this at the latest.
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// Of real time, for a device's thread to do what it must.
const PATIENCE: Duration = Duration::from_secs(10);
/// Of real time: nothing is on its way to the owner.
const QUIET: Duration = Duration::from_millis(1);
/// kB by which the process may grow from the end of the first hour to that of the last: its heap grows by steps where more than
/// before falls together (280 were seen), while 300 bytes that each of some 2,400 events left would be more.
const GROWTH_KB: u64 = 512;

/// SplitMix64.
#[derive(Debug)]
pub(super) struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(super) fn below(&mut self, n: u64) -> u64 {
        self.roll() % n
    }

    pub(super) fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    pub(super) fn of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len() as u64) as usize]
    }
}

/// A job's end.
struct Job {
    link: Socket,
    demand: Demand,
    /// As a job has them until it ends.
    _ring: Option<Ring>,
    _bell: Option<OwnedFd>,
}

#[derive(Debug, Default)]
struct Counts {
    events: u32,
    running: u32,
    lost: u32,
    reasons: BTreeMap<String, u32>,
    units: u64,
}

struct Day {
    owner: Owner,
    supervisor: Socket,
    hardware: Hardware,
    dice: Dice,
    now: Instant,
    jobs: Vec<Job>,
    next_job: u64,
    counts: Counts,
}

impl Day {
    async fn new(mut hardware: Hardware, seed: u64) -> Self {
        let (supervisor, theirs) = Socket::pair().unwrap();
        let body = hal::process::sealed_memfd("setup", &postcard::to_stdvec(&hardware.device()).unwrap()).unwrap();
        supervisor.send(&postcard::to_stdvec(&ToOwner::Setup).unwrap(), &[body.as_fd()]).unwrap();
        let owner = Owner::start(theirs).await.unwrap();
        let mut dice = Dice(seed);
        hardware.heal(&mut dice);
        // Ahead of the clock for good, so that no deadline comes by itself.
        let now = Instant::now() + HOUR;
        Self { owner, supervisor, hardware, dice, now, jobs: Vec::new(), next_job: 0, counts: Counts::default() }
    }

    /// Until nothing moves that does not wait for time to pass.
    async fn settle(&mut self) {
        let asked = Instant::now();
        loop {
            while let Some(action) = self.owner.policy.poll() {
                self.owner.act(action);
            }
            // What a close takes is real, and the owner has counted it.
            self.now = self.now.max(self.owner.now);
            self.supervise();
            self.jobs
                .iter()
                .for_each(|job| while job.link.receive(&mut [0; 4096]).is_ok_and(|(bytes, _)| bytes > 0) {});
            // The reactor has its turn first: on a busy machine the time may be up before it was asked once.
            tokio::task::yield_now().await;
            match timeout(QUIET, self.owner.happened()).await {
                Ok(happened) => self.owner.turn(happened.unwrap(), self.now),
                Err(_) if !self.is_moving() => return,
                Err(_) => assert!(asked.elapsed() < PATIENCE, "stuck: {:?} {:?}", self.owner.policy, self.hardware),
            }
        }
    }

    /// Its thread has not yet said whether it can open the device.
    fn is_moving(&self) -> bool {
        self.owner.pipeline.is_some() && !matches!(self.owner.policy.state(), State::Running { .. })
    }

    /// What a supervisor does with what its owner says.
    fn supervise(&mut self) {
        let mut bytes = [0; 4096];
        while let Ok((length, _)) = self.supervisor.receive(&mut bytes) {
            let answer = match postcard::from_bytes(&bytes[..length]).unwrap() {
                FromOwner::NeedNode { .. } => match self.hardware.nodes(&mut self.dice) {
                    Some(nodes) => Happened::Supervisor(ToOwner::Node, nodes),
                    None => Happened::Supervisor(ToOwner::NoNode { why: "no such camera".into() }, Vec::new()),
                },
                FromOwner::WhoHolds { .. } => {
                    Happened::Supervisor(ToOwner::Holder { who: "in use by arecord (pid 812)".into() }, Vec::new())
                }
                FromOwner::State(state) => {
                    self.count(state);
                    continue;
                }
                FromOwner::Hello { .. } => continue,
                unasked @ (FromOwner::Facts(_) | FromOwner::Pong { .. }) => panic!("{unasked:?}"),
                unasked @ (FromOwner::Panic { .. } | FromOwner::Violated { .. }) => panic!("{unasked:?}"),
            };
            self.owner.turn(answer, self.now);
        }
    }

    fn count(&mut self, state: OwnerState) {
        match state {
            OwnerState::Running(_) => self.counts.running += 1,
            OwnerState::Lost(why) => {
                self.counts.lost += 1;
                // Without numbers they are few.
                let why = why.replace(|letter: char| letter.is_ascii_digit(), "");
                *self.counts.reasons.entry(why).or_default() += 1;
            }
            OwnerState::Closed => {}
        }
    }

    /// Time passes; deadlines have their turns.
    async fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(at) = self.owner.policy.deadline().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            self.owner.turn(Happened::Deadline, self.now);
            self.settle().await;
        }
        self.now = self.now.max(end);
    }

    fn is_wanted(&self) -> bool {
        self.jobs.iter().any(|job| job.demand != Demand::Off)
    }

    /// The device is where demand wants it, or will be in time; one that runs for somebody gives.
    async fn check(&mut self) {
        let live = self.jobs.iter().any(|job| job.demand == Demand::Live);
        let soon = self.owner.policy.deadline().is_some_and(|at| at <= self.now + LONGEST_WAIT);
        match self.owner.policy.state() {
            State::Closed => assert!(!self.is_wanted(), "wanted and closed: {:?}", self.owner.policy),
            State::Lost { .. } => {
                assert!(soon || !self.is_wanted(), "wanted and not tried again: {:?}", self.owner.policy)
            }
            State::Running { .. } if live => self.flows().await,
            State::Running { .. } => assert!(soon || self.is_wanted(), "open for nobody: {:?}", self.owner.policy),
        }
    }

    /// Units come, or the device is lost.
    async fn flows(&mut self) {
        let (asked, before) = (Instant::now(), self.given());
        while matches!(self.owner.policy.state(), State::Running { .. }) && self.given() == before {
            assert!(
                asked.elapsed() < PATIENCE,
                "it runs and gives nothing: {:?} {:?}",
                self.owner.policy,
                self.hardware
            );
            self.settle().await;
        }
        self.counts.units += self.given() - before;
    }

    fn given(&self) -> u64 {
        let stats = self.owner.media.stats();
        match self.owner.media {
            Media::Out(..) => stats.written,
            // It plays.
            Media::In(_) => stats.captured,
        }
    }

    async fn event(&mut self) {
        self.counts.events += 1;
        match self.dice.below(16) {
            0..2 if self.jobs.len() < MAX_JOBS => self.join(Demand::Live).await,
            0..5 => {
                let demand = self.dice.of(&[Demand::Off, Demand::Armed, Demand::Live]);
                self.say(&FromReader::Demand(demand));
            }
            5 => self.say(&FromReader::Keyframe),
            6 => {
                let bps = self.dice.below(1 << 21) as u32;
                self.say(&FromReader::Rate { bps });
            }
            7 if !self.jobs.is_empty() => {
                let job = self.dice.below(self.jobs.len() as u64) as usize;
                self.jobs.swap_remove(job);
            }
            7..9 => self.owner.turn(Happened::Supervisor(ToOwner::Rescan, Vec::new()), self.now),
            9..13 => self.hardware.fail(&mut self.dice),
            13 => self.hardware.unplug(),
            _ => {
                self.hardware.heal(&mut self.dice);
                self.owner.turn(Happened::Supervisor(ToOwner::Rescan, Vec::new()), self.now);
            }
        }
        self.settle().await;
        self.check().await;
    }

    /// One of the jobs says it.
    fn say(&mut self, message: &FromReader) {
        if self.jobs.is_empty() {
            return;
        }
        let job = self.dice.below(self.jobs.len() as u64) as usize;
        let job = &mut self.jobs[job];
        job.link.send(&postcard::to_stdvec(message).unwrap(), &[]).unwrap();
        if let FromReader::Demand(demand) = message {
            job.demand = *demand;
        }
    }

    async fn join(&mut self, demand: Demand) {
        let (link, theirs) = Socket::pair().unwrap();
        self.next_job += 1;
        let reader = ToOwner::Reader { job: format!("AJ_{}", self.next_job) };
        self.owner.turn(Happened::Supervisor(reader, vec![theirs.into_fd()]), self.now);
        link.send(&postcard::to_stdvec(&FromReader::Attach { version: VERSION }).unwrap(), &[]).unwrap();
        let asked = Instant::now();
        let mut fds = loop {
            let happened = timeout(PATIENCE, self.owner.happened()).await.expect("its first message").unwrap();
            self.owner.turn(happened, self.now);
            if let Ok((_, fds)) = link.receive(&mut [0; 4096]) {
                break fds;
            }
            assert!(asked.elapsed() < PATIENCE, "no answer");
        };
        let bell = fds.pop();
        let ring = fds.pop().and_then(|ring| Ring::map(ring).ok());
        link.send(&postcard::to_stdvec(&FromReader::Demand(demand)).unwrap(), &[]).unwrap();
        self.jobs.push(Job { link, demand, _ring: ring, _bell: bell });
    }

    async fn hour(&mut self) {
        let end = self.now + HOUR;
        while self.now < end {
            let pause = Duration::from_millis(self.dice.below(MAX_PAUSE_MS));
            self.pass(pause).await;
            self.event().await;
        }
        // Whatever is broken is mended, and somebody looks: there must be media.
        self.hardware.heal(&mut self.dice);
        self.join(Demand::Live).await;
        self.settle().await;
        self.pass(LONGEST_WAIT).await;
        assert!(
            matches!(self.owner.policy.state(), State::Running { .. }),
            "{:?} {:?}",
            self.owner.policy,
            self.hardware
        );
        self.check().await;
        self.jobs.clear();
        self.settle().await;
        self.pass(ALL_LINGERS).await;
        assert_eq!(self.owner.policy.state(), State::Closed);
        assert_eq!(self.owner.policy.deadline(), None);
        assert!(self.hardware.is_unused(), "{:?}", self.hardware);
    }
}

/// What this process has open and running, and its own memory in kB.
fn held() -> (usize, usize, u64) {
    let count = |path| std::fs::read_dir(path).unwrap().count();
    let rollup = std::fs::read_to_string("/proc/self/smaps_rollup").unwrap();
    let own = rollup.lines().find_map(|line| line.strip_prefix("Anonymous:")?.trim().strip_suffix(" kB")?.parse().ok());
    (count("/proc/self/fd"), count("/proc/self/task"), own.unwrap())
}

/// Runs `test` in a process of its own, whose memory no other test touches.
async fn day(test: &str, hardware: fn() -> Hardware) {
    const ALONE: &str = "OWNER_DAY";
    if std::env::var_os(ALONE).is_none() {
        let name = format!("device::owner::tests::day::{test}");
        let mut alone = Command::new(std::env::current_exe().unwrap());
        // One heap for all threads, which gives back what is free: what several keep in turn looks like growth.
        alone.args(["--exact", &name, "--nocapture"]).env(ALONE, "1").env("MALLOC_ARENA_MAX", "1");
        alone.env("MALLOC_MMAP_THRESHOLD_", "65536").env("MALLOC_TRIM_THRESHOLD_", "65536");
        let output = alone.output().unwrap();
        let text = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
        assert!(output.status.success() && text.contains("1 passed"), "{text}");
        return println!("{text}");
    }
    let mut day = Day::new(hardware(), 1).await;
    let mut after = Vec::new();
    for _ in 0..HOURS {
        day.hour().await;
        after.push(held());
    }
    println!("{:?}\n{after:?}", day.counts);
    let (first, mut last) = (after[0], after[after.len() - 1]);
    // On a busy machine threads that were told to end may take a moment.
    let patience = Instant::now() + Duration::from_secs(10);
    while (last.0 > first.0 || last.1 > first.1) && Instant::now() < patience {
        std::thread::sleep(Duration::from_millis(10));
        last = held();
    }
    assert!(last.0 <= first.0 && last.1 <= first.1, "descriptors, threads: {first:?}, then {last:?}");
    assert!(last.2 <= first.2 + GROWTH_KB, "it grows: {after:?}");
    // A day without trouble would prove nothing.
    assert!(day.counts.lost > 100 && day.counts.running > 100 && day.counts.reasons.len() > 5, "{:?}", day.counts);
}

#[tokio::test]
async fn eight_hours_of_a_camera_of_which_any_call_may_fail() {
    day("eight_hours_of_a_camera_of_which_any_call_may_fail", Hardware::camera).await;
}

#[tokio::test]
async fn eight_hours_of_a_microphone_of_which_any_call_may_fail() {
    day("eight_hours_of_a_microphone_of_which_any_call_may_fail", Hardware::microphone).await;
}

#[tokio::test]
async fn eight_hours_of_a_speaker_of_which_any_call_may_fail() {
    day("eight_hours_of_a_speaker_of_which_any_call_may_fail", Hardware::speaker).await;
}
