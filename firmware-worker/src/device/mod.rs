//! The device owner process: it alone opens a camera or a sound card, encodes once and serves any number of jobs.
//!
//! ```text
//! V4L2, ALSA or generator -> pipeline thread (capture, convert, encode) -> outlet (ring, doorbells) -> jobs
//!                                    ^ latest wishes            events v
//!                            owner (one task: policy, readers, supervisor)
//!
//! jobs -> PCM rings -> inlet (a voice for each: clock correction) -> speaker's thread (mix) -> ALSA
//! ```
//!
//! An owner has no network. It opens no camera node itself: the supervisor does and passes it. It accepts no descriptor
//! from a job and never waits on anything that a job can change.

mod camera;
mod keeper;
mod level;
mod media;
mod microphone;
mod outlet;
mod owner;
mod pace;
mod pipeline;
mod readers;
mod resample;
pub(crate) mod speaker;
mod stages;
mod told;
mod trial;
mod urgency;

#[cfg(test)]
mod tests;

pub use keeper::main as keep_command;
pub use pipeline::Failure;
pub use speaker::{Heard, SpeakerTrial};
pub use trial::Trial;

use crate::control::{panic, watchdog};
use hal::process::{Socket, exit_now};
use std::process::ExitCode;

/// Runs a device owner on its control socket until the supervisor closes it.
pub fn main(control: Socket) -> ExitCode {
    match serve(control) {
        // Not a return: that would join a thread that may sit in a driver, and the kernel closes devices as well.
        Ok(()) => exit_now(0),
        Err(error) => {
            tracing::error!("device owner: {error}");
            exit_now(1)
        }
    }
}

fn serve(control: Socket) -> Result<(), owner::Error> {
    urgency::allow();
    panic::install(panic::Kind::Owner, Some(&control)).map_err(owner::Error::Process)?;
    // The loop joins a device's thread when it closes the device, and that thread may sit in a driver that hangs.
    watchdog::spawn(&control).map_err(owner::Error::Process)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(owner::Error::Process)?;
    runtime.block_on(async {
        let mut owner = owner::Owner::start(control).await?;
        let served = owner.serve().await;
        owner.abandon();
        // As above: dropping it would join its thread.
        std::mem::forget(owner);
        served
    })
}
