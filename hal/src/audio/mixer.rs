//! The capture side of a card's mixer: a USB microphone may start muted, and a fresh image has no stored settings.

use super::controls::{Controls, Side};
use super::pcm::Failed;
use std::fmt;

/// A volume of 0 is raised to this part of the range, in percent: enough for speech at arm's length on what USB
/// microphones and codecs offer, and no howling.
const DEFAULT_PERCENT: u8 = 75;

/// Names of elements that capture, best first; an element of another name is taken where none of these is.
const NAMES: [&str; 6] = ["Mic", "Capture", "Digital", "ADC", "Front Mic", "Line"];

/// How loud.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Volume {
    /// Of the element's range, 0 to 100.
    Percent(u8),
    /// dB, as the element counts them.
    Decibel(f32),
}

impl Volume {
    /// `80%` or `12 dB`.
    pub fn parse(text: &str) -> Option<Self> {
        if let Some(percent) = text.strip_suffix('%') {
            return percent.trim_end().parse().ok().filter(|&percent| percent <= 100).map(Self::Percent);
        }
        let number: f32 = text.strip_suffix("dB")?.trim_end().parse().ok()?;
        (-150.0..=150.0).contains(&number).then_some(Self::Decibel(number))
    }
}

/// What is wanted of a mixer.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Wish {
    /// `None` leaves it, unless it is 0.
    pub volume: Option<Volume>,
    /// Capture is switched off; else on.
    pub mute: bool,
}

/// An element of the mixer: what it captures through, or plays through.
#[derive(Clone, Debug, PartialEq)]
pub struct Element {
    /// The mixer's name for it.
    pub name: String,
    /// Which of those of this name.
    pub index: u32,
    /// It is on; `None` where it cannot be switched.
    pub on: Option<bool>,
    /// `None` where it has no volume.
    pub volume: Option<Level>,
}

/// A volume as the card counts it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Level {
    /// Now.
    pub value: i64,
    /// Lowest and highest.
    pub range: (i64, i64),
    /// dB now, where the card knows.
    pub decibel: Option<f32>,
}

impl Level {
    fn percent(&self) -> i64 {
        let (low, high) = self.range;
        if high <= low { 100 } else { (self.value - low) * 100 / (high - low) }
    }

    fn at(&self, percent: u8) -> i64 {
        let (low, high) = self.range;
        low + (high - low) * i64::from(percent) / 100
    }
}

impl fmt::Display for Element {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.name)?;
        match self.on {
            Some(true) => f.write_str(" on")?,
            Some(false) => f.write_str(" off")?,
            None => {}
        }
        if let Some(level) = &self.volume {
            write!(f, " {}%", level.percent())?;
            if let Some(decibel) = level.decibel {
                write!(f, " ({decibel:.1} dB)")?;
            }
        }
        Ok(())
    }
}

/// What has to be set.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Plan {
    switch: Option<bool>,
    percent: Option<u8>,
    decibel: Option<f32>,
}

fn plan(element: &Element, wish: Wish) -> Plan {
    let switch = element.on.filter(|on| *on == wish.mute).map(|_| !wish.mute);
    let unset = Plan { switch, ..Plan::default() };
    match (element.volume, wish.volume) {
        (None, _) => unset,
        (Some(level), None) if level.value <= level.range.0 => Plan { percent: Some(DEFAULT_PERCENT), ..unset },
        (Some(_), None) => unset,
        (Some(_), Some(Volume::Percent(percent))) => Plan { percent: Some(percent), ..unset },
        (Some(_), Some(Volume::Decibel(decibel))) => Plan { decibel: Some(decibel), ..unset },
    }
}

/// The element that a microphone's sound goes through: by its name, then by how much of it can be set.
fn choose(elements: &[Element]) -> Option<&Element> {
    let named = |element: &Element| NAMES.iter().position(|name| *name == element.name).unwrap_or(NAMES.len());
    let settable = |element: &Element| 2 - usize::from(element.on.is_some()) - usize::from(element.volume.is_some());
    elements.iter().min_by_key(|element| (named(element), settable(element), element.index))
}

/// Sets what is wanted on the card of the PCM `hw:CARD=...`, and gives the element as it is then; `None` where the card
/// has nothing to set.
pub fn set_capture(pcm: &str, wish: Wish) -> Result<Option<Element>, Failed> {
    let mixer = open(pcm)?;
    let elements = mixer.elements(Side::Capture)?;
    let Some(element) = choose(&elements) else { return Ok(None) };
    let plan = plan(element, wish);
    if let Some(on) = plan.switch {
        mixer.switch(Side::Capture, element, on)?;
    }
    if let (Some(percent), Some(level)) = (plan.percent, &element.volume) {
        mixer.set_value(Side::Capture, element, level.at(percent))?;
    }
    if let Some(decibel) = plan.decibel {
        mixer.set_decibel(Side::Capture, element, decibel)?;
    }
    mixer.read(Side::Capture, element).map(Some)
}

/// The element that [`set_capture`] sets, as it is now.
pub fn capture(pcm: &str) -> Result<Option<Element>, Failed> {
    Ok(choose(&open(pcm)?.elements(Side::Capture)?).cloned())
}

fn open(pcm: &str) -> Result<Controls, Failed> {
    // What is no card may have a mixer of the same name: `default`, `sysdefault:CARD=Mic`.
    let control = control_of(pcm).unwrap_or_else(|| pcm.rsplit_once(",DEV=").map_or(pcm, |(card, _)| card).to_owned());
    Controls::open(&control)
}

/// The control device of a PCM's card, whichever of its PCMs is meant and however it is written; `None` for plugins, which
/// have none of their own.
pub(super) fn control_of(pcm: &str) -> Option<String> {
    let card = pcm.strip_prefix("plug").unwrap_or(pcm).strip_prefix("hw:")?.split(',').next()?;
    Some(format!("hw:{card}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audio::fake::mixer::{self as fake, Call};
    use crate::audio::set_playback;

    fn element(name: &str, on: Option<bool>, value: Option<i64>) -> Element {
        let level = |value| Level { value, range: (0, 40), decibel: Some(value as f32 / 2.0) };
        Element { name: name.into(), index: 0, on, volume: value.map(level) }
    }

    #[test]
    fn the_control_is_that_of_the_card() {
        assert_eq!(control_of("hw:CARD=Device,DEV=0").as_deref(), Some("hw:CARD=Device"));
        assert_eq!(control_of("hw:1,0").as_deref(), Some("hw:1"));
        assert_eq!(control_of("plughw:1,0").as_deref(), Some("hw:1"));
        assert_eq!(control_of("null"), None);
        assert_eq!(control_of("file:/tmp/x,raw"), None);
    }

    #[test]
    fn a_volume_is_percent_or_decibel() {
        assert_eq!(Volume::parse("80%"), Some(Volume::Percent(80)));
        assert_eq!(Volume::parse("0 %"), Some(Volume::Percent(0)));
        assert_eq!(Volume::parse("12 dB"), Some(Volume::Decibel(12.0)));
        assert_eq!(Volume::parse("-7.5dB"), Some(Volume::Decibel(-7.5)));
        for text in ["", "80", "101%", "-1%", "x dB", "nan dB", "inf dB", "900 dB"] {
            assert_eq!(Volume::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn a_muted_microphone_at_zero_is_switched_on_and_raised() {
        let muted = element("Mic", Some(false), Some(0));
        let expected = Plan { switch: Some(true), percent: Some(DEFAULT_PERCENT), decibel: None };
        assert_eq!(plan(&muted, Wish::default()), expected);
    }

    #[test]
    fn a_volume_that_somebody_has_set_is_left_alone_unless_one_is_configured() {
        let set = element("Mic", Some(true), Some(3));
        assert_eq!(plan(&set, Wish::default()), Plan::default());
        let wish = |volume| Wish { volume: Some(volume), mute: false };
        assert_eq!(plan(&set, wish(Volume::Percent(50))), Plan { percent: Some(50), ..Plan::default() });
        assert_eq!(plan(&set, wish(Volume::Decibel(6.0))), Plan { decibel: Some(6.0), ..Plan::default() });
        assert_eq!(set.volume.unwrap().at(50), 20);
    }

    #[test]
    fn mute_switches_off_what_can_be_switched() {
        let wish = Wish { mute: true, volume: None };
        assert_eq!(plan(&element("Mic", Some(true), Some(3)), wish), Plan { switch: Some(false), ..Plan::default() });
        assert_eq!(plan(&element("Mic", Some(false), Some(3)), wish), Plan::default());
        assert_eq!(plan(&element("Mic", None, Some(3)), wish), Plan::default());
    }

    #[test]
    fn the_microphone_is_chosen_before_other_elements_and_one_that_can_be_set_before_one_that_cannot() {
        let chosen = |elements: &[Element]| choose(elements).map(|e| (e.name.clone(), e.on.is_some()));
        let line = element("Line", Some(true), Some(1));
        let beep = element("Beep", Some(true), Some(1));
        let (volume_only, mic) = (element("Mic", None, Some(1)), element("Mic", Some(true), Some(1)));
        assert_eq!(chosen(&[beep.clone(), line.clone(), volume_only, mic]), Some(("Mic".into(), true)));
        assert_eq!(chosen(&[beep.clone(), line]), Some(("Line".into(), true)));
        assert_eq!(chosen(&[beep]), Some(("Beep".into(), true)));
        assert_eq!(chosen(&[]), None);
    }

    #[test]
    fn an_element_is_told_in_one_line() {
        assert_eq!(element("Mic", Some(true), Some(20)).to_string(), r#""Mic" on 50% (10.0 dB)"#);
        assert_eq!(element("ADC", Some(false), None).to_string(), r#""ADC" off"#);
    }

    /// What every call of a mixer can fail with.
    const ERRNOS: [libc::c_int; 8] =
        [libc::EIO, libc::EPIPE, libc::ESTRPIPE, libc::ENODEV, libc::EINVAL, libc::EACCES, libc::EBUSY, libc::ENOMEM];

    #[test]
    fn every_errno_at_every_call_is_told_with_its_call_and_the_next_try_sets_what_is_wanted() {
        for call in Call::ALL {
            for errno in ERRNOS {
                let card = format!("hw:CARD=Mixer{call:?}{errno}");
                let muted = || element("Mic", Some(false), Some(0));
                let speaker = || element("Master", Some(false), Some(0));
                let mixer = fake::Mixer::plug_in(&card, vec![(Side::Capture, muted()), (Side::Playback, speaker())]);
                let volume = if call == Call::Decibel { Volume::Decibel(6.0) } else { Volume::Percent(50) };
                let wish = Wish { volume: Some(volume), mute: false };
                let pcm = format!("{card},DEV=0");
                mixer.fail(call, errno);
                let failed = set_capture(&pcm, wish).unwrap_err();
                assert!(failed.call.starts_with("snd_mixer_") && failed.errno == errno, "{call:?} {errno}: {failed:?}");
                assert_eq!(set_capture(&pcm, wish).unwrap().unwrap().on, Some(true), "{call:?} {errno}");
                mixer.fail(call, errno);
                let why = set_playback(&pcm, wish).unwrap_err().to_string();
                assert!(why.starts_with(&format!("{card}: ")), "{call:?} {errno}: {why}");
                let set = set_playback(&pcm, wish).unwrap().unwrap();
                let expected = if call == Call::Decibel { "Master on 0 % (6.0 dB)" } else { "Master on 50 % (0.0 dB)" };
                assert_eq!(set, expected, "{call:?} {errno}");
            }
        }
    }

    #[test]
    fn a_card_that_is_not_there_has_no_mixer() {
        assert!(capture("hw:CARD=none_such,DEV=0").unwrap_err().is_missing());
    }
}
