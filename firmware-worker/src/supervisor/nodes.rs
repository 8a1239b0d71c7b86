//! Opens camera nodes for their owners. What is opened follows from the configuration, not from what an owner asks.

use super::holder;
use crate::config::{CameraDevice, Device, DeviceKind, EncoderWish};
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::parent_id;
use std::path::{Path, PathBuf};

/// Encoders that an owner may try: a board has one, and a message has room for the camera and three more.
const MAX_ENCODERS: usize = 2;

/// Opens the node that `device` is configured to be, or says why there is none, and after it encoders where one may be
/// used; who holds a busy node is looked up under `proc`. Each node is named to `touch` before its driver is called, which
/// says whether that may be. Blocks while drivers wake hardware.
pub(crate) fn open(proc: &Path, device: &Device, touch: &mut dyn FnMut(&Path) -> bool) -> Result<Vec<OwnedFd>, String> {
    let DeviceKind::Camera(camera) = &device.kind else {
        return Err(format!("{} is no camera", device.name));
    };
    let path = match &camera.device {
        CameraDevice::TestPattern => return Err("the test pattern has no device node".into()),
        CameraDevice::Pipe { .. } => return Err("a pipe has no device node".into()),
        CameraDevice::Path(path) => path.clone(),
        named => find(named, touch)?,
    };
    if !touch(&real(&path)) {
        return Err(hangs(&path));
    }
    let node = hal::video::open(&path)
        .map_err(|error| format!("{}: {}", path.display(), in_plain_words(proc, device, &path, &error)))?;
    let encoders = match camera.encoder {
        EncoderWish::Auto | EncoderWish::Hardware => encoders(touch),
        EncoderWish::Passthrough | EncoderWish::Software => Vec::new(),
    };
    Ok([node].into_iter().chain(encoders).collect())
}

/// What is said of a node whose driver does not come back.
pub(super) fn hangs(node: &Path) -> String {
    format!("{}: its driver hangs: unplug the camera, or restart the board", node.display())
}

/// Where it is among all cameras, without those whose drivers hang.
fn find(named: &CameraDevice, touch: &mut dyn FnMut(&Path) -> bool) -> Result<PathBuf, String> {
    let mut left_out = Vec::new();
    let cameras = hal::video::list_of(|node| {
        let may = touch(node);
        left_out.extend((!may).then(|| hangs(node)));
        may
    });
    let found = named.find(&cameras).map(|camera| camera.path.clone());
    found.map_err(|why| [why].into_iter().chain(left_out).collect::<Vec<_>>().join("; "))
}

/// What is missing here is said by who looks for an encoder among these.
fn encoders(touch: &mut dyn FnMut(&Path) -> bool) -> Vec<OwnedFd> {
    let fit = hal::video::encoders_of(&mut *touch).into_iter().filter(hal::video::Encoder::suits_cameras);
    let fit: Vec<_> = fit.take(MAX_ENCODERS).collect();
    fit.iter()
        .filter(|encoder| touch(&encoder.path))
        .filter_map(|encoder| hal::video::open(&encoder.path).ok())
        .collect()
}

fn real(path: &Path) -> PathBuf {
    fs::canonicalize(path).unwrap_or_else(|_| path.to_owned())
}

fn in_plain_words(proc: &Path, device: &Device, path: &Path, error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "no such camera (`firmware-worker devices` lists those there are)".into(),
        io::ErrorKind::PermissionDenied => "permission denied: is this user in the group `video`?".into(),
        // Loopback cameras, and others that let so many programs in.
        io::ErrorKind::ResourceBusy => {
            // A supervisor has it for a moment when it passes it on.
            let ours = [std::process::id(), parent_id()];
            holder::describe(proc, device, &real(path).to_string_lossy(), &ours)
        }
        // The node is still there when its device has just gone.
        _ if matches!(error.raw_os_error(), Some(libc::ENODEV | libc::ENXIO)) => "unplugged".into(),
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Camera;
    use std::fs::File;
    use std::process::{Command, Stdio};

    fn open(device: &Device) -> Result<Vec<OwnedFd>, String> {
        super::open(Path::new("/proc"), device, &mut |_| true)
    }

    fn camera(device: CameraDevice) -> Device {
        Device { name: "camera".into(), kind: DeviceKind::Camera(Camera { device, ..Camera::default() }) }
    }

    #[test]
    fn only_video_nodes_are_opened_whatever_the_path_says() {
        for path in ["/dev/null", "/etc/passwd", "/dev/video/../null", "/proc/self/exe"] {
            assert!(open(&camera(CameraDevice::Path(path.into()))).is_err(), "{path}");
        }
        let link = std::env::temp_dir().join(format!("video-link-{}", std::process::id()));
        std::os::unix::fs::symlink("/dev/null", &link).unwrap();
        let error = open(&camera(CameraDevice::Path(link.clone()))).unwrap_err();
        fs::remove_file(&link).unwrap();
        assert!(error.contains("not a camera node") && error.contains("video-link"), "{error}");
    }

    #[test]
    fn a_missing_node_is_named() {
        let error = open(&camera(CameraDevice::Path("/dev/video998".into()))).unwrap_err();
        assert!(error.starts_with("/dev/video998: no such camera (`firmware-worker devices`"), "{error}");
        let error = open(&camera(CameraDevice::UsbPort { port: "9-9.9".into(), node: 0 })).unwrap_err();
        assert!(error.starts_with("usb-port:9-9.9: no such camera is connected"), "{error}");
    }

    #[test]
    fn what_keeps_a_node_from_being_opened_is_said_with_its_remedy() {
        let words = |errno, path: &Path| {
            let camera = camera(CameraDevice::Path(path.into()));
            in_plain_words(Path::new("/proc"), &camera, path, &io::Error::from_raw_os_error(errno))
        };
        let node = std::env::temp_dir().join(format!("video-busy-{}", std::process::id()));
        let link = node.with_extension("link");
        let held = File::create(&node).unwrap();
        std::os::unix::fs::symlink(&node, &link).unwrap();
        let mut holder = Command::new("sleep").arg("60").stdin(Stdio::from(held)).spawn().unwrap();
        let busy = words(libc::EBUSY, &link);
        holder.kill().unwrap();
        holder.wait().unwrap();
        for path in [&node, &link] {
            fs::remove_file(path).unwrap();
        }
        assert_eq!(busy, format!("in use by sleep (pid {})", holder.id()));
        assert!(words(libc::EACCES, &node).contains("group `video`"));
        assert_eq!(words(libc::ENODEV, &node), "unplugged");
    }
}
