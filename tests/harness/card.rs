//! An image on a card, and an emulated board that starts from it as a real one does: U-Boot, its script, the slot's kernel.

use crate::process::{Log, Process};
use crate::server::{KEY, SECRET};
use crate::{Server, guest, paths, poll, procfs};
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Command, Stdio};
use std::time::Duration;

/// From power-on to anything that a board says: 20 s when idle, more beside a busy build.
pub const BOOT: Duration = Duration::from_secs(180);

/// Bytes that a record of writes has room for: several updates.
const RECORD_LEN: u64 = 1 << 30;

/// Bytes of the second flash of QEMU's board.
const FLASH_LEN: u64 = 64 << 20;

/// Where the boot partition begins, bytes: on our images and on that for Raspberry Pi OS.
const BOOT_PARTITION: &str = "@@4M";

/// A copy of an image on a card of its own, deleted on drop.
#[derive(Debug)]
pub struct Card {
    image: PathBuf,
    folder: PathBuf,
}

impl Card {
    /// Writes the image of `board` to a card of this many MiB.
    pub fn of(board: &str, name: &str, mib: u64) -> Self {
        Self::with(paths::image(board), name, mib)
    }

    /// Writes this image.
    pub fn with(image: PathBuf, name: &str, mib: u64) -> Self {
        let folder = std::env::temp_dir().join(format!("card-{}-{name}", std::process::id()));
        fs::create_dir_all(&folder).expect("the temporary directory is writable");
        let card = Self { image, folder };
        run(Command::new("cp").arg("--sparse=always").arg(&card.image).arg(card.path()));
        card.open().set_len(mib << 20).expect("the temporary directory has room");
        card
    }

    /// A folder that is gone with it.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The card as QEMU takes it.
    pub fn path(&self) -> PathBuf {
        self.folder.join("card")
    }

    /// What was written to it while it was recorded ([`Conditions::recorded`]), as dm-log-writes lays it out.
    pub fn record_of_writes(&self) -> PathBuf {
        self.folder.join("writes")
    }

    /// For who reads and writes its blocks.
    pub fn open(&self) -> File {
        File::options().read(true).write(true).open(self.path()).expect("the card is ours")
    }

    /// Overwrites what is at this byte.
    pub fn write_at(&self, bytes: &[u8], offset: u64) {
        self.open().write_all_at(bytes, offset).expect("within the card");
    }

    /// Reads from this byte on.
    pub fn read_at<const N: usize>(&self, offset: u64) -> [u8; N] {
        let mut bytes = [0; N];
        self.open().read_exact_at(&mut bytes, offset).expect("within the card");
        bytes
    }

    /// Puts a file onto the boot partition.
    pub fn put(&self, name: &str, text: &str) {
        let file = self.folder.join(name);
        fs::write(&file, text).expect("the temporary directory is writable");
        run(Command::new("mcopy").args(["-o", "-i"]).arg(self.boot_partition()).arg(file).arg(format!("::{name}")));
    }

    /// Reads a file of the boot partition, if it has it.
    pub fn get(&self, name: &str) -> Option<Vec<u8>> {
        let mut command = Command::new("mtype");
        let output = command.arg("-i").arg(self.boot_partition()).arg(format!("::{name}")).output();
        let output = output.expect("mtools are installed: tools/setup image");
        output.status.success().then_some(output.stdout)
    }

    /// Settings for a worker that registers with this server.
    pub fn configure(&self, server: &Server, more: &str) {
        let port = server.address().port();
        let url = format!("ws://{}:{port}", guest::HOST);
        self.put(
            "firmware-worker.toml",
            &format!("[server]\nurl = \"{url}\"\napi_key = \"{KEY}\"\n[board]\napi_secret = \"{SECRET}\"\n{more}"),
        );
    }

    /// Gives a shell on the console of the board.
    pub fn open_shell(&self, machine: Machine) {
        // QEMU's Pi restarts as soon as its watchdog is started.
        let watchdog = match machine {
            Machine::Virt => "",
            Machine::RaspberryPi3 => " module_blacklist=bcm2835_wdt\narm_watchdog=true",
        };
        self.put("boot.env", &format!("extra=systemd.debug_shell={}{watchdog}\n", machine.console()));
    }

    /// A text file of the boot partition, empty if there is none.
    pub fn text(&self, name: &str) -> String {
        String::from_utf8(self.get(name).unwrap_or_default()).expect("text")
    }

    /// U-Boot's settings, as long as the flash of QEMU's board.
    fn flash(&self) -> PathBuf {
        let flash = self.folder.join("flash");
        fs::copy(self.image.with_extension("u-boot.env"), &flash).expect("made with the image");
        let file = File::options().write(true).open(&flash).expect("the card's folder is ours");
        file.set_len(FLASH_LEN).expect("the temporary directory has room");
        flash
    }

    fn boot_partition(&self) -> String {
        format!("{}{BOOT_PARTITION}", self.path().display())
    }
}

impl Drop for Card {
    fn drop(&mut self) {
        // A leftover in the temporary directory is no failure.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// What QEMU plays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Machine {
    /// Its own board, with a watchdog.
    Virt,
    /// A Raspberry Pi 3 B, whose firmware cannot be had: QEMU loads U-Boot and the device tree in its place.
    RaspberryPi3,
}

impl Machine {
    fn console(self) -> &'static str {
        match self {
            Self::Virt => "ttyAMA0",
            Self::RaspberryPi3 => "ttyS1",
        }
    }

    fn command(self, card: &Card, conditions: Conditions) -> Command {
        let uboot = card.image.with_extension("u-boot.bin");
        let drive = conditions.drive(card);
        let mut command = Command::new("qemu-system-aarch64");
        match self {
            Self::Virt => {
                command.args(["-M", "virt", "-cpu", "cortex-a72", "-smp", "2", "-m", "512", "-nographic"]);
                command.arg("-bios").arg(uboot).args(["-drive", &format!("if=virtio,{drive}")]);
                let flash = card.flash();
                command.args(["-drive", &format!("if=pflash,unit=1,format=raw,readonly=on,file={}", flash.display())]);
                command.args(["-device", "i6300esb", "-action", "watchdog=reset", "-device", "virtio-rng-pci"]);
                if !conditions.offline {
                    command.args(["-device", "virtio-net-pci,netdev=n,romfile="]);
                }
                if conditions.looped {
                    command.args(["-netdev", "hubport,id=near,hubid=1", "-netdev", "hubport,id=far,hubid=1"]);
                    command.args(["-device", "virtio-net-pci,netdev=near,romfile="]);
                    command.args(["-device", "virtio-net-pci,netdev=far,romfile="]);
                }
            }
            Self::RaspberryPi3 => {
                let tree = card.folder.join("tree.dtb");
                let name = "bcm2837-rpi-3-b.dtb";
                fs::write(&tree, card.get(name).expect(name)).expect("the temporary directory is writable");
                command.args(["-M", "raspi3b", "-display", "none", "-serial", "null", "-serial", "stdio"]);
                command.arg("-kernel").arg(uboot).arg("-dtb").arg(tree);
                command.args(["-drive", &format!("if=sd,{drive}"), "-device", "usb-net,netdev=n"]);
            }
        }
        command.args(["-accel", "tcg,thread=multi", "-netdev", "user,id=n"]);
        command.args(conditions.date.iter().flat_map(|date| ["-rtc", date]));
        command
    }
}

/// What is unusual about a start.
#[derive(Clone, Copy, Debug, Default)]
pub struct Conditions {
    /// The card takes no writes.
    pub read_only: bool,
    /// Whatever is written to the card is written down too.
    pub recorded: bool,
    /// The board has no network.
    pub offline: bool,
    /// The board has two more sockets, with a cable from one to the other: what it offers on `eth2` it finds on `eth1`.
    pub looped: bool,
    /// The board's clock says so: `base=1970-01-02`.
    pub date: Option<&'static str>,
}

impl Conditions {
    fn drive(self, card: &Card) -> String {
        let path = card.path().display().to_string();
        if !self.recorded {
            return format!("format=raw,file={path},readonly={}", if self.read_only { "on" } else { "off" });
        }
        let record = card.record_of_writes();
        // Its holes take no room.
        let made = File::create(&record).and_then(|file| file.set_len(RECORD_LEN));
        made.expect("the temporary directory has room");
        format!(
            "driver=blklogwrites,file.driver=file,file.filename={path},log.driver=file,log.filename={},\
             log-super-update-interval=1",
            record.display()
        )
    }
}

/// A running board, powered off without warning on drop.
#[derive(Debug)]
pub struct Board {
    process: Process,
    stdin: ChildStdin,
    asked: u32,
    /// What it starts from.
    pub card: Card,
}

impl Board {
    /// Powers it on.
    pub fn start(machine: Machine, card: Card) -> Self {
        Self::start_under(Conditions::default(), machine, card)
    }

    /// Powers it on under these conditions.
    pub fn start_under(conditions: Conditions, machine: Machine, card: Card) -> Self {
        let mut command = machine.command(&card, conditions);
        let mut process = Process::start_talking("board", command.stdin(Stdio::piped()));
        let stdin = process.take_stdin();
        Self { process, stdin, asked: 0, card }
    }

    /// Waits until the console has a line with this text.
    #[track_caller]
    pub fn wait(&self, text: &str, limit: Duration) -> String {
        poll::until(&format!("the board says {text:?}"), limit, || self.console().find(&[text])).text
    }

    /// What it printed lately.
    pub fn console(&self) -> &Log {
        &self.process.log
    }

    /// Waits for the shell of a card with [`Card::open_shell`], before anything is typed: what comes on a serial line that
    /// nobody has open can stop QEMU's for good.
    #[track_caller]
    pub fn wait_shell(&self) {
        self.wait("built-in shell", BOOT);
    }

    /// Runs a command in the shell of a card with [`Card::open_shell`] and gives what it prints, on one line, without
    /// what it prints last: its exit code must be 0.
    #[track_caller]
    pub fn must(&mut self, command: &str) -> String {
        self.asked += 1;
        let (mark, end) = (format!("<{}>", self.asked), format!("</{}>", self.asked));
        // In two pieces, as the terminal shows what is typed too.
        let line = format!("out=$({command} 2>&1); code=$?; echo '<''{0}>' $out $code '</''{0}>'", self.asked);
        self.type_line(&line);
        let found = || self.console().find(&[&mark, &end]);
        let line = poll::until(&format!("the board runs {command:?}"), BOOT, found).text;
        let (_, rest) = line.split_once(&mark).expect("looked for");
        let (out, _) = rest.split_once(&end).expect("looked for");
        let out = out.trim();
        out.strip_suffix('0').unwrap_or_else(|| panic!("{command}: {out}")).trim().to_owned()
    }

    /// Types this on its serial line.
    pub fn type_line(&mut self, text: &str) {
        writeln!(self.stdin, "{text}").expect("QEMU runs");
    }

    /// Seconds that it has waited for a processor of this machine.
    pub fn waited(&self) -> f64 {
        procfs::waited(self.process.pid())
    }

    /// Asks the board to switch itself off, and waits for it.
    pub fn shut_down(mut self) -> Card {
        self.must("systemctl poweroff");
        self.process.wait(BOOT);
        self.card
    }

    /// Pulls the plug.
    pub fn power_off(mut self) -> Card {
        self.process.kill();
        self.card
    }
}

#[track_caller]
fn run(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}; run tools/setup image"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}
