//! Which card is meant: by what it is, not by the number that it got this time.

use super::{Card, Error};
use std::fmt;
use std::path::{Path, PathBuf};

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
    /// `path:/dev/snd/by-path/...`: a link to its control device, or that itself.
    Path(PathBuf),
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
        if let Some(path) = text.strip_prefix("path:") {
            let path = Path::new(path);
            return match path.is_absolute() {
                true => Ok(Self::Path(path.to_owned())),
                false => Err("must be path:/dev/snd/by-path/..."),
            };
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
            Self::Path(path) => {
                let node = path.canonicalize().ok();
                node.is_some_and(|node| node.file_name().is_some_and(|name| *name == *control(card.number)))
            }
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
            Self::Path(path) => write!(f, "path:{}", path.display()),
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
        identities.extend(self.by_path.clone().map(|path| Identity::Path(path).to_string()));
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

/// The name of a card's control device.
fn control(number: i32) -> String {
    format!("controlC{number}")
}

/// The link below `root` that names card `number` by where it is.
pub(super) fn by_path(root: &Path, number: i32) -> Option<PathBuf> {
    let leads = |link: &PathBuf| {
        std::fs::read_link(link).is_ok_and(|target| target.file_name().is_some_and(|name| *name == *control(number)))
    };
    let links = std::fs::read_dir(root.join("snd/by-path")).ok()?.flatten();
    // There may be several; the first in order is the same each time.
    links.map(|link| link.path()).filter(leads).min()
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
mod tests;
