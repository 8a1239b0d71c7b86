//! The addresses of this board's network interfaces.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// One address of an interface that is up and running.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// Of the interface, e.g. `wlan0`.
    pub interface: String,
    /// Address.
    pub ip: IpAddr,
    /// Reaches this machine only.
    pub loopback: bool,
}

/// All of them, in the kernel's order. Link-local IPv6 is left out: it needs a scope that its users do not carry.
pub fn addresses() -> io::Result<Vec<Address>> {
    let mut list = std::ptr::null_mut();
    // SAFETY: getifaddrs writes one pointer to the place it is given.
    if unsafe { libc::getifaddrs(&mut list) } != 0 {
        return Err(io::Error::last_os_error());
    }
    let mut found = Vec::new();
    let mut next = list;
    while !next.is_null() {
        // SAFETY: `next` is a node of the list that getifaddrs made and that is freed only after this loop.
        let entry = unsafe { &*next };
        found.extend(address(entry));
        next = entry.ifa_next;
    }
    // SAFETY: the list came from getifaddrs, is freed once, and nothing borrowed from it is left.
    unsafe { libc::freeifaddrs(list) };
    Ok(found)
}

fn address(entry: &libc::ifaddrs) -> Option<Address> {
    let wanted = (libc::IFF_UP | libc::IFF_RUNNING) as u32;
    if entry.ifa_flags & wanted != wanted || entry.ifa_addr.is_null() {
        return None;
    }
    // SAFETY: not null; every socket address starts with its family.
    let family = i32::from(unsafe { (*entry.ifa_addr).sa_family });
    let ip = match family {
        libc::AF_INET => {
            // SAFETY: an address of this family is a sockaddr_in; getifaddrs may leave it unaligned for that.
            let address = unsafe { entry.ifa_addr.cast::<libc::sockaddr_in>().read_unaligned() };
            IpAddr::V4(Ipv4Addr::from(u32::from_be(address.sin_addr.s_addr)))
        }
        libc::AF_INET6 => {
            // SAFETY: an address of this family is a sockaddr_in6; getifaddrs may leave it unaligned for that.
            let address = unsafe { entry.ifa_addr.cast::<libc::sockaddr_in6>().read_unaligned() };
            IpAddr::V6(Ipv6Addr::from(address.sin6_addr.s6_addr))
        }
        _ => return None,
    };
    if matches!(ip, IpAddr::V6(v6) if v6.is_unicast_link_local()) {
        return None;
    }
    // SAFETY: the name is a terminated string that lives as long as the list.
    let name = unsafe { std::ffi::CStr::from_ptr(entry.ifa_name) };
    let loopback = entry.ifa_flags & libc::IFF_LOOPBACK as u32 != 0;
    Some(Address { interface: name.to_string_lossy().into_owned(), ip, loopback })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_interface_is_found_and_marked_as_such() {
        let found = addresses().expect("this machine lists its interfaces");
        let loopback = found.iter().find(|a| a.ip == IpAddr::V4(Ipv4Addr::LOCALHOST)).expect("127.0.0.1 is up");
        assert!(loopback.loopback);
        assert_eq!(loopback.interface, "lo");
    }
}
