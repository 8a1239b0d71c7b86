//! `[limits]` as meant.

use super::meaning::{within, wrong};
use super::written::LimitsWritten;
use super::{Error, Limits};
use protocol::worker;
use std::ops::RangeInclusive;

const MIB: u64 = 1 << 20;

/// A bridge job was never seen above 8 MiB; user code gets room, a leak is ended before the board swaps.
const JOB_MEMORY_MIB: u64 = 64;
/// Threads of a job: room driver, watchdog, user runtime with some of its blocking pool.
const JOB_PIDS: u32 = 32;
/// Capture buffers, encoder and rings of one 1080p camera, twice.
const OWNER_MEMORY_MIB: u64 = 128;
/// Threads of a device owner: its loop, watchdog, encoder and card, and those of ALSA's plugins; it starts no process.
const OWNER_PIDS: u32 = 32;
/// Threads of such a program: a decoder or encoder has several for each core.
const COMMAND_PIDS: u32 = 64;
/// What libcamera's programs and ffmpeg take for one camera, twice.
const COMMAND_MEMORY_MIB: u64 = 256;

const MEMORY_MIB: RangeInclusive<u64> = 16..=65_536;
const WARNING_MIB: RangeInclusive<u64> = 1..=65_536;
const PIDS: RangeInclusive<u32> = 8..=4096;
/// Up to 256 cores.
const CPU_PERCENT: RangeInclusive<u32> = 5..=25_600;

/// When a job's use of memory is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemoryWarning {
    /// At three quarters of what it may use.
    ByLimit,
    /// At so many bytes.
    At(u64),
    /// Never.
    Never,
}

impl MemoryWarning {
    /// Bytes, for a job that may use `limit`.
    pub fn mark(self, limit: Option<u64>) -> Option<u64> {
        match self {
            Self::ByLimit => limit.map(|limit| limit / 4 * 3),
            Self::At(bytes) => Some(bytes),
            Self::Never => None,
        }
    }
}

/// With the entrypoint's own limits under what is written. What they are not fit for is refused by the same names.
pub(super) fn mean(written: &LimitsWritten, entrypoint: worker::Limits) -> Result<Limits, Error> {
    let written = &LimitsWritten {
        job_memory_mib: written.job_memory_mib.or(entrypoint.memory.map(|bytes| bytes.div_ceil(MIB).max(1))),
        job_pids: written.job_pids.or(entrypoint.pids),
        job_cpu_percent: written.job_cpu_percent.or(entrypoint.cpu_percent),
        ..written.clone()
    };
    let memory = |key, value, default| match value {
        Some(0) => Ok(None),
        value => within(key, value, default, MEMORY_MIB).map(|mib| Some(mib * MIB)),
    };
    let job = worker::Limits {
        memory: memory("limits job_memory_mib", written.job_memory_mib, JOB_MEMORY_MIB)?,
        pids: Some(within("limits job_pids", written.job_pids, JOB_PIDS, PIDS)?),
        cpu_percent: cpu("limits job_cpu_percent", written.job_cpu_percent)?,
    };
    let ceiling = ceiling(written, job)?;
    Ok(Limits {
        ceiling,
        job_memory_warning: warning(written.job_memory_warn_mib)?,
        job,
        owner: worker::Limits {
            memory: memory("limits owner_memory_mib", written.owner_memory_mib, OWNER_MEMORY_MIB)?,
            pids: Some(OWNER_PIDS),
            cpu_percent: None,
        },
        command: worker::Limits {
            memory: memory("limits command_memory_mib", written.command_memory_mib, COMMAND_MEMORY_MIB)?,
            pids: Some(COMMAND_PIDS),
            cpu_percent: None,
        },
    })
}

/// What is hardly meant so, and still no reason to keep a board from working.
pub(super) fn doubts(limits: &Limits) -> Vec<String> {
    let mut doubts = Vec::new();
    if let (MemoryWarning::At(mark), Some(most)) = (limits.job_memory_warning, limits.ceiling.memory)
        && mark > most
    {
        let (mark, most) = (mark / MIB, most / MIB);
        doubts.push(format!("limits job_memory_warn_mib: {mark} is above what a job may ever use, {most} MiB"));
    }
    if limits.ceiling.memory.is_some() && limits.job.memory.is_none() {
        doubts.push(
            "limits max_job_memory_mib: a dispatch that asks for no memory gets any, as job_memory_mib is 0".to_owned(),
        );
    }
    doubts
}

/// Unless it is said, a dispatch may ask for less than the default only.
fn ceiling(written: &LimitsWritten, job: worker::Limits) -> Result<worker::Limits, Error> {
    let not_below = |key: &str, most: Option<u64>, default: Option<u64>| match (most, default) {
        (Some(most), Some(default)) if most < default => Err(wrong(
            format!("limits max_{key}"),
            format!("is less than {key}, which a job gets whose dispatch asks for nothing"),
        )),
        _ => Ok(()),
    };
    let most = match written.max_job_memory_mib {
        None => job.memory,
        Some(0) => None,
        given => Some(within("limits max_job_memory_mib", given, 0, MEMORY_MIB)? * MIB),
    };
    let pids = match written.max_job_pids {
        None => job.pids,
        given => Some(within("limits max_job_pids", given, 0, PIDS)?),
    };
    let cpu_percent = cpu("limits max_job_cpu_percent", written.max_job_cpu_percent)?.or(job.cpu_percent);
    not_below("job_memory_mib", most, job.memory)?;
    not_below("job_pids", pids.map(u64::from), job.pids.map(u64::from))?;
    not_below("job_cpu_percent", cpu_percent.map(u64::from), job.cpu_percent.map(u64::from))?;
    Ok(worker::Limits { memory: most, pids, cpu_percent })
}

fn warning(written: Option<u64>) -> Result<MemoryWarning, Error> {
    match written {
        None => Ok(MemoryWarning::ByLimit),
        Some(0) => Ok(MemoryWarning::Never),
        given => within("limits job_memory_warn_mib", given, 0, WARNING_MIB).map(|mib| MemoryWarning::At(mib * MIB)),
    }
}

fn cpu(key: &str, written: Option<u32>) -> Result<Option<u32>, Error> {
    match written {
        None => Ok(None),
        given => within(key, given, 0, CPU_PERCENT).map(Some),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meant(text: &str) -> Result<Limits, String> {
        meant_over(text, worker::Limits::default())
    }

    fn meant_over(text: &str, entrypoint: worker::Limits) -> Result<Limits, String> {
        mean(&toml::from_str(text).expect("TOML"), entrypoint).map_err(|e| e.to_string())
    }

    #[test]
    fn an_entrypoints_own_limits_hold_where_nothing_is_written_and_are_judged_alike() {
        let own = worker::Limits { memory: Some(96 << 20), pids: Some(48), cpu_percent: Some(80) };
        let limits = meant_over("", own).unwrap();
        assert_eq!((limits.job, limits.ceiling), (own, own));
        let limits = meant_over("job_memory_mib = 0\njob_pids = 16\njob_cpu_percent = 50", own).unwrap();
        assert_eq!(limits.job, worker::Limits { memory: None, pids: Some(16), cpu_percent: Some(50) });
        let limits = meant_over("", worker::Limits { cpu_percent: Some(80), ..worker::Limits::default() }).unwrap();
        assert_eq!(limits.job, worker::Limits { memory: Some(64 << 20), pids: Some(32), cpu_percent: Some(80) });
        let error = meant_over("", worker::Limits { memory: Some(0), ..own }).unwrap_err();
        assert!(error.contains("limits job_memory_mib: 1 is not within 16"), "{error}");
        let error = meant_over("max_job_memory_mib = 80", own).unwrap_err();
        assert!(error.contains("is less than job_memory_mib"), "{error}");
    }

    #[test]
    fn a_dispatch_may_ask_for_the_default_and_for_more_only_where_that_is_said() {
        let limits = meant("").unwrap();
        assert_eq!(limits.job, worker::Limits { memory: Some(64 << 20), pids: Some(32), cpu_percent: None });
        assert_eq!(limits.ceiling, limits.job);
        assert_eq!(limits.owner, worker::Limits { memory: Some(128 << 20), pids: Some(32), cpu_percent: None });
        let limits = meant("max_job_memory_mib = 200\nmax_job_pids = 100\njob_cpu_percent = 50").unwrap();
        let ceiling = worker::Limits { memory: Some(200 << 20), pids: Some(100), cpu_percent: Some(50) };
        assert_eq!((limits.ceiling, limits.job.cpu_percent), (ceiling, Some(50)));
        let limits = meant("job_memory_mib = 0").unwrap();
        assert_eq!((limits.job.memory, limits.ceiling.memory), (None, None));
    }

    #[test]
    fn a_job_that_grows_is_told_below_its_limit_or_where_it_is_wished() {
        let mark = |text: &str, limit| meant(text).unwrap().job_memory_warning.mark(limit);
        assert_eq!((mark("", Some(64 << 20)), mark("", None)), (Some(48 << 20), None));
        assert_eq!(mark("job_memory_warn_mib = 40", None), Some(40 << 20));
        assert_eq!(mark("job_memory_warn_mib = 0", Some(64 << 20)), None);
    }

    #[test]
    fn a_ceiling_below_the_default_and_numbers_out_of_range_are_refused_by_name() {
        for (text, words) in [
            ("max_job_memory_mib = 32", "limits max_job_memory_mib: is less than job_memory_mib"),
            ("job_memory_warn_mib = 70000", "limits job_memory_warn_mib: 70000 is not within 1 to 65536"),
            ("max_job_pids = 16", "limits max_job_pids: is less than job_pids"),
            ("job_cpu_percent = 0", "limits job_cpu_percent: 0 is not within 5 to 25600"),
            ("job_cpu_percent = 80\nmax_job_cpu_percent = 50", "limits max_job_cpu_percent: is less"),
        ] {
            let error = meant(text).unwrap_err();
            assert!(error.contains(words), "{text}: {error}");
        }
    }

    #[test]
    fn what_is_hardly_meant_so_is_doubted_by_name_and_taken_all_the_same() {
        for (text, words) in [
            ("job_memory_warn_mib = 100", "limits job_memory_warn_mib: 100 is above what a job may ever use, 64 MiB"),
            ("job_memory_mib = 0\nmax_job_memory_mib = 64", "limits max_job_memory_mib: a dispatch that asks for no"),
        ] {
            let doubts = doubts(&meant(text).unwrap());
            assert!(doubts.len() == 1 && doubts[0].starts_with(words), "{text}: {doubts:?}");
        }
        assert_eq!(doubts(&meant("job_memory_warn_mib = 100\nmax_job_memory_mib = 100").unwrap()), [""; 0]);
    }
}
