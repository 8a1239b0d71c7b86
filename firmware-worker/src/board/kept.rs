//! What is kept on the data partition: the last good settings, and the secrets that came with them.

use super::file::{Boot, PRIVATE};
use super::{Error, file};
use crate::config::{Board, Wifi, Written};
use crate::net::certificates;
use protocol::secret::Secret;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The worker's environment, as systemd reads it.
const CREDENTIALS: &str = "credentials";

/// The settings before the last ones.
const BEFORE: &str = "before.toml";

/// The data partition.
pub(super) struct Kept {
    /// `board/` on it.
    folder: PathBuf,
    /// iwd's own folder.
    networks: PathBuf,
    /// Why nothing lasts, if so.
    trouble: Option<String>,
}

/// Secrets of the worker.
#[derive(Default)]
pub(super) struct Secrets {
    token: Option<Secret>,
    api_secret: Option<Secret>,
}

impl Secrets {
    /// The settings with these, where they say none themselves.
    pub(super) fn fill(&self, mut written: Written) -> Written {
        written.server.token = self.token.clone();
        written.server.api_secret = self.api_secret.clone();
        written
    }

    fn text(&self) -> String {
        let named = [("LIVEKIT_TOKEN", &self.token), ("LIVEKIT_API_SECRET", &self.api_secret)];
        // The configuration lets no secret pass that has quotes or spaces.
        let line = |(name, secret): (_, &Option<Secret>)| secret.as_ref().map(|s| format!("{name}={}\n", s.expose()));
        named.into_iter().filter_map(line).collect()
    }
}

impl Kept {
    pub(super) fn under(root: &Path) -> Self {
        // The initramfs says so, and has put memory in the partition's place.
        let trouble = fs::read_to_string(root.join("run/data-error")).ok();
        Self { folder: root.join("data/board"), networks: root.join("data/iwd"), trouble }
    }

    /// Why nothing lasts, if so.
    pub(super) fn trouble(&self) -> Option<&str> {
        self.trouble.as_deref().map(str::trim)
    }

    pub(super) fn settings(&self) -> Option<String> {
        fs::read_to_string(self.folder.join(file::NAME)).ok()
    }

    pub(super) fn settings_before(&self) -> Option<String> {
        fs::read_to_string(self.folder.join(BEFORE)).ok()
    }

    /// Puts the settings before the last ones in their place, on a full card too.
    pub(super) fn go_back(&self) -> Result<(), Error> {
        let path = self.folder.join(file::NAME);
        fs::rename(self.folder.join(BEFORE), &path).map_err(|source| Error::File { call: "replace", path, source })
    }

    /// The secret that is kept for this variable.
    pub(super) fn secret(&self, variable: &str) -> Option<String> {
        let text = fs::read_to_string(self.folder.join(CREDENTIALS)).ok()?;
        text.lines().find_map(|line| line.strip_prefix(variable)?.strip_prefix('=')).map(str::to_owned)
    }

    /// The secrets that count with these settings: those in them, else those kept, and only of the kind that they ask for.
    pub(super) fn with(&self, written: &Written) -> Secrets {
        let kept = |name: &str| self.secret(name).map(Secret::new);
        if written.server.api_key.is_some() {
            let given = written.server.api_secret.clone();
            let api_secret = given.or_else(|| kept("LIVEKIT_API_SECRET"));
            return Secrets { token: written.server.token.clone(), api_secret };
        }
        let given = written.server.token.clone();
        Secrets { token: given.or_else(|| kept("LIVEKIT_TOKEN")), api_secret: written.server.api_secret.clone() }
    }

    pub(super) fn save(&self, settings: &str, secrets: &Secrets) -> Result<(), Error> {
        // First what the settings need.
        self.put(&self.folder.join(CREDENTIALS), &secrets.text())?;
        // A program that an update is rolled back to may not know every key of the new ones.
        if let Some(last) = self.settings().filter(|last| last != settings) {
            self.put(&self.folder.join(BEFORE), &last)?;
        }
        self.put(&self.folder.join(file::NAME), settings)
    }

    /// Judges the certificates that the settings name, and keeps those in a file beside them where the worker looks for it:
    /// beside the settings that are kept. What is worth knowing of it.
    pub(super) fn save_authority(&self, boot: &Boot, written: &Written) -> Result<Option<String>, String> {
        let Some(path) = written.server.ca_file.as_deref() else { return Ok(None) };
        let wrong = |why: &str| Err(format!("server ca_file {:?}: {why}", path.display()));
        let ours = [CREDENTIALS, BEFORE, file::NAME].map(Path::new).contains(&path)
            || path.to_string_lossy().ends_with(file::UNFINISHED);
        let beside = path.is_relative();
        if beside && (ours || path.file_name() != Some(path.as_os_str())) {
            return wrong("must be the name of a file beside firmware-worker.toml");
        }
        match certificates(&boot.named(path)) {
            Ok(text) if beside => self.put(&self.folder.join(path), &text).map(|()| None).map_err(|e| e.to_string()),
            Ok(_) => Ok(None),
            Err(e) if e.kind() != io::ErrorKind::NotFound => wrong(&e.to_string()),
            Err(_) if !beside => wrong("there is no such file on the board"),
            Err(_) if self.folder.join(path).exists() => {
                Ok(Some(format!("{} is not beside {}; the one kept before is used.", path.display(), file::NAME)))
            }
            Err(_) => wrong("there is no such file beside firmware-worker.toml"),
        }
    }

    /// A network whose password is not given must be one that is known.
    pub(super) fn network_is_known(&self, written: &Written, board: &Board) -> Result<(), String> {
        let Some(wifi) = board.wifi.as_ref().filter(|wifi| !wifi.open) else { return Ok(()) };
        if password(written).is_some() || self.networks.join(network_file(wifi)).exists() {
            return Ok(());
        }
        Err(format!(
            "wifi password: none is kept for {:?}: write `password`, or `open = true` if there is none",
            wifi.ssid
        ))
    }

    /// The one network, as iwd reads it (iwd.network(5)).
    pub(super) fn save_network(&self, written: &Written, board: &Board) -> Result<(), Error> {
        let wanted = board.wifi.as_ref().map(network_file);
        self.forget_networks(wanted.as_deref());
        let Some(wifi) = &board.wifi else { return Ok(()) };
        let path = self.networks.join(network_file(wifi));
        let hidden = if wifi.hidden { "[Settings]\nHidden=true\n" } else { "" };
        let kept = fs::read_to_string(&path).unwrap_or_default();
        let text = match password(written) {
            Some(password) => format!("[Security]\nPassphrase={}\n{hidden}", escaped(password.expose())),
            None if wifi.open => hidden.to_owned(),
            // iwd adds lines of its own, which are as good as ours.
            None if kept.contains("Hidden=true") == wifi.hidden => return Ok(()),
            None => {
                let security =
                    kept.lines().filter(|line| line.starts_with("Passphrase=") || line.starts_with("PreSharedKey="));
                format!("[Security]\n{}\n{hidden}", security.collect::<Vec<_>>().join("\n"))
            }
        };
        self.put(&path, &text)
    }

    /// Of this network, if it has one, escaped as it is kept.
    pub(super) fn passphrase(&self, wifi: &Wifi) -> Option<String> {
        let text = fs::read_to_string(self.networks.join(network_file(wifi))).ok()?;
        text.lines().find_map(|line| line.strip_prefix("Passphrase=")).map(str::to_owned)
    }

    /// Removes the networks of earlier settings.
    fn forget_networks(&self, wanted: Option<&str>) {
        for entry in fs::read_dir(&self.networks).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let network = Path::new(&name).extension().is_some_and(|kind| kind == "psk" || kind == "open");
            if network && name.to_str() != wanted {
                // One that stays is one more network to join.
                let _ = fs::remove_file(entry.path());
            }
        }
    }

    fn put(&self, path: &Path, text: &str) -> Result<(), Error> {
        if fs::read(path).is_ok_and(|old| old == text.as_bytes()) {
            return Ok(());
        }
        file::replace(path, text.as_bytes(), PRIVATE)
    }
}

fn password(written: &Written) -> Option<&Secret> {
    written.wifi.as_ref()?.password.as_ref().filter(|password| !password.expose().is_empty())
}

/// A backslash begins an escape there, and a space at an end would not be read.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace(' ', "\\s")
}

/// As iwd names it: the network's name where that is plain, else its bytes in hexadecimal.
fn network_file(wifi: &Wifi) -> String {
    let plain = wifi.ssid.bytes().all(|byte| byte.is_ascii_alphanumeric() || b" _-".contains(&byte));
    let name = if plain {
        wifi.ssid.clone()
    } else {
        wifi.ssid.bytes().fold(String::from("="), |name, byte| format!("{name}{byte:02x}"))
    };
    format!("{name}.{}", if wifi.open { "open" } else { "psk" })
}
