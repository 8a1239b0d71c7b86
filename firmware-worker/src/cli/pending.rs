//! Stands for parts that are being written beside this one.

pub(super) mod supervisor {
    use crate::config::Config;
    use protocol::secret::Secret;
    use std::process::ExitCode;

    pub(in crate::cli) struct Mode {
        pub(in crate::cli) drain: bool,
        pub(in crate::cli) ask: bool,
    }

    pub(in crate::cli) fn start(_config: Config, mode: Mode) -> ExitCode {
        let _ = (mode.drain, mode.ask);
        ExitCode::FAILURE
    }

    pub(in crate::cli) fn connect(
        _config: Config,
        _room: String,
        _identity: String,
        _token: Option<Secret>,
    ) -> ExitCode {
        ExitCode::FAILURE
    }
}

/// Bytes.
pub(super) fn memory_total() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.trim().strip_suffix(" kB")?.parse::<u64>().ok().map(|kib| kib * 1024)
}
