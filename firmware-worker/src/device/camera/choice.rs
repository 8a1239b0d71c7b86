//! Which encoder codes for a camera, and why.

use crate::config::EncoderWish;
use crate::control::Encoder;

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

/// The encoder for a camera that gives raw pictures or JPEG, or why there is none. `hardware` is the node of the board's
/// encoder, or why there is none for these pictures.
pub fn for_pictures(wish: EncoderWish, hardware: Result<&str, &str>) -> Result<Choice, String> {
    let choice = |encoder, why: &str| Choice { encoder, why: why.to_owned(), replaceable: wish == EncoderWish::Auto };
    match (wish, hardware) {
        (EncoderWish::Auto | EncoderWish::Hardware, Ok(node)) => Ok(choice(Encoder::Hardware, node)),
        (EncoderWish::Auto, Err(why)) => Ok(choice(Encoder::Software, why)),
        (EncoderWish::Software, _) => Ok(choice(Encoder::Software, "as configured")),
        (EncoderWish::Hardware, Err(why)) => {
            Err(format!("encoder = \"hardware\", but {why}; `auto` encodes in software then"))
        }
        (EncoderWish::Passthrough, _) => {
            Err("encoder = \"passthrough\", but it gives no H.264; `auto` takes what it gives and encodes".into())
        }
    }
}

/// What a command writes is H.264 already; the configuration refuses other wishes.
pub fn for_pipes() -> Choice {
    Choice { encoder: Encoder::Passthrough, why: "the command writes H.264".into(), replaceable: false }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: Result<&str, &str> = Err("this board has no hardware encoder for H.264");

    fn encoder(wish: EncoderWish, hardware: Result<&str, &str>) -> Result<Encoder, String> {
        for_pictures(wish, hardware).map(|choice| choice.encoder)
    }

    #[test]
    fn the_boards_encoder_is_taken_where_there_is_one_and_else_why_not_is_said() {
        let there = Ok("/dev/video11");
        assert_eq!(encoder(EncoderWish::Auto, there), Ok(Encoder::Hardware));
        assert_eq!(encoder(EncoderWish::Hardware, there), Ok(Encoder::Hardware));
        assert_eq!(encoder(EncoderWish::Software, there), Ok(Encoder::Software));
        let auto = for_pictures(EncoderWish::Auto, NONE).unwrap();
        assert_eq!((auto.encoder, auto.why.as_str()), (Encoder::Software, NONE.unwrap_err()));
    }

    #[test]
    fn a_wish_that_cannot_be_met_is_said() {
        for (wish, word) in [(EncoderWish::Hardware, "\"hardware\""), (EncoderWish::Passthrough, "\"passthrough\"")] {
            assert!(encoder(wish, NONE).is_err_and(|why| why.contains(word) && why.contains("auto")));
        }
    }
}
