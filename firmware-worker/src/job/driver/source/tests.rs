//! A source against an owner played by the test, over a real ring.

use super::*;
use hal::doorbell::Doorbell;
use hal::process::monotonic_ns;
use hal::ring::{Layout, Meta, Writer};
use std::future::poll_fn;
use std::os::fd::{AsFd, BorrowedFd};

const VIDEO: Format = Format::H264 { width: 640, height: 360, milli_fps: 30_000, bitrate: 500_000 };
const AUDIO: Format = Format::Opus { channels: 1, frame_ms: 20, dtx: false, fec: true, bitrate: 48_000 };

/// What was handed on: first payload byte, samples, discontinuity.
type Sent = (u8, u64, bool);

pub struct Owner {
    link: Link,
    writer: Writer,
    bell: Doorbell,
}

impl Owner {
    /// Gives the source a socket and answers its attachment.
    pub async fn attach(source: &mut Source, format: Format) -> Self {
        Self::with_ring(source, format, 64 * 1024).await
    }

    async fn with_ring(source: &mut Source, format: Format, arena: u32) -> Self {
        let (ours, theirs) = Socket::pair().expect("socketpair");
        source.granted(theirs.into_fd()).expect("granted");
        let mut link = Link::new(ours).expect("link");
        assert!(matches!(receive(&mut link).await, FromReader::Attach { version: OLDEST }));
        let writer = Writer::create("test", Layout { slots: 8, arena }).expect("ring");
        let (bell, listener) = Doorbell::new().expect("doorbell");
        let fds: [BorrowedFd<'_>; 2] = [writer.fd(), listener.as_fd()];
        link.send(&ToReader::Attached { format }, &fds).expect("sent");
        let happening = poll_fn(|context| source.poll(context)).await;
        assert!(matches!(happening, Happening::Attached(f) if f == format), "{happening:?}");
        Self { link, writer, bell }
    }

    fn push(&mut self, first: u8, position: u64, flags: u32) {
        let now = monotonic_ns();
        let meta = Meta { captured_ns: now, written_ns: now, position, flags, ..Meta::default() };
        self.writer.push(meta, &[first]).expect("fits");
        self.bell.ring();
    }
}

async fn receive(link: &mut Link) -> FromReader {
    link.receive().await.expect("a message").0
}

/// Everything that is in the ring, and whether a keyframe is to be asked for.
async fn read(source: &mut Source) -> (Vec<Sent>, bool) {
    let anchor = Anchor::new(Instant::now(), monotonic_ns());
    let happening = poll_fn(|context| source.poll(context)).await;
    assert!(matches!(happening, Happening::Rung), "{happening:?}");
    let mut sent = Vec::new();
    let keyframe = source.read(&anchor, &mut Vec::new(), |f| {
        sent.push((f.data[0], f.samples, f.discontinuity));
        ControlFlow::Continue(())
    });
    (sent, keyframe)
}

fn first_bytes(sent: &[Sent]) -> Vec<u8> {
    sent.iter().map(|(first, _, _)| *first).collect()
}

#[tokio::test]
async fn video_starts_with_a_keyframe() {
    let mut source = Source::new("camera".into(), Instant::now());
    let mut owner = Owner::attach(&mut source, VIDEO).await;
    for (first, flags) in [(1, 0), (2, 0), (3, ring::KEY), (4, 0)] {
        owner.push(first, u64::from(first), flags);
    }
    assert_eq!(first_bytes(&read(&mut source).await.0), [3, 4]);
}

#[tokio::test]
async fn what_a_cameras_stamps_are_of_is_known_by_the_unit_that_was_handed_on_last() {
    let mut source = Source::new("camera".into(), Instant::now());
    let mut owner = Owner::attach(&mut source, VIDEO).await;
    let mut after = async |stamped, flags| {
        let now = monotonic_ns();
        let meta = Meta { captured_ns: now, stamped, written_ns: now, flags, ..Meta::default() };
        owner.writer.push(meta, b"x").expect("fits");
        owner.bell.ring();
        read(&mut source).await;
        source.stamped
    };
    let (start, end) = (Some(Stamped::ExposureStart), Some(Stamped::FrameEnd));
    assert_eq!(after(start, 0).await, None, "it was left out");
    assert_eq!(after(start, ring::KEY).await, start);
    assert_eq!(after(end, 0).await, end, "another camera has taken over");
    assert_eq!(after(None, 0).await, None, "an owner that does not say it");
}

#[tokio::test]
async fn a_viewer_who_comes_back_starts_with_a_keyframe_again() {
    let mut source = Source::new("camera".into(), Instant::now());
    let mut owner = Owner::attach(&mut source, VIDEO).await;
    owner.push(1, 1, ring::KEY);
    assert_eq!(first_bytes(&read(&mut source).await.0), [1]);
    source.demand(Demand::Off);
    source.demand(Demand::Live);
    owner.push(2, 2, 0);
    owner.push(3, 3, ring::KEY);
    assert_eq!(first_bytes(&read(&mut source).await.0), [3]);
}

#[tokio::test]
async fn a_listener_who_comes_back_hears_nothing_of_before() {
    let mut source = Source::new("microphone".into(), Instant::now());
    let mut owner = Owner::attach(&mut source, AUDIO).await;
    source.demand(Demand::Live);
    owner.push(1, 960, ring::KEY);
    assert_eq!(first_bytes(&read(&mut source).await.0), [1]);
    source.demand(Demand::Off);
    for n in 2..=8 {
        owner.push(n, u64::from(n) * 960, ring::KEY);
    }
    source.demand(Demand::Live);
    owner.push(9, 9 * 960, ring::KEY);
    assert_eq!(first_bytes(&read(&mut source).await.0), [9]);
}

#[tokio::test]
async fn a_viewer_whose_keyframe_was_written_before_it_had_the_ring_asks_for_another() {
    let mut source = Source::new("camera".into(), Instant::now());
    let mut owner = Owner::attach(&mut source, VIDEO).await;
    source.demand(Demand::Live);
    let mut asked = 0;
    for first in 1..=2 * KEYLESS_UNITS as u8 {
        owner.push(first, first.into(), 0);
        let (sent, keyframe) = read(&mut source).await;
        assert_eq!(sent, []);
        asked += u32::from(keyframe);
    }
    assert_eq!(asked, 2);
}

#[tokio::test]
async fn a_unit_of_impossible_size_is_left_out() {
    let mut source = Source::new("microphone".into(), Instant::now());
    let mut owner = Owner::attach(&mut source, AUDIO).await;
    let meta = Meta { written_ns: monotonic_ns(), position: 960, ..Meta::default() };
    owner.writer.push(meta, &[1; MAX_OPUS + 1]).expect("fits");
    owner.push(2, 1920, ring::KEY);
    assert_eq!(first_bytes(&read(&mut source).await.0), [2]);
    assert_eq!(source.refused, 1);
}

#[tokio::test]
async fn a_keyframe_of_a_larger_picture_than_was_configured_is_handed_on_and_one_beyond_all_sense_is_not() {
    let mut source = Source::new("camera".into(), Instant::now());
    let mut owner = Owner::with_ring(&mut source, VIDEO, 8 << 20).await;
    for (first, size) in [(1, 640 * 360 + 1), (2, 1920 * 1080 + 1), (3, 1920 * 1080)] {
        let meta = Meta { written_ns: monotonic_ns(), position: first.into(), flags: ring::KEY, ..Meta::default() };
        owner.writer.push(meta, &vec![first; size]).expect("fits");
    }
    owner.bell.ring();
    assert_eq!(first_bytes(&read(&mut source).await.0), [1, 3]);
    assert_eq!(source.refused, 1);
}

#[tokio::test]
async fn an_owner_that_always_has_one_more_unit_does_not_hide_its_messages() {
    let mut source = Source::new("microphone".into(), Instant::now());
    let owner = Owner::attach(&mut source, AUDIO).await;
    owner.link.send(&ToReader::Lost { why: "unplugged".into() }, &[]).expect("sent");
    // As after a batch that did not reach the end: the ring has more at once. The runtime looks at sockets now and then.
    for _ in 0..10_000 {
        if let Happening::Lost(why) = poll_fn(|context| source.poll(context)).await {
            return assert_eq!(why, "unplugged");
        }
        tokio::task::yield_now().await;
    }
    panic!("the loss was never told");
}

#[tokio::test]
async fn what_there_is_no_time_for_is_read_without_another_ring_of_the_bell() {
    let mut source = Source::new("microphone".into(), Instant::now());
    let mut owner = Owner::attach(&mut source, AUDIO).await;
    (1..=3).for_each(|first| owner.push(first, u64::from(first) * 960, ring::KEY));
    let anchor = Anchor::new(Instant::now(), monotonic_ns());
    let mut seen = Vec::new();
    while seen.len() < 3 {
        assert!(matches!(poll_fn(|context| source.poll(context)).await, Happening::Rung));
        let before = seen.len();
        source.read(&anchor, &mut Vec::new(), |frame| {
            seen.push(frame.data[0]);
            ControlFlow::Break(())
        });
        assert_eq!(seen.len(), before + 1, "one at a time");
    }
    assert_eq!(seen, [1, 2, 3]);
}

#[tokio::test]
async fn nothing_of_before_a_loss_is_handed_on_after_it() {
    for (format, flags) in [(AUDIO, ring::KEY), (VIDEO, ring::KEY | ring::PERIODIC)] {
        let mut source = Source::new("microphone".into(), Instant::now());
        let mut owner = Owner::attach(&mut source, format).await;
        source.demand(Demand::Live);
        owner.push(1, 960, flags);
        owner.link.send(&ToReader::Lost { why: "unplugged".into() }, &[]).expect("sent");
        while !matches!(poll_fn(|context| source.poll(context)).await, Happening::Lost(_)) {
            tokio::task::yield_now().await;
        }
        owner.push(2, 1920, flags);
        assert_eq!(first_bytes(&read(&mut source).await.0), [2]);
    }
}

#[tokio::test]
async fn what_a_camera_saw_before_it_was_closed_is_not_shown_to_who_comes_later() {
    let mut source = Source::new("camera".into(), Instant::now());
    let mut owner = Owner::attach(&mut source, VIDEO).await;
    let flags = ring::KEY | ring::PERIODIC;
    let long_ago = monotonic_ns() - 60_000_000_000;
    let meta = Meta { captured_ns: long_ago, written_ns: long_ago, position: 1, flags, ..Meta::default() };
    owner.writer.push(meta, &[1]).expect("fits");
    owner.bell.ring();
    source.demand(Demand::Live);
    owner.push(2, 2, flags);
    assert_eq!(first_bytes(&read(&mut source).await.0), [2]);
}

#[tokio::test]
async fn a_lapped_video_reader_asks_for_a_keyframe_and_goes_on_with_it() {
    let mut source = Source::new("camera".into(), Instant::now());
    let mut owner = Owner::attach(&mut source, VIDEO).await;
    owner.push(1, 1, ring::KEY);
    read(&mut source).await;
    for first in 2..=30 {
        owner.push(first, first.into(), 0);
    }
    let (sent, keyframe) = read(&mut source).await;
    assert!(keyframe);
    assert_eq!(sent, []);
    assert!(source.lapped >= 29 - 8, "{}", source.lapped);
    owner.push(40, 40, ring::KEY);
    let (sent, keyframe) = read(&mut source).await;
    assert!(!keyframe);
    assert_eq!(sent, [(40, 0, true)]);
}

#[tokio::test]
async fn a_lapped_audio_reader_goes_on_at_once_and_marks_the_gap() {
    let mut source = Source::new("microphone".into(), Instant::now());
    let mut owner = Owner::attach(&mut source, AUDIO).await;
    owner.push(1, 960, ring::KEY);
    read(&mut source).await;
    for n in 2..=30 {
        owner.push(n, u64::from(n) * 960, ring::KEY);
    }
    let (sent, keyframe) = read(&mut source).await;
    assert!(!keyframe);
    assert!(sent[0].2 && !sent[1].2, "{sent:?}");
    assert_eq!(sent.last(), Some(&(30, 30 * 960, false)));
}

#[tokio::test]
async fn the_end_of_an_owner_is_told_and_the_next_one_continues_the_timeline() {
    let start = Instant::now();
    let mut source = Source::new("microphone".into(), start);
    let mut owner = Owner::attach(&mut source, AUDIO).await;
    owner.push(1, 48_000, ring::KEY);
    assert_eq!(read(&mut source).await.0, [(1, 48_000, true)]);
    drop(owner);
    let happening = poll_fn(|context| source.poll(context)).await;
    assert!(matches!(happening, Happening::Gone(_)), "{happening:?}");
    source.retry(start, 0);
    assert!(!source.due(start));
    assert!(source.due(start + RETRY.1));

    let mut owner = Owner::attach(&mut source, AUDIO).await;
    owner.push(2, 0, ring::KEY);
    let (sent, _) = read(&mut source).await;
    assert!(sent[0].1 > 48_000 && sent[0].1 < 48_000 * 60, "{sent:?}");
    assert!(sent[0].2);
}

#[tokio::test]
async fn a_source_that_never_comes_is_asked_for_at_most_every_two_and_a_half_seconds_in_the_long_run() {
    let mut now = Instant::now();
    let mut source = Source::new("camera".into(), now);
    let mut waits = Vec::new();
    for random in 0..20 {
        source.retry(now, random);
        let due = source.deadline().expect("it is tried again");
        waits.push(due - now);
        now = due;
        assert!(source.due(now));
    }
    assert!(
        waits[..8] != waits[8..16] && waits[8..].iter().all(|wait| (RETRY.1 / 2..=RETRY.1).contains(wait)),
        "{waits:?}"
    );
}

#[tokio::test]
async fn a_new_owner_is_told_what_the_former_knew() {
    let mut source = Source::new("camera".into(), Instant::now());
    source.demand(Demand::Live);
    source.rate(300_000);
    let mut owner = Owner::attach(&mut source, VIDEO).await;
    assert!(matches!(receive(&mut owner.link).await, FromReader::Demand(Demand::Live)));
    assert!(matches!(receive(&mut owner.link).await, FromReader::Rate { bps: 300_000 }));
}

#[tokio::test]
async fn an_owner_that_gives_no_ring_is_given_up() {
    let mut source = Source::new("camera".into(), Instant::now());
    let (ours, theirs) = Socket::pair().expect("socketpair");
    source.granted(theirs.into_fd()).expect("granted");
    let link = Link::new(ours).expect("link");
    link.send(&ToReader::Attached { format: VIDEO }, &[]).expect("sent");
    let happening = poll_fn(|context| source.poll(context)).await;
    assert!(matches!(happening, Happening::Gone(_)), "{happening:?}");
}

#[tokio::test]
async fn where_no_keyframe_can_be_asked_for_a_viewer_catches_up_from_the_last_one() {
    let mut source = Source::new("camera".into(), Instant::now());
    let mut owner = Owner::attach(&mut source, VIDEO).await;
    let start = monotonic_ns();
    let mut push = |n: u64, flags| {
        let captured_ns = start - 1_000_000_000 + n * 100_000_000;
        let meta =
            Meta { captured_ns, written_ns: start, position: n, flags: flags | ring::PERIODIC, ..Meta::default() };
        owner.writer.push(meta, &[n as u8]).expect("fits");
        owner.bell.ring();
    };
    for (n, flags) in [(1, 0), (2, ring::KEY), (3, 0), (4, 0), (5, 0)] {
        push(n, flags);
    }
    source.demand(Demand::Live);
    push(6, 0);
    let anchor = Anchor::new(Instant::now(), start);
    let happening = poll_fn(|context| source.poll(context)).await;
    assert!(matches!(happening, Happening::Rung), "{happening:?}");
    let mut sent = Vec::new();
    let keyframe = source.read(&anchor, &mut Vec::new(), |f| {
        sent.push((f.data[0], f.captured));
        ControlFlow::Continue(())
    });
    let (first, times): (Vec<_>, Vec<_>) = sent.into_iter().unzip();
    assert_eq!((first, keyframe), (vec![2, 3, 4, 5, 6], false));
    let gaps: Vec<_> = times.windows(2).map(|pair| pair[1].duration_since(pair[0]).as_micros()).collect();
    assert_eq!(gaps, [3125, 3125, 3125, 100_000], "the backlog in a hurry, the present in its time");
}
