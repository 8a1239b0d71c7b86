//! Which encoder codes for a camera, and why.

use crate::config::EncoderWish;
use crate::control::Encoder;
use protocol::device::mode::Encoded;

/// An encoder, and the reason in plain words for log and `/worker`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    /// Which.
    pub encoder: Encoder,
    /// Why this one.
    pub why: String,
    /// Where it fails, one in software goes on.
    pub replaceable: bool,
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
    Choice { encoder: Encoder::Passthrough, why: why.into(), replaceable: false }
}

/// The encoder for a camera that gives raw pictures or JPEG, or why there is none. `hardware` is the name of the board's
/// encoder, or why there is none for these pictures.
pub fn for_pictures(wish: EncoderWish, hardware: Result<String, String>) -> Result<Choice, String> {
    let choice = |encoder, why| Choice { encoder, why, replaceable: wish == EncoderWish::Auto };
    match (wish, hardware) {
        (EncoderWish::Auto | EncoderWish::Hardware, Ok(name)) => Ok(choice(Encoder::Hardware, name)),
        (EncoderWish::Auto, Err(why)) => Ok(choice(Encoder::Software, why)),
        (EncoderWish::Software, _) => Ok(choice(Encoder::Software, "as configured".into())),
        (EncoderWish::Hardware, Err(why)) => {
            Err(format!("encoder = \"hardware\", but {why}; `auto` encodes in software then"))
        }
        (EncoderWish::Passthrough, _) => Err(NO_UNITS.into()),
    }
}

/// What a command writes is H.264 already; the configuration refuses other wishes.
pub fn for_pipes() -> Choice {
    Choice { encoder: Encoder::Passthrough, why: "the command writes H.264".into(), replaceable: false }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoder(wish: EncoderWish, there: bool) -> Result<(Encoder, String), String> {
        let hardware = if there { Ok("/dev/video11, coda".to_owned()) } else { Err("there is none".to_owned()) };
        for_pictures(wish, hardware).map(|choice| (choice.encoder, choice.why))
    }

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
    fn the_boards_encoder_is_taken_where_there_is_one_and_else_why_not_is_said() {
        let board = Ok((Encoder::Hardware, "/dev/video11, coda".to_owned()));
        assert_eq!(encoder(EncoderWish::Auto, true), board);
        assert_eq!(encoder(EncoderWish::Hardware, true), board);
        assert_eq!(encoder(EncoderWish::Software, true), Ok((Encoder::Software, "as configured".to_owned())));
        assert_eq!(encoder(EncoderWish::Auto, false), Ok((Encoder::Software, "there is none".to_owned())));
    }

    #[test]
    fn a_wish_that_cannot_be_met_is_said() {
        for (wish, word) in [(EncoderWish::Hardware, "\"hardware\""), (EncoderWish::Passthrough, "\"passthrough\"")] {
            assert!(encoder(wish, false).is_err_and(|why| why.contains(word) && why.contains("auto")));
        }
    }
}
