//! What children write to their standard error: their log, and what user code, a C library or an abort writes beside it.
//!
//! It is a pipe, read whenever the child is polled. Each line goes to our log under the child's name; the last ones that
//! are no log lines tell with the child's end why it came. A flood costs the loop a bounded part of its time and the log
//! a bounded number of lines: what is over is read and counted, and the child waits where its pipe is full.

use crate::control::{Owned, watch};
use std::fs::{File, OpenOptions};
use std::io::{self, PipeReader, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tokio::io::unix::AsyncFd;
use tokio::net::unix::pipe::Receiver;
use tracing::{Level, debug, error, info, warn};

/// Bytes of the last lines that are told.
const TOLD: usize = 4096;

/// Bytes of a line; what is longer becomes several.
const LINE: usize = 1024;

/// Bytes that are read from one child in each [`PAUSE`]: what a pipe holds.
const WINDOW: usize = 64 * 1024;

/// Reads of it in the same time: lines of a log at their highest rate come together in fewer.
const READS: usize = 64;

/// A child that has filled its window is read again after this: the longest that a thread of a well-behaved one waits for
/// room in the pipe, beside a turn of the loop.
const PAUSE: Duration = Duration::from_millis(20);

/// Lines of one child that go to the log at once, and each second in the long run. journald drops what a service says
/// beyond 10,000 lines in 30 s, ours with it: eight children that flood stay under half of that.
const LINES: (u32, u32) = (200, 20);

/// The same where everything is asked for: such a log is for somebody who reads along.
const DEBUG_LINES: (u32, u32) = (5_000, 1_000);

/// The ear of one child.
#[derive(Debug)]
pub(super) struct Ear {
    pipe: AsyncFd<Owned<PipeReader>>,
    /// Since the last line break.
    line: Vec<u8>,
    /// The last lines that are no log lines, each with its end.
    last: Vec<u8>,
    allowance: Allowance,
    window: Instant,
    taken: usize,
    reads: usize,
    /// When the next window begins, if this one is full.
    resume: Option<Instant>,
}

/// How many lines may go to the log.
#[derive(Debug)]
struct Allowance {
    rate: (u32, u32),
    left: u32,
    since: Instant,
    /// Lines that were not told.
    over: u64,
}

/// Our end and the child's of its standard error. The child's is open for reading too, so that it never writes to a pipe
/// without a reader: when we are gone that would be a panic before it has left its room.
pub(super) fn pipe() -> io::Result<(Ear, File)> {
    let (reader, writer) = io::pipe()?;
    let both = OpenOptions::new().read(true).write(true).open(format!("/proc/self/fd/{}", writer.as_raw_fd()))?;
    Ok((Ear::new(reader.into())?, both))
}

impl AsFd for Ear {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pipe.get_ref().0.as_fd()
    }
}

impl Ear {
    /// Listens to the reading end of a pipe.
    pub(super) fn new(reader: OwnedFd) -> io::Result<Self> {
        let now = Instant::now();
        let rate = if tracing::enabled!(Level::DEBUG) { DEBUG_LINES } else { LINES };
        Ok(Self {
            // Read by ourselves: what came just before a child's end must not wait until the runtime has seen it.
            pipe: watch(PipeReader::from(Receiver::from_owned_fd(reader)?.into_nonblocking_fd()?))?,
            line: Vec::new(),
            last: Vec::new(),
            allowance: Allowance { rate, left: rate.0, since: now, over: 0 },
            window: now,
            taken: 0,
            reads: 0,
            resume: None,
        })
    }

    /// Takes what has come, and wakes the task when more does. `who` is named in the log.
    pub(super) fn listen(&mut self, who: &str, cx: &mut Context<'_>) {
        if self.resume.is_some() {
            return;
        }
        let now = Instant::now();
        if now.duration_since(self.window) >= PAUSE {
            (self.window, self.taken, self.reads) = (now, 0, 0);
        }
        while self.taken < WINDOW && self.reads < READS {
            self.reads += 1;
            match self.take(who) {
                Ok(count) if count > 0 => self.taken += count,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => match self.pipe.poll_read_ready(cx) {
                    Poll::Ready(Ok(mut ready)) => ready.clear_ready(),
                    Poll::Ready(Err(_)) | Poll::Pending => return,
                },
                Ok(_) | Err(_) => return,
            }
        }
        self.resume = Some(self.window + PAUSE);
    }

    /// When [`Ear::time`] is due.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.resume
    }

    pub(super) fn time(&mut self, now: Instant) {
        self.resume.take_if(|at| *at <= now);
    }

    /// The last lines that were no log lines, as one; empty if there are none. What waits in the pipe is read before.
    pub(super) fn last_words(&mut self, who: &str) -> String {
        // What a pipe holds, and no more: something that the child has started may still write.
        for _ in 0..READS {
            if !self.take(who).is_ok_and(|count| count > 0) {
                break;
            }
        }
        self.end_line(who);
        self.allowance.own_up(who);
        let lines = self.last.split(|byte| *byte == b'\n').map(|line| masked(&String::from_utf8_lossy(line)));
        let words = lines.filter(|line| !line.is_empty()).collect::<Vec<_>>().join(" | ");
        let mut start = words.len().saturating_sub(TOLD);
        while !words.is_char_boundary(start) {
            start += 1;
        }
        words[start..].to_owned()
    }

    fn take(&mut self, who: &str) -> io::Result<usize> {
        let mut buffer = [0; 4096];
        let count = (&self.pipe.get_ref().0).read(&mut buffer)?;
        self.allowance.refill(Instant::now());
        for part in buffer[..count].split_inclusive(|byte| *byte == b'\n') {
            for piece in part.chunks(LINE) {
                self.line.extend_from_slice(piece);
                if self.line.ends_with(b"\n") || self.line.len() >= LINE {
                    self.end_line(who);
                }
            }
        }
        Ok(count)
    }

    fn end_line(&mut self, who: &str) {
        let line = self.line.trim_ascii_end();
        if line.is_empty() {
            return self.line.clear();
        }
        let (level, text) = leveled(line);
        if self.allowance.take(who) {
            tell(level.unwrap_or(Level::INFO), who, &masked(&String::from_utf8_lossy(text)));
        }
        if level.is_none_or(|level| level == Level::ERROR) {
            if self.last.len() > 4 * TOLD {
                self.last.drain(..self.last.len() - TOLD);
                let rest_of_line = self.last.iter().position(|byte| *byte == b'\n');
                self.last.drain(..rest_of_line.map_or(0, |end| end + 1));
            }
            self.last.extend_from_slice(text);
            self.last.push(b'\n');
        }
        self.line.clear();
    }
}

impl Allowance {
    fn refill(&mut self, now: Instant) {
        let (most, each_second) = self.rate;
        let more = (now.duration_since(self.since).as_secs_f64() * f64::from(each_second)) as u32;
        if more > 0 {
            (self.left, self.since) = (self.left.saturating_add(more).min(most), now);
        }
    }

    fn take(&mut self, who: &str) -> bool {
        if self.left == 0 {
            self.over += 1;
            return false;
        }
        self.left -= 1;
        self.own_up(who);
        true
    }

    /// Says how many lines were left out.
    fn own_up(&mut self, who: &str) {
        let over = std::mem::take(&mut self.over);
        if over > 0 {
            warn!("{who}: {over} lines more on its standard error");
        }
    }
}

/// A line of the child's log has its level in front, as sd-daemon(3) writes it.
fn leveled(line: &[u8]) -> (Option<Level>, &[u8]) {
    match line {
        [b'<', digit @ b'0'..=b'7', b'>', text @ ..] => {
            let level = match digit {
                b'0'..=b'3' => Level::ERROR,
                b'4' => Level::WARN,
                b'5' | b'6' => Level::INFO,
                _ => Level::DEBUG,
            };
            (Some(level), text)
        }
        text => (None, text),
    }
}

fn tell(level: Level, who: &str, text: &str) {
    match level {
        Level::ERROR => error!("{who}: {text}"),
        Level::WARN => warn!("{who}: {text}"),
        Level::INFO => info!("{who}: {text}"),
        Level::DEBUG | Level::TRACE => debug!("{who}: {text}"),
    }
}

/// Without control characters, and without what looks like a token: the three parts of a JWT, whose first begins with
/// `{"` in base64.
pub(super) fn masked(line: &str) -> String {
    let plain: String = line.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let part_of_token = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let mut out = String::with_capacity(plain.len());
    let mut rest = plain.trim();
    while let Some(at) = rest.find("eyJ") {
        let end = rest[at..].find(|c| !part_of_token(c)).map_or(rest.len(), |length| at + length);
        out.push_str(&rest[..at]);
        out.push_str(if end - at >= 20 { "***" } else { &rest[at..end] });
        rest = &rest[end..];
    }
    out + rest
}

#[cfg(test)]
mod tests;
