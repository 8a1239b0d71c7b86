//! A LiveKit agents worker for small boards, and the library to write custom participants with.
//!
//! A program calls [`run`] with its entrypoint and is then the whole worker: it registers, takes jobs and runs each in a
//! process of its own, with the command line, the configuration and the device owners of the shipped binary. The
//! entrypoint gets a [`JobContext`]:
//!
//! ```no_run
//! use firmware_worker::{BoxError, Event, JobContext, WorkerOptions, run};
//! use std::process::ExitCode;
//!
//! fn main() -> ExitCode {
//!     run(WorkerOptions::new(doorman))
//! }
//!
//! /// Shows the door as long as somebody is there to look.
//! async fn doorman(context: JobContext) -> Result<(), BoxError> {
//!     // Before the join: the camera opens meanwhile, and the track is part of the first offer.
//!     let camera = context.publish("camera").await?;
//!     camera.set_muted(true).await?;
//!     let mut events = context.events();
//!     context.connect().await?;
//!     context.add_shutdown_hook(async |reason| tracing::info!(reason, "good night"));
//!     while let Some(event) = events.next().await {
//!         if let Event::ParticipantJoined(_) | Event::ParticipantLeft(_) = event {
//!             let alone = context.participants().iter().all(|participant| participant.agent);
//!             camera.set_muted(alone).await?;
//!         }
//!     }
//!     Ok(())
//! }
//! ```
//!
//! - Ways to end a job: [`JobContext::shutdown`] is a success, [`JobContext::fail`] and an error of the entrypoint are
//!   failures with their text, and so is a panic, with its place. Returning `Ok` ends nothing.
//! - With [`WorkerOptions::restart`] a job that fails is started again, and the last failure alone is reported.
//! - Own media: [`JobContext::publish_video`] and [`JobContext::publish_audio`] take encoded frames;
//!   [`JobContext::subscribe_audio`] and [`JobContext::subscribe_video`] give those of others.
//! - A picture: [`JobContext::snapshot`] takes one with a published camera.
//! - Code that blocks delays itself and never its room, which lives on another thread. After a minute it is ended.
//! - A job is confined before any of this: it reads `/usr`, `/lib`, `/etc` and what `[isolation]` in the configuration grants, writes
//!   to a small `/tmp`, has the network, and starts no program unless `execve` is granted too. What else it tries is an error
//!   of the system call, and counted by name in `/worker`.
//! - Work that needs no job goes into [`WorkerOptions::prewarm`], choosing among jobs into [`WorkerOptions::on_request`].
//!
//! `examples/level_meter.rs` is a complete participant.

#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod board;
pub mod cli;
pub mod config;
pub mod control;
pub mod device;
pub mod job;
pub mod media;
pub mod net;
pub mod supervisor;
mod update;

pub use config::Config;
pub use control::{Format, Granted};
pub use hal::ring::Stamped;
pub use job::{
    AudioOptions, AudioPacket, AudioStream, AudioWriter, BoxError, Error, Event, Events, Frame, JobContext, MAX_DATA,
    Pcm, PcmChannels, PcmStream, Publication, Speaker, VideoFrame, VideoOptions, VideoStream, VideoWriter,
    WorkerOptions, bridge, check_bridge,
};
pub use media::still::Jpeg;
pub use protocol::room::{Data, Kind, Participant, RemoteTrack, Source, TrackSid};
pub use protocol::worker::{Accept, Answer, JobId, JobInfo, JobType, Limits, ParticipantInfo, RestartPolicy, RoomInfo};

use std::process::ExitCode;

/// Runs the whole program: command line, supervisor, job and device owner processes. `main` does nothing else: the
/// children are this same program, and what `main` does before this call happens in each of them, unconfined; a thread that
/// it starts would stay so.
pub fn run(options: WorkerOptions) -> ExitCode {
    cli::run(std::env::args_os().collect(), options)
}
