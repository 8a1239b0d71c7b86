//! Who a node is, beyond a number that changes with each replug: from sysfs, under an injectable root.

use std::fs::{self, File};
use std::os::fd::BorrowedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// A USB camera.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Usb {
    /// idVendor.
    pub vendor: u16,
    /// idProduct.
    pub product: u16,
    /// As the device tells; many have none, and some makers give all their cameras the same.
    pub serial: Option<String>,
    /// Bus, and the ports from there through each hub, as sysfs names the device: `1-1.2`.
    pub port: String,
    /// Of its interfaces, the one with this node's function.
    pub interface: u8,
}

/// What sysfs and devtmpfs know about a node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// Where it is a USB device's.
    pub usb: Option<Usb>,
    /// Counts the nodes of one function: a camera that encodes has one for pictures and one for H.264.
    pub index: u32,
    /// udev's link by the place on the bus, where there is udev.
    pub by_path: Option<PathBuf>,
}

/// Looks up the node called `name` (`video0`) under `root`.
pub(super) fn of(root: &Path, name: &str) -> Identity {
    let node = root.join("sys/class/video4linux").join(name);
    let index = text(&node.join("index")).and_then(|index| index.parse().ok()).unwrap_or(0);
    Identity {
        usb: fs::canonicalize(node.join("device")).ok().and_then(|at| usb(&at)),
        index,
        by_path: by_path(root, name),
    }
}

/// The node's parent is an interface (`1-1.2:1.0`), and that one's parent the device.
fn usb(interface: &Path) -> Option<Usb> {
    let device = interface.parent()?;
    let number = |file: &str| u16::from_str_radix(&text(&device.join(file))?, 16).ok();
    Some(Usb {
        vendor: number("idVendor")?,
        product: number("idProduct")?,
        serial: text(&device.join("serial")).filter(|serial| !serial.is_empty()),
        port: device.file_name()?.to_str()?.to_owned(),
        interface: u8::from_str_radix(&text(&interface.join("bInterfaceNumber"))?, 16).ok()?,
    })
}

/// The descriptors of the USB device that the open node is of, and the number of its interface.
pub(super) fn usb_descriptors(root: &Path, node: BorrowedFd<'_>) -> Option<(Vec<u8>, u8)> {
    let number = File::from(node.try_clone_to_owned().ok()?).metadata().ok()?.rdev();
    let node = format!("sys/dev/char/{}:{}", libc::major(number), libc::minor(number));
    let interface = fs::canonicalize(root.join(node).join("device")).ok()?;
    let number = u8::from_str_radix(&text(&interface.join("bInterfaceNumber"))?, 16).ok()?;
    Some((fs::read(interface.parent()?.join("descriptors")).ok()?, number))
}

fn by_path(root: &Path, name: &str) -> Option<PathBuf> {
    let links = fs::read_dir(root.join("dev/v4l/by-path")).ok()?.flatten();
    let mut found: Vec<PathBuf> = links
        .map(|link| link.path())
        .filter(|link| fs::read_link(link).is_ok_and(|target| target.file_name().is_some_and(|target| target == name)))
        .collect();
    // There may be several; the first in order is the same each time.
    found.sort();
    let link = found.into_iter().next()?;
    Some(Path::new("/").join(link.strip_prefix(root).ok()?))
}

fn text(file: &Path) -> Option<String> {
    Some(fs::read_to_string(file).ok()?.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    /// A made-up /sys and /dev, removed at the end.
    struct Tree(PathBuf);

    impl Tree {
        fn new(name: &str) -> Self {
            let root = std::env::temp_dir().join(format!("identity-{name}-{}", std::process::id()));
            fs::create_dir_all(root.join("sys/class/video4linux")).unwrap();
            Self(root)
        }

        /// A USB device at this place under /sys/devices.
        fn usb(&self, place: &str, ids: (&str, &str), serial: Option<&str>) {
            let device = self.0.join("sys/devices").join(place);
            fs::create_dir_all(&device).unwrap();
            fs::write(device.join("idVendor"), format!("{}\n", ids.0)).unwrap();
            fs::write(device.join("idProduct"), format!("{}\n", ids.1)).unwrap();
            if let Some(serial) = serial {
                fs::write(device.join("serial"), format!("{serial}\n")).unwrap();
            }
        }

        /// A node whose parent is this place under /sys/devices.
        fn node(&self, name: &str, place: &str, index: u32) {
            let parent = self.0.join("sys/devices").join(place);
            let class = parent.join("video4linux").join(name);
            fs::create_dir_all(&class).unwrap();
            fs::write(class.join("index"), format!("{index}\n")).unwrap();
            symlink(&parent, class.join("device")).unwrap();
            symlink(&class, self.0.join("sys/class/video4linux").join(name)).unwrap();
            if let Some((_, number)) = place.rsplit_once(":1.") {
                fs::write(parent.join("bInterfaceNumber"), format!("{:0>2}\n", number)).unwrap();
            }
        }

        fn link(&self, name: &str, node: &str) {
            let folder = self.0.join("dev/v4l/by-path");
            fs::create_dir_all(&folder).unwrap();
            symlink(Path::new("../..").join(node), folder.join(name)).unwrap();
        }
    }

    impl Drop for Tree {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn usb(serial: Option<&str>, port: &str, interface: u8) -> Option<Usb> {
        let serial = serial.map(str::to_owned);
        Some(Usb { vendor: 0x046d, product: 0x0825, serial, port: port.into(), interface })
    }

    const BUS: &str = "pci0000:00/0000:00:14.0/usb1";

    #[test]
    fn two_cameras_of_one_kind_without_serials_differ_by_their_ports() {
        let tree = Tree::new("twins");
        for (port, node) in [("1-1", "video0"), ("1-2", "video2")] {
            tree.usb(&format!("{BUS}/{port}"), ("046d", "0825"), None);
            tree.node(node, &format!("{BUS}/{port}/{port}:1.0"), 0);
        }
        assert_eq!(of(&tree.0, "video0").usb, usb(None, "1-1", 0));
        assert_eq!(of(&tree.0, "video2").usb, usb(None, "1-2", 0));
    }

    #[test]
    fn a_camera_behind_hubs_is_named_by_all_their_ports() {
        let tree = Tree::new("hub");
        let place = format!("{BUS}/1-1/1-1.2/1-1.2.4");
        tree.usb(&place, ("046d", "0825"), Some("A1B2 C3"));
        tree.node("video3", &format!("{place}/1-1.2.4:1.0"), 0);
        assert_eq!(of(&tree.0, "video3").usb, usb(Some("A1B2 C3"), "1-1.2.4", 0));
    }

    #[test]
    fn nodes_of_one_device_differ_by_interface_and_index() {
        let tree = Tree::new("composite");
        let place = format!("{BUS}/1-1");
        tree.usb(&place, ("046d", "0825"), Some(""));
        tree.node("video0", &format!("{place}/1-1:1.0"), 0);
        tree.node("video1", &format!("{place}/1-1:1.0"), 1);
        tree.node("video2", &format!("{place}/1-1:1.2"), 0);
        let of = |name| {
            let Identity { usb, index, .. } = of(&tree.0, name);
            (usb.unwrap().interface, index)
        };
        assert_eq!([of("video0"), of("video1"), of("video2")], [(0, 0), (0, 1), (2, 0)]);
        assert_eq!(super::of(&tree.0, "video0").usb, usb(None, "1-1", 0), "an empty serial is none");
    }

    #[test]
    fn a_camera_of_the_board_has_no_usb_but_may_have_a_link() {
        let tree = Tree::new("platform");
        tree.node("video10", "platform/soc/fe801000.csi", 0);
        tree.link("platform-fe801000.csi-video-index0", "video10");
        tree.link("platform-other-video-index0", "video1");
        let link = PathBuf::from("/dev/v4l/by-path/platform-fe801000.csi-video-index0");
        assert_eq!(of(&tree.0, "video10"), Identity { usb: None, index: 0, by_path: Some(link) });
    }

    #[test]
    fn a_node_that_sysfs_does_not_know_has_no_identity() {
        let tree = Tree::new("none");
        assert_eq!(of(&tree.0, "video9"), Identity::default());
    }
}
