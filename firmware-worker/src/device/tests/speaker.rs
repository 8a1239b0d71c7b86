//! A speaker's owner, on a card by script.

use super::*;
use crate::config::{Speaker, SpeakerDevice};
use hal::audio::SampleFormat;
use hal::audio::playback::fake::Card;
use hal::ring::pcm::{Writer, now_us};
use std::fs::File;
use std::os::unix::fs::FileExt;

fn speaker(card: &str) -> Device {
    let speaker = Speaker { device: SpeakerDevice::Card(card.into()), ..Speaker::default() };
    Device { name: "speaker".into(), kind: DeviceKind::Speaker(speaker) }
}

/// A job that plays one value.
struct Voice {
    link: Link,
    ring: Writer,
    memory: File,
    _bell: OwnedFd,
    value: i16,
}

impl Voice {
    async fn attach(supervisor: &Supervisor, name: &str, value: i16) -> Self {
        let mut link = supervisor.job(name).await;
        link.send(&FromReader::Attach { version: VERSION }, &[]).unwrap();
        let (message, fds) = receive(&mut link).await;
        assert!(matches!(message, ToReader::AttachedSpeaker), "{message:?}");
        let [ring, bell] = <[OwnedFd; 2]>::try_from(fds).unwrap();
        let memory = File::from(ring.try_clone().unwrap());
        link.send(&FromReader::Demand(Demand::Live), &[]).unwrap();
        Self { link, ring: Writer::map(ring).unwrap(), memory, _bell: bell, value }
    }

    fn write(&mut self, count: usize) {
        self.ring.write(now_us(), &vec![[self.value; 2]; count]);
    }

    async fn told(&mut self) -> ToReader {
        receive(&mut self.link).await.0
    }
}

/// Lets jobs write in real time until the card has played this value.
async fn heard(card: &Card, voices: &mut [&mut Voice], value: i16) {
    let start = Instant::now();
    let mut pace = tokio::time::interval(Duration::from_millis(10));
    let mut last = Vec::new();
    while start.elapsed() < PATIENCE {
        pace.tick().await;
        voices.iter_mut().for_each(|voice| voice.write(480));
        let played = card.take_played();
        // Interpolation leaves a constant as it is, but for its rounding.
        if played.iter().filter(|frame| frame[0].abs_diff(value) <= 2).count() >= 200 {
            return;
        }
        last = if played.is_empty() { last } else { played };
    }
    panic!("{value} was not heard; last {:?}", last.last());
}

#[tokio::test]
async fn two_jobs_are_mixed_and_one_that_breaks_its_ring_is_detached() {
    let card = Card::plug_in("owner-mixes", 0.0);
    let mut supervisor = Supervisor::start(&speaker("owner-mixes")).await;
    let mut good = Voice::attach(&supervisor, "good", 1000).await;
    let mut bad = Voice::attach(&supervisor, "bad", 200).await;
    heard(&card, &mut [&mut good, &mut bad], 1200).await;
    let OwnerState::Running(what) = supervisor.state().await else { panic!("not running") };
    assert_eq!(what, "owner-mixes 2 ch 48000 Hz, period 10.0 ms, buffer 50 ms");
    // Its count of written frames.
    bad.memory.write_all_at(&u32::MAX.to_ne_bytes(), 64).unwrap();
    heard(&card, &mut [&mut good], 1000).await;
    assert!(matches!(bad.told().await, ToReader::Running { epoch: 1 }));
    assert!(matches!(timeout(PATIENCE, bad.link.receive::<ToReader>()).await.unwrap(), Err(LinkError::Closed)));
    assert_eq!(supervisor.stats().await.readers, 1);
}

#[tokio::test]
async fn a_card_that_is_unplugged_while_it_plays_is_told_and_plays_on_when_it_is_back() {
    let card = Card::plug_in("owner-replug", 200.0);
    let supervisor = Supervisor::start(&speaker("owner-replug")).await;
    let mut voice = Voice::attach(&supervisor, "a", 700).await;
    heard(&card, &mut [&mut voice], 700).await;
    assert!(matches!(voice.told().await, ToReader::Running { epoch: 1 }));
    card.unplug(true);
    assert!(matches!(voice.told().await, ToReader::Lost { why } if why == "owner-replug: the sound card is gone"));
    // It is looked for in vain, and found when something was plugged in.
    supervisor.link.send(&ToOwner::Rescan, &[]).unwrap();
    assert!(matches!(voice.told().await, ToReader::Lost { why } if why.contains("no such sound card")));
    card.unplug(false);
    supervisor.link.send(&ToOwner::Rescan, &[]).unwrap();
    assert!(matches!(voice.told().await, ToReader::Running { epoch: 2 }));
    heard(&card, &mut [&mut voice], 700).await;
}

#[tokio::test]
async fn a_job_that_leaves_is_silent_at_once_and_takes_nobody_with_it() {
    let card = Card::plug_in("owner-leaves", 0.0);
    let supervisor = Supervisor::start(&speaker("owner-leaves")).await;
    let mut stays = Voice::attach(&supervisor, "stays", 300).await;
    let mut leaves = Voice::attach(&supervisor, "leaves", 5000).await;
    heard(&card, &mut [&mut stays, &mut leaves], 5300).await;
    drop(leaves);
    heard(&card, &mut [&mut stays], 300).await;
}

#[tokio::test]
async fn a_warm_speaker_plays_silence_without_a_job_and_what_a_job_plays_at_once() {
    let card = Card::plug_in("owner-warm", 0.0).with(&[SampleFormat::S24Packed], &[44_100]);
    let Device { name, kind: DeviceKind::Speaker(cold) } = speaker("owner-warm") else { unreachable!() };
    let warm = Device { name, kind: DeviceKind::Speaker(Speaker { warm: true, ..cold }) };
    let mut supervisor = Supervisor::start(&warm).await;
    let OwnerState::Running(what) = supervisor.state().await else { panic!("not running") };
    assert_eq!(what, "owner-warm S24_3LE 2 ch 44100 Hz, period 10.0 ms, buffer 50 ms");
    assert_eq!((card.in_use(), supervisor.stats().await.readers), (1, 0));
    let mut voice = Voice::attach(&supervisor, "a", 700).await;
    heard(&card, &mut [&mut voice], 700).await;
}
