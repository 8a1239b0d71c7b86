//! A camera behind the owner's device: its bus has room for some modes, and the board's encoder breaks.

use super::{Counts, Dice, LONGEST_REST};
use crate::device::encoder::{Attempts, Board, Encoder, Verdict, Wish, for_pictures};
use crate::device::mode::{Choice, Encoded, Format, Mode, Refusal, Wanted};
use std::time::Instant;

/// From the heaviest to the lightest.
const OFFERS: [Mode; 4] = [mode(1280, 30), mode(1280, 15), mode(640, 30), mode(640, 15)];
const WANTED: Wanted = Wanted { width: 1280, height: 720, fps: 30, format: None, encoded: Encoded::Preferred };

/// Each mode twice.
const MOST_STARTS: usize = 2 * OFFERS.len();

const fn mode(width: u32, fps: u32) -> Mode {
    Mode { format: Format::Mjpeg, width, height: width / 16 * 9, milli_fps: fps * 1000 }
}

#[derive(Debug)]
pub(super) struct Camera {
    /// The heaviest of its modes that the bus has room for; none is lighter than the last.
    heaviest: usize,
    /// How its driver says that there is no room.
    says: Refusal,
    /// The board's encoder does not work.
    broken: bool,
    board: Board,
    attempts: Attempts,
    /// Of what runs: the place of its mode, and what codes.
    runs: (usize, Encoder),
    given_up: Option<Instant>,
}

impl Default for Camera {
    fn default() -> Self {
        Self {
            heaviest: 0,
            says: Refusal::NoRoom,
            broken: false,
            board: Board::default(),
            attempts: Attempts::default(),
            runs: (0, Encoder::Hardware),
            given_up: None,
        }
    }
}

impl Camera {
    /// Other devices on its bus, other programs at the encoder.
    pub(super) fn change(&mut self, dice: &mut Dice) {
        self.heaviest = dice.below(OFFERS.len() as u64 + 1) as usize;
        self.says = if dice.one_in(2) { Refusal::NoRoom } else { Refusal::NotStarted };
        self.broken = dice.one_in(3);
    }

    pub(super) fn heal(&mut self) {
        (self.heaviest, self.broken) = (0, false);
    }

    /// As its owner opens it.
    pub(super) fn open(&mut self, dice: &mut Dice, counts: &mut Counts, now: Instant) -> Result<(), &'static str> {
        // It was closed or lost before.
        self.board.closed(now);
        if dice.one_in(8) {
            return Err("gone");
        }
        let place = self.start(dice, now)?;
        assert_eq!(place, self.heaviest, "the heaviest that there is room for");
        counts.lighter += u32::from(place > 0);
        let trial = self.board.trial(Wish::Auto, now);
        let rested = self.given_up.is_none_or(|at| now >= at + LONGEST_REST);
        assert!(trial.is_ok() || !rested, "never tried again: {self:?}");
        let choice = for_pictures(Wish::Auto, trial.map(|()| "coda".into())).expect("software always can");
        if choice.encoder == Encoder::Hardware {
            counts.tried_again += u32::from(self.given_up.take().is_some());
            self.board.chosen();
        }
        (self.runs, self.attempts) = ((place, choice.encoder), Attempts::default());
        Ok(())
    }

    fn start(&self, dice: &mut Dice, now: Instant) -> Result<usize, &'static str> {
        let mut choice = Choice::new(OFFERS, WANTED, now);
        let mut glitch = dice.one_in(10);
        for _ in 0..MOST_STARTS {
            let Some(attempt) = choice.attempt() else { return Err("no room") };
            match attempt.offer >= self.heaviest {
                true if !std::mem::take(&mut glitch) => return Ok(attempt.offer),
                // Once, and not because of the mode.
                true => choice.refused(OFFERS[attempt.offer], Refusal::NotStarted, now),
                false => choice.refused(OFFERS[attempt.offer], self.says, now),
            }
        }
        assert_eq!(choice.attempt(), None, "started too often");
        Err("no room")
    }

    /// As its thread codes a picture: something codes it in the end.
    pub(super) fn code(&mut self, dice: &mut Dice, counts: &mut Counts, now: Instant) {
        for _ in 0..=3 {
            if self.runs.1 == Encoder::Software {
                return;
            }
            if !self.broken {
                self.board.coded(now);
                return self.attempts.coded();
            }
            let passes = !dice.one_in(4);
            if self.attempts.failed(passes) == Verdict::GiveUp {
                self.board.given_up("it stalled".into(), now);
                (self.given_up, self.runs.1) = (Some(now), Encoder::Software);
                counts.given_up += 1;
            }
        }
        assert_eq!(self.runs.1, Encoder::Software, "a broken encoder codes");
    }

    /// It runs as it is wanted.
    pub(super) fn is_as_wanted(&self) -> bool {
        self.runs == (0, Encoder::Hardware)
    }
}
