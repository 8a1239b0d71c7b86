//! V4L2 capture by our own thin ioctl layer: enumeration, formats, mmap streaming.

mod capture;
mod list;
mod modes;
mod sys;

pub use capture::Capture;
pub use list::list;

use std::path::PathBuf;

/// Pixel formats that we can take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PixelFormat {
    /// 4:2:2 packed.
    Yuyv,
    /// 4:2:0, luma plane and interleaved chroma plane.
    Nv12,
    /// 4:2:0, three planes.
    Yu12,
    /// JPEG pictures.
    Mjpeg,
}

/// What a capture node offers.
#[derive(Clone, Debug)]
pub struct Camera {
    /// `/dev/videoN`.
    pub path: PathBuf,
    /// Card name.
    pub card: String,
    /// Driver name.
    pub driver: String,
    /// Bus info.
    pub bus: String,
    /// Format, width, height, frames a second times 1000.
    pub modes: Vec<Mode>,
}

/// Size and rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mode {
    /// Format.
    pub format: PixelFormat,
    /// Pixels.
    pub width: u32,
    /// Pixels.
    pub height: u32,
    /// Frames a second times 1000.
    pub milli_fps: u32,
}

/// What can go wrong; ENODEV and any unexpected errno on a running device are `Gone`.
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
        source: std::io::Error,
    },
    /// Another process streams from it.
    #[error("{0}: in use by another program")]
    Busy(String),
    /// The USB bus cannot carry this mode beside what already runs.
    #[error("{0}: no USB bandwidth left for this mode; lower size or rate, or use another port")]
    NoBandwidth(String),
    /// Unplugged, or failed while running.
    #[error("{path}: the camera is gone ({source})")]
    Gone {
        /// Node.
        path: String,
        /// errno.
        source: std::io::Error,
    },
    /// No mode that we can take.
    #[error("{0}: offers no format that we can take (YUYV, NV12, YU12, MJPEG)")]
    NoMode(String),
}

/// One dequeued picture; given back to the driver when dropped.
#[derive(Debug)]
pub struct Picture<'a> {
    /// Bytes used.
    pub data: &'a [u8],
    /// Bytes of one line of the first plane; 0 for MJPEG.
    pub stride: usize,
    /// CLOCK_MONOTONIC ns.
    pub captured_ns: u64,
    /// Driver's frame counter: gaps are drops.
    pub sequence: u32,
    /// The driver marked it as damaged, or it is shorter than a picture of its format.
    pub damaged: bool,
    _loan: capture::Loan<'a>,
}
