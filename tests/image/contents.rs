//! What no emulated board reads, checked file by file; and that an image is made alike twice.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};
use tests::package::{self, TARGETS};
use tests::{Card, paths};

const MIB: u64 = 1 << 20;

/// Bytes of what is compressed for who flashes it, with the radios' firmware.
const COMPRESSED: u64 = 70_000_000;

/// Bytes of all files on the boot partition.
const BOOT_USED: u64 = 16_000_000;

/// Number, type, start and size in MiB: what boards in the field have, so that nothing of it may change.
const PARTITIONS: [(u32, &str, u64, u64); 7] = [
    (1, "c", 4, 48),
    (2, "f", 52, 260),
    (3, "83", 312, 64),
    (5, "da", 53, 32),
    (6, "83", 86, 96),
    (7, "da", 183, 32),
    (8, "83", 216, 96),
];

/// Keys of `config.txt` that name a file, and those that name none (Raspberry Pi's documentation of config.txt). Any other may.
const NAMES_A_FILE: [&str; 1] = ["kernel"];
const NAMES_NONE: [&str; 5] = ["arm_64bit", "upstream_kernel", "enable_uart", "gpu_mem", "disable_splash"];

/// What the Pi's firmware looks for by itself; the device trees by the board's name in Debian's kernel.
const FIRMWARE: [&str; 5] = ["bootcode.bin", "start.elf", "fixup.dat", "start4.elf", "fixup4.dat"];
pub const TREES: [&str; 5] =
    ["bcm2837-rpi-3-b", "bcm2837-rpi-3-b-plus", "bcm2837-rpi-zero-2-w", "bcm2711-rpi-4-b", "bcm2711-rpi-cm4-io"];

/// Of the radios of Pi 3, Zero 2 W and 4, with the settings by board.
const RADIOS: [&str; 7] = [
    "brcmfmac43430-sdio.bin",
    "brcmfmac43455-sdio.bin",
    "brcmfmac43455-sdio.clm_blob",
    "brcmfmac43430-sdio.raspberrypi,3-model-b.txt",
    "brcmfmac43430-sdio.raspberrypi,model-zero-2-w.txt",
    "brcmfmac43455-sdio.raspberrypi,3-model-b-plus.txt",
    "brcmfmac43455-sdio.raspberrypi,4-model-b.txt",
];

#[test]
fn each_file_that_the_pis_firmware_wants_lies_on_the_boot_partition() {
    let card = Card::of("rpi-64", "files", 376);
    let config = String::from_utf8(card.get("config.txt").expect("config.txt")).expect("text");
    let trees = TREES.map(|tree| format!("{tree}.dtb"));
    let named = files_named_by(&config);
    assert_eq!(named, ["u-boot.bin"], "the firmware starts U-Boot");
    let wanted = FIRMWARE.into_iter().chain(named).chain(["boot.scr", "uboot.env", "firmware-worker.toml"]);
    for name in wanted.chain(trees.iter().map(String::as_str)) {
        assert!(card.get(name).is_some_and(|file| !file.is_empty()), "{name}");
    }
    assert!(config.contains("upstream_kernel=1"), "device trees have Debian's names");
    let used: u64 = list(&card).iter().map(|name| card.get(name).expect("listed").len() as u64).sum();
    assert!(used <= BOOT_USED, "{used} bytes on the boot partition");
    println!("boot partition: {used} bytes");
}

/// Files that a `config.txt` names. Fails on a line that may name one and is not known here.
fn files_named_by(config: &str) -> Vec<&str> {
    let lines = config.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    let settings = lines.map(|line| line.split_once('=').unwrap_or_else(|| panic!("config.txt: {line}: a file?")));
    let named = settings.filter(|(key, _)| {
        assert!(NAMES_A_FILE.contains(key) || NAMES_NONE.contains(key), "config.txt: does {key} name a file?");
        NAMES_A_FILE.contains(key)
    });
    named.map(|(_, file)| file).collect()
}

#[test]
fn every_image_has_the_partitions_that_boards_in_the_field_have() {
    for board in ["virt", "rpi-64"] {
        let image = paths::image(board);
        let table = output(Command::new("sfdisk").arg("--json").arg(&image));
        let table: serde_json::Value = serde_json::from_str(&table).expect("JSON");
        let found = table["partitiontable"]["partitions"].as_array().expect("partitions").iter().map(|partition| {
            let number = partition["node"].as_str().and_then(|node| node.chars().last()).and_then(|n| n.to_digit(10));
            let mib = |field: &str| partition[field].as_u64().map(|sectors| sectors * 512 / MIB);
            let kind = partition["type"].as_str().expect("a type");
            (number.expect("a number"), kind, mib("start").expect("a start"), mib("size").expect("a size"))
        });
        assert_eq!(found.collect::<Vec<_>>(), PARTITIONS, "{board}");
    }
}

#[test]
fn the_image_to_be_flashed_is_small() {
    let compressed = paths::image("rpi-64").with_extension("img.xz");
    let size = fs::metadata(&compressed).unwrap_or_else(|error| panic!("{}: {error}", compressed.display())).len();
    println!("{}: {size} bytes", compressed.display());
    assert!(size <= COMPRESSED, "{size} bytes");
}

#[test]
fn what_lies_beside_the_image_for_who_flashes_it_is_true() {
    let image = paths::image("rpi-64");
    let beside = |extension: &str| image.with_extension(extension);
    let mut sums = Command::new("sha256sum");
    let folder = image.parent().expect("an image lies in a folder");
    output(sums.args(["--check", "--strict"]).arg(beside("sha256")).current_dir(folder));

    // As bmaptool would write a card, whose sums it checks.
    let card = std::env::temp_dir().join(format!("flashed-{}", std::process::id()));
    let mut copy = Command::new("bmaptool");
    copy.args(["-q", "copy", "--bmap"]).arg(beside("bmap")).arg(beside("img.xz")).arg(&card);
    output(&mut copy);
    let same = Command::new("cmp").arg(&image).arg(&card).status().expect("part of the base system").success();
    // A leftover in the temporary directory is no failure.
    let _ = fs::remove_file(&card);
    assert!(same, "{} differs from what is flashed", image.display());

    let text = fs::read_to_string(beside("spdx.json")).expect("made beside the image");
    let document: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let packages = document["packages"].as_array().expect("packages");
    let version = |name: &str| packages.iter().find(|package| package["name"] == name)?["versionInfo"].as_str();
    let worker = version("firmware-worker").expect("the worker is one");
    assert!(image.with_extension("").ends_with(format!("rpi-64-{worker}")), "{worker}");
    for name in ["libc6", "systemd", "iwd", "u-boot-rpi", "raspi-firmware", "firmware-brcm80211"] {
        assert!(version(name).is_some_and(|version| !version.is_empty()), "no {name}");
    }
    assert!(packages.iter().any(|package| package["name"].as_str().is_some_and(|n| n.starts_with("linux-image-"))));
    for package in packages {
        let sum = package["checksums"][0]["checksumValue"].as_str().unwrap_or_default();
        assert!(sum.len() == 64 && sum.bytes().all(|byte| byte.is_ascii_hexdigit()), "{package}");
    }
}

#[test]
fn the_root_lacks_no_user_no_unit_and_no_firmware_and_gives_nobody_rights() {
    let root = Root::of("rpi-64");
    let names = |file: &str| -> BTreeSet<String> {
        root.text(file).lines().filter_map(|line| Some(line.split(':').next()?.to_owned())).collect()
    };
    let (users, groups) = (names("etc/passwd"), names("etc/group"));
    for file in fs::read_dir(root.0.join("usr/lib/sysusers.d")).expect("sysusers.d").flatten() {
        // Debian's own users are there for files that nobody has here.
        if file.file_name() == "basic.conf" {
            continue;
        }
        for line in fs::read_to_string(file.path()).expect("text").lines() {
            let mut words = line.split_whitespace();
            match (words.next(), words.next()) {
                (Some("u" | "u!"), Some(name)) => assert!(users.contains(name), "no user {name}"),
                (Some("g"), Some(name)) => assert!(groups.contains(name), "no group {name}"),
                _ => {}
            }
        }
    }
    for radio in RADIOS {
        assert!(root.0.join("usr/lib/firmware/brcm").join(radio).metadata().is_ok(), "{radio}");
    }
    assert!(root.0.join("usr/lib/firmware/regulatory.db").metadata().is_ok(), "what radios may do");
    visit(&root.0, &mut |path, metadata| {
        assert!(metadata.permissions().mode() & 0o6000 == 0, "{} runs as its owner", path.display());
    });
    visit(&root.0.join("etc/systemd/system"), &mut |path, metadata| {
        let target = metadata.is_symlink().then(|| fs::read_link(path).expect("a link"));
        if let Some(target) = target.filter(|target| target != Path::new("/dev/null")) {
            let inside = root.0.join(target.strip_prefix("/").expect("an absolute link"));
            assert!(inside.exists(), "{} leads nowhere", path.display());
        }
    });
}

/// A radio that comes before the start is over has iwd started beside all else, and a ring would be broken by leaving iwd out.
#[test]
fn no_unit_waits_for_itself_whenever_a_radio_comes() {
    let root = Root::of("virt");
    let units = root.0.join("usr/lib/systemd/system");
    for unit in ["systemd-networkd.service", "systemd-resolved.service", "systemd-udevd.service"] {
        // An older systemd does not know the word, and takes them for units of the bus.
        let text = root.text(&format!("usr/lib/systemd/system/{unit}")).replace("=notify-reload", "=notify");
        fs::write(units.join(unit), text).expect("it is ours");
    }
    assert!(!said_of_units(&root.0).contains("ordering cycle"), "{}", said_of_units(&root.0));
    let time = units.join("systemd-timesyncd.service");
    let late = fs::read_to_string(&time).expect("text") + "[Unit]\nAfter=firmware-worker.service\n";
    fs::write(time, late).expect("it is ours");
    assert!(said_of_units(&root.0).contains("ordering cycle"), "it would be seen");
}

/// By systemd, of a start beside which iwd is started.
fn said_of_units(root: &Path) -> String {
    let mut verify = Command::new("systemd-analyze");
    verify
        .args(["verify", "--man=no", "--generators=no", "--root"])
        .arg(root)
        .args(["multi-user.target", "iwd.service"]);
    // What an older one does not know it takes for mistakes.
    let output = verify.output().expect("part of systemd");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn the_same_checkout_makes_the_same_image() {
    is_made_alike("virt", &["--disk-only"], Some(paths::update_key()), &["img", "fwu"]);
}

#[test]
#[ignore = "packs an image: `tools/test soak the_same_checkout` runs it"]
fn the_same_checkout_packs_the_same_image_for_who_flashes_it() {
    is_made_alike("rpi-64", &[], None, &["img", "img.xz", "sha256", "spdx.json"]);
}

/// Makes the image of `board` once more, and compares these files.
fn is_made_alike(board: &str, options: &[&str], key: Option<PathBuf>, extensions: &[&str]) {
    // Both have the same downloads, which apt lets one have at a time.
    static DOWNLOADS: Mutex<()> = Mutex::new(());
    let _alone = DOWNLOADS.lock().unwrap_or_else(PoisonError::into_inner);
    let image = paths::image(board);
    let folder = std::env::temp_dir().join(format!("image-again-{}-{board}", std::process::id()));
    fs::create_dir_all(folder.join("image")).expect("the temporary directory is writable");
    // Everything anew but the downloads, by somebody else's habits.
    let cache = image.ancestors().nth(2).expect("an image lies in the cache");
    std::os::unix::fs::symlink(cache.join("image/apt"), folder.join("image/apt")).expect("just made");
    let make = "umask 077; exec \"$0\" \"$@\"";
    let mut command = Command::new("sh");
    command.args(["-c", make]).arg(paths::root().join("tools/image")).arg(board).args(options).arg("--deb");
    command.arg(package::deb(&TARGETS[0])).env("FIRMWARE_WORKER_CACHE", &folder).env("TZ", "Asia/Tokyo");
    command.envs(key.map(|key| ("FIRMWARE_WORKER_UPDATE_KEY", key)));
    let again = PathBuf::from(output(&mut command).lines().last().expect("a path"));
    let same = |extension: &&&str| {
        let (first, second) = (image.with_extension(extension), again.with_extension(extension));
        Command::new("cmp").arg(first).arg(second).status().expect("part of the base system").success()
    };
    let differ: Vec<_> = extensions.iter().filter(|extension| !same(extension)).collect();
    let _ = fs::remove_dir_all(&folder);
    assert!(differ.is_empty(), "{} and the same again differ: {differ:?}", image.display());
}

#[test]
fn an_image_is_made_again_when_what_it_is_made_of_or_it_itself_is_another() {
    let folder = std::env::temp_dir().join(format!("image-made-{}", std::process::id()));
    fs::create_dir_all(&folder).expect("the temporary directory is writable");
    let script = "cd \"$1\" && source \"$0\"
        for change in : 'inputs=others' 'echo newer >image' 'mv image away' 'rm beside' 'echo newer >beside'; do
            echo old >image && echo old >beside && inputs=these && keep_made list $inputs beside image
            eval \"$change\"
            if as_made_before list $inputs; then echo \"after $change\"; fi
        done";
    let mut command = Command::new("bash");
    command.args(["-c", script]).arg(paths::root().join("images/build/made.sh")).arg(&folder);
    let said = output(&mut command);
    fs::remove_dir_all(&folder).expect("it is ours");
    assert_eq!(said, "beside\nimage\nafter :\n");
}

/// A root slot, unpacked; deleted on drop.
pub struct Root(PathBuf);

impl Root {
    pub fn of(board: &str) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("root-{}-{number}", std::process::id()));
        let (_, _, start, _) = PARTITIONS[4];
        let mut command = Command::new("unsquashfs");
        command.args(["-quiet", "-no-progress", "-offset", &(start * MIB).to_string(), "-dest"]).arg(&folder);
        output(command.arg(paths::image(board)));
        Self(folder)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    fn text(&self, file: &str) -> String {
        fs::read_to_string(self.0.join(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        // A leftover in the temporary directory is no failure.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Names of the files on the boot partition.
fn list(card: &Card) -> Vec<String> {
    let partition = format!("{}@@4M", card.path().display());
    let text = output(Command::new("mdir").args(["-b", "-i", &partition, "::"]));
    text.lines().filter_map(|line| Some(line.strip_prefix("::/")?.to_owned())).collect()
}

fn visit(folder: &Path, look: &mut dyn FnMut(&Path, &fs::Metadata)) {
    for entry in fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())).flatten() {
        let metadata = entry.path().symlink_metadata().expect("it was just listed");
        if metadata.is_dir() {
            visit(&entry.path(), look);
        } else {
            look(&entry.path(), &metadata);
        }
    }
}

#[track_caller]
pub fn output(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}; run tools/setup image"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}
