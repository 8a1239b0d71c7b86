//! Kernel uevents (netlink group 1): devices that come and go, without udev.

use crate::process::{check, check_size, uninterrupted};
use std::io;
use std::mem::{size_of, zeroed};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// The kernel's own messages; group 2 is udev's, which a small image may lack.
const KERNEL_GROUP: u32 = 1;

/// Bytes of the longest uevent (UEVENT_BUFFER_SIZE of the kernel) with room for its header.
const MAX_UEVENT: usize = 4096;

/// One uevent of interest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Uevent {
    /// `add`, `remove`, `change`, …
    pub action: String,
    /// `video4linux`, `sound`, `usb`, …
    pub subsystem: String,
    /// DEVPATH.
    pub path: String,
    /// DEVNAME, may be empty.
    pub node: String,
}

/// A netlink socket; readable when uevents wait.
#[derive(Debug)]
pub struct Listener(OwnedFd);

impl Listener {
    /// Subscribes to kernel uevents.
    pub fn open() -> io::Result<Self> {
        let kind = libc::SOCK_DGRAM | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
        // SAFETY: takes numbers only.
        let fd = check(unsafe { libc::socket(libc::AF_NETLINK, kind, libc::NETLINK_KOBJECT_UEVENT) })?;
        // SAFETY: just made, and nobody else knows it.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        // SAFETY: all zeroes is an address that lets the kernel choose our port.
        let mut address: libc::sockaddr_nl = unsafe { zeroed() };
        address.nl_family = libc::AF_NETLINK as libc::sa_family_t;
        address.nl_groups = KERNEL_GROUP;
        let length = size_of::<libc::sockaddr_nl>() as libc::socklen_t;
        // SAFETY: the address is valid for the length given.
        check(unsafe { libc::bind(fd.as_raw_fd(), (&raw const address).cast(), length) })?;
        Ok(Self(fd))
    }

    /// The next waiting uevent; `WouldBlock` when there is none. Malformed ones are skipped. An error of the kind
    /// `StorageFull` means that some were lost: look at what is there.
    pub fn next(&self) -> io::Result<Uevent> {
        let mut buffer = [0; MAX_UEVENT];
        loop {
            let (length, from_kernel) = self.receive(&mut buffer)?;
            if let Some(uevent) = buffer.get(..length).filter(|_| from_kernel).and_then(parse) {
                return Ok(uevent);
            }
        }
    }

    /// One datagram, and whether the kernel sent it: a process with the rights to can send to the group as well.
    fn receive(&self, buffer: &mut [u8]) -> io::Result<(usize, bool)> {
        // SAFETY: all zeroes is an empty address.
        let mut sender: libc::sockaddr_nl = unsafe { zeroed() };
        let mut sender_length = size_of::<libc::sockaddr_nl>() as libc::socklen_t;
        let received = uninterrupted(|| {
            // SAFETY: buffer and address are valid for the lengths given.
            check_size(unsafe {
                libc::recvfrom(
                    self.0.as_raw_fd(),
                    buffer.as_mut_ptr().cast(),
                    buffer.len(),
                    libc::MSG_DONTWAIT,
                    (&raw mut sender).cast(),
                    &mut sender_length,
                )
            })
        });
        match received {
            Ok(length) => Ok((length, sender.nl_pid == 0)),
            Err(e) if e.raw_os_error() == Some(libc::ENOBUFS) => {
                Err(io::Error::new(io::ErrorKind::StorageFull, "uevents came faster than they were read"))
            }
            Err(e) => Err(e),
        }
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsRawFd for Listener {
    fn as_raw_fd(&self) -> std::os::fd::RawFd {
        self.0.as_raw_fd()
    }
}

/// Parses one kernel uevent datagram: `ACTION@DEVPATH`, then `KEY=VALUE`, each ended by NUL.
pub fn parse(datagram: &[u8]) -> Option<Uevent> {
    let mut lines = datagram.split(|byte| *byte == 0);
    let header = text(lines.next()?)?;
    let (action, path) = header.split_once('@')?;
    let mut uevent = Uevent { action: action.into(), subsystem: String::new(), path: path.into(), node: String::new() };
    for (key, value) in lines.filter_map(|line| text(line)?.split_once('=')) {
        match key {
            "ACTION" if value != uevent.action => return None,
            "DEVPATH" if value != uevent.path => return None,
            "SUBSYSTEM" => uevent.subsystem = value.into(),
            "DEVNAME" => uevent.node = value.into(),
            _ => {}
        }
    }
    (!uevent.subsystem.is_empty()).then_some(uevent)
}

fn text(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const CAMERA: &str = "add@/devices/pci0/usb1/1-1/1-1:1.0/video4linux/video0\0ACTION=add\0\
        DEVPATH=/devices/pci0/usb1/1-1/1-1:1.0/video4linux/video0\0SUBSYSTEM=video4linux\0MAJOR=81\0MINOR=0\0\
        DEVNAME=video0\0SEQNUM=2345\0";

    #[test]
    fn a_cameras_uevent_is_understood() {
        let uevent = parse(CAMERA.as_bytes()).unwrap();
        assert_eq!(uevent.action, "add");
        assert_eq!(uevent.subsystem, "video4linux");
        assert_eq!(uevent.path, "/devices/pci0/usb1/1-1/1-1:1.0/video4linux/video0");
        assert_eq!(uevent.node, "video0");
    }

    #[test]
    fn a_uevent_without_a_node_is_one_too() {
        let uevent = parse(b"remove@/devices/x\0ACTION=remove\0DEVPATH=/devices/x\0SUBSYSTEM=usb\0").unwrap();
        assert_eq!((uevent.action.as_str(), uevent.node.as_str()), ("remove", ""));
    }

    #[test]
    fn what_is_no_uevent_of_the_kernel_is_skipped() {
        for datagram in [
            &b""[..],
            b"\0",
            b"add",
            b"libudev\0\xfe\xed\xca\xfe",
            b"add@/devices/x\0ACTION=add\0",
            b"add@/devices/x\0ACTION=remove\0SUBSYSTEM=usb\0",
            b"add@/devices/x\0DEVPATH=/devices/y\0SUBSYSTEM=usb\0",
            b"\xff\xff@/devices/x\0SUBSYSTEM=usb\0",
        ] {
            assert_eq!(parse(datagram), None, "{}", String::from_utf8_lossy(datagram));
        }
    }

    #[test]
    fn an_open_listener_does_not_wait() {
        let listener = Listener::open().unwrap();
        // Devices of the machine may come and go while this runs.
        for _ in 0..1000 {
            match listener.next() {
                Ok(_) => {}
                Err(e) => return assert_eq!(e.kind(), io::ErrorKind::WouldBlock),
            }
        }
        panic!("1000 uevents in a row");
    }

    proptest! {
        #[test]
        fn no_datagram_can_crash_the_parser(datagram in prop::collection::vec(any::<u8>(), 0..300)) {
            parse(&datagram);
        }

        #[test]
        fn no_damage_to_a_uevent_can_crash_the_parser(at in 0..CAMERA.len(), byte: u8, cut in 0..CAMERA.len()) {
            let mut datagram = CAMERA.as_bytes().to_vec();
            datagram[at] = byte;
            datagram.truncate(cut.max(at + 1));
            if let Some(uevent) = parse(&datagram) {
                prop_assert!(!uevent.subsystem.is_empty());
            }
        }
    }
}
