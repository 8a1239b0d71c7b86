//! Which sound cards there are.

use super::pcm::Pcm;
use super::{Card, Error, SampleFormat, capture, identity};
use alsa::ctl::{Ctl, DeviceIter};
use alsa::{Direction, card};
use std::path::Path;

/// Where the kernel shows its devices.
const SYSFS: &str = "/sys";

/// Where udev links to them.
const DEV: &str = "/dev";

/// What a PCM captures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// Best first.
    pub formats: Vec<SampleFormat>,
    /// Hz, ascending.
    pub rates: Vec<u32>,
    /// Fewest and most.
    pub channels: (u32, u32),
}

/// Lists sound cards by their PCMs. Displays' outputs and digital connectors come last, so that the first that plays is a
/// speaker where there is one.
pub fn list() -> Vec<Card> {
    let mut cards: Vec<Card> =
        card::Iter::new().filter_map(Result::ok).flat_map(|card| pcms(&card).unwrap_or_default()).collect();
    cards.sort_by_key(Card::is_digital);
    cards
}

/// What a PCM that captures can do. It is opened for that, so one in use is [`Error::Busy`].
pub fn offer(name: &str) -> Result<Offer, Error> {
    let error = |failed| Error::of(name, failed);
    let mut pcm = Pcm::open(name).map_err(error)?;
    let (mut formats, mut rates, mut range) = (Vec::new(), Vec::new(), None);
    for format in SampleFormat::ALL {
        for rate in capture::RATES {
            let Some(channels) = pcm.channels(format, rate).map_err(error)? else { continue };
            formats.push(format);
            rates.push(rate);
            let (fewest, most) = range.unwrap_or((*channels.start(), *channels.end()));
            range = Some((fewest.min(*channels.start()), most.max(*channels.end())));
        }
    }
    formats.dedup();
    rates.sort_unstable();
    rates.dedup();
    let channels = range.ok_or_else(|| Error::NoFormat(name.to_owned()))?;
    Ok(Offer { formats, rates, channels })
}

/// A card that vanishes meanwhile is an error, and left out.
fn pcms(card: &alsa::Card) -> alsa::Result<Vec<Card>> {
    let control = Ctl::from_card(card, true)?;
    let info = control.card_info()?;
    let (id, card_name, long_name) = (info.get_id()?, info.get_name()?, info.get_longname()?);
    let usb = identity::usb(Path::new(SYSFS), card.get_index());
    let by_path = identity::by_path(Path::new(DEV), card.get_index());
    let pcm = |device: i32| {
        let of = |direction| control.pcm_info(device as u32, 0, direction).ok();
        let (capture, playback) = (of(Direction::Capture), of(Direction::Playback));
        let pcm_name = [&capture, &playback].into_iter().flatten().find_map(|info| info.get_name().ok()).unwrap_or("");
        Card {
            name: format!("hw:CARD={id},DEV={device}"),
            description: format!("{long_name}, {pcm_name}"),
            id: id.to_owned(),
            card: card_name.to_owned(),
            usb: usb.clone(),
            number: card.get_index(),
            by_path: by_path.clone(),
            capture: capture.is_some(),
            playback: playback.is_some(),
        }
    };
    Ok(DeviceIter::new(&control).map(pcm).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_null_device_offers_every_format_and_rate() {
        let offer = offer("null").unwrap();
        assert_eq!(offer.formats, SampleFormat::ALL);
        assert_eq!((offer.rates.first(), offer.rates.last()), (Some(&16_000), Some(&96_000)));
        assert!(offer.channels.0 == 1 && offer.channels.1 >= 8);
    }

    #[test]
    fn what_is_not_there_offers_nothing() {
        assert!(matches!(offer("hw:CARD=none_such"), Err(Error::Missing(_))));
    }
}
