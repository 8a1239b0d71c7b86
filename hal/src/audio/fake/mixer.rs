//! A mixer by script: its elements, and which of its calls fails how.

use super::lock;
use crate::audio::controls::Side;
use crate::audio::mixer::Element;
use crate::audio::pcm::Failed;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

/// By the names of their control devices.
static MIXERS: Mutex<BTreeMap<String, Mixer>> = Mutex::new(BTreeMap::new());

/// The calls into a mixer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs)]
pub enum Call {
    Open,
    Read,
    Switch,
    Value,
    Decibel,
}

impl Call {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Open, Self::Read, Self::Switch, Self::Value, Self::Decibel];

    fn name(self) -> &'static str {
        match self {
            Self::Open => "snd_mixer_attach",
            Self::Read => "snd_mixer_selem_get_volume",
            Self::Switch => "snd_mixer_selem_set_switch_all",
            Self::Value => "snd_mixer_selem_set_volume_all",
            Self::Decibel => "snd_mixer_selem_set_dB_all",
        }
    }
}

/// A mixer, and the test's end of it.
#[derive(Clone, Debug)]
pub struct Mixer(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    elements: Vec<(Side, Element)>,
    faults: Vec<(Call, libc::c_int)>,
}

/// `None` if no mixer by script has this control device.
pub(in crate::audio) fn open(control: &str) -> Option<Result<Mixer, Failed>> {
    let mixer = lock(&MIXERS).get(control)?.clone();
    let opened = mixer.call(Call::Open);
    Some(opened.map(|()| mixer))
}

impl Mixer {
    /// From now on the control device of this name, which no other test uses, has these elements.
    pub fn plug_in(control: &str, elements: Vec<(Side, Element)>) -> Self {
        let mixer = Self(Arc::new(Mutex::new(State { elements, faults: Vec::new() })));
        lock(&MIXERS).insert(control.to_owned(), mixer.clone());
        mixer
    }

    /// The next call of this kind fails.
    pub fn fail(&self, call: Call, errno: i32) {
        lock(&self.0).faults.push((call, errno));
    }

    /// All of this side, as they are now.
    pub fn elements(&self, side: Side) -> Result<Vec<Element>, Failed> {
        self.call(Call::Read)?;
        Ok(lock(&self.0).elements.iter().filter(|(of, _)| *of == side).map(|(_, element)| element.clone()).collect())
    }

    pub(in crate::audio) fn switch(&self, side: Side, element: &Element, on: bool) -> Result<(), Failed> {
        self.call(Call::Switch)?;
        self.change(side, element, |element| element.on = Some(on));
        Ok(())
    }

    pub(in crate::audio) fn set_value(&self, side: Side, element: &Element, value: i64) -> Result<(), Failed> {
        self.call(Call::Value)?;
        self.change(side, element, |element| element.volume.iter_mut().for_each(|level| level.value = value));
        Ok(())
    }

    pub(in crate::audio) fn set_decibel(&self, side: Side, element: &Element, decibel: f32) -> Result<(), Failed> {
        self.call(Call::Decibel)?;
        self.change(side, element, |element| element.volume.iter_mut().for_each(|level| level.decibel = Some(decibel)));
        Ok(())
    }

    fn change(&self, side: Side, element: &Element, change: impl Fn(&mut Element)) {
        let same = |other: &Element| (&other.name, other.index) == (&element.name, element.index);
        let mut state = lock(&self.0);
        state.elements.iter_mut().filter(|(of, other)| *of == side && same(other)).for_each(|(_, other)| change(other));
    }

    fn call(&self, call: Call) -> Result<(), Failed> {
        let mut state = lock(&self.0);
        match state.faults.iter().position(|(wanted, _)| *wanted == call) {
            Some(at) => Err(Failed { call: call.name(), errno: state.faults.remove(at).1 }),
            None => Ok(()),
        }
    }
}
