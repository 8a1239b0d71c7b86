//! A camera's controls by their names: exposure, gain, focus, white balance and the like.

use super::Handle;
use super::list::text;
use super::sys::{self, Control, ControlDescription, Controls, MenuItem};
use std::fmt;

/// Bounds the enumeration against drivers that never say "no more"; real cameras have some dozens.
const MAX_CONTROLS: usize = 256;

/// Bounds the items of one menu.
const MAX_ITEMS: i64 = 64;

/// `V4L2_CID_HFLIP` and `V4L2_CID_VFLIP`
const FLIPS: [u32; 2] = [0x0098_0914, 0x0098_0915];

/// A control as it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ControlState {
    /// As [`set_controls`] takes it.
    pub name: String,
    /// Its value; `None` for what can only be written.
    pub value: Option<i64>,
    /// What it takes, in plain words.
    pub range: String,
}

/// What a control is to be set to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Setting {
    /// A number, a switch as 0 or 1, or a menu's index.
    Number(i64),
    /// A menu's item by its text.
    Text(String),
}

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => write!(f, "{number}"),
            Self::Text(text) => write!(f, "{text:?}"),
        }
    }
}

/// Why a control was not set.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// The device has no such control.
    #[error("no control {name}; this camera has {known}")]
    Unknown {
        /// As configured.
        name: String,
        /// Those there are.
        known: String,
    },
    /// Out of its range.
    #[error("control {name} = {value}: must be {range}")]
    Range {
        /// Its name.
        name: String,
        /// As configured.
        value: Setting,
        /// What it takes.
        range: String,
    },
    /// The driver sets it itself, always or now.
    #[error("control {name} = {value}: {why}")]
    Refused {
        /// Its name.
        name: String,
        /// As configured.
        value: Setting,
        /// In plain words.
        why: String,
    },
}

/// Sets controls by their names, as `v4l2-ctl` writes them. Menus and switches come first, since they decide which others
/// can be set (automatic exposure, before an exposure time). Each that cannot be set is told; the others are set anyway.
pub fn set_controls(handle: &Handle, settings: &[(String, Setting)]) -> Vec<ControlError> {
    let known = describe(handle);
    let find = |name: &str| known.iter().find(|known| name_of(known) == normalised(name));
    let mut failures = Vec::new();
    let mut found = Vec::new();
    for (name, value) in settings {
        match find(name) {
            Some(control) => found.push((control, value)),
            None => failures.push(unknown(name, &known)),
        }
    }
    let decides = |control: &ControlDescription| matches!(control.kind, sys::CTRL_TYPE_MENU | sys::CTRL_TYPE_BOOLEAN);
    found.sort_by_key(|(control, _)| !decides(control));
    failures.extend(found.into_iter().filter_map(|(control, value)| set(handle, control, value).err()));
    failures
}

/// All controls and their values.
pub(super) fn states(handle: &Handle) -> Vec<ControlState> {
    let state = |control: &ControlDescription| ControlState {
        name: name_of(control),
        value: value(handle, control),
        // No value fits, so it says which would.
        range: meaning(handle, control, &Setting::Text(String::new())).err().unwrap_or_else(|| "true".into()),
    };
    describe(handle).iter().map(state).collect()
}

fn value(handle: &Handle, control: &ControlDescription) -> Option<i64> {
    let wide = control.kind == sys::CTRL_TYPE_INTEGER64;
    let mut controls = Controls { list: vec![Control { id: control.id, value: 0, wide }], failed: 0 };
    let readable = control.flags & sys::CTRL_FLAG_WRITE_ONLY == 0;
    readable.then(|| handle.ioctl(&sys::G_EXT_CTRLS, &mut controls).ok())??;
    controls.list.first().map(|control| control.value)
}

/// Lets the driver mirror the picture, where it can: whether it does so itself, horizontally and vertically.
pub fn flip(handle: &Handle, horizontally: bool, vertically: bool) -> (bool, bool) {
    let [hflip, vflip] = FLIPS;
    let set = |id, on: bool| put(handle, Control::new(id, on.into())).is_ok();
    (set(hflip, horizontally), set(vflip, vertically))
}

/// All controls that hold a number and are not disabled.
fn describe(handle: &Handle) -> Vec<ControlDescription> {
    let mut controls = Vec::new();
    let mut after = 0;
    while controls.len() < MAX_CONTROLS {
        let mut entry = ControlDescription { id: after | sys::CTRL_FLAG_NEXT_CTRL, ..Default::default() };
        // A driver that gives the same again would give it for ever.
        if handle.ioctl(&sys::QUERY_EXT_CTRL, &mut entry).is_err() || entry.id <= after {
            break;
        }
        after = entry.id;
        if entry.flags & sys::CTRL_FLAG_DISABLED == 0 && is_number(&entry) {
            controls.push(entry);
        }
    }
    controls
}

fn is_number(control: &ControlDescription) -> bool {
    matches!(
        control.kind,
        sys::CTRL_TYPE_INTEGER
            | sys::CTRL_TYPE_BOOLEAN
            | sys::CTRL_TYPE_MENU
            | sys::CTRL_TYPE_BUTTON
            | sys::CTRL_TYPE_INTEGER64
            | sys::CTRL_TYPE_BITMASK
            | sys::CTRL_TYPE_INTEGER_MENU
    )
}

fn name_of(control: &ControlDescription) -> String {
    normalised(&text(&control.name))
}

/// `Exposure Time, Absolute` as `exposure_time_absolute`.
fn normalised(name: &str) -> String {
    let words = name.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    words.collect::<Vec<_>>().join("_").to_ascii_lowercase()
}

fn unknown(name: &str, known: &[ControlDescription]) -> ControlError {
    let names: Vec<String> = known.iter().map(name_of).collect();
    let known = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
    ControlError::Unknown { name: name.to_owned(), known }
}

fn set(handle: &Handle, control: &ControlDescription, value: &Setting) -> Result<(), ControlError> {
    let name = name_of(control);
    let refused = |why: String| ControlError::Refused { name: name.clone(), value: value.clone(), why };
    if control.flags & sys::CTRL_FLAG_READ_ONLY != 0 {
        return Err(refused("can only be read".into()));
    }
    let number = meaning(handle, control, value).map_err(|range| ControlError::Range {
        name: name.clone(),
        value: value.clone(),
        range,
    })?;
    let wide = control.kind == sys::CTRL_TYPE_INTEGER64;
    put(handle, Control { id: control.id, value: number, wide }).map_err(|error| {
        // What an automatic control rules is inactive; whether it is now, after others were set, the driver says.
        let mut now = ControlDescription { id: control.id, ..Default::default() };
        let asked = handle.ioctl(&sys::QUERY_EXT_CTRL, &mut now);
        let inactive = asked.is_ok() && now.flags & sys::CTRL_FLAG_INACTIVE != 0;
        refused(if inactive { "an automatic control rules it; switch that one off".into() } else { error.to_string() })
    })
}

fn put(handle: &Handle, control: Control) -> std::io::Result<()> {
    handle.ioctl(&sys::S_EXT_CTRLS, &mut Controls { list: vec![control], failed: 0 })
}

/// The number to set, or what it must be.
fn meaning(handle: &Handle, control: &ControlDescription, value: &Setting) -> Result<i64, String> {
    let (least, most, step) = (control.minimum, control.maximum, control.step.max(1));
    match (control.kind, value) {
        (sys::CTRL_TYPE_MENU | sys::CTRL_TYPE_INTEGER_MENU, _) => item(handle, control, value),
        (sys::CTRL_TYPE_BUTTON, _) => Ok(0),
        (_, Setting::Number(number))
            if (least..=most).contains(number) && number.abs_diff(least).is_multiple_of(step) =>
        {
            Ok(*number)
        }
        _ if step == 1 => Err(format!("{least} to {most}")),
        _ => Err(format!("{least} to {most} in steps of {step}")),
    }
}

/// A menu's item by its text, or by its number.
fn item(handle: &Handle, control: &ControlDescription, value: &Setting) -> Result<i64, String> {
    let mut items = Vec::new();
    // A menu may have gaps.
    for index in control.minimum.max(0)..=control.maximum.min(MAX_ITEMS) {
        let mut item = MenuItem { id: control.id, index: index as u32, ..Default::default() };
        if handle.ioctl(&sys::QUERYMENU, &mut item).is_err() {
            continue;
        }
        let [a, b, c, d, e, f, g, h, ..] = item.name;
        let name = match control.kind {
            sys::CTRL_TYPE_INTEGER_MENU => i64::from_ne_bytes([a, b, c, d, e, f, g, h]).to_string(),
            _ => text(&item.name),
        };
        items.push((index, name));
    }
    let wanted = value.to_string();
    let found = items.iter().find(|(index, name)| match value {
        Setting::Text(text) => name.eq_ignore_ascii_case(text),
        // Of a menu of numbers the number itself is meant.
        Setting::Number(_) if control.kind == sys::CTRL_TYPE_INTEGER_MENU => *name == wanted,
        Setting::Number(number) => index == number,
    });
    let all = || items.iter().map(|(_, name)| format!("{name:?}")).collect::<Vec<_>>().join(", ");
    found.map(|(index, _)| *index).ok_or_else(|| format!("one of {}", all()))
}

#[cfg(test)]
mod tests {
    use super::super::fake::{Camera, Knob, Script};
    use super::*;

    fn knobs() -> Vec<Knob> {
        vec![
            Knob::number("Exposure Time, Absolute", 3, 2047, 1),
            Knob::menu("Auto Exposure", &["Auto Mode", "Manual Mode"]),
            Knob::number("White Balance Temperature", 2800, 6500, 10),
            Knob::menu("Power Line Frequency", &["Disabled", "50 Hz", "60 Hz"]),
            Knob { read_only: true, ..Knob::number("Pan, Speed", 0, 1, 1) },
        ]
    }

    fn number(name: &str, value: i64) -> (String, Setting) {
        (name.into(), Setting::Number(value))
    }

    fn told(settings: &[(String, Setting)]) -> Vec<String> {
        let device = Camera::device(Script { knobs: knobs(), ..Script::default() });
        set_controls(&device.open(), settings).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn names_are_those_that_v4l2_ctl_writes() {
        assert_eq!(normalised("Exposure Time, Absolute"), "exposure_time_absolute");
        assert_eq!(normalised("White Balance, Automatic"), "white_balance_automatic");
        assert_eq!(normalised("  Gain (dB) "), "gain_db");
    }

    #[test]
    fn values_are_set_and_switches_before_what_they_rule() {
        let device = Camera::device(Script { knobs: knobs(), ..Script::default() });
        let settings = [
            number("exposure_time_absolute", 200),
            ("auto_exposure".into(), Setting::Text("manual mode".into())),
            ("power_line_frequency".into(), Setting::Text("50 Hz".into())),
            number("white_balance_temperature", 4600),
        ];
        let failed = set_controls(&device.open(), &settings);
        assert!(failed.is_empty(), "{failed:?}");
        let set = device.knobs();
        assert_eq!(set[0], ("Auto Exposure".into(), 1), "{set:?}");
        let values: Vec<i64> = ["Power Line Frequency", "Exposure Time, Absolute", "White Balance Temperature"]
            .map(|name| set.iter().find(|(set, _)| set == name).unwrap().1)
            .into();
        assert_eq!(values, [1, 200, 4600]);
    }

    #[test]
    fn what_cannot_be_set_is_told_with_what_can() {
        assert_eq!(
            told(&[number("exposure", 1)]),
            ["no control exposure; this camera has exposure_time_absolute, auto_exposure, white_balance_temperature, \
              power_line_frequency, pan_speed"]
        );
        assert_eq!(
            told(&[number("exposure_time_absolute", 1)]),
            ["control exposure_time_absolute = 1: must be 3 to 2047"]
        );
        assert_eq!(
            told(&[number("white_balance_temperature", 2801)]),
            ["control white_balance_temperature = 2801: must be 2800 to 6500 in steps of 10"]
        );
        assert_eq!(
            told(&[("power_line_frequency".into(), Setting::Text("55 Hz".into()))]),
            ["control power_line_frequency = \"55 Hz\": must be one of \"Disabled\", \"50 Hz\", \"60 Hz\""]
        );
        assert_eq!(told(&[number("pan_speed", 1)]), ["control pan_speed = 1: can only be read"]);
    }

    #[test]
    fn states_tell_values_and_what_is_taken() {
        let device = Camera::device(Script { knobs: knobs(), ..Script::default() });
        let handle = device.open();
        assert!(set_controls(&handle, &[number("white_balance_temperature", 4600)]).is_empty());
        let states = states(&handle);
        let shown = |at: usize| (states[at].name.as_str(), states[at].value, states[at].range.as_str());
        assert_eq!(shown(2), ("white_balance_temperature", Some(4600), "2800 to 6500 in steps of 10"));
        assert_eq!(shown(1), ("auto_exposure", Some(0), "one of \"Auto Mode\", \"Manual Mode\""));
    }

    #[test]
    fn one_that_fails_keeps_no_other_from_being_set() {
        let device = Camera::device(Script { knobs: knobs(), ..Script::default() });
        let settings = [number("gain", 1), number("exposure_time_absolute", 9)];
        assert_eq!(set_controls(&device.open(), &settings).len(), 1);
        assert_eq!(device.knobs(), [("Exposure Time, Absolute".to_owned(), 9)]);
    }

    #[test]
    fn a_driver_mirrors_where_it_can() {
        let device = Camera::device(Script { knobs: vec![Knob::flip(true)], ..Script::default() });
        assert_eq!(flip(&device.open(), true, true), (false, true));
        assert_eq!(device.knobs(), [("Vertical Flip".to_owned(), 1)]);
    }
}
