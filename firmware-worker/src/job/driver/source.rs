//! A configured source as this job reads it: the socket to its owner, the ring, and what to do when either ends.
//!
//! ```text
//! Asked --SourceFd--> Attaching --Attached--> Reading
//! any --end of the socket, nonsense--> Waiting --backoff--> Asked
//! ```

use super::timeline::{Anchor, Place, Timeline};
use crate::control::{Demand, Format, FromReader, Latency, Link, LinkError, OLDEST, ToReader};
use hal::process::{Socket, monotonic_ns};
use hal::ring::{self, Next, Reader, Stamped};
use protocol::backoff::Backoff;
use protocol::room::Frame;
use std::ops::ControlFlow;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::UnixStream;

/// Until the first question to the supervisor counts as unanswered. An owner that is there is given at once; one that
/// has just died comes back with a backoff of up to half a minute, which must not hold up a join.
const FIRST_ANSWER: Duration = Duration::from_secs(1);

/// Until a question to the supervisor is repeated: it may have lost its owner in between.
const ASK_TIMEOUT: Duration = Duration::from_secs(10);

/// First and longest wait after an owner has died. The supervisor restarts owners with a backoff of its own.
const RETRY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// Units read in a row before the rest of the driver gets its turn.
const READ_BATCH: usize = 16;

/// How much faster than it was captured a backlog is shown: a second of it in 30 ms, and still a millisecond between
/// pictures.
const HURRY: u64 = 32;

/// Of a running camera that slows down in the dark the newest picture is not as old, ns.
const PRESENT_NS: u64 = 3_000_000_000;

/// Units without a keyframe, where one is needed, after which it is asked for: the owner made one for our demand, but it
/// may have been written before this job had the ring.
const KEYLESS_UNITS: u32 = 15;

/// Bytes of an Opus packet at most: RFC 6716's limit of a single frame.
const MAX_OPUS: usize = 1275;

/// Bytes that any picture may take, whatever was configured: a byte a pixel of 1920x1080. A camera that encodes and a
/// command may give a larger one than they were asked for.
const MIN_MAX_PICTURE: usize = 1920 * 1080;

/// What a source wants to tell.
#[derive(Debug)]
pub enum Happening {
    /// There may be units in the ring.
    Rung,
    /// The ring is there.
    Attached(Format),
    /// The device runs (again).
    Running,
    /// The device is gone, its owner tries to get it back.
    Lost(String),
    /// The owner is gone: ask for it again when [`Source::deadline`] comes.
    Gone(String),
}

/// A configured source.
#[derive(Debug)]
pub struct Source {
    /// Its name.
    pub name: String,
    /// Units that were overwritten before we read them.
    pub lapped: u64,
    /// Units that were larger than an honest owner may give.
    refused: u64,
    /// How long units lay in the ring.
    pub waited: Latency,
    /// What the capture time of the unit is of that was handed on last.
    pub stamped: Option<Stamped>,
    state: State,
    backoff: Backoff,
    timeline: Timeline,
    demand: Demand,
    rate: Option<u32>,
    /// Video goes on with a keyframe only.
    needs_key: bool,
    /// Units since it is needed.
    keyless: u32,
    /// Units that were written before we wanted them are old (CLOCK_MONOTONIC).
    wanted_from_ns: u64,
    /// Pictures up to this capture time are sent to catch up with the present (CLOCK_MONOTONIC).
    backlog_until_ns: u64,
    /// Something is missing before the next unit.
    gap: bool,
}

#[derive(Debug)]
enum State {
    Asked { until: Instant },
    Attaching { link: Link },
    Reading { link: Link, ring: Ring },
    Waiting { until: Instant },
}

#[derive(Debug)]
struct Ring {
    reader: Reader,
    doorbell: UnixStream,
    video: bool,
    /// Larger units are not believed.
    largest: usize,
    /// The last read stopped early.
    more: bool,
}

impl Source {
    /// The supervisor is being asked for it.
    pub fn new(name: String, now: Instant) -> Self {
        Self {
            name,
            lapped: 0,
            refused: 0,
            waited: Latency::default(),
            stamped: None,
            state: State::Asked { until: now + FIRST_ANSWER },
            backoff: Backoff::new(RETRY.0, RETRY.1),
            timeline: Timeline::default(),
            demand: Demand::Armed,
            rate: None,
            needs_key: true,
            keyless: 0,
            wanted_from_ns: 0,
            backlog_until_ns: 0,
            gap: false,
        }
    }

    /// When [`Source::due`] has something to say.
    pub fn deadline(&self) -> Option<Instant> {
        match self.state {
            State::Asked { until } | State::Waiting { until } => Some(until),
            State::Attaching { .. } | State::Reading { .. } => None,
        }
    }

    /// Whether the supervisor must be asked (again) now.
    pub fn due(&mut self, now: Instant) -> bool {
        let due = self.deadline().is_some_and(|deadline| deadline <= now);
        if due {
            self.state = State::Asked { until: now + ASK_TIMEOUT };
        }
        due
    }

    /// The supervisor's answer: a socket to the owner.
    pub fn granted(&mut self, socket: OwnedFd) -> Result<(), LinkError> {
        let system = |source| LinkError::System { call: "take over", source };
        let link = Link::new(Socket::from_fd(socket).map_err(system)?)?;
        link.send(&FromReader::Attach { version: OLDEST }, &[])?;
        link.send(&FromReader::Demand(self.demand), &[])?;
        if let Some(bps) = self.rate {
            link.send(&FromReader::Rate { bps }, &[])?;
        }
        self.state = State::Attaching { link };
        Ok(())
    }

    /// Gives up on this owner for a while.
    pub fn retry(&mut self, now: Instant, random: u64) {
        self.gap = true;
        self.needs_key = true;
        self.state = State::Waiting { until: now + self.backoff.fail(random) };
    }

    /// How much the device is wanted.
    pub fn demand(&mut self, demand: Demand) {
        if self.demand != demand {
            if demand == Demand::Live {
                self.start_anew();
            }
            self.demand = demand;
            self.tell(&FromReader::Demand(demand));
        }
    }

    /// What lies in the ring from before, up to seconds of it, is of no use to a viewer who comes (back) now.
    fn start_anew(&mut self) {
        self.leave_out();
        self.catch_up();
    }

    fn leave_out(&mut self) {
        self.needs_key = true;
        self.gap = true;
        self.wanted_from_ns = monotonic_ns();
        if let State::Reading { ring, .. } = &mut self.state {
            ring.reader.skip_to_newest();
        }
    }

    /// Where no keyframe can be asked for, the way to the present picture leads from the last one over what followed, unless
    /// the device was closed since.
    fn catch_up(&mut self) {
        let State::Reading { ring, .. } = &mut self.state else { return };
        let now_ns = monotonic_ns();
        match ring.reader.seek_keyframe() {
            Some(newest_ns) if now_ns.saturating_sub(newest_ns) < PRESENT_NS => {
                self.backlog_until_ns = newest_ns;
                self.wanted_from_ns = 0;
                ring.more = true;
            }
            Some(_) => {
                self.wanted_from_ns = now_ns;
                ring.reader.skip_to_newest();
            }
            None => {}
        }
    }

    /// A receiver cannot go on without a keyframe.
    pub fn keyframe(&mut self) {
        self.tell(&FromReader::Keyframe);
    }

    /// Bit/s this job's network carries.
    pub fn rate(&mut self, bps: u32) {
        if self.rate != Some(bps) {
            self.rate = Some(bps);
            self.tell(&FromReader::Rate { bps });
        }
    }

    /// Waits for the owner.
    pub fn poll(&mut self, context: &mut Context<'_>) -> Poll<Happening> {
        match &mut self.state {
            State::Asked { .. } | State::Waiting { .. } => Poll::Pending,
            State::Attaching { link } => link.poll_receive(context).map(|message| self.message(message)),
            // Messages first: a ring can always have one more unit.
            State::Reading { link, ring } => match link.poll_receive(context) {
                Poll::Ready(message) => Poll::Ready(self.message(message)),
                Poll::Pending => ring.poll(context),
            },
        }
    }

    /// Reads what has come and hands it on as frames, until `send` has had enough for now. `true` when a keyframe must be asked
    /// for to go on.
    pub fn read<S>(&mut self, anchor: &Anchor, buffer: &mut Vec<u8>, mut send: S) -> bool
    where
        S: FnMut(Frame<'_>) -> ControlFlow<()>,
    {
        let State::Reading { ring, .. } = &mut self.state else { return false };
        let mut keyframe = false;
        ring.more = true;
        for _ in 0..READ_BATCH {
            match ring.reader.next(buffer) {
                Next::Empty => {
                    ring.more = false;
                    break;
                }
                Next::Lapped(units) => {
                    self.lapped += units;
                    self.gap = true;
                    self.needs_key |= ring.video;
                    keyframe |= ring.video;
                }
                Next::Unit(meta) if meta.written_ns < self.wanted_from_ns => {}
                Next::Unit(_) if buffer.len() > ring.largest => {
                    self.refused += 1;
                    if self.refused == 1 {
                        let remedy =
                            if ring.video { "; set `width` and `height` to what the camera gives" } else { "" };
                        let (source, size, limit) = (&self.name, buffer.len(), ring.largest);
                        tracing::warn!("{source}: units over {limit} bytes are left out, the first has {size}{remedy}");
                    }
                    self.gap = true;
                    self.needs_key |= ring.video;
                }
                Next::Unit(meta) if ring.video && self.needs_key && meta.flags & ring::KEY == 0 => {
                    self.keyless = self.keyless.wrapping_add(1);
                    keyframe |= self.keyless.is_multiple_of(KEYLESS_UNITS);
                }
                Next::Unit(meta) => {
                    (self.needs_key, self.keyless, self.stamped) = (false, 0, meta.stamped);
                    self.backoff.reset();
                    self.waited.took(Duration::from_nanos(monotonic_ns().saturating_sub(meta.written_ns)));
                    let captured = anchor.instant(hurried(meta.captured_ns, self.backlog_until_ns));
                    let gap = std::mem::take(&mut self.gap) || meta.flags & ring::DISCONTINUITY != 0;
                    // Pictures have no samples; their time is that of their capture alone.
                    let place = match ring.video {
                        true => Place { samples: 0, discontinuity: false },
                        false => self.timeline.place(meta.position, captured, meta.epoch),
                    };
                    let discontinuity = gap || place.discontinuity;
                    let level = meta.level;
                    let frame = Frame { data: buffer, captured, samples: place.samples, discontinuity, level };
                    if send(frame).is_break() {
                        break;
                    }
                }
            }
        }
        keyframe
    }

    fn message(&mut self, message: Result<(ToReader, Vec<OwnedFd>), LinkError>) -> Happening {
        match message {
            Ok((ToReader::Attached { format }, fds)) => self.attached(format, fds),
            Ok((ToReader::AttachedSpeaker, _)) => Happening::Gone("a speaker is no source".into()),
            Ok((ToReader::Running { .. }, _)) => Happening::Running,
            Ok((ToReader::Lost { why }, _)) => {
                // The last units before it would be taken for the device's return.
                self.leave_out();
                Happening::Lost(why)
            }
            Err(error) => Happening::Gone(error.to_string()),
        }
    }

    fn attached(&mut self, format: Format, fds: Vec<OwnedFd>) -> Happening {
        let ring = match Ring::new(format, fds) {
            Ok(ring) => ring,
            Err(why) => return Happening::Gone(why),
        };
        let now = State::Waiting { until: Instant::now() };
        match std::mem::replace(&mut self.state, now) {
            State::Attaching { link } | State::Reading { link, .. } => {
                self.state = State::Reading { link, ring };
                self.timeline.restart();
                if self.demand == Demand::Live {
                    self.catch_up();
                }
                Happening::Attached(format)
            }
            State::Asked { .. } | State::Waiting { .. } => Happening::Gone("a ring without a link".into()),
        }
    }

    fn tell(&self, message: &FromReader) {
        let (State::Attaching { link } | State::Reading { link, .. }) = &self.state else { return };
        if let Err(error) = link.send(message, &[]) {
            // An owner that does not read is found by the supervisor's pings, one that is gone by the next receive.
            tracing::debug!(source = %self.name, %error, "message to the owner dropped");
        }
    }
}

impl Ring {
    fn new(format: Format, fds: Vec<OwnedFd>) -> Result<Self, String> {
        let [ring, doorbell]: [OwnedFd; 2] =
            fds.try_into().map_err(|fds: Vec<_>| format!("{} descriptors beside Attached", fds.len()))?;
        let reader = Reader::map(ring).map_err(|e| e.to_string())?;
        let doorbell = StdUnixStream::from(doorbell);
        doorbell.set_nonblocking(true).map_err(|e| format!("doorbell: {e}"))?;
        let doorbell = UnixStream::from_std(doorbell).map_err(|e| format!("doorbell: {e}"))?;
        let video = matches!(format, Format::H264 { .. });
        Ok(Self { reader, doorbell, video, largest: largest(format), more: true })
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Happening> {
        if self.more {
            return Poll::Ready(Happening::Rung);
        }
        // A byte per unit: what fits here is what a reader can be behind by before it is lapped anyway.
        let mut bytes = [0; 128];
        let mut bytes = ReadBuf::new(&mut bytes);
        match Pin::new(&mut self.doorbell).poll_read(context, &mut bytes) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Ok(())) if !bytes.filled().is_empty() => Poll::Ready(Happening::Rung),
            Poll::Ready(Ok(())) => Poll::Ready(Happening::Gone("the doorbell was closed".into())),
            Poll::Ready(Err(error)) => Poll::Ready(Happening::Gone(format!("doorbell: {error}"))),
        }
    }
}

/// The time that a receiver is told for a picture captured at `captured_ns`. What it shows to catch up with the present
/// passes in a fraction of its time; with its true times, a receiver would stay as far behind as the backlog is long.
fn hurried(captured_ns: u64, backlog_until_ns: u64) -> u64 {
    match backlog_until_ns.checked_sub(captured_ns) {
        Some(age) => backlog_until_ns - age / HURRY,
        None => captured_ns,
    }
}

/// Bytes of a unit that an honest owner may give: a byte a pixel is many times any keyframe.
fn largest(format: Format) -> usize {
    match format {
        Format::H264 { width, height, .. } => (usize::from(width) * usize::from(height)).max(MIN_MAX_PICTURE),
        Format::Opus { .. } => MAX_OPUS,
    }
}

#[cfg(test)]
pub(super) mod tests;
