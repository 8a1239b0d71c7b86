//! Which camera is meant: as written, and which of those on the board that is now.

use hal::video::Camera;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// What a written `device` may be, for messages.
pub(super) const FORMS: &str =
    "must be auto, test-pattern, a path (/dev/video0), usb:VVVV:PPPP[:SERIAL], usb-port:1-1.2, card:NAME or pipe";

/// Which camera.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CameraDevice {
    /// The first that captures video, else the test pattern.
    Auto,
    /// Moving clock and frame number.
    TestPattern,
    /// A node or a link to one.
    Path(PathBuf),
    /// By card name as `devices` prints it.
    Card(String),
    /// By what it is, wherever it is plugged in.
    Usb {
        /// idVendor.
        vendor: u16,
        /// idProduct.
        product: u16,
        /// Of several of one kind.
        serial: Option<String>,
    },
    /// By where it is plugged in.
    UsbPort {
        /// As sysfs names it: `1-1.2`.
        port: String,
        /// Of a camera with several nodes for pictures, which, from 0.
        node: usize,
    },
    /// What a command writes to its standard output: H.264 in Annex B.
    Pipe {
        /// Its name and arguments, run without a shell.
        command: Vec<String>,
        /// How long before its first byte comes a picture was taken.
        latency_offset: Duration,
    },
}

impl CameraDevice {
    /// `None` for what is none of [`FORMS`].
    pub(super) fn parse(written: &str) -> Option<Self> {
        let filled = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        match written.split_once(':') {
            None if written == "auto" => Some(Self::Auto),
            None if written == "test-pattern" => Some(Self::TestPattern),
            _ if written.starts_with('/') => Some(Self::Path(PathBuf::from(written))),
            Some(("path", path)) if path.starts_with('/') => Some(Self::Path(PathBuf::from(path))),
            Some(("card", name)) => filled(name).map(Self::Card),
            Some(("usb", ids)) => usb(ids),
            Some(("usb-port", place)) => {
                let (port, node) = place.split_once('/').map_or((place, "0"), |(port, node)| (port, node));
                let plain = port.contains('-') && port.chars().all(|c| c.is_ascii_digit() || "-.".contains(c));
                Some(Self::UsbPort { port: plain.then(|| port.to_owned())?, node: node.parse().ok()? })
            }
            _ => None,
        }
    }

    /// The camera that this is among those on the board, or why there is none, in plain words.
    pub(crate) fn find<'a>(&self, cameras: &'a [Camera]) -> Result<&'a Camera, String> {
        let mut fitting: Vec<&Camera> = cameras.iter().filter(|camera| self.fits(camera)).collect();
        fitting.sort_by_key(|camera| (place(camera), interface(camera), camera.identity.index));
        match self {
            Self::Auto => cameras.iter().find(|camera| camera.obstacle.is_none()).ok_or_else(|| none_for_auto(cameras)),
            Self::UsbPort { node, .. } => fitting.get(*node).copied().ok_or_else(|| self.missing()),
            _ => {
                // A camera with several nodes is still one.
                fitting.dedup_by_key(|camera| place(camera));
                match fitting[..] {
                    [] => Err(self.missing()),
                    [one] => Ok(one),
                    _ => Err(self.ambiguous(&fitting)),
                }
            }
        }
    }

    fn fits(&self, camera: &Camera) -> bool {
        let usb = camera.identity.usb.as_ref();
        match self {
            Self::Auto | Self::TestPattern | Self::Pipe { .. } => false,
            Self::Path(path) => camera.path == path.canonicalize().unwrap_or_else(|_| path.clone()),
            Self::Card(card) => camera.card == *card,
            Self::Usb { vendor, product, serial } => usb.is_some_and(|usb| {
                (usb.vendor, usb.product) == (*vendor, *product)
                    && serial.as_ref().is_none_or(|serial| usb.serial.as_ref() == Some(serial))
            }),
            Self::UsbPort { port, .. } => usb.is_some_and(|usb| usb.port == *port),
        }
    }

    fn missing(&self) -> String {
        format!("{self}: no such camera is connected (`firmware-worker devices` lists those there are)")
    }

    fn ambiguous(&self, fitting: &[&Camera]) -> String {
        let each = fitting.iter().map(|camera| format!("{} ({})", place(camera), camera.path.display()));
        let each = each.collect::<Vec<_>>().join(", ");
        format!("{self} fits {} cameras; name one of them: {each}", fitting.len())
    }
}

fn usb(ids: &str) -> Option<CameraDevice> {
    let mut parts = ids.splitn(3, ':');
    let mut number = || u16::from_str_radix(parts.next().filter(|part| part.len() == 4)?, 16).ok();
    let (vendor, product) = (number()?, number()?);
    let serial = parts.next().map(str::to_owned);
    // "usb:046d:0825:" asks for a serial and gives none.
    (serial.as_deref() != Some("")).then_some(CameraDevice::Usb { vendor, product, serial })
}

fn none_for_auto(cameras: &[Camera]) -> String {
    let each = |camera: &Camera| camera.obstacle.map(|why| format!("{}: {why}", camera.path.display()));
    let left_out: Vec<String> = cameras.iter().filter_map(each).collect();
    match left_out.is_empty() {
        true => "no camera is connected".to_owned(),
        false => format!("no camera that works by itself is connected ({})", left_out.join("; ")),
    }
}

/// Names a camera by where it is, which no other camera shares.
fn place(camera: &Camera) -> String {
    match (&camera.identity.usb, &camera.identity.by_path) {
        (Some(usb), _) => format!("usb-port:{}", usb.port),
        (None, Some(link)) => format!("path:{}", link.display()),
        (None, None) => format!("path:{}", camera.path.display()),
    }
}

fn interface(camera: &Camera) -> u8 {
    camera.identity.usb.as_ref().map_or(0, |usb| usb.interface)
}

/// What to write for this camera among all of them, the best first: by serial where it has one of its own, by place, by
/// name where no other has it.
pub(crate) fn names(camera: &Camera, all: &[Camera]) -> Vec<String> {
    let mut names = Vec::new();
    if let Some(usb) = &camera.identity.usb {
        let (vendor, product, serial) = (usb.vendor, usb.product, usb.serial.clone());
        names.extend(serial.is_some().then_some(CameraDevice::Usb { vendor, product, serial }));
        let nodes = all.iter().filter(|other| place(other) == place(camera));
        let earlier =
            |other: &&Camera| (interface(other), other.identity.index) < (interface(camera), camera.identity.index);
        names.push(CameraDevice::UsbPort { port: usb.port.clone(), node: nodes.filter(earlier).count() });
    } else if let Some(link) = &camera.identity.by_path {
        names.push(CameraDevice::Path(link.clone()));
    }
    names.push(CameraDevice::Card(camera.card.clone()));
    names.retain(|name| name.find(all).is_ok_and(|found| found.path == camera.path));
    let written = |name: &CameraDevice| match name {
        CameraDevice::Path(link) => format!("path:{}", link.display()),
        other => other.to_string(),
    };
    names.iter().map(written).collect()
}

impl fmt::Display for CameraDevice {
    /// As it is written.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::TestPattern => f.write_str("test-pattern"),
            Self::Pipe { .. } => f.write_str("pipe"),
            Self::Path(path) => write!(f, "{}", path.display()),
            Self::Card(name) => write!(f, "card:{name}"),
            Self::Usb { vendor, product, serial: None } => write!(f, "usb:{vendor:04x}:{product:04x}"),
            Self::Usb { vendor, product, serial: Some(serial) } => write!(f, "usb:{vendor:04x}:{product:04x}:{serial}"),
            Self::UsbPort { port, node: 0 } => write!(f, "usb-port:{port}"),
            Self::UsbPort { port, node } => write!(f, "usb-port:{port}/{node}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hal::video::{Identity, Usb};

    fn camera(node: u32, serial: Option<&str>, port: &str, index: u32) -> Camera {
        let serial = serial.map(str::to_owned);
        let usb = Usb { vendor: 0x046d, product: 0x0825, serial, port: port.into(), interface: 0 };
        let identity = Identity { usb: Some(usb), index, by_path: None };
        let (card, driver, bus) = ("HD Cam".into(), "uvcvideo".into(), "usb-1".into());
        let path = format!("/dev/video{node}").into();
        Camera { path, card, driver, bus, identity, obstacle: None, controls: Vec::new(), modes: Vec::new() }
    }

    fn found(written: &str, cameras: &[Camera]) -> Result<PathBuf, String> {
        CameraDevice::parse(written).expect(written).find(cameras).map(|camera| camera.path.clone())
    }

    #[test]
    fn what_is_written_is_what_is_shown() {
        let written = [
            "auto",
            "test-pattern",
            "/dev/v4l/by-path/x-index0",
            "card:HD Cam: the 2nd",
            "usb:046d:0825",
            "usb:046d:0825:A:1/2 3",
            "usb-port:1-1.2",
            "usb-port:3-2/1",
        ];
        for written in written {
            assert_eq!(CameraDevice::parse(written).expect(written).to_string(), written);
        }
        assert_eq!(CameraDevice::parse("path:/dev/video3"), Some(CameraDevice::Path("/dev/video3".into())));
    }

    #[test]
    fn what_is_none_of_the_forms_is_refused() {
        let wrong =
            ["", "video0", "card:", "path:video0", "usb:46d:825", "usb:046d", "usb:046d:0825:", "usb:046g:0825:1"];
        for written in wrong.iter().chain(&["usb-port:", "usb-port:1", "usb-port:1-1/x", "usb-port:../..", "Auto"]) {
            assert_eq!(CameraDevice::parse(written), None, "{written}");
        }
    }

    #[test]
    fn a_camera_is_found_by_each_of_its_names() {
        let cameras = [camera(0, Some("A1"), "1-1", 0), camera(2, Some("B2"), "1-2", 0)];
        assert_eq!(found("usb:046d:0825:B2", &cameras), Ok("/dev/video2".into()));
        assert_eq!(found("usb-port:1-1", &cameras), Ok("/dev/video0".into()));
        assert_eq!(found("auto", &cameras), Ok("/dev/video0".into()));
        assert_eq!(found("usb:046d:0825", &cameras[1..]), Ok("/dev/video2".into()));
        assert_eq!(names(&cameras[1], &cameras), ["usb:046d:0825:B2", "usb-port:1-2"]);
        assert_eq!(names(&cameras[1], &cameras[1..]), ["usb:046d:0825:B2", "usb-port:1-2", "card:HD Cam"]);
    }

    #[test]
    fn two_that_fit_are_one_error_that_lists_both() {
        let cameras = [camera(0, None, "1-1", 0), camera(2, None, "1-2", 0)];
        let wanted = "fits 2 cameras; name one of them: usb-port:1-1 (/dev/video0), usb-port:1-2 (/dev/video2)";
        assert_eq!(found("usb:046d:0825", &cameras), Err(format!("usb:046d:0825 {wanted}")));
        assert_eq!(found("card:HD Cam", &cameras), Err(format!("card:HD Cam {wanted}")));
        assert_eq!(names(&cameras[0], &cameras), ["usb-port:1-1"]);
    }

    #[test]
    fn one_on_no_usb_is_named_by_a_path_that_can_be_written() {
        let link = std::env::temp_dir().join(format!("camera-by-path-{}", std::process::id()));
        std::os::unix::fs::symlink("/dev/null", &link).unwrap();
        let identity = Identity { usb: None, index: 0, by_path: Some(link.clone()) };
        let csi = Camera { path: "/dev/null".into(), identity, ..camera(0, None, "1-1", 0) };
        let cameras = [csi, camera(1, None, "1-1", 0)];
        let written = format!("path:{}", link.display());
        assert_eq!(names(&cameras[0], &cameras), [&*written]);
        assert_eq!(found(&written, &cameras), Ok("/dev/null".into()));
        std::fs::remove_file(link).unwrap();
    }

    #[test]
    fn two_with_the_same_serial_are_told_apart_by_their_ports_alone() {
        let cameras = [camera(0, Some("0001"), "1-1", 0), camera(2, Some("0001"), "1-2", 0)];
        assert!(found("usb:046d:0825:0001", &cameras).is_err_and(|why| why.contains("usb-port:1-2")));
        assert_eq!(names(&cameras[1], &cameras), ["usb-port:1-2"]);
    }

    #[test]
    fn several_nodes_of_one_camera_are_one_camera_and_each_can_be_named() {
        let cameras = [camera(3, Some("A1"), "1-1", 2), camera(1, Some("A1"), "1-1", 0)];
        assert_eq!(found("usb:046d:0825", &cameras), Ok("/dev/video1".into()));
        assert_eq!(found("usb-port:1-1/1", &cameras), Ok("/dev/video3".into()));
        assert_eq!(names(&cameras[0], &cameras), ["usb-port:1-1/1"]);
    }

    #[test]
    fn one_that_is_not_there_is_named_and_auto_says_what_it_leaves_out() {
        assert!(found("usb-port:1-9", &[]).is_err_and(|why| why.starts_with("usb-port:1-9: no such camera")));
        assert_eq!(found("auto", &[]), Err("no camera is connected".into()));
        let sensor = Camera { obstacle: Some("its sensor is set up by libcamera"), ..camera(0, None, "1-1", 0) };
        let why = found("auto", std::slice::from_ref(&sensor)).unwrap_err();
        assert!(why.contains("/dev/video0: its sensor is set up by libcamera"), "{why}");
        assert_eq!(found("auto", &[sensor, camera(1, None, "1-2", 0)]), Ok("/dev/video1".into()));
    }
}
