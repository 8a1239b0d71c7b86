//! The sum of several tracks, 10 ms at a time. Each track has a short queue that evens out how its packets come; losses are
//! not concealed.

use crate::job::Frame;
use protocol::room::TrackSid;
use std::collections::{BTreeMap, VecDeque};

/// Frames of a block: 10 ms at 48 kHz.
pub(super) const BLOCK: usize = 480;

/// Frames that a track has before it is heard, and again after it ran out: two packets, so that one may be late.
const START: usize = 1920;

/// Frames of a track at most: 200 ms. When more come, the oldest are thrown away down to [`START`].
const FULL: usize = 9600;

/// Tracks at a time, far above what a small board decodes. Others are not heard.
const MAX_TRACKS: usize = 32;

/// Blocks without a sound after which nobody speaks: half a second.
const IDLE_BLOCKS: u32 = 50;

/// All tracks that are heard.
#[derive(Debug, Default)]
pub(super) struct Mix {
    tracks: BTreeMap<TrackSid, Queue>,
    /// Blocks for which no track had anything.
    silent: u32,
}

#[derive(Debug, Default)]
struct Queue {
    frames: VecDeque<Frame>,
    heard: bool,
}

impl Mix {
    /// More of a track.
    pub(super) fn push(&mut self, track: TrackSid, frames: &[Frame]) {
        if self.tracks.len() >= MAX_TRACKS && !self.tracks.contains_key(&track) {
            return;
        }
        let queue = &mut self.tracks.entry(track).or_default().frames;
        queue.extend(frames);
        if queue.len() > FULL {
            queue.drain(..queue.len() - START);
        }
        self.silent = 0;
    }

    /// The track is over.
    pub(super) fn remove(&mut self, track: &TrackSid) {
        self.tracks.remove(track);
    }

    /// Nothing has come for a while.
    pub(super) fn is_idle(&self) -> bool {
        self.tracks.is_empty() || self.silent >= IDLE_BLOCKS
    }

    /// The next block.
    pub(super) fn next(&mut self, block: &mut [Frame; BLOCK]) {
        let mut sum = [[0i32; 2]; BLOCK];
        let mut heard = false;
        for queue in self.tracks.values_mut() {
            heard |= queue.add(&mut sum);
        }
        self.silent = if heard { 0 } else { self.silent.saturating_add(1) };
        let saturated = |sample: i32| sample.clamp(i16::MIN.into(), i16::MAX.into()) as i16;
        for (to, from) in block.iter_mut().zip(&sum) {
            *to = from.map(saturated);
        }
    }
}

impl Queue {
    /// Whether it was heard.
    fn add(&mut self, sum: &mut [[i32; 2]; BLOCK]) -> bool {
        self.heard |= self.frames.len() >= START;
        if self.heard {
            let count = self.frames.len().min(BLOCK);
            for (to, from) in sum.iter_mut().zip(self.frames.drain(..count)) {
                to[0] += i32::from(from[0]);
                to[1] += i32::from(from[1]);
            }
            self.heard = count == BLOCK;
        }
        self.heard
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sid(name: &str) -> TrackSid {
        TrackSid(name.into())
    }

    fn next(mix: &mut Mix) -> [Frame; BLOCK] {
        let mut block = [[9; 2]; BLOCK];
        mix.next(&mut block);
        block
    }

    #[test]
    fn tracks_are_added_up_and_cut_at_full_scale() {
        let mut mix = Mix::default();
        mix.push(sid("a"), &[[100, -30_000]; START]);
        mix.push(sid("b"), &[[20, -30_000]; START]);
        assert_eq!(next(&mut mix), [[120, i16::MIN]; BLOCK]);
        mix.remove(&sid("a"));
        assert_eq!(next(&mut mix), [[20, -30_000]; BLOCK]);
    }

    #[test]
    fn a_track_is_heard_when_two_packets_are_there_and_again_after_it_ran_out() {
        let mut mix = Mix::default();
        mix.push(sid("a"), &[[1; 2]; START - 1]);
        assert_eq!(next(&mut mix), [[0; 2]; BLOCK]);
        mix.push(sid("a"), &[[1; 2]; 1 + 240]);
        for _ in 0..4 {
            assert_eq!(next(&mut mix), [[1; 2]; BLOCK]);
        }
        let rest = next(&mut mix);
        assert_eq!((rest[..240].to_vec(), rest[240..].to_vec()), (vec![[1; 2]; 240], vec![[0; 2]; 240]));
        mix.push(sid("a"), &[[1; 2]; START - 1]);
        assert_eq!(next(&mut mix), [[0; 2]; BLOCK]);
    }

    #[test]
    fn a_track_that_comes_too_fast_loses_its_oldest_sound() {
        let mut mix = Mix::default();
        mix.push(sid("a"), &[[1; 2]; FULL]);
        mix.push(sid("a"), &[[2; 2]; START]);
        assert_eq!(next(&mut mix), [[2; 2]; BLOCK]);
        assert!(mix.tracks[&sid("a")].frames.len() < START);
    }

    #[test]
    fn it_is_idle_half_a_second_after_the_last_sound_and_at_once_without_tracks() {
        let mut mix = Mix::default();
        assert!(mix.is_idle());
        mix.push(sid("a"), &[[1; 2]; START]);
        let blocks = (0..1000).take_while(|_| {
            next(&mut mix);
            !mix.is_idle()
        });
        assert_eq!(blocks.count(), START / BLOCK + IDLE_BLOCKS as usize - 1);
        mix.push(sid("a"), &[[1; 2]; 1]);
        assert!(!mix.is_idle());
        mix.remove(&sid("a"));
        assert!(mix.is_idle());
    }

    #[test]
    fn there_is_an_end_to_how_many_tracks_are_heard() {
        let mut mix = Mix::default();
        for n in 0..100 {
            mix.push(sid(&n.to_string()), &[[1; 2]; START]);
        }
        assert_eq!(next(&mut mix), [[MAX_TRACKS as i16; 2]; BLOCK]);
    }
}
