//! A LiveKit agents worker for small boards, and the library to write custom participants with.

#![forbid(unsafe_code)]

pub mod cli;
pub mod config;
pub mod control;
pub mod device;
pub mod job;
pub mod media;
pub mod net;
pub mod supervisor;

pub use job::{BoxError, JobContext, WorkerOptions, bridge};

use std::process::ExitCode;

/// Runs the whole program: command line, supervisor, job and device owner processes. `main` does nothing else: the
/// children are this same program, and what `main` does before this call happens in each of them.
pub fn run(options: WorkerOptions) -> ExitCode {
    cli::run(std::env::args_os().collect(), options)
}
