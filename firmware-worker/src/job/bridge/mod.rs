//! The entrypoint of the shipped binary, written on the public API alone.

mod audible;
mod mix;
mod player;

use super::{BoxError, Event, JobContext};
use audible::Audible;
use futures_util::future::try_join_all;
use player::Player;
use serde::Deserialize;

/// The table `[job]`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Options {
    /// Names of the sources to publish; all of them when left out.
    publish: Option<Vec<String>>,
    /// Where to play what others say.
    play: Play,
}

/// `false`, `true` for the first configured speaker, or a speaker's name.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Play {
    Wanted(bool),
    On(String),
}

impl Default for Play {
    fn default() -> Self {
        Self::Wanted(false)
    }
}

impl Play {
    fn speaker(&self, configured: &[String]) -> Result<Option<String>, BoxError> {
        match self {
            Self::Wanted(false) => Ok(None),
            Self::Wanted(true) => match configured.first() {
                Some(first) => Ok(Some(first.clone())),
                None => Err("[job] play: no [[speaker]] is configured".into()),
            },
            Self::On(name) => Ok(Some(name.clone())),
        }
    }
}

/// Publishes the configured sources into the room, plays the sound of others where that is wanted, and logs who is there.
pub async fn bridge(context: JobContext) -> Result<(), BoxError> {
    let options: Options = context.options().map_err(|e| format!("[job]: {e}"))?;
    let speaker = options.play.speaker(context.speakers())?;
    let player = speaker.map(|speaker| Player::start(context.clone(), speaker));
    let all = || context.sources().iter().map(|source| source.name.clone()).collect();
    let names = options.publish.unwrap_or_else(all);
    // All at once and before the join: devices open while the room is joined, and the first offer holds every track.
    try_join_all(names.iter().map(|name| context.publish(name))).await?;

    let mut events = context.events();
    context.connect().await?;
    tracing::info!(room = context.room_name(), identity = context.identity(), sources = ?names, "joined");
    let mut audible = Audible::default();
    while let Some(event) = events.next().await {
        if let Some(player) = &player {
            audible.news(&event, || context.participants()).into_iter().for_each(|track| player.hear(track));
        }
        match event {
            Event::ParticipantJoined(who) => {
                tracing::info!(identity = who.identity, sid = who.sid, "participant joined")
            }
            Event::ParticipantLeft(who) => tracing::info!(identity = who.identity, sid = who.sid, "participant left"),
            Event::Missed(count) => tracing::debug!(count, "events missed"),
            Event::Quality(quality) => tracing::debug!(quality, "connection"),
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn play_is_a_choice_or_a_name() {
        let configured = ["speaker".to_owned(), "hall".to_owned()];
        let speaker = |text: &str| {
            let options: Options = serde_json::from_str(text).unwrap();
            options.play.speaker(&configured).unwrap()
        };
        assert_eq!(speaker("{}"), None);
        assert_eq!(speaker(r#"{"play": false}"#), None);
        assert_eq!(speaker(r#"{"play": true}"#).as_deref(), Some("speaker"));
        assert_eq!(speaker(r#"{"play": "hall"}"#).as_deref(), Some("hall"));
        let error = Play::Wanted(true).speaker(&[]).unwrap_err().to_string();
        assert_eq!(error, "[job] play: no [[speaker]] is configured");
    }
}
