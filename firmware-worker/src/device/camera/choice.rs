//! Which encoder codes for a camera, and why.

use crate::config::EncoderWish;
use crate::control::Encoder;
use hal::video::Encoded;

/// An encoder, and the reason in plain words for log and `/worker`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Choice {
    /// Which.
    pub encoder: Encoder,
    /// Why this one.
    pub why: &'static str,
}

/// Why a camera is not passed through.
pub const NO_UNITS: &str = "encoder = \"passthrough\", but it gives no H.264; `auto` takes what it gives and encodes";

/// Whether a node's own H.264 is taken. `mirrored`: its pictures must be flipped, which its driver does not do; what is
/// encoded already cannot be.
pub fn of_node(wish: EncoderWish, mirrored: bool) -> Result<Encoded, &'static str> {
    match (wish, mirrored) {
        (EncoderWish::Passthrough, true) => Err("encoder = \"passthrough\", but its driver cannot mirror pictures; \
             turn the camera and take out hflip, vflip and rotate, or set encoder = \"auto\""),
        (EncoderWish::Passthrough, false) => Ok(Encoded::Only),
        (EncoderWish::Auto, false) => Ok(Encoded::Preferred),
        (EncoderWish::Auto, true) | (EncoderWish::Hardware | EncoderWish::Software, _) => Ok(Encoded::Never),
    }
}

/// A node that gives H.264 and was asked for it.
pub fn for_units(wish: EncoderWish) -> Choice {
    let why = match wish {
        EncoderWish::Auto => "the camera gives H.264 as wanted",
        EncoderWish::Passthrough | EncoderWish::Hardware | EncoderWish::Software => "as configured",
    };
    Choice { encoder: Encoder::Passthrough, why }
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
        EncoderWish::Passthrough => Err(NO_UNITS),
    }
}

/// What a command writes is H.264 already; the configuration refuses other wishes.
pub const FOR_PIPES: Choice = Choice { encoder: Encoder::Passthrough, why: "the command writes H.264" };

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cameras_own_h264_is_taken_unless_something_else_is_wanted_or_it_must_be_mirrored() {
        use EncoderWish::{Auto, Hardware, Passthrough, Software};
        assert_eq!(of_node(Auto, false), Ok(Encoded::Preferred));
        assert_eq!(of_node(Passthrough, false), Ok(Encoded::Only));
        assert!(of_node(Passthrough, true).is_err_and(|why| why.contains("hflip") && why.contains("auto")));
        for (wish, mirrored) in [(Auto, true), (Hardware, false), (Hardware, true), (Software, false)] {
            assert_eq!(of_node(wish, mirrored), Ok(Encoded::Never));
        }
    }

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
