//! What is left out where encoding in software takes too long: obeys [`Budget`].

use crate::media::I420;
use crate::media::h264::Settings;
use crate::media::scale::{Scale, scale};
use protocol::device::{Budget, STEPS};
use std::time::{Duration, Instant};

/// The budget of one encoder, and the pictures that it makes smaller.
#[derive(Debug)]
pub struct Saving {
    full: Settings,
    budget: Budget,
    smaller: Option<(Scale, I420)>,
}

impl Saving {
    /// For a stream that is to have these settings.
    pub fn new(full: Settings) -> Self {
        let interval = Duration::from_secs_f64(1000.0 / f64::from(full.milli_fps.max(1)));
        Self { full, budget: Budget::new(interval), smaller: None }
    }

    /// How much is left out, as a place in [`STEPS`].
    pub fn step(&self) -> u32 {
        self.budget.step() as u32
    }

    /// The picture in the size that there is time for.
    pub fn fit<'a>(&'a mut self, picture: &'a I420) -> &'a I420 {
        match &mut self.smaller {
            Some((by, smaller)) => {
                scale(*by, picture, smaller);
                smaller
            }
            None => picture,
        }
    }

    /// All work on a picture took this long. The settings to go on with, if they change.
    pub fn encoded(&mut self, took: Duration, now: Instant) -> Option<Settings> {
        let (before, takes) = (self.budget.step(), self.budget.takes());
        if !self.budget.encoded(took, now) {
            return None;
        }
        let step = STEPS[self.budget.step()];
        let (by, (numerator, denominator)) = (scaling(step.size), step.rate);
        let (width, height) =
            by.map_or((self.full.width, self.full.height), |by| by.size(self.full.width, self.full.height));
        let milli_fps = self.full.milli_fps * numerator / denominator;
        self.smaller = by.map(|by| (by, I420::new(width, height)));
        let fps = f64::from(milli_fps) / 1000.0;
        let why = if self.budget.step() > before { "encoding takes too long" } else { "there is time again" };
        tracing::info!("{why} ({} ms a picture): {width}x{height} at {fps:.1} frames a second now", takes.as_millis());
        Some(Settings { width, height, milli_fps, ..self.full })
    }
}

fn scaling(size: (u32, u32)) -> Option<Scale> {
    match size {
        (2, 3) => Some(Scale::TwoThirds),
        (1, 2) => Some(Scale::Half),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_encoder_gets_fewer_and_then_smaller_pictures_and_all_of_them_again() {
        let small = Settings { width: 320, height: 180, milli_fps: 30_000, ceiling: 2_000_000, bitrate: 1_000_000 };
        let mut saving = Saving::new(small);
        let picture = I420::new(320, 180);
        let mut now = Instant::now();
        let mut run = |saving: &mut Saving, took: u64| {
            let mut seen = Vec::new();
            for _ in 0..3000 {
                now += Duration::from_millis(33);
                let size = (saving.fit(&picture).width(), saving.fit(&picture).height());
                if let Some(settings) = saving.encoded(Duration::from_millis(took), now) {
                    seen.push((size, settings.width, settings.height, settings.milli_fps));
                }
            }
            seen
        };
        let full = (320, 180);
        let down = [
            (full, 320, 180, 20_000),
            (full, 320, 180, 15_000),
            (full, 212, 120, 15_000),
            ((212, 120), 160, 90, 15_000),
        ];
        assert_eq!(run(&mut saving, 100), down);
        assert_eq!(saving.step(), 4);
        let up = [
            ((160, 90), 212, 120, 15_000),
            ((212, 120), 320, 180, 15_000),
            (full, 320, 180, 20_000),
            (full, 320, 180, 30_000),
        ];
        assert_eq!(run(&mut saving, 5), up);
    }
}
