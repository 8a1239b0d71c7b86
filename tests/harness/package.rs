//! Targets and their packages, as `tools/package` makes them.

use crate::paths;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A target and what its board demands.
#[derive(Debug)]
pub struct Target {
    /// As `tools/cross` names it.
    pub triple: &'static str,
    /// As Debian names it.
    pub architecture: &'static str,
    /// Bytes of the stripped binary at most.
    pub binary_limit: u64,
    /// What runs its programs on a PC, with arguments.
    pub emulator: Option<&'static [&'static str]>,
}

/// All that are shipped: the files in `cross/`.
pub const TARGETS: [Target; 3] = [
    Target {
        triple: "aarch64-unknown-linux-gnu",
        architecture: "arm64",
        binary_limit: 8_000_000,
        emulator: Some(&["qemu-aarch64-static"]),
    },
    Target {
        triple: "armv7-unknown-linux-gnueabihf",
        architecture: "armhf",
        binary_limit: 7_000_000,
        emulator: Some(&["qemu-arm-static", "-L", "/usr/arm-linux-gnueabihf"]),
    },
    Target { triple: "x86_64-unknown-linux-gnu", architecture: "amd64", binary_limit: 9_000_000, emulator: None },
];

impl Target {
    /// Linking one takes minutes, so that all but the first wait for the long run; 32-bit ARM is built on Debian 12 alone.
    pub fn is_tested(&self) -> bool {
        let long_run = std::env::var_os("SOAK").is_some();
        self.architecture == TARGETS[0].architecture
            || long_run && (self.architecture != "armhf" || debian_release() == "12")
    }

    /// Runs a program of this target.
    pub fn command(&self, program: &Path) -> Command {
        let Some([emulator, arguments @ ..]) = self.emulator else {
            return Command::new(program);
        };
        let mut command = Command::new(emulator);
        command.args(arguments);
        if self.architecture == "armhf" {
            // ALSA is not part of the cross compiler's libraries.
            let library = paths::armhf_sysroot().join("usr/lib/arm-linux-gnueabihf");
            command.arg("-E").arg(format!("LD_LIBRARY_PATH={}", library.display()));
        }
        command.arg(program);
        command
    }
}

/// `VERSION_ID` of this machine.
pub fn debian_release() -> String {
    let text = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
    let value = text.lines().find_map(|line| line.strip_prefix("VERSION_ID=")).unwrap_or_default();
    value.trim_matches('"').to_owned()
}

/// Its .deb, built now unless `tools/test` has built it.
#[track_caller]
pub fn deb(target: &Target) -> PathBuf {
    let variable = format!("PACKAGE_{}", target.architecture.to_uppercase());
    paths::made(&variable, "tools/package", target.triple)
}

/// Packs a binary that is there already, whatever the last commit's time.
#[track_caller]
pub fn pack(binary: &Path, target: &Target, revision: &str) -> PathBuf {
    pack_by_way_of(&std::env::temp_dir(), binary, target, revision)
}

/// The same with its files laid out in this folder meanwhile.
#[track_caller]
pub fn pack_by_way_of(folder: &Path, binary: &Path, target: &Target, revision: &str) -> PathBuf {
    let mut command = Command::new(paths::root().join("tools/package"));
    command.arg("--binary").arg(binary).args([target.triple, revision]).env("SOURCE_DATE_EPOCH", "1700000000");
    let output = command.env("TMPDIR", folder).output();
    let output = output.expect("part of the checkout");
    let text = String::from_utf8_lossy(&output.stdout);
    let path = text.lines().last().map(PathBuf::from).filter(|path| path.exists());
    path.unwrap_or_else(|| panic!("tools/package: {}", String::from_utf8_lossy(&output.stderr)))
}

/// Unpacks a .deb into a folder of its own, which stays until the machine forgets its temporary files.
#[track_caller]
pub fn unpack(deb: &Path) -> PathBuf {
    let name = deb.file_stem().expect("a package has a name").to_string_lossy().into_owned();
    let folder = std::env::temp_dir().join(format!("{name}-{}", std::process::id()));
    let status = Command::new("dpkg-deb").arg("-x").arg(deb).arg(&folder).status();
    assert!(status.expect("dpkg is part of Debian").success(), "{}", deb.display());
    folder
}

/// The C library and ALSA of Debian 13 for PCs.
pub fn debian_13() -> PathBuf {
    paths::made("DEBIAN_13", "tools/guest", "debian-13")
}
