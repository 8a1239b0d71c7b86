//! Where the programs are that tests start. `tools/test` names them in the environment; a plain `cargo test` asks
//! `tools/setup --paths`, and builds the worker so that it is never an old one.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// Root of the checkout, as cargo names it to what it runs. What was compiled in may be that of another checkout with the
/// same target directory, as cargo takes equal sources for the same.
pub fn root() -> &'static Path {
    static ROOT: OnceLock<PathBuf> = OnceLock::new();
    ROOT.get_or_init(|| {
        let package =
            std::env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| env!("CARGO_MANIFEST_DIR").into(), PathBuf::from);
        package.parent().expect("each package lies in the workspace").to_owned()
    })
}

/// The livekit-server binary.
pub fn livekit_server() -> PathBuf {
    named("LIVEKIT_SERVER")
}

/// The Python that has the official SDK.
pub fn python() -> PathBuf {
    named("JUDGE_PYTHON")
}

/// The worker binary: `FIRMWARE_WORKER`, else built now in the profile of the test.
pub fn worker() -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT
        .get_or_init(|| match std::env::var_os("FIRMWARE_WORKER") {
            Some(path) => path.into(),
            None => build(&["--bin", "firmware-worker"]).join("firmware-worker"),
        })
        .clone()
}

/// A worker to be upgraded: another one, that was well when it was tested (`PREVIOUS_WORKER`); where there is none, this one.
pub fn previous_worker() -> PathBuf {
    std::env::var_os("PREVIOUS_WORKER").map_or_else(worker, PathBuf::from)
}

/// An example of the library, built now.
pub fn example(name: &str) -> PathBuf {
    build(&["--example", name]).join("examples").join(name)
}

/// The worker for 64-bit ARM boards, as `tools/cross` builds it.
pub fn guest_worker() -> PathBuf {
    made("GUEST_WORKER", "tools/cross", "aarch64-unknown-linux-gnu")
}

/// The device tests of `hal`, built for the same board.
pub fn guest_devices() -> PathBuf {
    made("GUEST_DEVICES", "tools/guest", "devices")
}

/// The attacks on the sandbox of `hal`, built for the same board.
pub fn guest_sandbox() -> PathBuf {
    made("GUEST_SANDBOX", "tools/guest", "sandbox")
}

/// User code that does what tests say, built for the same board.
pub fn guest_participant() -> PathBuf {
    made("GUEST_PARTICIPANT", "tools/guest", "participant")
}

/// What feeds its v4l2loopback.
pub fn guest_loopback() -> PathBuf {
    made("GUEST_LOOPBACK", "tools/guest", "loopback")
}

/// Kernel and base archive of the emulated board.
pub fn guest_image() -> PathBuf {
    made("GUEST_IMAGE", "tools/guest", "build")
}

/// Disk of the emulated board with systemd.
pub fn guest_systemd() -> PathBuf {
    made("GUEST_SYSTEMD", "tools/guest", "systemd")
}

/// The image of a board, not packed.
pub fn image(board: &str) -> PathBuf {
    let variable = format!("IMAGE_{}", board.to_uppercase().replace('-', "_"));
    made(&variable, "tools/image", board)
}

/// The private key to whose public one the board `virt` takes updates.
pub fn update_key() -> PathBuf {
    named("UPDATE_KEY")
}

/// A disk with the partitions of Raspberry Pi OS and a Debian 13, packed.
pub fn guest_rpi_os() -> PathBuf {
    made("GUEST_RPI_OS", "tools/guest", "rpi-os")
}

/// ALSA for 32-bit ARM, beside the cross compiler.
pub fn armhf_sysroot() -> PathBuf {
    named("ARMHF_SYSROOT")
}

/// A path from the environment, else the last line that a command of ours prints.
pub(crate) fn made(variable: &str, command: &str, argument: &str) -> PathBuf {
    if let Some(path) = std::env::var_os(variable) {
        return path.into();
    }
    let output = Command::new(root().join(command)).arg(argument).output().expect("part of the checkout");
    let text = String::from_utf8_lossy(&output.stdout);
    let path = text.lines().last().map(PathBuf::from).filter(|path| path.exists());
    path.unwrap_or_else(|| panic!("{command} {argument}: {}", String::from_utf8_lossy(&output.stderr)))
}

fn build(what: &[&str]) -> PathBuf {
    let test = std::env::current_exe().expect("a running test has a path");
    let profile = test.ancestors().nth(2).expect("tests run from <target>/<profile>/deps").to_owned();
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.current_dir(root()).args(["build", "--quiet", "--locked", "--workspace"]).args(what);
    command.env("CARGO_TARGET_DIR", profile.parent().expect("a profile lies in a target directory"));
    if profile.ends_with("release") {
        command.arg("--release");
    }
    let status = command.status().expect("cargo starts: it started this test");
    assert!(status.success(), "cargo build --workspace {what:?}: {status}");
    profile
}

fn named(variable: &str) -> PathBuf {
    if let Some(path) = std::env::var_os(variable) {
        return path.into();
    }
    static PATHS: OnceLock<String> = OnceLock::new();
    let paths = PATHS.get_or_init(|| {
        let output = Command::new(root().join("tools/setup")).arg("--paths").output();
        let output = output.expect("tools/setup is part of the checkout");
        String::from_utf8_lossy(&output.stdout).into_owned()
    });
    let path = paths.lines().find_map(|line| line.strip_prefix(variable)?.strip_prefix('=')).map(PathBuf::from);
    path.filter(|path| path.exists()).unwrap_or_else(|| panic!("{variable} is not there: run `tools/setup`"))
}
