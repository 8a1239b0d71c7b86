//! V4L2 by our own thin ioctl layer: cameras (enumeration, formats, mmap streaming) and stateful encoders.

mod capture;
mod controls;
#[cfg(any(test, feature = "fake"))]
pub mod fake;
mod handle;
mod identity;
mod idle;
mod keyframe;
mod layout;
mod list;
pub mod m2m;
mod modes;
mod node;
mod open;
mod stamp;
mod sys;
#[cfg(test)]
mod tests;

pub use capture::{BUFFERS, Capture, ENCODED_BUFFERS, Held, Picture, Plane};
pub use controls::{ControlError, ControlState, Setting, flip, set_controls};
pub use handle::Handle;
pub use identity::{Identity, Usb};
pub use idle::{Idle, NotStarted};
pub use list::{Encoder, encoders, encoders_of, list, list_of};
pub use open::open;

use std::fmt;
use std::path::PathBuf;

/// Pixel formats that we can take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PixelFormat {
    /// 4:2:2 packed.
    Yuyv,
    /// 4:2:2 packed, chroma first.
    Uyvy,
    /// 4:2:0, luma plane and interleaved chroma plane.
    Nv12,
    /// 4:2:2, luma plane and interleaved chroma plane.
    Nv16,
    /// 4:2:0, three planes.
    Yu12,
    /// JPEG pictures.
    Mjpeg,
    /// Access units of an encoder in the camera.
    H264,
}

impl fmt::Display for PixelFormat {
    /// As the field names it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Yuyv => "YUYV",
            Self::Uyvy => "UYVY",
            Self::Nv12 => "NV12",
            Self::Nv16 => "NV16",
            Self::Yu12 => "YU12",
            Self::Mjpeg => "MJPEG",
            Self::H264 => "H264",
        })
    }
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
    /// Who it is, whatever its number.
    pub identity: Identity,
    /// Why it is no camera to be taken without being named; `None` for the others.
    pub obstacle: Option<&'static str>,
    /// Its controls and their values.
    pub controls: Vec<ControlState>,
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

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { format, width, height, milli_fps } = self;
        write!(f, "{format} {width}x{height}@{}", f64::from(*milli_fps) / 1000.0)
    }
}

/// ENOMEM: the kernel's memory of contiguous pages, which is where most boards' drivers have their buffers.
const CMA: &str = "CMA is too small or full (raise `cma=` on the kernel's command line)";

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
    #[error(
        "{path}: no USB bandwidth left for {mode}; lower width, height or fps of this camera or of one beside it, or use a port of another USB controller"
    )]
    NoBandwidth {
        /// Node.
        path: String,
        /// What was tried.
        mode: Mode,
    },
    /// An I/O error at the start of the stream: the camera may need more of the bus for this mode than it can ask for.
    #[error(
        "{path}: {mode} was not started ({source}), perhaps for lack of USB bandwidth; lower width, height or fps of this camera or of one beside it, or use another port or cable"
    )]
    NotStarted {
        /// Node.
        path: String,
        /// What was tried.
        mode: Mode,
        /// errno.
        source: std::io::Error,
    },
    /// Its buffers find no room.
    #[error("{path}: no memory for the buffers of {mode}: {}, or lower width and height", CMA)]
    NoMemory {
        /// Node.
        path: String,
        /// What was tried.
        mode: Mode,
    },
    /// Unplugged, or failed while running.
    #[error("{path}: the camera is gone ({source})")]
    Gone {
        /// Node.
        path: String,
        /// errno.
        source: std::io::Error,
    },
    /// The camera gives other pictures than those it was started for: an HDMI source has changed its mode.
    #[error("{0}: the camera has changed its format")]
    Changed(String),
    /// No mode that we can take.
    #[error("{0}: offers no format that we can take ({1})")]
    NoMode(String, &'static str),
}
