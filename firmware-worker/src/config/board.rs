//! What a flashed board takes from the file on its boot partition beside the worker's own settings: `[board]` and `[wifi]`.
//! Elsewhere both are checked and nothing more.

use super::Error;
use super::meaning::wrong;
use protocol::secret::Secret;
use serde::Deserialize;
use std::net::IpAddr;

/// `[board]`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BoardWritten {
    /// Name in the network.
    pub hostname: Option<String>,
    /// A ready token; moved to where only the worker reads it.
    pub token: Option<Secret>,
    /// The secret of `[server] api_key`; moved as well.
    pub api_secret: Option<Secret>,
    /// Public keys that may log in; none, no SSH.
    pub ssh_keys: Vec<String>,
    /// Servers of time, before those that the network names.
    pub ntp: Vec<String>,
    /// Of the cable: `192.168.1.20/24`; without it DHCP.
    pub address: Option<String>,
    /// Of the cable.
    pub gateway: Option<String>,
    /// Of the cable.
    pub dns: Vec<String>,
}

/// `[wifi]`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WifiWritten {
    /// Two letters, for the channels and powers allowed there.
    pub country: Option<String>,
    /// Name of the network.
    pub ssid: Option<String>,
    /// Its passphrase; moved to where only the system reads it.
    pub password: Option<Secret>,
    /// The network has no password.
    pub open: Option<bool>,
    /// The network does not tell its name.
    pub hidden: Option<bool>,
    /// Of the radio: `192.168.1.20/24`; without it DHCP.
    pub address: Option<String>,
    /// Of the radio.
    pub gateway: Option<String>,
    /// Of the radio.
    pub dns: Vec<String>,
}

/// Both tables, checked.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Board {
    /// Name in the network.
    pub hostname: Option<String>,
    /// Public keys, one line each.
    pub ssh_keys: Vec<String>,
    /// Names or addresses.
    pub ntp: Vec<String>,
    /// Of the cable, where it is fixed.
    pub wired: Option<Addresses>,
    /// The radio's network.
    pub wifi: Option<Wifi>,
}

/// Fixed addresses of an interface.
#[derive(Clone, Debug, PartialEq)]
pub struct Addresses {
    /// With the length of the network's prefix.
    pub address: (IpAddr, u8),
    /// The way out.
    pub gateway: Option<IpAddr>,
    /// Who knows names.
    pub dns: Vec<IpAddr>,
}

/// A wireless network.
#[derive(Clone, Debug, PartialEq)]
pub struct Wifi {
    /// ISO 3166.
    pub country: String,
    /// Up to 32 bytes.
    pub ssid: String,
    /// It has no password.
    pub open: bool,
    /// It does not tell its name.
    pub hidden: bool,
    /// Where they are fixed.
    pub addresses: Option<Addresses>,
}

/// What is written under `[board]` and `[wifi]`, or the first thing wrong with it.
pub(super) fn board(written: &BoardWritten, wifi: Option<&WifiWritten>) -> Result<Board, Error> {
    if let Some(name) = written.hostname.as_deref().filter(|name| !is_host_name(name)) {
        return Err(wrong(
            "board hostname",
            format!("{name:?} is not up to 63 letters, digits and '-', with no '-' at its ends"),
        ));
    }
    if let Some(key) = written.ssh_keys.iter().find(|key| !is_public_key(key)) {
        let start: String = key.chars().take(16).collect();
        return Err(wrong(
            "board ssh_keys",
            format!("\"{start}...\" is no line of a file .pub (ssh-ed25519 AAAA... you@there)"),
        ));
    }
    if let Some(server) = written.ntp.iter().find(|server| server.is_empty() || server.contains(char::is_whitespace)) {
        return Err(wrong("board ntp", format!("{server:?} is no name of a server")));
    }
    for (key, secret) in [("board token", &written.token), ("board api_secret", &written.api_secret)] {
        let strange = |c: char| !c.is_ascii_alphanumeric() && !"-_.~+/=".contains(c);
        if secret.as_ref().is_some_and(|secret| secret.expose().contains(strange)) {
            return Err(wrong(key, "holds a space, a quote or another character that it cannot have"));
        }
    }
    Ok(Board {
        hostname: written.hostname.clone(),
        ssh_keys: written.ssh_keys.iter().map(|key| key.trim().to_owned()).collect(),
        ntp: written.ntp.clone(),
        wired: addresses("board", written.address.as_deref(), written.gateway.as_deref(), &written.dns)?,
        wifi: wifi.map(network).transpose()?,
    })
}

fn network(written: &WifiWritten) -> Result<Wifi, Error> {
    let Some(country) = &written.country else {
        return Err(wrong(
            "wifi country",
            "is missing: two letters (\"DE\"), as each country allows other channels and powers",
        ));
    };
    if country.len() != 2 || !country.bytes().all(|byte| byte.is_ascii_uppercase()) {
        return Err(wrong("wifi country", format!("{country:?} is not two capital letters, like \"DE\"")));
    }
    let ssid = written.ssid.clone().unwrap_or_default();
    if ssid.is_empty() || ssid.len() > 32 {
        return Err(wrong("wifi ssid", format!("{ssid:?} is not the name of a network: 1 to 32 bytes")));
    }
    let open = written.open.unwrap_or(false);
    if let Some(password) = written.password.as_ref().map(Secret::expose).filter(|password| !password.is_empty()) {
        if open {
            return Err(wrong("wifi open", "is true, and there is a password too; keep one of them"));
        }
        if !(8..=63).contains(&password.len()) || !password.bytes().all(|byte| (b' '..=b'~').contains(&byte)) {
            return Err(wrong("wifi password", "is not 8 to 63 characters of ASCII, as WPA wants them"));
        }
    }
    Ok(Wifi {
        country: country.clone(),
        ssid,
        open,
        hidden: written.hidden.unwrap_or(false),
        addresses: addresses("wifi", written.address.as_deref(), written.gateway.as_deref(), &written.dns)?,
    })
}

fn addresses(
    table: &str,
    address: Option<&str>,
    gateway: Option<&str>,
    dns: &[String],
) -> Result<Option<Addresses>, Error> {
    let parse = |key: &str, text: &str| {
        text.parse::<IpAddr>().map_err(|_| wrong(format!("{table} {key}"), format!("{text:?} is no IP address")))
    };
    let Some(text) = address else {
        let without = if gateway.is_some() { "gateway" } else { "dns" };
        let alone = gateway.is_some() || !dns.is_empty();
        return if alone { Err(wrong(format!("{table} {without}"), "needs an `address` beside it")) } else { Ok(None) };
    };
    let prefixed = text.split_once('/').and_then(|(ip, length)| Some((ip.parse().ok()?, length.parse().ok()?)));
    let Some(address) = prefixed.filter(|(ip, length): &(IpAddr, u8)| *length <= if ip.is_ipv4() { 32 } else { 128 })
    else {
        return Err(wrong(format!("{table} address"), format!("{text:?} is not like \"192.168.1.20/24\"")));
    };
    let gateway = gateway.map(|text| parse("gateway", text)).transpose()?;
    let dns = dns.iter().map(|text| parse("dns", text)).collect::<Result<_, _>>()?;
    Ok(Some(Addresses { address, gateway, dns }))
}

fn is_host_name(name: &str) -> bool {
    let plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    plain && (1..=63).contains(&name.len()) && !name.starts_with('-') && !name.ends_with('-')
}

/// Kind, base64 and a comment, in one line.
fn is_public_key(line: &str) -> bool {
    let mut words = line.split_whitespace();
    // "sk-": of a key that a device holds.
    let kind = words.next().map(|kind| kind.strip_prefix("sk-").unwrap_or(kind));
    let kind = kind.is_some_and(|kind| kind.starts_with("ssh-") || kind.starts_with("ecdsa-"));
    kind && words.next().is_some_and(|key| key.starts_with("AAAA")) && !line.trim().contains(['\n', '\r'])
}
