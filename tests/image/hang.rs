//! A root that starts and then does nothing, not even feed the watchdog.

use crate::update::run;
use std::fs;
use std::path::Path;
use std::process::Command;

/// A squashfs whose first process does nothing for ever.
pub fn root_that_hangs(folder: &Path) -> Vec<u8> {
    let tree = folder.join("tree");
    for name in [
        "usr/lib/systemd",
        "data",
        "boot/firmware",
        "proc",
        "sys",
        "dev",
        "run",
        "etc",
        "var/lib/systemd",
        "var/lib/iwd",
    ] {
        fs::create_dir_all(tree.join(name)).expect("the folder is ours");
    }
    let program = tree.join("usr/lib/systemd/systemd");
    fs::write(&program, program_that_hangs()).expect("the folder is ours");
    run(Command::new("chmod").arg("755").arg(&program));
    let out = folder.join("hangs");
    run(Command::new("mksquashfs").arg(&tree).arg(&out).args(["-quiet", "-no-progress", "-all-root", "-comp", "zstd"]));
    fs::read(out).expect("just made")
}

/// An ELF file for 64-bit ARM (elf(5)) of one segment: `b .`.
fn program_that_hangs() -> Vec<u8> {
    const BASE: u64 = 0x40_0000;
    const HEADERS: u64 = 64 + 56;
    let mut file = b"\x7fELF\x02\x01\x01".to_vec();
    file.resize(16, 0);
    // An executable, of AArch64, of version 1; then its entry, and where the only program header is.
    file.extend([2u16, 183].map(u16::to_le_bytes).concat());
    file.extend(1u32.to_le_bytes());
    file.extend([BASE + HEADERS, 64, 0].map(u64::to_le_bytes).concat());
    file.extend(0u32.to_le_bytes());
    file.extend([64u16, 56, 1, 0, 0, 0].map(u16::to_le_bytes).concat());
    // To be loaded, read and executed.
    file.extend([1u32, 5].map(u32::to_le_bytes).concat());
    file.extend([0, BASE, BASE, HEADERS + 4, HEADERS + 4, 0x1000].map(u64::to_le_bytes).concat());
    file.extend(0x1400_0000u32.to_le_bytes());
    file
}
