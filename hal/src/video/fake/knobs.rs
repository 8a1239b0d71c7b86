//! Controls of a made-up camera.

use crate::video::keyframe::FORCE_KEY_FRAME;
use crate::video::sys::{self, ControlDescription, Controls, MenuItem};

/// One control.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Knob {
    /// As the driver names it.
    pub name: String,
    /// `V4L2_CID_*`; 0 for the next free one.
    pub id: u32,
    /// Least value.
    pub least: i64,
    /// Largest value.
    pub most: i64,
    /// Between values.
    pub step: u64,
    /// Items, of a menu; those without a name are not there.
    pub items: Vec<String>,
    /// Only to be read.
    pub read_only: bool,
}

impl Knob {
    /// An integer.
    pub fn number(name: &str, least: i64, most: i64, step: u64) -> Self {
        Self { name: name.into(), id: 0, least, most, step, items: Vec::new(), read_only: false }
    }

    /// A menu.
    pub fn menu(name: &str, items: &[&str]) -> Self {
        let items: Vec<String> = items.iter().map(|item| (*item).into()).collect();
        Self { items: items.clone(), ..Self::number(name, 0, items.len() as i64 - 1, 1) }
    }

    /// `V4L2_CID_MPEG_VIDEO_FORCE_KEY_FRAME`.
    pub fn force_key_frame() -> Self {
        Self { id: FORCE_KEY_FRAME, ..Self::number("Force Key Frame", 0, 1, 1) }
    }

    /// The same with this number.
    pub fn numbered(self, id: u32) -> Self {
        Self { id, ..self }
    }

    /// `V4L2_CID_HFLIP` or `V4L2_CID_VFLIP`.
    pub fn flip(vertical: bool) -> Self {
        let (name, id) = if vertical { ("Vertical Flip", 0x0098_0915) } else { ("Horizontal Flip", 0x0098_0914) };
        Self { id, ..Self::number(name, 0, 1, 1) }
    }
}

/// The first number given to controls without one of their own.
const FIRST: u32 = 0x009a_0900;

/// All controls, and what was set, in order.
#[derive(Clone, Debug, Default)]
pub(super) struct Knobs {
    list: Vec<Knob>,
    pub(super) set: Vec<(String, i64)>,
}

impl Knobs {
    pub(super) fn new(list: Vec<Knob>) -> Self {
        let numbered = |(index, knob): (usize, Knob)| Knob {
            id: if knob.id == 0 { FIRST + index as u32 } else { knob.id },
            ..knob
        };
        Self { list: list.into_iter().enumerate().map(numbered).collect(), set: Vec::new() }
    }

    pub(super) fn describe(&self, entry: &mut ControlDescription) -> Result<(), i32> {
        let after = entry.id & !sys::CTRL_FLAG_NEXT_CTRL;
        let next = entry.id & sys::CTRL_FLAG_NEXT_CTRL != 0;
        let mut fitting = self.list.iter().filter(|knob| if next { knob.id > after } else { knob.id == after });
        let knob = fitting.next().ok_or(libc::EINVAL)?;
        let kind = if knob.items.is_empty() { sys::CTRL_TYPE_INTEGER } else { sys::CTRL_TYPE_MENU };
        let flags = if knob.read_only { sys::CTRL_FLAG_READ_ONLY } else { 0 };
        *entry = ControlDescription {
            id: knob.id,
            kind,
            minimum: knob.least,
            maximum: knob.most,
            step: knob.step,
            flags,
            ..Default::default()
        };
        entry.name[..knob.name.len()].copy_from_slice(knob.name.as_bytes());
        Ok(())
    }

    pub(super) fn item(&self, item: &mut MenuItem) -> Result<(), i32> {
        let knob = self.list.iter().find(|knob| knob.id == item.id).ok_or(libc::EINVAL)?;
        let name = knob.items.get(item.index as usize).filter(|name| !name.is_empty()).ok_or(libc::EINVAL)?;
        item.name[..name.len()].copy_from_slice(name.as_bytes());
        Ok(())
    }

    pub(super) fn get(&self, controls: &mut Controls) -> Result<(), i32> {
        for control in &mut controls.list {
            control.value = self.value(control.id).ok_or(libc::EINVAL)?;
        }
        Ok(())
    }

    /// The value that a control has.
    pub(super) fn value(&self, id: u32) -> Option<i64> {
        let knob = self.list.iter().find(|knob| knob.id == id)?;
        Some(self.set.iter().rev().find(|(name, _)| *name == knob.name).map_or(knob.least, |(_, value)| *value))
    }

    pub(super) fn set(&mut self, controls: &Controls) -> Result<(), i32> {
        for control in &controls.list {
            let knob = self.list.iter().find(|knob| knob.id == control.id).ok_or(libc::EINVAL)?;
            if !(knob.least..=knob.most).contains(&control.value) {
                return Err(libc::ERANGE);
            }
            self.set.push((knob.name.clone(), control.value));
        }
        Ok(())
    }
}
