//! The shipped worker: bridges the board's cameras and microphones into rooms.

use firmware_worker::{RestartPolicy, WorkerOptions, bridge, check_bridge, run};
use std::process::ExitCode;

fn main() -> ExitCode {
    run(WorkerOptions::new(bridge).check(check_bridge).restart(RestartPolicy::OnFailure))
}
