//! What systemd, iwd and dropbear read: all of it in memory but the keys, which dropbear looks for on the data partition.

use super::{Error, file};
use crate::config::{Addresses, Board};
use std::fs;
use std::path::Path;

/// Writes it all below `root`, and removes what is no longer meant.
pub(super) fn write(root: &Path, board: &Board) -> Result<(), Error> {
    let put = |path: &str, text: Option<String>| place(&root.join(path), text.as_deref());
    let radio = board.wifi.as_ref().and_then(|wifi| wifi.addresses.as_ref());
    put("run/systemd/network/10-wired.network", board.wired.as_ref().map(|wired| network("ether", wired)))?;
    put("run/systemd/network/10-wifi.network", radio.map(|radio| network("wlan", radio)))?;
    let ntp = (!board.ntp.is_empty()).then(|| format!("[Time]\nNTP={}\n", board.ntp.join(" ")));
    put("run/systemd/timesyncd.conf.d/board.conf", ntp)?;
    let country = board.wifi.as_ref().map(|wifi| format!("[General]\nCountry={}\n", wifi.country));
    put("etc/iwd/main.conf", country)?;
    let keys = (!board.ssh_keys.is_empty()).then(|| board.ssh_keys.join("\n") + "\n");
    put("data/ssh/authorized_keys", keys)?;
    match &board.hostname {
        Some(name) => host(root, name),
        None => Ok(()),
    }
}

/// The kernel's name for now, and the one that programs read.
fn host(root: &Path, name: &str) -> Result<(), Error> {
    place(&root.join("etc/hostname"), Some(&format!("{name}\n")))?;
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

fn place(path: &Path, text: Option<&str>) -> Result<(), Error> {
    let failed = |call| move |source| Error::File { call, path: path.to_owned(), source };
    let Some(text) = text else {
        return match fs::remove_file(path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(failed("remove")(error)),
            _ => Ok(()),
        };
    };
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(failed("make the folder of"))?;
    }
    file::replace(path, text.as_bytes(), 0o644)
}
