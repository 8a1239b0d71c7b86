//! The room against a fake SFU: a second str0m in the same process, in simulated time.

#![allow(clippy::disallowed_methods)] // A simulated time begins somewhere.

mod link;
mod sfu;
mod world;

mod bottleneck;
mod data;
mod hostile;
mod lost;
mod media;
mod news;
mod reconnect;
mod retries;
mod speakers;
mod viewers;
