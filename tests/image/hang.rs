//! A new slot that stands still: its first process, then the kernel under it.

use crate::release::Release;
use crate::update::{new_card, parts, run, wait_later};
use crate::{KERNELS, ROOTS};
use protocol::update::{COPY_OFFSETS, RECORD_LEN, Record, Slot};
use std::fs;
use std::path::Path;
use std::process::Command;
use tests::card::{Board, Machine};
use tests::{Server, paths};

/// The first process of the new slot. At its first start it waits for ever; at its last, by the slot record, the kernel dies and does
/// not restart by itself, as one that hangs does not. What it says comes to the console by the kernel.
fn first_process() -> String {
    let tries_at = COPY_OFFSETS[0] + 20;
    format!(
        "#!/usr/bin/busybox sh
if [ $(/usr/bin/busybox hexdump -v -s {tries_at} -n 1 -e '1/1 \"%u\"' /dev/vda) = 0 ]; then
    echo '<0>the kernel dies' >/dev/kmsg
    echo 0 >/proc/sys/kernel/panic
    echo c >/proc/sysrq-trigger
fi
echo '<0>the first process hangs' >/dev/kmsg
while :; do /usr/bin/busybox sleep 1000; done
"
    )
}

#[test]
fn a_slot_whose_first_process_and_then_whose_kernel_hangs_is_restarted_by_the_watchdog_and_the_other_one_is_back() {
    let server = Server::start_for_guest();
    let card = new_card(&server, "hangs");
    let (kernel, _) = parts(&card);
    let release = Release::new("hangs");
    let kernel = release.cut(&card, "kernel", KERNELS[0], kernel);
    card.write_at(&fs::read(kernel).expect("just made"), KERNELS[1]);
    card.write_at(&root_that_hangs(&release.folder), ROOTS[1]);
    let (record, order) = Record::successor(&[[0; RECORD_LEN]; 2], Slot::A, Some(2));
    order.into_iter().for_each(|index| card.write_at(&record.bytes(), COPY_OFFSETS[index]));
    let board = Board::start(Machine::Virt, card);
    let hung = wait_later(&board, "the first process hangs", 0.0);
    let again = wait_later(&board, "slot b: starting", hung);
    wait_later(&board, "the kernel dies", again);
    let dead = wait_later(&board, "Kernel panic", again);
    let restarted = wait_later(&board, "slot a: starting", dead);
    println!(
        "restarted {:.0} s after its first process hung, {:.0} s after its kernel did",
        again - hung,
        restarted - dead
    );
    assert!(board.console().find(&["Rebooting in"]).is_none(), "not by the kernel itself");
    wait_later(&board, "slot 1: no tries left", dead);
    wait_later(&board, "registered as", restarted);
}

/// A squashfs of that first process and the image's shell.
fn root_that_hangs(folder: &Path) -> Vec<u8> {
    let tree = folder.join("tree");
    let mut shell = Command::new("unsquashfs");
    shell.args(["-quiet", "-no-progress", "-offset", &ROOTS[0].to_string(), "-dest"]).arg(&tree);
    run(shell.arg(paths::image("virt")).arg("usr/bin/busybox"));
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
    fs::write(&program, first_process()).expect("the folder is ours");
    run(Command::new("chmod").arg("755").arg(&program));
    let out = folder.join("hangs");
    run(Command::new("mksquashfs").arg(&tree).arg(&out).args(["-quiet", "-no-progress", "-all-root", "-comp", "zstd"]));
    fs::read(out).expect("just made")
}
