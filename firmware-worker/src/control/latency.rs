//! How long the stages of the media path take: times counted in fixed buckets, small enough for every pong.

use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Upper bounds of the buckets, µs: from a copy into a ring to a picture that is several frames late.
pub const BOUNDS_US: [u32; 10] = [100, 500, 1_000, 2_000, 5_000, 10_000, 20_000, 50_000, 100_000, 500_000];

/// Buckets: one more than bounds, for what is above the last.
pub const BUCKETS: usize = BOUNDS_US.len() + 1;

/// Where a time of `us` is counted.
pub fn bucket(us: u64) -> usize {
    BOUNDS_US.iter().position(|&bound| us <= u64::from(bound)).unwrap_or(BOUNDS_US.len())
}

/// The times of one stage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Latency {
    /// How many fell into each bucket; not summed up.
    pub counts: [u64; BUCKETS],
    /// All of them together, µs.
    pub sum_us: u64,
}

impl Latency {
    /// One more.
    pub fn took(&mut self, time: Duration) {
        let us = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        self.counts[bucket(us)] += 1;
        self.sum_us = self.sum_us.saturating_add(us);
    }

    /// What was counted since `earlier` of the same count; everything, if it has started anew.
    pub fn since(&self, earlier: &Self) -> Self {
        if self.sum_us < earlier.sum_us || self.counts.iter().zip(earlier.counts).any(|(now, then)| *now < then) {
            return *self;
        }
        let mut since = *self;
        since.sum_us -= earlier.sum_us;
        for (count, then) in since.counts.iter_mut().zip(earlier.counts) {
            *count -= then;
        }
        since
    }

    /// Adds those of another; a child's numbers may be anything.
    pub fn add(&mut self, other: &Self) {
        self.sum_us = self.sum_us.saturating_add(other.sum_us);
        for (count, more) in self.counts.iter_mut().zip(other.counts) {
            *count = count.saturating_add(more);
        }
    }
}

/// Stages of a frame, or of a packet of sound, in an owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OwnerStage {
    /// From the driver's stamp until it is dequeued; for sound, from the stamp of the last sample.
    Capture,
    /// Into what the encoder takes.
    Convert,
    /// Encoded.
    Encode,
    /// Written into the ring, with a byte for each reader.
    Publish,
}

impl OwnerStage {
    /// In the order of their values.
    pub const NAMES: [&str; 4] = ["capture", "convert", "encode", "publish"];
}

/// How long media of a source take in a job.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceStages {
    /// Name in the configuration.
    pub name: String,
    /// As [`JOB_STAGES`].
    pub latency: [Latency; JOB_STAGES.len()],
}

/// Stages in a job: a unit in the ring until it is read; from there, packetized and paced, until its last packet is sent.
pub const JOB_STAGES: [&str; 2] = ["ring", "send"];

/// Sources whose stages a job reports: their numbers fill half a message at most.
pub const MAX_STAGES: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    fn of(times_us: &[u64]) -> Latency {
        let mut latency = Latency::default();
        times_us.iter().for_each(|&us| latency.took(Duration::from_micros(us)));
        latency
    }

    #[test]
    fn a_time_counts_in_the_first_bucket_whose_bound_it_does_not_exceed() {
        let latency = of(&[0, 100, 101, 20_000, 500_000, 500_001, u64::MAX]);
        assert_eq!(latency.counts, [2, 1, 0, 0, 0, 0, 1, 0, 0, 1, 2]);
        assert_eq!(latency.sum_us, u64::MAX);
    }

    #[test]
    fn what_a_child_reports_again_is_counted_once_and_a_count_that_started_anew_in_full() {
        let (early, late) = (of(&[50, 3_000]), of(&[50, 3_000, 70, 800_000]));
        assert_eq!(late.since(&early), of(&[70, 800_000]));
        assert_eq!(early.since(&late), early);
        let mut total = early;
        total.add(&late.since(&early));
        assert_eq!(total, late);
        total.add(&Latency { counts: [u64::MAX; BUCKETS], sum_us: u64::MAX });
        assert_eq!(total.counts, [u64::MAX; BUCKETS]);
    }
}
