//! Where sound enters an owner: a ring and a voice for each job.
//!
//! The one lock of a speaker's owner is here, between its control loop and its thread. It is held for the mix of a period;
//! nothing under it waits.

use super::super::level::Meter;
use super::reference::Reference;
use super::voice::{Beat, Step, Voice};
use hal::doorbell::Doorbell;
use hal::ring::{self, pcm};
use protocol::device::ReaderId;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Counters that the thread adds to and the control loop reads.
#[derive(Debug, Default)]
pub struct Counters {
    /// Periods that the card took.
    pub played: AtomicU64,
    /// Periods in which a job was heard.
    pub heard: AtomicU64,
    /// Times the card ran dry or slept.
    pub xruns: AtomicU64,
    /// Times a job's ring ran dry while it was played: at the end of a sound, or because its job was late.
    pub dry: AtomicU64,
    /// Frames thrown away because a backlog had built up.
    pub skipped: AtomicU64,
    /// Mean over the last second of a job's lead over the card, in µs; that of the job with most.
    pub buffer_us: AtomicU32,
}

/// All voices of one speaker.
#[derive(Debug)]
pub struct Inlet {
    shared: Mutex<Shared>,
    reference: Mutex<Reference>,
    /// See [`Counters`].
    pub counters: Counters,
    /// Of what the card plays.
    pub meter: Meter,
}

#[derive(Debug)]
struct Shared {
    beat: Beat,
    voices: Vec<(ReaderId, Voice, Arc<Doorbell>)>,
    /// One period, interleaved.
    sum: Vec<f32>,
}

impl Inlet {
    /// Without voices. Its reference lives as long as the owner, whatever becomes of the card.
    pub fn create() -> Result<Self, ring::Error> {
        // Until a card says otherwise.
        let beat = Beat::USUAL;
        let shared = Shared { beat, voices: Vec::new(), sum: vec![0.0; beat.period * 2] };
        let reference = Mutex::new(Reference::create(beat.period)?);
        Ok(Self { shared: Mutex::new(shared), reference, counters: Counters::default(), meter: Meter::default() })
    }

    /// What the card plays, with its time, for whoever compares a microphone with it; see [`Reference`].
    pub fn reference(&self) -> Result<OwnedFd, ring::Error> {
        self.kept().fd()
    }

    /// The card took these frames, and plays the first of them at `leaves_ns`, if it says when.
    pub fn played(&self, frames: &[pcm::Frame], leaves_ns: Option<u64>) {
        self.kept().push(frames, leaves_ns);
    }

    /// The card has stopped, and what it held was not played.
    pub fn missed(&self) {
        self.kept().interrupt();
    }

    /// Makes a ring for a job, to be passed to it. The bell is rung each period in which it waits for room.
    pub fn attach(&self, reader: ReaderId, bell: Arc<Doorbell>) -> Result<OwnedFd, ring::Error> {
        let ring = pcm::Reader::create("pcm")?;
        let fd = ring.fd().try_clone_to_owned().map_err(|source| ring::Error::System { call: "dup", source })?;
        // Before the lock, which the card's thread waits for in each period.
        let beat = self.shared().beat;
        let mut voice = Voice::new(ring, beat);
        let mut shared = self.shared();
        if shared.beat != beat {
            voice.begin(shared.beat);
        }
        shared.voices.push((reader, voice, bell));
        Ok(fd)
    }

    /// Forgets a job, with what it has written.
    pub fn detach(&self, reader: ReaderId) {
        let mut shared = self.shared();
        let gone: Vec<_> = shared.voices.extract_if(.., |(id, ..)| *id == reader).collect();
        drop(shared);
        // Its memory goes without the lock.
        drop(gone);
    }

    /// A card runs that takes its sound so.
    pub fn begin(&self, beat: Beat) {
        let mut shared = self.shared();
        shared.beat = beat;
        shared.sum.resize(beat.period * 2, 0.0);
        for (_, voice, _) in &mut shared.voices {
            voice.begin(beat);
        }
        drop(shared);
        self.kept().begin(beat);
    }

    /// Fills a period with the sum of all voices; `now_us` is [`pcm::now_us`]. Who breaks the rules of the ring is forgotten
    /// and named to `broken`.
    pub fn mix(&self, now_us: u32, frames: &mut [pcm::Frame], mut broken: impl FnMut(ReaderId, pcm::Violation)) {
        let mut shared = self.shared();
        let Shared { voices, sum, .. } = &mut *shared;
        sum.fill(0.0);
        let (mut heard, mut buffer_us) = (false, 0);
        voices.retain_mut(|(reader, voice, bell)| match voice.add(sum, now_us) {
            Ok(step) => {
                self.count(step);
                heard |= step.heard;
                buffer_us = buffer_us.max(voice.mean_us());
                if voice.held() {
                    bell.ring();
                }
                true
            }
            Err(violation) => {
                broken(*reader, violation);
                false
            }
        });
        for (frame, [left, right]) in frames.iter_mut().zip(sum.as_chunks().0) {
            // Saturates.
            *frame = [*left as i16, *right as i16];
        }
        drop(shared);
        self.meter.add(frames.as_flattened());
        self.counters.heard.fetch_add(heard.into(), Relaxed);
        self.counters.buffer_us.store(buffer_us, Relaxed);
    }

    fn count(&self, step: Step) {
        self.counters.dry.fetch_add(step.dry.into(), Relaxed);
        self.counters.skipped.fetch_add(step.skipped as u64, Relaxed);
    }

    /// Only the thread of the card writes to it.
    fn kept(&self) -> MutexGuard<'_, Reference> {
        self.reference.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn shared(&self) -> MutexGuard<'_, Shared> {
        // A panic under the lock ends the process; in tests, what it guards is consistent at every step.
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
