//! A card's playback switches and volume. A fresh system has no stored mixer state, and many cards start muted.

use super::Error;
use super::controls::{Controls, Side};
use super::mixer::{Element, Level, Volume, Wish, control_of};
use super::pcm::Failed;
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
    set(&control, wish).map_err(|failed| {
        let source = io::Error::from_raw_os_error(failed.errno);
        Error::Call { device: control, call: failed.call, source }
    })
}

fn set(control: &str, wish: Wish) -> Result<Option<String>, Failed> {
    let mixer = Controls::open(control)?;
    let elements = mixer.elements(Side::Playback)?;
    let names: Vec<_> = elements.iter().map(|element| element.name.as_str()).collect();
    let outputs: Vec<_> = outputs(&names).into_iter().map(|place| &elements[place]).collect();
    for element in outputs.iter().filter(|element| element.on.is_some()) {
        mixer.switch(Side::Playback, element, !wish.mute)?;
    }
    let switch = if wish.mute { "off" } else { "on" };
    let first_volume = outputs.iter().find_map(|element| Some((element, element.volume?)));
    match (first_volume, outputs.first()) {
        (Some((element, level)), _) => {
            let level = set_volume(&mixer, element, level, wish.volume)?;
            Ok(Some(format!("{} {switch} {level}", element.name)))
        }
        (None, Some(element)) => Ok(Some(format!("{} {switch}", element.name))),
        (None, None) => Ok(None),
    }
}

fn set_volume(mixer: &Controls, element: &Element, level: Level, wish: Option<Volume>) -> Result<String, Failed> {
    let (low, high) = level.range;
    match wish {
        Some(Volume::Percent(percent)) => mixer.set_value(Side::Playback, element, raw(low, high, percent))?,
        Some(Volume::Decibel(decibel)) => mixer.set_decibel(Side::Playback, element, decibel)?,
        None if level.value <= low => mixer.set_value(Side::Playback, element, raw(low, high, DEFAULT_PERCENT))?,
        None => {}
    }
    let now = mixer.read(Side::Playback, element)?.volume.unwrap_or(level);
    let shown = format!("{} %", percent(low, high, now.value));
    Ok(match now.decibel {
        Some(decibel) => format!("{shown} ({decibel:.1} dB)"),
        None => shown,
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
