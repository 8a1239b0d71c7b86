//! The job process: room driver, [`JobContext`], the default `bridge` entrypoint.
//!
//! Two threads: the driver owns the room and everything that touches the network, the user's thread runs the user's
//! code. They talk over bounded channels, so code that blocks delays itself and never the room. A third thread ends an
//! orphan that does not end by itself.

mod bridge;
mod context;
mod driver;
mod error;
mod events;
mod options;
mod publication;
mod request;
mod speaker;
mod subscription;
mod user;

pub use bridge::{bridge, check_bridge};
pub use context::{JobContext, MAX_DATA};
pub(crate) use driver::{Anchor, Happening, Source};
pub use error::Error;
pub use events::{Event, Events};
pub use options::WorkerOptions;
pub use publication::{AudioOptions, AudioWriter, Publication, VideoOptions, VideoWriter};
pub use request::{AudioPacket, VideoFrame};
pub use speaker::{Frame, Speaker};
pub use subscription::{AudioStream, Pcm, PcmChannels, PcmStream, VideoStream};

use crate::control::{Link, panic, watchdog};
use driver::{Driver, UserSide};
use hal::process::Socket;
use std::process::ExitCode;
use std::sync::Arc;
use tokio::runtime;
use tokio::sync::mpsc;
use user::Pulse;

/// Any error of user code; its text becomes the job's terminal status.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Runs one job process: the supervisor at the other end of `control` says what to do.
pub fn main(control: Socket, options: WorkerOptions) -> ExitCode {
    let guarded = panic::install(panic::Kind::Job, Some(&control)).and_then(|()| watchdog::spawn(&control));
    match guarded.map_err(anyhow::Error::from).and_then(|()| run(control, options)) {
        Ok(code) => code,
        Err(error) => {
            tracing::error!("job process: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The same without what concerns the process as a whole.
fn run(control: Socket, options: WorkerOptions) -> anyhow::Result<ExitCode> {
    let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
    let pulse = Arc::new(Pulse::default());
    let requests = mpsc::channel(request::QUEUE);
    let (inbox, messages) = mpsc::channel(user::INBOX);
    user::spawn(options, messages, requests.0.clone(), Arc::clone(&pulse))?;
    runtime.block_on(async {
        let driver = Driver::new(Link::new(control)?, UserSide { inbox, pulse, requests })?;
        Ok(driver.run().await)
    })
}

#[cfg(test)]
mod tests;
