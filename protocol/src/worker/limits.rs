//! What a job may use of the board.

use serde::{Deserialize, Serialize};
use std::fmt;

/// Limits of one process and what it starts; `None` for none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Bytes of memory.
    pub memory: Option<u64>,
    /// Processes and threads.
    pub pids: Option<u32>,
    /// CPU time in percent of one core.
    pub cpu_percent: Option<u32>,
}

/// The memory that a process was killed for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemoryLimit {
    /// Its own limit.
    Bytes(u64),
    /// All that the board has.
    Board,
}

impl fmt::Display for MemoryLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const MIB: u64 = 1 << 20;
        match self {
            Self::Bytes(limit) if limit % MIB == 0 => write!(f, "memory limit {} MiB exceeded", limit / MIB),
            Self::Bytes(limit) => write!(f, "memory limit {limit} bytes exceeded"),
            Self::Board => write!(f, "killed because the board was out of memory"),
        }
    }
}
