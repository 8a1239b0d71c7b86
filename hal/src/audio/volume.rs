//! A card's playback switches and volume. A fresh system has no stored mixer state, and many cards start muted.

use super::Error;
use super::mixer::Volume;
use alsa::Round;
use alsa::mixer::{MilliBel, Mixer, Selem, SelemChannelId};
use std::io;

/// Controls that stand between what is played and what is heard, the one that sets the volume first.
const OUTPUTS: [&str; 9] =
    ["Master", "PCM", "Speaker", "Headphone", "Headphones", "Digital", "Line Out", "Lineout", "Front"];

/// Switches on the outputs of the card that the PCM `name` is on, and sets the first one's volume. Says what is set now, in
/// plain words; `None` when the card has nothing to set.
pub fn set_playback(name: &str, volume: Option<Volume>) -> Result<Option<String>, Error> {
    let Some(control) = control_of(name) else { return Ok(None) };
    let failed = |error: alsa::Error| {
        let source = io::Error::from_raw_os_error(error.errno().abs());
        Error::Call { device: control.clone(), call: error.func(), source }
    };
    let mixer = Mixer::new(&control, false).map_err(failed)?;
    let mut outputs: Vec<_> = mixer
        .iter()
        .filter_map(Selem::new)
        .filter_map(|element| {
            let name = element.get_id().get_name().ok()?.to_owned();
            Some((rank(&name)?, name, element))
        })
        .collect();
    outputs.sort_by_key(|(rank, _, _)| *rank);
    for (_, _, element) in outputs.iter().filter(|(_, _, element)| element.has_playback_switch()) {
        element.set_playback_switch_all(1).map_err(failed)?;
    }
    let Some((_, name, element)) = outputs.iter().find(|(_, _, element)| element.has_playback_volume()) else {
        return Ok(None);
    };
    let (low, high) = element.get_playback_volume_range();
    match volume {
        Some(Volume::Percent(percent)) => {
            element.set_playback_volume_all(raw(low, high, percent)).map_err(failed)?;
        }
        Some(Volume::Decibel(db)) => {
            element.set_playback_db_all(MilliBel::from_db(db), Round::Floor).map_err(failed)?;
        }
        None => {}
    }
    let value = element.get_playback_volume(SelemChannelId::mono()).map_err(failed)?;
    Ok(Some(format!("{name} {} %", percent(low, high, value))))
}

/// The control device of a PCM's card; `None` for plugins, which have none of their own.
fn control_of(pcm: &str) -> Option<String> {
    let card = pcm.strip_prefix("plug").unwrap_or(pcm).strip_prefix("hw:")?.split(',').next()?;
    Some(format!("hw:{card}"))
}

fn rank(name: &str) -> Option<usize> {
    OUTPUTS.iter().position(|output| *output == name)
}

fn raw(low: i64, high: i64, percent: u8) -> i64 {
    low + ((high - low) * i64::from(percent.min(100)) + 50) / 100
}

fn percent(low: i64, high: i64, raw: i64) -> i64 {
    ((raw - low) * 100 + (high - low) / 2) / (high - low).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_control_is_that_of_the_card() {
        assert_eq!(control_of("hw:CARD=Device,DEV=0").as_deref(), Some("hw:CARD=Device"));
        assert_eq!(control_of("plughw:1,0").as_deref(), Some("hw:1"));
        assert_eq!(control_of("null"), None);
        assert_eq!(control_of("file:/tmp/x,raw"), None);
    }

    #[test]
    fn percents_are_of_the_controls_range() {
        assert_eq!([0, 1, 50, 100, 255].map(|p| raw(-10_239, 400, p)), [-10_239, -10_133, -4919, 400, 400]);
        for p in 0..=100 {
            assert_eq!(percent(0, 255, raw(0, 255, p)), i64::from(p));
        }
        assert_eq!(percent(3, 3, 3), 0, "a control that cannot be moved");
    }

    #[test]
    fn a_card_without_controls_has_nothing_to_set_and_a_missing_one_is_named() {
        assert!(matches!(set_playback("null", Some(Volume::Percent(50))), Ok(None)));
        let error = set_playback("hw:CARD=none_such,DEV=0", None).unwrap_err().to_string();
        assert!(error.starts_with("hw:CARD=none_such: "), "{error}");
    }
}
