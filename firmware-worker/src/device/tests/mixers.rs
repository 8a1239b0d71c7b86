//! A card's mixer, which the owner that opens the card sets: by hand it may have been set to anything, and a card that was
//! unplugged has forgotten what it was set to.

use super::*;
use crate::config::{Speaker, SpeakerDevice, Volume};
use hal::audio::Side;
use hal::audio::fake::mixer::Mixer;
use hal::audio::fake::{self as capture, Script, Time};
use hal::audio::mixer::{Element, Level};
use hal::audio::playback::fake::Card;

/// A mixer of one element with this switch and this of 40 steps.
fn mixer(control: &str, side: Side, (on, value): (bool, i64)) -> Mixer {
    let volume = Some(Level { value, range: (0, 40), decibel: None });
    let name = if side == Side::Capture { "Mic" } else { "Master" };
    Mixer::plug_in(control, vec![(side, Element { name: name.into(), index: 0, on: Some(on), volume })])
}

fn is_set(mixer: &Mixer, side: Side) -> (bool, i64) {
    let element = mixer.elements(side).unwrap().remove(0);
    (element.on.unwrap(), element.volume.unwrap().value)
}

impl Supervisor {
    async fn state_until(&mut self, fits: impl Fn(&OwnerState) -> bool) {
        while !fits(&self.state().await) {}
    }

    async fn runs(&mut self) {
        self.state_until(|state| matches!(state, OwnerState::Running(_))).await;
    }
}

/// Opens a card whose mixer is set to `found`, unplugs it, and plugs it in again with a mixer that is set so: each time it is
/// set to `wanted`.
async fn opened_and_replugged(
    kind: DeviceKind,
    (control, side): (&str, Side),
    (found, wanted): ((bool, i64), (bool, i64)),
    unplug: impl Fn(bool),
) {
    let first = mixer(control, side, found);
    let mut supervisor = Supervisor::start(&Device { name: "card".into(), kind }).await;
    supervisor.runs().await;
    assert_eq!(is_set(&first, side), wanted, "when it is opened");
    unplug(true);
    supervisor.state_until(|state| matches!(state, OwnerState::Lost(_))).await;
    let again = mixer(control, side, found);
    unplug(false);
    supervisor.link.send(&ToOwner::Rescan, &[]).unwrap();
    supervisor.runs().await;
    assert_eq!(is_set(&again, side), wanted, "when it is back");
}

#[tokio::test]
async fn a_speaker_that_is_muted_at_0_is_set_as_configured_when_it_is_opened_and_after_a_replug() {
    const CONTROL: &str = "hw:CARD=OwnerSpeaker";
    let pcm = format!("{CONTROL},DEV=0");
    let card = Card::plug_in(&pcm, 0.0);
    let device = SpeakerDevice::Card(pcm);
    let speaker = Speaker { device, volume: Some(Volume::Percent(50)), warm: true, ..Speaker::default() };
    let set = ((false, 0), (true, 20));
    opened_and_replugged(DeviceKind::Speaker(speaker), (CONTROL, Side::Playback), set, |out| card.unplug(out)).await;
}

#[tokio::test]
async fn a_microphone_is_set_as_configured_when_it_is_opened_and_after_a_replug() {
    // Nobody has set the first; somebody has switched on the second, which is to be muted.
    let cases = [
        ("OwnerMic", None, false, ((false, 0), (true, 30))),
        ("OwnerMuted", Some(25), true, ((true, 40), (false, 10))),
    ];
    for (id, volume, mute, set) in cases {
        let control = format!("hw:CARD={id}");
        let pcm = format!("{control},DEV=0");
        let plug_in = || capture::plug_in(&pcm, Script { time: Time::Real, ..Script::default() });
        plug_in();
        let (device, volume) = (MicrophoneDevice::Card(pcm.clone()), volume.map(Volume::Percent));
        let microphone = Microphone { device, volume, mute, warm: true, ..Microphone::default() };
        let unplug = |out| if out { capture::unplug(&pcm) } else { plug_in() };
        opened_and_replugged(DeviceKind::Microphone(microphone), (&control, Side::Capture), set, unplug).await;
    }
}
