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
        match self {
            Self::Bytes(limit) if limit % MIB == 0 => write!(f, "memory limit {} MiB exceeded", limit / MIB),
            Self::Bytes(limit) => write!(f, "memory limit {limit} bytes exceeded"),
            Self::Board => write!(f, "killed because the board was out of memory"),
        }
    }
}

/// Less memory than this no job starts with, MiB.
const LEAST_MEMORY_MIB: u64 = 16;
/// Threads of a job that does nothing yet, and a few more.
const LEAST_PIDS: u32 = 8;
/// 1 ms in 20.
const LEAST_CPU_PERCENT: u32 = 5;
/// More cores than any board has.
const MOST_CPU_PERCENT: u32 = 25_600;
const MIB: u64 = 1 << 20;

/// What jobs get, and what they may get.
#[derive(Clone, Copy, Debug, Default)]
pub struct Allowance {
    /// Of a job whose dispatch asks for nothing.
    pub default: Limits,
    /// The most that a dispatch may ask for; `None` for anything.
    pub ceiling: Limits,
}

/// Why a job does not get what its dispatch asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Unfit {
    /// No worker could make sense of it.
    Senseless(String),
    /// Another worker may allow more.
    TooMuch(String),
}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Senseless(why) | Self::TooMuch(why)) = self;
        write!(f, "limits in the dispatch metadata: {why}")
    }
}

/// `limits` in dispatch metadata that is a JSON object.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wishes {
    memory_mib: Option<u64>,
    pids: Option<u32>,
    cpu_percent: Option<u32>,
}

impl Allowance {
    /// What a job with this dispatch metadata gets. Metadata that is anything but an object with `limits` is the
    /// application's own.
    pub(super) fn of(&self, metadata: &str) -> Result<Limits, Unfit> {
        let Some(wishes) = wishes(metadata)? else { return Ok(self.default) };
        let Limits { memory, pids, cpu_percent } = self.ceiling;
        let ceiling_mib = memory.map_or(u64::MAX / MIB, |bytes| bytes / MIB);
        Ok(Limits {
            memory: pick("memory_mib", wishes.memory_mib, LEAST_MEMORY_MIB, ceiling_mib)?
                .map(|mib| mib * MIB)
                .or(self.default.memory),
            pids: pick("pids", wishes.pids, LEAST_PIDS, pids.unwrap_or(u32::MAX))?.or(self.default.pids),
            cpu_percent: pick(
                "cpu_percent",
                wishes.cpu_percent,
                LEAST_CPU_PERCENT,
                cpu_percent.unwrap_or(MOST_CPU_PERCENT),
            )?
            .or(self.default.cpu_percent),
        })
    }
}

fn wishes(metadata: &str) -> Result<Option<Wishes>, Unfit> {
    if !metadata.trim_start().starts_with('{') {
        return Ok(None);
    }
    let Ok(mut object) = serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(metadata) else {
        return Ok(None);
    };
    let Some(limits) = object.remove("limits") else { return Ok(None) };
    serde_json::from_value(limits).map(Some).map_err(|e| Unfit::Senseless(e.to_string()))
}

fn pick<T: PartialOrd + fmt::Display>(key: &str, wish: Option<T>, least: T, most: T) -> Result<Option<T>, Unfit> {
    match wish {
        Some(wish) if wish < least => Err(Unfit::Senseless(format!("{key} {wish} is less than {least}"))),
        Some(wish) if wish > most => Err(Unfit::TooMuch(format!(
            "{key} {wish} is more than this worker allows, {most} (max_job_{key} under [limits])"
        ))),
        wish => Ok(wish),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALLOWANCE: Allowance = Allowance {
        default: Limits { memory: Some(64 * MIB), pids: Some(32), cpu_percent: None },
        ceiling: Limits { memory: Some(128 * MIB), pids: Some(32), cpu_percent: None },
    };

    #[test]
    fn a_dispatch_asks_within_the_ceiling_and_the_rest_is_the_default() {
        for metadata in ["", "front door", "{\"limits\"", "[1]", "{\"camera\": \"door\"}", "\"limits\""] {
            assert_eq!(ALLOWANCE.of(metadata), Ok(ALLOWANCE.default), "{metadata}");
        }
        let asked = ALLOWANCE.of(" {\"limits\": {\"memory_mib\": 96, \"cpu_percent\": 50}, \"camera\": \"door\"}");
        assert_eq!(asked, Ok(Limits { memory: Some(96 * MIB), pids: Some(32), cpu_percent: Some(50) }));
    }

    #[test]
    fn an_absurd_limit_is_named_with_its_key_and_its_bound() {
        let why = |limits: &str| match ALLOWANCE.of(&format!("{{\"limits\": {limits}}}")) {
            Err(unfit) => unfit,
            Ok(limits) => panic!("{limits:?}"),
        };
        for (limits, words) in [
            ("{\"memory_mib\": 129}", "memory_mib 129 is more than this worker allows, 128 (max_job_memory_mib"),
            ("{\"memory_mib\": 18446744073709551615}", "memory_mib 18446744073709551615 is more"),
            ("{\"pids\": 33}", "pids 33 is more"),
            ("{\"cpu_percent\": 99999}", "cpu_percent 99999 is more"),
        ] {
            let unfit = why(limits);
            assert!(matches!(unfit, Unfit::TooMuch(_)) && unfit.to_string().contains(words), "{limits}: {unfit}");
        }
        for (limits, words) in [
            ("{\"memory_mib\": 0}", "memory_mib 0 is less than 16"),
            ("{\"memory_mib\": -5}", "-5"),
            ("{\"memory_mib\": 1e30}", "floating point"),
            ("{\"memory_mib\": \"lots\"}", "lots"),
            ("{\"memory\": 96}", "unknown field `memory`"),
            ("{\"pids\": 4294967296}", "4294967296"),
            ("96", "96"),
        ] {
            let unfit = why(limits);
            assert!(matches!(unfit, Unfit::Senseless(_)) && unfit.to_string().contains(words), "{limits}: {unfit}");
        }
    }
}
