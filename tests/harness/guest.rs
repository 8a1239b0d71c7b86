//! A small arm64 board under QEMU with real kernel drivers, its console read line by line.

use crate::process::{Log, Process};
use crate::{Card, paths, poll};
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Command, Stdio};
use std::time::Duration;

/// From power-on to the test script: 3 s when idle, 20 s with systemd, more beside a busy build.
const BOOT: Duration = Duration::from_secs(120);

/// The host's loopback, as QEMU's user network shows it to the guest.
pub const HOST: &str = "10.0.2.2";

/// A running guest, killed on drop.
#[derive(Debug)]
pub struct Guest {
    process: Process,
    stdin: ChildStdin,
    folder: PathBuf,
    asked: u32,
}

impl Guest {
    /// Boots the base image with these files (path in the guest, mode, content) beside it and runs `script`.
    pub fn boot(name: &str, files: &[File<'_>], script: &str) -> Self {
        Self::boot_on(name, files, script, &[])
    }

    /// The same on a machine that differs by these options of QEMU.
    pub fn boot_on(name: &str, files: &[File<'_>], script: &str, machine: &[&str]) -> Self {
        Self::start(name, |tree| place_all(tree, files, script), &[&["-m", "512"], machine].concat())
    }

    /// The same on a Debian with systemd, whose disk forgets what was written.
    pub fn boot_systemd(name: &str, files: &[File<'_>], script: &str) -> Self {
        let disk = format!("file={},if=virtio,format=raw,snapshot=on", paths::guest_systemd().display());
        Self::boot_disk(name, files, script, &disk)
    }

    /// The same from a card's second partition, which keeps what is written.
    pub fn boot_card(name: &str, card: &Card, script: &str) -> Self {
        Self::boot_disk(name, &[], script, &format!("file={},if=virtio,format=raw", card.path().display()))
    }

    fn boot_disk(name: &str, files: &[File<'_>], script: &str, disk: &str) -> Self {
        let fill = |tree: &Path| {
            let init = paths::root().join("tests/guest/init-systemd");
            place(tree, "init", 0o755, &Content::File(&init));
            place_all(&tree.join("files"), files, script);
        };
        Self::start(name, fill, &["-m", "1024", "-drive", disk])
    }

    fn start(name: &str, fill: impl FnOnce(&Path), machine: &[&str]) -> Self {
        let folder = std::env::temp_dir().join(format!("guest-{}-{name}", std::process::id()));
        let tree = folder.join("tree");
        fill(&tree);
        let initrd = folder.join("initrd");
        append_archive(&paths::guest_image().join("base.cpio.gz"), &tree, &initrd);
        let mut command = Command::new("qemu-system-aarch64");
        // Time that counts instructions can be that of one thread alone.
        let threads = if machine.contains(&"-icount") { "tcg,thread=single" } else { "tcg,thread=multi" };
        command.args(["-M", "virt", "-cpu", "cortex-a72", "-smp", "2", "-accel", threads]).args(machine);
        command.args(["-nographic", "-no-reboot", "-append", "console=ttyAMA0 quiet panic=-1 net.ifnames=0"]);
        command.args(["-netdev", "user,id=n", "-device", "virtio-net-pci,netdev=n,romfile="]);
        // A card with a mixer, for tests that load its driver.
        command.args(["-device", "qemu-xhci", "-audiodev", "none,id=a", "-device", "usb-audio,audiodev=a"]);
        command.arg("-kernel").arg(paths::guest_image().join("vmlinuz")).arg("-initrd").arg(&initrd);
        let mut process = Process::start_talking("guest", command.stdin(Stdio::piped()));
        let stdin = process.take_stdin();
        let guest = Self { process, stdin, folder, asked: 0 };
        guest.wait_console("guest: ready", BOOT);
        guest
    }

    /// Waits until the console has a line with this text.
    #[track_caller]
    pub fn wait_console(&self, text: &str, limit: Duration) -> String {
        poll::until(&format!("the guest says {text:?}"), limit, || self.console().find(&[text]).map(|line| line.text))
    }

    /// Types a line on its console, where a script can read it.
    #[track_caller]
    pub fn type_line(&mut self, line: &str) {
        writeln!(self.stdin, "{line}").expect("the guest is running");
    }

    /// Has a script that runs what is typed run a command, and gives what that prints, on one line, with its exit code at the
    /// end.
    #[track_caller]
    pub fn run(&mut self, command: &str, limit: Duration) -> String {
        self.asked += 1;
        let (mark, end) = (format!("<{}>", self.asked), format!("</{}>", self.asked));
        self.type_line(&format!("out=$({command} 2>&1); code=$?; echo '{mark}' $out $code '{end}'"));
        let line = self.wait_console(&end, limit);
        let (_, rest) = line.split_once(&mark).unwrap_or_else(|| panic!("{line:?}"));
        rest.split(&end).next().unwrap_or_default().trim().to_owned()
    }

    /// The same for one that must succeed.
    #[track_caller]
    pub fn must(&mut self, command: &str, limit: Duration) -> String {
        let out = self.run(command, limit);
        let Some(out) = out.strip_suffix('0') else { panic!("{command}: {out}") };
        out.trim().to_owned()
    }

    /// What it printed lately.
    pub fn console(&self) -> &Log {
        &self.process.log
    }

    /// Waits until it has powered itself off.
    #[track_caller]
    pub fn wait_off(&mut self, limit: Duration) {
        self.process.wait(limit);
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.process.kill();
        // A leftover in the temporary directory is no failure.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// A file of the guest: path, mode, content.
pub type File<'a> = (&'a str, u32, Content<'a>);

/// What a file of the guest holds.
#[derive(Clone, Copy, Debug)]
pub enum Content<'a> {
    /// This text.
    Text(&'a str),
    /// The same as this file of the host.
    File(&'a Path),
}

fn place_all(tree: &Path, files: &[File<'_>], script: &str) {
    for (path, mode, content) in files {
        place(tree, path, *mode, content);
    }
    place(tree, "test.sh", 0o755, &Content::Text(script));
}

fn place(tree: &Path, path: &str, mode: u32, content: &Content<'_>) {
    use std::os::unix::fs::PermissionsExt;
    let target = tree.join(path.trim_start_matches('/'));
    fs::create_dir_all(target.parent().expect("a file lies in a folder")).expect("the temporary directory is writable");
    match content {
        Content::Text(text) => fs::write(&target, text),
        Content::File(file) => fs::copy(file, &target).map(|_| ()),
    }
    .unwrap_or_else(|error| panic!("{}: {error}", target.display()));
    fs::set_permissions(&target, fs::Permissions::from_mode(mode)).expect("the file is ours");
}

/// The kernel unpacks one archive after the other, so the base stays as it is.
fn append_archive(base: &Path, tree: &Path, initrd: &Path) {
    let mut out = fs::File::create(initrd).expect("the temporary directory is writable");
    let mut base = fs::File::open(base).unwrap_or_else(|error| panic!("{}: {error}", base.display()));
    io::copy(&mut base, &mut out).expect("the temporary directory has room");
    let mut pack = Command::new("sh");
    pack.args(["-c", "find . | cpio -o -H newc --quiet | gzip -1"]).current_dir(tree);
    let status = pack.stdin(Stdio::null()).stdout(out).status().expect("a shell is part of the base system");
    assert!(status.success(), "packing {}: {status}", tree.display());
}
