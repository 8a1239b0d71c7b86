//! The image for Raspberry Pis, as far as QEMU has one: a Pi 3 without its firmware, radio and VideoCore.

use crate::KERNELS;
use crate::update::{parts, wait_later};
use protocol::update::{COPY_OFFSETS, RECORD_LEN, Record, Slot};
use std::os::unix::fs::FileExt;
use tests::card::{BOOT, Board, Card, Machine};
use tests::{Server, poll};

#[test]
fn a_raspberry_pi_3_starts_from_its_card_through_u_boot_and_registers() {
    let server = Server::start_for_guest();
    let card = Card::of("rpi-64", "rpi-64", 512);
    card.configure(&server, "");
    card.open_shell(Machine::RaspberryPi3);
    let mut board = Board::start(Machine::RaspberryPi3, card);
    board.wait("slot a: starting", BOOT);
    board.wait("registered as", BOOT);
    assert_eq!(board.must("systemctl --failed --plain --no-legend"), "");
}

#[test]
fn a_raspberry_pi_that_does_not_find_its_script_tries_again_whatever_comes_on_its_serial_line() {
    let card = Card::of("rpi-64", "rpi-64-prompt", 512);
    card.put("boot.scr", "cut off");
    let mut board = Board::start(Machine::RaspberryPi3, card);
    board.type_line("noise");
    // After a reset it does not say its name.
    let tries = || board.console().find(&["Executing script"]);
    let began = poll::until("U-Boot tries the script", BOOT, tries).at;
    poll::until("U-Boot tries it again", BOOT, || tries().filter(|line| line.at > began));
}

/// By the card's driver of that board, which reads and writes otherwise than that of QEMU's own.
#[test]
fn a_raspberry_pi_counts_a_trials_starts_and_falls_back_from_one_that_is_spent_or_has_no_kernel() {
    let card = Card::of("rpi-64", "rpi-64-trial", 512);
    let mut kernel = vec![0; parts(&card).0 as usize];
    card.open().read_exact_at(&mut kernel, KERNELS[0]).expect("within the card");
    card.write_at(&kernel, KERNELS[1]);
    put_on_trial(&card, 1);
    let card = started(card, "slot b: starting");
    assert_eq!(tries_left(&card), Some(0), "written before it was started");
    let card = started(card, "slot a: starting");
    assert_eq!(tries_left(&card), None);

    // The watchdog is armed before the kernel is started, and QEMU's ends the start right there, as if the kernel hung.
    put_on_trial(&card, 2);
    let board = Board::start(Machine::RaspberryPi3, card);
    let first = wait_later(&board, "slot b: starting", 0.0);
    let second = wait_later(&board, "slot b: starting", first);
    wait_later(&board, "slot a: starting", second);
    assert!(board.console().find(&["Starting kernel"]).is_none(), "the watchdog is not armed");
    let card = board.power_off();
    assert_eq!(tries_left(&card), None);

    put_on_trial(&card, 3);
    card.write_at(&[0; 512], KERNELS[1]);
    let card = started(card, "slot a: starting");
    assert_eq!(tries_left(&card), None);
}

/// Slot B, with so many starts.
fn put_on_trial(card: &Card, tries: u32) {
    let (record, order) = Record::successor(&copies(card), Slot::A, Some(tries));
    order.into_iter().for_each(|index| card.write_at(&record.bytes(), COPY_OFFSETS[index]));
}

/// Pulls the plug as soon as U-Boot has said so.
#[track_caller]
fn started(card: Card, text: &str) -> Card {
    let board = Board::start(Machine::RaspberryPi3, card);
    board.wait(text, BOOT);
    board.power_off()
}

/// Of slot B; A stays the good one.
#[track_caller]
fn tries_left(card: &Card) -> Option<u32> {
    let record = Record::newest(&copies(card)).expect("there was one");
    assert_eq!(record.good, Slot::A);
    record.tries
}

fn copies(card: &Card) -> [[u8; RECORD_LEN]; 2] {
    COPY_OFFSETS.map(|at| card.read_at(at))
}
