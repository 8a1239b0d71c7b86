//! What systemd, iwd and the SSH server read: all of it in memory but the keys, which are looked for on the data partition.

use super::kept::Kept;
use super::{Error, file, network_manager};
use crate::config::{Addresses, Board};
use std::fs;
use std::path::Path;

/// Of a file without a secret.
const PUBLIC: u32 = 0o644;

/// Writes it all below `root`, and removes what is no longer meant.
pub(super) fn write(root: &Path, board: &Board, kept: &Kept) -> Result<(), Error> {
    let put = |path: &str, text: Option<String>| place(&root.join(path), text.as_deref(), PUBLIC);
    if network_manager::is_on(root) {
        network_manager::write(root, board, kept)?;
    } else {
        let radio = board.wifi.as_ref().and_then(|wifi| wifi.addresses.as_ref());
        put("run/systemd/network/10-wired.network", board.wired.as_ref().map(|wired| network("ether", wired)))?;
        put("run/systemd/network/10-wifi.network", radio.map(|radio| network("wlan", radio)))?;
        let country = board.wifi.as_ref().map(|wifi| format!("[General]\nCountry={}\n", wifi.country));
        put("etc/iwd/main.conf", country)?;
    }
    let ntp = (!board.ntp.is_empty()).then(|| format!("[Time]\nNTP={}\n", board.ntp.join(" ")));
    put("run/systemd/timesyncd.conf.d/board.conf", ntp)?;
    let keys = (!board.ssh_keys.is_empty()).then(|| board.ssh_keys.join("\n") + "\n");
    put("data/ssh/authorized_keys", keys)?;
    match &board.hostname {
        Some(name) => host(root, name),
        None => Ok(()),
    }
}

/// The kernel's name for now, and those that programs read.
fn host(root: &Path, name: &str) -> Result<(), Error> {
    place(&root.join("etc/hostname"), Some(&format!("{name}\n")), PUBLIC)?;
    let hosts = root.join("etc/hosts");
    let text = fs::read_to_string(&hosts).unwrap_or_default();
    // Debian's line for its own name, where it has one.
    if let Some(line) = text.lines().find(|line| line.starts_with("127.0.1.1")) {
        place(&hosts, Some(&text.replace(line, &format!("127.0.1.1\t{name}"))), PUBLIC)?;
    }
    let kernel = root.join("proc/sys/kernel/hostname");
    fs::write(&kernel, name).map_err(|source| Error::File { call: "write", path: kernel, source })
}

/// systemd.network(5). Before the image's own files, by its number.
fn network(kind: &str, fixed: &Addresses) -> String {
    let (address, prefix) = fixed.address;
    // A bridge or a tunnel is an "ether" too, with a kind of its own.
    let mut text = format!("[Match]\nType={kind}\nKind=!*\n\n[Network]\nAddress={address}/{prefix}\n");
    text.extend(fixed.gateway.iter().map(|gateway| format!("Gateway={gateway}\n")));
    text.extend(fixed.dns.iter().map(|dns| format!("DNS={dns}\n")));
    text
}

/// Writes a file, or removes it.
pub(super) fn place(path: &Path, text: Option<&str>, mode: u32) -> Result<(), Error> {
    let failed = |call| move |source| Error::File { call, path: path.to_owned(), source };
    let Some(text) = text else {
        return match fs::remove_file(path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(failed("remove")(error)),
            _ => Ok(()),
        };
    };
    // A card has so many writes, and a full one takes none.
    if fs::read(path).is_ok_and(|old| old == text.as_bytes()) {
        return Ok(());
    }
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(failed("make the folder of"))?;
    }
    file::replace(path, text.as_bytes(), mode)
}
