//! Which cameras and encoders there are, by what their nodes can do.

use super::modes::offers;
use super::sys::{self, Capability, Queue};
use super::{Camera, Handle, Mode};
use super::{controls, identity};
use std::fs::{self, File, OpenOptions};
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// An encoder or converter with two queues: pictures go in, units come out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encoder {
    /// `/dev/videoN`.
    pub path: PathBuf,
    /// Card name.
    pub card: String,
    /// Driver name.
    pub driver: String,
    /// Pixel formats that it takes, as four letters.
    pub inputs: Vec<String>,
    /// Compressed formats that it gives, as four letters.
    pub outputs: Vec<String>,
}

impl Encoder {
    /// Whether it gives H.264 of what every camera's pictures can be made into.
    pub fn suits_cameras(&self) -> bool {
        const MADE: [&str; 4] = ["YU12", "YM12", "NV12", "NM12"];
        self.outputs.iter().any(|output| output == "H264") && self.inputs.iter().any(|input| MADE.contains(&&**input))
    }
}

/// Most formats that a queue is asked for.
const MAX_FORMATS: u32 = 64;

/// Lists cameras under `/dev` by their numbers, opening each node. Left out: nodes that cannot be opened, those that do
/// not stream pictures (a camera's metadata, encoders, radio), and those with no mode that we can take (a sensor's raw
/// data).
pub fn list() -> Vec<Camera> {
    list_of(|_| true)
}

/// The same of those nodes that `wanted` says, which is asked before each is opened.
pub fn list_of(mut wanted: impl FnMut(&Path) -> bool) -> Vec<Camera> {
    nodes().into_iter().filter(|path| wanted(path)).filter_map(|path| camera(&path)).collect()
}

/// Lists encoders under `/dev` by their numbers, opening each node.
pub fn encoders() -> Vec<Encoder> {
    encoders_of(|_| true)
}

/// The same of those nodes that `wanted` says, which is asked before each is opened.
pub fn encoders_of(mut wanted: impl FnMut(&Path) -> bool) -> Vec<Encoder> {
    nodes().into_iter().filter(|path| wanted(path)).filter_map(|path| encoder(&path)).collect()
}

fn nodes() -> Vec<PathBuf> {
    let mut nodes: Vec<(u32, PathBuf)> = fs::read_dir("/dev")
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter_map(|path| Some((number(&path)?, path)))
        .collect();
    nodes.sort_unstable();
    nodes.into_iter().map(|(_, path)| path).collect()
}

fn number(path: &Path) -> Option<u32> {
    path.file_name()?.to_str()?.strip_prefix("video")?.parse().ok()
}

fn open(path: &Path) -> Option<(Handle, Capability)> {
    let file: File = OpenOptions::new().read(true).write(true).custom_flags(libc::O_NONBLOCK).open(path).ok()?;
    let handle = Handle::from(OwnedFd::from(file));
    let mut capability = Capability::default();
    handle.ioctl(&sys::QUERYCAP, &mut capability).ok()?;
    Some((handle, capability))
}

fn camera(path: &Path) -> Option<Camera> {
    let (handle, capability) = open(path)?;
    let queue = queue(&capability)?;
    let modes: Vec<Mode> = offers(&handle, queue, None).into_iter().map(|offer| offer.mode).collect();
    let driver = text(&capability.driver);
    (!modes.is_empty()).then(|| Camera {
        path: path.to_owned(),
        card: text(&capability.card),
        obstacle: obstacle(&driver, node_capabilities(&capability)),
        driver,
        bus: text(&capability.bus_info),
        identity: identity::of(Path::new("/"), path.file_name().and_then(|name| name.to_str()).unwrap_or_default()),
        controls: controls::states(&handle),
        modes,
    })
}

/// Why a capture node gives no pictures by itself.
fn obstacle(driver: &str, node: u32) -> Option<&'static str> {
    /// Image processors: what goes in at one of their nodes comes out at another.
    const PROCESSORS: [&str; 4] = ["bcm2835-isp", "pispbe", "rkisp1", "mtk-mdp3"];
    if node & sys::CAP_IO_MC != 0 {
        Some("its sensor is set up by libcamera; configure a pipe from rpicam-vid")
    } else if PROCESSORS.contains(&driver) {
        Some("it processes pictures and has no sensor")
    } else {
        None
    }
}

fn encoder(path: &Path) -> Option<Encoder> {
    let (handle, capability) = open(path)?;
    let (input, output) = encoder_queues(&capability)?;
    let (inputs, outputs) = (formats(&handle, input, false), formats(&handle, output, true));
    let (card, driver) = (text(&capability.card), text(&capability.driver));
    let encodes = !inputs.is_empty() && !outputs.is_empty();
    encodes.then(|| Encoder { path: path.to_owned(), card, driver, inputs, outputs })
}

/// The queues of a node that turns what goes into the first into what comes out of the second.
pub(super) fn encoder_queues(capability: &Capability) -> Option<(Queue, Queue)> {
    match node_capabilities(capability) {
        node if node & sys::CAP_VIDEO_M2M_MPLANE != 0 => Some((Queue::OutputPlanes, Queue::CapturePlanes)),
        node if node & sys::CAP_VIDEO_M2M != 0 => Some((Queue::Output, Queue::Capture)),
        _ => None,
    }
}

/// Raw or compressed formats of a queue, as four letters.
fn formats(handle: &Handle, queue: Queue, compressed: bool) -> Vec<String> {
    let name = |code: u32| String::from_utf8_lossy(&code.to_le_bytes()).trim_end().to_owned();
    codes(handle, queue).filter(|(_, packed)| *packed == compressed).map(|(code, _)| name(code)).collect()
}

/// A queue's formats as the driver names them, and whether each is compressed.
pub(super) fn codes(handle: &Handle, queue: Queue) -> impl Iterator<Item = (u32, bool)> + '_ {
    (0..MAX_FORMATS).map_while(move |index| {
        let mut entry = sys::FormatDescription { index, kind: queue.kind(), ..Default::default() };
        handle.ioctl(&sys::ENUM_FMT, &mut entry).ok()?;
        Some((entry.pixelformat, entry.flags & sys::FMT_FLAG_COMPRESSED != 0))
    })
}

/// What this node does; `capabilities` is what the whole device does, the same for its picture and metadata nodes.
fn node_capabilities(capability: &Capability) -> u32 {
    match capability.capabilities & sys::CAP_DEVICE_CAPS {
        0 => capability.capabilities,
        _ => capability.device_caps,
    }
}

/// The queue that a node streams pictures from, if it does.
pub(super) fn queue(capability: &Capability) -> Option<Queue> {
    let node = node_capabilities(capability);
    let has = |needed: u32| node & needed == needed;
    if has(sys::CAP_VIDEO_CAPTURE | sys::CAP_STREAMING) {
        Some(Queue::Capture)
    } else if has(sys::CAP_VIDEO_CAPTURE_MPLANE | sys::CAP_STREAMING) {
        Some(Queue::CapturePlanes)
    } else {
        None
    }
}

pub(super) fn text(bytes: &[u8]) -> String {
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
    fn what_needs_setting_up_is_not_taken_unasked() {
        assert_eq!(obstacle("uvcvideo", sys::CAP_VIDEO_CAPTURE), None);
        assert!(obstacle("unicam", sys::CAP_VIDEO_CAPTURE | sys::CAP_IO_MC).unwrap().contains("rpicam-vid"));
        assert!(obstacle("bcm2835-isp", sys::CAP_VIDEO_CAPTURE).unwrap().contains("no sensor"));
    }

    #[test]
    fn an_encoder_suits_cameras_when_it_gives_h264_of_planes() {
        let encoder = |inputs: &[&str], output: &str| Encoder {
            path: "/dev/video11".into(),
            card: String::new(),
            driver: String::new(),
            inputs: inputs.iter().map(|input| (*input).into()).collect(),
            outputs: vec![output.into()],
        };
        assert!(encoder(&["RGB3", "NM12"], "H264").suits_cameras());
        assert!(!encoder(&["RGB3", "NM12"], "JPEG").suits_cameras());
        assert!(!encoder(&["RGB3"], "H264").suits_cameras());
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
