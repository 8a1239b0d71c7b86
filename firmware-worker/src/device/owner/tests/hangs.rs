//! Owners whose drivers hang, on devices by script: the policy in simulated time, threads and sockets as they are.

use super::*;
use crate::config::{Camera, CameraDevice, Speaker, SpeakerDevice};
use hal::audio::fake as capture;
use hal::audio::playback::fake as playback;
use hal::video::fake;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::{sleep, spawn};
use std::time::Duration;
use tokio::time::timeout;

/// Of real time, far above what anything here takes.
const PATIENCE: Duration = Duration::from_secs(10);
const QUIET: Duration = Duration::from_millis(1);

/// A device, and how to let its driver go on.
#[derive(Clone)]
struct Driver {
    device: Device,
    heal: Arc<dyn Fn() + Send + Sync>,
    is_hanging: Arc<dyn Fn() -> bool + Send + Sync>,
}

fn camera(path: &'static str) -> (Driver, fake::Device) {
    let camera = fake::Camera::device(fake::Script { paced: true, ..fake::Script::default() });
    camera.plug_in(path);
    let config = Camera { device: CameraDevice::Path(path.into()), width: 64, height: 48, ..Camera::default() };
    let (heals, hangs) = (camera.clone(), camera.clone());
    let driver = Driver {
        device: Device { name: "camera".into(), kind: DeviceKind::Camera(config) },
        heal: Arc::new(move || heals.heal()),
        is_hanging: Arc::new(move || hangs.is_hanging()),
    };
    (driver, camera)
}

fn microphone(card: &'static str) -> Driver {
    capture::plug_in(card, capture::Script { time: capture::Time::Real, ..capture::Script::default() });
    let config = Microphone { device: MicrophoneDevice::Card(card.into()), ..Microphone::default() };
    Driver {
        device: Device { name: "microphone".into(), kind: DeviceKind::Microphone(config) },
        heal: Arc::new(move || assert!(capture::heal(card))),
        is_hanging: Arc::new(move || capture::is_hanging(card)),
    }
}

fn speaker(name: &str) -> (Driver, playback::Card) {
    let card = playback::Card::plug_in(name, 0.0);
    let config = Speaker { device: SpeakerDevice::Card(name.into()), ..Speaker::default() };
    let (heals, hangs) = (card.clone(), card.clone());
    let driver = Driver {
        device: Device { name: "speaker".into(), kind: DeviceKind::Speaker(config) },
        heal: Arc::new(move || heals.heal()),
        is_hanging: Arc::new(move || hangs.is_hanging()),
    };
    (driver, card)
}

/// An owner with one reader that wants its device.
struct Wanted {
    owner: Owner,
    supervisor: Socket,
    job: Socket,
    driver: Driver,
}

impl Wanted {
    async fn start(driver: Driver) -> Self {
        let (supervisor, theirs) = Socket::pair().unwrap();
        let body = hal::process::sealed_memfd("setup", &postcard::to_stdvec(&driver.device).unwrap()).unwrap();
        supervisor.send(&postcard::to_stdvec(&ToOwner::Setup).unwrap(), &[body.as_fd()]).unwrap();
        let mut owner = Owner::start(theirs).await.unwrap();
        let (job, theirs) = Socket::pair().unwrap();
        owner.supervised(ToOwner::Reader { job: "AJ_1".into() }, vec![theirs.into_fd()]);
        for message in [FromReader::Attach { version: VERSION }, FromReader::Demand(Demand::Live)] {
            job.send(&postcard::to_stdvec(&message).unwrap(), &[]).unwrap();
        }
        Self { owner, supervisor, job, driver }
    }

    /// Lets the owner do what it has to, until that is so.
    async fn until(&mut self, what: &str, is_so: impl Fn(&Self) -> bool) {
        let asked = Instant::now();
        while !is_so(self) {
            assert!(asked.elapsed() < PATIENCE, "never {what}: {:?}", self.owner);
            if let Ok(happened) = timeout(QUIET, self.owner.happened()).await {
                self.owner.turn(happened.unwrap(), self.owner.now);
            }
            self.owner.act_on_all();
            while let Ok((length, _)) = self.supervisor.receive(&mut [0; 4096]) {
                if length == 0 {
                    break;
                }
                self.answer();
            }
        }
    }

    fn answer(&mut self) {
        let DeviceKind::Camera(config) = &self.driver.device.kind else { return };
        if self.owner.awaiting_node {
            let CameraDevice::Path(path) = &config.device else { unreachable!("cameras here have paths") };
            let node = hal::video::open(Path::new(path)).unwrap();
            self.owner.turn(Happened::Supervisor(ToOwner::Node, vec![node]), self.owner.now);
        }
    }

    async fn runs(&mut self) {
        self.until("running", |it| matches!(it.owner.policy.state(), State::Running { .. })).await;
    }

    /// Time passes until the owner gives the device up, which it cannot close before its driver goes on: that goes on when
    /// supervisor and job know. What they were told.
    async fn given_up(mut self) -> (Self, String) {
        self.until("in a call that hangs", |it| (it.driver.is_hanging)()).await;
        let (supervisor, job) = (self.supervisor, self.job);
        let (driver, closed) = (self.driver.clone(), Arc::new(AtomicBool::new(false)));
        let was_closed = closed.clone();
        let world = spawn(move || {
            let told = told(&supervisor, &job);
            let in_time = !was_closed.load(Relaxed) && (driver.is_hanging)();
            (driver.heal)();
            (supervisor, job, told, in_time)
        });
        for _ in 0..3 {
            if self.owner.pipeline.is_some() {
                let at = self.owner.heartbeat.deadline();
                self.owner.turn(Happened::Pulse, at);
            }
        }
        closed.store(true, Relaxed);
        assert!(self.owner.pipeline.is_none(), "it was not given up");
        let (supervisor, job, told, in_time) = world.join().unwrap();
        let (to_supervisor, to_job) = told.expect("both are told");
        assert!(in_time, "they are told before it is closed");
        assert_eq!(to_supervisor, to_job);
        (Self { owner: self.owner, supervisor, job, driver: self.driver }, to_job)
    }

    /// The same reader gets it back.
    async fn comes_back(mut self) {
        let at = self.owner.policy.deadline().expect("it is tried again");
        self.owner.turn(Happened::Deadline, at);
        self.runs().await;
        let asked = Instant::now();
        while !matches!(message(&self.job), Some(ToReader::Running { .. })) {
            assert!(asked.elapsed() < PATIENCE, "the job is not told");
        }
    }
}

fn message<M: serde::de::DeserializeOwned>(socket: &Socket) -> Option<M> {
    let mut bytes = [0; 4096];
    let (length, _) = socket.receive(&mut bytes).ok()?;
    postcard::from_bytes(&bytes[..length]).ok()
}

/// Why the device is lost, as supervisor and job hear it.
fn told(supervisor: &Socket, job: &Socket) -> Option<(String, String)> {
    let (mut first, mut second, asked) = (None, None, Instant::now());
    while asked.elapsed() < PATIENCE {
        if let Some(FromOwner::State(OwnerState::Lost(why))) = message(supervisor) {
            first = Some(why);
        }
        if let Some(ToReader::Lost { why }) = message(job) {
            second = Some(why);
        }
        match (&first, &second) {
            (Some(_), Some(_)) => return first.zip(second),
            _ => sleep(QUIET),
        }
    }
    None
}

#[tokio::test]
async fn a_camera_whose_driver_hangs_while_it_opens_is_lost_before_it_is_closed() {
    for (call, path) in [("VIDIOC_S_FMT", "/dev/video60"), ("VIDIOC_STREAMON", "/dev/video61")] {
        let (driver, camera) = camera(path);
        camera.hang(call);
        let (wanted, why) = Wanted::start(driver).await.given_up().await;
        let expected = "its driver hangs (not open after 20 s): unplug the device, or restart the board";
        assert!(why.ends_with(expected) && why.contains(path), "{why}");
        wanted.comes_back().await;
    }
}

#[tokio::test]
async fn a_camera_whose_driver_hangs_while_it_runs_is_lost_before_it_is_closed() {
    let (driver, camera) = camera("/dev/video62");
    let mut wanted = Wanted::start(driver).await;
    wanted.runs().await;
    camera.hang("VIDIOC_DQBUF");
    let (wanted, why) = wanted.given_up().await;
    let expected = "its driver hangs (no sign of life for 10 s): unplug the device, or restart the board";
    assert!(why.ends_with(expected) && why.contains("video62"), "{why}");
    wanted.comes_back().await;
}

#[tokio::test]
async fn a_microphone_whose_driver_hangs_is_lost_before_it_is_closed() {
    const CARD: &str = "a microphone that hangs";
    let driver = microphone(CARD);
    capture::fail(CARD, capture::Call::Hardware, capture::Fault::Hang);
    let (mut wanted, why) = Wanted::start(driver).await.given_up().await;
    assert!(why.starts_with("a microphone that hangs: its driver hangs (not open after 20 s)"), "{why}");
    let at = wanted.owner.policy.deadline().unwrap();
    wanted.owner.turn(Happened::Deadline, at);
    wanted.runs().await;
    capture::fail(CARD, capture::Call::Status, capture::Fault::Hang);
    let (wanted, why) = wanted.given_up().await;
    assert!(why.starts_with("a microphone that hangs: its driver hangs (no sign of life for 10 s)"), "{why}");
    wanted.comes_back().await;
}

#[tokio::test]
async fn a_speaker_whose_driver_hangs_is_lost_before_it_is_closed() {
    let (driver, card) = speaker("a speaker that hangs");
    card.hang(playback::Call::Open);
    let (mut wanted, why) = Wanted::start(driver).await.given_up().await;
    assert!(why.starts_with("a speaker that hangs: its driver hangs (not open after 20 s)"), "{why}");
    let at = wanted.owner.policy.deadline().unwrap();
    wanted.owner.turn(Happened::Deadline, at);
    wanted.runs().await;
    card.hang(playback::Call::Room);
    let (wanted, why) = wanted.given_up().await;
    assert!(why.starts_with("a speaker that hangs: its driver hangs (no sign of life for 10 s)"), "{why}");
    wanted.comes_back().await;
}

#[tokio::test]
async fn a_device_whose_thread_turns_is_not_given_up_and_one_that_is_looked_at_late_neither() {
    let (driver, camera) = camera("/dev/video63");
    let mut wanted = Wanted::start(driver).await;
    wanted.runs().await;
    let late = wanted.owner.heartbeat.deadline() + Duration::from_secs(60);
    camera.hang("VIDIOC_DQBUF");
    wanted.until("in a call that hangs", |it| (it.driver.is_hanging)()).await;
    wanted.owner.turn(Happened::Pulse, late);
    wanted.owner.turn(Happened::Pulse, late + Duration::from_secs(5));
    assert!(wanted.owner.pipeline.is_some(), "the whole board has slept");
    camera.heal();
}
