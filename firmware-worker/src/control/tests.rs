use super::*;
use crate::control::SoundLevel;
use protocol::worker::Accept;
use serde::de::DeserializeOwned;
use std::fmt::Debug;

/// Every message of version 1: its bytes, in hexadecimal, and what they mean. Written by program 0.1.0; a version keeps its
/// text for as long as it is spoken.
const VERSION_1: &str = include_str!("version_1.txt");

/// What version 2 adds.
const VERSION_2: &str = include_str!("version_2.txt");

/// What version 3 adds.
const VERSION_3: &str = include_str!("version_3.txt");

/// What becomes of a message on its way.
#[derive(Debug)]
struct Sent {
    bytes: Vec<u8>,
    meaning: String,
}

fn sent<M: Serialize + Debug>(message: &M) -> Sent {
    let bytes = postcard::to_stdvec(message).expect("numbers and texts have a form");
    Sent { bytes, meaning: format!("{message:?}") }
}

/// What is recorded of the messages of one kind, in the order of their numbers.
fn recorded(kind: &str) -> Vec<Sent> {
    let lines = [VERSION_1, VERSION_2, VERSION_3].into_iter().flat_map(str::lines);
    let lines = lines.filter_map(|line| line.strip_prefix(kind)?.strip_prefix(' '));
    let parts = lines.map(|line| line.split_once(' ').expect("bytes and meaning"));
    parts.map(|(bytes, meaning)| Sent { bytes: from_hex(bytes), meaning: meaning.to_owned() }).collect()
}

fn from_hex(text: &str) -> Vec<u8> {
    let digits: Vec<_> = text.chars().map(|digit| digit.to_digit(16).expect("hexadecimal") as u8).collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Today's messages of a kind are those of version 1 and what later ones add: what those wrote is understood, what they read is
/// written, and nothing is said that they do not know.
#[track_caller]
fn assert_spoken<M: Serialize + DeserializeOwned + Debug>(kind: &str, today: &[M]) {
    let lines: Vec<_> = today.iter().map(sent).collect();
    let text: String = lines.iter().map(|sent| format!("{kind} {} {}\n", hex(&sent.bytes), sent.meaning)).collect();
    let recorded = recorded(kind);
    assert_eq!(recorded.len(), lines.len(), "another version is needed, with a text of its own:\n{text}");
    for (number, (before, now)) in recorded.iter().zip(&lines).enumerate() {
        let understood: M = postcard::from_bytes(&before.bytes).expect("a message of its version");
        assert_eq!(format!("{understood:?}"), before.meaning);
        assert_eq!((hex(&now.bytes), &now.meaning), (hex(&before.bytes), &before.meaning), "another version:\n{text}");
        assert_eq!(usize::from(before.bytes[0]), number, "one of each");
    }
    // One more would not be known to a program of that version.
    let next = [u8::try_from(lines.len()).expect("few"), 0, 0, 0, 0, 0, 0, 0];
    assert!(postcard::from_bytes::<M>(&next).is_err(), "{kind} has a message that no version knows");
}

fn h264() -> Format {
    Format::H264 { width: 1280, height: 720, milli_fps: 29_970, bitrate: 2_000_000 }
}

#[test]
fn what_jobs_and_supervisor_say_is_what_they_said_in_versions_1_and_2() {
    let accept = Accept { name: "Board".into(), identity: "board-1".into(), ..Accept::default() };
    let stages = vec![SourceStages { name: "camera".into(), ..SourceStages::default() }];
    let stats =
        JobStats { packets_out: 300, bytes_out: 70_000, lapped: 1, rejoins: 2, resumes: 3, stamps_clamped: 4, stages };
    let today = [
        FromJob::Hello { version: 1 },
        FromJob::Prewarmed,
        FromJob::Answer(Answer::Accept(accept)),
        FromJob::Ready,
        FromJob::OpenSource { name: "camera".into() },
        FromJob::Joined { sid: "PA_1".into() },
        FromJob::Token(Secret::new("t.o.k")),
        FromJob::Rejoining,
        FromJob::Rejoined,
        FromJob::Ending(JobResult::Success { reason: "room closed".into() }),
        FromJob::Left,
        FromJob::Resolve { id: 7, host: "sfu.example".into(), port: 443 },
        FromJob::Pong { id: 8, driver_ms: 9, user_ms: 1000, stats },
        FromJob::Panic { message: "no lens".into(), location: "main.rs:1".into() },
        FromJob::Failing("lens cap".into()),
        FromJob::TokenPart { at: 4080, part: Secret::new("t.o.k"), last: true },
    ];
    assert_spoken("FromJob", &today);
    let addresses = vec!["192.0.2.1:443".parse().expect("an address"), "[2001:db8::1]:443".parse().expect("another")];
    let today = [
        ToJob::Setup,
        ToJob::Offer,
        ToJob::Spec,
        ToJob::SourceFd { name: "camera".into() },
        ToJob::Denied { name: "camera".into(), why: "no such device".into() },
        ToJob::Terminate { reason: "drained".into(), grace_ms: 10_000 },
        ToJob::Ack,
        ToJob::Addresses { id: 7, addresses, error: String::new() },
        ToJob::Ping { id: 8 },
    ];
    assert_spoken("ToJob", &today);
}

#[test]
fn what_owners_and_supervisor_say_is_what_they_said_in_versions_1_and_3() {
    let stats = OwnerStats {
        captured: 300,
        written: 299,
        dropped: 1,
        readers: 2,
        level: Some(SoundLevel { peak: -300, rms: -1200 }),
        encoder: Some(Encoder::Hardware),
        buffer_us: 40_000,
        ..OwnerStats::default()
    };
    let today = [
        FromOwner::Hello { version: 1 },
        FromOwner::NeedNode { path: "/dev/video0".into() },
        FromOwner::WhoHolds { device: "hw:0".into() },
        FromOwner::State(OwnerState::Lost("unplugged".into())),
        FromOwner::Pong { id: 8, stats },
        FromOwner::Panic { message: "no lens".into(), location: "main.rs:1".into() },
        FromOwner::Violated { job: "AJ_1".into(), why: "attached twice".into() },
        FromOwner::Facts(DeviceFacts {
            stamps_behind: 1,
            stamps_ahead: 300,
            stamped: 2,
            buffers: Some(DriverBuffers { camera: 70_000, encoder: Some(300) }),
        }),
    ];
    assert_spoken("FromOwner", &today);
    let today = [
        ToOwner::Setup,
        ToOwner::Reader { job: "AJ_1".into() },
        ToOwner::Node,
        ToOwner::NoNode { why: "busy".into() },
        ToOwner::Holder { who: "in use by arecord (pid 812)".into() },
        ToOwner::Rescan,
        ToOwner::Ping { id: 8 },
    ];
    assert_spoken("ToOwner", &today);
}

#[test]
fn what_jobs_and_owners_say_is_what_they_said_in_version_1() {
    let today = [
        FromReader::Attach { version: 1 },
        FromReader::Demand(Demand::Live),
        FromReader::Keyframe,
        FromReader::Rate { bps: 400_000 },
        FromReader::Detach,
    ];
    assert_spoken("FromReader", &today);
    let today = [
        ToReader::Attached { format: h264() },
        ToReader::AttachedSpeaker,
        ToReader::Lost { why: "unplugged".into() },
        ToReader::Running { epoch: 3 },
    ];
    assert_spoken("ToReader", &today);
}
