//! The calls into a card's mixer, one by one: to libasound's, or to a script.

#[cfg(any(test, feature = "fake"))]
use super::fake::mixer as fake;
use super::mixer::{Element, Level};
use super::pcm::Failed;
use alsa::Round;
use alsa::mixer::{MilliBel, Mixer, Selem, SelemChannelId, SelemId};

/// Which of an element's switches and volumes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Sound in.
    Capture,
    /// Sound out.
    Playback,
}

/// A card's mixer.
pub(super) enum Controls {
    /// libasound's.
    Alsa(Mixer),
    /// A script.
    #[cfg(any(test, feature = "fake"))]
    Fake(fake::Mixer),
}

impl Controls {
    /// That of the control device `hw:CARD=...`.
    pub fn open(control: &str) -> Result<Self, Failed> {
        #[cfg(any(test, feature = "fake"))]
        if let Some(mixer) = fake::open(control) {
            return mixer.map(Self::Fake);
        }
        if control.contains(char::from(0)) {
            return Err(Failed { call: "snd_mixer_attach", errno: libc::ENOENT });
        }
        Ok(Self::Alsa(Mixer::new(control, true)?))
    }

    /// All elements of this side, as they are now.
    pub fn elements(&self, side: Side) -> Result<Vec<Element>, Failed> {
        call!(self, mixer => elements(mixer, side), fake => fake.elements(side))
    }

    /// One of them, as it is now.
    pub fn read(&self, side: Side, element: &Element) -> Result<Element, Failed> {
        let same = |other: &Element| (&other.name, other.index) == (&element.name, element.index);
        let gone = Failed { call: "snd_mixer_find_selem", errno: libc::ENODEV };
        self.elements(side)?.into_iter().find(same).ok_or(gone)
    }

    /// Switches all channels.
    pub fn switch(&self, side: Side, element: &Element, on: bool) -> Result<(), Failed> {
        call!(self, mixer => {
            let selem = find(mixer, element)?;
            match side {
                Side::Capture => selem.set_capture_switch_all(on.into())?,
                Side::Playback => selem.set_playback_switch_all(on.into())?,
            }
            Ok(())
        }, fake => fake.switch(side, element, on))
    }

    /// Sets the volume of all channels, as the card counts it.
    pub fn set_value(&self, side: Side, element: &Element, value: i64) -> Result<(), Failed> {
        call!(self, mixer => {
            let selem = find(mixer, element)?;
            match side {
                Side::Capture => selem.set_capture_volume_all(value)?,
                Side::Playback => selem.set_playback_volume_all(value)?,
            }
            Ok(())
        }, fake => fake.set_value(side, element, value))
    }

    /// The same in dB: the next below that it has.
    pub fn set_decibel(&self, side: Side, element: &Element, decibel: f32) -> Result<(), Failed> {
        call!(self, mixer => {
            let (selem, decibel) = (find(mixer, element)?, MilliBel::from_db(decibel));
            match side {
                Side::Capture => selem.set_capture_db_all(decibel, Round::Floor)?,
                Side::Playback => selem.set_playback_db_all(decibel, Round::Floor)?,
            }
            Ok(())
        }, fake => fake.set_decibel(side, element, decibel))
    }
}

fn find<'a>(mixer: &'a Mixer, element: &Element) -> Result<Selem<'a>, Failed> {
    let gone = Failed { call: "snd_mixer_find_selem", errno: libc::ENODEV };
    mixer.find_selem(&SelemId::new(&element.name, element.index)).ok_or(gone)
}

fn elements(mixer: &Mixer, side: Side) -> Result<Vec<Element>, Failed> {
    let has = |selem: &Selem<'_>| match side {
        Side::Capture => selem.has_capture_switch() || selem.has_capture_volume(),
        Side::Playback => selem.has_playback_switch() || selem.has_playback_volume(),
    };
    let (mut read, mut failed) = (Vec::new(), None);
    for selem in mixer.iter().filter_map(Selem::new).filter(has) {
        match self::read(&selem, side) {
            Ok(element) => read.push(element),
            // An odd one must not keep the others from being set.
            Err(error) => failed = Some(error),
        }
    }
    failed.filter(|_| read.is_empty()).map_or(Ok(read), Err)
}

fn read(selem: &Selem<'_>, side: Side) -> Result<Element, Failed> {
    let channel = SelemChannelId::mono();
    let (on, volume) = match side {
        Side::Capture => (
            selem.has_capture_switch().then(|| selem.get_capture_switch(channel)).transpose()?,
            selem
                .has_capture_volume()
                .then(|| {
                    level(
                        selem.get_capture_volume(channel),
                        selem.get_capture_volume_range(),
                        selem.get_capture_vol_db(channel),
                    )
                })
                .transpose()?,
        ),
        Side::Playback => (
            selem.has_playback_switch().then(|| selem.get_playback_switch(channel)).transpose()?,
            selem
                .has_playback_volume()
                .then(|| {
                    level(
                        selem.get_playback_volume(channel),
                        selem.get_playback_volume_range(),
                        selem.get_playback_vol_db(channel),
                    )
                })
                .transpose()?,
        ),
    };
    let id = selem.get_id();
    Ok(Element { name: id.get_name()?.to_owned(), index: id.get_index(), on: on.map(|on| on != 0), volume })
}

fn level(value: alsa::Result<i64>, range: (i64, i64), decibel: alsa::Result<MilliBel>) -> Result<Level, Failed> {
    Ok(Level { value: value?, range, decibel: decibel.ok().map(MilliBel::to_db) })
}
