//! How long the stages of a device's media path take, counted by its threads and read by the control loop.

use crate::control::{BUCKETS, Latency, OwnerStage, bucket};
use hal::process::monotonic_ns;
use std::array::from_fn;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// One count for each [`OwnerStage`].
#[derive(Debug, Default)]
pub struct Stages([Counts; OwnerStage::NAMES.len()]);

#[derive(Debug, Default)]
struct Counts {
    buckets: [AtomicU64; BUCKETS],
    sum_us: AtomicU64,
}

impl Stages {
    /// A stage that has lasted from `start_ns` (CLOCK_MONOTONIC) until now. Stamps in the future, which some drivers
    /// give, count as no time.
    pub fn since(&self, stage: OwnerStage, start_ns: u64) {
        self.took(stage, Duration::from_nanos(monotonic_ns().saturating_sub(start_ns)));
    }

    /// A stage that has lasted this long.
    pub fn took(&self, stage: OwnerStage, time: Duration) {
        let us = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        let counts = &self.0[stage as usize];
        counts.buckets[bucket(us)].fetch_add(1, Relaxed);
        counts.sum_us.fetch_add(us, Relaxed);
    }

    /// So far.
    pub fn latencies(&self) -> [Latency; OwnerStage::NAMES.len()] {
        from_fn(|stage| {
            let counts = &self.0[stage];
            Latency { counts: from_fn(|i| counts.buckets[i].load(Relaxed)), sum_us: counts.sum_us.load(Relaxed) }
        })
    }
}
