//! Why an encoder cannot do its work, in words that name the remedy.

use super::quirks;
use crate::video::{CMA, PixelFormat};
use std::io;

/// What can go wrong. After any of these the encoder is stopped, and may be started again.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A call failed.
    #[error("{path}: {call}: {source}")]
    Call {
        /// Node.
        path: String,
        /// ioctl name.
        call: &'static str,
        /// errno.
        source: io::Error,
    },
    /// It has as many streams as it can have.
    #[error("{0}: the encoder is in use")]
    Busy(String),
    /// The node has no two queues with pictures in and coded units out.
    #[error("{0}: no encoder for this coding")]
    NoEncoder(String),
    /// No format that we have is one that it takes.
    #[error("{path}: takes no {format} of {width}x{height}")]
    Refused {
        /// Node.
        path: String,
        /// Of the pictures.
        format: PixelFormat,
        /// Pixels.
        width: u32,
        /// Pixels.
        height: u32,
    },
    /// Its buffers find no room.
    #[error("{path}: no memory for pictures of {width}x{height}: {remedy}, or lower width and height")]
    NoMemory {
        /// Node.
        path: String,
        /// Pixels.
        width: u32,
        /// Pixels.
        height: u32,
        /// What has to become larger.
        remedy: &'static str,
    },
    /// Its highest level is below what size, rate and bits need.
    #[error("{path}: level too low: these pictures need level {}, and it knows none above {}; lower width, height, fps or bitrate", level(*.needed), level(*.most))]
    Level {
        /// Node.
        path: String,
        /// `level_idc`
        needed: u8,
        /// `level_idc`
        most: u8,
    },
    /// It would fall behind.
    #[error(
        "{path}: too many pixels: it encodes {most} macroblocks a second at most, these pictures have {needed}; lower width, height or fps"
    )]
    TooFast {
        /// Node.
        path: String,
        /// Macroblocks a second.
        needed: u32,
        /// Macroblocks a second.
        most: u32,
    },
    /// It takes pictures and gives nothing.
    #[error("{path}: gives no unit for {ms} ms{hint}")]
    Stalled {
        /// Node.
        path: String,
        /// Waited.
        ms: u128,
        /// What that means with this driver.
        hint: &'static str,
    },
    /// It says that it could not encode a picture.
    #[error("{0}: a picture could not be encoded")]
    Damaged(String),
    /// It answers what no driver may.
    #[error("{path}: {what}")]
    Nonsense {
        /// Node.
        path: String,
        /// What.
        what: &'static str,
    },
}

/// `level_idc` as it is spoken.
fn level(idc: u8) -> String {
    format!("{}.{}", idc / 10, idc % 10)
}

/// Who fails, and for which pictures.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place<'a> {
    pub path: &'a str,
    pub driver: &'a str,
    pub size: (u32, u32),
}

impl Place<'_> {
    /// A call's failure.
    pub(super) fn failed(&self, call: &'static str, source: io::Error) -> Error {
        let (path, (width, height)) = (self.path.to_owned(), self.size);
        let refused = quirks::refusal(self.driver).filter(|_| call == "VIDIOC_REQBUFS");
        match (source.raw_os_error(), refused) {
            (Some(libc::EBUSY), _) => Error::Busy(path),
            (Some(libc::ENOMEM), _) => Error::NoMemory { path, width, height, remedy: CMA },
            (Some(libc::EINVAL), Some(remedy)) => Error::NoMemory { path, width, height, remedy },
            _ => Error::Call { path, call, source },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_failure_says_in_words_what_to_do() {
        let place = |driver| Place { path: "/dev/video11", driver, size: (1920, 1080) };
        let words = |driver, call, errno| place(driver).failed(call, io::Error::from_raw_os_error(errno)).to_string();
        let cma = "/dev/video11: no memory for pictures of 1920x1080: CMA is too small or full (raise `cma=` on the \
                   kernel's command line), or lower width and height";
        assert_eq!(words("coda", "VIDIOC_REQBUFS", libc::ENOMEM), cma);
        assert!(words("bcm2835-codec", "VIDIOC_REQBUFS", libc::EINVAL).contains("gpu_mem"));
        assert!(words("coda", "VIDIOC_REQBUFS", libc::EINVAL).starts_with("/dev/video11: VIDIOC_REQBUFS: "));
        assert_eq!(words("coda", "VIDIOC_STREAMON", libc::EBUSY), "/dev/video11: the encoder is in use");
        let level = Error::Level { path: "/dev/video11".into(), needed: 42, most: 40 }.to_string();
        assert!(
            level
                .starts_with("/dev/video11: level too low: these pictures need level 4.2, and it knows none above 4.0")
        );
    }
}
