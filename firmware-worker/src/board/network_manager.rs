//! What NetworkManager reads where the system has it, as Raspberry Pi OS does: connections in memory (nm-settings-keyfile(5)),
//! and the country for the service that switches the radio on.

use super::Error;
use super::file::PRIVATE;
use super::kept::Kept;
use super::system::place;
use crate::config::{Addresses, Board, Wifi};
use std::net::IpAddr;
use std::path::Path;

/// Of a system that has it.
const SETTINGS: &str = "etc/NetworkManager";

/// It reads no file there that others could.
const CONNECTIONS: &str = "run/NetworkManager/system-connections";

/// Variables of firmware-worker-radio.service.
const RADIO: &str = "run/firmware-worker-radio";

pub(super) fn is_on(root: &Path) -> bool {
    root.join(SETTINGS).is_dir()
}

pub(super) fn write(root: &Path, board: &Board, kept: &Kept) -> Result<(), Error> {
    let put = |name: &str, text: Option<String>| {
        place(&root.join(format!("{CONNECTIONS}/firmware-worker-{name}.nmconnection")), text.as_deref(), PRIVATE)
    };
    put("wired", board.wired.as_ref().map(|fixed| head("ethernet") + &addresses(Some(fixed))))?;
    put("wifi", board.wifi.as_ref().map(|wifi| wireless(wifi, kept.passphrase(wifi).as_deref())))?;
    let country = board.wifi.as_ref().map(|wifi| format!("COUNTRY={}\n", wifi.country));
    place(&root.join(RADIO), country.as_deref(), PRIVATE)
}

/// Before connections that the system came with.
fn head(kind: &str) -> String {
    format!("[connection]\nid=firmware-worker-{kind}\ntype={kind}\nautoconnect-priority=100\n\n")
}

/// With a passphrase as iwd's file has it, whose escapes are the same.
fn wireless(wifi: &Wifi, passphrase: Option<&str>) -> String {
    // As numbers, no byte of it has a meaning there.
    let ssid = wifi.ssid.bytes().map(|byte| format!("{byte};")).collect::<String>();
    let hidden = if wifi.hidden { "hidden=true\n" } else { "" };
    let security = passphrase
        .map(|passphrase| format!("[wifi-security]\nkey-mgmt=wpa-psk\npsk={passphrase}\n\n"))
        .unwrap_or_default();
    format!("{}[wifi]\nssid={ssid}\n{hidden}\n{security}{}", head("wifi"), addresses(wifi.addresses.as_ref()))
}

fn addresses(fixed: Option<&Addresses>) -> String {
    let section = |name: &str, ours: fn(&IpAddr) -> bool, without: &str| match fixed {
        None => format!("[{name}]\nmethod=auto\n"),
        Some(fixed) if !ours(&fixed.address.0) => format!("[{name}]\nmethod={without}\n"),
        Some(Addresses { address: (address, prefix), gateway, dns }) => {
            let mut text = format!("[{name}]\nmethod=manual\naddress1={address}/{prefix}\n");
            text.extend(gateway.iter().map(|gateway| format!("gateway={gateway}\n")));
            let dns = dns.iter().filter(|dns| ours(dns)).map(|dns| format!("{dns};")).collect::<String>();
            if dns.is_empty() { text } else { format!("{text}dns={dns}\n") }
        }
    };
    section("ipv4", IpAddr::is_ipv4, "disabled") + &section("ipv6", IpAddr::is_ipv6, "auto")
}
