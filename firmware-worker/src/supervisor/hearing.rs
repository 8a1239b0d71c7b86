//! What a child writes to its standard error beside its log: of a C library that gives up, of user code that prints. Each
//! line goes to our log, and the last ones into the reason of its end.
//!
//! It is a pipe that is read whenever the child is polled, so a child that writes waits for the loop at most, and a flood
//! costs the loop a bounded part of each turn.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tokio::net::unix::pipe::Receiver;
use tracing::warn;

/// Bytes of the last lines that are kept.
const KEPT: usize = 4096;

/// Bytes of a line; what is longer is cut into several.
const LINE: usize = 512;

/// Bytes that are read in one turn.
const TURN: usize = 16 * 1024;

/// Lines a second that go to the log; the rest is counted.
const LINES: u32 = 20;

/// The ear of one child.
#[derive(Debug)]
pub(super) struct Ear {
    pipe: Receiver,
    /// Since the last line break.
    line: Vec<u8>,
    last: VecDeque<String>,
    /// Bytes of `last`.
    kept: usize,
    second: Instant,
    lines: u32,
}

/// Both ends of a child's standard error.
pub(super) fn pipe() -> io::Result<(Ear, OwnedFd)> {
    let (reader, writer) = io::pipe()?;
    let pipe = Receiver::from_owned_fd(reader.into())?;
    let ear = Ear { pipe, line: vec![], last: VecDeque::new(), kept: 0, second: Instant::now(), lines: 0 };
    Ok((ear, writer.into()))
}

impl AsFd for Ear {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.pipe.as_fd()
    }
}

impl Ear {
    /// Takes what has come, and wakes the task when more does. `who` is named in the log.
    pub(super) fn listen(&mut self, who: &str, cx: &mut Context<'_>) {
        let mut taken = 0;
        while let Poll::Ready(Ok(())) = self.pipe.poll_read_ready(cx) {
            match self.take(who) {
                Ok(count) if count > 0 => taken += count,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                Ok(_) | Err(_) => return,
            }
            if taken >= TURN {
                // Others first.
                return cx.waker().wake_by_ref();
            }
        }
    }

    /// The last lines of a child that has ended, on one line; empty if it has written none.
    pub(super) fn last_words(&mut self, who: &str) -> String {
        // What a pipe holds, and no more: something that the child has started may still write.
        for _ in 0..16 {
            if !self.take(who).is_ok_and(|count| count > 0) {
                break;
            }
        }
        if !self.line.is_empty() {
            self.end_line(who);
        }
        self.last.make_contiguous().join(" | ")
    }

    fn take(&mut self, who: &str) -> io::Result<usize> {
        let mut buffer = [0; 4096];
        let count = self.pipe.try_read(&mut buffer)?;
        for byte in &buffer[..count] {
            if *byte != b'\n' {
                self.line.push(*byte);
            }
            if *byte == b'\n' || self.line.len() == LINE {
                self.end_line(who);
            }
        }
        Ok(count)
    }

    fn end_line(&mut self, who: &str) {
        let line = masked(&String::from_utf8_lossy(&std::mem::take(&mut self.line)));
        if line.is_empty() {
            return;
        }
        if self.second.elapsed() >= Duration::from_secs(1) {
            if self.lines > LINES {
                warn!("{who}: {} more lines on its standard error", self.lines - LINES);
            }
            (self.second, self.lines) = (Instant::now(), 0);
        }
        self.lines += 1;
        if self.lines <= LINES {
            warn!("{who}: {line}");
        }
        self.kept += line.len();
        self.last.push_back(line);
        while self.kept > KEPT {
            self.kept -= self.last.pop_front().map_or(0, |oldest| oldest.len());
        }
    }
}

/// Without control characters, and without what looks like a token: the three parts of a JWT, whose first begins with
/// `{"` in base64.
fn masked(line: &str) -> String {
    let plain: String = line.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let part_of_token = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let mut out = String::with_capacity(plain.len());
    let mut rest = plain.trim_end();
    while let Some(at) = rest.find("eyJ") {
        let end = rest[at..].find(|c| !part_of_token(c)).map_or(rest.len(), |length| at + length);
        out.push_str(&rest[..at]);
        out.push_str(if end - at >= 20 { "***" } else { &rest[at..end] });
        rest = &rest[end..];
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::future::poll_fn;
    use std::io::Write;

    #[tokio::test]
    async fn the_last_four_kib_are_kept_and_a_line_without_an_end_counts() {
        let (mut ear, writer) = pipe().unwrap();
        let mut child = File::from(writer);
        for number in 0..600 {
            writeln!(child, "line {number} {}", "x".repeat(20)).unwrap();
        }
        write!(child, "assertion failed").unwrap();
        let words = ear.last_words("job");
        assert!(words.ends_with("x | assertion failed") && words.contains("line 599"), "{words}");
        assert!(words.len() < KEPT + 4 * 200 && !words.contains("line 100 "), "{}", words.len());
    }

    #[tokio::test]
    async fn a_child_that_floods_is_read_in_parts_and_never_blocks_for_good() {
        let (mut ear, writer) = pipe().unwrap();
        let flood = std::thread::spawn(move || {
            let mut child = File::from(writer);
            (0..1000).for_each(|_| child.write_all(&[b'y'; 1000]).unwrap());
        });
        while !flood.is_finished() {
            poll_fn(|cx| {
                ear.listen("job", cx);
                Poll::Ready(())
            })
            .await;
            tokio::task::yield_now().await;
        }
        assert!(ear.last_words("job").len() <= KEPT + 3 * KEPT / LINE);
    }

    #[test]
    fn what_looks_like_a_token_is_masked_and_control_characters_are_gone() {
        let token = "eyJhbGciOiJIUzI1NiJ9.eyJleHAiOjF9.c2lnbmF0dXJl";
        assert_eq!(masked(&format!("url?access_token={token}&x eyJ \u{1b}[1m")), "url?access_token=***&x eyJ  [1m");
    }
}
