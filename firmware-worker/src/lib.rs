//! A LiveKit agents worker for small boards, and the library to write custom participants with.

#![forbid(unsafe_code)]

pub mod config;
pub mod control;
pub mod device;
pub mod job;
pub mod media;
pub mod net;
pub mod supervisor;

pub use job::{BoxError, JobContext, WorkerOptions, bridge};
