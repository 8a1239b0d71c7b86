//! Which encoder codes for a camera, and why.

use crate::config::EncoderWish;
use crate::control::Encoder;

/// An encoder, and the reason in plain words for log and `/worker`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Choice {
    /// Which.
    pub encoder: Encoder,
    /// Why this one.
    pub why: &'static str,
}

/// The encoder for a camera that gives raw pictures or JPEG, or why there is none.
pub fn for_pictures(wish: EncoderWish) -> Result<Choice, &'static str> {
    let software = |why| Ok(Choice { encoder: Encoder::Software, why });
    match wish {
        EncoderWish::Auto => software("no hardware encoder takes its pictures"),
        EncoderWish::Software => software("as configured"),
        EncoderWish::Hardware => {
            Err("encoder = \"hardware\", but no hardware encoder takes its pictures; `auto` encodes in software")
        }
        EncoderWish::Passthrough => {
            Err("encoder = \"passthrough\", but it gives no H.264; `auto` takes what it gives and encodes")
        }
    }
}

/// What a command writes is H.264 already; the configuration refuses other wishes.
pub const FOR_PIPES: Choice = Choice { encoder: Encoder::Passthrough, why: "the command writes H.264" };

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_are_encoded_in_software_and_a_wish_that_cannot_be_met_is_said() {
        for wish in [EncoderWish::Auto, EncoderWish::Software] {
            assert_eq!(for_pictures(wish).map(|choice| choice.encoder), Ok(Encoder::Software));
        }
        for (wish, word) in [(EncoderWish::Hardware, "\"hardware\""), (EncoderWish::Passthrough, "\"passthrough\"")] {
            assert!(for_pictures(wish).is_err_and(|why| why.contains(word) && why.contains("auto")));
        }
    }
}
