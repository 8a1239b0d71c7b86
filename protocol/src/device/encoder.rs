//! What makes H.264 of a camera's pictures, and what becomes of the board's encoder when it fails.
//!
//! ```text
//! hardware --fails, and may work after a new start--> started again
//! hardware --the third time without a unit between, or for good--> auto: software, Resting     hardware: the camera is lost
//! Resting  --the camera is opened after the wait--> hardware; the wait doubles unless it then codes for a minute
//! ```
//!
//! [`Attempts`] belongs to who drives the encoder of a camera that runs, [`Board`] to who opens the camera again and again.

use super::mode::Encoded;
use crate::backoff::Backoff;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::time::{Duration, Instant};

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

/// Failures without a unit between them, after which it is taken as broken: two starts may fail by bad luck.
const FAILURES: u32 = 3;

/// Failures of an encoder that runs.
#[derive(Debug, Default)]
pub struct Attempts {
    /// Since the last unit.
    failures: u32,
}

/// What to do with an encoder that has failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Start it again.
    Again,
    /// Give it up for as long as the camera is open.
    GiveUp,
}

impl Attempts {
    /// A unit has come out.
    pub fn coded(&mut self) {
        self.failures = 0;
    }

    /// It has failed; `passes`: a new start may help.
    pub fn failed(&mut self, passes: bool) -> Verdict {
        self.failures += 1;
        if passes && self.failures < FAILURES { Verdict::Again } else { Verdict::GiveUp }
    }
}

/// First and longest wait before an encoder that was given up is tried again. Each trial costs viewers the pictures of three
/// starts, of which each may take seconds to fail; some only need a program that has the encoder, or its memory, to end.
const REST: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(3600));

/// An encoder whose first unit came so long before it was given up, or the camera closed, has worked: the waits begin anew.
const PROVEN: Duration = Duration::from_secs(60);

/// The board's encoder as one camera has found it.
#[derive(Debug)]
pub struct Board {
    state: State,
    backoff: Backoff,
}

#[derive(Debug)]
enum State {
    /// To be tried.
    Trusted,
    /// It was chosen for the camera that is open, and has given units since then.
    Chosen { since: Option<Instant> },
    /// Software stands in for it.
    Resting { why: String, until: Instant },
}

impl Default for Board {
    fn default() -> Self {
        Self { state: State::Trusted, backoff: Backoff::new(REST.0, REST.1) }
    }
}

impl Board {
    /// Whether it is to be tried for a camera that is being opened, else why not. Who wants no other gets it.
    pub fn trial(&self, wish: Wish, now: Instant) -> Result<(), String> {
        if let State::Resting { why, until } = &self.state
            && *until > now
            && wish != Wish::Hardware
        {
            let minutes = (*until - now).as_millis().div_ceil(60_000);
            return Err(format!(
                "{why}; the board's encoder rests, and is tried at an opening {minutes} min after this one"
            ));
        }
        Ok(())
    }

    /// Software stands in for it, and an opening after its rest tries it.
    pub fn rests(&self) -> bool {
        matches!(self.state, State::Resting { .. })
    }

    /// It is to code for the camera that has just been opened.
    pub fn chosen(&mut self) {
        self.state = State::Chosen { since: None };
    }

    /// It has given a unit.
    pub fn coded(&mut self, now: Instant) {
        if let State::Chosen { since } = &mut self.state {
            since.get_or_insert(now);
        }
    }

    /// The camera is closed.
    pub fn closed(&mut self, now: Instant) {
        if let State::Chosen { .. } = self.state {
            self.credit(now);
            self.state = State::Trusted;
        }
    }

    /// It was given up, and software has taken over.
    pub fn given_up(&mut self, why: String, now: Instant) {
        self.credit(now);
        // One board has few cameras: there is no herd to spread by jitter.
        let until = now + self.backoff.fail(u64::MAX);
        self.state = State::Resting { why, until };
    }

    fn credit(&mut self, now: Instant) {
        if let State::Chosen { since: Some(since) } = self.state
            && now.duration_since(since) >= PROVEN
        {
            self.backoff.reset();
        }
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
