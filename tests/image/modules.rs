//! Drivers of the boards that no emulator has: for what a board's device tree names, the image has each driver that Debian's
//! kernel has as a module.

use crate::KERNELS;
use crate::contents::{Root, TREES, output};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use tests::{Card, paths};

/// Screen, Bluetooth and lights, which no worker wants; what switches the supply of hubs that these boards leave on; a switch for
/// a bus of the screen, and a signal for sound over an analogue socket.
const UNWANTED: [&str; 8] =
    ["vc4", "v3d", "hci_uart", "btbcm", "leds_gpio", "onboard_usb_dev", "i2c_mux_pinctrl", "pwm_bcm2835"];

/// Found by no name: what `raspberrypi-cpufreq` makes a device for.
const BY_HAND: [&str; 1] = ["cpufreq_dt"];

/// Words of a device tree's structure (Devicetree Specification, 5.4).
const BEGIN_NODE: u32 = 1;
const END_NODE: u32 = 2;
const PROPERTY: u32 = 3;
const NOTHING: u32 = 4;
const END: u32 = 9;

#[test]
fn each_driver_that_a_raspberry_pis_parts_want_is_in_its_image() {
    let root = Root::of("rpi-64");
    let card = Card::of("rpi-64", "modules", 376);
    let (version, mut present) = modules_of(&root.path().join("usr/lib/modules"));
    present.extend(modules_of_initramfs(&card));
    let debians = debians_kernel(&version);
    let drivers = drivers_by_part(&fs::read_to_string(debians.join("modules.alias")).expect("Debian's kernel has it"));
    let mut missing = BTreeMap::new();
    let mut known = 0;
    for tree in TREES {
        for part in parts_of(&card.get(&format!("{tree}.dtb")).expect("on the boot partition")) {
            for driver in drivers.get(&part).into_iter().flatten() {
                known += 1;
                if !present.contains(driver) && !UNWANTED.contains(&driver.as_str()) {
                    missing.insert(driver.clone(), format!("{part} of {tree}"));
                }
            }
        }
    }
    assert!(known > 20, "only {known} drivers are looked for");
    assert!(missing.is_empty(), "the image lacks {missing:?}");
    BY_HAND.iter().for_each(|driver| assert!(present.contains(*driver), "the image lacks {driver}"));
    let all: BTreeSet<String> = names(&fs::read_to_string(debians.join("modules.dep")).expect("as above"));
    for (module, first) in wanted_before(&fs::read_to_string(debians.join("modules.softdep")).expect("as above")) {
        let lacks = present.contains(&module) && all.contains(&first) && !present.contains(&first);
        assert!(!lacks, "the image has {module}, and not {first} before it");
    }
}

/// Version of the kernel whose modules these are, and their names.
fn modules_of(folder: &Path) -> (String, BTreeSet<String>) {
    let versions: Vec<_> = fs::read_dir(folder).expect("the root has modules").flatten().collect();
    let [version] = versions.as_slice() else { panic!("modules of one kernel: {versions:?}") };
    let listed = fs::read_to_string(version.path().join("modules.dep")).expect("as depmod leaves it");
    (version.file_name().to_string_lossy().into_owned(), names(&listed))
}

/// Those that are there before the root is mounted, and stay.
fn modules_of_initramfs(card: &Card) -> BTreeSet<String> {
    // The slot's header as images/README.md draws it.
    let header: [u8; 32] = card.read_at(KERNELS[0]);
    let number = |at: usize| u32::from_le_bytes(header[at..at + 4].try_into().expect("four bytes")) as usize;
    let mut packed = vec![0; number(16)];
    card.open().read_exact_at(&mut packed, KERNELS[0] + number(20) as u64).expect("within the card");
    let file = card.folder().join("initramfs");
    fs::write(&file, packed).expect("the card's folder is writable");
    let mut list = Command::new("sh");
    let listed = output(list.args(["-c", "gzip -dc \"$0\" | cpio -t --quiet"]).arg(file));
    names(&listed)
}

/// Modules that have a line of their own in modules.dep.
fn names(listed: &str) -> BTreeSet<String> {
    let files = listed.lines().filter_map(|line| line.split(':').next()).filter(|file| file.contains(".ko"));
    files.filter_map(|file| Some(plain(file.rsplit('/').next()?.split(".ko").next()?))).collect()
}

/// Modules are the same with either.
fn plain(name: &str) -> String {
    name.replace('-', "_")
}

/// Debian's own modules, which lie in the cache that the image lies in.
fn debians_kernel(version: &str) -> PathBuf {
    let image = paths::image("rpi-64");
    let cache = image.ancestors().nth(2).expect("an image lies in the cache").join("image");
    let kernels = fs::read_dir(&cache).expect("images are made there").flatten().map(|entry| entry.path());
    let folders = kernels.map(|kernel| kernel.join("usr/lib/modules").join(version));
    folders.filter(|folder| folder.join("modules.alias").exists()).last().expect("the image's kernel is kept there")
}

/// Which modules drive a part, by its name in device trees.
fn drivers_by_part(aliases: &str) -> BTreeMap<String, Vec<String>> {
    let mut drivers = BTreeMap::<_, Vec<String>>::new();
    for line in aliases.lines() {
        let Some((part, module)) = line.strip_prefix("alias of:N*T*C").and_then(|rest| rest.split_once(' ')) else {
            continue;
        };
        // A second line says that other names may follow.
        if let Some(part) = Some(part).filter(|part| !part.ends_with("C*")) {
            drivers.entry(part.to_owned()).or_default().push(plain(module));
        }
    }
    drivers
}

/// Pairs of a module and one that is to come before it: `softdep genet pre: mdio-bcm-unimac post: x`.
fn wanted_before(softdeps: &str) -> Vec<(String, String)> {
    let lines = softdeps.lines().filter_map(|line| line.strip_prefix("softdep ")?.split_once(" pre: "));
    let pairs = lines.flat_map(|(module, rest)| {
        let before = rest.split(" post: ").next().unwrap_or_default();
        before.split(' ').map(move |first| (plain(module), plain(first)))
    });
    pairs.collect()
}

/// What its nodes that are not switched off are compatible with.
fn parts_of(tree: &[u8]) -> BTreeSet<String> {
    let word = |at: usize| u32::from_be_bytes(tree[at..at + 4].try_into().expect("four bytes"));
    let text = |at: usize| String::from_utf8_lossy(tree[at..].split(|&byte| byte == 0).next().expect("one at least"));
    assert_eq!(word(0), 0xd00d_feed, "a device tree");
    let (mut at, strings) = (word(8) as usize, word(12) as usize);
    let (mut parts, mut open) = (BTreeSet::new(), Vec::<(bool, Vec<String>)>::new());
    loop {
        let token = word(at);
        at += 4;
        match token {
            BEGIN_NODE => {
                open.push((false, Vec::new()));
                at = (at + text(at).len() + 1).next_multiple_of(4);
            }
            PROPERTY => {
                let (length, name) = (word(at) as usize, text(strings + word(at + 4) as usize));
                let value = String::from_utf8_lossy(&tree[at + 8..at + 8 + length]);
                let node = open.last_mut().expect("properties are of nodes");
                match &*name {
                    "status" => node.0 = value.starts_with("disabled"),
                    "compatible" => node.1 = value.split_terminator('\0').map(str::to_owned).collect(),
                    _ => {}
                }
                at = (at + 8 + length).next_multiple_of(4);
            }
            END_NODE => {
                // What lies in a node that is off is off as well; those around it have told all of theirs.
                let on = open.iter().all(|(off, _)| !off);
                parts.extend(open.pop().expect("it began").1.into_iter().filter(|_| on));
            }
            NOTHING => {}
            END => return parts,
            other => panic!("{other} in a device tree"),
        }
    }
}
