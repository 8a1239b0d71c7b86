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

pub use control::{Format, Granted};
pub use job::{
    AudioOptions, AudioPacket, AudioStream, AudioWriter, BoxError, Error, Event, Events, JobContext, MAX_DATA, Pcm,
    PcmChannels, PcmStream, Publication, VideoFrame, VideoOptions, VideoStream, VideoWriter, WorkerOptions, bridge,
};
pub use protocol::room::{Data, Kind, Participant, RemoteTrack, Source, TrackSid};
pub use protocol::worker::{Accept, Answer, JobId, JobInfo, JobType, ParticipantInfo, RoomInfo};

use std::process::ExitCode;

/// Runs the whole program: command line, supervisor, job and device owner processes. `main` does nothing else: the
/// children are this same program, and what `main` does before this call happens in each of them.
pub fn run(options: WorkerOptions) -> ExitCode {
    cli::run(std::env::args_os().collect(), options)
}
