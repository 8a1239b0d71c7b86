//! Tests against a real LiveKit server, judged by a subscriber on the official SDK.

mod bad_input;
mod demo;
mod dispatch;
mod endings;
mod ghosts;
mod leftovers;
mod library;
mod media;
mod network;
mod opening;
mod outages;
mod owners;
mod rig;
mod room;
mod secure;
mod speaker;
mod together;
mod upgrades;
mod viewers;

use std::time::Duration;

/// For what takes a fraction of a second on an idle machine.
const SOON: Duration = Duration::from_secs(15);
