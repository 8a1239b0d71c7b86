//! A USB sound card with a mixer of its own, as QEMU makes one up.

use super::*;
use hal::audio::mixer::{Volume, Wish};
use hal::audio::{self, Card, Identity, Playback, Turn, set_playback};
use std::process::Command;

/// As the card names it: none of the usual names.
const ELEMENT: &str = "Audio Output Volume Control";

fn card() -> Card {
    until("the USB card is listed", || audio::list().into_iter().find(|card| card.usb.is_some()))
}

fn speaker() -> String {
    until("the USB card is listed", || audio::list().into_iter().find(|card| card.name == "hw:CARD=Audio,DEV=0")).name
}

fn plug(what: &str) {
    fs::write(format!("/sys/bus/usb/drivers/usb/{what}"), "1-1").unwrap();
}

/// Finds the card by what it is and by where it is.
fn assert_found(name: &str) {
    let usb = card().usb.unwrap();
    assert_eq!((usb.vendor.as_str(), usb.product.as_str(), usb.port.as_str()), ("46f4", "0002", "1-1"));
    let serial = usb.serial.expect("QEMU gives it one");
    for wanted in ["usb:46f4:0002", &format!("usb:46f4:0002:{serial}"), "usb-port:1-1"] {
        let wanted = Identity::parse(wanted).unwrap();
        let cards = audio::list();
        let found = audio::find(&wanted, &cards, |card| card.playback).unwrap();
        assert_eq!(found.name, name, "{wanted}");
    }
}

#[test]
#[ignore = "needs a USB sound card"]
fn a_card_that_comes_back_under_another_name_is_found_by_what_it_is_and_by_where_it_is() {
    let rename = |card: &str, id: &str| fs::write(format!("/sys/class/sound/{card}/id"), id).unwrap();
    assert_found("hw:CARD=Audio,DEV=0");
    let before = card().usb;
    plug("unbind");
    // Another takes its name.
    let other = audio::list().into_iter().find(|card| card.id == "Loopback").expect("snd-aloop is listed").number;
    let other = format!("card{other}");
    rename(&other, "Audio");
    plug("bind");
    assert_found("hw:CARD=Audio_1,DEV=0");
    assert_eq!(card().usb, before);
    plug("unbind");
    rename(&other, "Loopback");
    plug("bind");
    assert_found("hw:CARD=Audio,DEV=0");
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
    let unplugging = std::thread::spawn(|| plug("unbind"));
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
