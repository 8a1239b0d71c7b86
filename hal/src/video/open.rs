//! Opens nodes by their paths.

#[cfg(any(test, feature = "fake"))]
use super::fake;
use std::fs::{self, OpenOptions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

/// Linux's character major of Video4Linux, fixed since the beginning (Documentation/admin-guide/devices.txt).
const V4L2_MAJOR: u32 = 81;

/// A link (`/dev/v4l/by-id/…`) is followed; what it leads to must be a Video4Linux node directly under `/dev`. Blocks while
/// the driver wakes its hardware.
pub fn open(path: &Path) -> io::Result<OwnedFd> {
    #[cfg(any(test, feature = "fake"))]
    if let Some(node) = fake::node(path) {
        return node;
    }
    let refused = |why: &str| Err(io::Error::new(io::ErrorKind::InvalidInput, why.to_owned()));
    let real = fs::canonicalize(path)?;
    let name = real.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    if real.parent() != Some(Path::new("/dev")) || !name.starts_with("video") {
        return refused("not a camera node (/dev/videoN, or a link to one)");
    }
    let file = OpenOptions::new().read(true).write(true).custom_flags(libc::O_NONBLOCK).open(&real)?;
    let metadata = file.metadata()?;
    if !metadata.file_type().is_char_device() || libc::major(metadata.rdev()) != V4L2_MAJOR {
        return refused("not a Video4Linux device");
    }
    Ok(file.into())
}
