use super::*;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

fn card(id: &str, description: &str, usb: Option<Usb>) -> Card {
    Card {
        name: format!("hw:CARD={id},DEV=0"),
        description: description.to_owned(),
        id: id.to_owned(),
        card: description.to_owned(),
        usb,
        number: 0,
        by_path: None,
        capture: true,
        playback: true,
    }
}

fn webcam(serial: Option<&str>, port: &str) -> Usb {
    let serial = serial.map(str::to_owned);
    Usb { vendor: "046d".into(), product: "0825".into(), serial, port: port.into() }
}

fn found(wanted: &str, cards: &[Card]) -> Result<String, String> {
    let wanted = Identity::parse(wanted).unwrap();
    find(&wanted, cards, |card| card.capture).map(|card| card.name.clone()).map_err(|e| e.to_string())
}

#[test]
fn every_way_to_name_a_card_finds_it() {
    let cards = [
        card("vc4hdmi0", "vc4-hdmi-0", None),
        card("Device", "USB PnP Sound", Some(webcam(Some("A1"), "1-1.2"))),
        card("Device_1", "USB PnP Sound", Some(webcam(Some("B2"), "1-1.3"))),
    ];
    for (wanted, name) in [
        ("usb:046D:0825:B2", "Device_1"),
        ("usb-port:1-1.2", "Device"),
        ("card:Device_1", "Device_1"),
        ("card:vc4-hdmi-0", "vc4hdmi0"),
        ("hw:CARD=Device,DEV=0", "Device"),
        ("auto", "Device"),
    ] {
        assert_eq!(found(wanted, &cards).unwrap(), format!("hw:CARD={name},DEV=0"), "{wanted}");
    }
    assert!(found("usb:046d:0826", &cards).unwrap_err().contains("no such sound card"));
    assert!(found("usb-port:1-1.4", &cards).unwrap_err().starts_with("usb-port:1-1.4: "));
}

#[test]
fn two_cards_that_fit_are_an_error_that_lists_them() {
    let cards = [
        card("Device", "USB PnP Sound", Some(webcam(None, "1-1.2"))),
        card("Device_1", "USB PnP Sound", Some(webcam(None, "1-1.3"))),
    ];
    for wanted in ["usb:046d:0825", "card:USB PnP Sound"] {
        let error = found(wanted, &cards).unwrap_err();
        assert!(error.contains("usb-port:1-1.2") && error.contains("usb-port:1-1.3"), "{error}");
    }
}

#[test]
fn two_pcms_of_one_card_are_one_card() {
    let mut cards = [card("Loopback", "Loopback", None), card("Loopback", "Loopback", None)];
    cards[1].name = "hw:CARD=Loopback,DEV=1".into();
    assert_eq!(found("card:Loopback", &cards).unwrap(), "hw:CARD=Loopback,DEV=0");
}

#[test]
fn displays_and_digital_connectors_are_not_chosen_by_themselves() {
    for description in ["vc4-hdmi-0, MAI PCM", "HDA Intel PCH, HDMI 0", "USB Audio, S/PDIF In", "SB, IEC958"] {
        let cards = [card("x", description, None)];
        assert!(found("auto", &cards).is_err(), "{description}");
        assert!(found("card:x", &cards).is_ok(), "{description}: asked for by name it is");
    }
}

#[test]
fn what_is_no_identity_is_refused() {
    for text in [
        "",
        "usb:",
        "usb:46d:0825",
        "usb:046d",
        "usb:046d:08g5",
        "usb:046d:0825:",
        "usb-port:",
        "card:",
        "path:",
        "path:x",
    ] {
        assert!(Identity::parse(text).is_err(), "{text:?}");
    }
    for text in [
        "auto",
        "usb:046d:0825",
        "usb:046d:0825:A:1",
        "usb-port:1-1.2",
        "card:My Card",
        "plughw:0,0",
        "path:/dev/snd/x",
    ] {
        assert_eq!(Identity::parse(text).unwrap().to_string(), text);
    }
}

struct Sysfs(PathBuf);

impl Sysfs {
    fn new(name: &str) -> Self {
        let root = std::env::temp_dir().join(format!("sound-identity-{name}-{}", std::process::id()));
        fs::create_dir_all(root.join("class/sound")).unwrap();
        Self(root)
    }

    fn card(&self, number: i32, device: &str) {
        let path = self.0.join("devices").join(device).join(format!("sound/card{number}"));
        fs::create_dir_all(&path).unwrap();
        symlink(&path, self.0.join(format!("class/sound/card{number}"))).unwrap();
    }

    fn attribute(&self, path: &str, text: &str) {
        fs::write(self.0.join("devices").join(path), text).unwrap();
    }
}

impl Drop for Sysfs {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn a_card_on_usb_has_the_ids_and_the_port_of_its_device() {
    let sysfs = Sysfs::new("usb");
    sysfs.card(1, "pci0/usb1/1-1/1-1.2/1-1.2:1.2");
    // The hub above it has ids of its own.
    for (path, text) in [
        ("pci0/usb1/1-1/idVendor", "1d6b\n"),
        ("pci0/usb1/1-1/idProduct", "0002\n"),
        ("pci0/usb1/1-1/1-1.2/idVendor", "046D\n"),
        ("pci0/usb1/1-1/1-1.2/idProduct", "0825\n"),
    ] {
        sysfs.attribute(path, text);
    }
    assert_eq!(usb(&sysfs.0, 1), Some(webcam(None, "1-1.2")));
    sysfs.attribute("pci0/usb1/1-1/1-1.2/serial", "A1\n");
    assert_eq!(usb(&sysfs.0, 1), Some(webcam(Some("A1"), "1-1.2")));
}

#[test]
fn a_card_is_found_by_the_link_that_is_printed_for_it_whatever_number_it_has_now() {
    let dev = Sysfs::new("by-path");
    let links = dev.0.join("snd/by-path");
    fs::create_dir_all(&links).unwrap();
    for (name, number) in [("platform-soc:sound", 1), ("platform-fd500000.pcie-usb-0:1.2:1.0", 0)] {
        fs::write(dev.0.join("snd").join(control(number)), "").unwrap();
        symlink(format!("../controlC{number}"), links.join(name)).unwrap();
    }
    assert_eq!(by_path(&dev.0, 1), Some(links.join("platform-soc:sound")));
    assert_eq!(by_path(&dev.0, 2), None);
    let card = |id: &str, number| Card { number, by_path: by_path(&dev.0, number), ..card(id, "USB PnP Sound", None) };
    let cards = [card("Device", 0), card("Device_1", 1)];
    let printed = cards[1].identities();
    assert_eq!(printed, [format!("path:{}", links.join("platform-soc:sound").display()), "card:Device_1".into()]);
    for written in &printed {
        assert_eq!(found(written, &cards).unwrap(), "hw:CARD=Device_1,DEV=0", "{written}");
    }
    assert!(found("path:/none", &cards).unwrap_err().starts_with("path:/none: no such sound card"));
}

#[test]
fn a_card_that_is_on_no_usb_or_not_there_has_none() {
    let sysfs = Sysfs::new("platform");
    sysfs.card(0, "platform/soc/sound");
    assert_eq!(usb(&sysfs.0, 0), None);
    assert_eq!(usb(&sysfs.0, 7), None);
    assert_eq!(usb(Path::new("/none"), 0), None);
}
