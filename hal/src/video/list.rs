//! Which cameras there are.

use super::modes::offers;
use super::sys::{self, Capability, Queue};
use super::{Camera, Handle, Mode};
use std::fs::{self, File, OpenOptions};
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Lists cameras under `/dev` by their numbers, opening each node. Left out: nodes that cannot be opened, those that do
/// not stream pictures (a camera's metadata, encoders, radio), and those with no mode that we can take (a sensor's raw
/// data).
pub fn list() -> Vec<Camera> {
    let mut nodes: Vec<(u32, PathBuf)> = fs::read_dir("/dev")
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter_map(|path| Some((number(&path)?, path)))
        .collect();
    nodes.sort_unstable();
    nodes.into_iter().filter_map(|(_, path)| describe(&path)).collect()
}

fn number(path: &Path) -> Option<u32> {
    path.file_name()?.to_str()?.strip_prefix("video")?.parse().ok()
}

fn describe(path: &Path) -> Option<Camera> {
    let file: File = OpenOptions::new().read(true).write(true).custom_flags(libc::O_NONBLOCK).open(path).ok()?;
    let handle = Handle::from(OwnedFd::from(file));
    let mut capability = Capability::default();
    handle.ioctl(&sys::QUERYCAP, &mut capability).ok()?;
    let queue = queue(&capability)?;
    let modes: Vec<Mode> = offers(&handle, queue, None).into_iter().map(|offer| offer.mode).collect();
    (!modes.is_empty()).then(|| Camera {
        path: path.to_owned(),
        card: text(&capability.card),
        driver: text(&capability.driver),
        bus: text(&capability.bus_info),
        modes,
    })
}

/// The queue that a node streams pictures from, if it does. What this node does is in `device_caps`; `capabilities` is
/// what the whole device does, the same for its picture and metadata nodes.
pub(super) fn queue(capability: &Capability) -> Option<Queue> {
    let node = match capability.capabilities & sys::CAP_DEVICE_CAPS {
        0 => capability.capabilities,
        _ => capability.device_caps,
    };
    let has = |needed: u32| node & needed == needed;
    if has(sys::CAP_VIDEO_CAPTURE | sys::CAP_STREAMING) {
        Some(Queue::Capture)
    } else if has(sys::CAP_VIDEO_CAPTURE_MPLANE | sys::CAP_STREAMING) {
        Some(Queue::CapturePlanes)
    } else {
        None
    }
}

fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(device_caps: u32) -> Capability {
        let whole_device = sys::CAP_DEVICE_CAPS | sys::CAP_VIDEO_CAPTURE | sys::CAP_STREAMING | METADATA;
        Capability { capabilities: whole_device, device_caps, ..Default::default() }
    }

    const METADATA: u32 = 0x0080_0000;
    #[test]
    fn a_cameras_metadata_node_and_encoders_are_no_cameras() {
        assert_eq!(queue(&node(sys::CAP_VIDEO_CAPTURE | sys::CAP_STREAMING)), Some(Queue::Capture));
        assert_eq!(queue(&node(sys::CAP_VIDEO_CAPTURE_MPLANE | sys::CAP_STREAMING)), Some(Queue::CapturePlanes));
        assert_eq!(queue(&node(METADATA | sys::CAP_STREAMING)), None);
        assert_eq!(queue(&node(sys::CAP_VIDEO_M2M | sys::CAP_STREAMING)), None);
        assert_eq!(queue(&node(sys::CAP_VIDEO_CAPTURE)), None, "read() alone");
    }

    #[test]
    fn a_driver_without_capabilities_of_the_node_is_believed_for_the_whole() {
        let old = Capability { capabilities: sys::CAP_VIDEO_CAPTURE | sys::CAP_STREAMING, ..Default::default() };
        assert_eq!(queue(&old), Some(Queue::Capture));
    }

    #[test]
    fn only_numbered_video_nodes_are_opened() {
        assert_eq!(number(Path::new("/dev/video12")), Some(12));
        for other in ["/dev/video", "/dev/videox", "/dev/vbi0", "/dev/v4l"] {
            assert_eq!(number(Path::new(other)), None);
        }
    }

    #[test]
    fn names_end_at_their_nul_and_may_be_of_any_bytes() {
        assert_eq!(text(b"vivid\0rest"), "vivid");
        assert_eq!(text(b"full"), "full");
        assert_eq!(text(b"\xff\0"), "\u{fffd}");
    }
}
