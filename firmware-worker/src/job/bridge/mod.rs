//! The entrypoint of the shipped binary, written on the public API alone.

use super::{BoxError, Event, JobContext};
use futures_util::future::try_join_all;
use serde::Deserialize;

/// The table `[job]`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Options {
    /// Names of the sources to publish; all of them when left out.
    publish: Option<Vec<String>>,
}

/// Publishes the configured sources into the room and logs who is there.
pub async fn bridge(context: JobContext) -> Result<(), BoxError> {
    let options: Options = context.options().map_err(|e| format!("[job]: {e}"))?;
    let all = || context.sources().iter().map(|source| source.name.clone()).collect();
    let names = options.publish.unwrap_or_else(all);
    // All at once and before the join: devices open while the room is joined, and the first offer holds every track.
    try_join_all(names.iter().map(|name| context.publish(name))).await?;

    let mut events = context.events();
    context.connect().await?;
    tracing::info!(room = context.room_name(), identity = context.identity(), sources = ?names, "joined");
    while let Some(event) = events.next().await {
        match event {
            Event::ParticipantJoined(who) => {
                tracing::info!(identity = who.identity, sid = who.sid, "participant joined")
            }
            Event::ParticipantLeft(who) => tracing::info!(identity = who.identity, sid = who.sid, "participant left"),
            Event::Quality(quality) => tracing::debug!(quality, "connection"),
            _ => {}
        }
    }
    Ok(())
}
