//! A card's playback switches and volume. A fresh system has no stored mixer state, and many cards start muted.

use super::Error;
use super::mixer::{Volume, Wish, control_of};
use alsa::Round;
use alsa::mixer::{MilliBel, Mixer, Selem, SelemChannelId};
use std::io;

/// Controls that stand between what is played and what is heard, the one that sets the volume first.
const OUTPUTS: [&str; 9] =
    ["Master", "PCM", "Speaker", "Headphone", "Headphones", "Digital", "Line Out", "Lineout", "Front"];

/// Words of controls that play what is captured, or what the driver makes up. Where a card has none of [`OUTPUTS`], as USB
/// cards that name their own, everything without such a word is an output.
const NO_OUTPUTS: [&str; 10] =
    ["mic", "microphone", "in", "input", "aux", "cd", "capture", "beep", "loopback", "sidetone"];

/// A volume of 0 is raised to this part of the range, in percent: heard on any card, and not its loudest.
const DEFAULT_PERCENT: u8 = 75;

/// Switches the outputs of the card that the PCM `name` is on as wished, and sets the first one's volume. Says what is set
/// now, in plain words; `None` when the card has nothing to set.
pub fn set_playback(name: &str, wish: Wish) -> Result<Option<String>, Error> {
    let Some(control) = control_of(name) else { return Ok(None) };
    let failed = |error: alsa::Error| {
        let source = io::Error::from_raw_os_error(error.errno().abs());
        Error::Call { device: control.clone(), call: error.func(), source }
    };
    let mixer = Mixer::new(&control, false).map_err(failed)?;
    let playing = |element: &Selem<'_>| element.has_playback_switch() || element.has_playback_volume();
    let elements = mixer.iter().filter_map(Selem::new).filter(playing);
    let elements: Vec<_> = elements.filter_map(|e| Some((e.get_id().get_name().ok()?.to_owned(), e))).collect();
    let names: Vec<_> = elements.iter().map(|(name, _)| name.as_str()).collect();
    let outputs: Vec<_> = outputs(&names).into_iter().map(|place| &elements[place]).collect();
    for (_, element) in outputs.iter().filter(|(_, element)| element.has_playback_switch()) {
        element.set_playback_switch_all((!wish.mute).into()).map_err(failed)?;
    }
    let switch = if wish.mute { "off" } else { "on" };
    match (outputs.iter().find(|(_, element)| element.has_playback_volume()), outputs.first()) {
        (Some((name, element)), _) => {
            let level = set_volume(element, wish.volume).map_err(failed)?;
            Ok(Some(format!("{name} {switch} {level}")))
        }
        (None, Some((name, _))) => Ok(Some(format!("{name} {switch}"))),
        (None, None) => Ok(None),
    }
}

fn set_volume(element: &Selem<'_>, wish: Option<Volume>) -> Result<String, alsa::Error> {
    let (low, high) = element.get_playback_volume_range();
    let value = || element.get_playback_volume(SelemChannelId::mono());
    match wish {
        Some(Volume::Percent(percent)) => element.set_playback_volume_all(raw(low, high, percent))?,
        Some(Volume::Decibel(db)) => element.set_playback_db_all(MilliBel::from_db(db), Round::Floor)?,
        None if value()? <= low => element.set_playback_volume_all(raw(low, high, DEFAULT_PERCENT))?,
        None => {}
    }
    let level = format!("{} %", percent(low, high, value()?));
    Ok(match element.get_playback_vol_db(SelemChannelId::mono()) {
        Ok(db) => format!("{level} ({:.1} dB)", db.to_db()),
        Err(_) => level,
    })
}

/// Places of the names that are outputs, the best first.
fn outputs(names: &[&str]) -> Vec<usize> {
    let rank = |place: &usize| OUTPUTS.iter().position(|output| *output == names[*place]);
    let mut known: Vec<_> = (0..names.len()).filter(|place| rank(place).is_some()).collect();
    known.sort_by_key(rank);
    if !known.is_empty() {
        return known;
    }
    let other = |place: &usize| {
        let name = names[*place].to_ascii_lowercase();
        !name.split(' ').any(|word| NO_OUTPUTS.contains(&word.trim_end_matches(char::is_numeric)))
    };
    (0..names.len()).filter(other).collect()
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
    fn percents_are_of_the_controls_range() {
        assert_eq!([0, 1, 50, 100, 255].map(|p| raw(-10_239, 400, p)), [-10_239, -10_133, -4919, 400, 400]);
        for p in 0..=100 {
            assert_eq!(percent(0, 255, raw(0, 255, p)), i64::from(p));
        }
        assert_eq!(percent(3, 3, 3), 0, "a control that cannot be moved");
    }

    #[test]
    fn a_card_without_controls_has_nothing_to_set_and_a_missing_one_is_named() {
        let wish = Wish { volume: Some(Volume::Percent(50)), mute: false };
        assert!(matches!(set_playback("null", wish), Ok(None)));
        let error = set_playback("hw:CARD=none_such,DEV=0", wish).unwrap_err().to_string();
        assert!(error.starts_with("hw:CARD=none_such: "), "{error}");
    }

    #[test]
    fn outputs_are_those_of_known_names_else_all_that_play_nothing_captured() {
        assert_eq!(outputs(&["Mic", "Headphone", "Beep", "Master"]), [3, 1]);
        assert_eq!(outputs(&["Mic Sidetone", "Audio Output Volume Control", "DAC"]), [1, 2]);
        assert_eq!(outputs(&["Mic1", "Loopback Mixing", "Line In"]), [0_usize; 0]);
    }
}
