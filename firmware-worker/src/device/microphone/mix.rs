//! From the card's channels to those of the track.

use super::assembler::MAX_CHANNELS;

/// What each channel of the track is the mean of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mix {
    /// Channels of the card, from 0; one list for each channel of the track.
    sources: Vec<Vec<usize>>,
    /// Channels of the card.
    card: usize,
}

/// Channels that a card should have for this: the highest that is picked, else as many as the track.
pub fn wanted(input: &[u8], track: usize) -> u32 {
    input.iter().copied().max().map_or(track as u32, u32::from)
}

impl Mix {
    /// `input` picks channels of the card, from 1; empty for all. The error says which is not there.
    pub fn new(input: &[u8], card: usize, track: usize) -> Result<Self, String> {
        if let Some(missing) = input.iter().find(|&&channel| usize::from(channel) > card) {
            return Err(format!("input_channels wants channel {missing}, the card has {card}"));
        }
        let picked: Vec<usize> = match input {
            [] => (0..card).collect(),
            input => input.iter().map(|&channel| usize::from(channel) - 1).collect(),
        };
        let sources = match track.min(MAX_CHANNELS) {
            1 => vec![picked],
            // A mono card is heard on both sides, of many channels the first two are the front ones.
            track => (0..track).map(|side| vec![picked[side.min(picked.len() - 1)]]).collect(),
        };
        Ok(Self { sources, card })
    }

    /// Mixes interleaved frames of the card to those of the track.
    pub fn apply(&self, card: &[f32], track: &mut [f32]) {
        let frames = card.chunks_exact(self.card).zip(track.chunks_exact_mut(self.sources.len()));
        for (from, to) in frames {
            for (sample, sources) in to.iter_mut().zip(&self.sources) {
                let sum: f32 = sources.iter().map(|&source| from[source]).sum();
                *sample = sum / sources.len() as f32;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mixed(input: &[u8], card: usize, track: usize, frames: &[f32]) -> Vec<f32> {
        let mut out = vec![9.0; frames.len() / card * track];
        Mix::new(input, card, track).unwrap().apply(frames, &mut out);
        out
    }

    #[test]
    fn without_a_choice_all_channels_are_mixed_to_one_and_the_first_two_taken_for_two() {
        assert_eq!(mixed(&[], 2, 1, &[0.25, 0.75, -1.0, 1.0]), [0.5, 0.0]);
        assert_eq!(mixed(&[], 1, 2, &[0.25, 0.5]), [0.25, 0.25, 0.5, 0.5]);
        assert_eq!(mixed(&[], 2, 2, &[0.25, 0.5]), [0.25, 0.5]);
        assert_eq!(mixed(&[], 4, 2, &[0.1, 0.2, 0.3, 0.4]), [0.1, 0.2]);
        assert_eq!(mixed(&[], 8, 1, &[0.5; 16]), [0.5, 0.5]);
    }

    #[test]
    fn chosen_channels_are_taken_alone() {
        let frame = [0.1, 0.2, 0.3, 0.4];
        assert_eq!(mixed(&[3], 4, 1, &frame), [0.3]);
        assert_eq!(mixed(&[4, 2], 4, 2, &frame), [0.4, 0.2]);
        assert_eq!(mixed(&[2], 4, 2, &frame), [0.2, 0.2]);
        assert_eq!(wanted(&[4, 2], 2), 4);
        assert_eq!(wanted(&[], 2), 2);
    }

    #[test]
    fn a_channel_that_the_card_does_not_have_is_named() {
        let error = Mix::new(&[1, 5], 2, 1).unwrap_err();
        assert_eq!(error, "input_channels wants channel 5, the card has 2");
    }

    #[test]
    fn full_scale_on_every_channel_stays_full_scale() {
        assert_eq!(mixed(&[], 8, 1, &[1.0; 8]), [1.0]);
        assert_eq!(mixed(&[], 8, 1, &[-1.0; 8]), [-1.0]);
    }
}
