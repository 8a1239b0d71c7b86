//! What a running camera's pictures are worth: what keeps them from being used is told now and then, and where nothing
//! else comes for a while, the camera is lost, so that it is set up anew.

use super::SILENCE_LIMIT;
use super::frames::Frames;
use super::pipe::START_LIMIT;
use crate::device::told::Told;
use hal::process::monotonic_ns;
use hal::ring::Stamped;
use hal::video::{Picture, PixelFormat};
use std::fmt;
use std::time::{Duration, Instant};

/// Pictures in a row whose stamps do not advance: after so many, no reordering and no step explains it.
const BEHIND_LIMIT: u32 = 10;

/// By which a stamp may lie ahead: the clock of a USB camera is followed no better.
const AHEAD_NS: u64 = 100_000_000;

/// What is wrong with a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// Its driver says so, or it is cut off.
    Damaged,
    /// It cannot be decoded.
    Unreadable,
    /// Not what was negotiated.
    Size,
    /// It needs a keyframe that has not come. Told with the loss alone: it follows each picture that is missing.
    Keyframe,
    /// Its stamp is not after those before it. It is used.
    Behind,
    /// Its stamp lies in the future. It is used.
    Ahead,
    /// Its number is left out: the driver had no room for it, or this thread was late and took a newer one.
    Missing,
}

impl Trouble {
    const COUNT: usize = 7;
}

/// What helps where pictures are missing.
const LOWER: &str = "where the bus or the processor is too busy, lower width, height or fps of this camera";

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Damaged => "that are damaged or cut off",
            Self::Unreadable => "that cannot be decoded",
            Self::Size => "of another size than it was set to",
            Self::Keyframe => "that need a keyframe",
            Self::Behind => "whose stamps do not advance",
            Self::Ahead => "whose stamps lie ahead of the clock",
            Self::Missing => "that are missing, by their numbers",
        })
    }
}

/// What became of a picture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Encoded or passed on, or nobody wanted it.
    Used,
    /// Nobody knows: it was left out on purpose, or is part of one that is still to come.
    Untried,
    /// Dropped, with its trouble in its own words, if there are any.
    Useless(Trouble, String),
}

/// The pictures of one stream.
#[derive(Debug)]
pub struct Worth {
    path: String,
    limit: Duration,
    /// Since when none was of use: not since the last that was, as there may have been none at all for a while.
    useless_since: Option<Instant>,
    told: [Told; Trouble::COUNT],
    stamps: Stamps,
}

impl Worth {
    /// Of the camera at `path`, which begins.
    pub fn new(path: &str, format: PixelFormat) -> Self {
        // Keyframes come when the camera likes: it may have as long as a command.
        let limit = if format == PixelFormat::H264 { START_LIMIT } else { SILENCE_LIMIT };
        Self { path: path.to_owned(), limit, useless_since: None, told: Default::default(), stamps: Stamps::default() }
    }

    /// Looks at a picture's stamp, and puts the time of its arrival in its place where the driver's are of no use.
    pub fn stamp(&mut self, taken: &mut Picture<'_>, frames: &mut Frames<'_>, now: Instant) {
        let now_ns = monotonic_ns();
        let was_here = self.stamps.here;
        if let Some(trouble) = self.stamps.judge(taken.captured_ns, now_ns) {
            frames.misstamped(trouble);
            self.note(trouble, 1, "", now);
        }
        if self.stamps.here {
            (taken.captured_ns, taken.stamped) = (now_ns, Stamped::Arrival);
        }
        frames.stamped(taken.stamped);
        if self.stamps.here && !was_here {
            tracing::warn!("{}: its stamps do not advance: its pictures are stamped on arrival", self.path);
            frames.describe();
        }
    }

    /// Notes what became of a picture. The camera is lost where none was of use for too long.
    pub fn note_outcome(&mut self, outcome: Outcome, now: Instant) -> Result<(), String> {
        match outcome {
            Outcome::Used => self.useless_since = None,
            Outcome::Untried => {}
            Outcome::Useless(trouble, why) => {
                self.note(trouble, 1, &why, now);
                if now.duration_since(*self.useless_since.get_or_insert(now)) >= self.limit {
                    let limit = self.limit.as_secs();
                    return Err(format!(
                        "{}: no usable picture for {limit} s, but those {}",
                        self.path,
                        told(trouble, &why)
                    ));
                }
            }
        }
        Ok(())
    }

    /// So many pictures are missing.
    pub fn missed(&mut self, count: u64, now: Instant) {
        self.note(Trouble::Missing, count, LOWER, now);
    }

    fn note(&mut self, trouble: Trouble, count: u64, why: &str, now: Instant) {
        if trouble == Trouble::Keyframe {
            return;
        }
        if let Some(count) = self.told[trouble as usize].note(count, now) {
            tracing::warn!("{}: pictures {}; {count} since this was told last", self.path, told(trouble, why));
        }
    }
}

fn told(trouble: Trouble, why: &str) -> String {
    if why.is_empty() { trouble.to_string() } else { format!("{trouble} ({why})") }
}

/// Whether a driver's stamps can be used.
#[derive(Debug, Default)]
struct Stamps {
    /// The latest so far; none that lies ahead, as one such would accuse all that follow.
    latest_ns: u64,
    /// How many in a row were not later.
    behind: u32,
    /// They never recovered: pictures are stamped on arrival.
    here: bool,
}

impl Stamps {
    fn judge(&mut self, captured_ns: u64, now_ns: u64) -> Option<Trouble> {
        if self.here {
            return None;
        }
        if captured_ns > now_ns + AHEAD_NS {
            return Some(Trouble::Ahead);
        }
        if captured_ns > self.latest_ns {
            (self.latest_ns, self.behind) = (captured_ns, 0);
            return None;
        }
        self.behind += 1;
        self.here = self.behind >= BEHIND_LIMIT;
        Some(Trouble::Behind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::tests::log::Log;

    const SECOND: Duration = Duration::from_secs(1);

    fn useless(trouble: Trouble) -> Outcome {
        Outcome::Useless(trouble, "why".into())
    }

    #[test]
    fn a_camera_is_lost_when_nothing_was_of_use_for_its_limit_and_not_for_a_bad_picture_among_good_ones() {
        for (format, limit) in [(PixelFormat::Mjpeg, 3), (PixelFormat::H264, 10)] {
            let mut now = Instant::now();
            let mut worth = Worth::new("/dev/video7", format);
            for _ in 0..100 {
                now += SECOND;
                worth.note_outcome(useless(Trouble::Damaged), now).unwrap();
                worth.note_outcome(Outcome::Used, now).unwrap();
            }
            // None came for a while, and the first is a bad one.
            now += SECOND * 20;
            worth.note_outcome(useless(Trouble::Damaged), now).unwrap();
            now += SECOND * limit - SECOND / 10;
            worth.note_outcome(useless(Trouble::Size), now).unwrap();
            worth.note_outcome(Outcome::Untried, now).unwrap();
            let lost = worth.note_outcome(useless(Trouble::Size), now + SECOND / 10).unwrap_err();
            let why = "but those of another size than it was set to (why)";
            assert_eq!(lost, format!("/dev/video7: no usable picture for {limit} s, {why}"));
        }
    }

    #[test]
    fn each_trouble_is_told_for_itself_and_a_lack_of_keyframes_not_at_all() {
        let (log, now) = (Log::default(), Instant::now());
        let mut worth = Worth::new("/dev/video7", PixelFormat::Mjpeg);
        log.of(|| {
            for trouble in [Trouble::Damaged, Trouble::Unreadable, Trouble::Keyframe, Trouble::Damaged] {
                worth.note_outcome(useless(trouble), now).unwrap();
            }
        });
        let told = ["that are damaged or cut off", "that cannot be decoded"]
            .map(|what| format!("/dev/video7: pictures {what} (why); 1 since this was told last"));
        let lines = log.lines("/dev/video7");
        assert!(lines.len() == 2 && lines[0].ends_with(&told[0]) && lines[1].ends_with(&told[1]), "{lines:?}");
    }

    #[test]
    fn stamps_are_given_up_when_they_never_advance_and_not_for_a_few() {
        let now_ns = 3_600_000_000_000;
        let after = |stamp: fn(u64) -> u64| {
            let mut stamps = Stamps::default();
            let first = (0..100).position(|n| {
                stamps.judge(stamp(n), now_ns + n);
                stamps.here
            });
            first.map(|n| n as u32)
        };
        assert_eq!(after(|n| 1_000 + n), None);
        assert_eq!(after(|_| 1_000), Some(BEHIND_LIMIT), "they stand still");
        assert_eq!(after(|n| 1_000 - n), Some(BEHIND_LIMIT), "they run back");
        assert_eq!(after(|n| if n < 5 { 1_000_000 + n } else { 1_000 + n }), Some(4 + BEHIND_LIMIT), "they jump back");
        assert_eq!(after(|n| if n % 10 == 9 { 1 } else { 1_000 + n }), None, "one now and then");
        assert_eq!(after(|n| if n == 3 { u64::MAX } else { 3_599_600_000_000 + n }), None, "one from the future");
        assert_eq!(Stamps::default().judge(now_ns + 2 * AHEAD_NS, now_ns), Some(Trouble::Ahead));
    }
}
