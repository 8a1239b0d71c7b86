//! A USB sound card with a mixer of its own, as QEMU makes one up.

use super::*;
use hal::audio::mixer::{Volume, Wish};
use hal::audio::{self, Playback, Turn, set_playback};
use std::process::Command;

/// As the card names it: none of the usual names.
const ELEMENT: &str = "Audio Output Volume Control";

fn speaker() -> String {
    until("the USB card is listed", || audio::list().into_iter().find(|card| card.name == "hw:CARD=Audio,DEV=0")).name
}

/// What ALSA's own tool says of the element after it has been told to set it.
fn amixer(arguments: &[&str]) -> String {
    let output = Command::new("amixer").args(["-c", "Audio"]).args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn assert_set(wish: Wish, said: &str, switch: &str, level: &str) {
    assert_eq!(set_playback(&speaker(), wish).unwrap().as_deref(), Some(format!("{ELEMENT} {said}").as_str()));
    let shown = amixer(&["sget", ELEMENT]);
    assert!(shown.contains(switch) && shown.contains(level), "{switch} {level}: {shown}");
}

#[test]
#[ignore = "needs a USB sound card"]
fn a_speaker_that_is_muted_and_at_zero_is_heard_and_set_as_configured_and_again_after_a_replug() {
    speaker();
    amixer(&["sset", ELEMENT, "0%", "mute"]);
    assert_set(Wish::default(), "on 75 % (-26.0 dB)", "[on]", "[75%]");
    let quiet = Wish { volume: Some(Volume::Percent(50)), mute: true };
    assert_set(quiet, "off 50 % (-60.0 dB)", "[off]", "[50%]");
    let loud = Wish { volume: Some(Volume::Decibel(-10.0)), mute: false };
    assert_set(loud, "on 87 % (-10.1 dB)", "[on]", "dB]");

    let mut playback = Playback::start(&speaker(), 2).unwrap();
    let silence = vec![[0; 2]; playback.period()];
    for _ in 0..20 {
        assert_eq!(playback.wait(SECOND), Turn::Ready);
        assert_ne!(playback.write(&silence), Turn::Gone);
    }
    let plug = |what: &str| fs::write(format!("/sys/bus/usb/drivers/usb/{what}"), "1-1").unwrap();
    let unplugging = std::thread::spawn(move || plug("unbind"));
    until("the loss is seen", || match playback.wait(SECOND) {
        Turn::Gone => Some(()),
        _ => (playback.write(&silence) == Turn::Gone).then_some(()),
    });
    drop(playback);
    unplugging.join().unwrap();
    plug("bind");
    speaker();
    amixer(&["sset", ELEMENT, "0%", "mute"]);
    assert_set(loud, "on 87 % (-10.1 dB)", "[on]", "dB]");
}
