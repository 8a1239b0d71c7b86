//! A camera that is a command, with real processes.

use super::*;
use crate::control::{Encoder, KEEPER_SETUP, Kept};
use crate::device::keeper;
use crate::media::h264::{self, Settings};
use crate::media::pattern::Pattern;
use hal::ring::{PERIODIC, Stamped};
use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

/// An owner whose supervisor keeps its commands, in threads of this process; all else passes both ways.
async fn start(device: &Device) -> Supervisor {
    let DeviceKind::Camera(Camera { device: CameraDevice::Pipe { command, .. }, .. }) = &device.kind else {
        panic!("{device:?}")
    };
    let (ours, theirs) = Socket::pair().unwrap();
    let Supervisor { link, owner, facts } = Supervisor::start(device).await;
    let (real, command) = (link.into_socket(), command.clone());
    // The test waits for threads, and must not hold this up.
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (mut owner, mut test) = (Link::new(real).unwrap(), Link::new(theirs).unwrap());
            while pass(&mut owner, &mut test, &command).await.is_ok() {}
        });
    });
    Supervisor { link: Link::new(ours).unwrap(), owner, facts }
}

async fn pass(owner: &mut Link, test: &mut Link, command: &[String]) -> Result<(), LinkError> {
    tokio::select! {
        message = owner.receive() => match message?.0 {
            FromOwner::NeedNode { .. } => {
                let fds = keep(command.to_vec());
                owner.send(&ToOwner::Node, &fds.each_ref().map(AsFd::as_fd))
            }
            other => test.send(&other, &[]),
        },
        message = test.receive::<ToOwner>() => {
            let (message, fds) = message?;
            owner.send(&message, &fds.iter().map(AsFd::as_fd).collect::<Vec<_>>())
        }
    }
}

/// Runs a command as its keeper does, and gives what an owner gets.
fn keep(command: Vec<String>) -> [OwnedFd; 3] {
    let (control, theirs) = Socket::pair().unwrap();
    let ((stdout, written), (stderr, complained)) = (std::io::pipe().unwrap(), std::io::pipe().unwrap());
    let setup = Kept { camera: "attic".into(), command, tell: true };
    let body = hal::process::sealed_memfd("setup", &postcard::to_stdvec(&setup).unwrap()).unwrap();
    control.send(&[KEEPER_SETUP], &[body.as_fd(), written.as_fd(), complained.as_fd()]).unwrap();
    std::thread::spawn(move || keeper::keep(&theirs, false).unwrap());
    [control.into_fd(), stdout.into(), stderr.into()]
}

/// Pictures from one keyframe to the next: half a second.
const GROUP: usize = 15;

/// Place of `level_idc` in a unit that starts with its parameter set.
const LEVEL: usize = 7;

/// Two groups of pictures as files, and scripts that write them.
struct Writer(PathBuf);

impl Writer {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("firmware-worker-pipe-{}-{number}", std::process::id()));
        fs::create_dir_all(&path).expect("a temporary directory");
        let ceiling = 500_000;
        let settings = Settings { width: 320, height: 180, milli_fps: 30_000, ceiling, bitrate: ceiling };
        let mut encoder = h264::Encoder::new(settings).expect("an encoder");
        let (mut pattern, mut unit) = (Pattern::new(320, 180), Vec::new());
        for n in 0..2 * GROUP {
            let picture = pattern.draw(n as u64, n as u64 * 33);
            encoder.encode(picture, n as u64 * 33_000_000, n % GROUP == 0, &mut unit).expect("a unit");
            if n % GROUP == 0 {
                // As hardware encoders do, it claims the highest level there is.
                unit[LEVEL] = 51;
            }
            fs::write(path.join(format!("unit{n:02}")), &unit).expect("a file");
        }
        Self(path)
    }

    /// Runs `first`, then writes a picture every 30 ms for ever.
    fn camera(&self, first: &str) -> Device {
        self.runs(&format!("{first}\nwhile :; do for unit in unit*; do cat $unit; sleep 0.03; done; done"))
    }

    fn runs(&self, script: &str) -> Device {
        let script = format!("cd {}\n{script}", self.0.display());
        let command = vec!["sh".into(), "-c".into(), script];
        let mut device = camera(CameraDevice::Pipe { command, latency_offset: Duration::from_millis(40) });
        device.name = "attic".into();
        device
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn decoded(units: &[(Meta, Vec<u8>)]) -> usize {
    let mut decoder = openh264::decoder::Decoder::new().unwrap();
    units.iter().filter(|(_, unit)| decoder.decode(unit).is_ok_and(|picture| picture.is_some())).count()
}

/// What a picture in the middle took to the ring: 40 ms of offset, 3 ms of silence, and what this machine takes. One that
/// waits for the next takes 70 ms.
fn lateness_ms(units: &[(Meta, Vec<u8>)]) -> u64 {
    let mut late: Vec<_> = units.iter().map(|(m, _)| (m.written_ns - m.captured_ns) / 1_000_000).collect();
    late.sort_unstable();
    late[units.len() / 2]
}

#[tokio::test]
async fn a_job_reads_what_a_command_writes_and_no_picture_waits_for_the_next() {
    let writer = Writer::new();
    let mut supervisor = start(&writer.camera("echo starting >&2")).await;
    let mut job = supervisor.attached("a").await;
    job.go_live();
    let units = job.units(2 * GROUP).await;
    assert_eq!(units[0].0.flags, KEY | DISCONTINUITY | PERIODIC);
    let keys: Vec<_> = units.iter().enumerate().filter(|(_, (m, _))| m.flags & KEY != 0).map(|(n, _)| n).collect();
    assert_eq!(keys, [0, GROUP]);
    assert!(keys.iter().all(|key| is_fit(&units[*key].1)));
    assert!(!is_fit(&fs::read(writer.0.join("unit00")).unwrap()), "the command itself does not write it so");
    assert!(units.iter().all(|(m, _)| (m.width, m.height, m.epoch) == (320, 180, 1)));
    assert!(decoded(&units) >= 2 * GROUP - 2, "{} decoded", decoded(&units));
    let late = lateness_ms(&units);
    assert!((43..70).contains(&late), "{late} ms");
    let OwnerState::Running(what) = supervisor.state().await else { panic!("not running") };
    assert!(what.contains("pipe of \"sh\", latency offset 40 ms, 320x180@30"), "{what}");
    assert!(what.ends_with("passthrough (the command writes H.264), stamped on arrival"), "{what}");
    assert!(units.iter().all(|(m, _)| m.stamped == Some(Stamped::Arrival)));
    assert_eq!(supervisor.stats().await.encoder, Some(Encoder::Passthrough));
    let DeviceFacts { stamps_behind, stamps_ahead, .. } = supervisor.facts;
    assert_eq!((supervisor.facts.stamped(), stamps_behind, stamps_ahead), (Some(Stamped::Arrival), 0, 0));
}

#[tokio::test]
async fn the_last_keyframe_is_in_the_ring_before_anybody_looks() {
    let writer = Writer::new();
    let mut supervisor = start(&writer.camera("")).await;
    let mut job = supervisor.attached("a").await;
    job.say(&FromReader::Demand(Demand::Armed));
    supervisor.stats_until(|stats| stats.written > GROUP as u64).await;
    let wanted_ns = hal::process::monotonic_ns();
    job.say(&FromReader::Demand(Demand::Live));
    assert!(job.ring.seek_keyframe().is_some());
    let units = job.units(20).await;
    assert!(units[0].0.flags & KEY != 0);
    assert!(units[0].0.written_ns < wanted_ns);
    assert!(decoded(&units) >= 18);
}

#[tokio::test]
async fn a_command_that_ends_is_lost_with_its_last_words_and_started_again() {
    let writer = Writer::new();
    let fails = "if [ ! -e tried ]; then touch tried; echo warming up >&2; echo no cameras available >&2; exit 7; fi";
    let mut supervisor = start(&writer.camera(fails)).await;
    let mut job = supervisor.attached("a").await;
    job.go_live();
    let OwnerState::Lost(why) = supervisor.state().await else { panic!("not lost") };
    assert_eq!(why, "\"sh\" ended with exit code 7: warming up | no cameras available");
    let (told, _) = receive(&mut job.link).await;
    assert!(matches!(&told, ToReader::Lost { why } if why.contains("no cameras")), "{told:?}");
    assert!(matches!(supervisor.state().await, OwnerState::Running(_)));
    assert_eq!(job.skip_to(KEY).await.1, 0);
}

#[tokio::test]
async fn a_command_that_is_not_installed_is_named() {
    let command = vec!["no-such-camera-program".into()];
    let device = camera(CameraDevice::Pipe { command, latency_offset: Duration::ZERO });
    let mut supervisor = start(&device).await;
    let job = supervisor.attached("a").await;
    job.say(&FromReader::Demand(Demand::Armed));
    let OwnerState::Lost(why) = supervisor.state().await else { panic!("not lost") };
    assert!(why.contains("start \"no-such-camera-program\": No such file"), "{why}");
}

#[tokio::test]
async fn a_command_that_stalls_is_lost_and_killed() {
    let writer = Writer::new();
    let stalls = "echo $$ > pid; cat unit00; sleep 0.03; cat unit01; sleep 1000";
    let mut supervisor = start(&writer.runs(stalls)).await;
    let mut job = supervisor.attached("a").await;
    job.go_live();
    job.units(2).await;
    assert!(matches!(supervisor.state().await, OwnerState::Running(_)));
    let OwnerState::Lost(why) = supervisor.state().await else { panic!("not lost") };
    assert_eq!(why, "\"sh\" wrote no picture for 3 s");
    assert!(gone(&writer).await);
}

/// Whether the command that wrote its number has gone, within the patience.
async fn gone(writer: &Writer) -> bool {
    let pid = fs::read_to_string(writer.0.join("pid")).expect("the command has run");
    let start = Instant::now();
    while PathBuf::from(format!("/proc/{}", pid.trim())).exists() {
        if start.elapsed() > PATIENCE {
            return false;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    true
}

#[tokio::test]
async fn a_command_that_ignores_sigterm_ends_with_its_owner() {
    let writer = Writer::new();
    let supervisor = start(&writer.camera("trap '' TERM; echo $$ > pid")).await;
    let mut job = supervisor.attached("a").await;
    job.go_live();
    job.unit().await;
    drop(supervisor.link);
    supervisor.owner.join().unwrap().unwrap();
    assert!(gone(&writer).await);
}

#[tokio::test]
async fn floods_on_standard_error_and_garbage_before_the_stream_do_no_harm() {
    let writer = Writer::new();
    let first = "yes 'a complaint of some length' >&2 & yes garbage | head -c 300000";
    let mut supervisor = start(&writer.camera(first)).await;
    let mut job = supervisor.attached("a").await;
    job.go_live();
    let units = job.units(2 * GROUP).await;
    assert!(units[0].0.flags & KEY != 0);
    assert!(decoded(&units) >= 2 * GROUP - 2, "{} decoded", decoded(&units));
    let late = lateness_ms(&units);
    assert!((43..70).contains(&late), "{late} ms");
    assert!(matches!(supervisor.state().await, OwnerState::Running(_)));
}
