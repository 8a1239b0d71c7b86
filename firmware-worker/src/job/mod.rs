//! The job process: room driver, JobContext, the default `bridge` entrypoint.

mod bridge;
mod options;

pub use bridge::bridge;
pub use options::WorkerOptions;

use hal::process::Socket;
use std::process::ExitCode;

/// Any error of user code; its text becomes the job's terminal status.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A job, for its entrypoint.
#[derive(Clone, Debug)]
pub struct JobContext {}

/// Runs one job process: the supervisor at the other end of `control` says what to do.
#[allow(clippy::todo)]
pub fn main(_control: Socket, _options: WorkerOptions) -> ExitCode {
    todo!()
}
