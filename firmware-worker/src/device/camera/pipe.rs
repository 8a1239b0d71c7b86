//! A command that writes H.264 as a camera: `rpicam-vid` for what only libcamera can drive, ffmpeg for the rest.
//!
//! The command is kept by a process of its own, in a cgroup and with rights of its own: `device::keeper`.

use super::coder::Input;
use super::frames::Frames;
use super::{SETTLE, SILENCE_LIMIT, STOP_CHECK, layout, settings};
use crate::config::{self, CameraDevice};
use crate::device::pipeline::{Failure, Stage};
use crate::device::told::Told;
use hal::process::{Ended, Output, Program, monotonic_ns};
use hal::ring::Stamped;
use protocol::device::encoder;
use protocol::room::rtp::h264::{Assembled, Assembler, Losses, nals, picture_size};
use std::time::{Duration, Instant};

/// Until the first picture: programs load tuning files, and sensors start up.
pub const START_LIMIT: Duration = Duration::from_secs(10);

/// From SIGTERM to SIGKILL. Bounds how long closing takes.
const GRACE: Duration = Duration::from_millis(500);

/// Bytes of one read: the size of a pipe.
const READ: usize = 64 * 1024;

/// Reads of what was said last: a child that is left may go on complaining for ever.
const LAST_READS: usize = 16;

/// What is wrong with pictures, and what helps.
const OVERSIZED: &str = "that are larger than the ring, and were dropped (raise `bitrate` of this camera)";
const TORN: &str = "that came with a pause inside, and were dropped with all up to the next keyframe (let the command write \
                    each at once, as `--flush` does for rpicam-vid, and look for what else takes the processor)";

/// Between pictures at least: two that come at once, after a pause, are still two.
const LEAST_INTERVAL_NS: u64 = 1_000_000;

/// Reads pictures from `program` until the pipeline is to stop or the command is lost.
pub fn run(stage: &Stage, camera: &config::Camera, mut program: Program) -> Result<(), Failure> {
    let CameraDevice::Pipe { command, latency_offset: offset } = &camera.device else {
        return Err("is no command".to_owned().into());
    };
    let name = command.first().map_or("", String::as_str);
    stage.wanted.started(program.group());
    let limit = layout(camera).arena as usize;
    let offset_ns = u64::try_from(offset.as_nanos()).unwrap_or(u64::MAX);
    let mut pictures = Pictures { stage, camera, name, offset_ns, last_ns: 0, frames: None };
    let mut stream = Stream::new(Assembler::new(limit, Duration::from_secs(1) / camera.fps.max(1)));
    let mut complaints = Complaints::default();
    let mut buffer = vec![0; READ];
    while !stage.wanted.stop() {
        stage.wanted.turned();
        match program.read(&mut buffer, stream.patience()).map_err(|e| format!("pipe: read from {name:?}: {e}"))? {
            Output::Bytes(count) => stream.push(&buffer[..count], &mut pictures)?,
            Output::Complaint(count) => complaints.push(&buffer[..count]),
            Output::Silence => {}
            Output::End => {
                for _ in 0..LAST_READS {
                    let Ok(Output::Complaint(count)) = program.read(&mut buffer, Duration::ZERO) else { break };
                    complaints.push(&buffer[..count]);
                }
                return Err(format!("{name:?} {}{}", ending(program.stop(GRACE)), complaints.last_words()).into());
            }
        }
        stream.silence(&mut pictures)?;
        if let Some(why) = stream.stalled(&pictures) {
            program.stop(GRACE);
            return Err(format!("{name:?} {why}{}", complaints.last_words()).into());
        }
    }
    program.stop(GRACE);
    Ok(())
}

fn ending(ended: Option<Ended>) -> String {
    match ended {
        Some(Ended::Code(0)) => "ended".into(),
        Some(Ended::Code(code)) => format!("ended with exit code {code}"),
        Some(Ended::Signal(signal)) => format!("was ended by signal {signal}"),
        None => "closed its output and cannot be ended".into(),
    }
}

/// What comes through the pipe.
struct Stream {
    assembler: Assembler,
    /// Of these the counters know.
    noted: Losses,
    torn: Told,
    oversized: Told,
    /// When a picture came last.
    last: Instant,
}

impl Stream {
    fn new(assembler: Assembler) -> Self {
        let (torn, oversized) = (Told::default(), Told::default());
        Self { assembler, noted: Losses::default(), torn, oversized, last: Instant::now() }
    }

    /// How long to wait for more.
    fn patience(&self) -> Duration {
        let due = self.assembler.deadline_ns().map(|at| Duration::from_nanos(at.saturating_sub(monotonic_ns())));
        due.unwrap_or(STOP_CHECK).min(STOP_CHECK)
    }

    fn push(&mut self, bytes: &[u8], pictures: &mut Pictures<'_>) -> Result<(), Failure> {
        self.assembler.push(bytes, monotonic_ns());
        while let Some(unit) = self.assembler.poll() {
            self.last = Instant::now();
            pictures.take(unit)?;
        }
        self.note(pictures.name, pictures.frames.as_mut(), Instant::now());
        Ok(())
    }

    /// Looked for after complaints, too: a flood of them must not hold a picture back.
    fn silence(&mut self, pictures: &mut Pictures<'_>) -> Result<(), Failure> {
        let Some(unit) = self.assembler.after_silence(monotonic_ns()) else { return Ok(()) };
        self.last = Instant::now();
        pictures.take(unit)
    }

    /// Counts what went wrong since this was called last, and tells it now and then.
    fn note(&mut self, name: &str, frames: Option<&mut Frames<'_>>, now: Instant) {
        let losses = self.assembler.losses();
        let lost = |losses: Losses| losses.oversized + losses.torn + losses.skipped;
        if let Some(frames) = frames {
            (lost(self.noted)..lost(losses)).for_each(|_| frames.dropped());
        }
        let tell = |count: Option<u64>, what: &str| {
            if let Some(count) = count {
                tracing::warn!("{name:?}: pictures {what}; {count} since this was told last");
            }
        };
        tell(self.oversized.note(losses.oversized - self.noted.oversized, now), OVERSIZED);
        tell(self.torn.note(losses.torn - self.noted.torn, now), TORN);
        self.noted = losses;
    }

    fn stalled(&self, pictures: &Pictures<'_>) -> Option<String> {
        let silent = self.last.elapsed();
        let (limit, what) = match pictures.frames {
            Some(_) => (SILENCE_LIMIT, "wrote no picture"),
            None => (START_LIMIT, "wrote no H.264 keyframe in Annex B"),
        };
        (silent >= limit).then(|| format!("{what} for {} s", limit.as_secs()))
    }
}

/// The pictures, from the first keyframe on.
struct Pictures<'a> {
    stage: &'a Stage,
    camera: &'a config::Camera,
    name: &'a str,
    offset_ns: u64,
    last_ns: u64,
    frames: Option<Frames<'a>>,
}

impl Pictures<'_> {
    fn take(&mut self, unit: Assembled<'_>) -> Result<(), Failure> {
        let captured_ns = unit.first_ns.saturating_sub(self.offset_ns).max(self.last_ns + LEAST_INTERVAL_NS);
        self.last_ns = captured_ns;
        let frames = match &mut self.frames {
            Some(frames) => frames,
            none => {
                let size = nals(unit.data).find_map(|nal| picture_size(nal.0).filter(|_| nal.is_sps()));
                let (width, height) = size.map_or((self.camera.width, self.camera.height), |s| (s.width, s.height));
                let milli_fps = self.camera.fps.saturating_mul(1000);
                let settings = settings(self.camera, width, height, milli_fps);
                let frames = none.insert(Frames::new(self.stage, settings, milli_fps, encoder::for_pipes(), None));
                frames.stamped(Stamped::Arrival);
                let offset = self.offset_ns / 1_000_000;
                frames.running(&format!("pipe of {:?}, latency offset {offset} ms,", self.name), true);
                self.stage.await_encode(SETTLE);
                frames
            }
        };
        frames.arrived();
        if self.stage.wanted.encode() {
            frames.encode(Input::Unit(unit.data), captured_ns)
        } else {
            frames.rest();
            Ok(())
        }
    }
}

/// The end of what a command wrote to its standard error.
#[derive(Default)]
struct Complaints(Vec<u8>);

impl Complaints {
    /// Bytes that are kept: what goes into a message, and room for an unfinished line.
    const KEPT: usize = 512;
    /// Lines that go into a message.
    const LINES: usize = 3;

    fn push(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
        self.0.drain(..self.0.len().saturating_sub(Self::KEPT));
    }

    /// To put behind a reason.
    fn last_words(&self) -> String {
        let text = String::from_utf8_lossy(&self.0);
        let lines: Vec<_> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        let last = lines[lines.len().saturating_sub(Self::LINES)..].join(" | ");
        let plain: String = last.chars().filter(|c| !c.is_control()).collect();
        if plain.is_empty() { plain } else { format!(": {plain}") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::tests::log::Log;

    const MS: u64 = 1_000_000;

    /// Bytes of the pictures of these tests at most.
    const LIMIT: usize = 100;
    const INTERVAL: Duration = Duration::from_millis(33);

    /// A keyframe, and then a picture that is cut in half by a pause.
    fn tear(stream: &mut Stream, from_ns: u64) {
        let key = b"\0\0\0\x01\x67\x42\x07\0\0\0\x01\x68\xce\x07\0\0\0\x01\x65\x88\x01\x80";
        let (half, other) = (b"\0\0\0\x01\x41\x88\x01", b"\x02\x80\0\0\0\x01\x41\x88\x01\x80");
        let mut at_ns = from_ns;
        for (bytes, whole) in [(&key[..], true), (half, true), (other, false)] {
            stream.assembler.push(bytes, at_ns);
            assert_eq!(stream.assembler.poll(), None);
            at_ns += 100 * MS;
            assert_eq!(stream.assembler.after_silence(at_ns).is_some(), whole, "{bytes:x?}");
        }
    }

    #[test]
    fn pictures_that_a_pause_has_torn_are_told_with_their_command_once_a_minute() {
        let (mut stream, log, start) = (Stream::new(Assembler::new(LIMIT, INTERVAL)), Log::default(), Instant::now());
        log.of(|| {
            stream.note("rpicam-vid", None, start);
            for second in [1, 2, 3, 62] {
                tear(&mut stream, second * 1_000 * MS);
                stream.note("rpicam-vid", None, start + Duration::from_secs(second));
            }
        });
        let lines = log.lines("\"rpicam-vid\": pictures that came with a pause inside");
        assert!(lines.len() == 2 && lines.iter().all(|line| line.contains("WARN")), "{}", log.text());
        assert!(lines[0].ends_with("; 1 since this was told last"), "{lines:?}");
        assert!(lines[1].ends_with("; 3 since this was told last"), "{lines:?}");
    }

    #[test]
    fn a_stream_of_pictures_that_are_too_large_does_not_flood_the_log() {
        let (mut stream, log, now) = (Stream::new(Assembler::new(LIMIT, INTERVAL)), Log::default(), Instant::now());
        log.of(|| {
            for second in 1..=10 {
                let large = [&b"\0\0\0\x01\x41\x88"[..], &[0xaa; 2 * LIMIT]].concat();
                stream.assembler.push(&large, second * 1_000 * MS);
                assert_eq!(stream.assembler.poll(), None);
                stream.note("ffmpeg", None, now);
            }
        });
        assert_eq!(stream.noted.oversized, 10);
        let lines = log.lines("\"ffmpeg\": pictures that are larger than the ring");
        assert!(lines.len() == 1 && lines[0].contains("(raise `bitrate` of this camera); 1 since"), "{}", log.text());
    }

    #[test]
    fn the_last_lines_of_the_complaints_are_kept_and_no_more() {
        let mut complaints = Complaints::default();
        assert_eq!(complaints.last_words(), "");
        complaints.push(b"one\ntwo\r\n\n  three\x1b[0m\nfo");
        complaints.push(b"ur\n");
        assert_eq!(complaints.last_words(), ": two | three[0m | four");
        for _ in 0..1000 {
            complaints.push(&[b'x'; 300]);
            assert!(complaints.0.len() <= Complaints::KEPT);
        }
        complaints.push(b"\nno camera\xff\n");
        assert!(complaints.last_words().ends_with(" | no camera\u{fffd}"));
    }
}
