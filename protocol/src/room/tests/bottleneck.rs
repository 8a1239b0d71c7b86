//! Congestion control end to end: an encoder that follows the room, a narrow stretch, and the SFU's feedback.

use super::link::Link;
use super::sfu::Packet;
use super::viewers::wanted;
use super::world::{World, camera, microphone};
use crate::room::*;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

const FRAME: Duration = Duration::from_micros(33_333);
const FULL: u32 = 2_000_000;
const SECOND: Duration = Duration::from_secs(1);
/// A keyframe is so many times the size of other frames.
const KEYFRAME: u32 = 4;
/// A receiver that sees no picture for so long asks for a keyframe.
const PATIENCE: Duration = Duration::from_millis(500);

/// A camera whose encoder follows the room, and a receiver that shows what it can decode.
struct Call {
    world: World,
    rate: u32,
    key: bool,
    seen: usize,
    next_audio: Instant,
    receiver: Receiver,
}

/// The pictures that a receiver can decode.
#[derive(Default)]
struct Receiver {
    /// Packets of the SFU that were looked at.
    read: usize,
    packets: BTreeMap<u64, Packet>,
    /// The sequence number after the last picture shown.
    next: u64,
    shown: Vec<Instant>,
    asked: Option<Instant>,
}

impl Receiver {
    /// Takes what came; true when a keyframe is needed.
    fn receive(&mut self, packets: &[Packet], now: Instant) -> bool {
        let video = packets[self.read..].iter().filter(|p| p.payload.len() > 100);
        self.packets.extend(video.map(|p| (p.sequence, p.clone())));
        self.read = packets.len();
        while let Some(end) = self.decodable() {
            self.packets = self.packets.split_off(&(end + 1));
            self.next = end + 1;
            self.shown.push(now);
        }
        let patient = |at: &Instant| now <= *at + PATIENCE;
        let needed = !self.shown.last().is_some_and(patient) && !self.asked.as_ref().is_some_and(patient);
        if needed {
            self.asked = Some(now);
        }
        needed
    }

    /// The last packet of the next picture: the one after the last, or a later keyframe.
    fn decodable(&self) -> Option<u64> {
        let keyframes = self.packets.range(self.next + 1..).filter(|(_, p)| p.payload[..2] == [0x7c, 0x85]);
        let mut starts = std::iter::once(self.next).chain(keyframes.map(|(sequence, _)| *sequence));
        starts.find_map(|start| {
            let mut whole = (start..).map_while(|n| self.packets.get(&n).map(|p| (n, p.marker)));
            whole.find(|(_, marker)| *marker).map(|(n, _)| n)
        })
    }
}

impl Call {
    fn start() -> Self {
        let mut call = Self::with(World::live(vec![microphone(), camera()]));
        call.run(SECOND * 8);
        assert_eq!(call.rate, FULL, "a free way carries the full rate");
        call
    }

    fn with(world: World) -> Self {
        let now = world.now;
        Self { world, rate: FULL, key: true, seen: 0, next_audio: now, receiver: Receiver::default() }
    }

    fn follow(&mut self) {
        for event in &self.world.events[self.seen..] {
            match event {
                Event::Bandwidth(bps) => self.rate = *bps,
                Event::KeyframeNeeded(_) => self.key = true,
                _ => {}
            }
        }
        self.seen = self.world.events.len();
    }

    /// Runs for this long; returns the seconds until `done`.
    fn run_until(&mut self, most: Duration, mut done: impl FnMut(&Self) -> bool) -> Option<f64> {
        let start = self.world.now;
        while self.world.now < start + most {
            self.follow();
            let key = std::mem::take(&mut self.key);
            let size = self.rate / 8 / 30 * if key { KEYFRAME } else { 1 };
            self.world.video(key, size as usize);
            let end = self.world.now + FRAME;
            while self.next_audio < end {
                self.world.run(self.next_audio.saturating_duration_since(self.world.now));
                self.world.audio(&[7; 80]);
                self.next_audio += Duration::from_millis(20);
            }
            self.world.run(end.saturating_duration_since(self.world.now));
            self.receive();
            if done(self) {
                return Some((self.world.now - start).as_secs_f64());
            }
        }
        None
    }

    fn run(&mut self, duration: Duration) {
        self.run_until(duration, |_| false);
    }

    fn receive(&mut self) {
        let packets = &self.world.sfu.packets;
        if self.receiver.receive(packets, self.world.now) {
            let ssrc = packets.iter().rev().find(|p| p.payload.len() > 100).map(|p| p.ssrc);
            ssrc.inspect(|ssrc| self.world.sfu.request_keyframe(*ssrc));
        }
    }

    /// Seconds without a new picture, where they were more than half a one.
    fn freezes(&self, from: Instant) -> Vec<f64> {
        let shown = self.receiver.shown.iter().filter(|at| **at >= from);
        let gaps = shown.clone().zip(shown.skip(1)).map(|(before, after)| (*after - *before).as_secs_f64());
        gaps.filter(|gap| *gap > 0.5).collect()
    }

    /// Seconds until the encoder has its full rate again.
    fn recovery(&mut self) -> f64 {
        self.world.link = Link::default();
        self.run_until(SECOND * 90, |call| call.rate == FULL).unwrap_or(f64::INFINITY)
    }
}

#[test]
fn the_full_rate_is_back_soon_after_a_bottleneck_is_gone() {
    for seconds in [12, 20, 27, 45] {
        let mut call = Call::start();
        call.world.link.limit = Some(800_000);
        call.run(SECOND * seconds);
        assert!(call.rate < FULL / 2, "{} bit/s into 800 kbit/s", call.rate);
        let recovery = call.recovery();
        println!("after {seconds} s of 800 kbit/s: full rate within {recovery:.1} s");
        assert!(recovery < 10.0, "{recovery:.1} s after {seconds} s");
    }
}

#[test]
fn two_minutes_of_a_bottleneck_neither_starve_nor_freeze_video() {
    let mut call = Call::start();
    call.world.link.limit = Some(800_000);
    call.run(SECOND * 10);
    let settled = call.world.now;
    let mut rates: Vec<u32> = (0..110)
        .map(|_| {
            call.run(SECOND);
            call.rate
        })
        .collect();
    rates.sort_unstable();
    let freezes = call.freezes(settled);
    println!("800 kbit/s: {} to {} bit/s, median {}; freezes {freezes:?} s", rates[0], rates[109], rates[55]);
    assert!(rates[0] > 300_000 && rates[55] > 450_000, "{rates:?}");
    assert!(freezes.len() <= 2, "{freezes:?}");
}

#[test]
fn a_path_that_passes_bursts_and_loses_the_rest_is_not_tried_again_and_again() {
    let mut call = Call::start();
    (call.world.link.limit, call.world.link.bucket) = (Some(800_000), Some(16_000.0));
    call.run(SECOND * 60);
    let settled = call.world.now;
    call.run(SECOND * 60);
    let freezes = call.freezes(settled);
    println!("800 kbit/s by a policer: freezes {freezes:?} s");
    assert!(freezes.len() <= 4, "{freezes:?}");
}

#[test]
fn video_published_after_the_join_follows_the_path_too() {
    let mut world = World::live(vec![microphone()]);
    world.link.limit = Some(800_000);
    world.command(Command::Publish(camera()));
    let mut call = Call::with(world);
    call.run(SECOND * 15);
    assert!(call.rate < 800_000, "{} bit/s into 800 kbit/s", call.rate);
}

#[test]
fn what_video_may_take_is_told_again_when_a_camera_mutes_or_comes_back() {
    let second = LocalTrack { id: TrackId("second".to_owned()), ..camera() };
    let mut call = Call::with(World::live(vec![microphone(), camera(), second.clone()]));
    call.world.link.limit = Some(800_000);
    call.run(SECOND * 12);
    for muted in [true, false] {
        call.world.events.clear();
        call.seen = 0;
        call.world.command(Command::Mute(second.id.clone(), muted));
        let told = call.world.events.iter().find_map(|e| match e {
            Event::Bandwidth(bps) => Some(*bps),
            _ => None,
        });
        assert!(told.is_some_and(|bps| bps < 1_000_000), "{told:?}, muted: {muted}");
    }
}

#[test]
fn video_that_nobody_watches_follows_the_path_too() {
    let mut call = Call::start();
    call.world.sfu.say(wanted("TR_2", false));
    call.run(SECOND);
    assert!(call.world.saw(|e| matches!(e, Event::Wanted(_, false))));
    call.world.link.limit = Some(800_000);
    call.run(SECOND * 12);
    assert!(call.rate < FULL / 2, "{} bit/s into 800 kbit/s", call.rate);
    call.world.sfu.say(wanted("TR_2", true));
    assert!(call.recovery() < 10.0);
}

#[test]
fn without_video_estimation_wakes_nobody() {
    let mut world = World::live(vec![microphone()]);
    let before = world.wakes;
    world.run(SECOND * 10);
    let wakes = world.wakes - before;
    println!("{wakes} wake-ups in 10 s");
    assert!(wakes < 100, "{wakes} in 10 s");
}
