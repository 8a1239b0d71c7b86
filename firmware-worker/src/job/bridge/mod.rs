//! The entrypoint of the shipped binary, written on the public API alone.

mod audible;
mod mix;
mod player;

use super::{BoxError, Event, JobContext};
use crate::config::{Config, Device, DeviceKind};
use audible::Audible;
use futures_util::future::try_join_all;
use player::Player;
use serde::Deserialize;
use std::collections::HashSet;

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
#[serde(untagged, expecting = "`play` is true, false or the name of a speaker")]
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
                None => Err("play: no [[speaker]] is configured".into()),
            },
            Self::On(name) if configured.contains(name) => Ok(Some(name.clone())),
            Self::On(name) => {
                Err(format!("play: no [[speaker]] is named {name:?}; there is {}", list(configured)).into())
            }
        }
    }
}

fn list(names: &[String]) -> String {
    if names.is_empty() { "none".into() } else { names.join(", ") }
}

/// What [`bridge`] will do with a configuration, or why it cannot.
pub fn check_bridge(config: &Config) -> Result<String, BoxError> {
    // By way of a value, whose errors have no line of a text that nobody has written.
    let options: Options = serde_json::from_value(serde_json::from_str(&config.job_options)?)?;
    let speakers: Vec<_> = config.speakers().map(str::to_owned).collect();
    let is_source = |device: &&Device| !matches!(device.kind, DeviceKind::Speaker(_));
    let sources: Vec<_> = config.devices.iter().filter(is_source).map(|device| device.name.clone()).collect();
    if let Some(unknown) = options.publish.iter().flatten().find(|name| !sources.contains(name)) {
        let there = list(&sources);
        return Err(format!("publish: no camera or microphone is named {unknown:?}; there is {there}").into());
    }
    let mut named = HashSet::new();
    if let Some(twice) = options.publish.iter().flatten().find(|name| !named.insert(*name)) {
        return Err(format!("publish: {twice:?} is in it twice").into());
    }
    let published = list(options.publish.as_deref().unwrap_or(&sources));
    Ok(match options.play.speaker(&speakers)? {
        Some(speaker) => format!("publishes {published}; plays what others say on {speaker}"),
        None => format!("publishes {published}; plays nothing"),
    })
}

/// Publishes the configured sources into the room, plays the sound of others where that is wanted, and logs who is there.
pub async fn bridge(context: JobContext) -> Result<(), BoxError> {
    let options: Options = context.options().map_err(|e| format!("[job]: {e}"))?;
    let speaker = options.play.speaker(context.speakers()).map_err(|e| format!("[job] {e}"))?;
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
    use crate::config::{self, Defaults, Outline};
    use std::path::Path;

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
        assert_eq!(error, "play: no [[speaker]] is configured");
    }

    #[test]
    fn what_a_job_can_do_nothing_with_is_refused_before_there_is_one() {
        let text = "[server]\nurl = \"ws://h\"\n[[camera]]\n[[speaker]]\nname = \"hall\"\n[job]\n";
        let load = |job: &str| {
            let environment = |name: &str| (name == "LIVEKIT_TOKEN").then(|| "a.b.c".to_owned());
            let entrypoint = Outline { check: Some(check_bridge), ..Outline::default() };
            let defaults = Defaults { memory: None, development: false, entrypoint };
            let written = config::parse(&format!("{text}{job}"), Path::new("config.toml")).unwrap();
            match config::check(written, &environment, defaults) {
                Ok(config) => config.job_outline,
                Err(error) => error.to_string(),
            }
        };
        for (job, said) in [
            ("", "publishes camera; plays nothing"),
            ("publish = []\nplay = true", "publishes none; plays what others say on hall"),
            ("publsh = []", "job: unknown field `publsh`, expected `publish` or `play`"),
            ("publish = [\"camra\"]", "job: publish: no camera or microphone is named \"camra\"; there is camera"),
            ("publish = [\"camera\", \"camera\"]", "job: publish: \"camera\" is in it twice"),
            ("play = \"hal\"", "job: play: no [[speaker]] is named \"hal\"; there is hall"),
            ("play = 1", "job: `play` is true, false or the name of a speaker"),
        ] {
            assert_eq!(load(job), said, "{job}");
        }
    }
}
