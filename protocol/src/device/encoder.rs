//! What makes H.264 of a camera's pictures, and why.

use super::mode::Encoded;
use serde::{Deserialize, Serialize};
use std::fmt;

/// What is to make H.264 of a camera's pictures.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Wish {
    /// The camera where it gives H.264, else the board's encoder, else software.
    #[default]
    Auto,
    /// The board's encoder.
    Hardware,
    /// The camera itself.
    Passthrough,
    /// openh264.
    Software,
}

/// What makes access units of a camera's pictures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Encoder {
    /// openh264.
    Software,
    /// The board's encoder.
    Hardware,
    /// The camera itself, or the command behind it.
    Passthrough,
}

impl fmt::Display for Encoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Software => "software",
            Self::Hardware => "hardware",
            Self::Passthrough => "passthrough",
        })
    }
}

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
pub fn of_node(wish: Wish, mirrored: bool) -> Result<Encoded, &'static str> {
    match (wish, mirrored) {
        (Wish::Passthrough, true) => Err("encoder = \"passthrough\", but its driver cannot mirror pictures; \
             turn the camera and take out hflip, vflip and rotate, or set encoder = \"auto\""),
        (Wish::Passthrough, false) => Ok(Encoded::Only),
        (Wish::Auto, false) => Ok(Encoded::Preferred),
        (Wish::Auto, true) | (Wish::Hardware | Wish::Software, _) => Ok(Encoded::Never),
    }
}

/// A node that gives H.264 and was asked for it.
pub fn for_units(wish: Wish) -> Choice {
    let why = match wish {
        Wish::Auto => "the camera gives H.264 as wanted",
        Wish::Passthrough | Wish::Hardware | Wish::Software => "as configured",
    };
    Choice { encoder: Encoder::Passthrough, why: why.into(), replaceable: false }
}

/// The encoder for a camera that gives raw pictures or JPEG, or why there is none. `hardware` is the name of the board's
/// encoder, or why there is none for these pictures.
pub fn for_pictures(wish: Wish, hardware: Result<String, String>) -> Result<Choice, String> {
    let choice = |encoder, why| Choice { encoder, why, replaceable: wish == Wish::Auto };
    match (wish, hardware) {
        (Wish::Auto | Wish::Hardware, Ok(name)) => Ok(choice(Encoder::Hardware, name)),
        (Wish::Auto, Err(why)) => Ok(choice(Encoder::Software, why)),
        (Wish::Software, _) => Ok(choice(Encoder::Software, "as configured".into())),
        (Wish::Hardware, Err(why)) => {
            Err(format!("encoder = \"hardware\", but {why}; `auto` encodes in software then"))
        }
        (Wish::Passthrough, _) => Err(NO_UNITS.into()),
    }
}

/// What a command writes is H.264 already; the configuration refuses other wishes.
pub fn for_pipes() -> Choice {
    Choice { encoder: Encoder::Passthrough, why: "the command writes H.264".into(), replaceable: false }
}

#[cfg(test)]
mod tests;
