//! A new slot that stands still.

use crate::update::{Release, new_card, parts, run, wait_later};
use crate::{KERNELS, ROOTS};
use protocol::update::{COPY_OFFSETS, RECORD_LEN, Record, Slot};
use std::fs;
use std::path::Path;
use std::process::Command;
use tests::Server;
use tests::card::{Board, Machine};

#[test]
fn a_slot_that_hangs_is_restarted_by_the_watchdog_and_the_other_one_is_back() {
    let server = Server::start_for_guest();
    let card = new_card(&server, "hangs");
    let (kernel, _) = parts(&card);
    let release = Release::new("hangs");
    let kernel = release.cut(&card, "kernel", KERNELS[0], kernel);
    card.write_at(&fs::read(kernel).expect("just made"), KERNELS[1]);
    card.write_at(&root_that_hangs(&release.folder), ROOTS[1]);
    let (record, order) = Record::successor(&[[0; RECORD_LEN]; 2], Slot::A, Some(1));
    order.into_iter().for_each(|index| card.write_at(&record.bytes(), COPY_OFFSETS[index]));
    let board = Board::start(Machine::Virt, card);
    let hung = wait_later(&board, "slot b: starting", 0.0);
    let restarted = wait_later(&board, "slot a: starting", hung);
    println!("restarted {:.0} s after it was started", restarted - hung);
    wait_later(&board, "slot 1: no tries left", hung);
    wait_later(&board, "registered as", restarted);
}

/// A squashfs whose first process does nothing for ever.
fn root_that_hangs(folder: &Path) -> Vec<u8> {
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

/// An ELF file for 64-bit ARM (elf(5)) of one segment. It waits for ever, as a loop would take a processor of this machine from
/// the tests beside it.
fn program_that_hangs() -> Vec<u8> {
    const BASE: u64 = 0x40_0000;
    const HEADERS: u64 = 64 + 56;
    /// ppoll(2) for nothing, without an end.
    const CODE: [u32; 7] = [
        0xd280_0000, // again: mov x0, #0
        0xd280_0001, // mov x1, #0
        0xd280_0002, // mov x2, #0
        0xd280_0003, // mov x3, #0
        0xd280_0928, // mov x8, #73
        0xd400_0001, // svc #0
        0x17ff_fffa, // b again
    ];
    let length = HEADERS + size_of_val(&CODE) as u64;
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
    file.extend([0, BASE, BASE, length, length, 0x1000].map(u64::to_le_bytes).concat());
    file.extend(CODE.map(u32::to_le_bytes).concat());
    file
}
