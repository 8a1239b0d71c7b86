//! Which sound cards there are.

use super::Card;
use alsa::ctl::{Ctl, DeviceIter};
use alsa::{Direction, card};

/// Lists sound cards by their PCMs. Displays' outputs come last, so that the first that plays is a speaker where there is
/// one.
pub fn list() -> Vec<Card> {
    let mut cards: Vec<Card> =
        card::Iter::new().filter_map(Result::ok).flat_map(|card| pcms(&card).unwrap_or_default()).collect();
    cards.sort_by_key(is_display);
    cards
}

/// A card that vanishes meanwhile is an error, and left out.
fn pcms(card: &alsa::Card) -> alsa::Result<Vec<Card>> {
    let control = Ctl::from_card(card, true)?;
    let info = control.card_info()?;
    let id = info.get_id()?;
    let card_name = info.get_longname()?;
    let pcm = |device: i32| {
        let of = |direction| control.pcm_info(device as u32, 0, direction).ok();
        let (capture, playback) = (of(Direction::Capture), of(Direction::Playback));
        let pcm_name = [&capture, &playback].into_iter().flatten().find_map(|info| info.get_name().ok()).unwrap_or("");
        Card {
            name: format!("hw:CARD={id},DEV={device}"),
            description: format!("{card_name}, {pcm_name}"),
            capture: capture.is_some(),
            playback: playback.is_some(),
        }
    };
    Ok(DeviceIter::new(&control).map(pcm).collect())
}

fn is_display(card: &Card) -> bool {
    let text = format!("{} {}", card.name, card.description).to_ascii_lowercase();
    ["hdmi", "displayport"].iter().any(|word| text.contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn card(name: &str, description: &str) -> Card {
        Card { name: name.to_owned(), description: description.to_owned(), capture: false, playback: true }
    }

    #[test]
    fn outputs_of_displays_come_last() {
        let mut cards = [
            card("hw:CARD=vc4hdmi0,DEV=0", "vc4-hdmi-0, MAI PCM i2s-hifi-0"),
            card("hw:CARD=PCH,DEV=3", "HDA Intel PCH, HDMI 0"),
            card("hw:CARD=Headphones,DEV=0", "bcm2835 Headphones, bcm2835 Headphones"),
        ];
        cards.sort_by_key(is_display);
        assert_eq!(cards[0].name, "hw:CARD=Headphones,DEV=0");
    }
}
