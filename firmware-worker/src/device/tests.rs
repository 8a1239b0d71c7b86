//! A whole owner in this process: the test is its supervisor and its jobs.

mod cameras;
mod epochs;
mod hardware;
mod hostile;
pub mod log;
mod mixers;
mod opening;
mod pipe;
mod speaker;

use super::owner::{self, Owner};
use crate::config::{Camera, CameraDevice, Device, DeviceKind, Microphone, MicrophoneDevice};
use crate::control::{
    Demand, DeviceFacts, Format, FromOwner, FromReader, Link, LinkError, OwnerState, OwnerStats, ToOwner, ToReader,
    VERSION,
};
use hal::process::Socket;
use hal::ring::{DISCONTINUITY, KEY, Meta, Next, Reader};
use protocol::room::rtp::h264::{Rate, nals, rewrite};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::time::timeout;

/// Far above what anything here takes, far below a hung test.
const PATIENCE: Duration = Duration::from_secs(10);

fn camera(device: CameraDevice) -> Device {
    let size = Camera { width: 320, height: 180, ..Camera::default() };
    let camera = Camera { device, bitrate: 500_000, min_bitrate: 100_000, ..size };
    Device { name: "camera".into(), kind: DeviceKind::Camera(camera) }
}

fn tone() -> Device {
    let microphone = Microphone { device: MicrophoneDevice::Tone, bitrate: 32_000, ..Microphone::default() };
    Device { name: "microphone".into(), kind: DeviceKind::Microphone(microphone) }
}

/// The supervisor's end.
struct Supervisor {
    link: Link,
    owner: JoinHandle<Result<(), owner::Error>>,
    /// As it has told last.
    facts: DeviceFacts,
}

impl Supervisor {
    async fn start(device: &Device) -> Self {
        let (ours, theirs) = Socket::pair().unwrap();
        let owner = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async { Owner::start(theirs).await?.serve().await })
        });
        let mut link = Link::new(ours).unwrap();
        let body = hal::process::sealed_memfd("setup", &postcard::to_stdvec(device).unwrap()).unwrap();
        link.send(&ToOwner::Setup, &[body.as_fd()]).unwrap();
        assert!(matches!(receive(&mut link).await.0, FromOwner::Hello { version: VERSION }));
        Self { link, owner, facts: DeviceFacts::default() }
    }

    async fn job(&self, name: &str) -> Link {
        let (ours, theirs) = Socket::pair().unwrap();
        self.link.send(&ToOwner::Reader { job: name.into() }, &[theirs.as_fd()]).unwrap();
        Link::new(ours).unwrap()
    }

    async fn attached(&self, name: &str) -> Job {
        Job::attach(self.job(name).await).await
    }

    async fn stats(&mut self) -> OwnerStats {
        self.link.send(&ToOwner::Ping { id: 7 }, &[]).unwrap();
        let mut facts = None;
        loop {
            match receive(&mut self.link).await.0 {
                FromOwner::Facts(told) => facts = Some(told),
                FromOwner::Pong { id: 7, stats } => {
                    self.facts = facts.expect("told before each pong");
                    return stats;
                }
                _ => {}
            }
        }
    }

    async fn stats_until(&mut self, wanted: impl Fn(&OwnerStats) -> bool) {
        let asked = Instant::now();
        loop {
            let stats = self.stats().await;
            if wanted(&stats) {
                return;
            }
            assert!(asked.elapsed() < PATIENCE, "still {stats:?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    async fn state(&mut self) -> OwnerState {
        loop {
            if let FromOwner::State(state) = receive(&mut self.link).await.0 {
                return state;
            }
        }
    }
}

async fn receive<T: serde::de::DeserializeOwned>(link: &mut Link) -> (T, Vec<OwnedFd>) {
    timeout(PATIENCE, link.receive()).await.expect("a message in time").expect("an open socket")
}

/// A job's end.
struct Job {
    link: Link,
    format: Format,
    ring: Reader,
    bell: tokio::net::UnixStream,
}

impl Job {
    async fn attach(mut link: Link) -> Self {
        link.send(&FromReader::Attach { version: VERSION }, &[]).unwrap();
        let (message, fds) = receive(&mut link).await;
        let ToReader::Attached { format } = message else { panic!("{message:?}") };
        let [ring, bell] = <[OwnedFd; 2]>::try_from(fds).unwrap();
        let bell = tokio::net::UnixStream::from_std(UnixStream::from(bell)).unwrap();
        Self { link, format, ring: Reader::map(ring).unwrap(), bell }
    }

    fn say(&self, message: &FromReader) {
        self.link.send(message, &[]).unwrap();
    }

    fn go_live(&mut self) {
        self.ring.skip_to_newest();
        self.say(&FromReader::Demand(Demand::Live));
    }

    /// The next unit; waits on the doorbell as a job does.
    async fn unit(&mut self) -> (Meta, Vec<u8>) {
        let mut payload = Vec::new();
        loop {
            match self.ring.next(&mut payload) {
                Next::Unit(meta) => return (meta, payload),
                Next::Lapped(_) => {}
                Next::Empty => {
                    timeout(PATIENCE, self.bell.readable()).await.expect("a ring of the doorbell").unwrap();
                    let _ = self.bell.try_read(&mut [0; 64]);
                }
            }
        }
    }

    async fn units(&mut self, count: usize) -> Vec<(Meta, Vec<u8>)> {
        let mut units = Vec::new();
        for _ in 0..count {
            units.push(self.unit().await);
        }
        units
    }

    /// Reads until a unit has this flag: that unit, and how many came before it.
    async fn skip_to(&mut self, flag: u32) -> (Meta, usize) {
        for before in 0.. {
            let (meta, _) = self.unit().await;
            if meta.flags & flag != 0 {
                return (meta, before);
            }
        }
        unreachable!("the loop has no end of its own")
    }

    async fn closed(&mut self) -> bool {
        loop {
            match timeout(PATIENCE, self.link.receive::<ToReader>()).await.expect("an answer or the end") {
                Ok(_) => {}
                Err(LinkError::Closed) => return true,
                Err(_) => return false,
            }
        }
    }
}

/// Whether a keyframe's parameter set says that pictures come in order, and the level of a camera of these tests: it would
/// not change if it were rewritten.
fn is_fit(keyframe: &[u8]) -> bool {
    let sps = nals(keyframe).find(|nal| nal.is_sps()).expect("a keyframe has a parameter set").0;
    rewrite(sps, Rate { milli_fps: 30_000, bitrate: 500_000 }).is_some_and(|rewritten| rewritten.unit == sps)
}

#[tokio::test]
async fn an_automatic_camera_that_is_there_but_broken_is_lost_with_advice_and_tried_again() {
    let mut supervisor = Supervisor::start(&camera(CameraDevice::Auto)).await;
    let job = supervisor.attached("AJ_1").await;
    job.link.send(&FromReader::Demand(Demand::Live), &[]).unwrap();
    assert!(matches!(receive(&mut supervisor.link).await.0, FromOwner::NeedNode { .. }));
    let broken = std::fs::File::open("/dev/null").unwrap();
    supervisor.link.send(&ToOwner::Node, &[broken.as_fd()]).unwrap();
    let OwnerState::Lost(why) = supervisor.state().await else { panic!("a picture of nothing") };
    assert!(why.contains("/dev/null") && why.contains("`device` of camera \"camera\""), "{why}");
    assert!(matches!(receive(&mut supervisor.link).await.0, FromOwner::NeedNode { .. }), "it is tried again");
}

#[tokio::test]
async fn a_job_reads_a_decodable_picture_from_its_first_unit_on() {
    let mut supervisor = Supervisor::start(&camera(CameraDevice::TestPattern)).await;
    let mut job = supervisor.attached("a").await;
    assert_eq!(job.format, Format::H264 { width: 320, height: 180, milli_fps: 30_000, bitrate: 500_000 });
    job.go_live();
    let units = job.units(30).await;
    assert_eq!(units[0].0.flags, KEY | DISCONTINUITY);
    assert!(is_fit(&units[0].1));
    assert!(units[1..].iter().all(|(meta, _)| meta.flags == 0));
    assert!(units.iter().all(|(m, _)| (m.width, m.height, m.epoch) == (320, 180, 1) && m.written_ns >= m.captured_ns));
    assert!(units.is_sorted_by(|(a, _), (b, _)| a.position < b.position && a.captured_ns < b.captured_ns));
    assert!(units.iter().all(|(meta, _)| meta.stamped.is_none()), "no camera took them");
    let mut decoder = openh264::decoder::Decoder::new().unwrap();
    let shown = units.iter().filter(|(_, unit)| decoder.decode(unit).unwrap().is_some()).count();
    assert!(shown >= 28, "{shown} of 30 pictures");
    let OwnerState::Running(what) = supervisor.state().await else { panic!("not running") };
    assert!(what.contains("test pattern 320x180@30"), "{what}");
}

#[tokio::test]
async fn three_jobs_share_one_encoder_and_get_the_same_units() {
    let mut supervisor = Supervisor::start(&camera(CameraDevice::TestPattern)).await;
    let mut jobs = Vec::new();
    for name in ["a", "b", "c"] {
        let mut job = supervisor.attached(name).await;
        job.go_live();
        job.skip_to(KEY).await;
        jobs.push(job);
    }
    let mut seen = Vec::new();
    for job in &mut jobs {
        seen.push(job.units(40).await);
    }
    for other in &seen[1..] {
        let mut shared = 0;
        for (meta, unit) in other {
            for (_, first) in seen[0].iter().filter(|(first, _)| first.position == meta.position) {
                assert!(unit == first);
                shared += 1;
            }
        }
        assert!(shared >= 5, "{shared} units in common");
    }
    let stats = supervisor.stats().await;
    assert_eq!((stats.encoders, stats.readers), (1, 3));
    drop(jobs.pop());
    supervisor.stats_until(|stats| stats.readers == 2).await;
}

#[tokio::test]
async fn a_keyframe_comes_when_asked_for_and_one_serves_all() {
    let supervisor = Supervisor::start(&camera(CameraDevice::TestPattern)).await;
    let (mut a, mut b) = (supervisor.attached("a").await, supervisor.attached("b").await);
    a.go_live();
    b.go_live();
    a.skip_to(KEY).await;
    // The second live reader may have needed its own; let the floor between two keys pass.
    a.units(35).await;
    for _ in 0..5 {
        a.say(&FromReader::Keyframe);
        b.say(&FromReader::Keyframe);
    }
    let (_, waited) = a.skip_to(KEY).await;
    assert!(waited <= 10, "{waited} frames until the key");
    let after = a.units(35).await;
    assert!(after.iter().all(|(meta, _)| meta.flags & KEY == 0), "requests before a key are satisfied by it");
}

#[tokio::test]
async fn the_slowest_live_reader_sets_the_bitrate_without_a_keyframe() {
    let supervisor = Supervisor::start(&camera(CameraDevice::TestPattern)).await;
    let (mut fast, slow) = (supervisor.attached("fast").await, supervisor.attached("slow").await);
    fast.go_live();
    slow.say(&FromReader::Demand(Demand::Live));
    let bytes = |units: &[(Meta, Vec<u8>)]| units.iter().map(|(_, unit)| unit.len()).sum::<usize>();
    fast.units(40).await;
    let before = bytes(&fast.units(30).await);
    slow.say(&FromReader::Rate { bps: 120_000 });
    fast.units(30).await;
    let after = fast.units(30).await;
    assert!(bytes(&after) * 2 < before, "{before} then {} bytes", bytes(&after));
    assert!(after.iter().all(|(meta, _)| meta.flags & KEY == 0));
    drop(slow);
    fast.units(30).await;
    assert!(bytes(&fast.units(30).await) * 2 > before, "the rate stayed low after the slow one left");
}

#[tokio::test]
async fn the_encoder_stops_five_seconds_after_the_last_viewer_and_starts_again_with_a_key() {
    let mut supervisor = Supervisor::start(&camera(CameraDevice::TestPattern)).await;
    let mut job = supervisor.attached("a").await;
    job.go_live();
    job.units(5).await;
    job.say(&FromReader::Demand(Demand::Armed));
    let left = Instant::now();
    supervisor.stats_until(|stats| stats.encoders == 0).await;
    assert!(left.elapsed() > Duration::from_millis(4_500), "stopped after {:?}", left.elapsed());
    job.go_live();
    assert_eq!(job.skip_to(DISCONTINUITY).await.0.flags, KEY | DISCONTINUITY);
}

#[tokio::test]
async fn a_microphone_gives_20_ms_packets_at_counted_positions() {
    let supervisor = Supervisor::start(&tone()).await;
    let mut job = supervisor.attached("a").await;
    assert_eq!(job.format, Format::Opus { channels: 1, frame_ms: 20, dtx: false, fec: true, bitrate: 32_000 });
    job.go_live();
    let units = job.units(50).await;
    assert_eq!(units[0].0.flags, KEY | DISCONTINUITY);
    for pair in units.windows(2) {
        let (before, after) = (pair[0].0, pair[1].0);
        if after.flags & DISCONTINUITY == 0 {
            assert_eq!(after.position - before.position, 960);
            assert_eq!(after.captured_ns - before.captured_ns, 20_000_000);
        }
        assert!(after.position >= before.position + 960);
    }
    assert!(units[1..].iter().all(|(meta, packet)| meta.level == 23 && !packet.is_empty()));
}

#[tokio::test]
async fn an_automatic_camera_without_a_node_is_the_test_pattern() {
    let mut supervisor = Supervisor::start(&camera(CameraDevice::Auto)).await;
    let mut job = supervisor.attached("a").await;
    job.say(&FromReader::Demand(Demand::Armed));
    let (asked, _) = receive(&mut supervisor.link).await;
    assert!(matches!(asked, FromOwner::NeedNode { .. }), "{asked:?}");
    supervisor.link.send(&ToOwner::NoNode { why: "no camera".into() }, &[]).unwrap();
    assert!(matches!(receive(&mut job.link).await.0, ToReader::Running { epoch: 1 }));
    job.go_live();
    job.skip_to(KEY).await;
}

#[tokio::test]
async fn an_automatic_camera_that_is_plugged_in_later_takes_the_place_of_the_test_pattern() {
    let mut supervisor = Supervisor::start(&camera(CameraDevice::Auto)).await;
    let mut job = supervisor.attached("a").await;
    job.say(&FromReader::Demand(Demand::Armed));
    for epoch in [1, 2] {
        assert!(matches!(receive(&mut supervisor.link).await.0, FromOwner::NeedNode { .. }));
        supervisor.link.send(&ToOwner::NoNode { why: "no camera".into() }, &[]).unwrap();
        assert!(matches!(supervisor.state().await, OwnerState::Running(what) if what.contains("test pattern")));
        assert!(matches!(receive(&mut job.link).await.0, ToReader::Running { epoch: told } if told == epoch));
        // A microphone or a stick is plugged in: there is still no camera, and the picture goes on.
        supervisor.link.send(&ToOwner::Rescan, &[]).unwrap();
        assert!(matches!(receive(&mut supervisor.link).await.0, FromOwner::NeedNode { .. }));
        supervisor.link.send(&ToOwner::NoNode { why: "no camera".into() }, &[]).unwrap();
        supervisor.link.send(&ToOwner::Rescan, &[]).unwrap();
        assert!(matches!(receive(&mut supervisor.link).await.0, FromOwner::NeedNode { .. }));
        let node = std::fs::File::open("/dev/null").unwrap();
        supervisor.link.send(&ToOwner::Node, &[node.as_fd()]).unwrap();
        assert!(matches!(supervisor.state().await, OwnerState::Lost(why) if why == "a camera has appeared"));
        assert!(matches!(receive(&mut job.link).await.0, ToReader::Lost { .. }));
    }
}

#[tokio::test]
async fn a_camera_that_is_missing_is_told_to_readers_and_supervisor_and_tried_again() {
    let mut supervisor = Supervisor::start(&camera(CameraDevice::Path("/dev/video9".into()))).await;
    let mut job = supervisor.attached("a").await;
    job.say(&FromReader::Demand(Demand::Live));
    assert!(matches!(receive(&mut supervisor.link).await.0, FromOwner::NeedNode { path } if path == "/dev/video9"));
    supervisor.link.send(&ToOwner::NoNode { why: "/dev/video9: no such camera".into() }, &[]).unwrap();
    let (told, _) = receive(&mut job.link).await;
    assert!(matches!(&told, ToReader::Lost { why } if why.contains("no such camera")), "{told:?}");
    assert!(matches!(supervisor.state().await, OwnerState::Lost(why) if why.contains("no such camera")));
    // A node that is no camera is a lost one, too, and a later reader hears of it.
    supervisor.link.send(&ToOwner::Rescan, &[]).unwrap();
    assert!(matches!(receive(&mut supervisor.link).await.0, FromOwner::NeedNode { .. }));
    let null = std::fs::File::open("/dev/null").unwrap();
    supervisor.link.send(&ToOwner::Node, &[null.as_fd()]).unwrap();
    assert!(matches!(supervisor.state().await, OwnerState::Lost(why) if why.contains("/dev/null")));
    let mut late = supervisor.attached("late").await;
    assert!(matches!(receive(&mut late.link).await.0, ToReader::Lost { why } if why.contains("/dev/null")));
}

#[tokio::test]
async fn the_end_of_the_supervisor_ends_the_owner_within_250_ms() {
    let supervisor = Supervisor::start(&camera(CameraDevice::TestPattern)).await;
    let mut job = supervisor.attached("a").await;
    job.go_live();
    job.unit().await;
    let closed = Instant::now();
    drop(supervisor.link);
    supervisor.owner.join().unwrap().unwrap();
    assert!(closed.elapsed() < Duration::from_millis(250), "{:?}", closed.elapsed());
    assert!(job.closed().await);
}
