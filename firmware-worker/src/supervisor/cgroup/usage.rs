//! What a child has used, as its leaf counts it.

use super::files::{number, read, value};
use crate::control::UsageReport;
use protocol::worker::Limits;
use std::path::Path;

/// Each is `None` where the kernel does not count it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in super::super) struct Usage {
    /// Bytes now.
    pub memory: Option<u64>,
    /// Bytes at most so far (Linux 5.19).
    pub memory_peak: Option<u64>,
    /// CPU time of all its processes, µs.
    pub cpu_us: Option<u64>,
    /// Processes and threads now.
    pub pids: Option<u64>,
    /// What it may have.
    pub limits: Limits,
}

/// Bytes of memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) struct Memory {
    /// Now.
    pub used: u64,
    /// At most.
    pub limit: Option<u64>,
}

impl Usage {
    /// For operators.
    pub(in super::super) fn report(self) -> UsageReport {
        UsageReport {
            memory: self.memory,
            memory_peak: self.memory_peak,
            memory_limit: self.limits.memory,
            cpu_ms: self.cpu_us.map(|us| us / 1000),
            pids: self.pids,
            pids_limit: self.limits.pids,
        }
    }

    pub(super) fn of(leaf: &Path, limits: Limits) -> Self {
        Self {
            memory: number(&leaf.join("memory.current")),
            memory_peak: number(&leaf.join("memory.peak")),
            cpu_us: read(&leaf.join("cpu.stat")).ok().and_then(|stat| value(&stat, "usage_usec")),
            pids: number(&leaf.join("pids.current")),
            limits,
        }
    }
}
