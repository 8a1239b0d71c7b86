//! Which card is meant: by what it is, not by the number that it got this time.

use super::{Card, Error};
use std::fmt;
use std::path::Path;

/// What a card is wanted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// Sound in.
    Capture,
    /// Sound out.
    Play,
}

impl Use {
    /// Whether the card can.
    pub fn fits(self, card: &Card) -> bool {
        match self {
            Self::Capture => card.capture,
            Self::Play => card.playback,
        }
    }

    fn verb(self) -> &'static str {
        match self {
            Self::Capture => "captures",
            Self::Play => "plays",
        }
    }
}

/// What names a card for good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Identity {
    /// The first that captures (or plays) and is no display and no digital connector.
    Auto,
    /// `usb:046d:0825` or `usb:046d:0825:SERIAL`
    Usb {
        /// idVendor, four hexadecimal digits.
        vendor: String,
        /// idProduct, four hexadecimal digits.
        product: String,
        /// Where two are alike.
        serial: Option<String>,
    },
    /// `usb-port:1-1.2`: whatever is plugged in there.
    UsbPort(String),
    /// `card:NAME`: its id or its name.
    Name(String),
    /// `hw:CARD=Device,DEV=0` and whatever else libasound knows.
    Alsa(String),
}

/// A card on USB.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Usb {
    /// idVendor.
    pub vendor: String,
    /// idProduct.
    pub product: String,
    /// Many have none.
    pub serial: Option<String>,
    /// Bus and ports: `1-1.2`.
    pub port: String,
}

impl Identity {
    /// As it is written; the error says what may be.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        const USB: &str = "must be usb:VVVV:PPPP or usb:VVVV:PPPP:SERIAL with the ids in four hexadecimal digits";
        let given = |rest: &str, why| if rest.is_empty() { Err(why) } else { Ok(rest.to_owned()) };
        if text == "auto" {
            return Ok(Self::Auto);
        }
        if let Some(rest) = text.strip_prefix("usb:") {
            let mut parts = rest.splitn(3, ':');
            let mut id = || {
                let id = parts.next().unwrap_or("").to_ascii_lowercase();
                (id.len() == 4 && id.bytes().all(|b| b.is_ascii_hexdigit())).then_some(id).ok_or(USB)
            };
            let (vendor, product) = (id()?, id()?);
            let serial = parts.next().map(|serial| given(serial, USB)).transpose()?;
            return Ok(Self::Usb { vendor, product, serial });
        }
        if let Some(port) = text.strip_prefix("usb-port:") {
            return Ok(Self::UsbPort(given(port, "must be usb-port:BUS-PORT, as usb-port:1-1.2")?));
        }
        if let Some(name) = text.strip_prefix("card:") {
            return Ok(Self::Name(given(name, "must be card:NAME")?));
        }
        given(text, "is empty").map(Self::Alsa)
    }

    fn fits(&self, card: &Card) -> bool {
        match self {
            Self::Auto => !card.is_digital(),
            Self::Usb { vendor, product, serial } => card.usb.as_ref().is_some_and(|usb| {
                let alike = usb.vendor == *vendor && usb.product == *product;
                alike && serial.as_ref().is_none_or(|serial| usb.serial.as_ref() == Some(serial))
            }),
            Self::UsbPort(port) => card.usb.as_ref().is_some_and(|usb| usb.port == *port),
            Self::Name(name) => card.id == *name || card.card == *name,
            Self::Alsa(name) => card.name == *name,
        }
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Usb { vendor, product, serial: None } => write!(f, "usb:{vendor}:{product}"),
            Self::Usb { vendor, product, serial: Some(serial) } => write!(f, "usb:{vendor}:{product}:{serial}"),
            Self::UsbPort(port) => write!(f, "usb-port:{port}"),
            Self::Name(name) => write!(f, "card:{name}"),
            Self::Alsa(name) => f.write_str(name),
        }
    }
}

impl Card {
    /// An output of a display, or a digital connector that is silent until something is plugged in: nothing to choose
    /// by itself.
    pub fn is_digital(&self) -> bool {
        let text = format!("{} {}", self.name, self.description).to_ascii_lowercase();
        ["hdmi", "displayport", "s/pdif", "spdif", "iec958", "iec60958", "toslink"]
            .iter()
            .any(|word| text.contains(word))
    }

    /// What names it for good, best first.
    pub fn identities(&self) -> Vec<String> {
        let mut identities = Vec::new();
        if let Some(usb) = &self.usb {
            let (vendor, product, serial) = (usb.vendor.clone(), usb.product.clone(), usb.serial.clone());
            identities.push(Identity::Usb { vendor, product, serial }.to_string());
            identities.push(Identity::UsbPort(usb.port.clone()).to_string());
        }
        identities.push(Identity::Name(self.id.clone()).to_string());
        identities
    }
}

/// The PCM that [`Identity::Auto`] means among `cards`; the error tells what it leaves out.
pub fn auto(cards: &[Card], wanted: Use) -> Result<&Card, Error> {
    find(&Identity::Auto, cards, |card| wanted.fits(card)).map_err(|_| {
        let left_out: Vec<_> = cards.iter().filter(|card| wanted.fits(card)).collect();
        let each = left_out.iter().map(|card| format!("{} ({})", card.name, card.description)).collect::<Vec<_>>();
        match left_out.first() {
            None => Error::None(wanted.verb()),
            Some(first) => {
                let (verb, digital, first) = (wanted.verb(), each.join("; "), first.name.clone());
                Error::OnlyDigital { verb, digital, first }
            }
        }
    })
}

/// The PCM that `wanted` means among `cards`, of those that `can` do what is asked: the first of the one card that fits.
pub fn find<'a>(wanted: &Identity, cards: &'a [Card], can: impl Fn(&Card) -> bool) -> Result<&'a Card, Error> {
    let mut fitting = cards.iter().filter(|card| can(card) && wanted.fits(card));
    let first = fitting.next().ok_or_else(|| Error::Missing(wanted.to_string()))?;
    let mut others: Vec<&Card> = fitting.filter(|card| card.id != first.id).collect();
    if *wanted == Identity::Auto || others.is_empty() {
        return Ok(first);
    }
    others.insert(0, first);
    others.dedup_by(|a, b| a.id == b.id);
    let names = |card: &&Card| format!("{} ({})", card.name, card.identities().join(", "));
    let list = others.iter().map(names).collect::<Vec<_>>().join("; ");
    Err(Error::Ambiguous { wanted: wanted.to_string(), cards: list })
}

/// The USB device that card `number` belongs to: the nearest directory above its own that has a vendor and a product.
pub(super) fn usb(sysfs: &Path, number: i32) -> Option<Usb> {
    let card = std::fs::canonicalize(sysfs.join(format!("class/sound/card{number}"))).ok()?;
    let root = std::fs::canonicalize(sysfs).ok()?;
    let device =
        card.ancestors().take_while(|path| path.starts_with(&root)).find(|path| path.join("idVendor").exists())?;
    let text = |name: &str| {
        let text = std::fs::read_to_string(device.join(name)).ok()?;
        Some(text.trim().to_owned()).filter(|text| !text.is_empty())
    };
    Some(Usb {
        vendor: text("idVendor")?.to_ascii_lowercase(),
        product: text("idProduct")?.to_ascii_lowercase(),
        serial: text("serial"),
        port: device.file_name()?.to_string_lossy().into_owned(),
    })
}

#[cfg(test)]
mod tests {
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
        for text in ["", "usb:", "usb:46d:0825", "usb:046d", "usb:046d:08g5", "usb:046d:0825:", "usb-port:", "card:"] {
            assert!(Identity::parse(text).is_err(), "{text:?}");
        }
        for text in ["auto", "usb:046d:0825", "usb:046d:0825:A:1", "usb-port:1-1.2", "card:My Card", "plughw:0,0"] {
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
    fn a_card_that_is_on_no_usb_or_not_there_has_none() {
        let sysfs = Sysfs::new("platform");
        sysfs.card(0, "platform/soc/sound");
        assert_eq!(usb(&sysfs.0, 0), None);
        assert_eq!(usb(&sysfs.0, 7), None);
        assert_eq!(usb(Path::new("/none"), 0), None);
    }
}
